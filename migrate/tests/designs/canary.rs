//! Designs that break an invariant, and have to be caught.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_migrate::fault::Access;
use pagelab_migrate::tag_storage::design::{
    CarveOutTags, Reservation, Residence, TagStorageDesign, Terms,
};
use pagelab_migrate::vma::Prot;

use crate::machine::{CPU, Layout, MOVABLE, TAGS, fill, leave, program};

/// Lends tag storage out as CMA, and says that nothing has to be reserved.
#[derive(Debug)]
struct Careless;

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
        Reservation::NotNeeded
    }
}

#[test]
fn a_tagged_page_whose_tag_block_is_not_reserved_is_caught() {
    let mut emulator = Layout::usual().boot(Arc::new(Careless)).unwrap();
    let (space, range) = program(&mut emulator, 1, Prot::TAGGED);
    let done = emulator.access(CPU, space, range.start(), Access::Write).unwrap();
    let ledger = emulator.tags().ledger();
    let block = ledger.map().block_of(done.translation.pfn).unwrap();
    assert!(ledger.blocks().is_reserved(block), "so the design says");
    let violation = emulator.check().unwrap_err();
    assert!(violation.contains("does not own"), "{violation}");
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
    assert!(violation.contains("which is tag storage"), "{violation}");
}
