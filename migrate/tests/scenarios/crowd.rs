//! Memory full of somebody else's data, to be freed frame by frame.

use std::collections::BTreeMap;

use pagelab_allocator::event::Silent;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, Pfn, PfnRange};
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::folio::FolioId;

use crate::machine::CPU;

/// Single pages that nobody maps, by the frame where they were put.
pub(crate) struct Crowd(BTreeMap<Pfn, FolioId>);

impl Crowd {
    /// Fills every free frame, watermarks or not.
    pub(crate) fn fill(emulator: &mut Emulator<Silent>) -> Self {
        let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::MEMALLOC;
        let mut crowd = BTreeMap::new();
        while let Some(id) = last_page(emulator, gfp) {
            crowd.insert(emulator.folios()[id].pfn(), id);
        }
        Self(crowd)
    }

    /// The folio that was put at `pfn`, unless somebody else was there first.
    pub(crate) fn at(&self, pfn: Pfn) -> Option<FolioId> {
        self.0.get(&pfn).copied()
    }

    /// Frees what was put in `range`, but for `kept`.
    pub(crate) fn leave(
        &mut self,
        emulator: &mut Emulator<Silent>,
        range: PfnRange,
        kept: PfnRange,
    ) {
        let leaving: Vec<_> = range.iter().filter(|pfn| !kept.contains(*pfn)).collect();
        for id in leaving.iter().filter_map(|pfn| self.0.remove(pfn)) {
            emulator.free(CPU, id);
        }
        emulator.drain();
        emulator.check().unwrap();
    }
}

/// A page, even if it has to come off another type's per-CPU list.
pub(crate) fn last_page(emulator: &mut Emulator<Silent>, gfp: GfpFlags) -> Option<FolioId> {
    let first = emulator.allocate(CPU, Order::ZERO, gfp);
    first.ok().or_else(|| {
        emulator.drain();
        emulator.allocate(CPU, Order::ZERO, gfp).ok()
    })
}
