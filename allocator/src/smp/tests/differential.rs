//! Histories at random on machines at random, driven by one thread: the allocator for threads, the
//! allocator that nobody listens to and the one that is recorded stay the same, list by list.
//!
//! A machine follows from its seed, which a failure names.

use pagelab_percpu::{Asymmetric, Exclusive, Locked};

use super::drains::drains_as_one_by_one;
use super::random::{Draw, range, spec};
use super::zone_text::{is_posted, same, state};
use crate::boot::MachineSpec;
use crate::contig::ContigClaim;
use crate::event::{Event, Silent, Sink};
use crate::gfp::AllocFlags;
use crate::highatomic::Unreserve;
use crate::isolate::IsolateMode;
use crate::pcp::PcpSizes;
use crate::smp::*;
use crate::units::NodeId;

/// The machine three times, and what is held of each.
struct Trio<P: Exclusive> {
    silent: PageAllocator,
    heard: PageAllocator<Vec<Event>>,
    shared: Arc<SharedAllocator<P>>,
    cpus: Vec<Cpu<P>>,
    held: Vec<(Pfn, Order)>,
    freed_at_boot: u64,
    draw: Draw,
    what: String,
}

fn boot<S: Sink>(spec: &MachineSpec, tags: &[PfnRange], sink: S) -> Option<PageAllocator<S>> {
    let mut alloc = PageAllocator::boot(spec, sink).ok()?;
    tags.iter().try_for_each(|&area| alloc.init_lent(area, MigrateType::Metadata)).ok()?;
    Some(alloc)
}

impl<P: Exclusive + Default> Trio<P> {
    fn new(seed: u64) -> Option<Self> {
        let mut draw = Draw(seed);
        let (spec, tags) = spec(&mut draw);
        let silent = boot(&spec, &tags, Silent)?;
        let heard = boot(&spec, &tags, Vec::new())?;
        let (shared, cpus) = SharedAllocator::share(boot(&spec, &tags, Silent)?).ok()?;
        let what = format!("seed {seed} {spec:?}");
        let freed_at_boot = silent.stats().pgfree;
        Some(Self { silent, heard, shared, cpus, held: Vec::new(), freed_at_boot, draw, what })
    }

    /// Does the same to each zone of all three.
    fn on_zones(&mut self, mut work: impl FnMut(&mut Zone)) {
        self.silent.zones.iter_mut().for_each(&mut work);
        self.heard.zones.iter_mut().for_each(&mut work);
        self.shared.zones.iter().for_each(|zone| zone.whole(|core| work(&mut core.zones[0])));
    }

    fn cpu(&mut self) -> usize {
        self.draw.index(self.cpus.len())
    }

    fn request(&mut self) -> AllocRequest {
        let movable = GfpFlags::HIGHUSER_MOVABLE;
        let gfp = match self.draw.below(16) {
            0..7 => movable,
            7..10 => GfpFlags::KERNEL,
            10 => GfpFlags::KERNEL | GfpFlags::RECLAIMABLE,
            11 => GfpFlags::ATOMIC,
            12 => GfpFlags::NOWAIT,
            13 => self.draw.of(&[GfpFlags::TRANSHUGE_LIGHT, GfpFlags::TRANSHUGE]),
            14 => self.draw.of(&[GfpFlags::KERNEL | GfpFlags::MEMALLOC, GfpFlags::DMA32]),
            _ => self.draw.of(&[
                movable | GfpFlags::HIGH,
                GfpFlags::ATOMIC | GfpFlags::MOVABLE,
                movable | GfpFlags::THISNODE,
                GfpFlags::ATOMIC | GfpFlags::RECLAIMABLE,
            ]),
        };
        let block = self.shared.geometry.pageblock_order().get();
        let max = self.shared.geometry.max_order().get();
        let order = match self.draw.below(24) {
            0..14 => 0,
            14..20 => u8::try_from(self.draw.below(4)).expect("small"),
            20..22 => block,
            22 => u8::try_from(self.draw.below(u64::from(max) + 1)).expect("small"),
            _ => self.draw.of(&[max, (max + 1).min(15)]),
        };
        let mut req = AllocRequest::new(Order::of(order), gfp);
        req.node = NodeId::new(u8::from(self.draw.one_in(5)));
        match self.draw.below(8) {
            0 => req.barring(AllocFlags::CMA),
            1 => req.granting(AllocFlags::METADATA),
            2 if self.draw.one_in(4) => req.granting(AllocFlags::OOM),
            3 if self.draw.one_in(4) => req.granting(AllocFlags::HIGHATOMIC),
            _ => req,
        }
    }

