//! Random histories on every machine, checked after each operation.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::contig::ContigClaim;
use pagelab_allocator::event::Isolator;
use pagelab_allocator::frame::Movability;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::highatomic::Unreserve;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::machine::{PROFILES, real, zoo};
use crate::naive::{Naive, Verdict, is_whole};
use crate::subject::{Fault, Subject};

/// What somebody does to the machine.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Alloc { cpu: u16, order: u8, gfp: GfpFlags, barred: AllocFlags, node: u8 },
    Free { cpu: u16, which: Index },
    FreeTail { which: Index },
    FreePart { cpu: u16, which: Index, from: Index, len: Index },
    Split { which: Index, into: u8 },
    Pin { which: Index, movability: Movability },
    Bulk { cpu: u16, gfp: GfpFlags, wanted: usize },
    Drain,
    Tick,
    Unreserve { effort: Unreserve },
    Take { which: Index },
    Putback { which: Index },
    Rotate { which: Index, mt: MigrateType, order: u8 },
    Claim { at: Index, len: u64, mode: IsolateMode, within: Vec<Self>, commit: bool },
}

/// A machine with its naive twin.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) subject: Subject,
    pub(crate) naive: Naive,
}

impl Pair {
    pub(crate) fn new(spec: &MachineSpec, fault: Fault) -> Self {
        Self { subject: Subject::new(spec, fault), naive: Naive::default() }
    }

    fn cpu(&self, cpu: u16) -> CpuId {
        CpuId::new(cpu % self.subject.spec.cpus)
    }

    fn order(&self, order: u8) -> Order {
        Order::of(order % (self.subject.spec.geometry.max_order().get() + 1))
    }

    fn pick(&mut self, which: Index) -> Option<(Pfn, Order)> {
        let held = &mut self.naive.held;
        if held.is_empty() { None } else { Some(held.swap_remove(which.index(held.len()))) }
    }

    /// Does one operation on both.
    pub(crate) fn step(&mut self, op: &Op) -> Verdict {
        match op {
            Op::Alloc { cpu, order, gfp, barred, node } => {
                let mut req = AllocRequest::new(self.order(*order), *gfp).barring(*barred);
                let nodes = self.subject.alloc.zones().last().map_or(0, |z| z.node().get());
                req.node = NodeId::new(node % (nodes + 1));
                self.alloc(self.cpu(*cpu), &req)
            }
            Op::Bulk { cpu, gfp, wanted } => self.bulk(self.cpu(*cpu), *gfp, *wanted),
            Op::Claim { at, len, mode, within, commit } => {
                self.claim(*at, *len, *mode, within, *commit)
            }
            Op::Drain => {
                self.subject.alloc.drain_all();
                Ok(())
            }
            Op::Tick => {
                self.subject.alloc.tick();
                Ok(())
            }
            Op::Unreserve { effort } => {
                let req = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
                self.subject.alloc.unreserve_highatomic(&req, *effort);
                Ok(())
            }
            Op::Take { which } => self.take(*which),
            Op::Rotate { which, mt, order } => {
                self.rotate(*which, *mt, self.order(*order));
                Ok(())
            }
            _ => self.give_back(op),
        }
    }

    pub(crate) fn alloc(&mut self, cpu: CpuId, req: &AllocRequest) -> Verdict {
        let before = self.subject.clone();
        match self.subject.alloc(cpu, req) {
            Ok(block) => {
                self.naive.may_answer(&before, req, block)?;
                self.naive.hand_out(block.0, block.1)
            }
            Err(_) => self.naive.may_fail(&before, req),
        }
    }

    fn bulk(&mut self, cpu: CpuId, gfp: GfpFlags, wanted: usize) -> Verdict {
        let before = self.subject.clone();
        let req = AllocRequest::new(Order::ZERO, gfp);
        for pages in self.subject.alloc.alloc_pages_bulk(cpu, gfp, wanted) {
            let (pfn, order) = pages.into_raw();
            self.naive.may_answer(&before, &req, (pfn, order))?;
            self.naive.hand_out(pfn, order)?;
        }
        Ok(())
    }

