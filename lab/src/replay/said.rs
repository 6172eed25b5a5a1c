//! What the predicted machine says about its lists.

use std::collections::VecDeque;

use pagelab_allocator::event::{Event, Sink};
use pagelab_allocator::units::Pfn;

use super::cause::Cause;
use super::fallback::fate;
use super::tally::Kind;

/// How many requests later a page may be handed out and still count as swapped.
const SWAPPED_WITHIN: u8 = 4;

/// A page that was predicted in place of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// The page.
    pub(super) page: Pfn,
    /// What the miss was put down to.
    pub(super) cause: Cause,
    left: u8,
}

impl Expected {
    /// It was predicted just now.
    pub(super) const fn new(page: Pfn, cause: Cause) -> Self {
        Self { page, cause, left: SWAPPED_WITHIN }
    }

    /// Another request comes: whether the page is still waited for.
    pub(super) const fn is_awaited(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

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
            "{} of order {} from {} for order {} of {}, {}",
            extfrag.pfn,
            extfrag.fallback_order,
            extfrag.fallback_migratetype,
            extfrag.alloc_order,
            extfrag.alloc_migratetype,
            fate(extfrag.change_ownership, extfrag.alloc_migratetype),
        ),
        _ => "an event that is not compared".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_not_waited_for_for_ever() {
        let mut expected = Expected::new(Pfn::new(7), Cause::Unexplained);
        let waited = (0..10).take_while(|_| expected.is_awaited()).count();
        assert_eq!(waited, usize::from(SWAPPED_WITHIN) - 1);
    }
}