    fn alloc(&mut self, cpu: usize, req: &AllocRequest) -> bool {
        let id = self.cpus[cpu].id();
        let raw = |pages: Result<Pages, _>| pages.map(Pages::into_raw);
        let silent = raw(self.silent.alloc_pages(id, req));
        let heard = raw(self.heard.alloc_pages(id, req));
        let shared = raw(self.cpus[cpu].alloc_pages(req));
        let what = &self.what;
        assert_eq!(silent, heard, "silent and heard {req:?} {what}");
        assert_eq!(silent, shared, "alone and shared {req:?} {what}");
        self.held.extend(silent);
        silent.is_ok()
    }

    fn free(&mut self, cpu: usize, (pfn, order): (Pfn, Order)) {
        let id = self.cpus[cpu].id();
        self.silent.free_pages(id, Pages::new(pfn, order));
        self.heard.free_pages(id, Pages::new(pfn, order));
        self.cpus[cpu].free_pages(Pages::new(pfn, order));
    }

    fn free_some(&mut self, cpu: usize) {
        if self.held.is_empty() {
            return;
        }
        let many = usize::try_from(self.draw.of(&[1, 1, 1, 1, 4, 60, 300])).expect("few");
        let many = many.min(self.held.len());
        match self.draw.below(4) {
            // Those that came last, the last one first.
            0 => (0..many).for_each(|_| {
                let block = self.held.pop().expect("counted");
                self.free(cpu, block);
            }),
            // Neighbours, in order.
            1 => {
                let start = self.draw.index(self.held.len() - many + 1);
                let mut blocks: Vec<_> = self.held.drain(start..start + many).collect();
                blocks.sort_unstable();
                blocks.into_iter().for_each(|block| self.free(cpu, block));
            }
            _ => (0..many).for_each(|_| {
                let at = self.draw.index(self.held.len());
                let block = self.held.swap_remove(at);
                self.free(cpu, block);
            }),
        }
    }

    fn singles(&mut self, cpu: usize) {
        let id = self.cpus[cpu].id();
        let wanted = self.draw.index(200);
        if self.draw.one_in(2) {
            let req = AllocRequest { order: Order::ZERO, ..self.request() };
            let got = self.cpus[cpu].alloc_singles(&req, wanted);
            let alone = (0..wanted).map_while(|_| self.silent.alloc_pages(id, &req).ok());
            let alone: Vec<Pfn> = alone.map(|pages| pages.into_raw().0).collect();
            let heard = (0..wanted).map_while(|_| self.heard.alloc_pages(id, &req).ok());
            let heard: Vec<Pfn> = heard.map(|pages| pages.into_raw().0).collect();
            assert_eq!(alone, heard, "{req:?} {}", self.what);
            assert_eq!(alone, got, "singles {req:?} {}", self.what);
            // Where one fails, as many calls would try another.
            self.held.extend(got.into_iter().map(|pfn| (pfn, Order::ZERO)));
        } else {
            let is_single = |block: &mut (Pfn, Order)| block.1 == Order::ZERO;
            let mut pages: Vec<_> =
                self.held.extract_if(.., is_single).map(|(pfn, _)| pfn).collect();
            let keep = pages.len().saturating_sub(wanted);
            let kept: Vec<_> = pages.drain(..keep).collect();
            self.held.extend(kept.into_iter().map(|pfn| (pfn, Order::ZERO)));
            if self.draw.one_in(2) {
                pages.sort_unstable();
            }
            self.cpus[cpu].free_singles(&pages);
            for pfn in pages {
                self.silent.free_pages(id, Pages::new(pfn, Order::ZERO));
                self.heard.free_pages(id, Pages::new(pfn, Order::ZERO));
            }
        }
    }

    /// A range in one zone and its mode.
    fn area(&mut self) -> (PfnRange, IsolateMode) {
        let zone = self.draw.index(self.silent.zones.len());
        let span = self.silent.zones[zone].span;
        let start = span.start().get() + self.draw.below(span.len().get());
        let mt = self.silent.zones[zone].buddy.migratetype(Pfn::new(start));
        let mode = match mt {
            MigrateType::Cma | MigrateType::Metadata => IsolateMode::CmaAlloc(mt),
            _ => IsolateMode::Other,
        };
        let order = self.shared.geometry.pageblock_order();
        let mut end = (start + 1 + self.draw.below(3 << order.get())).min(span.end().get());
        // Lent pageblocks are claimed alone.
        let alike = |pfn: u64| self.silent.zones[zone].buddy.migratetype(Pfn::new(pfn)) == mt;
        let blocks = range(start, end).align_out(order).blocks(order);
        let other = blocks.map(Pfn::get).find(|&block| block > start && !alike(block));
        let lent = |pfn: u64| {
            let mt = self.silent.zones[zone].buddy.migratetype(Pfn::new(pfn));
            matches!(mt, MigrateType::Cma | MigrateType::Metadata)
        };
        if let Some(other) = other
            && (lent(start) || (other..end).any(lent))
        {
            end = other;
        }
        (range(start, end), mode)
    }

