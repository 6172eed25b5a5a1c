//! What one line of a trace says.

use std::sync::Arc;

use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use super::comm::Comm;
use super::marker::Marker;

/// One event with who, where and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Line in the (decompressed) text, from 1.
    pub line: u64,
    /// The task's name.
    pub comm: Comm,
    /// The task's id. Linux: `current->pid`, 0 for every CPU's idle task.
    pub pid: u32,
    /// The CPU that printed the event.
    pub cpu: u16,
    /// Nanoseconds of the trace clock; with a counting clock, its ticks.
    pub timestamp: u64,
    /// Another task is waiting for the CPU, which it gets when this one lets go of it. Never set in
    /// `perf script` text. Linux: `TIF_NEED_RESCHED`.
    pub need_resched: bool,
    /// What happened.
    pub event: TraceEvent,
}

/// An event's name without its group, shared between records.
pub type EventName = Arc<str>;

/// The flag of `free_one_page()` that a block goes to its list's tail. Linux: `FPI_TO_TAIL`.
pub const TO_TAIL: u32 = 2;

/// The events that the logical stream and the reports need; all others by name.
///
/// Migratetypes are the numbers of the recorded kernel: what they mean depends on its
/// configuration (see `TypeSet::number`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TraceEvent {
    /// Linux: `kmem:mm_page_alloc`. Printed after the pages were taken.
    PageAlloc {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
        /// Migratetype of the request.
        migratetype: u8,
        /// Flags of the request.
        gfp: GfpFlags,
    },
    /// Linux: `kmem:mm_page_alloc` with `pfn=0x0`: the request failed.
    PageAllocFailed {
        /// Order asked for.
        order: Order,
        /// Migratetype of the request.
        migratetype: u8,
        /// Flags of the request.
        gfp: GfpFlags,
    },
    /// Linux: `kmem:mm_page_free`. Printed before the pages are given back.
    PageFree {
        /// First frame.
        pfn: Pfn,
        /// Order of the freed block, which need not be that of its allocation.
        order: Order,
    },
    /// Linux: `kmem:mm_page_free_batched`: follows the `mm_page_free` of the same page.
    PageFreeBatched {
        /// The frame.
        pfn: Pfn,
    },
    /// Linux: `kmem:mm_page_alloc_zone_locked`: one block left the buddy lists.
    ZoneLocked {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
        /// The list it came from.
        migratetype: u8,
        /// Whether it looks like a refill of per-CPU lists.
        percpu_refill: bool,
    },
    /// Linux: `kmem:mm_page_pcpu_drain`: one block went from a per-CPU list to the buddy lists.
    PcpuDrain {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
        /// The list it lands on.
        migratetype: u8,
    },
    /// Linux: `kmem:mm_page_alloc_extfrag`: another type's list was raided.
    Extfrag(Extfrag),
    /// Entry of `__alloc_pages_bulk()` (kprobe).
    BulkEnter {
        /// Raw flags in the numbering of the recorded kernel.
        gfp: u32,
        /// Pages asked for.
        asked: u64,
    },
    /// Return of `__alloc_pages_bulk()` (kprobe).
    BulkExit {
        /// Pages in the array now.
        got: u64,
    },
    /// Entry of `vmap_small_pages_range_noflush()` (kprobe).
    VmapPages(Box<VmapPages>),
    /// Linux: `cma:cma_alloc_start`.
    CmaAllocStart {
        /// Pages asked for.
        count: PageCount,
        /// Order of the alignment asked for.
        align: u32,
    },
    /// Linux: `cma:cma_alloc_finish`.
    CmaAllocFinish {
        /// First frame, `None` when the request failed.
        pfn: Option<Pfn>,
        /// Pages asked for.
        count: PageCount,
    },
    /// Linux: `cma:cma_release`.
    CmaRelease {
        /// The frames given back.
        range: PfnRange,
    },
    /// Entry of `alloc_contig_range()` (kprobe).
    ContigEnter {
        /// The frames asked for.
        range: PfnRange,
        /// Type that the pageblocks have outside the attempt.
        migratetype: u8,
    },
    /// Return of `alloc_contig_range()` (kprobe).
    ContigExit {
        /// 0, or a negative errno.
        ret: i32,
    },
    /// Entry of `free_contig_range()` (kprobe); one `mm_page_free` a page follows.
    ContigFree {
        /// The frames given back.
        range: PfnRange,
    },
    /// Linux: `compaction:mm_compaction_begin`: this task compacts a zone now.
    CompactionBegin(Scanners),
    /// Linux: `compaction:mm_compaction_end`.
    CompactionEnd(Scanners),
    /// Linux: `compaction:mm_compaction_isolate_freepages`: the free scanner went over a range.
    IsolateFreepages(Scanned),
    /// Linux: `compaction:mm_compaction_isolate_migratepages`: the migration scanner did.
    IsolateMigratepages(Scanned),
    /// Entry of `free_one_page()` (kprobe): a block is freed past the per-CPU lists.
    FreeOnePage {
        /// First frame.
        pfn: Pfn,
        /// Order of the block.
        order: Order,
        /// Migratetype (6.1), or flags of the free (6.12).
        arg: u32,
        /// Flags of the free where they are an argument besides.
        flags: Option<u32>,
    },
    /// Entry of `set_pageblock_migratetype()` (kprobe).
    SetPageblockType {
        /// A frame of the pageblock; `None` when the trace hides addresses.
        pfn: Option<Pfn>,
        /// Its new type.
        migratetype: u8,
    },
    /// Entry of `move_freepages_block()` (kprobe).
    MoveFreepages {
        /// A frame of the pageblock; `None` when the trace hides addresses.
        pfn: Option<Pfn>,
        /// Type of the lists that its free blocks go to.
        migratetype: u8,
    },
    /// Entry of `move_freepages_block_isolate()` (kprobe): isolation begins or ends.
    MoveFreepagesIsolate {
        /// A frame of the pageblock; `None` when the trace hides addresses.
        pfn: Option<Pfn>,
        /// The pageblock's new type.
        migratetype: u8,
    },
    /// Entry of `move_freelist_head()` (kprobe), which the emulator writes: a free list is turned
    /// around.
    TurnFreeList {
        /// The block that is first then; `None` when the trace hides addresses.
        pfn: Option<Pfn>,
        /// Type of the list.
        migratetype: u8,
    },
    /// Entry of `split_free_page()` (kprobe).
    SplitFreePage {
        /// First frame; `None` when the trace hides addresses.
        pfn: Option<Pfn>,
        /// Order of the free block.
        order: Order,
        /// Where it is cut.
        offset: PageCount,
    },
    /// Entry of `__putback_isolated_page()` (kprobe).
    PutbackIsolated {
        /// First frame; `None` when the trace hides addresses.
        pfn: Option<Pfn>,
        /// Order of the block.
        order: Order,
        /// The list it goes to.
        migratetype: u8,
    },
    /// Entry of `drain_pages_zone()` (kprobe): a CPU's lists of one zone are emptied.
    DrainPages {
        /// Whose lists.
        cpu: u16,
        /// Address of the `struct zone`.
        zone: u64,
    },
    /// Linux: `vmscan:mm_vmscan_kswapd_wake`: the node's reclaimer starts a round.
    KswapdWake,
    /// Linux: `vmscan:mm_vmscan_wakeup_kswapd`: somebody wakes the reclaimer, which sleeps.
    WakeupKswapd,
    /// Linux: `vmscan:mm_vmscan_kswapd_sleep`.
    KswapdSleep,
    /// Return of `get_page_from_freelist()` without a page (kprobe), which the emulator writes.
    NoPage {
        /// Order asked for.
        order: Order,
        /// Flags of the request.
        gfp: GfpFlags,
        /// How hard it tried.
        flags: AllocFlags,
    },
    /// A request goes on with other flags than it began with; the emulator writes it.
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
    /// Entry of `balance_pgdat()` (kprobe), which the emulator writes: the reclaimer has a turn.
    BalanceEnter {
        /// Highest zone that is looked at.
        highest: ZoneType,
    },
    /// Return of `balance_pgdat()` (kprobe).
    BalanceExit,
    /// Entry of `__offline_isolated_pages()` (kprobe): memory that holds nothing leaves.
    Offline {
        /// The frames.
        range: PfnRange,
    },
    /// Entry of `__free_pages_core()` (kprobe): a block joins; an `mm_page_free` of it follows.
    Online {
        /// First frame; `None` when the trace hides addresses.
        pfn: Option<Pfn>,
        /// Order of the block.
        order: Order,
    },
    /// Entry of `__isolate_free_page()` (kprobe): a free block leaves the lists to be a target.
    IsolateFreePage {
        /// First frame; `None` when the trace hides addresses.
        pfn: Option<Pfn>,
        /// Order of the block.
        order: Order,
    },
    /// Return of `__isolate_free_page()` (kprobe).
    IsolateFreePageExit {
        /// Pages taken; 0 when the watermark forbids it.
        pages: u64,
        /// Who asked, as far as the probe says it.
        caller: Isolator,
    },
    /// Linux: `migrate:mm_migrate_pages`.
    MigratePages(Box<Migration>),
    /// Text that a program wrote into the trace. Linux: `tracing_mark_write()`.
    Marker(Marker),
    /// Any other event.
    Other(EventName),
}

