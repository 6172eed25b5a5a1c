//! Claiming an exact range while other threads allocate and free.

use core::mem::ManuallyDrop;

use pagelab_percpu::{Asymmetric, Exclusive};

use crate::contig::{Busy, ClaimError, ContigClaim, ContigRange};
use crate::event::Silent;
use crate::hotplug::Hotplug;
use crate::isolate::{IsolateError, IsolateMode};
use crate::smp::step::Step;
use crate::smp::{Cpu, SharedAllocator};
use crate::units::{Pfn, PfnRange};

/// A range being emptied: its pageblocks are isolated while this lives. No lock is held between
/// calls: blocks are freed and allocated meanwhile. Linux: the middle of `alloc_contig_range()`.
///
/// Dropping it without [`commit`](Self::commit) ends the isolation and changes nothing else.
#[derive(Debug)]
#[must_use = "a dropped claim undoes the isolation"]
pub struct SharedClaim<'a, P: Exclusive = Asymmetric> {
    shared: &'a SharedAllocator<P>,
    zone: usize,
    range: PfnRange,
    mode: IsolateMode,
}

impl<'a, P: Exclusive> SharedClaim<'a, P> {
    /// Isolates the pageblocks of `range`, then drains every CPU's lists of the zone.
    ///
    /// # Errors
    ///
    /// [`ClaimError::BadRange`], or [`ClaimError::Isolate`] when a page cannot move or somebody
    /// else claims from one of the pageblocks; nothing stays isolated then.
    pub fn claim(
        shared: &'a SharedAllocator<P>,
        range: PfnRange,
        mode: IsolateMode,
    ) -> Result<Self, ClaimError> {
        let first = shared.steps.has(Step::ClaimIsolatesFirst);
        if !first {
            shared.drain_all();
        }
        let claim = Self::isolate(shared, range, mode)?;
        if first && shared.steps.has(Step::ClaimDrains) {
            shared.zones[claim.zone].drain();
        }
        Ok(claim)
    }

    /// Isolates the pageblocks of each of `ranges`, then drains every CPU's lists once for all: as
    /// many claims that are made at the same time. They come in the order of the ranges; one that
    /// [`claim`](Self::claim) would refuse is left out, which [`range`](Self::range) tells. They
    /// are made on `cpu`, whose own lists it can empty without a barrier.
    ///
    /// # Panics
    ///
    /// Panics when the CPU is of another machine; nothing has happened then.
    #[must_use = "dropped claims undo the isolation"]
    pub fn claim_each(
        shared: &'a SharedAllocator<P>,
        cpu: &mut Cpu<P>,
        ranges: &[PfnRange],
        mode: IsolateMode,
    ) -> Vec<Self> {
        assert!(cpu.is_of(shared), "a CPU of another machine");
        let claim = |range: &PfnRange| Self::isolate(shared, *range, mode).ok();
        let claims: Vec<Self> = ranges.iter().filter_map(claim).collect();
        let mut zones: Vec<usize> = claims.iter().map(|claim| claim.zone).collect();
        zones.dedup();
        zones.into_iter().for_each(|zone| cpu.drain_all_of(zone));
        claims
    }

    fn isolate(
        shared: &'a SharedAllocator<P>,
        range: PfnRange,
        mode: IsolateMode,
    ) -> Result<Self, ClaimError> {
        let blocks = range.align_out(shared.geometry.pageblock_order());
        let zone = shared.zones.iter().position(|zone| zone.span.covers(blocks));
        let Some(zone) = zone.filter(|_| !range.is_empty()) else {
            return Err(ClaimError::BadRange(range));
        };
        let mut locked = shared.zones[zone].lock();
        let isolated = locked.start_isolate(range, mode);
        drop(locked);
        match isolated {
            Err(ClaimError::Isolate(IsolateError::AlreadyIsolated(_)))
                if !shared.steps.has(Step::ClaimsExclude) => {}
            isolated => isolated?,
        }
        Ok(Self { shared, zone, range, mode })
    }

