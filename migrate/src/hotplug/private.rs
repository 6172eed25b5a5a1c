//! Private memory of confidential guests, all of it together. Linux: virt/kvm/guest_memfd.c.

use core::ops::Range;

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, PfnRange};

use crate::hotplug::host::Host;
use crate::hotplug::placement::Binding;
use crate::hotplug::private_memory::{PageOffset, PrivateError, PrivateMemory};
use crate::hotplug::private_page;

impl<S: Sink> Host<S> {
    /// Allocates private memory page by page until there is as much as wanted, or no more; says how
    /// much there is. It can never move, and is never CMA nor in ZONE_MOVABLE.
    /// Linux: `kvm_gmem_allocate()`.
    pub fn allocate_private(&mut self, wanted: PageCount, binding: Binding) -> PageCount {
        let nodes = self.nodes_for(binding, Caps::TEE);
        let mut got = PageCount::ZERO;
        for node in nodes {
            let wanted_here = private_page::request(node);
            let gfp = wanted_here.gfp | GfpFlags::THISNODE | GfpFlags::NOWARN;
            let request = AllocRequest { gfp, ..wanted_here };
            let alloc = &mut self.emulator.memory.page_alloc;
            while got < wanted {
                let Ok(pfn) = private_page::allocate(alloc, CpuId::BOOT, &request) else {
                    // Taking movable pageblocks raises the marks until kswapd has looked.
                    match serve_boosts(alloc, node) {
                        PageCount::ZERO => break,
                        _ => continue,
                    }
                };
                let page = PfnRange::block(pfn, Order::ZERO);
                got += page.len();
                match self.private.last_mut() {
                    Some(run) if run.end() == page.start() || page.end() == run.start() => {
                        *run = run.hull(page);
                    }
                    _ => self.private.push(page),
                }
            }
        }
        self.hot.count_private(got);
        got
    }

    /// Frees all private memory. Linux: `kvm_gmem_release()`.
    pub fn free_private(&mut self) {
        for run in core::mem::take(&mut self.private) {
            let freed = self.emulator.memory.page_alloc.free_part(CpuId::BOOT, run);
            freed.expect("private memory is allocated");
            self.hot.uncount_private(run.len());
        }
    }

    /// Makes a file of private memory and gives its number. Linux: `KVM_CREATE_GUEST_MEMFD`.
    ///
    /// # Panics
    ///
    /// Panics when the file has more pages than this process can address.
    pub fn create_file(&mut self, size: PageCount, node: NodeId) -> usize {
        self.files.push(PrivateMemory::create(size, node));
        self.files.len() - 1
    }

    /// A file of private memory, to lock its pages.
    pub fn file_mut(&mut self, file: usize) -> Option<&mut PrivateMemory> {
        self.files.get_mut(file)
    }

    /// Fills holes of a file. Linux: `fallocate(2)`.
    ///
    /// # Errors
    ///
    /// See [`PrivateMemory::fallocate`].
    ///
    /// # Panics
    ///
    /// Panics when there is no such file.
    pub fn fallocate(&mut self, file: usize, at: Range<PageOffset>) -> Result<(), PrivateError> {
        let before = self.files[file].allocated();
        let alloc = &mut self.emulator.memory.page_alloc;
        let done = self.files[file].fallocate(alloc, CpuId::BOOT, at);
        self.hot.count_private(self.files[file].allocated().saturating_sub(before));
        done
    }

    /// Frees pages of a file. Linux: `FALLOC_FL_PUNCH_HOLE`.
    ///
    /// # Errors
    ///
    /// See [`PrivateMemory::punch_hole`].
    ///
    /// # Panics
    ///
    /// Panics when there is no such file.
    pub fn punch_hole(&mut self, file: usize, at: Range<PageOffset>) -> Result<(), PrivateError> {
        let before = self.files[file].allocated();
        let alloc = &mut self.emulator.memory.page_alloc;
        let done = self.files[file].punch_hole(alloc, CpuId::BOOT, at).map(|_| ());
        self.hot.uncount_private(before.saturating_sub(self.files[file].allocated()));
        done
    }

    /// Private memory, as runs of frames.
    #[must_use]
    pub fn private(&self) -> &[PfnRange] {
        &self.private
    }
}

/// kswapd of a node where nothing can be reclaimed: it takes away the boosts that it finds, and
/// that is all; says how much they were. Linux: `balance_pgdat()`.
fn serve_boosts<S: Sink>(alloc: &mut PageAllocator<S>, node: NodeId) -> PageCount {
    let zones = alloc.zones().iter().enumerate();
    let own: Vec<_> = zones.filter(|(_, zone)| zone.node() == node).map(|(at, _)| at).collect();
    let serve = |at| {
        let boost = alloc.begin_reclaim(at);
        alloc.end_reclaim(at, boost);
        boost
    };
    own.into_iter().map(serve).sum()
}