impl TraceEvent {
    /// The event's name without its group, as recorded kernels and their probes print it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::PageAlloc { .. } | Self::PageAllocFailed { .. } => "mm_page_alloc",
            Self::PageFree { .. } => "mm_page_free",
            Self::PageFreeBatched { .. } => "mm_page_free_batched",
            Self::ZoneLocked { .. } => "mm_page_alloc_zone_locked",
            Self::PcpuDrain { .. } => "mm_page_pcpu_drain",
            Self::Extfrag(_) => "mm_page_alloc_extfrag",
            Self::BulkEnter { .. } => "bulk_enter",
            Self::BulkExit { .. } => "bulk_exit",
            Self::VmapPages(_) => "vmap_pages",
            Self::CmaAllocStart { .. } => "cma_alloc_start",
            Self::CmaAllocFinish { .. } => "cma_alloc_finish",
            Self::CmaRelease { .. } => "cma_release",
            Self::ContigEnter { .. } => "alloc_contig_range",
            Self::ContigExit { .. } => "alloc_contig_range_ret",
            Self::ContigFree { .. } => "free_contig_range",
            Self::CompactionBegin(_) => "mm_compaction_begin",
            Self::CompactionEnd(_) => "mm_compaction_end",
            Self::IsolateFreepages(_) => "mm_compaction_isolate_freepages",
            Self::IsolateMigratepages(_) => "mm_compaction_isolate_migratepages",
            Self::FreeOnePage { .. } => "free_one_page",
            Self::SetPageblockType { .. } => "set_pageblock_migratetype",
            Self::MoveFreepages { .. } => "move_freepages_block",
            Self::MoveFreepagesIsolate { .. } => "move_freepages_block_isolate",
            Self::TurnFreeList { .. } => "move_freelist_head",
            Self::SplitFreePage { .. } => "split_free_page",
            Self::PutbackIsolated { .. } => "putback_isolated",
            Self::DrainPages { .. } => "drain_pages_zone",
            Self::KswapdWake => "mm_vmscan_kswapd_wake",
            Self::WakeupKswapd => "mm_vmscan_wakeup_kswapd",
            Self::KswapdSleep => "mm_vmscan_kswapd_sleep",
            Self::NoPage { .. } => "get_page_from_freelist_ret",
            Self::TermsEnter { .. } => "alloc_flags",
            Self::TermsExit => "alloc_flags_ret",
            Self::BalanceEnter { .. } => "balance_pgdat",
            Self::BalanceExit => "balance_pgdat_ret",
            Self::Offline { .. } => "offline_isolated",
            Self::Online { .. } => "free_pages_core",
            Self::IsolateFreePage { .. } => "isolate_free_page",
            Self::IsolateFreePageExit { .. } => "isolate_free_page_ret",
            Self::MigratePages(_) => "mm_migrate_pages",
            Self::Marker(_) => "tracing_mark_write",
            Self::Other(name) => name,
        }
    }
}

