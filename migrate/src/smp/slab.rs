//! Folios side by side, by the table that made them. Linux: a slab of `struct folio`.
//!
//! Pages of one program are looked at together: their folios share cache lines and pages of memory
//! wherever their frames are. A folio is used once: whoever has a handle of it never sees another.
//! Its slab lives as long as one of them, or as its table has use for it.

use core::fmt::{self, Debug, Formatter};
use core::ops::Deref;

use pagelab_allocator::sync::{Arc, Mutex};
use pagelab_allocator::units::Pfn;
use prefetch_index::prefetch_index;

use crate::smp::anon_vma::AnonVma;
use crate::smp::folio::SharedFolio;

/// Folios of a slab: eight cache lines.
const FOLIOS: u8 = 32;

/// Folios of one table, and what they share.
#[derive(Debug)]
pub(super) struct Slab {
    anon: Arc<AnonVma>,
    folios: [SharedFolio; FOLIOS as usize],
}

impl Slab {
    pub(super) fn folio(&self, at: u8) -> &SharedFolio {
        &self.folios[usize::from(at)]
    }
}

/// A handle of a folio. It is no reference: it keeps the record, not the page.
#[derive(Clone)]
pub(crate) struct FolioRef {
    pub(super) slab: Arc<Slab>,
    pub(super) at: u8,
}

impl FolioRef {
    /// Whether both are handles of one folio.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.at == other.at && Arc::ptr_eq(&self.slab, &other.slab)
    }

    /// Asks for the line of the folio, which is looked at soon.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        prefetch_index(&self.slab.folios, usize::from(self.at));
    }

    /// The address spaces that may map it.
    pub(crate) fn anon(&self) -> &Arc<AnonVma> {
        &self.slab.anon
    }
}

/// The folio, without those beside it.
impl Debug for FolioRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Deref for FolioRef {
    type Target = SharedFolio;

    fn deref(&self) -> &SharedFolio {
        self.slab.folio(self.at)
    }
}

/// Makes the folios of one table. Linux: `struct kmem_cache`.
#[derive(Debug)]
pub(crate) struct FolioCache {
    anon: Arc<AnonVma>,
    /// The next folio, if the slab that is being used up has one.
    next: Mutex<Option<FolioRef>>,
}

impl FolioCache {
    pub(crate) fn new(anon: Arc<AnonVma>) -> Self {
        Self { anon, next: Mutex::new(None) }
    }

    /// The address spaces that may map its folios.
    pub(crate) const fn anon(&self) -> &Arc<AnonVma> {
        &self.anon
    }

    /// A page at `index`, in `frame`, with one reference, which is the caller's.
    pub(crate) fn make(&self, frame: Pfn, index: usize) -> FolioRef {
        let mut next = self.next.lock();
        let folio = next.take().unwrap_or_else(|| self.first());
        let at = folio.at + 1;
        *next = (at < FOLIOS).then(|| FolioRef { at, ..folio.clone() });
        drop(next);
        folio.start(frame, index);
        folio
    }

    /// The first folio of a new slab.
    fn first(&self) -> FolioRef {
        let folios = core::array::from_fn(|_| SharedFolio::new());
        FolioRef { slab: Arc::new(Slab { anon: Arc::clone(&self.anon), folios }), at: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::machine::Machine;
    use crate::smp::page_table::{Mapping, Tags, Write};

    #[test]
    fn folios_at_one_place_of_two_slabs_differ() {
        let cache = FolioCache::new(Arc::new(AnonVma::new(Machine::new())));
        let make = |index| cache.make(Pfn::new(0), index);
        let folios: Vec<FolioRef> = (0..=usize::from(FOLIOS)).map(make).collect();
        let (first, last) = (&folios[0], &folios[usize::from(FOLIOS)]);
        assert_eq!(first.at, last.at);
        assert!(first.is(first) && !first.is(last));
        let mapping = |folio: &FolioRef| Mapping::new(folio.clone(), Write::Allowed, Tags::Tagged);
        let (one, other) = (mapping(first), mapping(last));
        assert!(one.maps(first) && !one.maps(last));
        assert!(one.is_same(&one) && !one.is_same(&other));
        assert!(folios.iter().enumerate().all(|(at, folio)| folio.index() == at), "each its own");
    }
}