    /// The operations on a block that is out.
    fn give_back(&mut self, op: &Op) -> Verdict {
        let (Op::Free { which, .. }
        | Op::FreeTail { which }
        | Op::FreePart { which, .. }
        | Op::Split { which, .. }
        | Op::Pin { which, .. }
        | Op::Putback { which }) = op
        else {
            unreachable!("another operation")
        };
        let Some((pfn, order)) = self.pick(*which) else { return Ok(()) };
        let block = PfnRange::block(pfn, order);
        if let Op::FreePart { cpu, from, len, .. } = op {
            return self.free_part(self.cpu(*cpu), block, *from, *len);
        }
        let alloc = &mut self.subject.alloc;
        let pages = alloc.reclaim(pfn, order).map_err(|error| error.to_string())?;
        match op {
            Op::Split { into, .. } => {
                let into = Order::of((*into).min(order.get()));
                let parts = alloc.split(pages, into);
                self.naive.held.extend(parts.into_iter().map(|part| part.into_raw()));
                return Ok(());
            }
            Op::Pin { movability, .. } => {
                alloc.set_movability(&pages, *movability);
                self.naive.held.push(pages.into_raw());
                return Ok(());
            }
            Op::Free { cpu, .. } => {
                let cpu = CpuId::new(cpu % self.subject.spec.cpus);
                alloc.free_pages(cpu, pages);
            }
            Op::FreeTail { .. } => alloc.free_to_tail(pages),
            _ => alloc.putback_isolated_page(pages),
        }
        self.naive.take_back(block)
    }

    fn free_part(&mut self, cpu: CpuId, block: PfnRange, from: Index, len: Index) -> Verdict {
        let pages = usize::try_from(block.len().get()).expect("small blocks");
        let from = from.index(pages);
        let len = 1 + len.index(pages - from);
        let count = |n: usize| PageCount::new(u64::try_from(n).expect("small"));
        let part = PfnRange::from_len(block.start() + count(from), count(len));
        self.subject.alloc.free_part(cpu, part).map_err(|error| error.to_string())?;
        for rest in
            [PfnRange::new(block.start(), part.start()), PfnRange::new(part.end(), block.end())]
        {
            self.naive.held.extend(rest.chunks(self.subject.spec.geometry.max_order()));
        }
        self.naive.take_back(part)
    }

    fn take(&mut self, which: Index) -> Verdict {
        let blocks = self.subject.free_blocks();
        if blocks.is_empty() {
            return Ok(());
        }
        let (pfn, order) = blocks[which.index(blocks.len())];
        let Some(pages) = self.subject.alloc.isolate_free_page(pfn, Isolator::BlockScan) else {
            return Ok(());
        };
        match pages.into_raw() {
            raw if raw == (pfn, order) => self.naive.hand_out(pfn, order),
            other => Err(format!("took {other:?} instead of {:?}", (pfn, order))),
        }
    }

    fn rotate(&mut self, which: Index, mt: MigrateType, order: Order) {
        let zones = self.subject.alloc.zones();
        let zone = &zones[which.index(zones.len())];
        let list: Vec<_> = zone.buddy().free_list(order, mt).collect();
        if !list.is_empty() {
            self.subject.alloc.rotate_free_list(list[which.index(list.len())], mt);
        }
    }

