//! Contiguous pages anywhere: the first range of the zones that can be emptied.

use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};

use crate::contig::{ContigError, ContigTaken};
use crate::emulator::Emulator;

/// Pages asked for when nothing larger than a buddy block will do; what hugetlb uses.
const GFP: GfpFlags = GfpFlags::KERNEL.union(GfpFlags::NOWARN);

impl<S: Sink> Emulator<S> {
    /// Takes `count` contiguous frames, on a multiple of their number, from the highest zone that
    /// has them. Linux: `alloc_contig_pages()`, as hugetlb calls it for gigantic pages; for other
    /// numbers than powers of two Linux promises no alignment.
    ///
    /// # Errors
    ///
    /// The [`ContigError`] of the last range tried; [`ContigError::NoMemory`] when no range was
    /// worth a try, or when `count` is zero.
    pub fn alloc_contig_pages(
        &mut self,
        cpu: CpuId,
        count: PageCount,
    ) -> Result<ContigTaken, ContigError> {
        let zones = (0..self.page_alloc().zones().len()).rev().collect();
        self.alloc_contig_in(cpu, count, zones, ZoneType::Movable)
    }

    /// [`alloc_contig_pages`](Self::alloc_contig_pages) for the kernel itself, from the zones of
    /// `node` first. Linux: `alloc_contig_pages(.., GFP_KERNEL, nid, &node_online_map)`.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn alloc_contig_pages_node(
        &mut self,
        cpu: CpuId,
        count: PageCount,
        node: NodeId,
    ) -> Result<ContigTaken, ContigError> {
        let request = AllocRequest { node, ..AllocRequest::new(Order::ZERO, GfpFlags::KERNEL) };
        let zones = self.page_alloc().zonelist(&request).collect();
        self.alloc_contig_in(cpu, count, zones, ZoneType::Normal)
    }

    fn alloc_contig_in(
        &mut self,
        cpu: CpuId,
        count: PageCount,
        zones: Vec<usize>,
        highest: ZoneType,
    ) -> Result<ContigTaken, ContigError> {
        if count == PageCount::ZERO {
            return Err(ContigError::NoMemory);
        }
        let mut last = ContigError::NoMemory;
        for range in self.candidates(count, zones, highest) {
            if !self.is_worth_a_try(range) {
                continue;
            }
            match self.claim_range(cpu, range, IsolateMode::Other, GFP) {
                Ok(taken) => return Ok(taken),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Aligned ranges of `count` frames inside one zone, in the order in which zones are tried.
    fn candidates(&self, count: PageCount, zones: Vec<usize>, highest: ZoneType) -> Vec<PfnRange> {
        let zones = zones.into_iter().map(|at| &self.page_alloc().zones()[at]);
        let usable = zones.filter(|zone| zone.kind() <= highest);
        let ranges = usable.flat_map(|zone| {
            let span = zone.span();
            let first = span.start().get().next_multiple_of(count.get());
            let step = usize::try_from(count.get()).expect("fits an address space");
            (first..span.end().get())
                .step_by(step)
                .map(move |start| PfnRange::from_len(Pfn::new(start), count))
                .filter(move |range| span.covers(*range))
        });
        ranges.collect()
    }

    /// Linux: `pfn_range_valid_contig()`.
    fn is_worth_a_try(&self, range: PfnRange) -> bool {
        range.iter().all(|pfn| !matches!(self.frame(pfn), Frame::Reserved))
    }
}
