use pagelab_allocator::hotplug::platform::Mte;
use pagelab_allocator::units::Pfn;
use proptest::prelude::*;

use super::*;
use crate::hotplug::attestation::{Attestation, SpdmVersion};
use crate::hotplug::cfmws::{RawCfmws, WindowTags};
use crate::hotplug::cxl_device::{Attachment, NoTee, Switch};
use crate::hotplug::emd::{ENABLE, Emd, Flits};
use crate::hotplug::missing_cap::{Because, TagPermission};
use crate::hotplug::root_port::{Atomics, HostTsp, Metadata, RootPort};

const GIB: u64 = 1 << 18;
const PORT: RootPort =
    RootPort { metadata: Metadata::Carried, atomics: Atomics::Passed, tsp: HostTsp::Present };
const MTE: Cpus = Cpus { mte: Mte::On, tag_permission: TagPermission::Absent };

fn window(restrictions: u16) -> Cfmws {
    let raw = RawCfmws {
        base_hpa: 0x10_0000_0000,
        window_size: 0x40_0000_0000,
        interleave_ways: 0,
        interleave_arithmetic: 0,
        granularity: 0,
        restrictions,
        qtg_id: 0,
        interleave_targets: vec![7],
    };
    Cfmws::parse(&raw).unwrap()
}

fn range(gib: u64) -> PfnRange {
    PfnRange::from_len(Pfn::new(0x100_0000), PageCount::new(gib * GIB))
}

fn emd(bits: u8) -> Option<Emd> {
    let mut emd = Emd::new(bits).unwrap();
    emd.write(ENABLE | u32::from(bits)).unwrap();
    Some(emd)
}

fn device(id: u16, bits: u8) -> CxlDevice {
    let attestation = Attestation::Unknown.attest(SpdmVersion::NEEDED);
    let attestation = attestation.and_then(Attestation::lock).unwrap();
    let plain = CxlDevice::expander(DeviceId::new(id), PageCount::new(64 * GIB));
    let emd = (bits > 0).then(|| emd(bits)).flatten();
    CxlDevice { attestation, emd, ..plain }
}

fn members<'a>(devices: &'a [CxlDevice], port: &'a RootPort) -> Vec<Member<'a>> {
    devices.iter().map(|device| Member { device, port, mode: RegionMode::Ram }).collect()
}

fn region(window: &Cfmws, devices: &[CxlDevice], port: &RootPort, cpus: Cpus) -> Region {
    Region::create_ram(window, range(16), &members(devices, port), cpus).unwrap()
}

/// Reasons against a capability, of a region in a plain window.
fn against(cap: Caps, devices: &[CxlDevice], port: &RootPort, cpus: Cpus) -> Vec<Because> {
    let region = region(&window(6), devices, port, cpus);
    let of = region.missing().iter().filter(|missing| missing.cap == cap);
    let reasons: Vec<_> = of.map(|missing| missing.because).collect();
    assert_eq!(region.caps().contains(cap), reasons.is_empty());
    reasons
}

fn id(raw: u16) -> DeviceId {
    DeviceId::new(raw)
}

#[test]
fn row_19_width_of_metadata() {
    let tag = |bits| against(Caps::TAG, &[device(0, bits)], &PORT, MTE);
    assert_eq!(tag(8), [Because::EmdNarrow { device: id(0), bits: 8 }]);
    assert_eq!(tag(15), [Because::EmdNarrow { device: id(0), bits: 15 }]);
    assert_eq!((tag(16), tag(32)), (vec![], vec![]));
    assert_eq!(tag(0), [Because::NoEmd(id(0))]);
    let port = RootPort { metadata: Metadata::Dropped, ..PORT };
    let reasons = against(Caps::TAG, &[device(0, 16)], &port, MTE);
    assert_eq!(reasons, [Because::PortDropsTags(id(0))]);
    let short = CxlDevice { flits: Flits::Bytes68, ..device(0, 16) };
    assert_eq!(against(Caps::TAG, &[short], &PORT, MTE), [Because::ShortFlits(id(0))]);
    let off = CxlDevice { emd: Some(Emd::new(32).unwrap()), ..device(0, 0) };
    assert_eq!(against(Caps::TAG, &[off], &PORT, MTE), [Because::EmdOff(id(0))]);
}

#[test]
fn row_20_all_of_the_set_and_of_the_way() {
    let two = [device(0, 16), device(1, 16)];
    assert_eq!(against(Caps::TAG, &two, &PORT, MTE), []);
    let one_lacks = [device(0, 16), device(1, 0)];
    assert_eq!(against(Caps::TAG, &one_lacks, &PORT, MTE), [Because::NoEmd(id(1))]);
    let switch = Switch { metadata: Metadata::Dropped, atomics: Atomics::Lost };
    let attachment = Attachment::Switch(switch);
    let behind = [device(0, 16), CxlDevice { attachment, ..device(1, 16) }];
    assert_eq!(against(Caps::TAG, &behind, &PORT, MTE), [Because::SwitchDropsTags(id(1))]);
    assert_eq!(against(Caps::ATOMICS, &behind, &PORT, MTE), [Because::AtomicsLost(id(1))]);
    let untrusted = Because::Untrusted(id(1), NoTee::Switch);
    assert_eq!(against(Caps::TEE, &behind, &PORT, MTE), [untrusted], "row 6");
}