    fn claim(
        &mut self,
        at: Index,
        len: u64,
        mode: IsolateMode,
        within: &[Op],
        commit: bool,
    ) -> Verdict {
        let zones = self.subject.alloc.zones();
        let span = zones[at.index(zones.len())].span();
        let frames = usize::try_from(span.len().get()).expect("small machines");
        let offset = u64::try_from(at.index(frames)).expect("small");
        let start = span.start() + PageCount::new(offset);
        let range = PfnRange::from_len(start, PageCount::new(len));
        let blocks = range.align_out(self.subject.spec.geometry.pageblock_order());
        let lent = self.subject.spec.cma.iter().any(|area| area.covers(blocks));
        // Claimed "as CMA", other memory would become CMA: in Linux too.
        let mode = if lent { mode } else { IsolateMode::Other };
        let mut inner = self.clone();
        let alloc = &mut self.subject.alloc;
        let Ok(mut claim) = ContigClaim::claim(alloc, range, mode) else {
            return nothing_isolated(&self.subject);
        };
        core::mem::swap(&mut inner.subject.alloc, claim.page_alloc());
        let verdict = within.iter().try_for_each(|op| {
            inner.step(op)?;
            inner.naive.laws(&inner.subject)
        });
        core::mem::swap(&mut inner.subject.alloc, claim.page_alloc());
        self.naive = inner.naive;
        verdict?;
        if !commit {
            drop(claim);
            return Ok(());
        }
        match claim.commit(CpuId::BOOT) {
            Ok(contig) => {
                for pfn in contig.into_raw().iter() {
                    self.naive.hand_out(pfn, Order::ZERO)?;
                }
                Ok(())
            }
            Err(_) => {
                let busy = range.iter().any(|pfn| self.naive.out.contains(&pfn));
                if busy { Ok(()) } else { Err(format!("{range} was free and not given")) }
            }
        }
    }
}

/// A refused claim leaves nothing isolated. Pageblocks that were isolated on the way have the
/// mode's type afterwards, as in Linux.
fn nothing_isolated(subject: &Subject) -> Verdict {
    let zones = subject.alloc.snapshot().zones;
    let mut types = zones.into_iter().flat_map(|zone| zone.pageblocks);
    match types.find(|(mt, blocks)| *mt == MigrateType::Isolate && *blocks > 0) {
        None => Ok(()),
        Some((_, blocks)) => Err(format!("a refused claim left {blocks} pageblocks isolated")),
    }
}

fn gfps() -> impl Strategy<Value = GfpFlags> {
    select(vec![
        GfpFlags::KERNEL,
        GfpFlags::HIGHUSER_MOVABLE,
        GfpFlags::HIGHUSER_MOVABLE,
        GfpFlags::NOFS | GfpFlags::RECLAIMABLE,
        GfpFlags::ATOMIC,
        GfpFlags::ATOMIC | GfpFlags::MEMALLOC,
        GfpFlags::HIGHUSER_MOVABLE | GfpFlags::MEMALLOC,
        GfpFlags::TRANSHUGE_LIGHT,
        GfpFlags::KERNEL | GfpFlags::THISNODE,
        GfpFlags::NOWAIT | GfpFlags::DMA32,
    ])
}

fn simple() -> impl Strategy<Value = Op> {
    let barred = prop_oneof![3 => Just(AllocFlags::empty()), 1 => Just(AllocFlags::CMA)];
    let order = prop_oneof![3 => 0u8..2, 1 => 0u8..16];
    let alloc = (0u16..2, order, gfps(), barred, 0u8..2)
        .prop_map(|(cpu, order, gfp, barred, node)| Op::Alloc { cpu, order, gfp, barred, node });
    let free = (0u16..2, any::<Index>()).prop_map(|(cpu, which)| Op::Free { cpu, which });
    let part = (0u16..2, any::<Index>(), any::<Index>(), any::<Index>())
        .prop_map(|(cpu, which, from, len)| Op::FreePart { cpu, which, from, len });
    let bulk =
        (0u16..2, gfps(), 0usize..9).prop_map(|(cpu, gfp, wanted)| Op::Bulk { cpu, gfp, wanted });
    let pin = (any::<Index>(), select(vec![Movability::Movable, Movability::Unmovable]))
        .prop_map(|(which, movability)| Op::Pin { which, movability });
    let split = (any::<Index>(), 0u8..4).prop_map(|(which, into)| Op::Split { which, into });
    let rotate = (any::<Index>(), select(MigrateType::ALL.to_vec()), 0u8..4)
        .prop_map(|(which, mt, order)| Op::Rotate { which, mt, order });
    let effort = select(vec![Unreserve::Surplus, Unreserve::All]);
    prop_oneof![
        24 => alloc,
        18 => free,
        3 => any::<Index>().prop_map(|which| Op::FreeTail { which }),
        4 => part,
        3 => bulk,
        2 => split,
        2 => pin,
        2 => Just(Op::Drain),
        2 => Just(Op::Tick),
        1 => effort.prop_map(|effort| Op::Unreserve { effort }),
        3 => any::<Index>().prop_map(|which| Op::Take { which }),
        2 => any::<Index>().prop_map(|which| Op::Putback { which }),
        2 => rotate,
    ]
}

