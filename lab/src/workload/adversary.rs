//! An adversary: tags spread so that each takes a tag block of its own, and pins where they hurt.

use std::collections::VecDeque;

use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::PinTerm;

use super::script::{Process, Script};
use super::{Scale, Workload};
use crate::logical::PageSpan;
use crate::logical::process::{FileNumber, PinId};

/// What the adversary does. Sizes are pages and scale with memory; the values in words are those of
/// a machine of 16 GiB. Every value is assumed unless a source is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AdversaryParams {
    /// Pages of each area that is tagged at a distance. Assumed: 128 MiB.
    pub area_pages: u32,
    /// Areas at one time. Assumed: 24.
    pub areas: usize,
    /// Pages from one tagged page to the next: those that share a page of tags (the ratio of data
    /// to tags in the MTE architecture: 4 bits for 16 bytes).
    pub stride: u32,
    /// Short pins begun a tick. Assumed: 64.
    pub short_pins: u32,
    /// Ticks that a short pin lasts. Published: O_DIRECT pins of up to about ten seconds
    /// (Hildenbrand, on RFC v2).
    pub short_ticks: u32,
    /// Long pins begun a tick, never ended while their process lives. Assumed: 4.
    pub long_pins: u32,
    /// Pages of plain data that fill memory, tag storage included. Assumed: 9000 MiB.
    pub filler_pages: u32,
    /// Pages of files read a tick. Assumed: 4 MiB.
    pub read_pages: u32,
}

impl AdversaryParams {
    /// An adversary on a machine with so much memory.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        Self {
            area_pages: scale.mib(128),
            areas: 24,
            stride: 32,
            short_pins: 64,
            short_ticks: 100,
            long_pins: 4,
            filler_pages: scale.mib(9000),
            read_pages: scale.mib(4),
        }
    }
}

/// See [`AdversaryParams`].
#[derive(Debug)]
pub struct Adversary {
    params: AdversaryParams,
    filler: Option<Process>,
    attackers: VecDeque<Process>,
    pins: VecDeque<(u32, PinId)>,
    file: Option<(FileNumber, u32)>,
}

/// Pages of a file before the next one begins: 1 GiB.
const FILE: u32 = 1 << 18;

impl Adversary {
    /// An adversary that has not begun.
    #[must_use]
    pub const fn new(params: AdversaryParams) -> Self {
        Self { params, filler: None, attackers: VecDeque::new(), pins: VecDeque::new(), file: None }
    }

    /// A process of neighbouring pages, of which every so many gets `PROT_MTE` afterwards.
    fn attack(&mut self, script: &mut Script) {
        let mut process = script.spawn();
        let pages = self.params.area_pages;
        let area = script.map_plain(&mut process, pages);
        let whole = PageSpan { first: 0, pages };
        script.touch(&process, area, whole, Access::Write);
        let step = usize::try_from(self.params.stride).expect("a small number");
        for first in (0..pages).step_by(step) {
            script.protect(&process, area, PageSpan { first, pages: 1 });
        }
        script.stride(&process, area, whole, self.params.stride);
        self.attackers.push_back(process);
        if self.attackers.len() > self.params.areas {
            let oldest = self.attackers.pop_front().expect("more than none");
            script.exit(oldest);
        }
    }

    fn pins(&mut self, script: &mut Script, tick: u32) {
        while self.pins.front().is_some_and(|(end, _)| *end <= tick) {
            let (_, pin) = self.pins.pop_front().expect("just seen");
            script.unpin(pin);
        }
        let filler = self.filler.as_ref().expect("the attack began");
        let Some((area, pages)) = filler.areas().next() else { return };
        for _ in 0..self.params.short_pins {
            let page = script.pages(0, pages);
            let pin = script.pin(filler, (area, page), PinTerm::Short);
            self.pins.push_back((tick + self.params.short_ticks, pin));
        }
        for _ in 0..self.params.long_pins {
            let page = script.pages(0, pages);
            script.pin(filler, (area, page), PinTerm::Long);
        }
    }
}

impl Workload for Adversary {
    fn begin(&mut self, script: &mut Script) {
        let mut filler = script.spawn();
        let area = script.map_plain(&mut filler, self.params.filler_pages);
        script.fill(&mut filler, area);
        self.filler = Some(filler);
    }

    fn tick(&mut self, script: &mut Script, tick: u32) {
        self.pins(script, tick);
        if tick.is_multiple_of(10) {
            self.attack(script);
        }
        let (file, at) = self.file.unwrap_or_else(|| (script.file(), 0));
        let pages = self.params.read_pages.min(FILE);
        script.read(file, PageSpan { first: at, pages });
        self.file = (at + pages < FILE).then_some((file, at + pages));
    }
}
