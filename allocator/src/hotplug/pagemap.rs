//! Struct pages for the memory of a device. Linux: mm/memremap.c.

use crate::event::Sink;
use crate::hotplug::add::Mapping;
use crate::hotplug::errno::Errno;
use crate::hotplug::memory_hotplug::MemoryHotplug;
use crate::hotplug::printk::Level;
use crate::hotplug::resource::Intersects;
use crate::hotplug::veto::EntryPoint;
use crate::hotplug::vmemmap::{Memmap, STRUCT_PAGE};
use crate::page_alloc::PageAllocator;
use crate::units::{CpuId, NodeId, PageCount, PfnRange};

/// What a device's memory is for. Linux: `enum memory_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PagemapKind {
    /// The CPU cannot reach it. Linux: `MEMORY_DEVICE_PRIVATE`.
    Private,
    /// Coherent memory of a device. Linux: `MEMORY_DEVICE_COHERENT`.
    Coherent,
    /// A file system on it. Linux: `MEMORY_DEVICE_FS_DAX`.
    FsDax,
    /// A character device: devdax. Linux: `MEMORY_DEVICE_GENERIC`.
    Generic,
}

/// What a driver provides for its pages. Linux: `struct dev_pagemap_ops`, `pgmap->owner`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PagemapOps {
    /// Brings a page back when the CPU touches it.
    pub migrate_to_ram: Provided,
    /// Hears of a page's last reference.
    pub page_free: Provided,
    /// Says whose pages these are.
    pub owner: Provided,
}

/// Whether a driver provides something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Provided {
    /// It does.
    Yes,
    /// It does not.
    #[default]
    No,
}

/// Where the struct pages of a device come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PagemapMemmap {
    /// From the allocator, one for each page.
    Whole,
    /// From the allocator, shared by the tails of compound pages.
    Compound,
    /// From the device itself: its first pages. Linux: `PGMAP_ALTMAP_VALID`.
    Altmap,
}

/// Struct pages that are wanted. Linux: `struct dev_pagemap`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remap {
    /// The frames, one range or several.
    pub ranges: Vec<PfnRange>,
    /// Whose node's memory they come from.
    pub node: NodeId,
    /// What they are for.
    pub kind: PagemapKind,
    /// What the driver provides.
    pub ops: PagemapOps,
    /// Where struct pages come from.
    pub memmap: PagemapMemmap,
}

/// A device's memory with struct pages; its frames are in ZONE_DEVICE and on no list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pagemap {
    /// The frames.
    pub range: PfnRange,
    /// What they are for.
    pub kind: PagemapKind,
    /// Where the struct pages lie.
    pub memmap: Memmap,
}

impl Remap {
    /// Linux: the sanity checks of `memremap_pages()`.
    fn is_sane(&self) -> bool {
        let PagemapOps { migrate_to_ram, page_free, owner } = self.ops;
        let wanted: &[Provided] = match self.kind {
            PagemapKind::Private => &[migrate_to_ram, page_free, owner],
            PagemapKind::Coherent => &[page_free, owner],
            PagemapKind::FsDax | PagemapKind::Generic => &[],
        };
        wanted.iter().all(|provided| *provided == Provided::Yes)
            && (self.memmap != PagemapMemmap::Altmap || self.ranges.len() == 1)
    }
}

impl MemoryHotplug {
    /// Makes struct pages for a device's memory: no memory blocks, no notifiers, nothing for the
    /// page allocator. Linux: `memremap_pages()`.
    ///
    /// # Errors
    ///
    /// The error number of the first check that fails; ranges before the one that failed have no
    /// struct pages then either.
    pub fn memremap_pages<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        remap: &Remap,
    ) -> Result<(), Errno> {
        if !remap.is_sane() || remap.ranges.is_empty() {
            return Err(Errno::Inval);
        }
        for (done, &range) in remap.ranges.iter().enumerate() {
            let made = self
                .check_pagemap(remap, range)
                .and_then(|()| self.commit_pagemap(alloc, cpu, remap, range));
            if let Err(errno) = made {
                for &range in &remap.ranges[..done] {
                    self.memunmap_pages(alloc, cpu, range);
                }
                return Err(errno);
            }
        }
        Ok(())
    }

    /// The checks before one of the ranges gets struct pages. Linux: `pagemap_range()` up to
    /// `mem_hotplug_begin()`.
    ///
    /// # Errors
    ///
    /// The error number of the first check that fails.
    pub(crate) fn check_pagemap(&mut self, remap: &Remap, range: PfnRange) -> Result<(), Errno> {
        if range.is_empty() {
            return Err(Errno::Inval);
        }
        let (first, last) = (range.start(), range.end() - PageCount::new(1));
        if self.pagemaps.iter().any(|map| map.range.contains(first) || map.range.contains(last)) {
            self.print(Level::Warn, "Conflicting mapping in same section".to_owned());
            return Err(Errno::NoMem);
        }
        let on = match self.resources.intersects(range) {
            Intersects::Disjoint => None,
            Intersects::Mixed => Some("mixed"),
            Intersects::Whole => Some("ram"),
        };
        if let Some(on) = on {
            let (start, last) = self.ends(range);
            self.print(Level::Warn, format!("attempted on {on} region {start:#x}-{last:#x}"));
            return Err(Errno::NxIo);
        }
        let mapping = match remap.kind {
            PagemapKind::Private => Mapping::NotNeeded,
            _ => Mapping::Needed,
        };
        self.range_allowed(range, mapping, Errno::Inval)?;
        let of = self.candidate(range, remap.node);
        let verdict = self.spec.gate.memremap(self.view(), &of);
        self.enforce(EntryPoint::Memremap, range, verdict)?;
        self.check_sections(range)
    }

    /// Whether whole subsections without struct pages make up a range.
    /// Linux: `check_pfn_span()`, `fill_subsection_map()`.
    fn check_sections(&self, range: PfnRange) -> Result<(), Errno> {
        if !range.is_aligned(self.geometry.pageblock_order()) {
            return Err(Errno::Inval);
        }
        match self.pagemaps.iter().any(|map| map.range.overlaps(range)) {
            true => Err(Errno::Exist),
            false => Ok(()),
        }
    }

    /// What is done under `mem_hotplug_begin()`.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMem`] when there is none for struct pages.
    pub(crate) fn commit_pagemap<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        remap: &Remap,
        range: PfnRange,
    ) -> Result<(), Errno> {
        let memmap = match remap.memmap {
            PagemapMemmap::Whole => Memmap::populate(alloc, cpu, remap.node, range)?,
            PagemapMemmap::Compound => Memmap::populate_compound(alloc, cpu, remap.node, range)?,
            PagemapMemmap::Altmap => {
                let bytes = range.len().get() * STRUCT_PAGE;
                Memmap::Inside(PageCount::new(bytes.div_ceil(self.geometry.page_size())))
            }
        };
        self.pagemaps.push(Pagemap { range, kind: remap.kind, memmap });
        Ok(())
    }

    /// Takes the struct pages of a device's memory away; nothing happens if there are none.
    /// Linux: `memunmap_pages()`.
    pub fn memunmap_pages<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        range: PfnRange,
    ) {
        if let Some(at) = self.pagemaps.iter().position(|map| map.range == range) {
            self.pagemaps.remove(at).memmap.free(alloc, cpu);
        }
    }

    /// Memory of devices that has struct pages.
    #[must_use]
    pub fn pagemaps(&self) -> &[Pagemap] {
        &self.pagemaps
    }
}
