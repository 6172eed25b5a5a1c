//! Which anonymous memory of a workload carries tags, and since when.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::logical::PageSpan;
use crate::size::Share;

/// What a share is a share of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagUnit {
    /// Processes: some have all their anonymous memory tagged.
    Process,
    /// Anonymous memory: every area has a part tagged.
    Memory,
    /// Areas (VMAs): some are tagged as a whole.
    Vma,
}

impl TagUnit {
    /// The word to type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Memory => "memory",
            Self::Vma => "vma",
        }
    }
}

/// When pages become tagged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagTime {
    /// Before they are touched: `mmap(PROT_MTE)`.
    Mmap,
    /// After they were touched: `mprotect(PROT_MTE)`, and touched again.
    Mprotect,
}

impl TagTime {
    /// The word to type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mmap => "mmap",
            Self::Mprotect => "mprotect",
        }
    }
}

/// How the tagged pages of an area lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagLayout {
    /// Side by side, from the area's start.
    Clustered,
    /// In runs of [`GRANULE`] pages, drawn one by one.
    Scattered,
}

impl TagLayout {
    /// The word to type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clustered => "clustered",
            Self::Scattered => "scattered",
        }
    }
}

/// Pages of a run in scattered areas. Assumed: 64 KiB, the size of a small allocator's region.
pub const GRANULE: u32 = 16;

/// How tagged pages are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TagChoice {
    /// How many.
    pub share: Share,
    /// Of what.
    pub unit: TagUnit,
    /// When.
    pub time: TagTime,
    /// Where. Only for [`TagUnit::Memory`]; the others tag whole areas.
    pub layout: TagLayout,
}

/// Whether a process is one of those that use tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsesTags {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Chooses with a generator of its own (PCG XSL RR 128/64): whatever the share, everything else in
/// a stream stays the same.
#[derive(Clone, Debug)]
pub struct TagDraws {
    choice: TagChoice,
    rng: Pcg64,
}

impl TagDraws {
    /// Draws of one seed.
    #[must_use]
    pub fn new(choice: TagChoice, seed: u64) -> Self {
        // Another stream than the workload's own.
        Self { choice, rng: Pcg64::seed_from_u64(!seed) }
    }

    /// How pages are chosen.
    #[must_use]
    pub const fn choice(&self) -> TagChoice {
        self.choice
    }

    fn draw(&mut self) -> bool {
        let (chosen, all) = (self.choice.share.per_10_000(), Share::ALL);
        self.rng.random_ratio(u32::from(chosen), u32::from(all))
    }

    /// Whether a new process uses tags.
    pub fn process(&mut self) -> UsesTags {
        if self.draw() { UsesTags::Yes } else { UsesTags::No }
    }

    /// The parts of a new area of `pages` pages that are to carry tags, ascending.
    pub fn area(&mut self, process: UsesTags, pages: u32) -> Vec<PageSpan> {
        let whole = |tagged| if tagged { vec![PageSpan { first: 0, pages }] } else { Vec::new() };
        match (self.choice.unit, self.choice.layout) {
            (TagUnit::Process, _) => whole(process == UsesTags::Yes),
            (TagUnit::Vma, _) => whole(self.draw()),
            (TagUnit::Memory, TagLayout::Clustered) => {
                let share = u64::from(self.choice.share.per_10_000());
                let part = (u64::from(pages) * share).div_ceil(u64::from(Share::ALL));
                let part = u32::try_from(part).expect("a part of a u32");
                if part == 0 { Vec::new() } else { vec![PageSpan { first: 0, pages: part }] }
            }
            (TagUnit::Memory, TagLayout::Scattered) => self.runs(pages),
        }
    }

    fn runs(&mut self, pages: u32) -> Vec<PageSpan> {
        let mut spans: Vec<PageSpan> = Vec::new();
        let mut first = 0;
        while first < pages {
            let len = GRANULE.min(pages - first);
            if self.draw() {
                match spans.last_mut() {
                    Some(last) if last.first + last.pages == first => last.pages += len,
                    _ => spans.push(PageSpan { first, pages: len }),
                }
            }
            first += len;
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(share: &str, unit: TagUnit, layout: TagLayout) -> TagDraws {
        let share = Share::parse(share).unwrap();
        TagDraws::new(TagChoice { share, unit, time: TagTime::Mmap, layout }, 5)
    }

    fn tagged(spans: &[PageSpan]) -> u32 {
        spans.iter().map(|span| span.pages).sum()
    }

    #[test]
    fn memory_is_tagged_by_the_page() {
        let mut clustered = draws("25%", TagUnit::Memory, TagLayout::Clustered);
        let spans = clustered.area(UsesTags::No, 1000);
        assert_eq!(spans, [PageSpan { first: 0, pages: 250 }]);
        let mut scattered = draws("25%", TagUnit::Memory, TagLayout::Scattered);
        let spans = scattered.area(UsesTags::No, 100_000);
        assert!((22_000..28_000).contains(&tagged(&spans)) && spans.len() > 500);
        assert!(spans.windows(2).all(|two| two[0].first + two[0].pages < two[1].first));
        for layout in [TagLayout::Clustered, TagLayout::Scattered] {
            let none = draws("0%", TagUnit::Memory, layout).area(UsesTags::Yes, 1000);
            assert_eq!(tagged(&none), 0);
            let all = draws("100%", TagUnit::Memory, layout).area(UsesTags::No, 1003);
            assert_eq!(all, [PageSpan { first: 0, pages: 1003 }]);
        }
    }

    #[test]
    fn processes_and_areas_are_tagged_whole() {
        let mut processes = draws("50%", TagUnit::Process, TagLayout::Clustered);
        assert_eq!(tagged(&processes.area(UsesTags::Yes, 64)), 64);
        assert_eq!(tagged(&processes.area(UsesTags::No, 64)), 0);
        let chosen = (0..1000).filter(|_| processes.process() == UsesTags::Yes).count();
        assert!((440..560).contains(&chosen));
        let mut areas = draws("50%", TagUnit::Vma, TagLayout::Clustered);
        let chosen = (0..1000).filter(|_| !areas.area(UsesTags::No, 8).is_empty()).count();
        assert!((440..560).contains(&chosen));
    }
}