#[test]
fn row_22_the_window_overrides_its_devices() {
    let never = window(6).stating(WindowTags::Never);
    let denied = region(&never, &[device(0, 32)], &PORT, MTE);
    assert!(!denied.caps().contains(Caps::TAG));
    assert!(denied.missing().contains(&MissingCap { cap: Caps::TAG, because: Because::Window }));
    let carved = window(6).stating(WindowTags::CarveOut);
    assert!(region(&carved, &[device(0, 0)], &PORT, MTE).caps().contains(Caps::TAG), "row 40");
    let no_mte = Cpus { mte: Mte::Absent, ..MTE };
    assert!(!region(&carved, &[device(0, 0)], &PORT, no_mte).caps().contains(Caps::TAG));
}

#[test]
fn row_23_of_two_regions_one_could_be_memory() {
    let required = Caps::TAG;
    let a = region(&window(6), &[device(0, 0)], &PORT, MTE);
    let b = region(&window(6), &[device(1, 16)], &PORT, MTE);
    assert_eq!([a, b].map(|region| region.caps().contains(required)), [false, true]);
}

#[test]
fn row_35_atomics_have_to_pass_everywhere() {
    assert_eq!(against(Caps::ATOMICS, &[device(0, 0)], &PORT, MTE), []);
    let lost = CxlDevice { atomics: Atomics::Lost, ..device(0, 0) };
    let two = [device(1, 0), lost];
    assert_eq!(against(Caps::ATOMICS, &two, &PORT, MTE), [Because::AtomicsLost(id(0))]);
    let port = RootPort { atomics: Atomics::Lost, ..PORT };
    let reasons = against(Caps::ATOMICS, &[device(2, 0)], &port, MTE);
    assert_eq!(reasons, [Because::AtomicsLost(id(2))]);
}

#[test]
fn what_the_cpus_lack() {
    let set = [device(0, 16)];
    for (mte, because) in [(Mte::Absent, Because::NoMte), (Mte::Disabled, Because::MteDisabled)] {
        let cpus = Cpus { mte, tag_permission: TagPermission::Present };
        assert_eq!(against(Caps::TAG, &set, &PORT, cpus), [because]);
        assert_eq!(against(Caps::NOTAG, &set, &PORT, cpus), [because]);
    }
    assert_eq!(against(Caps::NOTAG, &set, &PORT, MTE), [Because::NoTagPermission]);
    let permitting = Cpus { tag_permission: TagPermission::Present, ..MTE };
    let region = region(&window(6), &set, &PORT, permitting);
    let all = Caps::TAG | Caps::TEE | Caps::VOLATILE | Caps::ATOMICS | Caps::NOTAG;
    assert_eq!((region.caps(), region.missing()), (all, [].as_slice()));
}

#[track_caller]
fn refused(result: Result<Region, RegionError>, errno: Errno, text: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.errno(), errno, "{error}");
    assert_eq!(error.line(), Line::new(Level::Debug, text.to_owned()));
}

#[test]
fn mode_and_type_have_to_match() {
    let one = [device(0, 0)];
    let set = members(&one, &PORT);
    let no_ram = "the window has no regions of Ram memory";
    // 0x0021 is HDM-DB without a kind of memory, which Linux offers no regions for.
    for restrictions in [0x0002, 0x0004, 0x0005, 0x000a, 0x0021] {
        let created = Region::create_ram(&window(restrictions), range(16), &set, MTE);
        refused(created, Errno::Inval, no_ram);
    }
    let pmem = Region::create_pmem(&window(0xe), range(16), &set, MTE);
    refused(pmem, Errno::Inval, "mem0 region mode: 2 mismatch: 1");
    let other = [CxlDevice { hdm: HdmType::DeviceBackInvalidate, ..device(0, 0) }];
    let created = Region::create_ram(&window(7), range(16), &members(&other, &PORT), MTE);
    refused(created, Errno::NxIo, "mem0 type mismatch: 2 vs 3");
}

#[test]
fn persistent_memory() {
    let persistent = PageCount::new(16 * GIB);
    let one = CxlDevice { persistent, ..device(0, 0) };
    let member = Member { device: &one, port: &PORT, mode: RegionMode::Pmem };
    let region = Region::create_pmem(&window(0xa), range(16), &[member], MTE).unwrap();
    assert!(region.caps().contains(Caps::PERSISTENT) && !region.caps().contains(Caps::VOLATILE));
    assert!(!region.is_system_ram(&[range(64)]), "only volatile memory can be in use already");
    let more = Region::create_pmem(&window(0xa), range(17), &[member], MTE).unwrap_err();
    assert_eq!(more.errno(), Errno::NxIo);
}

