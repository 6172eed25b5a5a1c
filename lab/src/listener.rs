//! Listens to a machine's events: counts those of external fragmentation, hands all on.

use core::any::Any;

use pagelab_allocator::event::{Event, Sink};
use pagelab_allocator::fallback::{Extfrag, Ownership};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::units::Order;

use crate::report::extfrag::ExtfragCounts;

/// The receiver of a run's events.
#[derive(Clone, Debug)]
pub struct Listener<K> {
    extfrag: ExtfragCounts,
    pageblock: Order,
    /// Who gets all of them.
    pub rest: K,
}

impl<K> Listener<K> {
    /// Counts for a machine whose pageblocks are of `pageblock`, and hands all on to `rest`.
    pub fn new(pageblock: Order, rest: K) -> Self {
        Self { extfrag: ExtfragCounts::default(), pageblock, rest }
    }

    /// What was counted.
    #[must_use]
    pub const fn extfrag(&self) -> &ExtfragCounts {
        &self.extfrag
    }
}

impl<K: Sink> Sink for Listener<K> {
    #[inline]
    fn emit(&mut self, event: Event) {
        if let Event::Extfrag(extfrag) = &event {
            count(&mut self.extfrag, extfrag, self.pageblock);
        }
        self.rest.emit(event);
    }

    #[inline(always)]
    fn note<N: Any>(&mut self, note: impl FnOnce() -> N) {
        self.rest.note(note);
    }
}

/// Counts one event on a machine whose pageblocks are of `pageblock`.
fn count(counts: &mut ExtfragCounts, event: &Extfrag, pageblock: Order) {
    let unmovable = event.alloc_migratetype == MigrateType::Unmovable;
    let from_movable = event.fallback_migratetype == MigrateType::Movable;
    counts.events += 1;
    counts.fragmenting += u64::from(event.fallback_order < pageblock);
    counts.unmovable += u64::from(unmovable);
    counts.unmovable_in_movable += u64::from(unmovable && from_movable);
    counts.claimed += u64::from(event.change_ownership == Ownership::Changed);
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::event::Silent;
    use pagelab_allocator::units::Pfn;

    use super::*;

    #[test]
    fn classes_are_those_of_mmtests() {
        let mut listener = Listener::new(Order::of(9), Silent);
        let raid = |from, to, order, change_ownership| {
            Event::Extfrag(Extfrag {
                pfn: Pfn::new(0),
                alloc_order: Order::ZERO,
                fallback_order: Order::of(order),
                alloc_migratetype: to,
                fallback_migratetype: from,
                change_ownership,
            })
        };
        use MigrateType::{Movable, Reclaimable, Unmovable};
        for event in [
            raid(Movable, Unmovable, 9, Ownership::Changed),
            raid(Movable, Unmovable, 8, Ownership::Kept),
            raid(Reclaimable, Unmovable, 0, Ownership::Kept),
            raid(Unmovable, Movable, 4, Ownership::Changed),
            Event::PageFree { pfn: Pfn::new(0), order: Order::ZERO },
        ] {
            listener.emit(event);
        }
        let expected = ExtfragCounts {
            events: 4,
            fragmenting: 3,
            unmovable: 3,
            unmovable_in_movable: 2,
            claimed: 2,
        };
        assert_eq!(*listener.extfrag(), expected);
    }
}
