//! What the kernel's tracepoints would say, as values.

use core::any::Any;

use crate::buddy::Placement;
use crate::fallback::Extfrag;
use crate::gfp::{AllocFlags, GfpFlags, ZoneType};
use crate::migratetype::MigrateType;
use crate::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};

/// One tracepoint hit, or one hit of a probe on a function that no tracepoint shows.
/// Linux: include/trace/events/kmem.h, page_isolation.h, cma.h, migrate.h, compaction.h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// `mm_page_alloc`: a request ended; `pfn` is `None` when it failed.
    PageAlloc {
        /// First frame handed out.
        pfn: Option<Pfn>,
        /// Order asked for.
        order: Order,
        /// Type asked for.
        migratetype: MigrateType,
        /// Flags of the request.
        gfp: GfpFlags,
    },
    /// `get_page_from_freelist()` returned without a page: one attempt of a request failed. More
    /// may follow; `mm_page_alloc` says how the request ended.
    NoPage {
        /// Order asked for.
        order: Order,
        /// Flags of the request.
        gfp: GfpFlags,
        /// How hard it tried.
        flags: AllocFlags,
    },
    /// A request goes on with other flags than its gfp and design imply, until
    /// [`TermsExit`](Self::TermsExit). Not a function of Linux: what a probe in the middle of
    /// `__alloc_pages()` would show.
    TermsEnter {
        /// Order asked for.
        order: Order,
        /// Flags of the request.
        gfp: GfpFlags,
        /// What it may use besides.
        granted: AllocFlags,
        /// What it leaves alone.
        barred: AllocFlags,
    },
    /// The request whose flags changed last has ended.
    TermsExit,
    /// `mm_page_free`: a block is being freed.
    PageFree {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
    },
    /// `mm_page_alloc_zone_locked`: a block left the buddy lists.
    ZoneLocked {
        /// First frame.
        pfn: Pfn,
        /// Order taken.
        order: Order,
        /// List it came from.
        migratetype: MigrateType,
    },
    /// `mm_page_pcpu_drain`: a block went back from a per-CPU list to the buddy lists.
    PcpuDrain {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
        /// List it goes to.
        migratetype: MigrateType,
    },
    /// `mm_page_alloc_extfrag`: another type's list was raided.
    Extfrag(Extfrag),
    /// `test_pages_isolated`: an isolated range was tested.
    TestPagesIsolated {
        /// The range.
        range: PfnRange,
        /// First frame that was not free, or the range's end or beyond.
        fin: Pfn,
    },
    /// `wakeup_kswapd()` would have woken the reclaimer of this node. Not a tracepoint of its own
    /// kind: `mm_vmscan_wakeup_kswapd`.
    WakeKswapd {
        /// Order of the request that found little memory.
        order: Order,
    },
    /// Entry of `balance_pgdat()`: a turn of the reclaimer begins.
    BalanceEnter {
        /// Order of the block that is wanted.
        order: Order,
        /// Highest zone that is looked at.
        highest: ZoneType,
    },
    /// Return of `balance_pgdat()`.
    BalanceExit {
        /// Order of the block that was wanted last.
        order: Order,
    },
    /// Entry of `free_one_page()`: a block of an order that has per-CPU lists goes past them,
    /// because its pageblock has no such list or it is to go to a list's tail. Its `mm_page_free`
    /// came before.
    FreeOnePage {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
        /// Type of its pageblock.
        migratetype: MigrateType,
        /// Which end of its list it goes to.
        placement: Placement,
    },
    /// Entry of `drain_pages_zone()`: all that a CPU keeps of a zone goes back.
    DrainPagesZone {
        /// Whose lists.
        cpu: CpuId,
        /// Node of the zone.
        node: NodeId,
        /// Kind of zone.
        kind: ZoneType,
    },
    /// Entry of `set_pageblock_migratetype()`.
    SetPageblockMigratetype {
        /// First frame of the pageblock.
        pfn: Pfn,
        /// Its type from now on.
        migratetype: MigrateType,
    },
    /// Entry of `move_freepages_block()`: the free blocks of a pageblock change their list.
    MoveFreepagesBlock {
        /// First frame of the pageblock.
        pfn: Pfn,
        /// The list they go to.
        migratetype: MigrateType,
    },
    /// Entry of `move_freepages_block_isolate()` (6.12): type and lists change in one.
    MoveFreepagesBlockIsolate {
        /// First frame of the pageblock.
        pfn: Pfn,
        /// Its type from now on.
        migratetype: MigrateType,
    },
    /// Entry of `split_free_page()` (6.1): a free block is cut at a boundary of isolation.
    SplitFreePage {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
        /// Where it is cut, from its first frame.
        offset: PageCount,
    },
    /// `move_freelist_head()`: a search of compaction turned a free list around.
    TurnFreeList {
        /// The block that is first now.
        pfn: Pfn,
        /// Type of the list.
        migratetype: MigrateType,
    },
    /// `__isolate_free_page()`, entry and return: a free block leaves the lists, or may not.
    IsolateFreePage {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
        /// Pages taken: none when the zone would run too low.
        taken: PageCount,
        /// Who took it.
        isolator: Isolator,
    },
    /// Entry of `__putback_isolated_page()`: such a block goes back, to its list's tail.
    PutbackIsolated {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
        /// List it goes to.
        migratetype: MigrateType,
    },
    /// Entry of `alloc_contig_range()`.
    ContigEnter {
        /// The frames asked for.
        range: PfnRange,
        /// Type that its pageblocks have outside the attempt.
        migratetype: MigrateType,
    },
    /// Return of `alloc_contig_range()`.
    ContigExit {
        /// Zero, or a negative error number.
        ret: i32,
    },
    /// Entry of `free_contig_range()`; one `mm_page_free` a page follows.
    ContigFree {
        /// The frames given back.
        range: PfnRange,
    },
    /// `cma_alloc_start`.
    CmaAllocStart {
        /// Pages asked for.
        count: PageCount,
        /// Alignment asked for.
        align: Order,
    },
    /// `cma_alloc_busy_retry`: a run of the area stayed busy.
    CmaBusyRetry {
        /// The run.
        range: PfnRange,
        /// Alignment asked for.
        align: Order,
    },
    /// `cma_alloc_finish`.
    CmaAllocFinish {
        /// First frame of the run tried last; `None` when none was.
        pfn: Option<Pfn>,
        /// Pages asked for.
        count: PageCount,
        /// Alignment asked for.
        align: Order,
        /// Zero, or a negative error number.
        ret: i32,
    },
    /// `cma_release`.
    CmaRelease {
        /// The frames given back.
        range: PfnRange,
    },
    /// `mm_migrate_pages`.
    MigratePages(Migration),
    /// `mm_compaction_begin`.
    CompactionBegin(CompactionScan),
    /// `mm_compaction_end`.
    CompactionEnd {
        /// Where the scanners stopped.
        scan: CompactionScan,
        /// The kernel's word for how it ended.
        status: &'static str,
    },
    /// `mm_compaction_isolate_migratepages`.
    IsolateMigratepages(Isolation),
    /// `mm_compaction_isolate_freepages`.
    IsolateFreepages(Isolation),
}

