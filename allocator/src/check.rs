//! Recomputes every counter and list from first principles.
//!
//! Slow (it visits every frame) and independent of the code it checks: it believes only the state
//! bytes and the links. The first violated invariant is returned with both numbers.

use core::fmt;

use crate::buddy::{Buddy, FreePages};
use crate::event::Sink;
use crate::frame::{FrameIndex, Head};
use crate::migratetype::MigrateType;
use crate::page_alloc::PageAllocator;
use crate::profile::MergeRule;
use crate::units::{Order, PageCount, Pfn};
use crate::zone::Zone;

/// An invariant that does not hold: what every `check()` of this workspace returns.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}: {found} instead of {expected}")]
pub struct Violation {
    /// Which invariant, and where.
    pub what: String,
    /// What is there.
    pub found: String,
    /// What follows from the rest.
    pub expected: String,
}

impl Violation {
    /// The same, found inside `place`.
    #[must_use]
    pub fn within(self, place: impl fmt::Display) -> Self {
        Self { what: format!("{place}: {}", self.what), ..self }
    }
}

/// Compares what is there with what follows from the rest; `what` is put into words only when they
/// differ.
///
/// # Errors
///
/// A [`Violation`] when they differ.
#[inline]
pub fn same<T: PartialEq + fmt::Debug>(
    what: impl fmt::Display,
    found: T,
    expected: T,
) -> Result<(), Violation> {
    if found == expected {
        return Ok(());
    }
    Err(violation(&what, &found, &expected))
}

#[cold]
fn violation(
    what: &dyn fmt::Display,
    found: &dyn fmt::Debug,
    expected: &dyn fmt::Debug,
) -> Violation {
    let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
    Violation { what: what.to_string(), found, expected }
}

/// [`same`] for numbers of a zone, at a frame or at the zone's first.
#[inline]
fn same_at(what: &str, at: Pfn, found: u64, expected: u64) -> Result<(), Violation> {
    same(format_args!("{what} at {at}"), found, expected)
}

/// Pages by what their block says they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tally {
    free: u64,
    allocated: u64,
    per_cpu: u64,
}

impl Buddy {
    /// Checks lists, links, counters and merging.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        self.checked_tally().map(|_| ())
    }

    /// [`check`](Self::check), and what its walk over all frames counted.
    fn checked_tally(&self) -> Result<Tally, Violation> {
        let tally = self.tally()?;
        let mut listed = 0;
        let mut counted = FreePages::default();
        for order in Order::ZERO.to(self.geometry.max_order()) {
            let mut blocks = 0;
            for mt in MigrateType::ALL {
                let on_list = self.check_list(order, mt)?;
                let pages = PageCount::new(on_list << order.get());
                counted.add(pages, self.counted_as(mt));
                let empty = u64::from(self.areas.is_empty(order, mt));
                same_at("empty mark of a list", self.span.start(), empty, u64::from(on_list == 0))?;
                blocks += on_list;
            }
            same_at("free blocks of an order", self.span.start(), self.nr_free(order), blocks)?;
            listed += blocks << order.get();
        }
        let at = self.span.start();
        same_at("pages of free blocks against the lists", at, tally.free, listed)?;
        same_at("free pages", at, self.free.all.get(), counted.all.get())?;
        same_at("free CMA pages", at, self.free.cma.get(), counted.cma.get())?;
        same_at("free METADATA pages", at, self.free.metadata.get(), counted.metadata.get())?;
        same_at("free HIGHATOMIC pages", at, self.free.highatomic.get(), counted.highatomic.get())?;
        same_at("isolated pageblocks", at, self.blocks.isolated(), self.blocks.count_isolated())?;
        Ok(tally)
    }

    /// Checks one list and counts its blocks.
    fn check_list(&self, order: Order, mt: MigrateType) -> Result<u64, Violation> {
        let mut blocks = 0;
        for index in self.areas.list(&self.map, order, mt) {
            let pfn = self.map.pfn(index);
            let stored = self.map.head(index) == Some(Head::Free(order));
            same_at("state of a listed block", pfn, u64::from(stored), 1)?;
            // 6.1 lists blocks under types that their pageblocks do not have.
            if self.rules.merge == MergeRule::OverwriteBuddy {
                let own = u64::from(self.blocks.migratetype(index) == mt);
                same_at("type of a listed block is its pageblock's", pfn, own, 1)?;
            }
            let linked = self.map.is_linked((index, order));
            same_at("links of a listed block", pfn, u64::from(linked), 1)?;
            blocks += 1;
            same_at("length of a list (cycle?)", pfn, blocks.min(self.nr_free(order)), blocks)?;
        }
        Ok(blocks)
    }

    /// Walks all frames block by block: no block inside another, all aligned, all in the zone, no
    /// two free buddies below pageblock order.
    fn tally(&self) -> Result<Tally, Violation> {
        let mut tally = Tally::default();
        let mut index: FrameIndex = 0;
        while let Some(start) = self.map.next_head(index, self.map.len()) {
            index = start;
            let head = self.head(index).expect("something starts there");
            let (pfn, order) = (self.map.pfn(index), head.order());
            let pages = order.pages().get();
            same_at("alignment of a block", pfn, pfn.get() % pages, 0)?;
            same_at("block outside the zone", pfn, u64::from(self.span.contains(pfn)), 1)?;
            let last = index + ((1 << order.get()) - 1);
            let end = (last + 1).min(self.map.len());
            if let Some(inner) = self.map.next_head(index + 1, end) {
                same_at("block inside a block", self.map.pfn(inner), 1, 0)?;
            }
            match head {
                Head::Free(_) => tally.free += pages,
                Head::Allocated(..) => tally.allocated += pages,
                Head::PerCpu(_) => tally.per_cpu += pages,
            }
            if matches!(head, Head::Free(_)) && order < self.geometry.pageblock_order() {
                let buddy = index ^ (1 << order.get());
                let unmerged = u64::from(self.map.is_free_block(buddy, order));
                same_at("unmerged free buddies", pfn, unmerged, 0)?;
            }
            index = last + 1;
        }
        Ok(tally)
    }
}

impl Zone {
    /// Checks the buddy lists, the per-CPU lists and page conservation.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        let tally = self.buddy.checked_tally()?;
        let at = self.span().start();
        let mut cached = 0;
        for pcp in &self.pcp {
            let mut pages = 0;
            for (block, order) in pcp.blocks() {
                let pfn = self.buddy.map.pfn(block.index());
                let stored = self.buddy.head(block.index()) == Some(Head::PerCpu(order));
                same_at("state of a per-CPU block", pfn, u64::from(stored), 1)?;
                pages += order.pages().get();
            }
            same_at("pages of a CPU", at, pcp.count().get(), pages)?;
            cached += pages;
        }
        same_at("pages on per-CPU lists", at, cached, tally.per_cpu)?;
        if self.counters.threshold() > 0 {
            for (counted, listed) in self.counters.known(self.buddy.free) {
                same_at("free pages that were counted", at, counted, listed.get())?;
            }
        }
        let all = tally.free + tally.allocated + tally.per_cpu;
        same_at("managed pages", at, (self.managed + self.assumed).get(), all)
    }
}

impl<S: Sink> PageAllocator<S> {
    /// Checks every zone.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        self.zones().iter().try_for_each(Zone::check)
    }
}
