//! When not to try: compaction backs off exponentially from orders that keep failing.

use pagelab_allocator::units::Order;

/// The back-off of one zone. Linux: `compact_considered`, `compact_defer_shift` and
/// `compact_order_failed` of `struct zone`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deferral {
    considered: u32,
    shift: u32,
    order_failed: u8,
}

/// What a reset of the back-off knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeferralReset {
    /// Compaction thinks that a block now exists.
    Expected,
    /// The allocation took the block: this order works.
    Allocated,
}

impl Deferral {
    /// At most 64 requests are turned away in a row. Linux: `COMPACT_MAX_DEFER_SHIFT`.
    const MAX_SHIFT: u32 = 6;

    /// Requests turned away in a row. Linux: `compact_considered`.
    #[must_use]
    pub const fn considered(&self) -> u32 {
        self.considered
    }

    /// How many are turned away in a row: two to the power of this. Linux: `compact_defer_shift`.
    #[must_use]
    pub const fn shift(&self) -> u32 {
        self.shift
    }

    /// The smallest order that failed. Linux: `compact_order_failed`.
    #[must_use]
    pub const fn order_failed(&self) -> u8 {
        self.order_failed
    }

    /// A complete run did not help. Linux: `defer_compaction()`.
    pub fn defer(&mut self, order: Order) {
        self.considered = 0;
        self.shift = (self.shift + 1).min(Self::MAX_SHIFT);
        self.order_failed = self.order_failed.min(order.get());
    }

    /// Whether this request is turned away; counts it. Linux: `compaction_deferred()`.
    #[must_use]
    pub fn is_deferred(&mut self, order: Order) -> bool {
        let limit = 1 << self.shift;
        if order.get() < self.order_failed {
            return false;
        }
        self.considered += 1;
        if self.considered >= limit {
            self.considered = limit;
            return false;
        }
        true
    }

    /// Compaction helped. Linux: `compaction_defer_reset()`.
    pub fn reset(&mut self, order: Order, reset: DeferralReset) {
        if reset == DeferralReset::Allocated {
            self.considered = 0;
            self.shift = 0;
        }
        self.order_failed = self.order_failed.max(order.get() + 1);
    }

    /// Whether the longest back-off has just run out. Linux: `compaction_restarting()`.
    #[must_use]
    pub fn is_restarting(&self, order: Order) -> bool {
        order.get() >= self.order_failed
            && self.shift == Self::MAX_SHIFT
            && self.considered >= 1 << self.shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Order = Order::of(4);

    /// Requests that are turned away before the next one gets through.
    fn turned_away(deferral: &mut Deferral) -> u32 {
        let mut count = 0;
        while deferral.is_deferred(ORDER) {
            count += 1;
        }
        count
    }

    #[test]
    fn the_back_off_doubles_up_to_sixty_four() {
        let mut deferral = Deferral::default();
        let mut seen = Vec::new();
        for _ in 0..8 {
            deferral.defer(ORDER);
            seen.push(turned_away(&mut deferral));
        }
        assert_eq!(seen, [1, 3, 7, 15, 31, 63, 63, 63]);
        assert!(deferral.is_restarting(ORDER));
    }

    #[test]
    fn only_an_allocation_ends_the_back_off() {
        let mut deferral = Deferral::default();
        deferral.defer(ORDER);
        deferral.defer(ORDER);
        deferral.reset(ORDER, DeferralReset::Expected);
        assert!(!deferral.is_deferred(ORDER), "orders up to 4 are below the failing one now");
        assert!(deferral.is_deferred(Order::of(5)));
        deferral.reset(Order::of(5), DeferralReset::Allocated);
        assert_eq!(deferral, Deferral { considered: 0, shift: 0, order_failed: 6 });
    }

    #[test]
    fn smaller_orders_than_the_failing_one_pass() {
        let mut deferral = Deferral::default();
        deferral.reset(Order::of(7), DeferralReset::Allocated);
        deferral.defer(ORDER);
        assert!(!deferral.is_deferred(Order::of(3)));
        assert!(deferral.is_deferred(ORDER));
        assert!(!deferral.is_restarting(ORDER));
    }
}
