//! A machine, its users, and the twin beside it.

use pagelab_migrate::allocator::event::Silent;
use pagelab_migrate::allocator::gfp::GfpFlags;
use pagelab_migrate::allocator::hotplug::add::AddMemory;
use pagelab_migrate::allocator::hotplug::errno::Errno;
use pagelab_migrate::allocator::hotplug::gate::Driver;
use pagelab_migrate::allocator::hotplug::pagemap::{
    PagemapKind, PagemapMemmap, PagemapOps, Provided, Remap,
};
use pagelab_migrate::allocator::hotplug::platform::MemmapOnMemory;
use pagelab_migrate::allocator::hotplug::range::{Owner, Stranded};
use pagelab_migrate::allocator::units::{CpuId, NodeId, Order, PageCount, PfnRange};
use pagelab_migrate::folio::{FolioId, PinTerm};
use pagelab_migrate::hotplug::dax::DaxDevice;
use pagelab_migrate::hotplug::guest::{Guest, GuestTags};
use pagelab_migrate::hotplug::host::Host;
use pagelab_migrate::hotplug::placement::Binding;

use crate::machine::{FAR, NEAR, Setting};
use crate::op::{Op, Size};
use crate::twin::{Fault, Twin, same};

const CPU: CpuId = CpuId::BOOT;

pub(crate) struct World {
    setting: Setting,
    pub(crate) host: Host<Silent>,
    pub(crate) twin: Twin,
    devices: Vec<DaxDevice>,
    folios: Vec<FolioId>,
    pins: Vec<FolioId>,
    guests: Vec<Guest>,
    /// Splits that were heard of.
    splits: usize,
}

/// One of a list, picked by a number.
fn pick<T>(of: &[T], at: u8) -> Option<usize> {
    (!of.is_empty()).then(|| usize::from(at) % of.len())
}

impl World {
    pub(crate) fn new(setting: Setting, fault: Fault) -> Self {
        let host = setting.build();
        let (devices, twin) = (setting.devices(), Twin::new(&setting, fault));
        let (folios, pins, guests) = (Vec::new(), Vec::new(), Vec::new());
        Self { setting, host, twin, devices, folios, pins, guests, splits: 0 }
    }

    /// Does something, and looks whether everything is as it should be.
    pub(crate) fn step(&mut self, op: Op) -> Result<(), String> {
        self.apply(op)?;
        // Whoever holds a large folio that was split holds its pages.
        let splits = self.host.splits();
        for split in &splits[self.splits..] {
            if self.folios.contains(&split.folio) {
                self.folios.extend(&split.pages[1..]);
            }
        }
        self.splits = splits.len();
        self.host.check().map_err(|lost| lost.to_string())?;
        self.twin.agrees(&self.host)
    }

