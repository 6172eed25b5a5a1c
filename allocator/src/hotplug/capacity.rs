//! Where all the memory is, and that none got lost.

use crate::check::{Violation, same};
use crate::event::Sink;
use crate::hotplug::memory_block::{MemoryBlock, Refused};
use crate::hotplug::memory_hotplug::MemoryHotplug;
use crate::hotplug::range::{MemoryRange, Owner};
use crate::page_alloc::PageAllocator;
use crate::units::{PageCount, PfnRange};
use crate::zone::Zone;

/// All installed memory by what it is good for, in pages. The parts add up to
/// [`installed`](Self::installed).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capacity {
    /// Everything.
    pub installed: PageCount,
    /// The page allocator's, free or used, but for what follows.
    pub buddy: PageCount,
    /// Memory blocks that nobody has onlined.
    pub offline: PageCount,
    /// Memory blocks that were refused when somebody tried.
    pub limbo: PageCount,
    /// Devices that programs map.
    pub devdax: PageCount,
    /// Private memory of guests.
    pub private: PageCount,
    /// No driver has it, but one could.
    pub idle: PageCount,
    /// No driver can.
    pub stranded: PageCount,
    /// Struct pages, and tables that hardware wants.
    pub metadata: PageCount,
}

impl Capacity {
    /// The parts by name, in the order of tables.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, PageCount); 8] {
        [
            ("buddy", self.buddy),
            ("offline", self.offline),
            ("limbo", self.limbo),
            ("devdax", self.devdax),
            ("private", self.private),
            ("idle", self.idle),
            ("stranded", self.stranded),
            ("metadata", self.metadata),
        ]
    }
}

impl MemoryHotplug {
    /// Where all the memory is.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        let mut all = Capacity { installed: self.ranges.installed(), ..Capacity::default() };
        for piece in self.ranges.all() {
            let len = piece.of.range.len();
            match piece.owner {
                Owner::Free | Owner::Region | Owner::DaxIdle => all.idle += len,
                Owner::Devdax => all.devdax += len,
                Owner::Stranded(_) => all.stranded += len,
                Owner::Blocks | Owner::Leaked => {}
            }
        }
        for block in self.blocks.values() {
            self.count_block(block, &mut all);
        }
        for map in &self.pagemaps {
            let own = PfnRange::from_len(map.range.start(), map.memmap.inside());
            self.count_own(own, &mut all);
        }
        let taken = self.memmap_pages() + self.tables;
        all.buddy = all.buddy.saturating_sub(taken + self.private);
        all.private = self.private;
        all.metadata += taken;
        all
    }

    /// A device's memory that holds its own struct pages, as far as it is installed: some is not,
    /// as the CPU does not reach it.
    fn count_own(&self, range: PfnRange, all: &mut Capacity) {
        for piece in self.ranges.inside(range) {
            let len = piece.of.range.len();
            let of = match piece.owner {
                Owner::Free | Owner::Region | Owner::DaxIdle => &mut all.idle,
                Owner::Devdax => &mut all.devdax,
                Owner::Stranded(_) => &mut all.stranded,
                Owner::Blocks | Owner::Leaked => continue,
            };
            *of = of.saturating_sub(len);
            all.metadata += len;
        }
    }

    /// Of a block at the edge of boot memory, only a part may be there.
    fn count_block(&self, block: &MemoryBlock, all: &mut Capacity) {
        let inside = block.memmap.inside();
        let rest = block.present.saturating_sub(inside);
        all.metadata += inside;
        match (block.is_online(), block.refused) {
            (true, _) => all.buddy += rest,
            (false, Refused::Yes) => all.limbo += rest,
            (false, Refused::No) => all.offline += rest,
        }
    }

    /// That no page got lost: the parts add up, blocks lie in ranges that have blocks, and the
    /// allocator has exactly the blocks that are online.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check<S: Sink>(&self, alloc: &PageAllocator<S>) -> Result<(), Violation> {
        let all = self.capacity();
        let parts: PageCount = all.parts().iter().map(|(_, pages)| *pages).sum();
        same("pages by what they are good for", parts, all.installed)?;
        let owned = |piece: &MemoryRange| piece.owner.has_blocks().then(|| piece.of.range.len());
        let ranges: PageCount = self.ranges.all().iter().filter_map(owned).sum();
        let blocks: PageCount = self.blocks.values().map(|block| block.present).sum();
        same("pages of memory blocks", blocks, ranges)?;
        let online = self.blocks.values().filter(|block| block.is_online());
        let online: PageCount = online.map(|block| block.present).sum();
        let present: PageCount = alloc.zones().iter().map(Zone::present).sum();
        same("pages of online blocks", online, present)?;
        // The first frame of a block with holes may be one.
        let whole = self.blocks().filter(|(_, block)| block.present == block.range.len());
        for (id, block) in whole {
            let there = alloc.is_online(block.range.start());
            let what = format_args!("memory{} is the allocator's", id.get());
            same(what, there, block.is_online())?;
        }
        Ok(())
    }
}
