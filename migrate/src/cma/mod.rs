//! Contiguous memory areas: lent out as movable memory, taken back in aligned runs.
//! Linux: mm/cma.c.
//!
//! Exact ranges, which RFC v3 takes with `cma_alloc_range()`, are claimed past the areas, by
//! `tag_storage/reserve.rs`.

mod bitmap;

use core::ops::Range;

use bitmap::{Alignment, Bitmap};
use pagelab_allocator::contig::ContigRange;
use pagelab_allocator::event::{Event, Sink};
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

use crate::contig::{ContigError, ContigTaken};
use crate::memory::Memory;

/// An area and which parts of it are handed out. Linux: `struct cma`.
///
/// Its pageblocks are the page allocator's (`MachineSpec::cma`, `PageAllocator::init_lent`); the
/// area only knows its own allocations.
#[derive(Clone, Debug)]
pub struct CmaArea {
    range: PfnRange,
    order_per_bit: Order,
    bitmap: Bitmap,
}

/// A range that makes no area.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("range {range} is not made of chunks of order {order_per_bit}")]
pub struct BadArea {
    /// The range.
    pub range: PfnRange,
    /// The size of a chunk.
    pub order_per_bit: Order,
}

/// Why an area gave nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CmaError {
    /// No aligned run of the area is free. Linux: `-ENOMEM` without a single try.
    #[error("no aligned run of {0} is free in the area")]
    NoSpace(PageCount),
    /// Every free run of the area was tried; this is why the last one failed.
    #[error(transparent)]
    Contig(#[from] ContigError),
}

impl CmaError {
    /// What the call of Linux returns for it: a negative error number.
    #[must_use]
    pub const fn errno(&self) -> i32 {
        match self {
            Self::NoSpace(_) => -12,
            Self::Contig(error) => error.errno(),
        }
    }
}

impl CmaArea {
    /// An area of which nothing is handed out. Linux: `cma_init_reserved_mem()`.
    ///
    /// # Errors
    ///
    /// [`BadArea`] when the range is empty or not made of whole chunks.
    ///
    /// # Panics
    ///
    /// Panics when the area has more chunks than this process can address.
    pub fn new(range: PfnRange, order_per_bit: Order) -> Result<Self, BadArea> {
        if range.is_empty() || !range.is_aligned(order_per_bit) {
            return Err(BadArea { range, order_per_bit });
        }
        let bits = range.len().get() >> order_per_bit.get();
        let bits = usize::try_from(bits).expect("the bitmap fits an address space");
        Ok(Self { range, order_per_bit, bitmap: Bitmap::new(bits) })
    }

    /// The frames.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.range
    }

    /// The size of a chunk.
    #[must_use]
    pub const fn order_per_bit(&self) -> Order {
        self.order_per_bit
    }

    /// Pages in chunks that are handed out.
    #[must_use]
    pub fn used(&self) -> PageCount {
        PageCount::new(self.bitmap.ones() << self.order_per_bit.get())
    }

    /// Bits of the chunks that `range` touches.
    fn bits(&self, range: PfnRange) -> Range<usize> {
        let chunks = range.align_out(self.order_per_bit);
        let bit = |pfn: Pfn| {
            let offset = (pfn - self.range.start()).get() >> self.order_per_bit.get();
            usize::try_from(offset).expect("a bit of the bitmap")
        };
        bit(chunks.start())..bit(chunks.end())
    }

    fn pfn(&self, bit: usize) -> Pfn {
        let offset = u64::try_from(bit).expect("a bit of the bitmap") << self.order_per_bit.get();
        self.range.start() + PageCount::new(offset)
    }

    /// Chunks for `count` pages; `None` when there are more than the area has.
    fn chunks(&self, count: PageCount) -> Option<usize> {
        let chunks = count.get().div_ceil(self.order_per_bit.pages().get());
        usize::try_from(chunks).ok().filter(|chunks| *chunks <= self.bitmap.len())
    }

    /// Linux: `cma_bitmap_aligned_mask()`, `cma_bitmap_aligned_offset()`.
    fn alignment(&self, align: Order) -> Alignment {
        let Some(up) = align.get().checked_sub(self.order_per_bit.get()) else {
            return Alignment { mask: 0, offset: 0 };
        };
        let base = self.range.start();
        let misaligned = (base - base.align_down(align)).get() >> self.order_per_bit.get();
        let offset = usize::try_from(misaligned).expect("less than an alignment");
        Alignment { mask: (1 << up) - 1, offset }
    }
}

impl<S: Sink> Memory<S> {
    /// Takes the first free, aligned run of `count` pages that can be emptied. Linux:
    /// `cma_alloc()`.
    ///
    /// A run that stays busy is passed by; any other failure ends the search.
    ///
    /// # Errors
    ///
    /// [`CmaError::NoSpace`] when no run was even tried, else the failure of the last one.
    pub fn cma_alloc(
        &mut self,
        cpu: CpuId,
        area: &mut CmaArea,
        count: PageCount,
        align: Order,
    ) -> Result<ContigTaken, CmaError> {
        self.page_alloc.sink_mut().emit(Event::CmaAllocStart { count, align });
        let (pfn, result) = self.cma_search(cpu, area, count, align);
        match result {
            Ok(_) => self.stats.cma_alloc_success += 1,
            Err(_) => self.stats.cma_alloc_fail += 1,
        }
        let ret = result.as_ref().map_or_else(CmaError::errno, |_| 0);
        self.page_alloc.sink_mut().emit(Event::CmaAllocFinish { pfn, count, align, ret });
        result
    }

