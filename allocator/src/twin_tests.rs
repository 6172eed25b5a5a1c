//! Random histories, small machines: the lists and their slow twin must look alike after each step.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::buddy::Placement;
use crate::event::{Event, Silent};
use crate::frame::{Head, Movability};
use crate::geometry::Geometry;
use crate::gfp::{AllocFlags, ZoneType};
use crate::migratetype::MigrateType;
use crate::pcp::Thp;
use crate::pcp_list::Cached;
use crate::profile::KernelProfile;
use crate::rmqueue::ZoneRequest;
use crate::twin::{Fault, Slow, View, Wish};
use crate::units::{CpuId, NodeId, Order, Pfn, PfnRange};
use crate::zone::{Zone, ZoneSpec};

#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc {
        order: u8,
        mt: usize,
        flags: u32,
        movable: bool,
    },
    Free {
        which: usize,
        wish: Wish,
    },
    /// As many blocks of a type as one block holds, at most `most`.
    Run {
        order: u8,
        mt: usize,
        most: u32,
    },
    /// A block of the caller's choice.
    TakeAt {
        at: u64,
        order: u8,
    },
    /// A block goes straight back.
    PutBack {
        which: usize,
    },
    /// Blocks of one order go through a list of a CPU.
    Drain {
        which: usize,
        count: usize,
        backwards: bool,
    },
}

/// A machine: pageblock order, largest order, first frame, frames, type of each pageblock.
#[derive(Clone, Debug)]
struct Shape {
    profile: KernelProfile,
    pageblock: u8,
    max: u8,
    start: u64,
    len: u64,
    types: Vec<usize>,
}

impl Shape {
    fn span(&self) -> PfnRange {
        PfnRange::new(Pfn::new(self.start), Pfn::new(self.start + self.len))
    }

    fn type_of(&self, block: usize) -> MigrateType {
        MigrateType::from_index(self.types[block % self.types.len()])
    }

    fn zone(&self) -> Zone {
        let (pageblock, max) = (Order::of(self.pageblock), Order::of(self.max));
        let geometry = Geometry::new(12, pageblock, max).unwrap();
        let spec = ZoneSpec { kind: ZoneType::Normal, node: NodeId::new(0), span: self.span() };
        let mut zone = Zone::new(spec, geometry, self.profile, Thp::Absent, 1);
        for (n, block) in self.span().blocks(pageblock).enumerate() {
            let index = zone.buddy.index(block.max(self.span().start()));
            zone.buddy.blocks.set_migratetype(index, self.type_of(n));
        }
        for (pfn, order) in self.span().chunks(pageblock) {
            zone.hand_over(pfn, order);
        }
        zone
    }

    fn slow(&self, fault: Fault) -> Slow {
        let mut slow = Slow {
            profile: self.profile,
            pageblock: self.pageblock,
            max: self.max,
            span: (self.start, self.start + self.len),
            lists: Default::default(),
            types: Default::default(),
            held: Default::default(),
            log: Vec::new(),
            fault,
        };
        for (n, block) in self.span().blocks(Order::of(self.pageblock)).enumerate() {
            slow.types.insert(block.get(), self.type_of(n));
        }
        for (pfn, order) in self.span().chunks(Order::of(self.pageblock)) {
            slow.free(pfn.get(), order.get(), Wish::Tail);
        }
        slow
    }
}

/// What the twin has of a zone.
pub(crate) fn view(zone: &Zone) -> View {
    let mut view = View {
        free: zone.buddy.free.all.get(),
        free_cma: zone.buddy.free.cma.get(),
        ..View::default()
    };
    for order in Order::ZERO.to(zone.buddy.geometry.max_order()) {
        for mt in MigrateType::ALL {
            let list: Vec<_> = zone.buddy.free_list(order, mt).map(Pfn::get).collect();
            if !list.is_empty() {
                view.lists.insert((order.get(), mt), list);
            }
        }
    }
    let pageblock = zone.buddy.geometry.pageblock_order();
    for block in zone.span().blocks(pageblock) {
        let mt = zone.buddy.migratetype(block.max(zone.span().start()));
        view.types.insert(block.get(), mt);
    }
    view
}

fn same<T: PartialEq + core::fmt::Debug>(what: &str, fast: T, slow: T) -> Result<(), String> {
    if fast == slow { Ok(()) } else { Err(format!("{what}\nfast {fast:?}\nslow {slow:?}")) }
}

/// The two, driven by the same operations.
struct Both {
    zone: Zone,
    slow: Slow,
    events: Vec<Event>,
}

const CPU: CpuId = CpuId::BOOT;

