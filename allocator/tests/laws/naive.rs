//! The naive twin: which frames are out, and nothing else. It does not predict which frame comes
//! next; it says whether the one that came was allowed to.

use std::collections::{BTreeMap, BTreeSet};

use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
use pagelab_allocator::profile::{KernelProfile, MovablePcp};
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::subject::{Seen, Subject};

/// What went wrong.
pub(crate) type Verdict = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// Frames that are out, and the shapes they were handed out in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Naive {
    pub(crate) out: BTreeSet<Pfn>,
    pub(crate) held: Vec<(Pfn, Order)>,
}

impl Naive {
    /// A block was handed out: every frame of it must have been free.
    pub(crate) fn hand_out(&mut self, pfn: Pfn, order: Order) -> Verdict {
        ensure(pfn.is_aligned(order), || format!("{pfn} is not aligned to {order}"))?;
        for frame in PfnRange::block(pfn, order).iter() {
            ensure(self.out.insert(frame), || format!("{frame} was out already"))?;
        }
        self.held.push((pfn, order));
        Ok(())
    }

    /// Frames came back.
    pub(crate) fn take_back(&mut self, range: PfnRange) -> Verdict {
        for frame in range.iter() {
            ensure(self.out.remove(&frame), || format!("{frame} came back without being out"))?;
        }
        Ok(())
    }

    /// Whether a request could be answered with this block, by the state before the request.
    pub(crate) fn may_answer(
        &self,
        before: &Subject,
        req: &AllocRequest,
        (pfn, order): (Pfn, Order),
    ) -> Verdict {
        ensure(order == req.order, || format!("order {order} instead of {}", req.order))?;
        let alloc = &before.alloc;
        let zone = alloc.zone_of(pfn).ok_or_else(|| format!("{pfn} is in no zone"))?;
        ensure(zone.kind() <= req.gfp.highest_zone(), || format!("{pfn} is in too high a zone"))?;
        let strict = req.gfp.contains(GfpFlags::THISNODE);
        ensure(!strict || zone.node() == req.node, || format!("{pfn} is of another node"))?;
        PfnRange::block(pfn, order).iter().try_for_each(|frame| self.may_give(before, req, frame))
    }

    fn may_give(&self, before: &Subject, req: &AllocRequest, frame: Pfn) -> Verdict {
        let movable = req.gfp.migratetype() == MigrateType::Movable;
        let cached = before.seen(frame) == Seen::Cached;
        let seen = before.seen(frame);
        ensure(matches!(seen, Seen::Free | Seen::Cached), || format!("{frame} was {seen:?}"))?;
        let lent = before.spec.cma.iter().any(|area| area.contains(frame));
        let may_borrow = movable && !req.barred.contains(AllocFlags::CMA);
        let leaked = movable && cached && before.movable_pcp() == MovablePcp::Always;
        ensure(!lent || may_borrow || leaked, || format!("{frame} is lent and was barred"))?;
        match before.alloc.pageblock_type(frame) {
            Some(MigrateType::Isolate) => ensure(cached, || format!("{frame} was isolated")),
            Some(MigrateType::HighAtomic) => {
                let flags = req.slow_flags();
                let reserve = AllocFlags::HIGHATOMIC | AllocFlags::OOM | AllocFlags::NON_BLOCK;
                // Cached pages are nobody's reserve; 6.1 has pages on lists of other types; a
                // request that may reclaim ends the reservation before it fails.
                let excused = cached
                    || before.spec.profile == KernelProfile::V6_1
                    || req.gfp.contains(GfpFlags::DIRECT_RECLAIM);
                ensure(excused || flags.intersects(reserve), || {
                    format!("{frame} was kept for high-order atomic requests")
                })
            }
            _ => Ok(()),
        }
    }

    /// A request without watermarks may only fail when nothing fits.
    pub(crate) fn may_fail(&self, before: &Subject, req: &AllocRequest) -> Verdict {
        let exempt = req.gfp.contains(GfpFlags::MEMALLOC)
            && !req.gfp.contains(GfpFlags::NOMEMALLOC)
            && before.spec.profile == KernelProfile::V6_12;
        if !exempt || req.order > before.spec.geometry.max_order() {
            return Ok(());
        }
        let fits = |&(pfn, order): &(Pfn, Order)| {
            let zone = before.alloc.zone_of(pfn).expect("a free block lies in a zone");
            let ordinary = before.alloc.pageblock_type(pfn).is_some_and(MigrateType::is_mergeable);
            order >= req.order
                && ordinary
                && zone.kind() <= req.gfp.highest_zone()
                && (zone.node() == req.node || !req.gfp.contains(GfpFlags::THISNODE))
        };
        match before.free_blocks().into_iter().find(fits) {
            Some((pfn, order)) => Err(format!("{req:?} failed beside {pfn} of order {order}")),
            None => Ok(()),
        }
    }

    /// The laws that hold after every operation.
    pub(crate) fn laws(&self, subject: &Subject) -> Verdict {
        subject.alloc.check().map_err(|violation| violation.to_string())?;
        self.conservation(subject)?;
        self.counters(subject)?;
        merging(subject)
    }

    fn conservation(&self, subject: &Subject) -> Verdict {
        for (pfn, seen) in subject.frames() {
            let out = self.out.contains(&pfn);
            ensure(out == (seen == Seen::Held), || format!("{pfn} is {seen:?}, out: {out}"))?;
        }
        Ok(())
    }

    fn counters(&self, subject: &Subject) -> Verdict {
        let (mut all, mut cma) = (0, 0);
        for (pfn, order) in subject.free_blocks() {
            for frame in PfnRange::block(pfn, order).iter() {
                if subject.alloc.pageblock_type(frame) == Some(MigrateType::Isolate) {
                    continue;
                }
                all += 1;
                cma += u64::from(subject.spec.cma.iter().any(|area| area.contains(frame)));
            }
        }
        let counted = subject.free_pages();
        ensure(counted == (all, cma), || format!("free {counted:?} instead of {:?}", (all, cma)))
    }
}

/// No two free buddies below pageblock order, and none of one ordinary type above it.
fn merging(subject: &Subject) -> Verdict {
    let geometry = subject.spec.geometry;
    let blocks: BTreeMap<_, _> = subject.free_blocks().into_iter().collect();
    for (&pfn, &order) in &blocks {
        let buddy = pfn.buddy(order);
        let same_zone = subject.alloc.zone_index(pfn) == subject.alloc.zone_index(buddy);
        let apart =
            order < geometry.pageblock_order() && same_zone && blocks.get(&buddy) == Some(&order);
        ensure(!apart, || format!("{pfn} and {buddy} of order {order} are both free"))?;
    }
    Ok(())
}

/// Whether every page is on some list again: nothing is out and nothing is cached.
pub(crate) fn is_whole(alloc: &PageAllocator) -> bool {
    alloc.zones().iter().all(|zone| zone.free_pages().all == zone.managed())
}
