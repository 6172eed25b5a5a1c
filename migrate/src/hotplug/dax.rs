//! Memory with a dax device on it: as a device, or as memory. Linux: drivers/dax.

use pagelab_allocator::event::Sink;
use pagelab_allocator::hotplug::add::AddMemory;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Candidate, Driver};
use pagelab_allocator::hotplug::pagemap::{PagemapKind, PagemapMemmap, PagemapOps, Remap};
use pagelab_allocator::hotplug::platform::MemmapOnMemory;
use pagelab_allocator::hotplug::printk::{Level, Line};
use pagelab_allocator::hotplug::range::{Owner, Stranded};
use pagelab_allocator::hotplug::veto::EntryPoint;
use pagelab_allocator::units::{NodeId, PageCount, PfnRange};

use crate::hotplug::host::Host;
use crate::hotplug::kmem_range::KmemRange;

/// A dax device. Linux: `struct dev_dax`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DaxDevice {
    /// Its memory, ascending.
    pub ranges: Vec<PfnRange>,
    /// The node that its memory would belong to; firmware may not have said. Linux: `target_node`.
    pub node: Option<NodeId>,
    /// Whether it wants struct pages in its own memory: regions of CXL do, soft-reserved memory
    /// does not. Linux: `dev_dax_data.memmap_on_memory`.
    pub memmap: MemmapOnMemory,
}

/// What became of memory under a driver.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bound {
    /// Memory blocks that were added, range by range.
    pub added: Vec<PfnRange>,
    /// Memory that was not, for want of whole blocks.
    pub tails: PageCount,
}

impl<S: Sink> Host<S> {
    /// Makes a region of CXL memory that nobody has, if the gate lets it; what is denied is
    /// nobody's for good. Linux: `create_region_store()`.
    ///
    /// # Errors
    ///
    /// What the gate says; [`Errno::Inval`] when the memory is not there or not free.
    pub fn create_region(&mut self, range: PfnRange) -> Result<(), Errno> {
        let of = self.hot.ranges().describe(range).ok_or(Errno::Inval)?;
        let verdict = self.hot.gate().create_region(self.hot.view(), &of);
        let created = self.hot.enforce(EntryPoint::CreateRegion, range, verdict);
        let owner = match created {
            Ok(()) => Owner::Region,
            Err(_) => Owner::Stranded(Stranded::Denied),
        };
        self.hot.give(range, owner).map_err(|_| Errno::Inval)?;
        created
    }

