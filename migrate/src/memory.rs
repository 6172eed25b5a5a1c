//! Live memory of a machine: the page allocator and the folios in it.

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::event::{Silent, Sink};
use pagelab_allocator::frame::{Frame, Movability};
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator, Pages};
use pagelab_allocator::units::{CpuId, PageCount, PfnRange};

use crate::alloc::AllocFailure;
use crate::compact::Compaction;
use crate::folio::{FolioFlags, FolioId, FolioKind};
use crate::folios::Folios;
use crate::mover::{MoveLog, Mover, TargetRules};
use crate::reclaim::Reclaim;
use crate::rmap::Rmap;
use crate::stats::MmStats;

/// The page allocator and everything that lives in its frames.
///
/// The parts are public: migration borrows them one by one (see [`Mover`]), and so may the owner.
#[derive(Clone, Debug)]
pub struct Memory<S: Sink = Silent> {
    /// Frames.
    pub page_alloc: PageAllocator<S>,
    /// Who lives in them.
    pub folios: Folios,
    /// From frames to folios.
    pub rmap: Rmap,
    /// What compaction remembers.
    pub compaction: Compaction,
    /// Counters.
    pub stats: MmStats,
    /// Who was used when, and what of it can go.
    pub reclaim: Reclaim,
    /// What moved since the owner last looked.
    pub log: MoveLog,
    /// What migration targets gain and lose.
    pub targets: TargetRules,
}

impl<S: Sink> Memory<S> {
    /// An allocator in whose frames no folio lives yet.
    ///
    /// # Panics
    ///
    /// Panics when the zones have room for more frames than this process can address.
    #[must_use]
    pub fn new(page_alloc: PageAllocator<S>) -> Self {
        let zones = page_alloc.zones();
        let rooms = zones.iter().map(|zone| zone.buddy().span());
        let room = rooms.reduce(PfnRange::hull).unwrap_or_default();
        let compaction = Compaction::new(zones.len());
        Self {
            page_alloc,
            folios: Folios::new(),
            rmap: Rmap::new(room),
            compaction,
            stats: MmStats::default(),
            reclaim: Reclaim::default(),
            log: MoveLog::default(),
            targets: TargetRules::default(),
        }
    }

    /// The parts, for work on behalf of `cpu`.
    pub fn mover(&mut self, cpu: CpuId) -> Mover<'_, S> {
        Mover {
            page_alloc: &mut self.page_alloc,
            folios: &mut self.folios,
            rmap: &mut self.rmap,
            compaction: &mut self.compaction,
            stats: &mut self.stats,
            reclaim: &mut self.reclaim,
            log: &mut self.log,
            targets: self.targets,
            cpu,
        }
    }

    /// Allocates a folio, compacting if need be. Linux: `__alloc_pages()`, slow path included.
    ///
    /// # Errors
    ///
    /// [`AllocFailure`] with the cause.
    ///
    /// # Panics
    ///
    /// Panics when the machine has no such CPU.
    #[inline]
    pub fn alloc(
        &mut self,
        cpu: CpuId,
        request: &AllocRequest,
        kind: FolioKind,
    ) -> Result<FolioId, AllocFailure> {
        match self.page_alloc.alloc_pages_fast(cpu, request) {
            Some(pages) => Ok(self.adopt(pages, kind)),
            None => self.alloc_slow(cpu, request, kind),
        }
    }

    /// Allocates a folio after the fast path failed. Linux: `__alloc_pages_slowpath()`.
    #[cold]
    pub(crate) fn alloc_slow(
        &mut self,
        cpu: CpuId,
        request: &AllocRequest,
        kind: FolioKind,
    ) -> Result<FolioId, AllocFailure> {
        let pages = self.mover(cpu).alloc_pages_slowpath(request)?;
        Ok(self.adopt(pages, kind))
    }

    /// Makes a folio of pages that were allocated elsewhere.
    ///
    /// # Panics
    ///
    /// Panics when a folio lives there.
    pub fn adopt(&mut self, pages: Pages, kind: FolioKind) -> FolioId {
        adopt(&mut self.page_alloc, &mut self.folios, &mut self.rmap, pages, kind)
    }

    /// Frees a folio. Linux: `folio_put()` of the last reference.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live, or still mapped or pinned.
    #[inline]
    pub fn free(&mut self, cpu: CpuId, id: FolioId) {
        let pages = self.disown(id);
        self.page_alloc.free_pages(cpu, pages);
    }

    /// Ends a folio without freeing its pages.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live, or still mapped or pinned.
    pub fn disown(&mut self, id: FolioId) -> Pages {
        let folio = self.folios.remove(id);
        self.reclaim.forget(id, &folio);
        self.rmap.clear(folio.range(), id);
        let pages = self.page_alloc.reclaim(folio.pfn(), folio.order());
        pages.expect("a folio's frames are allocated")
    }

    /// Recomputes every invariant between allocator, folios and frames.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        self.page_alloc.check()?;
        self.folios.check()?;
        let mut owned = PageCount::ZERO;
        for (id, folio) in self.folios.iter() {
            owned += folio.order().pages();
            let frame = self.page_alloc.frame(folio.pfn());
            let expected = Frame::Allocated {
                head: folio.pfn(),
                order: folio.order(),
                movability: folio.movability(),
            };
            same(format_args!("first frame of {id}"), frame, expected)?;
            for pfn in folio.range().iter() {
                same(format_args!("folio at {pfn}"), self.rmap.folio_at(pfn), Some(id))?;
            }
        }
        same("frames that lead to folios", self.rmap.occupied(), owned)
    }
}