    fn claim(&mut self, depth: u32) {
        let (area, mode) = self.area();
        let cpu = self.cpu();
        let id = self.cpus[cpu].id();
        let silent = self.silent.start_isolate(area, mode);
        let heard = self.heard.start_isolate(area, mode);
        let shared = Arc::clone(&self.shared);
        let shared = SharedClaim::claim(&shared, area, mode);
        assert_eq!(silent, heard, "{}", self.what);
        assert_eq!(silent, shared.as_ref().map(|_| ()).map_err(|&error| error), "{}", self.what);
        let Ok(claim) = shared else { return };
        if self.draw.one_in(2) {
            (0..self.draw.below(60)).for_each(|_| self.step(depth + 1));
        }
        let at = self.silent.zone_index(area.start()).expect("a zone");
        let mut parts = Vec::new();
        let mut start = area.start().get();
        while start < area.end().get() && parts.len() < 40 {
            let end = (start + 1 + self.draw.below(40)).min(area.end().get());
            if self.draw.one_in(2) {
                parts.push(range(start, end));
            }
            start = end;
        }
        let parts = || parts.iter().map(|&part| (part, ()));
        let (mut silent, mut heard, mut shared) = (Vec::new(), Vec::new(), Vec::new());
        let claimed = ContigClaim::resume(&mut self.silent, at, area, mode);
        let mut claimed = core::mem::ManuallyDrop::new(claimed);
        claimed.take(id, parts(), |(), taken| silent.push(taken));
        let claimed = ContigClaim::resume(&mut self.heard, at, area, mode);
        let mut claimed = core::mem::ManuallyDrop::new(claimed);
        claimed.take(id, parts(), |(), taken| heard.push(taken));
        claim.take(&mut self.cpus[cpu], parts(), |(), taken| shared.push(taken));
        assert_eq!(silent, heard, "{}", self.what);
        assert_eq!(silent, shared, "{}", self.what);
        for part in shared.into_iter().flatten() {
            self.held.extend(part.into_raw().iter().map(|pfn| (pfn, Order::ZERO)));
        }
        drop(claim);
        self.silent.undo_isolate(area, mode);
        self.heard.undo_isolate(area, mode);
    }

    fn take_at(&mut self) {
        let zone = self.draw.index(self.silent.zones.len());
        let span = self.silent.zones[zone].span;
        let max = u64::from(self.shared.geometry.max_order().get());
        let order = match self.draw.below(8) {
            0..4 => 0,
            4..7 => self.draw.below(4),
            _ => self.draw.below(max + 1),
        };
        let order = Order::of(u8::try_from(order.min(max)).expect("small"));
        let pfn =
            Pfn::new(span.start().get() + self.draw.below(span.len().get())).align_down(order);
        if !span.contains(pfn) {
            return;
        }
        let cpu = self.cpu();
        let id = self.cpus[cpu].id();
        let silent = self.silent.take_at(id, pfn, order).map(Pages::into_raw);
        let heard = self.heard.take_at(id, pfn, order).map(Pages::into_raw);
        let shared = self.cpus[cpu].take_at(pfn, order).map(Pages::into_raw);
        assert_eq!((silent, silent), (heard, shared), "{}", self.what);
        self.held.extend(silent);
        // Straight back, at times: what is split for it is not split if nobody looks.
        if silent.is_some() && self.draw.one_in(2) {
            let cpu = if self.draw.one_in(4) { self.cpu() } else { cpu };
            self.put_one_back(cpu, self.held.len() - 1);
        }
    }

    /// What is posted of each zone is what it is like, also while a split waits.
    fn are_posted(&self) {
        for (alone, shared) in self.silent.zones.iter().zip(&self.shared.zones) {
            is_posted(alone, &shared.posted, &self.what);
        }
    }

    fn put_one_back(&mut self, cpu: usize, at: usize) {
        let (pfn, order) = self.held.swap_remove(at);
        let id = self.cpus[cpu].id();
        self.silent.put_back(id, Pages::new(pfn, order));
        self.heard.put_back(id, Pages::new(pfn, order));
        self.cpus[cpu].put_back(Pages::new(pfn, order));
    }

    fn put_back(&mut self) {
        for _ in 0..self.draw.of(&[1, 1, 4, 30]) {
            if self.held.is_empty() {
                return;
            }
            let at = self.draw.index(self.held.len());
            let cpu = self.cpu();
            self.put_one_back(cpu, at);
        }
    }

