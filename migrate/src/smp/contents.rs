//! What lies in frames, and how it gets from one to another.

use core::fmt::{self, Debug, Formatter};

use pagelab_allocator::units::Pfn;

/// Copies that run, and how to wait for them. Linux: the cookie of a `dma_async_tx_descriptor`.
///
/// When a panic drops it, nobody waits: its pages are lost then, but nothing else. A host that has
/// it from another passes it on, or waits.
#[must_use = "nobody knows when they end"]
pub struct Copies(Option<Box<dyn FnOnce()>>);

impl Copies {
    /// They have ended.
    pub const DONE: Self = Self(None);

    /// They have ended, and what they wrote can be seen, once `wait` returns. It is called once at
    /// most, by the thread that started them. Linux: `dma_sync_wait()`.
    pub fn until(wait: impl FnOnce() + 'static) -> Self {
        Self(Some(Box::new(wait)))
    }

    /// Whether there is nothing to wait for.
    pub(crate) const fn are_done(&self) -> bool {
        self.0.is_none()
    }

    /// Waits for them, for hosts that stand before another. Linux: `dma_sync_wait()`.
    pub fn wait(self) {
        if let Some(wait) = self.0 {
            wait();
        }
    }
}

impl Debug for Copies {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_done() { "Copies::DONE" } else { "Copies::until(_)" })
    }
}

/// What lies in frames, for hosts that have something there.
///
/// During these calls, and while we wait for copies, we hold no lock but that of a region's
/// reservers, and a panic lets go of it. What a call that panics was for is lost: a new page stays
/// allocated, and pages that were being moved together, with those whose copies still ran, stay on
/// their way for ever; tag storage that was reserved by then stays reserved. All others go on.
pub trait Contents: Debug + Send + Sync {
    /// Copies a page. Linux: `folio_mc_copy()`, `copy_highpage()`.
    fn copy(&self, from: Pfn, to: Pfn);

    /// Starts to copy pages that move together, each from a frame to another; none is there twice,
    /// and where nothing can move there are none. Linux: the copies of `migrate_folios_move()`,
    /// proposed as `migrate_folios_mc_copy()`.
    ///
    /// A host whose copies run by themselves, on another CPU or in a DMA engine, says how to wait
    /// for them: until we have, nobody accesses either frame. Meanwhile we take the next pages out
    /// of use, and start to copy those too. They cannot go where pages that are still being copied
    /// came from: where memory is short, fewer move. Others copy here and now.
    fn start_copies(&self, pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) -> Copies {
        pages.for_each(|(from, to)| self.copy(from, to));
        Copies::DONE
    }

    /// Copies the tags of a page that has some. Those of both frames are reserved, and the page's
    /// copy may still run. Linux: `mte_copy_page_tags()`.
    fn copy_tags(&self, from: Pfn, to: Pfn);

    /// Fills a new page with zeros. Linux: `clear_highpage()`.
    fn clear(&self, frame: Pfn);
}

/// Nothing lies there.
impl Contents for () {
    fn copy(&self, _from: Pfn, _to: Pfn) {}

    fn start_copies(&self, _pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) -> Copies {
        Copies::DONE
    }

    fn copy_tags(&self, _from: Pfn, _to: Pfn) {}

    fn clear(&self, _frame: Pfn) {}
}