fn claims() -> impl Strategy<Value = Op> {
    let modes =
        vec![IsolateMode::Other, IsolateMode::MemOffline, IsolateMode::CmaAlloc(MigrateType::Cma)];
    let within = prop::collection::vec(simple(), 0..4);
    (any::<Index>(), 1u64..40, select(modes), within, any::<bool>())
        .prop_map(|(at, len, mode, within, commit)| Op::Claim { at, len, mode, within, commit })
}

fn histories() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(prop_oneof![8 => simple(), 1 => claims()], 1..80)
}

/// Runs a history, then gives everything back: all memory must be free again.
pub(crate) fn run(spec: &MachineSpec, ops: &[Op], fault: Fault) -> Verdict {
    let mut pair = Pair::new(spec, fault);
    pair.naive.laws(&pair.subject)?;
    for op in ops {
        pair.step(op)?;
        pair.naive.laws(&pair.subject)?;
    }
    for (pfn, order) in core::mem::take(&mut pair.naive.held) {
        let range = PfnRange::block(pfn, order);
        pair.subject.alloc.free_part(CpuId::BOOT, range).map_err(|e| e.to_string())?;
        pair.naive.take_back(range)?;
    }
    pair.subject.alloc.drain_all();
    pair.naive.laws(&pair.subject)?;
    let whole = is_whole(&pair.subject.alloc);
    if whole { Ok(()) } else { Err("not everything came back".to_owned()) }
}

/// The smallest bad history that `cases` histories from `seed` bring up.
fn search(spec: &MachineSpec, seed: u8, cases: u32, fault: Fault) -> Option<String> {
    // PROPTEST_CASES is 256 unless set: 2560 asks for ten times as many histories.
    let cases = cases * Config::default().cases / 256;
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let found = TestRunner::new_with_rng(config, rng)
        .run(&histories(), |ops| run(spec, &ops, fault).map_err(TestCaseError::fail));
    match found {
        Ok(()) => None,
        Err(TestError::Fail(why, ops)) => Some(format!("seed {seed}: {why}\n{spec:?}\n{ops:#?}")),
        Err(abort) => Some(format!("seed {seed}: {abort}")),
    }
}

#[track_caller]
fn check(spec: &MachineSpec, seeds: core::ops::Range<u8>, cases: u32) {
    for seed in seeds {
        if let Some(difference) = search(spec, seed, cases, Fault::None) {
            panic!("{difference}");
        }
    }
}

#[test]
fn small_machines_obey_the_laws() {
    for profile in PROFILES {
        zoo(profile).iter().for_each(|spec| check(spec, 1..3, 90));
    }
}

#[test]
fn a_real_machine_obeys_the_laws() {
    PROFILES.into_iter().for_each(|profile| check(&real(profile), 1..2, 6));
}

#[test]
fn the_laws_notice_mistakes() {
    let faults = [
        Fault::LostMerge,
        Fault::HandedOutTwice,
        Fault::ForgottenCma,
        Fault::BarredIgnored,
        Fault::Leak,
        Fault::Misaligned,
    ];
    for profile in PROFILES {
        for fault in faults {
            let spec = &zoo(profile)[1];
            assert!(search(spec, 1, 200, fault).is_some(), "{fault:?} went unnoticed");
        }
    }
}
