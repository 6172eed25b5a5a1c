//! Units as closed types: frame numbers, page counts, orders, ranges and ids.
//!
//! Nothing here converts silently. `Pfn - Pfn` is a [`PageCount`], `Pfn + PageCount` is a [`Pfn`],
//! and `Pfn + Pfn` does not compile. Ranges are half-open everywhere; no inclusive end exists.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

/// Page frame number: physical address divided by the page size. Linux: `unsigned long pfn`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pfn(u64);

impl Pfn {
    /// Wraps a raw frame number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw frame number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The block of `order` pages that this block of `order` pages merges with.
    /// Linux: `__find_buddy_pfn()`.
    #[must_use]
    pub const fn buddy(self, order: Order) -> Self {
        Self(self.0 ^ order.pages().get())
    }

    /// The first frame of the naturally aligned block of `order` that holds this frame.
    #[must_use]
    pub const fn align_down(self, order: Order) -> Self {
        Self(self.0 & !(order.pages().get() - 1))
    }

    /// The first naturally aligned frame of `order` at or after this one.
    ///
    /// # Panics
    ///
    /// Panics when the result does not fit 64 bits.
    #[must_use]
    pub const fn align_up(self, order: Order) -> Self {
        Self(self.0.next_multiple_of(order.pages().get()))
    }

    /// Whether a block of `order` may start here.
    #[must_use]
    pub const fn is_aligned(self, order: Order) -> bool {
        self.align_down(order).0 == self.0
    }

    /// The largest order, at most `limit`, of a naturally aligned block that may start here.
    #[must_use]
    pub fn natural_order(self, limit: Order) -> Order {
        let zeros = u8::try_from(self.0.trailing_zeros()).unwrap_or(u8::MAX);
        Order(zeros.min(limit.0))
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Add<PageCount> for Pfn {
    type Output = Self;
    fn add(self, rhs: PageCount) -> Self {
        Self(self.0 + rhs.0)
    }
}

impl Sub<PageCount> for Pfn {
    type Output = Self;
    fn sub(self, rhs: PageCount) -> Self {
        Self(self.0 - rhs.0)
    }
}

impl Sub for Pfn {
    type Output = PageCount;
    fn sub(self, rhs: Self) -> PageCount {
        PageCount(self.0 - rhs.0)
    }
}

/// A number of base pages: a length, never a position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PageCount(u64);

impl PageCount {
    /// No pages.
    pub const ZERO: Self = Self(0);

    /// Wraps a number of pages.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number of pages.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// `self - rhs`, or zero when that would be negative.
    #[must_use]
    pub const fn saturating_sub(self, rhs: Self) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl fmt::Debug for PageCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages", self.0)
    }
}

impl fmt::Display for PageCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Add for PageCount {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0 + rhs.0)
    }
}

impl AddAssign for PageCount {
    fn add_assign(&mut self, rhs: Self) {
        self.0 += rhs.0;
    }
}

impl Sub for PageCount {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0 - rhs.0)
    }
}

impl SubAssign for PageCount {
    fn sub_assign(&mut self, rhs: Self) {
        self.0 -= rhs.0;
    }
}

impl core::iter::Sum for PageCount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        Self(iter.map(|c| c.0).sum())
    }
}

/// Binary logarithm of a block's length in pages. Linux: `unsigned int order`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Order(u8);

impl Order {
    /// One page.
    pub const ZERO: Self = Self(0);
    /// The largest order any geometry may name: 2^15 pages.
    pub const LIMIT: Self = Self(15);
    /// Orders above this are "costly": compaction and retries treat them apart.
    /// Linux: `PAGE_ALLOC_COSTLY_ORDER`.
    pub const COSTLY: Self = Self(3);

    /// An order up to [`Order::LIMIT`], else `None`.
    #[must_use]
    pub const fn new(raw: u8) -> Option<Self> {
        if raw <= Self::LIMIT.0 { Some(Self(raw)) } else { None }
    }

    /// For constants: an order that is known to be in range.
    ///
    /// # Panics
    ///
    /// Panics when `raw` is above [`Order::LIMIT`].
    #[must_use]
    pub const fn of(raw: u8) -> Self {
        assert!(raw <= Self::LIMIT.0, "order above Order::LIMIT");
        Self(raw)
    }

