//! Designs that break an invariant, and have to be caught.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::units::Pfn;
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::fault::Access;
use pagelab_migrate::tag_storage::design::{
    CarveOutTags, Reservation, Residence, TagStorageDesign, Terms,
};
use pagelab_migrate::vma::Prot;

use crate::machine::{CPU, Layout, MOVABLE, TAGS, fill, leave, program};

/// Lends tag storage out as CMA, and says, from some moment on, that nothing has to be reserved.
#[derive(Debug, Default)]
struct Careless {
    tired: Arc<AtomicBool>,
}

impl TagStorageDesign for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }

    fn residence(&self) -> Residence {
        Residence::Pageblocks(MigrateType::Cma)
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        Terms::unchanged(gfp)
    }

    fn reservation(&self) -> Reservation {
        match self.tired.load(Ordering::Relaxed) {
            true => Reservation::NotNeeded,
            false => Reservation::BestEffort,
        }
    }
}

#[test]
fn a_tagged_page_whose_tag_block_is_not_reserved_is_caught() {
    let design = Careless::default();
    let tired = Arc::clone(&design.tired);
    let mut emulator = Layout::usual().boot(Arc::new(design)).unwrap();
    let (space, range) = program(&mut emulator, 64, Prot::TAGGED);
    emulator.access(CPU, space, range.start(), Access::Write).unwrap();
    emulator.check().unwrap();
    tired.store(true, Ordering::Relaxed);
    // Pages of at least two groups: some need a block that nobody has reserved yet.
    for offset in 1..64 {
        emulator.access(CPU, space, range.start().plus(offset), Access::Write).unwrap();
    }
    let (map, blocks) = (emulator.tags().ledger().map(), emulator.tags().ledger().blocks());
    let of_page = |offset| {
        let place = emulator.translate(space, range.start().plus(offset)).unwrap();
        map.block_of(place.pfn).unwrap()
    };
    let free = |pfn| emulator.folio_at(pfn).is_none() && !is_allocated(&emulator, pfn);
    let mut bad = (0..64).map(of_page).filter(|block| free(map.range(*block).start()));
    let bad = bad.next().expect("a mapped page whose tag block is free memory");
    assert!(blocks.is_reserved(bad), "so the design says");
    let violation = emulator.check().unwrap_err();
    assert!(violation.to_string().contains(" owns "), "{violation}");
}

fn is_allocated(emulator: &Emulator, pfn: Pfn) -> bool {
    matches!(emulator.frame(pfn), Frame::Allocated { .. })
}

/// Takes tag storage for taggable until it is asked a second time.
#[derive(Debug, Default)]
struct Fickle {
    knows_better: Arc<AtomicBool>,
}

impl TagStorageDesign for Fickle {
    fn name(&self) -> &'static str {
        "fickle"
    }

    fn residence(&self) -> Residence {
        Residence::Pageblocks(MigrateType::Cma)
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        Terms::unchanged(gfp)
    }

    fn carve_out_tags(&self) -> CarveOutTags {
        match self.knows_better.load(Ordering::Relaxed) {
            true => CarveOutTags::Impossible,
            false => CarveOutTags::Possible,
        }
    }
}

#[test]
fn a_tagged_page_that_cannot_be_tagged_is_caught() {
    let design = Fickle::default();
    let knows_better = Arc::clone(&design.knows_better);
    let mut emulator = Layout::usual().boot(Arc::new(design)).unwrap();
    let mut others = fill(&mut emulator, MOVABLE);
    leave(&mut emulator, &mut others, |pfn| TAGS.contains(pfn));
    let (space, range) = program(&mut emulator, 1, Prot::TAGGED);
    let done = emulator.access(CPU, space, range.start(), Access::Write).unwrap();
    assert!(TAGS.contains(done.translation.pfn));
    emulator.check().unwrap();
    knows_better.store(true, Ordering::Relaxed);
    let violation = emulator.check().unwrap_err();
    assert!(violation.to_string().contains("tag storage: true instead of false"), "{violation}");
}