impl Both {
    fn step(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Alloc { order, mt, flags, movable } => {
                self.alloc(order, MigrateType::PCP[mt], flags, movable)
            }
            Op::Free { which, wish } => {
                self.free(which, wish);
                Ok(())
            }
            Op::Run { order, mt, most } => self.run(order, MigrateType::PCP[mt], most),
            Op::TakeAt { at, order } => self.take_at(at, order),
            Op::PutBack { which } => {
                self.put_back(which);
                Ok(())
            }
            Op::Drain { which, count, backwards } => {
                self.drain(which, count, backwards);
                Ok(())
            }
        }
    }

    fn order(&self, order: u8) -> Order {
        Order::of(order % (self.slow.max + 1))
    }

    fn alloc(&mut self, order: u8, mt: MigrateType, flags: u32, mov: bool) -> Result<(), String> {
        let flags = AllocFlags::from_bits_truncate(flags);
        let request = ZoneRequest { order: self.order(order), migratetype: mt, flags };
        let got = self.zone.alloc_uncached(request, &mut self.events);
        if let Some(index) = got {
            let kind = if mov { Movability::Movable } else { Movability::Unmovable };
            self.zone.buddy.map.set_head(index, Head::Allocated(request.order, kind));
        }
        let got = got.map(|index| self.zone.buddy.map.pfn(index).get());
        same("frame", got, self.slow.alloc(request, mov))
    }

    /// A block that somebody holds.
    fn held(&self, which: usize) -> Option<(u64, u8)> {
        let count = self.slow.held.len().max(1);
        self.slow.held.iter().nth(which % count).map(|(&pfn, &(order, _))| (pfn, order))
    }

    fn put_back(&mut self, which: usize) {
        let Some((pfn, order)) = self.held(which) else { return };
        self.zone.put_back(CPU, Pfn::new(pfn), Order::of(order));
        self.slow.free(pfn, order, Wish::Any);
    }

    fn free(&mut self, which: usize, wish: Wish) {
        let Some((pfn, order)) = self.held(which) else { return };
        let placement = if wish == Wish::Tail { Placement::Tail } else { Placement::Likely };
        let index = self.zone.buddy.index(Pfn::new(pfn));
        self.zone.buddy.put_by_block(index, Order::of(order), placement);
        self.slow.free(pfn, order, wish);
    }

    /// The twin takes them one by one.
    fn run(&mut self, order: u8, mt: MigrateType, most: u32) -> Result<(), String> {
        let order = self.order(order);
        let mut taking = self.zone.buddy.taking(mt);
        let run = taking.run(order, most);
        taking.end();
        let Some(run) = run else { return Ok(()) };
        let request = ZoneRequest { order, migratetype: mt, flags: AllocFlags::empty() };
        for nth in 0..run.count {
            let index = run.index + (nth << order.get());
            let pfn = self.zone.buddy.map.pfn(index);
            let from = (order.get()..=self.slow.max).find(|&o| self.slow.first(o, mt).is_some());
            same("cut from", Some(run.cut_from(nth, order).get()), from)?;
            self.zone.buddy.map.set_head(index, Head::Allocated(order, Movability::Movable));
            self.zone.buddy.sub_free(order.pages(), mt);
            self.events.push(Event::ZoneLocked { pfn, order, migratetype: mt });
            same("frame of a run", Some(pfn.get()), self.slow.alloc(request, true))?;
        }
        Ok(())
    }

    fn take_at(&mut self, at: u64, order: u8) -> Result<(), String> {
        let (start, end) = self.slow.span;
        let (pfn, order) = (Pfn::new(start + at % (end - start)), self.order(order));
        let got = self.zone.take_at(CPU, pfn, order).map(|()| pfn.get());
        if got.is_some() {
            self.zone.set_movability(pfn, order, Movability::Movable);
        }
        same("chosen frame", got, self.slow.take_at(pfn.get(), order.get()))
    }

    /// The twin frees them one by one.
    fn drain(&mut self, which: usize, count: usize, backwards: bool) {
        let held: Vec<_> = self.slow.held.iter().map(|(&pfn, &(order, _))| (pfn, order)).collect();
        let Some(&(_, order)) = held.get(which % held.len().max(1)) else { return };
        let mut blocks: Vec<_> = held.into_iter().filter(|block| block.1 == order).collect();
        blocks.truncate(count);
        if backwards {
            blocks.reverse();
        }
        let order = Order::of(order);
        let Some(list) = self.zone.pcp[0].list_of(order, MigrateType::Movable) else { return };
        for &(pfn, _) in &blocks {
            let index = self.zone.buddy.index(Pfn::new(pfn));
            let cached = Cached::new(index, self.zone.buddy.blocks.migratetype(index));
            self.zone.buddy.map.set_head(index, Head::PerCpu(order));
            self.zone.pcp[0].push_freed(list, order, cached);
        }
        let pages = u32::try_from(blocks.len() << order.get()).expect("few pages");
        self.zone.drain_pcp(CPU, pages, list, &mut Silent);
        for (pfn, order) in blocks {
            self.slow.free(pfn, order, Wish::Any);
        }
    }
}

