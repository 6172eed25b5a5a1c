//! Kernel profiles: every difference between the versions that we model, in one table.
//!
//! The mechanism never asks "which kernel is this?"; it asks one of the questions below. A third
//! profile is a third column in [`KernelProfile::rules`].

/// Which kernel's rules to follow. The patch level matters: stable kernels carry large backports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KernelProfile {
    /// 6.1.192 (Debian 12).
    V6_1,
    /// 6.12.117 (Debian 12 security).
    V6_12,
}

/// What happens when the own lists are empty. Linux: `__rmqueue_fallback()` against
/// `__rmqueue_claim()` and `__rmqueue_steal()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FallbackRule {
    /// Move the block (or its whole pageblock) to the requester's lists, then take from there.
    MoveThenTake,
    /// Claim a whole pageblock, else steal one block and leave the rest with its owner; a bulk
    /// request remembers which of the two worked.
    ClaimThenSteal,
}

/// What happens to the types when blocks of two pageblocks merge. Linux: `__free_one_page()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeRule {
    /// Pageblocks keep their types.
    KeepTypes,
    /// The buddy's pageblocks take the type of the freed block.
    OverwriteBuddy,
}

/// How large per-CPU lists may grow. Linux: `nr_pcp_high()`, `nr_pcp_alloc()`, `nr_pcp_free()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PcpTuning {
    /// A fixed high mark; frees in a row drain more and more.
    Fixed,
    /// The high mark moves between two bounds with the traffic and decays with time.
    Adaptive,
}

/// The migratetype under which a page leaves a per-CPU list. Linux: `free_pcppages_bulk()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainType {
    /// The one that was noted when the page was freed.
    Remembered,
    /// The pageblock's at the moment of draining.
    Pageblock,
}

/// Which highatomic pages a watermark check leaves out. Linux: `__zone_watermark_unusable_free()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HighAtomicUnusable {
    /// All that are reserved, used or not.
    Reserved,
    /// Only those that are free.
    Free,
}

/// Upper bound of the highatomic reserve. Linux: `reserve_highatomic_pageblock()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HighAtomicLimit {
    /// One hundredth of the zone plus a pageblock.
    PlusOneBlock,
    /// One hundredth rounded up to pageblocks, and nothing when that is less than one.
    RoundedUp,
}

/// What is reserved with an atomic block larger than a pageblock, and later given back with a free
/// one. Linux: `reserve_highatomic_pageblock()`, `unreserve_highatomic_pageblock()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HighAtomicSpan {
    /// Its first pageblock.
    FirstPageblock,
    /// All its pageblocks.
    WholeBlock,
}

/// Whether a movable request without `ALLOC_CMA` may use the per-CPU lists. Linux: `rmqueue()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MovablePcp {
    /// Only with `ALLOC_CMA`: the movable list may hold CMA pages. 6.1, and the tag-storage series.
    OnlyWithCma,
    /// Always.
    Always,
}

/// Whether the fast path looks at the high watermark first. Linux: `ZONE_BELOW_HIGH`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BelowHigh {
    /// It does not.
    NotTracked,
    /// A zone that fails the high mark is flagged, and its per-CPU lists stop growing.
    Tracked,
}

/// How a block larger than a pageblock is freed. Linux: `free_one_page()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LargeFree {
    /// Whole, with the type of its first pageblock.
    Whole,
    /// Pageblock by pageblock, each with its own type.
    ByPageblock,
}

/// How a pageblock is isolated and its isolation ended, and so which probes show it.
/// Linux: `set_migratetype_isolate()`, `unset_migratetype_isolate()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IsolationSteps {
    /// The type is set and the free blocks are moved, the other way round when isolation ends; a
    /// free block that reaches across the edge of the range is cut beforehand.
    TypeAndMove,
    /// Both in one, which also cuts a free block larger than the pageblock.
    /// Linux: `move_freepages_block_isolate()`.
    InOne,
}

/// What compaction's free scanner produces. Linux: `compaction_alloc()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompactionTargets {
    /// Single pages, last isolated first.
    SinglePages,
    /// Blocks by order, split when needed.
    ByOrder,
}

/// How the min watermark of ZONE_MOVABLE is set. Linux: `__setup_per_zone_wmarks()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MovableMin {
    /// Its share of the reserve, like any zone's.
    Share,
    /// A thousandth of the zone between 32 and 128 pages; it takes no share of the reserve.
    Small,
}

/// When migration targets are allocated. Linux: `migrate_pages()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrationBatch {
    /// One target, one move, one freed source at a time.
    Interleaved,
    /// All targets of a batch before the first move.
    TargetsFirst,
}