#[test]
fn shares_are_whole() {
    let three: Vec<_> = (0..3).map(|id| device(id, 0)).collect();
    let create = |range, ways: usize| {
        Region::create_ram(&window(6), range, &members(&three[..ways], &PORT), MTE)
    };
    assert_eq!(create(range(16), 0).unwrap_err(), RegionError::Ways(0));
    assert_eq!(create(range(16), 3).unwrap_err(), RegionError::Ways(3), "no power of two");
    assert!(create(range(128), 2).is_ok());
    let outside = PfnRange::from_len(Pfn::new(0xff_0000), PageCount::new(GIB));
    let odd = PfnRange::from_len(Pfn::new(0x100_0000), PageCount::new(GIB / 4));
    for (range, ways) in [(outside, 1), (odd, 2), (PfnRange::default(), 1)] {
        assert_eq!(create(range, ways).unwrap_err(), RegionError::Range(range, ways));
    }
    let (has, share) = (PageCount::new(64 * GIB), PageCount::new(65 * GIB));
    let error = create(range(65), 1).unwrap_err();
    assert_eq!(error, RegionError::Capacity { device: id(0), has, share });
    let twice = [device(5, 0), device(5, 0)];
    let twice = Region::create_ram(&window(6), range(16), &members(&twice, &PORT), MTE);
    assert_eq!(twice.unwrap_err(), RegionError::Twice(id(5)));
}

#[test]
fn memory_that_firmware_brought_up_is_left_alone() {
    let region = region(&window(6), &[device(0, 0)], &PORT, MTE);
    assert!(region.is_system_ram(&[PfnRange::from_len(Pfn::new(0x100_8000), PageCount::new(1))]));
    let before = PfnRange::new(Pfn::new(0), Pfn::new(0x100_0000));
    assert!(!region.is_system_ram(&[before]));
}

// ---- twin --------------------------------------------------------------------------------------

/// A member in plain values: bits of metadata that are enabled, long flits, a switch that drops
/// metadata, a port that carries it, atomics, trust.
type Plain = (u8, bool, bool, bool, bool, bool);

fn built(plain: &[Plain]) -> Vec<(CxlDevice, RootPort)> {
    let build = |(at, &(bits, long, drops, carries, atomics, trusted)): (usize, &Plain)| {
        let mut device = device(u16::try_from(at).unwrap(), bits);
        device.flits = if long { Flits::Bytes256 } else { Flits::Bytes68 };
        let switch = Switch { metadata: Metadata::Dropped, atomics: Atomics::Passed };
        device.attachment = if drops { Attachment::Switch(switch) } else { Attachment::Direct };
        device.atomics = if atomics { Atomics::Passed } else { Atomics::Lost };
        device.attestation = if trusted { device.attestation } else { Attestation::Attested };
        let metadata = if carries { Metadata::Carried } else { Metadata::Dropped };
        (device, RootPort { metadata, ..PORT })
    };
    plain.iter().enumerate().map(build).collect()
}

fn caps(plain: &[Plain]) -> Caps {
    let built = built(plain);
    let set: Vec<_> =
        built.iter().map(|(device, port)| Member { device, port, mode: RegionMode::Ram }).collect();
    Region::create_ram(&window(6), range(16), &set, MTE).unwrap().caps()
}

/// The same question, one flag at a time.
fn twin(plain: &[Plain]) -> Caps {
    let mut caps = Caps::VOLATILE;
    caps.set(Caps::TAG, plain.iter().all(|m| m.0 >= 16 && m.1 && !m.2 && m.3));
    caps.set(Caps::ATOMICS, plain.iter().all(|m| m.4));
    caps.set(Caps::TEE, plain.iter().all(|m| m.1 && !m.2 && m.5));
    caps
}

fn sets() -> impl Strategy<Value = Vec<Plain>> {
    let likely = || prop::bool::weighted(0.9);
    let bits = prop_oneof![1 => 0_u8..16, 4 => 16_u8..=32];
    let unlikely = prop::bool::weighted(0.1);
    let member = (bits, likely(), unlikely, likely(), likely(), likely());
    prop::sample::select(vec![1_usize, 2, 4, 8])
        .prop_flat_map(move |ways| prop::collection::vec(member.clone(), ways))
}

proptest! {
    #[test]
    fn a_set_can_do_what_all_its_members_can(plain in sets()) {
        prop_assert_eq!(caps(&plain), twin(&plain));
        let each = plain.iter().map(|one| caps(core::slice::from_ref(one)));
        prop_assert_eq!(caps(&plain), each.fold(Caps::all(), |all, one| all & one));
    }
}

#[test]
fn canary_a_set_that_can_do_what_any_member_can() {
    let able = (16, true, false, true, true, true);
    let unable = (0, true, false, true, false, false);
    let any = [able, unable]
        .iter()
        .fold(Caps::empty(), |any, one| any | caps(core::slice::from_ref(one)));
    assert_ne!(any, twin(&[able, unable]));
    assert_eq!(caps(&[able, unable]), Caps::VOLATILE);
}