/// Runs one history on both; the error says where they part.
fn compare(shape: &Shape, ops: &[Op], fault: Fault) -> Result<(), String> {
    let mut both = Both { zone: shape.zone(), slow: shape.slow(fault), events: Vec::new() };
    same("after boot", view(&both.zone), both.slow.view())?;
    for op in ops {
        both.events.clear();
        both.slow.log.clear();
        both.step(op)?;
        same("events", &both.events, &both.slow.log)?;
        same("lists", view(&both.zone), both.slow.view())?;
        both.zone.check().map_err(|violation| violation.to_string())?;
    }
    Ok(())
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let flags = [
        0,
        AllocFlags::CMA.bits(),
        AllocFlags::NOFRAGMENT.bits(),
        (AllocFlags::CMA | AllocFlags::NOFRAGMENT).bits(),
        AllocFlags::HIGHATOMIC.bits(),
        AllocFlags::NON_BLOCK.bits(),
    ];
    let alloc = (0u8..6, 0usize..3, prop::sample::select(flags.to_vec()), any::<bool>())
        .prop_map(|(order, mt, flags, movable)| Op::Alloc { order, mt, flags, movable });
    let small = (0u8..2, 0usize..3, any::<bool>()).prop_map(|(order, mt, movable)| Op::Alloc {
        order,
        mt,
        flags: 0,
        movable,
    });
    let wish = prop_oneof![4 => Just(Wish::Any), 1 => Just(Wish::Tail)];
    let free = (any::<usize>(), wish).prop_map(|(which, wish)| Op::Free { which, wish });
    let run =
        (0u8..3, 0usize..3, 1u32..40).prop_map(|(order, mt, most)| Op::Run { order, mt, most });
    let chosen = (any::<u64>(), 0u8..6).prop_map(|(at, order)| Op::TakeAt { at, order });
    let back = any::<usize>().prop_map(|which| Op::PutBack { which });
    let drain = (any::<usize>(), 1usize..70, any::<bool>())
        .prop_map(|(which, count, backwards)| Op::Drain { which, count, backwards });
    let any = prop_oneof![
        3 => alloc, 3 => small, 4 => free, 2 => run, 2 => chosen, 2 => back, 2 => drain
    ];
    prop::collection::vec(any, 1..60)
}

fn shapes(profile: KernelProfile) -> impl Strategy<Value = Shape> {
    let orders = prop::sample::select(vec![(1, 2), (2, 3), (2, 4), (3, 3), (4, 5)]);
    let types = prop::collection::vec(prop::sample::select(vec![0, 1, 1, 1, 2, 3, 4]), 1..6);
    (orders, 0u64..40, 1u64..7, 0u64..3, types).prop_map(
        move |((pageblock, max), start, blocks, odd, types)| Shape {
            profile,
            pageblock,
            max,
            start,
            len: (blocks << pageblock) + odd,
            types,
        },
    )
}

/// The smallest disagreement that `cases` histories from `seed` bring up.
fn search(seed: u8, cases: u32, profile: KernelProfile, fault: Fault) -> Option<String> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let found = TestRunner::new_with_rng(config, rng).run(&(shapes(profile), ops()), |(s, o)| {
        compare(&s, &o, fault).map_err(TestCaseError::fail)
    });
    match found {
        Ok(()) => None,
        Err(TestError::Fail(why, (shape, ops))) => {
            Some(format!("seed {seed}: {why}\n{shape:?}\n{ops:#?}"))
        }
        Err(abort) => Some(format!("seed {seed}: {abort}")),
    }
}

#[test]
fn the_lists_agree_with_their_slow_twin() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        for seed in 1..=4 {
            if let Some(difference) = search(seed, 1500, profile, Fault::None) {
                panic!("{profile:?}: {difference}");
            }
        }
    }
}

#[test]
fn the_comparison_notices_mistakes() {
    let faults = [
        Fault::UpperHalf,
        Fault::NeverLikely,
        Fault::LostMerge,
        Fault::HalfRule,
        Fault::ClaimTooEarly,
        Fault::RestToTail,
    ];
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        for fault in faults {
            let found = search(1, 1500, profile, fault);
            assert!(found.is_some(), "{profile:?}: {fault:?} went unnoticed");
        }
    }
}