    fn apply(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::CreateDax(at, driver) => self.create_dax(at, driver),
            Op::KmemProbe(at) => self.kmem_probe(at),
            Op::KmemRemove(at) => self.kmem_remove(at),
            Op::DevdaxProbe(at) => self.devdax_probe(at),
            Op::DevdaxRemove(at) => self.devdax_remove(at),
            Op::Add(at, len) => self.add(self.setting.pick(at, len), "System RAM"),
            Op::AddManaged(at, len, name) => self.add(self.setting.pick_any(at, len), name),
            Op::Online(at, len, actor, to) => {
                let range = self.setting.pick(at, len);
                let attempts = self.host.online_range(range, actor, to);
                self.twin.onlined(&self.host, range, actor, attempts)
            }
            Op::Offline(at, len, actor) => {
                let range = self.setting.pick(at, len);
                let attempts = self.host.offline_range(range, actor);
                self.twin.offlined(&self.host, range, attempts)
            }
            Op::Remove(at, len, to) => self.remove(self.setting.pick_any(at, len), to),
            Op::Give(at, len, to) => self.give(self.setting.pick_any(at, len), to),
            Op::Memremap(at, len, kind, memmap) => self.memremap((at, len), kind, memmap),
            Op::Memunmap(at) => self.memunmap(at),
            _ => {
                self.use_memory(op);
                Ok(())
            }
        }
    }

    fn device(&self, at: u8) -> DaxDevice {
        self.devices[usize::from(at) % self.devices.len()].clone()
    }

    fn all_idle(&self, dev: &DaxDevice) -> bool {
        dev.ranges.iter().all(|range| self.twin.all(*range, |owner| owner == Owner::DaxIdle))
    }

    fn create_dax(&mut self, at: u8, wanted: Driver) -> Result<(), String> {
        let dev = self.device(at);
        let free = |owner| {
            use Owner::{Free, Region, Stranded as S};
            matches!(owner, Free | Region | S(Stranded::Tail | Stranded::Refused))
        };
        let claimed = dev.ranges.iter().all(|range| self.twin.all(*range, free));
        let made = self.host.create_dax(&dev, wanted);
        if !claimed {
            return same("a device on memory of others", made, Err(Errno::Inval));
        }
        dev.ranges.iter().for_each(|range| self.twin.give(*range, Owner::DaxIdle));
        match made {
            Ok(Driver::Devdax) => {
                dev.ranges.iter().for_each(|range| self.twin.give(*range, Owner::Devdax));
            }
            Ok(Driver::Kmem) => self.note_added(&dev)?,
            Err(_) => {
                let refused = Owner::Stranded(Stranded::Refused);
                let stranded = self.owner_now(dev.ranges[0]) == Some(refused);
                if stranded {
                    dev.ranges.iter().for_each(|range| self.twin.give(*range, refused));
                }
            }
        }
        Ok(())
    }

    fn owner_now(&self, range: PfnRange) -> Option<Owner> {
        self.host.hot().ranges().inside(range).next().map(|piece| piece.owner)
    }

    /// A driver took some of a device's ranges, and at least one.
    fn note_added(&mut self, dev: &DaxDevice) -> Result<(), String> {
        let mut some = false;
        for &range in &dev.ranges {
            let whole = self.host.whole_blocks(range);
            if whole.is_empty() || self.owner_now(whole) != Some(Owner::Blocks) {
                continue;
            }
            some = true;
            self.twin.added(&self.host, whole)?;
            self.twin.strand_tails(range, whole);
        }
        if some { Ok(()) } else { Err("a driver has nothing".to_owned()) }
    }

    fn kmem_probe(&mut self, at: u8) -> Result<(), String> {
        let dev = self.device(at);
        let mine = self.all_idle(&dev);
        match self.host.kmem_probe(&dev) {
            Ok(_) if !mine && dev.ranges.len() == 1 => Err("it is not the device's".to_owned()),
            Ok(bound) => {
                let mut added = Vec::new();
                for &range in &dev.ranges {
                    let whole = self.host.whole_blocks(range);
                    if bound.added.contains(&whole) {
                        self.twin.added(&self.host, whole)?;
                        self.twin.strand_tails(range, whole);
                        added.push(whole);
                    }
                }
                same("ranges that were added", bound.added, added)
            }
            Err(_) => Ok(()),
        }
    }

    fn kmem_remove(&mut self, at: u8) -> Result<(), String> {
        let dev = self.device(at);
        let _ = self.host.kmem_remove(&dev);
        for &range in &dev.ranges {
            let whole = self.host.whole_blocks(range);
            self.twin.unbound(range, whole)?;
        }
        Ok(())
    }

    fn devdax_probe(&mut self, at: u8) -> Result<(), String> {
        let dev = self.device(at);
        let mine = self.all_idle(&dev);
        let made = self.host.devdax_probe(&dev);
        let to = match (mine, made) {
            (false, Ok(())) => return Err("it is not the device's".to_owned()),
            (false, Err(_)) => return Ok(()),
            (true, Ok(())) => Owner::Devdax,
            (true, Err(_)) => Owner::Stranded(Stranded::Refused),
        };
        dev.ranges.iter().for_each(|range| self.twin.give(*range, to));
        Ok(())
    }

    fn devdax_remove(&mut self, at: u8) -> Result<(), String> {
        let dev = self.device(at);
        let is = |owner| matches!(owner, Owner::Devdax | Owner::Stranded(_));
        let mine = dev.ranges.iter().all(|range| self.twin.all(*range, is));
        let gone = self.host.devdax_remove(&dev);
        if mine && gone.is_ok() {
            dev.ranges.iter().for_each(|range| self.twin.give(*range, Owner::DaxIdle));
        }
        if mine || gone.is_err() { Ok(()) } else { Err("it is not the device's".to_owned()) }
    }

    fn add(&mut self, range: PfnRange, name: &str) -> Result<(), String> {
        let node = if self.setting.cxl().overlaps(range) { FAR } else { NEAR };
        let add = AddMemory { range, node, name, group: None, memmap: MemmapOnMemory::On };
        let added = match name {
            "System RAM" => self.host.add_memory(add),
            _ => self.host.add_memory_driver_managed(add),
        };
        if added.is_ok() { self.twin.added(&self.host, range) } else { Ok(()) }
    }

    fn remove(&mut self, range: PfnRange, to: Owner) -> Result<(), String> {
        let online = self.twin.is_online(range);
        match self.host.remove_memory(range, to) {
            Ok(()) => self.twin.removed(range, to),
            Err(errno) => same("online memory stays", errno == Errno::Busy, online),
        }
    }

    fn give(&mut self, range: PfnRange, to: Owner) -> Result<(), String> {
        if self.host.hot_mut().give(range, to).is_err() {
            return Ok(());
        }
        let blocks = |owner| matches!(owner, Owner::Blocks | Owner::Leaked);
        if to == Owner::Blocks || (to != Owner::Leaked && !self.twin.all(range, |o| !blocks(o))) {
            return Err(format!("memory blocks of {range} went to {to:?}"));
        }
        self.twin.give(range, to);
        Ok(())
    }

    fn memremap(
        &mut self,
        (at, len): (u8, u8),
        kind: PagemapKind,
        memmap: PagemapMemmap,
    ) -> Result<(), String> {
        let range = self.setting.pick_any(at, len);
        let yes = Provided::Yes;
        let ops = PagemapOps { migrate_to_ram: yes, page_free: yes, owner: yes };
        let remap = Remap { ranges: vec![range], node: NEAR, kind, ops, memmap };
        let ram = !self.twin.all(range, |owner| !matches!(owner, Owner::Blocks | Owner::Leaked));
        let made = self.host.memremap_pages(&remap);
        if ram && made.is_ok() {
            return Err(format!("{range} is memory and a device's"));
        }
        Ok(())
    }

    /// Only what no devdax device has: its driver would do it.
    fn memunmap(&mut self, at: u8) -> Result<(), String> {
        let maps = self.host.hot().pagemaps();
        let Some(at) = pick(maps, at) else { return Ok(()) };
        let range = maps[at].range;
        if self.twin.all(range, |owner| owner != Owner::Devdax) {
            self.host.memunmap_pages(range);
        }
        Ok(())
    }

    fn use_memory(&mut self, op: Op) {
        match op {
            Op::StartGuest(n, size, tags) => self.start_guest(n, size, tags),
            Op::StopGuest(at) => {
                if let Some(at) = pick(&self.guests, at) {
                    let guest = self.guests.swap_remove(at);
                    self.host.stop_guest(guest);
                }
            }
            Op::Demote(at) => {
                if let Some(at) = pick(&self.guests, at) {
                    let guest = &mut self.guests[at];
                    let all = 0..guest.pages.len();
                    self.host.demote(guest, all, FAR);
                }
            }
            Op::UseTags(at, page) => {
                if let Some(at) = pick(&self.guests, at)
                    && let Some(page) = pick(&self.guests[at].pages, page)
                {
                    let _ = self.host.use_tags(&mut self.guests[at], page);
                }
            }
            Op::Private(n, node) => {
                let node = NodeId::new(node % 2);
                let binding = if n % 2 == 0 { Binding::Near(node) } else { Binding::Only(node) };
                self.host.allocate_private(PageCount::new(u64::from(n) * 2), binding);
            }
            Op::FreePrivate => self.host.free_private(),
            Op::TdxInit(pamt) => drop(self.host.tdx_init(pamt)),
            Op::Fill(n, order, gfp) => self.fill(n, order, gfp),
            Op::Free(at) => self.free_some(at),
            Op::Pin(at) => {
                if let Some(at) = pick(&self.folios, at) {
                    let id = self.folios[at];
                    if self.host.emulator_mut().pin(CPU, id, PinTerm::Short).is_ok() {
                        self.pins.push(id);
                    }
                }
            }
            Op::Unpin(at) => {
                if let Some(at) = pick(&self.pins, at) {
                    let id = self.pins.swap_remove(at);
                    self.host.emulator_mut().unpin(CPU, id, PinTerm::Short);
                }
            }
            _ => unreachable!("done elsewhere"),
        }
    }

    fn start_guest(&mut self, n: u8, size: Size, tags: GuestTags) {
        let (order, count) = match size {
            Size::Page => (Order::ZERO, u64::from(n)),
            Size::Pageblock => (self.setting.geometry.pageblock_order(), u64::from(n % 8)),
        };
        if let Ok(guest) = self.host.start_guest(count, order, tags, NEAR) {
            self.guests.push(guest);
        }
    }

    fn fill(&mut self, n: u8, order: u8, gfp: GfpFlags) {
        let order = Order::of(order % (self.setting.geometry.max_order().get() + 1));
        let most = (self.setting.block * 2) >> order.get();
        for _ in 0..(u64::from(n) * 4).min(most) {
            let Ok(id) = self.host.emulator_mut().allocate(CPU, order, gfp) else { break };
            self.folios.push(id);
        }
    }

    /// Every second one, or all.
    fn free_some(&mut self, at: u8) {
        let (every, pins) = (usize::from(at % 3) + 1, self.pins.clone());
        let mut at = 0;
        let host = &mut self.host;
        self.folios.retain(|id| {
            at += 1;
            let keep = at % every != 0 || pins.contains(id);
            if !keep {
                host.emulator_mut().free(CPU, *id);
            }
            keep
        });
    }

    /// Everybody gives back what they have, and what can leave leaves.
    pub(crate) fn give_back(&mut self) -> Result<(), String> {
        for id in core::mem::take(&mut self.pins) {
            self.host.emulator_mut().unpin(CPU, id, PinTerm::Short);
        }
        self.free_some(0);
        for guest in core::mem::take(&mut self.guests) {
            self.host.stop_guest(guest);
        }
        self.host.free_private();
        let maps: Vec<_> = self.host.hot().pagemaps().iter().map(|map| map.range).collect();
        maps.into_iter().for_each(|range| self.host.memunmap_pages(range));
        let devdax = |piece: &&pagelab_migrate::allocator::hotplug::range::MemoryRange| {
            piece.owner == Owner::Devdax
        };
        let ranges = self.host.hot().ranges().all().iter();
        let devices: Vec<_> = ranges.filter(devdax).map(|piece| piece.of.range).collect();
        for range in devices {
            self.host.hot_mut().give(range, Owner::DaxIdle).map_err(|error| error.to_string())?;
        }
        self.unplug_all();
        self.host.check().map_err(|lost| lost.to_string())?;
        self.restored()
    }

    /// Struct pages of one block may lie in another, which goes after it.
    fn unplug_all(&mut self) {
        let added = self.setting.acpi().hull(self.setting.cxl());
        loop {
            let ids: Vec<_> = self.host.hot().ids(added).collect();
            let mut gone = false;
            for id in ids {
                if self.host.hot().block(id).is_some() {
                    let _ = self.host.offline_block(id);
                    let range = self.host.hot().range_of(id);
                    gone |= self.host.remove_memory(range, Owner::Free).is_ok();
                }
            }
            if !gone {
                return;
            }
        }
    }

    /// What is not the machine's at boot is nobody's again.
    fn restored(&self) -> Result<(), String> {
        let all = self.host.capacity();
        let none = PageCount::ZERO;
        same("private memory and devices", (all.private, all.devdax), (none, none))?;
        let stuck = self.host.hot().ranges().all().iter().any(|piece| {
            piece.owner == Owner::Leaked
                || (piece.owner == Owner::Blocks && !self.setting.boot().covers(piece.of.range))
        });
        let in_use = self.host.hot().tdx().is_some_and(|tdx| tdx.memlist().is_some());
        if stuck || in_use {
            return Ok(());
        }
        let readded = self.host.hot().memmap_pages();
        let own: PageCount = self.host.hot().blocks().map(|(_, of)| of.memmap.inside()).sum();
        same("struct pages", all.metadata, readded + own)?;
        let emulator = self.host.emulator();
        let folios = emulator.folios().iter().count();
        same("folios", folios, 0)
    }
}