    /// Puts a dax device on memory that nobody has, and gives it the driver that it should have.
    /// Linux: `devm_create_dev_dax()`, `dax_bus_match()`.
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] when somebody has some of the memory, and nothing has changed then; those
    /// of the driver's probe, and the device is there without a driver then.
    pub fn create_dax(&mut self, dev: &DaxDevice, wanted: Driver) -> Result<Driver, Errno> {
        let free = |owner| match owner {
            Owner::Free | Owner::Region => true,
            Owner::Stranded(why) => why != Stranded::Denied,
            Owner::DaxIdle | Owner::Devdax | Owner::Blocks | Owner::Leaked => false,
        };
        if !self.owns(dev, free) {
            return Err(Errno::Inval);
        }
        for &range in &dev.ranges {
            self.hot.give(range, Owner::DaxIdle).map_err(|_| Errno::Inval)?;
        }
        let driver = self.choose_driver(dev, wanted);
        match driver {
            Driver::Kmem => self.kmem_probe(dev).map(|_| driver),
            Driver::Devdax => self.devdax_probe(dev).map(|()| driver),
        }
    }

    /// Whether all memory of a device has such an owner.
    fn owns(&self, dev: &DaxDevice, by: impl Fn(Owner) -> bool) -> bool {
        dev.ranges.iter().all(|range| self.hot.ranges().is_owned(*range, &by))
    }

    /// Asks the gate which driver a device gets.
    fn choose_driver(&mut self, dev: &DaxDevice, wanted: Driver) -> Driver {
        let whole = dev.ranges.iter().filter_map(|range| self.hot.ranges().describe(*range));
        let all = whole.reduce(|a, b| Candidate { caps: a.caps & b.caps, ..a });
        let Some(of) = all else { return wanted };
        let (driver, line) = self.hot.gate().probe(self.hot.view(), &of, wanted);
        if let Some(line) = line {
            self.hot.log_mut().print(line);
        }
        driver
    }

    /// Gives a device's memory to programs. Linux: `dev_dax_probe()`.
    ///
    /// # Errors
    ///
    /// [`Errno::Busy`] when the device or its memory has a driver; those of
    /// [`Host::memremap_pages`], and the memory is stranded then.
    pub fn devdax_probe(&mut self, dev: &DaxDevice) -> Result<(), Errno> {
        if !self.owns(dev, |owner| owner == Owner::DaxIdle) {
            return Err(Errno::Busy);
        }
        let remap = Remap {
            ranges: dev.ranges.clone(),
            node: dev.node.unwrap_or(NodeId::new(0)),
            kind: PagemapKind::Generic,
            ops: PagemapOps::default(),
            memmap: PagemapMemmap::Compound,
        };
        let made = self.memremap_pages(&remap);
        let owner = if made.is_ok() { Owner::Devdax } else { Owner::Stranded(Stranded::Refused) };
        for &range in &dev.ranges {
            self.hot.give(range, owner).map_err(|_| Errno::Inval)?;
        }
        made
    }

    /// Takes a device's memory from programs; it has no driver then. Linux: `dev_dax_remove()`.
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] when it is not theirs; nothing has changed then.
    pub fn devdax_remove(&mut self, dev: &DaxDevice) -> Result<(), Errno> {
        // What a probe that failed has left is the device's, too.
        if !self.owns(dev, |owner| matches!(owner, Owner::Devdax | Owner::Stranded(_))) {
            return Err(Errno::Inval);
        }
        for &range in &dev.ranges {
            self.memunmap_pages(range);
            self.hot.give(range, Owner::DaxIdle).map_err(|_| Errno::Inval)?;
        }
        Ok(())
    }

    /// Makes memory blocks of a device's memory. Linux: `dev_dax_kmem_probe()`.
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] when the node is unknown or no whole block is left; [`Errno::Busy`] when
    /// the first range has a driver, or the error of its addition, if nothing was added before.
    pub fn kmem_probe(&mut self, dev: &DaxDevice) -> Result<Bound, Errno> {
        let Some(node) = dev.node else {
            self.say(Level::Warn, "rejecting DAX region with invalid node: -1".to_owned());
            return Err(Errno::Inval);
        };
        let all: PageCount = dev.ranges.iter().map(|range| range.len()).sum();
        let wanted = self.kmem_ranges(dev);
        if wanted.is_empty() {
            self.say(Level::Warn, "rejecting DAX region without any memory after alignment".into());
            return Err(Errno::Inval);
        }
        let pages = wanted.iter().map(|(_, _, whole)| whole.len()).sum();
        let mut bound = Bound { added: Vec::new(), tails: all.saturating_sub(pages) };
        let group = Some(self.hot.groups_mut().register(node, pages));
        let idle = |owner| owner == Owner::DaxIdle;
        for (at, range, whole) in wanted {
            let name = "System RAM (kmem)";
            let add = AddMemory { range: whole, node, name, group, memmap: dev.memmap };
            let (added, failure) = match self.hot.ranges().is_owned(range, idle) {
                true => (self.add_memory_driver_managed(add), "memory add failed"),
                false => (Err(Errno::Busy), "could not reserve region"),
            };
            match added {
                Ok(()) => {
                    bound.added.push(whole);
                    self.strand_tails(range, whole);
                }
                Err(errno) => {
                    let (start, last) = self.ends(whole);
                    let text = format!("mapping{at}: {start:#x}-{last:#x} {failure}");
                    self.say(Level::Warn, text);
                    if bound.added.is_empty() {
                        return Err(errno);
                    }
                }
            }
        }
        Ok(bound)
    }

    /// The ranges of a device that have whole blocks: their number, all of them, and the blocks.
    fn kmem_ranges(&mut self, dev: &DaxDevice) -> Vec<(usize, PfnRange, PfnRange)> {
        let mut wanted = Vec::new();
        for (at, &range) in dev.ranges.iter().enumerate() {
            let whole = self.whole_blocks(range);
            if whole.is_empty() {
                let (start, last) = self.ends(range);
                let text = format!("mapping{at}: {start:#x}-{last:#x} too small after alignment");
                self.say(Level::Info, text);
            } else {
                wanted.push((at, range, whole));
            }
        }
        wanted
    }

    /// Takes memory blocks away again; memory with blocks that are online stays, and no driver will
    /// ever have it again. Linux: `dev_dax_kmem_remove()`.
    ///
    /// # Errors
    ///
    /// [`Errno::Busy`] when some of it stays.
    pub fn kmem_remove(&mut self, dev: &DaxDevice) -> Result<(), Errno> {
        let mut result = Ok(());
        for (at, &range) in dev.ranges.iter().enumerate() {
            let whole = self.whole_blocks(range);
            let added = self.hot.ranges().is_owned(whole, |owner| owner == Owner::Blocks);
            if whole.is_empty() || !added {
                continue;
            }
            if let Err(errno) = self.remove_memory(whole, Owner::DaxIdle) {
                let (start, last) = self.ends(whole);
                self.say(Level::Warn, format!(
                    "mapping{at}: {start:#x}-{last:#x} cannot be hotremoved until the next reboot"
                ));
                if errno == Errno::Busy {
                    self.hot.give(whole, Owner::Leaked).map_err(|_| Errno::Inval)?;
                }
                result = Err(errno);
            }
            for tail in tails(range, whole) {
                if self.hot.ranges().is_owned(tail, |owner| owner == TAIL) {
                    self.hot.give(tail, Owner::DaxIdle).map_err(|_| Errno::Inval)?;
                }
            }
        }
        result
    }

    /// The whole memory blocks of a range; an empty range if there are none.
    /// Linux: `dax_kmem_range()`.
    #[must_use]
    pub fn whole_blocks(&self, range: PfnRange) -> PfnRange {
        let shrunk = KmemRange::shrink(range, self.hot.block_pages());
        shrunk.map_or(PfnRange::new(range.start(), range.start()), |whole| whole.blocks)
    }

    fn strand_tails(&mut self, range: PfnRange, whole: PfnRange) {
        for tail in tails(range, whole) {
            let stranded = self.hot.give(tail, TAIL);
            stranded.expect("the device has its tails");
        }
    }

    /// First and last byte.
    fn ends(&self, range: PfnRange) -> (u64, u64) {
        self.hot.view().ends(range)
    }

    pub(crate) fn say(&mut self, level: Level, text: String) {
        self.hot.log_mut().print(Line::new(level, text));
    }
}

/// Who has what is left of a range without its whole blocks.
const TAIL: Owner = Owner::Stranded(Stranded::Tail);

/// What is left of a range without its whole blocks.
fn tails(range: PfnRange, whole: PfnRange) -> impl Iterator<Item = PfnRange> {
    range.without(whole).into_iter().filter(|part| !part.is_empty())
}