    fn disturb(&mut self) {
        match self.draw.below(6) {
            0 => {
                let active = self.draw.one_in(2);
                self.on_zones(|zone| zone.pressure.reclaim_active = active);
            }
            1 => {
                self.silent.tick();
                self.heard.tick();
                self.shared.zones.iter().for_each(|zone| zone.whole(PageAllocator::tick));
            }
            2 => self.on_zones(|zone| zone.watermarks.boost = PageCount::ZERO),
            3 => {
                let batch = u32::try_from(self.draw.of(&[1, 4, 31, 63])).expect("small");
                let high_min = batch * u32::try_from(self.draw.of(&[0, 1, 4, 20])).expect("small");
                let high_max = self.draw.of(&[high_min, high_min / 2, high_min * 4 + 100]);
                let slice = PageCount::new(self.draw.of(&[0, 200]));
                self.on_zones(|zone| {
                    zone.set_pcp_sizes(PcpSizes { batch, high_min, high_max });
                    zone.set_cache_slice(slice);
                });
            }
            4 => {
                let what = format!("one by one {}", self.what);
                self.silent.zones.iter().for_each(|zone| drains_as_one_by_one(zone, &what));
                self.silent.drain_all();
                self.heard.drain_all();
                self.shared.drain_all();
            }
            _ => {
                let (req, cpu) = (self.request(), self.cpu());
                let effort = self.draw.of(&[Unreserve::All, Unreserve::Surplus]);
                let silent = self.silent.unreserve_highatomic(&req, effort);
                let heard = self.heard.unreserve_highatomic(&req, effort);
                let shared = self.cpus[cpu].unreserve_highatomic(&req, effort);
                assert_eq!((silent, silent), (heard, shared), "{}", self.what);
            }
        }
    }

    fn move_on(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (pfn, order) = self.held[self.draw.index(self.held.len())];
        let movability = self.draw.of(&[Movability::Movable, Movability::Unmovable]);
        let pages = Pages::new(pfn, order);
        self.silent.set_movability(&pages, movability);
        self.heard.set_movability(&pages, movability);
        self.shared.set_movability(&pages, movability);
    }

    fn step(&mut self, depth: u32) {
        let cpu = self.cpu();
        match self.draw.below(64) {
            0 => self.disturb(),
            1 if depth < 3 => self.claim(depth),
            2 => self.singles(cpu),
            3 | 63 => self.take_at(),
            4 => self.move_on(),
            5 => self.put_back(),
            6..10 => {
                let (req, many) = (self.request(), self.draw.below(80));
                for _ in 0..many {
                    if !self.alloc(cpu, &req) {
                        break;
                    }
                }
            }
            10..36 => {
                let req = self.request();
                self.alloc(cpu, &req);
            }
            _ => self.free_some(cpu),
        }
        self.are_posted();
    }

    fn compare(&mut self, at: usize) {
        let what = format!("step {at} {}", self.what);
        for (at, zone) in self.shared.zones.iter().enumerate() {
            let silent = state(&self.silent.zones[at]);
            same(&silent, &state(&self.heard.zones[at]), &format!("silent, heard {what}"));
            let shared = zone.whole(|core| state(&core.zones[0]));
            same(&silent, &shared, &format!("alone, shared {what}"));
        }
        let (alone, shared) = (*self.silent.stats(), self.shared.stats());
        assert_eq!(alone, *self.heard.stats(), "{what}");
        assert_eq!(alone.pgalloc, shared.pgalloc, "{what}");
        assert_eq!(alone.pgfree - self.freed_at_boot, shared.pgfree, "{what}");
        assert_eq!(self.shared.check(), Ok(()), "{what}");
        assert_eq!(self.silent.check(), Ok(()), "{what}");
        self.heard.sink_mut().clear();
    }

    fn run(&mut self, rounds: usize, steps: usize) {
        for round in 0..rounds {
            for _ in 0..steps {
                self.step(0);
            }
            self.compare(round);
            // Now and then memory is used up, or all comes back.
            if self.draw.one_in(6) {
                let (req, cpu) = (self.request(), self.cpu());
                while self.alloc(cpu, &req) {}
            } else if self.draw.one_in(6) {
                let cpu = self.cpu();
                while let Some(block) = self.held.pop() {
                    self.free(cpu, block);
                }
            }
        }
    }
}

fn machines(seeds: core::ops::Range<u64>) {
    let mut booted = 0;
    for seed in seeds {
        let ran = match seed % 2 {
            0 => Trio::<Asymmetric>::new(seed).map(|mut trio| trio.run(12, 60)),
            _ => Trio::<Locked>::new(seed).map(|mut trio| trio.run(12, 60)),
        };
        booted += u32::from(ran.is_some());
    }
    assert!(booted > 0, "no machine could be booted");
}

#[test]
fn machines_at_random_stay_the_same() {
    machines(0..10);
}

#[test]
#[ignore = "two minutes in release, an hour without optimisation"]
fn many_machines_at_random_stay_the_same() {
    machines(10..4000);
}