/// Who calls `__isolate_free_page()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolator {
    /// A scan of a pageblock, frame by frame. Linux: `isolate_freepages_block()`.
    BlockScan,
    /// A search of the free lists for a compaction's targets. Linux: `fast_isolate_freepages()`.
    FastSearch,
    /// The end of a pageblock's isolation. Linux: `unset_migratetype_isolate()`.
    EndOfIsolation,
}

/// One call of `migrate_pages()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migration {
    /// Pages moved.
    pub succeeded: PageCount,
    /// Pages not moved.
    pub failed: PageCount,
    /// Large folios moved whole.
    pub thp_succeeded: u64,
    /// Large folios not moved.
    pub thp_failed: u64,
    /// Large folios split.
    pub thp_split: u64,
    /// The kernel's word for how it waits.
    pub mode: &'static str,
    /// The kernel's word for why.
    pub reason: &'static str,
}

/// Where the scanners of a compaction run are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactionScan {
    /// The zone.
    pub zone: PfnRange,
    /// Next frame of the migration scanner.
    pub migrate: Pfn,
    /// Where the free scanner stands.
    pub free: Pfn,
    /// `sync` or `async`.
    pub mode: &'static str,
}

/// What a scanner took out of a part of a pageblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isolation {
    /// The part.
    pub range: PfnRange,
    /// Frames looked at.
    pub scanned: u64,
    /// Pages taken aside.
    pub taken: PageCount,
}

/// Receiver of events. The default receiver is [`Silent`] and costs nothing.
pub trait Sink {
    /// Whether anything listens; `false` lets the compiler drop the emitting code.
    const ENABLED: bool = true;

    /// Takes one event.
    fn emit(&mut self, event: Event);

    /// Takes a fact that no tracepoint shows. Each layer has a type of its own for them, such as
    /// [`Note`](crate::note::Note); who listens looks for the types that it knows. Left as it is, a
    /// receiver hears none, and none is made.
    #[inline(always)]
    fn note<N: Any>(&mut self, _note: impl FnOnce() -> N) {}
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Sink for Silent {
    const ENABLED: bool = false;

    #[inline]
    fn emit(&mut self, _: Event) {}
}

/// Keeps every event, for tests and small traces.
impl Sink for Vec<Event> {
    fn emit(&mut self, event: Event) {
        self.push(event);
    }
}

impl<S: Sink> Sink for &mut S {
    const ENABLED: bool = S::ENABLED;

    #[inline]
    fn emit(&mut self, event: Event) {
        (**self).emit(event);
    }

    #[inline(always)]
    fn note<N: Any>(&mut self, note: impl FnOnce() -> N) {
        (**self).note(note);
    }
}
