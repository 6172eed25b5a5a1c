//! From a frame to the folio that occupies it. Linux: `page_folio()`, and mm/rmap.c behind it.

use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

use crate::folio::FolioId;

/// A dense table over the machine's frames. Every frame of a folio names the folio.
///
/// Zero means "no folio", so the table of memory that was never touched is never written.
#[derive(Clone, Debug)]
pub struct Rmap {
    base: Pfn,
    owners: Vec<u32>,
}

impl Rmap {
    /// An empty table over `span`.
    ///
    /// # Panics
    ///
    /// Panics when the span does not fit the address space of this process.
    #[must_use]
    pub fn new(span: PfnRange) -> Self {
        let len = usize::try_from(span.len().get()).expect("the span fits an address space");
        Self { base: span.start(), owners: vec![0; len] }
    }

    /// The frames that the table covers.
    #[must_use]
    pub fn span(&self) -> PfnRange {
        let len = u64::try_from(self.owners.len()).expect("built from a page count");
        PfnRange::from_len(self.base, PageCount::new(len))
    }

    /// The folio that occupies `pfn`; `None` for free frames and frames outside the table.
    #[must_use]
    pub fn folio_at(&self, pfn: Pfn) -> Option<FolioId> {
        let offset = usize::try_from(pfn.get().checked_sub(self.base.get())?).ok()?;
        self.owners.get(offset)?.checked_sub(1).map(FolioId::new)
    }

    /// Enters a folio.
    ///
    /// # Panics
    ///
    /// Panics when a frame lies outside the table or belongs to somebody.
    pub(crate) fn set(&mut self, range: PfnRange, id: FolioId) {
        let slots = self.slots(range);
        assert!(slots.iter().all(|owner| *owner == 0), "{range} given to {id} twice");
        slots.fill(id.get() + 1);
    }

    /// Removes the folio `id`.
    ///
    /// # Panics
    ///
    /// Panics when a frame lies outside the table or belongs to another folio.
    pub(crate) fn clear(&mut self, range: PfnRange, id: FolioId) {
        let slots = self.slots(range);
        assert!(slots.iter().all(|owner| *owner == id.get() + 1), "{range} is not {id}'s");
        slots.fill(0);
    }

    fn slots(&mut self, range: PfnRange) -> &mut [u32] {
        let index = |pfn: Pfn| {
            usize::try_from(pfn.get() - self.base.get()).expect("the span fits an address space")
        };
        let (start, end) = (index(range.start()), index(range.end()));
        &mut self.owners[start..end]
    }

    /// Number of frames that belong to a folio.
    #[must_use]
    pub fn occupied(&self) -> PageCount {
        let count = self.owners.iter().filter(|owner| **owner != 0).count();
        PageCount::new(u64::try_from(count).expect("built from a page count"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PfnRange {
        PfnRange::new(Pfn::new(start), Pfn::new(end))
    }

    #[test]
    fn every_frame_names_its_folio() {
        let mut rmap = Rmap::new(range(100, 120));
        rmap.set(range(104, 108), FolioId::new(0));
        rmap.set(range(108, 109), FolioId::new(7));
        assert_eq!(rmap.folio_at(Pfn::new(103)), None);
        assert_eq!(rmap.folio_at(Pfn::new(107)), Some(FolioId::new(0)));
        assert_eq!(rmap.folio_at(Pfn::new(108)), Some(FolioId::new(7)));
        assert_eq!(rmap.folio_at(Pfn::new(99)), None);
        assert_eq!(rmap.folio_at(Pfn::new(120)), None);
        rmap.clear(range(104, 108), FolioId::new(0));
        assert_eq!(rmap.occupied(), PageCount::new(1));
    }

    #[test]
    #[should_panic(expected = "given to folio 2 twice")]
    fn a_frame_has_one_owner() {
        let mut rmap = Rmap::new(range(0, 4));
        rmap.set(range(0, 2), FolioId::new(1));
        rmap.set(range(1, 2), FolioId::new(2));
    }
}
