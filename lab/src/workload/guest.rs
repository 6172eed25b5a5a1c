//! A virtual machine whose memory is all treated as tagged, because the host cannot know what the
//! guest does with it, and some load on the host.

use pagelab_migrate::fault::Access;

use super::script::{Process, Script};
use super::tagging::UsesTags;
use super::{Scale, Workload};
use crate::logical::PageSpan;
use crate::logical::process::{AreaId, FileNumber};

/// What guest and host do. Sizes are pages and scale with memory; the values in words are those of
/// a machine of 16 GiB. That all guest memory counts as tagged is how RFC v3 treats KVM; every
/// other value is assumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestParams {
    /// Pages of guest memory. Assumed: 8 GiB.
    pub guest_pages: u32,
    /// Guest pages written a tick, somewhere: memory is populated as the guest comes to use it.
    /// Assumed: 64 MiB.
    pub written_pages: u32,
    /// Pages of each of the host's own processes. Assumed: 512 MiB; the share of tags applies to
    /// these only.
    pub host_pages: u32,
    /// Host processes. Assumed: 4.
    pub host_processes: u32,
    /// Pages of files that the host reads a tick. Assumed: 8 MiB.
    pub read_pages: u32,
}

impl GuestParams {
    /// A host with so much memory.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        Self {
            guest_pages: scale.mib(8 << 10),
            written_pages: scale.mib(64),
            host_pages: scale.mib(512),
            host_processes: 4,
            read_pages: scale.mib(8),
        }
    }
}

/// See [`GuestParams`].
#[derive(Debug)]
pub struct Guest {
    params: GuestParams,
    guest: Option<(Process, AreaId)>,
    host: Vec<Process>,
    file: Option<(FileNumber, u32)>,
}

/// Pages of a file before the next one begins: 1 GiB.
const FILE: u32 = 1 << 18;
/// Pages written in one place.
const RUN: u32 = 512;

impl Guest {
    /// A host without a guest.
    #[must_use]
    pub const fn new(params: GuestParams) -> Self {
        Self { params, guest: None, host: Vec::new(), file: None }
    }
}

impl Workload for Guest {
    fn begin(&mut self, script: &mut Script) {
        for _ in 0..self.params.host_processes {
            let mut process = script.spawn();
            script.grow(&mut process, self.params.host_pages);
            self.host.push(process);
        }
        let mut guest = script.spawn_with(UsesTags::Yes);
        let memory = script.map_tagged(&mut guest, self.params.guest_pages);
        self.guest = Some((guest, memory));
    }

    fn tick(&mut self, script: &mut Script, _: u32) {
        let (guest, memory) = self.guest.as_ref().expect("the guest has booted");
        let (all, mut left) = (self.params.guest_pages, self.params.written_pages);
        while left > 0 {
            let pages = RUN.min(left).min(all);
            let first = script.pages(0, all - pages + 1);
            script.touch(guest, *memory, PageSpan { first, pages }, Access::Write);
            left -= pages;
        }
        let at = script.at(self.host.len());
        script.visit(&self.host[at], self.params.host_pages / 16, Access::Write);
        let (file, at) = self.file.unwrap_or_else(|| (script.file(), 0));
        let pages = self.params.read_pages.min(FILE);
        script.read(file, PageSpan { first: at, pages });
        self.file = (at + pages < FILE).then_some((file, at + pages));
    }
}