/// What compaction does after folios of a pageblock failed to move, and whether its fast search
/// marks the pageblock it found. Linux: `compact_zone()`, `fast_find_migrateblock()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterFailure {
    /// An asynchronous run skips the rest of the block it was after; a found pageblock is marked.
    SkipBlock,
    /// The pageblock is scanned again to its end; a found pageblock is not marked.
    FinishPageblock,
}

/// Whose flags migration targets of a contiguous claim get. Linux: `alloc_contig_range()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContigGfp {
    /// Always the same, whatever the caller passed.
    Fixed,
    /// The caller's, which are checked first.
    Callers,
}

/// When a refill takes its blocks out of the zone's count of free pages; the count of lent pages
/// follows block by block in any case. The choice between the two kinds compares them.
/// Linux: `rmqueue_bulk()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefillAccounting {
    /// All together when the refill is complete.
    AtTheEnd,
    /// Each as it leaves its list.
    EachBlock,
}

/// The answers of one profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// See [`FallbackRule`].
    pub fallback: FallbackRule,
    /// See [`MergeRule`].
    pub merge: MergeRule,
    /// See [`PcpTuning`].
    pub pcp: PcpTuning,
    /// See [`RefillAccounting`].
    pub refill_accounting: RefillAccounting,
    /// See [`DrainType`].
    pub drain_type: DrainType,
    /// See [`HighAtomicUnusable`].
    pub highatomic_unusable: HighAtomicUnusable,
    /// See [`HighAtomicLimit`].
    pub highatomic_limit: HighAtomicLimit,
    /// See [`HighAtomicSpan`].
    pub highatomic_span: HighAtomicSpan,
    /// See [`MovablePcp`].
    pub movable_pcp: MovablePcp,
    /// See [`BelowHigh`].
    pub below_high: BelowHigh,
    /// See [`LargeFree`].
    pub large_free: LargeFree,
    /// See [`IsolationSteps`].
    pub isolation_steps: IsolationSteps,
    /// See [`CompactionTargets`].
    pub compaction_targets: CompactionTargets,
    /// See [`MovableMin`].
    pub movable_min: MovableMin,
    /// See [`MigrationBatch`].
    pub migration_batch: MigrationBatch,
    /// See [`AfterFailure`].
    pub after_failure: AfterFailure,
    /// See [`ContigGfp`].
    pub contig_gfp: ContigGfp,
}

impl KernelProfile {
    /// Every difference between the profiles.
    #[must_use]
    pub const fn rules(self) -> Rules {
        match self {
            Self::V6_1 => Rules {
                fallback: FallbackRule::MoveThenTake,
                merge: MergeRule::KeepTypes,
                pcp: PcpTuning::Fixed,
                refill_accounting: RefillAccounting::AtTheEnd,
                drain_type: DrainType::Remembered,
                highatomic_unusable: HighAtomicUnusable::Reserved,
                highatomic_limit: HighAtomicLimit::PlusOneBlock,
                highatomic_span: HighAtomicSpan::FirstPageblock,
                movable_pcp: MovablePcp::OnlyWithCma,
                below_high: BelowHigh::NotTracked,
                large_free: LargeFree::Whole,
                isolation_steps: IsolationSteps::TypeAndMove,
                compaction_targets: CompactionTargets::SinglePages,
                movable_min: MovableMin::Share,
                migration_batch: MigrationBatch::Interleaved,
                after_failure: AfterFailure::SkipBlock,
                contig_gfp: ContigGfp::Fixed,
            },
            Self::V6_12 => Rules {
                fallback: FallbackRule::ClaimThenSteal,
                merge: MergeRule::OverwriteBuddy,
                pcp: PcpTuning::Adaptive,
                refill_accounting: RefillAccounting::EachBlock,
                drain_type: DrainType::Pageblock,
                highatomic_unusable: HighAtomicUnusable::Free,
                highatomic_limit: HighAtomicLimit::RoundedUp,
                highatomic_span: HighAtomicSpan::WholeBlock,
                movable_pcp: MovablePcp::Always,
                below_high: BelowHigh::Tracked,
                large_free: LargeFree::ByPageblock,
                isolation_steps: IsolationSteps::InOne,
                compaction_targets: CompactionTargets::ByOrder,
                movable_min: MovableMin::Small,
                migration_batch: MigrationBatch::TargetsFirst,
                after_failure: AfterFailure::FinishPageblock,
                contig_gfp: ContigGfp::Callers,
            },
        }
    }

    /// The version whose behaviour this is.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1.192",
            Self::V6_12 => "6.12.117",
        }
    }
}
