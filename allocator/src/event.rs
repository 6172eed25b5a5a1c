//! What the kernel's tracepoints would say, as values.

use crate::fallback::Extfrag;
use crate::gfp::GfpFlags;
use crate::migratetype::MigrateType;
use crate::units::{Order, Pfn, PfnRange};

/// One tracepoint hit. Linux: include/trace/events/kmem.h, page_isolation.h.
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
}

/// Receiver of events. The default receiver is [`Silent`] and costs nothing.
pub trait Sink {
    /// Whether anything listens; `false` lets the compiler drop the emitting code.
    const ENABLED: bool = true;

    /// Takes one event.
    fn emit(&mut self, event: Event);
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
}
