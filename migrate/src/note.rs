//! Facts about a request that no tracepoint shows and that this crate knows: see
//! [`Sink::note`](pagelab_allocator::event::Sink::note).

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use crate::alloc::AllocFailure;
use crate::compact::{CompactPriority, CompactResult};
use crate::contig::ContigError;
use crate::mover::Moved;
use crate::reclaim::KswapdRun;
use crate::tag_storage::design::{FaultVerdict, Refused};
use crate::tag_storage::map::TagBlockId;
use crate::tag_storage::reserve::ReserveError;

/// One fact, in the order of events.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Note {
    /// A folio is asked for, and the design has had its say. Linux (RFC): `arch_calc_gfp()`,
    /// `arch_alloc_cma()`.
    Request {
        /// The caller's wishes.
        asked: GfpFlags,
        /// What became of them.
        request: AllocRequest,
    },
    /// Direct compaction ended. Linux: `__alloc_pages_direct_compact()`.
    Compacted {
        /// Order wanted.
        order: Order,
        /// How hard it tried.
        priority: CompactPriority,
        /// How it ended.
        result: CompactResult,
    },
    /// Direct reclaim freed so many pages. Linux: `try_to_free_pages()`.
    Reclaimed(PageCount),
    /// kswapd had a turn. Linux: `balance_pgdat()`.
    Kswapd(KswapdRun),
    /// A request failed for good.
    Failed(AllocFailure),
    /// A folio moved. Linux: `migrate_folio_move()`.
    Moved(Moved),
    /// A range could not be claimed. Linux: the result of `alloc_contig_range()`.
    Busy {
        /// The range.
        range: PfnRange,
        /// Who was in the way.
        error: ContigError,
    },
    /// A tag block was taken from data. Linux (RFC v3): `cma_alloc_range()`.
    Claimed {
        /// The block.
        block: TagBlockId,
        /// Its frames.
        frames: PfnRange,
        /// What had to go.
        cost: ClaimCost,
    },
    /// References were taken on tag blocks. Linux (RFC): `reserve_tag_storage()`.
    References(Vec<BlockCount>),
    /// Pages got no tag storage.
    NotReserved {
        /// The first page.
        pfn: Pfn,
        /// Why.
        error: ReserveError,
    },
    /// A tag block is data again. Linux (RFC): `free_tag_storage()`.
    GivenBack {
        /// The block.
        block: TagBlockId,
        /// Its frames.
        frames: PfnRange,
    },
    /// An allocated page whose tag storage is missing goes back. RFC v1, v2.
    Refused {
        /// Its frames.
        pages: PfnRange,
        /// Where it waits.
        to: Refused,
    },
    /// A fault on a page without tag storage. Linux (RFC v3): `handle_pte_protnone()`.
    TagFault {
        /// The page.
        pfn: Pfn,
        /// How it ended.
        end: TagFaultEnd,
    },
    /// The page is read by a copy of its own from now on. Linux: `wp_page_copy()`.
    CopyOnWrite(Pfn),
    /// The page comes back from swap. Linux: `do_swap_page()`.
    SwapIn,
}

/// What had to leave a tag block, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClaimCost {
    /// Data that moved.
    pub displaced: u64,
    /// Clean page cache that was dropped.
    pub dropped: u64,
    /// Clean copies that were dropped.
    pub copies: u64,
}

/// A tag block's references around a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockCount {
    /// The block.
    pub block: TagBlockId,
    /// Its frames.
    pub frames: PfnRange,
    /// Before; 0 is a block that holds data.
    pub before: u32,
    /// Afterwards.
    pub after: u32,
}

/// How a fault on a page without tag storage ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagFaultEnd {
    /// The range carries no tags any more, or storage was had.
    Repaired,
    /// Its pageblock is isolated: fault again.
    Isolated,
    /// Storage could not be had, or the page is tag storage itself: what the design says.
    Verdict(FaultVerdict),
    /// The page moved to another frame.
    Migrated,
    /// The page was to move and could not.
    NotMigrated,
}