/// Makes a folio of allocated pages. Linux: `prep_compound_page()`, `folio_add_lru()` apart.
#[inline]
pub(crate) fn adopt<S: Sink>(
    page_alloc: &mut PageAllocator<S>,
    folios: &mut Folios,
    rmap: &mut Rmap,
    pages: Pages,
    kind: FolioKind,
) -> FolioId {
    let movability = kind.movability();
    let flags = match movability {
        Movability::Unmovable => FolioFlags::empty(),
        Movability::Movable => FolioFlags::MOVABLE,
    };
    let range = pages.range();
    let id = folios.insert(pages.pfn(), pages.order(), kind, flags);
    page_alloc.set_movability(&pages, movability);
    let _ = pages.into_raw();
    rmap.set(range, id);
    id
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::units::Order;

    use super::*;
    use crate::alloc::FailureCause;
    use crate::folio::PinTerm;
    use crate::testing::{CPU, PROFILES, anon, check_all_returns, check_sound, kernel, machine};

    #[test]
    fn folios_own_what_they_allocate() {
        for profile in PROFILES {
            let mut memory = machine(profile, 512, None);
            let data = memory.alloc(CPU, &anon(2), FolioKind::Anon).unwrap();
            let slab = memory.alloc(CPU, &kernel(0), FolioKind::Kernel).unwrap();
            assert_eq!(memory.rmap.folio_at(memory.folios[slab].pfn()), Some(slab));
            assert!(memory.folios[data].is_movable() && !memory.folios[slab].is_movable());
            check_sound(&memory);
            check_all_returns(memory);
        }
    }

    #[test]
    fn blocks_have_a_largest_order() {
        for profile in PROFILES {
            let mut memory = machine(profile, 512, None);
            let failure = memory.alloc(CPU, &anon(15), FolioKind::Anon).unwrap_err();
            assert_eq!(failure.cause, FailureCause::OrderTooLarge(Order::of(5)));
        }
    }

    #[test]
    #[should_panic(expected = "folio 0 freed with 2 pins")]
    fn freeing_pinned_memory_names_the_pins() {
        let mut memory = machine(PROFILES[0], 512, None);
        let id = memory.alloc(CPU, &anon(0), FolioKind::Anon).unwrap();
        memory.pin(CPU, id, PinTerm::Short).unwrap();
        memory.pin(CPU, id, PinTerm::Long).unwrap();
        memory.free(CPU, id);
    }

    #[test]
    fn check_catches_a_frame_that_leads_nowhere() {
        let mut memory = machine(PROFILES[0], 512, None);
        let id = memory.alloc(CPU, &anon(1), FolioKind::Anon).unwrap();
        let range = memory.folios[id].range();
        memory.rmap.clear(range, id);
        let violation = memory.check().unwrap_err().to_string();
        assert_eq!(violation, format!("folio at {}: None instead of Some({id})", range.start()));
    }

    #[test]
    fn check_catches_a_folio_whose_pages_were_freed() {
        let mut memory = machine(PROFILES[1], 512, None);
        let id = memory.alloc(CPU, &anon(1), FolioKind::Anon).unwrap();
        let folio = memory.folios[id].clone();
        let pages = memory.page_alloc.reclaim(folio.pfn(), folio.order()).unwrap();
        memory.page_alloc.free_pages(CPU, pages);
        assert_eq!(memory.check().unwrap_err().what, format!("first frame of {id}"));
    }
}
