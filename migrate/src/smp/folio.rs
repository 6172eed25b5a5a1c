//! A page in use that several threads know. Linux: `struct folio`.
//!
//! One word counts who may look at it. Zero means that nobody may: the page is free, or somebody
//! has frozen it to change its frame. Whoever has a reference sees one frame as long as he has it.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use pagelab_allocator::smp::Steps;
use pagelab_allocator::sync::atomic::{AtomicU32, AtomicU64};
use pagelab_allocator::units::Pfn;

use crate::smp::step::Step;

/// What a pin adds to the references. Linux: `GUP_PIN_COUNTING_BIAS`.
pub const PIN_BIAS: u32 = 1024;

/// It has tags, and counts in the tag block of its frame. Linux: `PG_mte_tagged`, and
/// `PG_tag_storage_reserved` of RFC v3.
const TAGGED: u64 = 1 << 63;

/// A single page in use. Its frame changes only while it is frozen.
#[derive(Debug)]
pub struct SharedFolio {
    /// Linux: `_refcount`.
    refcount: AtomicU32,
    /// Linux: `index`. It does not change once the page is in use.
    index: AtomicU32,
    /// Its frame, and [`TAGGED`].
    place: AtomicU64,
}

/// Whether a put was the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "whoever puts last frees the frame"]
pub enum Put {
    /// Others have references.
    Shared,
    /// Nobody can reach the folio any more: its frame is the caller's to free.
    Last(Pfn),
}

impl SharedFolio {
    /// It is no page's yet.
    pub(crate) fn new() -> Self {
        let (refcount, index) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { refcount, index, place: AtomicU64::new(0) }
    }

    /// It is the page at `index`, in `frame`, from now on, with one reference.
    pub(crate) fn start(&self, frame: Pfn, index: usize) {
        let index = u32::try_from(index).expect("a table has fewer than 2^32 pages");
        self.index.store(index, Relaxed);
        self.place.store(frame.get(), Relaxed);
        self.refcount.store(1, Release);
    }

    /// Where it lies: the truth for whoever has a reference, else a hint.
    #[must_use]
    pub fn frame(&self) -> Pfn {
        Pfn::new(self.place.load(Relaxed) & !TAGGED)
    }

    /// The entry that maps it, in each table that does. Linux: `folio->index`.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index.load(Relaxed) as usize
    }

    /// References, a pin counting as [`PIN_BIAS`] of them. Linux: `folio_ref_count()`.
    #[must_use]
    pub fn references(&self) -> u32 {
        self.refcount.load(Acquire)
    }

    /// Whether it was pinned a moment ago, or has a thousand other references.
    /// Linux: `folio_maybe_dma_pinned()`.
    #[must_use]
    pub fn is_maybe_pinned(&self) -> bool {
        self.references() >= PIN_BIAS
    }

    /// One more reference, of somebody who has one or is kept from losing it by a lock.
    /// Linux: `folio_get()`.
    pub fn get(&self) {
        self.refcount.fetch_add(1, Relaxed);
    }

    /// A reference, unless it is free or frozen. Linux: `folio_try_get()`.
    #[must_use]
    pub fn try_get(&self) -> bool {
        self.try_add(1)
    }

    /// A pin, unless it is free or frozen. Linux: `try_grab_folio(FOLL_PIN)`.
    #[must_use]
    pub fn try_pin(&self) -> bool {
        self.try_add(PIN_BIAS)
    }

    /// Gives a reference back. Linux: `folio_put()`.
    pub fn put(&self) -> Put {
        self.sub(1)
    }

    /// Gives several references back at once. Linux: `folio_put_refs()`.
    pub(crate) fn put_many(&self, references: u32) -> Put {
        self.sub(references)
    }

    /// Gives a pin back. Linux: `unpin_folio()`.
    pub fn unpin(&self) -> Put {
        self.sub(PIN_BIAS)
    }

    fn try_add(&self, references: u32) -> bool {
        let more = |count: u32| (count > 0).then(|| count + references);
        self.refcount.fetch_update(AcqRel, Relaxed, more).is_ok()
    }

    fn sub(&self, references: u32) -> Put {
        // All that others did with the page comes before its end.
        if self.refcount.fetch_sub(references, AcqRel) == references {
            Put::Last(self.frame())
        } else {
            Put::Shared
        }
    }

    /// Bars everybody from taking references, if there are just `expected`, all known to the
    /// caller. Linux: `folio_ref_freeze()`.
    #[must_use]
    pub fn try_freeze(&self, expected: u32) -> bool {
        self.refcount.compare_exchange(expected, 0, AcqRel, Relaxed).is_ok()
    }

    /// Ends that. Linux: `folio_ref_unfreeze()`.
    pub fn unfreeze(&self, references: u32) {
        self.refcount.store(references, Release);
    }

    /// Another frame, while it is frozen.
    pub(crate) fn set_frame(&self, frame: Pfn) {
        let tagged = self.place.load(Relaxed) & TAGGED;
        self.place.store(frame.get() | tagged, Relaxed);
    }

    /// Whether it has tags. It may get them at any time unless it is frozen.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.place.load(Acquire) & TAGGED != 0
    }

    /// It has tags from now on; says whether it had none. Linux: `try_page_mte_tagging()`.
    pub(crate) fn try_tag(&self, steps: Steps<Step>) -> bool {
        let order = if steps.has(Step::TagPublishes) { AcqRel } else { Relaxed };
        self.place.fetch_or(TAGGED, order) & TAGGED == 0
    }

    /// The same, under the lock of a table that maps it. Others who tag a page have a reference: if
    /// that of the entry is the only one, nobody does it at the same time.
    pub(crate) fn try_tag_locked(&self, steps: Steps<Step>) -> bool {
        let looks = steps.has(Step::TagLooksForOthers);
        if looks && self.references() != 1 {
            return self.try_tag(steps);
        }
        let place = self.place.load(Relaxed);
        self.place.store(place | TAGGED, Release);
        place & TAGGED == 0
    }
}
