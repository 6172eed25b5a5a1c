//! Capabilities that memory of CXL devices lacks, and why. Linux looks at none of this.

use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::platform::Mte;

use crate::hotplug::cfmws::{Cfmws, WindowTags};
use crate::hotplug::cxl_device::{Attachment, CxlDevice, DeviceId, NoTee};
use crate::hotplug::emd::{Emd, Flits};
use crate::hotplug::root_decoder::RegionMode;
use crate::hotplug::root_port::{Atomics, HostTsp, Metadata, RootPort};
use crate::hotplug::tag_space::TAG_BITS_PER_LINE;

/// Whether a guest's tag access to one page can be made to leave the guest. Linux: an RFC for
/// `FEAT_MTE_PERM`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TagPermission {
    /// It cannot.
    #[default]
    Absent,
    /// It can.
    Present,
}

/// The CPUs that use a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpus {
    /// Memory tagging.
    pub mte: Mte,
    /// Its permission by page.
    pub tag_permission: TagPermission,
}

/// A device of an interleave set and the port that it hangs on.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The device.
    pub device: &'a CxlDevice,
    /// Its end at the host.
    pub port: &'a RootPort,
    /// What its decoder was set up for.
    pub mode: RegionMode,
}

/// Why a region cannot do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Because {
    /// No tags anywhere.
    #[error("the CPUs have no memory tagging")]
    NoMte,
    /// Tags are given up.
    #[error("memory tagging is off by arm64.nomte")]
    MteDisabled,
    /// The window overrides its devices.
    #[error("the platform says that the window keeps no tags")]
    Window,
    /// The device lacks the capability.
    #[error("{0} has no metadata")]
    NoEmd(DeviceId),
    /// Its link has no trailers.
    #[error("the link of {0} has 68-byte flits")]
    ShortFlits(DeviceId),
    /// The capability is off.
    #[error("metadata of {0} is not enabled")]
    EmdOff(DeviceId),
    /// There are too few bits.
    #[error("{device} has {bits} bits of metadata a line, tags need {TAG_BITS_PER_LINE}")]
    EmdNarrow {
        /// The device.
        device: DeviceId,
        /// What it sends.
        bits: u8,
    },
    /// A switch on the way drops metadata.
    #[error("the switch before {0} drops metadata")]
    SwitchDropsTags(DeviceId),
    /// The port has no use for metadata.
    #[error("the root port of {0} carries no tags")]
    PortDropsTags(DeviceId),
    /// The device is outside of the trust boundary.
    #[error("{0}: {1}")]
    Untrusted(DeviceId, NoTee),
    /// The host cannot take it in.
    #[error("the root port of {0} has no TSP")]
    PortUntrusting(DeviceId),
    /// Something on the way is in the way of atomic accesses.
    #[error("atomic accesses do not reach {0}")]
    AtomicsLost(DeviceId),
    /// The CPUs cannot forbid tag accesses page by page.
    #[error("the CPUs have no permission for tags")]
    NoTagPermission,
}

/// A capability that is not there, and a reason. There may be several for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingCap {
    /// What is missing.
    pub cap: Caps,
    /// Why.
    pub because: Because,
}

/// Everything that is against a capability of the whole set.
pub(crate) fn missing(window: &Cfmws, members: &[Member<'_>], cpus: Cpus) -> Vec<MissingCap> {
    let mut found: Vec<_> = cpus_lack(cpus).collect();
    match window.tags {
        WindowTags::Never => found.push(MissingCap { cap: Caps::TAG, because: Because::Window }),
        WindowTags::CarveOut => {}
        WindowTags::Unstated => {
            let against = members.iter().flat_map(no_tags);
            found.extend(against.map(|because| MissingCap { cap: Caps::TAG, because }));
        }
    }
    for member in members {
        let id = member.device.id;
        let tee = member.device.tee().err().map(|why| Because::Untrusted(id, why));
        let host = (member.port.tsp == HostTsp::Absent).then_some(Because::PortUntrusting(id));
        let tee = tee.into_iter().chain(host);
        found.extend(tee.map(|because| MissingCap { cap: Caps::TEE, because }));
        if !has_atomics(member) {
            found.push(MissingCap { cap: Caps::ATOMICS, because: Because::AtomicsLost(id) });
        }
    }
    found
}

fn cpus_lack(cpus: Cpus) -> impl Iterator<Item = MissingCap> {
    let tags = match cpus.mte {
        Mte::On => None,
        Mte::Absent => Some(Because::NoMte),
        Mte::Disabled => Some(Because::MteDisabled),
    };
    let permission = match cpus.tag_permission {
        TagPermission::Absent => Some(Because::NoTagPermission),
        TagPermission::Present => tags,
    };
    let cap = |cap| move |because| MissingCap { cap, because };
    tags.map(cap(Caps::TAG)).into_iter().chain(permission.map(cap(Caps::NOTAG)))
}

/// What is against tags in a device's metadata.
fn no_tags(member: &Member<'_>) -> impl Iterator<Item = Because> + use<> {
    let device = member.device;
    let id = device.id;
    let narrow = |emd: Emd| match emd.bits(Flits::Bytes256) {
        0 => Some(Because::EmdOff(id)),
        bits if bits < TAG_BITS_PER_LINE => Some(Because::EmdNarrow { device: id, bits }),
        _ => None,
    };
    let emd = device.emd.map_or(Some(Because::NoEmd(id)), narrow);
    let flits = (device.flits == Flits::Bytes68).then_some(Because::ShortFlits(id));
    let switch = match device.attachment {
        Attachment::Switch(switch) if switch.metadata == Metadata::Dropped => {
            Some(Because::SwitchDropsTags(id))
        }
        Attachment::Switch(_) | Attachment::Direct => None,
    };
    let port = member.port.metadata == Metadata::Dropped;
    let port = port.then_some(Because::PortDropsTags(id));
    [emd, flits, switch, port].into_iter().flatten()
}

fn has_atomics(member: &Member<'_>) -> bool {
    let switch = match member.device.attachment {
        Attachment::Switch(switch) => switch.atomics,
        Attachment::Direct => Atomics::Passed,
    };
    [member.device.atomics, switch, member.port.atomics].iter().all(|at| *at == Atomics::Passed)
}
