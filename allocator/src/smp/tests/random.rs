//! Machines at random: what each is like follows from a seed.

use crate::boot::MachineSpec;
use crate::gfp::ZoneType;
use crate::migratetype::TypeSet;
use crate::pcp::Thp;
use crate::profile::KernelProfile;
use crate::smp::*;
use crate::units::NodeId;
use crate::zone::ZoneSpec;

/// Numbers that follow from a seed.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("an index")
    }

    pub(super) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}

pub(super) fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

pub(super) fn geometry(draw: &mut Draw) -> Geometry {
    let of = |shift, pageblock, max| {
        Geometry::new(shift, Order::of(pageblock), Order::of(max)).expect("sizes that fit")
    };
    match draw.below(9) {
        0..3 => Geometry::PAGES_4K,
        3 => Geometry::PAGES_16K,
        4 => Geometry::PAGES_64K,
        5 => of(12, 3, 5),
        6 => of(12, 5, 7),
        7 => of(14, 2, 4),
        _ => of(12, 6, 6),
    }
}

/// What a machine is made of, and ranges of lent tag storage.
pub(super) fn spec(draw: &mut Draw) -> (MachineSpec, Vec<PfnRange>) {
    let geometry = geometry(draw);
    let profile = draw.of(&[KernelProfile::V6_1, KernelProfile::V6_12]);
    let block = geometry.pageblock_pages().get();
    let blocks = draw.of(&[4, 12, 24, 48]).min(65_536 / block).max(4096 / block).max(4);
    let start = draw.of(&[0, 1, 3]) * (1 << geometry.max_order().get());
    let at = |nth: u64| start + nth * block;
    let mut spec =
        MachineSpec::single(geometry, profile, ZoneType::Normal, range(at(0), at(blocks)));
    let cut = 1 + draw.below(blocks - 1);
    let kinds = match draw.below(6) {
        0 => Some([(ZoneType::Dma32, 0), (ZoneType::Normal, 0)]),
        1 => Some([(ZoneType::Normal, 0), (ZoneType::Movable, 0)]),
        2 => Some([(ZoneType::Normal, 0), (ZoneType::Normal, 1)]),
        3 => Some([(ZoneType::Dma32, 0), (ZoneType::Normal, 1)]),
        _ => None,
    };
    if let Some(kinds) = kinds {
        let spans = [range(at(0), at(cut)), range(at(cut), at(blocks))];
        let zone = |((kind, node), span)| ZoneSpec { kind, node: NodeId::new(node), span };
        spec.zones = kinds.into_iter().zip(spans).map(zone).collect();
    }
    spec.types = draw.of(&[TypeSet::WITHOUT_CMA, TypeSet::WITH_CMA, TypeSet::WITH_METADATA]);
    spec.thp = draw.of(&[Thp::Configured, Thp::Absent]);
    spec.cpus = draw.of(&[1, 2, 3]);
    spec.movable_pcp = draw.of(&[None, Some(MovablePcp::Always), Some(MovablePcp::OnlyWithCma)]);
    spec.grouping = draw.of(&[None, Some(Grouping::ByMobility), Some(Grouping::Disabled)]);
    spec.cache_slice = PageCount::new(draw.of(&[0, 40, 1 << 16]));
    if draw.one_in(2) {
        spec.tunables.watermark_boost_factor = draw.of(&[0, 15_000, 100_000]);
        spec.tunables.min_free_kbytes = draw.of(&[None, Some(64), Some(blocks * block / 4)]);
        spec.tunables.lowmem_reserve_ratio = draw.of(&[[256, 256, 32, 0], [8, 8, 8, 0]]);
    }
    // Lent memory: some pageblocks of the upper part, in one zone.
    let mut tags = Vec::new();
    let (from, to) = if cut < blocks / 2 { (cut, blocks) } else { (0, cut) };
    if spec.types != TypeSet::WITHOUT_CMA && to - from >= 4 && !draw.one_in(4) {
        let len = 1 + draw.below(to - from - 2);
        let area = range(at(from + 1), at(from + 1 + len));
        if spec.types == TypeSet::WITH_METADATA && draw.one_in(2) {
            spec.reserved = vec![area];
            tags.push(area);
        } else {
            spec.cma = vec![area];
        }
    }
    (spec, tags)
}
