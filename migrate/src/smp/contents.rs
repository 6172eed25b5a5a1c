//! What lies in frames, and how it gets from one to another.

use core::fmt::{Debug, Formatter, Result};

use pagelab_allocator::units::Pfn;

/// Copies that run, and how to wait for them. Linux: the cookie of a `dma_async_tx_descriptor`.
///
/// Where a panic drops it instead, nobody waits: the pages are lost then, but nothing else. A host
/// that stands before another hands it on, or waits.
#[must_use = "nobody knows when they end"]
pub struct Copies(Option<Box<dyn FnOnce()>>);

impl Copies {
    /// They have ended.
    pub const DONE: Self = Self(None);

    /// They have ended once `wait` returns. Linux: `dma_sync_wait()`.
    pub fn until(wait: impl FnOnce() + 'static) -> Self {
        Self(Some(Box::new(wait)))
    }

    /// Whether there is nothing to wait for.
    pub(crate) const fn are_done(&self) -> bool {
        self.0.is_none()
    }

    /// Waits for them, for hosts that stand before another.
    pub fn finish(self) {
        if let Some(wait) = self.0 {
            wait();
        }
    }
}

impl Debug for Copies {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
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

    /// Starts to copy pages that move together, in order; there are none where none of them can
    /// move. Linux: the copies of `migrate_folios_move()`.
    ///
    /// A host whose copies run by themselves, on another CPU or in a DMA engine, says how to wait
    /// for them: until we have, nobody accesses either frame, but for `copy_tags()` of a page that
    /// has some, and we take the next pages out of use meanwhile. These do not find room where the
    /// pages before them lay: where memory is short, fewer move. Others copy here and now.
    fn start_copies(&self, pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) -> Copies {
        pages.for_each(|(from, to)| self.copy(from, to));
        Copies::DONE
    }

    /// Copies the tags of a page that has some, whose data may still be being copied. Those of both
    /// frames are reserved.
    /// Linux: `mte_copy_page_tags()`.
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
