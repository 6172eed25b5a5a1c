//! Machines and memory at random: small numbers of large steps, so that edges meet.

use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Candidate, Driver};
use pagelab_allocator::hotplug::platform::{Arch, Host, Mte, Platform};
use pagelab_allocator::hotplug::tdx::{Tdx, TdxMemblock};
use pagelab_allocator::units::{NodeId, Order, Pfn, PfnRange};
use proptest::prelude::*;
use proptest::sample::select;

use crate::world::{World, range};

/// Ranges are made of blocks of this order.
pub(crate) const STEP: Order = Order::of(10);

/// A machine, memory, and what else laws change.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) world: World,
    pub(crate) of: Candidate,
    pub(crate) wanted: Driver,
    /// What a page needs.
    pub(crate) needs: Caps,
    /// What memory could do besides.
    pub(crate) extra: Caps,
    /// A part in quarters: where it starts, and how long it is.
    pub(crate) part: (u64, u64),
    /// More memory that is convertible, or taken.
    pub(crate) another: PfnRange,
}

fn caps() -> impl Strategy<Value = Caps> {
    any::<u8>().prop_map(Caps::from_bits_truncate)
}

fn steps(start: u64, len: u64) -> PfnRange {
    let step = STEP.pages().get();
    range(start * step, (start + len) * step)
}

/// Ascending pieces, some of which touch.
fn pieces() -> impl Strategy<Value = Vec<PfnRange>> {
    prop::collection::vec((0_u64..3, 1_u64..8), 0..6).prop_map(|pieces| {
        let mut at = 1;
        let mut next = |(gap, len): (u64, u64)| {
            at += gap + len;
            steps(at - len, len)
        };
        pieces.into_iter().map(&mut next).collect()
    })
}

fn tdx() -> impl Strategy<Value = Tdx> {
    (pieces(), pieces(), 0..4).prop_map(|(cmrs, taken, state)| {
        let mut tdx = Tdx::new(cmrs);
        let node = |(n, range): (usize, PfnRange)| {
            let node = NodeId::new(u8::from(n % 2 == 1));
            TdxMemblock { range, node }
        };
        match state {
            0 => {}
            1 => tdx.failed(Errno::Io),
            _ => tdx.initialized(taken.into_iter().enumerate().map(node).collect()),
        }
        tdx
    })
}

fn world() -> impl Strategy<Value = World> {
    let arch = select(vec![Arch::X86, Arch::Arm64, Arch::Arm64Pages64K]);
    let mte = select(vec![Mte::Absent, Mte::On, Mte::Disabled]);
    let relied_on = prop_oneof![2 => Just(Caps::empty()), 1 => caps()];
    (arch, mte, relied_on, prop::option::weighted(0.7, tdx())).prop_map(
        |(arch, mte, relied_on, tdx)| {
            let mut platform = Platform::new(arch, Host::BareMetal, Pfn::new(1 << 40));
            (platform.mte, platform.relied_on) = (mte, relied_on);
            World { platform, tdx }
        },
    )
}

/// Mostly near the pieces; sometimes at the end of what a number can say.
fn ranges() -> impl Strategy<Value = PfnRange> {
    let far = (0_u64..9, 0_u64..9).prop_map(|(before, len)| {
        let start = u64::MAX - before;
        range(start, start.saturating_add(len))
    });
    prop_oneof![9 => (0_u64..24, 0_u64..12).prop_map(|(start, len)| steps(start, len)), 1 => far]
}

fn candidates() -> impl Strategy<Value = Candidate> {
    use Origin::{Acpi, Boot, Cxl, Device, Nvdimm, SoftReserved, Virtual};
    let origin = select(vec![Boot, Acpi, Cxl, SoftReserved, Nvdimm, Virtual, Device]);
    (ranges(), 0_u8..3, caps(), origin).prop_map(|(range, node, caps, origin)| Candidate {
        range,
        node: NodeId::new(node),
        caps,
        origin,
    })
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let wanted = select(vec![Driver::Kmem, Driver::Kmem, Driver::Devdax]);
    let part = (0_u64..4).prop_flat_map(|at| (Just(at), 0..=4 - at));
    let another = (1_u64..24, 1_u64..6).prop_map(|(start, len)| steps(start, len));
    (world(), candidates(), wanted, caps(), caps(), part, another).prop_map(
        |(world, of, wanted, needs, extra, part, another)| Case {
            world,
            of,
            wanted,
            needs,
            extra,
            part,
            another,
        },
    )
}
