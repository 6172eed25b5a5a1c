//! Facts about a request that no tracepoint shows, for whoever wants it explained.
//!
//! They go to [`Sink::note`](crate::event::Sink::note). A receiver that leaves that method empty
//! costs nothing: no note is ever made then.

use crate::gfp::{AllocFlags, GfpFlags, ZoneType};
use crate::migratetype::MigrateType;
use crate::units::{NodeId, Order, PageCount, Pfn};
use crate::watermark::{Mark, WatermarkSum};

/// One fact, in the order of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Note {
    /// A walk over the zones begins. Linux: `get_page_from_freelist()`.
    Walk {
        /// Order asked for.
        order: Order,
        /// Wishes of the request.
        gfp: GfpFlags,
        /// How hard this walk tries.
        flags: AllocFlags,
    },
    /// A zone was asked whether it keeps enough. Linux: `zone_watermark_fast()`.
    Watermark {
        /// Kind of zone.
        kind: ZoneType,
        /// Node of the zone.
        node: NodeId,
        /// The mark it was held against.
        mark: Mark,
        /// What was computed; `None` when the request ignores watermarks.
        sum: Option<WatermarkSum>,
    },
    /// What the per-CPU lists did. Linux: `rmqueue_pcplist()`.
    PerCpu(PerCpu),
    /// More than half of the free memory would have to be CMA for CMA to be tried first.
    /// Linux: the first lines of `__rmqueue()`.
    CmaFirst {
        /// Free pages of the zone, CMA included.
        free: PageCount,
        /// Free pages that are CMA.
        cma: PageCount,
    },
    /// A list of the buddy system was looked at. Linux: `__rmqueue_smallest()`.
    List {
        /// Order asked for.
        order: Order,
        /// Whose list.
        migratetype: MigrateType,
        /// The page taken and the order of the block that it was cut from; `None`: all are empty.
        found: Option<(Pfn, Order)>,
    },
    /// Other types' lists are about to be raided; an `Extfrag` event follows if that succeeds.
    /// Linux 6.1: `__rmqueue_fallback()`; 6.12: `__rmqueue_claim()`, `__rmqueue_steal()`.
    Raid {
        /// In which way.
        raid: Raid,
        /// The types in their order, each with its largest block; `None`: it has none.
        victims: [(MigrateType, Option<Order>); 2],
    },
}

/// What became of a request at a CPU's lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PerCpu {
    /// A block was ready.
    Hit,
    /// The request lacks flags without which it may not use the movable list.
    Barred(AllocFlags),
    /// Blocks of this order or type are on no per-CPU list.
    NoList,
    /// The list was empty: so many blocks are wanted from the buddy lists.
    Refill(u32),
    /// So many were got.
    Refilled(u32),
}

/// How other types' lists are raided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raid {
    /// Blocks move to the requester's lists (6.1).
    Move,
    /// A whole pageblock is claimed (6.12).
    Claim,
    /// One block is taken, its pageblock stays what it is (6.12).
    Steal,
}
