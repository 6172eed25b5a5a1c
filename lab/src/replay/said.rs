//! What the predicted machine says about its lists.

use std::collections::VecDeque;

use pagelab_allocator::event::{Event, Sink};

use super::tally::Kind;

/// Keeps what the allocator says about its lists until it is compared.
#[derive(Clone, Debug, Default)]
pub struct Said(pub(super) VecDeque<Event>);

impl Sink for Said {
    #[inline]
    fn emit(&mut self, event: Event) {
        if matches!(event, Event::ZoneLocked { .. } | Event::PcpuDrain { .. } | Event::Extfrag(_)) {
            self.0.push_back(event);
        }
    }
}

/// What kind of prediction an event is.
pub(super) const fn kind(event: &Event) -> Kind {
    match event {
        Event::Extfrag(_) => Kind::Extfrag,
        Event::PcpuDrain { .. } => Kind::Drained,
        _ => Kind::Taken,
    }
}

/// An event for people.
pub(super) fn show(event: &Event) -> String {
    match event {
        Event::ZoneLocked { pfn, order, migratetype } => {
            format!("{pfn} of order {order} from {migratetype}")
        }
        Event::PcpuDrain { pfn, order, migratetype } => {
            format!("{pfn} of order {order} to {migratetype}")
        }
        Event::Extfrag(extfrag) => format!(
            "{} of order {} from {} for order {} of {}, {:?}",
            extfrag.pfn,
            extfrag.fallback_order,
            extfrag.fallback_migratetype,
            extfrag.alloc_order,
            extfrag.alloc_migratetype,
            extfrag.change_ownership,
        ),
        other => format!("{other:?}"),
    }
}
