//! The steps of the shared allocator's protocols that a canary can leave out.

/// A step without which a page is lost, has two owners, or is counted wrongly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A free looks at the type of the pageblock during its turn on the CPU's lists, not before.
    FreeLooksInTurn,
    /// A claim drains the CPUs' lists.
    ClaimDrains,
    /// And it does so after it has isolated the pageblocks, not before.
    ClaimIsolatesFirst,
    /// A claim is refused while another has isolated one of its pageblocks.
    ClaimsExclude,
    /// Before a range is taken, every frame of it is found free.
    ClaimTests,
    /// All lists of a zone are looked at together.
    WholeHoldsLists,
    /// Whoever gives a highatomic pageblock back reads and writes the reserve under one lock.
    UnreserveIsWhole,
    /// Whoever looks at a zone's lists makes the split first that waits.
    LateSplitIsMade,
    /// Whoever takes a snapshot of memory acts upon it under the same lock.
    InitHoldsLock,
    /// A device's memory is taken from others before it gets struct pages.
    RemapTakesRange,
}