/// Who isolates a free block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolator {
    /// A scan of a pageblock, frame by frame. Linux: `isolate_freepages_block()`.
    BlockScan,
    /// Another function: the search of the free lists, or the end of an isolation.
    Other,
}

/// Linux: the fields of `compaction:mm_compaction_begin` and `_end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scanners {
    /// First frame of the zone.
    pub zone: Pfn,
    /// Where the migration scanner is.
    pub migrate: Pfn,
    /// Where the free scanner is.
    pub free: Pfn,
}

/// Linux: the fields of `compaction:mm_compaction_isolate_freepages` and its like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// First frame looked at.
    pub start: Pfn,
    /// First frame not looked at.
    pub end: Pfn,
    /// Pages looked at.
    pub scanned: u64,
    /// Pages taken.
    pub taken: u64,
}

/// Linux: the fields of `kmem:mm_page_alloc_extfrag`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extfrag {
    /// First frame of the raided block.
    pub pfn: Pfn,
    /// Order of the request.
    pub alloc_order: Order,
    /// Order of the raided block.
    pub fallback_order: Order,
    /// Type of the request.
    pub alloc_migratetype: u8,
    /// Type that was raided.
    pub fallback_migratetype: u8,
    /// Whether the pageblock changed its type.
    pub change_ownership: bool,
}

/// The first pages of a mapping that vmalloc makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VmapPages {
    /// Bytes mapped.
    pub bytes: u64,
    /// Frames of the first eight `struct page` pointers of the array; `None` for a pointer that is
    /// null, not a page, or not convertible because the trace hides addresses.
    pub pages: [Option<Pfn>; 8],
}

/// Linux: the fields of `migrate:mm_migrate_pages`, of 6.1 and of 6.12.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Migration {
    /// Pages moved.
    pub succeeded: u64,
    /// Pages not moved.
    pub failed: u64,
    /// Huge pages moved.
    pub thp_succeeded: u64,
    /// Huge pages not moved.
    pub thp_failed: u64,
    /// Huge pages split.
    pub thp_split: u64,
    /// Large folios split; 6.1 does not say.
    pub split: Option<u64>,
    /// Why, in the kernel's word: `compaction`, `contig_range`, ...
    pub reason: EventName,
}
