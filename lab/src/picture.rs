//! A look at a machine: its free lists as text and numbers, its pageblocks as cells.

use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::Frame;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::units::{PageCount, PfnRange};

use crate::drive::Driver;
use crate::report::Picture;
use crate::report::blocks::{BlockMap, Cell, CellKind};

/// The machine at this moment; `tags` is its tag storage.
#[must_use]
pub fn picture<S: Sink>(driver: &Driver<S>, tags: PfnRange) -> Picture {
    let alloc = driver.emulator().page_alloc();
    let snapshot = alloc.snapshot();
    let order = alloc.geometry().pageblock_order();
    let all = alloc.free_blocks();
    Picture {
        huge_available: all.suitable(order),
        free_pages: all.pages(),
        free_cma_pages: free_cma(driver),
        unusable_index: all.unusable_index(order),
        fragmentation_index: all.fragmentation_index(order),
        buddyinfo: snapshot.buddyinfo().to_string(),
        pagetypeinfo: snapshot.pagetypeinfo().to_string(),
        blocks: block_map(driver, tags),
    }
}

/// Pages on CMA lists, all zones.
#[must_use]
pub fn free_cma<S: Sink>(driver: &Driver<S>) -> u64 {
    let zones = driver.emulator().page_alloc().zones();
    zones.iter().map(|zone| zone.free_pages().cma).sum::<PageCount>().get()
}

/// Every pageblock of every zone; `tags` is the machine's tag storage.
#[must_use]
pub fn block_map<S: Sink>(driver: &Driver<S>, tags: PfnRange) -> BlockMap {
    let alloc = driver.emulator().page_alloc();
    let geometry = alloc.geometry();
    let order = geometry.pageblock_order();
    let blocks = || alloc.zones().iter().flat_map(|zone| zone.span().blocks(order));
    let cells = blocks().map(|block| cell(driver, PfnRange::block(block, order), tags));
    let start = blocks().next().unwrap_or_default().get() * geometry.page_size();
    BlockMap::new(start, geometry.bytes_of(order.pages()), cells.collect())
}

/// How much of a range is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Occupancy {
    /// Pages that somebody holds.
    pub used: PageCount,
    /// Pages that the allocator knows: used, free, or on a per-CPU list.
    pub known: PageCount,
}

/// Counts the pages of `range`; free blocks are passed in one step.
#[must_use]
pub fn occupancy<S: Sink>(alloc: &PageAllocator<S>, range: PfnRange) -> Occupancy {
    let one = PageCount::new(1);
    let mut sum = Occupancy::default();
    let mut pfn = range.start();
    while pfn < range.end() {
        let (next, used) = match alloc.frame(pfn) {
            Frame::Free { head, order } => ((head + order.pages()).min(range.end()), false),
            Frame::PerCpu { .. } => (pfn + one, false),
            Frame::Allocated { .. } => (pfn + one, true),
            Frame::Reserved => {
                pfn = pfn + one;
                continue;
            }
        };
        sum.known += next - pfn;
        if used {
            sum.used += next - pfn;
        }
        pfn = next;
    }
    sum
}

/// Counts the pages of tag storage that the page allocator never sees: copies and tags are in use,
/// and what never holds anything else is not known.
fn copies<S: Sink>(driver: &Driver<S>, range: PfnRange) -> Occupancy {
    let tags = driver.emulator().tags();
    let mut sum = Occupancy::default();
    for pfn in range.iter() {
        let block = tags.ledger().map().block_at(pfn);
        if block.is_some_and(|block| tags.ledger().blocks().is_permanent(block)) {
            continue;
        }
        sum.known += PageCount::new(1);
        if tags.clean().copy_at(pfn).is_some() || driver.holds_tags(pfn) {
            sum.used += PageCount::new(1);
        }
    }
    sum
}

fn cell<S: Sink>(driver: &Driver<S>, block: PfnRange, tags: PfnRange) -> Cell {
    let alloc = driver.emulator().page_alloc();
    let Occupancy { used, known } = match driver.keeps_copies() && tags.overlaps(block) {
        true => copies(driver, block),
        false => occupancy(alloc, block),
    };
    let is_tags = tags.overlaps(block);
    let kind = match alloc.pageblock_type(block.start()) {
        _ if is_tags && known == PageCount::ZERO => CellKind::CarvedOut,
        _ if is_tags && block.iter().any(|pfn| driver.holds_tags(pfn)) => CellKind::Tags,
        _ if is_tags => CellKind::Lent,
        Some(mt) if known > PageCount::ZERO => CellKind::Type(mt),
        _ => CellKind::Reserved,
    };
    let eighths = (used.get() * 8).div_ceil(block.len().get());
    Cell { kind, eighths: u8::try_from(eighths).unwrap_or(8) }
}