    /// The order in the low four bits of `raw`; the rest is ignored. For state bytes and loops
    /// whose bounds are orders, where a check would only repeat what is known.
    #[must_use]
    pub(crate) const fn from_bits(raw: u8) -> Self {
        Self(raw & Self::LIMIT.0)
    }

    /// The raw order.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The raw order as an index into per-order tables. The mask changes nothing; it says so to the
    /// compiler, which then leaves out the bounds checks of tables of 16.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 & Self::LIMIT.0) as usize
    }

    /// Length of a block of this order: `2^order` pages.
    #[must_use]
    pub const fn pages(self) -> PageCount {
        PageCount(1 << self.0)
    }

    /// The next larger order.
    ///
    /// # Panics
    ///
    /// Panics at [`Order::LIMIT`].
    #[must_use]
    pub const fn up(self) -> Self {
        Self::of(self.0 + 1)
    }

    /// The next smaller order, or `None` at order 0.
    #[must_use]
    pub const fn down(self) -> Option<Self> {
        match self.0 {
            0 => None,
            n => Some(Self(n - 1)),
        }
    }

    /// `self`, `self + 1`, ... `max`, ascending; empty when `self > max`.
    pub fn to(self, max: Self) -> impl DoubleEndedIterator<Item = Self> + use<> {
        (self.0..=max.0).map(Self)
    }

    /// The largest order whose block fits into `count` pages, at most `limit`; `None` for no pages.
    #[must_use]
    pub fn fitting(count: PageCount, limit: Self) -> Option<Self> {
        let log = u8::try_from(count.0.checked_ilog2()?).unwrap_or(u8::MAX);
        Some(Self(log.min(limit.0)))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Frames `[start, end)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PfnRange {
    start: Pfn,
    end: Pfn,
}

impl PfnRange {
    /// The frames from `start` up to, not including, `end`.
    ///
    /// # Panics
    ///
    /// Panics when `end` lies before `start`.
    #[must_use]
    pub const fn new(start: Pfn, end: Pfn) -> Self {
        assert!(start.0 <= end.0, "range ends before it starts");
        Self { start, end }
    }

    /// `len` frames from `start`.
    #[must_use]
    pub const fn from_len(start: Pfn, len: PageCount) -> Self {
        Self { start, end: Pfn(start.0 + len.0) }
    }

    /// The block of `order` at `start`.
    #[must_use]
    pub const fn block(start: Pfn, order: Order) -> Self {
        Self::from_len(start, order.pages())
    }

    /// First frame.
    #[must_use]
    pub const fn start(self) -> Pfn {
        self.start
    }

    /// One past the last frame.
    #[must_use]
    pub const fn end(self) -> Pfn {
        self.end
    }

    /// Number of frames.
    #[must_use]
    pub const fn len(self) -> PageCount {
        PageCount(self.end.0 - self.start.0)
    }

    /// Whether no frame is inside.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start.0 == self.end.0
    }

    /// Whether `pfn` is inside.
    #[must_use]
    pub const fn contains(self, pfn: Pfn) -> bool {
        self.start.0 <= pfn.0 && pfn.0 < self.end.0
    }

    /// Whether every frame of `other` is inside.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.start.0 <= other.start.0 && other.end.0 <= self.end.0
    }

    /// Whether a frame is in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end.0 && other.start.0 < self.end.0
    }

    /// The smallest range that covers both; an empty one covers nothing.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self { start: self.start.min(other.start), end: self.end.max(other.end) },
        }
    }

    /// The frames that are in both, or `None`.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }

    /// What lies before the frames of `other`, and what lies behind; either may be empty.
    #[must_use]
    pub fn without(self, other: Self) -> [Self; 2] {
        let Some(cut) = self.intersect(other) else {
            return [self, Self { start: self.end, end: self.end }];
        };
        [Self { start: self.start, end: cut.start }, Self { start: cut.end, end: self.end }]
    }

    /// The smallest range of whole blocks of `order` that covers this one.
    #[must_use]
    pub const fn align_out(self, order: Order) -> Self {
        Self { start: self.start.align_down(order), end: self.end.align_up(order) }
    }

    /// Whether both ends lie on a boundary of `order`.
    #[must_use]
    pub const fn is_aligned(self, order: Order) -> bool {
        self.start.is_aligned(order) && self.end.is_aligned(order)
    }

    /// The frames, ascending.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Pfn> + use<> {
        (self.start.0..self.end.0).map(Pfn)
    }

    /// Starts of the blocks of `order` that touch the range, ascending.
    pub fn blocks(self, order: Order) -> impl DoubleEndedIterator<Item = Pfn> + use<> {
        let out = self.align_out(order);
        let end = if self.is_empty() { out.start } else { out.end };
        (out.start.0 >> order.0..end.0 >> order.0).map(move |n| Pfn(n << order.0))
    }

    /// The range as the fewest naturally aligned blocks of at most `max`, ascending.
    /// Linux: the loop of `__free_pages_memory()`.
    pub fn chunks(self, max: Order) -> impl Iterator<Item = (Pfn, Order)> + use<> {
        let mut at = self.start;
        core::iter::from_fn(move || {
            let fits = Order::fitting(self.end - at, max)?;
            let order = at.natural_order(fits);
            let chunk = (at, order);
            at = at + order.pages();
            Some(chunk)
        })
    }
}

impl fmt::Debug for PfnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

impl fmt::Display for PfnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// A virtual CPU: whose per-CPU page lists a request uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CpuId(u16);

impl CpuId {
    /// The boot CPU.
    pub const BOOT: Self = Self(0);

    /// CPU number `raw`.
    #[must_use]
    pub const fn new(raw: u16) -> Self {
        Self(raw)
    }

    /// The CPU number as a table index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A NUMA node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NodeId(u8);

impl NodeId {
    /// Node number `raw`.
    #[must_use]
    pub const fn new(raw: u8) -> Self {
        Self(raw)
    }

    /// The node number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PfnRange {
        PfnRange::new(Pfn::new(start), Pfn::new(end))
    }

    #[track_caller]
    fn check_chunks(start: u64, end: u64, max: u8, expected: &[(u64, u8)]) {
        let got: Vec<_> = range(start, end)
            .chunks(Order::of(max))
            .map(|(pfn, order)| (pfn.get(), order.get()))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn chunks_are_the_fewest_aligned_blocks() {
        check_chunks(0, 0, 3, &[]);
        check_chunks(0, 8, 3, &[(0, 3)]);
        check_chunks(0, 16, 3, &[(0, 3), (8, 3)]);
        check_chunks(1, 8, 3, &[(1, 0), (2, 1), (4, 2)]);
        check_chunks(3, 13, 10, &[(3, 0), (4, 2), (8, 2), (12, 0)]);
    }

    #[track_caller]
    fn check_blocks(start: u64, end: u64, order: u8, expected: &[u64]) {
        let got: Vec<_> = range(start, end).blocks(Order::of(order)).map(Pfn::get).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn blocks_touch_the_range() {
        check_blocks(5, 5, 2, &[]);
        check_blocks(5, 6, 2, &[4]);
        check_blocks(4, 8, 2, &[4]);
        check_blocks(3, 9, 2, &[0, 4, 8]);
    }

    #[test]
    fn alignment_and_buddies() {
        let pfn = Pfn::new(0x40c);
        assert_eq!(pfn.natural_order(Order::of(10)), Order::of(2));
        assert_eq!(Pfn::new(0).natural_order(Order::of(10)), Order::of(10));
        assert_eq!(pfn.buddy(Order::of(2)), Pfn::new(0x408));
        assert_eq!(pfn.align_down(Order::of(4)), Pfn::new(0x400));
        assert_eq!(pfn.align_up(Order::of(4)), Pfn::new(0x410));
        assert!(pfn.is_aligned(Order::of(2)) && !pfn.is_aligned(Order::of(3)));
    }

    #[test]
    fn ranges_are_half_open() {
        let a = range(10, 20);
        assert!(a.contains(Pfn::new(10)) && !a.contains(Pfn::new(20)));
        assert!(!a.overlaps(range(20, 30)) && a.overlaps(range(19, 30)));
        assert_eq!(a.intersect(range(15, 30)), Some(range(15, 20)));
        assert_eq!(a.intersect(range(20, 30)), None);
    }
}