    /// The frames being claimed.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.range
    }

    /// The first block at or after `from`, inside the range, that somebody holds. It may be free by
    /// the time the caller looks.
    #[must_use]
    pub fn next_busy(&self, from: Pfn) -> Option<Busy> {
        let locked = self.shared.zones[self.zone].lock();
        Busy::first(&locked, self.range, from)
    }

    /// Takes the range if it is free by now, and ends the isolation either way.
    /// Linux: `test_pages_isolated()`, `isolate_freepages_range()`, `undo_isolate_page_range()`.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Busy`] with the first frame that is not free.
    ///
    /// # Panics
    ///
    /// Panics when `cpu` is one of another machine; the isolation ends.
    pub fn commit(self, cpu: &mut Cpu<P>) -> Result<ContigRange, ClaimError> {
        self.admit(cpu);
        let (at, range, mode) = (self.zone, self.range, self.mode);
        // The claim that is resumed undoes the isolation.
        let _resumed = ManuallyDrop::new(self);
        let id = cpu.id();
        let tests = cpu.shared().steps.has(Step::ClaimTests);
        cpu.with_locked(at, |locked| {
            let taken = match ContigClaim::resume(locked, 0, range, mode).commit(id) {
                Err(ClaimError::Busy(_)) if !tests => return Ok(ContigRange::unchecked(range)),
                taken => taken?,
            };
            locked.posted.hold_singles(taken.range());
            Ok(taken)
        })
    }

    /// Takes those of `parts` that are free by now, and tells `each` of every part, with what came
    /// with it; the isolation goes on. `parts` are asked for and `each` is called under the zone's
    /// lock: whoever uses the machine there waits for ever.
    ///
    /// # Panics
    ///
    /// Panics when `cpu` is one of another machine; nothing is taken then. Panics at the first part
    /// that does not ascend or lies outside of the range; `each` was told of those before
    /// it, and they stay taken.
    pub fn take<T>(
        &self,
        cpu: &mut Cpu<P>,
        parts: impl IntoIterator<Item = (PfnRange, T)>,
        mut each: impl FnMut(T, Result<ContigRange, ClaimError>),
    ) {
        self.admit(cpu);
        let id = cpu.id();
        cpu.with_locked(self.zone, |locked| {
            let posted = locked.posted;
            // This claim goes on, and undoes the isolation itself.
            let resumed = ContigClaim::resume(locked, 0, self.range, self.mode);
            ManuallyDrop::new(resumed).take(id, parts, |with, taken| {
                taken.iter().for_each(|part| posted.hold_singles(part.range()));
                each(with, taken);
            });
        });
    }

    /// Takes single pages of the range that the caller holds, as if he freed each and the claim
    /// took it right then, and tells `each` of every page: once the isolation has ended, lists and
    /// counters are the same. `pages` are asked for and `each` is called under the zone's lock:
    /// whoever uses the machine there waits for ever.
    /// Linux: `free_one_page()`, `isolate_freepages_range()`, `free_contig_range()` of what the
    /// page would have merged with.
    ///
    /// # Panics
    ///
    /// Panics at the first page that lies outside of the range, or that nobody holds as a single
    /// page; `each` was told of those before it, and they stay the claim's.
    pub fn take_over(&self, pages: impl IntoIterator<Item = Pfn>, each: impl FnMut(Pfn)) {
        let pages = pages.into_iter().inspect(|pfn| {
            assert!(self.range.contains(*pfn), "a page of the range");
        });
        self.shared.zones[self.zone].lock().take_over(pages, each);
    }

    /// Takes the range's pageblocks offline if they are free by now, and ends the isolation either
    /// way. Linux: the end of `offline_pages()`.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Busy`] with the first frame that is not free.
    ///
    /// # Panics
    ///
    /// Panics when `cpu` is one of another machine; the isolation ends.
    pub fn offline(self, cpu: &mut Cpu<P>) -> Result<(), ClaimError> {
        self.admit(cpu);
        let blocks = self.range.align_out(self.shared.geometry.pageblock_order());
        let tests = self.shared.steps.has(Step::ClaimTests);
        let id = cpu.id();
        let gone = cpu.with_locked(self.zone, |locked| {
            let zone = &mut locked.zones[0];
            match zone.test_isolated(blocks, &mut Silent) {
                Err(pfn) if tests => return Err(ClaimError::Busy(pfn)),
                _ => zone.offline(id, blocks),
            }
            locked.adjust_managed(0, blocks.len(), Hotplug::Leaves);
            Ok(())
        });
        if gone.is_ok() {
            // With the memory its isolation is gone.
            core::mem::forget(self);
        }
        gone
    }

    /// Panics when `cpu` is not one of the machine that the range is isolated in.
    #[track_caller]
    fn admit(&self, cpu: &Cpu<P>) {
        assert!(cpu.is_of(self.shared), "a CPU of another machine");
    }
}

impl<P: Exclusive> Drop for SharedClaim<'_, P> {
    fn drop(&mut self) {
        self.shared.zones[self.zone].lock().undo_isolate(self.range, self.mode);
    }
}