    /// Also says where the run lies that was tried last.
    fn cma_search(
        &mut self,
        cpu: CpuId,
        area: &mut CmaArea,
        count: PageCount,
        align: Order,
    ) -> (Option<Pfn>, Result<ContigTaken, CmaError>) {
        let alignment = area.alignment(align);
        let (mut tried, mut error) = (None, CmaError::NoSpace(count));
        let Some(chunks) = area.chunks(count).filter(|chunks| *chunks > 0) else {
            return (tried, Err(error));
        };
        let mut start = 0;
        while let Some(bit) = area.bitmap.find_clear(start, chunks, alignment) {
            let range = PfnRange::from_len(area.pfn(bit), count);
            tried = Some(range.start());
            area.bitmap.set(bit..bit + chunks);
            let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
            match self.alloc_contig_range(cpu, range, mode, GfpFlags::KERNEL) {
                Ok(taken) => return (tried, Ok(taken)),
                Err(failure) => {
                    area.bitmap.clear(bit..bit + chunks);
                    error = failure.into();
                    if !matches!(failure, ContigError::Busy { .. }) {
                        break;
                    }
                }
            }
            self.page_alloc.sink_mut().emit(Event::CmaBusyRetry { range, align });
            start = bit + alignment.mask + 1;
            if start > area.bitmap.len() {
                break;
            }
        }
        (tried, Err(error))
    }

    /// Gives frames back. Linux: `cma_release()`.
    ///
    /// # Panics
    ///
    /// Panics when the frames are not the area's, or not handed out.
    pub fn cma_release(&mut self, cpu: CpuId, area: &mut CmaArea, contig: ContigRange) {
        let range = contig.range();
        assert!(area.range.covers(range), "{range} is not of the area {}", area.range);
        area.bitmap.clear(area.bits(range));
        self.page_alloc.free_contig_range(cpu, contig);
        self.page_alloc.sink_mut().emit(Event::CmaRelease { range });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contig::BusyCause;
    use crate::folio::{FolioId, PinTerm};
    use crate::testing::{
        CPU, PROFILES, check_all_returns, check_sound, fill, machine, pages, range, thin_out,
    };

    const LENT: (u64, u64) = (0x1100, 0x1180);

    /// A machine whose memory is half full of anonymous pages, an area of 128 pages included.
    fn half_full(profile: pagelab_allocator::profile::KernelProfile) -> (Memory, CmaArea) {
        let lent = range(LENT.0, LENT.1);
        let mut memory = machine(profile, 512, Some(lent));
        let all = fill(&mut memory);
        thin_out(&mut memory, all, |pfn| pfn.get() % 2 == 0);
        (memory, CmaArea::new(lent, Order::ZERO).unwrap())
    }

    fn at(memory: &Memory, pfn: u64) -> FolioId {
        memory.rmap.folio_at(Pfn::new(pfn)).unwrap()
    }

    #[test]
    fn first_fit_with_alignment() {
        for profile in PROFILES {
            let (mut memory, mut area) = half_full(profile);
            let first = memory.cma_alloc(CPU, &mut area, pages(3), Order::ZERO).unwrap();
            assert_eq!(first.range.range(), range(0x1100, 0x1103));
            let second = memory.cma_alloc(CPU, &mut area, pages(4), Order::of(2)).unwrap();
            assert_eq!(second.range.range(), range(0x1104, 0x1108));
            assert_eq!((second.migrated, area.used()), (pages(2), pages(7)));
            memory.cma_release(CPU, &mut area, first.range);
            memory.cma_release(CPU, &mut area, second.range);
            assert_eq!((area.used(), memory.stats.cma_alloc_success), (pages(0), 2));
            check_sound(&memory);
            check_all_returns(memory);
        }
    }

    #[test]
    fn a_busy_run_is_passed_by() {
        for profile in PROFILES {
            let (mut memory, mut area) = half_full(profile);
            let pinned = at(&memory, 0x1102);
            memory.pin(CPU, pinned, PinTerm::Short).unwrap();
            let taken = memory.cma_alloc(CPU, &mut area, pages(4), Order::ZERO).unwrap();
            assert_eq!(taken.range.range(), range(0x1103, 0x1107));
            memory.cma_release(CPU, &mut area, taken.range);
            memory.unpin(pinned, PinTerm::Short);
            check_all_returns(memory);
        }
    }

    #[test]
    fn failures_name_the_last_reason() {
        for profile in PROFILES {
            let (mut memory, mut area) = half_full(profile);
            let too_many = memory.cma_alloc(CPU, &mut area, pages(129), Order::ZERO);
            assert_eq!(too_many.unwrap_err(), CmaError::NoSpace(pages(129)));
            let pinned = at(&memory, 0x117e);
            memory.pin(CPU, pinned, PinTerm::Short).unwrap();
            let busy = memory.cma_alloc(CPU, &mut area, pages(128), Order::ZERO).unwrap_err();
            let (pfn, cause) = (Pfn::new(0x117e), BusyCause::Pinned);
            assert_eq!(busy, CmaError::Contig(ContigError::Busy { pfn, cause }));
            assert_eq!((memory.stats.cma_alloc_fail, area.used()), (2, pages(0)));
            memory.unpin(pinned, PinTerm::Short);
            check_all_returns(memory);
        }
    }

    #[test]
    fn a_long_term_pin_leaves_the_area() {
        for profile in PROFILES {
            let (mut memory, _) = half_full(profile);
            let id = at(&memory, 0x1110);
            memory.pin(CPU, id, PinTerm::Long).unwrap();
            assert!(!range(LENT.0, LENT.1).contains(memory.folios[id].pfn()));
            let stuck = at(&memory, 0x1112);
            memory.pin(CPU, stuck, PinTerm::Short).unwrap();
            let refused = memory.pin(CPU, stuck, PinTerm::Long);
            assert_eq!(refused, Err(crate::pin::PinError::Stuck(stuck)));
            check_sound(&memory);
        }
    }
}
