//! Memory behind CXL links: `[[window]]`, `[[port]]`, `[[device]]`, `[[region]]`. A region is a
//! memory of the scenario; what it can do follows from all that is on the way.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::hotplug::caps::Origin;
use pagelab_allocator::hotplug::printk::Line;
use pagelab_allocator::units::{NodeId, PageCount, Pfn, PfnRange};
use pagelab_migrate::hotplug::attestation::{Attestation, SpdmVersion};
use pagelab_migrate::hotplug::cfmws::{Cfmws, RawCfmws, WindowTags};
use pagelab_migrate::hotplug::cxl_device::{
    Attachment, CxlDevice, DeviceId, DeviceKind, Sharing, Switch,
};
use pagelab_migrate::hotplug::emd::{ENABLE, Emd, Flits};
use pagelab_migrate::hotplug::hdm::HdmType;
use pagelab_migrate::hotplug::missing_cap::{Cpus, Member, TagPermission};
use pagelab_migrate::hotplug::region::{Region, RegionError};
use pagelab_migrate::hotplug::root_decoder::RegionMode;
use pagelab_migrate::hotplug::root_port::{Atomics, HostTsp, Metadata, RootPort};

use super::error::HotplugError;
use super::machine::Machine;
use super::memory::{Memory, NODES};
use super::nearest::unknown;
use super::section::{Found, Section};

/// Windows, ports, devices and regions of a scenario, each.
const MOST: usize = 64;

const METADATA: [(&str, Metadata); 2] =
    [("dropped", Metadata::Dropped), ("carried", Metadata::Carried)];
const ATOMICS: [(&str, Atomics); 2] = [("passed", Atomics::Passed), ("lost", Atomics::Lost)];

/// What firmware and buses say about CXL.
#[derive(Clone, Debug, Default)]
pub struct Cxl {
    windows: Vec<(String, Cfmws)>,
    ports: Vec<(String, RootPort)>,
    devices: Vec<(String, usize, CxlDevice)>,
    /// Warnings that the parser of windows prints.
    pub lines: Vec<Line>,
}

impl Cxl {
    /// Reads everything; the regions become memories.
    ///
    /// # Errors
    ///
    /// With the line and the key of what is wrong.
    pub fn read(
        top: &mut Section<'_>,
        machine: &Machine,
        memories: &mut Vec<Memory>,
    ) -> Result<Self, HotplugError> {
        let mut cxl = Self::default();
        for of in top.sections("window", MOST)? {
            let (name, window) = window(of, &cxl.windows)?;
            cxl.lines.extend(window.warning());
            cxl.windows.push((name, window));
        }
        for of in top.sections("port", MOST)? {
            let port = port(of, &cxl.ports)?;
            cxl.ports.push(port);
        }
        for of in top.sections("device", MOST)? {
            let device = cxl.device(of)?;
            cxl.devices.push(device);
        }
        for of in top.sections("region", MOST)? {
            memories.push(cxl.region(of, machine)?);
        }
        Ok(cxl)
    }

    fn device(&self, mut of: Section<'_>) -> Result<(String, usize, CxlDevice), HotplugError> {
        let taken: Vec<&str> = self.devices.iter().map(|(name, ..)| &**name).collect();
        let name = new_name(&mut of, &taken)?;
        let port = of.ident("port")?;
        let port = of.need("port", port)?;
        let port = find(&of, "port", port, self.ports.iter().map(|(name, _)| &**name))?;
        let id = DeviceId::new(u16::try_from(self.devices.len()).expect("few devices"));
        let mut device = CxlDevice::expander(id, size(&mut of, "volatile")?);
        device.persistent = size(&mut of, "persistent")?;
        let kinds = [
            ("sld", DeviceKind::Sld),
            ("mh-sld", DeviceKind::MultiHeadedSld),
            ("mld", DeviceKind::Mld),
            ("gfd", DeviceKind::Gfd),
        ];
        device.kind = of.choice("kind", &kinds)?.unwrap_or(device.kind);
        let hdms = [
            ("hdm-h", HdmType::HostOnly),
            ("hdm-d", HdmType::Device),
            ("hdm-db", HdmType::DeviceBackInvalidate),
        ];
        device.hdm = of.choice("hdm", &hdms)?.unwrap_or(device.hdm);
        if of.switch("switch")? == Some(true) {
            let metadata = of.choice("switch-metadata", &METADATA)?.unwrap_or_default();
            let atomics = of.choice("switch-atomics", &ATOMICS)?.unwrap_or(Atomics::Passed);
            device.attachment = Attachment::Switch(Switch { metadata, atomics });
        }
        let flits = of.number("flits", (68, 256))?;
        device.flits = match flits.map(|found| (found.value, found.at)) {
            None | Some((256, _)) => Flits::Bytes256,
            Some((68, _)) => Flits::Bytes68,
            Some((_, at)) => return Err(of.error(at, "flits", "not 68 or 256 bytes")),
        };
        if of.switch("shared")? == Some(true) {
            device.sharing = Sharing::Shared;
        }
        device.atomics = of.choice("atomics", &ATOMICS)?.unwrap_or(device.atomics);
        device.emd = emd(&mut of)?;
        if of.switch("attested")? == Some(true) {
            let attested = Attestation::default().attest(SpdmVersion::NEEDED);
            let locked = attested.and_then(Attestation::lock);
            device.attestation = locked.map_err(|why| of.lacks("attested", why.to_string()))?;
        }
        of.finish()?;
        Ok((name, port, device))
    }

    fn region(&self, mut of: Section<'_>, machine: &Machine) -> Result<Memory, HotplugError> {
        let name = of.ident("name")?;
        let name = of.need("name", name)?.value.to_owned();
        let found = of.ident("window")?;
        let found = of.need("window", found)?;
        let at = find(&of, "window", found, self.windows.iter().map(|(name, _)| &**name))?;
        let window = &self.windows[at].1;
        let modes = [("ram", RegionMode::Ram), ("pmem", RegionMode::Pmem)];
        let mode = of.choice("mode", &modes)?.unwrap_or(RegionMode::Ram);
        let devices = of.list("devices")?;
        let mut members = Vec::new();
        for device in of.need("devices", devices)? {
            let names = self.devices.iter().map(|(name, ..)| &**name);
            let (_, port, device) = &self.devices[find(&of, "devices", device, names)?];
            members.push(Member { device, port: &self.ports[*port].1, mode });
        }
        let start = of.pages("start", machine.geometry)?;
        let size = of.pages("size", machine.geometry)?;
        let size = of.need("size", size)?;
        // Windows and devices count pages of 4 KiB, whatever the machine's are.
        let ratio = machine.geometry.page_size() / Geometry::PAGES_4K.page_size();
        let first = window.range().start().get() / ratio;
        let start = start.map_or(first, |found| found.value.get());
        let end = start.checked_add(size.value.get());
        let end = end.filter(|end| *end <= machine.platform.physmem_end.get());
        let end = end.ok_or_else(|| of.error(size.at, "size", "past the last address"))?;
        let frames = |ratio| PfnRange::new(Pfn::new(start * ratio), Pfn::new(end * ratio));
        let (range, in_window) = (frames(1), frames(ratio));
        let node = of.number("node", NODES)?.map_or(0, |found| found.value);
        let cpus = Cpus { mte: machine.platform.mte, tag_permission: machine.tag_permission };
        let region = match mode {
            RegionMode::Ram => Region::create_ram(window, in_window, &members, cpus),
            RegionMode::Pmem => Region::create_pmem(window, in_window, &members, cpus),
        };
        let region = region.map_err(|why| {
            let key = key(&why);
            of.error(of.place(key), key, why.to_string())
        })?;
        let memory = Memory {
            name,
            range,
            node: NodeId::new(u8::try_from(node).expect("few nodes")),
            caps: region.caps(),
            origin: Origin::Cxl,
            zone: ZoneType::Normal,
            cma: PageCount::ZERO,
            at: of.at,
        };
        of.finish()?;
        Ok(memory)
    }
}

/// The key that an error is about.
const fn key(error: &RegionError) -> &'static str {
    match error {
        RegionError::NotOffered(_) => "mode",
        RegionError::Range(..) => "size",
        _ => "devices",
    }
}

fn new_name(of: &mut Section<'_>, taken: &[&str]) -> Result<String, HotplugError> {
    let name = of.ident("name")?;
    let Found { value, at } = of.need("name", name)?;
    match taken.contains(&value) {
        true => Err(of.error(at, "name", format!("{value:?} is taken"))),
        false => Ok(value.to_owned()),
    }
}

fn find<'n>(
    of: &Section<'_>,
    key: &'static str,
    Found { value, at }: Found<&str>,
    names: impl Iterator<Item = &'n str>,
) -> Result<usize, HotplugError> {
    let names: Vec<&str> = names.collect();
    let found = names.iter().position(|name| *name == value);
    found.ok_or_else(|| of.error(at, key, unknown(value, &names)))
}

/// A device's memory, in pages of 4 KiB.
fn size(of: &mut Section<'_>, key: &'static str) -> Result<PageCount, HotplugError> {
    let size = of.pages(key, Geometry::PAGES_4K)?;
    Ok(size.map_or(PageCount::ZERO, |found| found.value))
}

fn emd(of: &mut Section<'_>) -> Result<Option<Emd>, HotplugError> {
    let bits = of.number("emd-bits", (0, 32))?;
    let enabled = of.switch("emd-enabled")?;
    let Some(Found { value, at }) = bits.filter(|found| found.value > 0) else {
        return match enabled {
            Some(true) => Err(of.error(of.place("emd-enabled"), "emd-enabled", "of no emd-bits")),
            _ => Ok(None),
        };
    };
    let error = |why: String| of.error(at, "emd-bits", why);
    let bits = u8::try_from(value).expect("up to 32");
    let mut emd = Emd::new(bits).map_err(|why| error(why.to_string()))?;
    if enabled.unwrap_or(true) {
        emd.write(ENABLE | u32::from(bits)).map_err(|why| error(why.to_string()))?;
    }
    Ok(Some(emd))
}

fn port(
    mut of: Section<'_>,
    taken: &[(String, RootPort)],
) -> Result<(String, RootPort), HotplugError> {
    let taken: Vec<&str> = taken.iter().map(|(name, _)| &**name).collect();
    let name = new_name(&mut of, &taken)?;
    let tsps = [("absent", HostTsp::Absent), ("present", HostTsp::Present)];
    let port = RootPort {
        metadata: of.choice("metadata", &METADATA)?.unwrap_or_default(),
        atomics: of.choice("atomics", &ATOMICS)?.unwrap_or(Atomics::Passed),
        tsp: of.choice("tsp", &tsps)?.unwrap_or_default(),
    };
    of.finish()?;
    Ok((name, port))
}

/// A window as firmware has it: raw fields with the names of the specification.
fn window(mut of: Section<'_>, taken: &[(String, Cfmws)]) -> Result<(String, Cfmws), HotplugError> {
    let taken: Vec<&str> = taken.iter().map(|(name, _)| &**name).collect();
    let name = new_name(&mut of, &taken)?;
    let base = of.bytes("base-hpa")?;
    let base = of.need("base-hpa", base)?.value;
    let size = of.bytes("window-size")?;
    let size = of.need("window-size", size)?.value;
    let byte = |of: &mut Section<'_>, key| -> Result<u8, HotplugError> {
        let found = of.number(key, (0, 255))?;
        Ok(found.map_or(0, |found| u8::try_from(found.value).expect("a byte")))
    };
    let interleave_ways = byte(&mut of, "interleave-ways")?;
    let interleave_arithmetic = byte(&mut of, "interleave-arithmetic")?;
    let word = |of: &mut Section<'_>, key, other| -> Result<u16, HotplugError> {
        let found = of.number(key, (0, u64::from(u16::MAX)))?;
        Ok(found.map_or(other, |found| u16::try_from(found.value).expect("two bytes")))
    };
    let restrictions = word(&mut of, "restrictions", 0x6)?;
    let qtg_id = word(&mut of, "qtg-id", 0)?;
    let granularity = byte(&mut of, "granularity")?;
    let targets = of.number("interleave-targets", (1, 16))?.map_or(16, |found| found.value);
    let tags = [
        ("unstated", WindowTags::Unstated),
        ("never", WindowTags::Never),
        ("carve-out", WindowTags::CarveOut),
    ];
    let tags = of.choice("tags", &tags)?.unwrap_or_default();
    let raw = RawCfmws {
        base_hpa: base,
        window_size: size,
        interleave_ways,
        interleave_arithmetic,
        granularity: u32::from(granularity),
        restrictions,
        qtg_id,
        interleave_targets: (0..u32::try_from(targets).expect("few targets")).collect(),
    };
    let window = Cfmws::parse(&raw).map_err(|why| {
        let key = why.key().replace('_', "-");
        of.error(of.place(&key), &key, why.to_string())
    })?;
    of.finish()?;
    Ok((name, window.stating(tags)))
}

/// Whether the CPUs can forbid tag accesses page by page.
///
/// # Errors
///
/// When the value is something else.
pub fn tag_permission(of: &mut Section<'_>) -> Result<TagPermission, HotplugError> {
    Ok(match of.switch("tag-permission")? {
        Some(true) => TagPermission::Present,
        Some(false) | None => TagPermission::Absent,
    })
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::units::{Pfn, PfnRange};

    use crate::hotplug::scenario::Scenario;

    /// The frames of a region in the second GiB of a window.
    fn region(arch: &str, start: &str) -> PfnRange {
        let text = format!(
            "title = 't'\nanswers = ['row 24']\nbecause = 'b'\n\
             [platform]\narch = '{arch}'\n\
             [[memory]]\nname = 'dram'\nstart = '4GiB'\nsize = '4GiB'\n\
             [[window]]\nname = 'w'\nbase-hpa = '512GiB'\nwindow-size = '2GiB'\n\
             [[port]]\nname = 'p'\n\
             [[device]]\nname = 'd'\nport = 'p'\nvolatile = '1GiB'\n\
             [[region]]\nname = 'r'\nwindow = 'w'\ndevices = ['d']\nsize = '1GiB'\n{start}\n\
             [[step]]\ndo = 'kmem'\nof = 'r'\n"
        );
        let scenario = Scenario::parse("t.toml", &text).expect("a scenario");
        scenario.memories.last().expect("the region").range
    }

    #[test]
    fn regions_lie_where_windows_say_whatever_the_size_of_pages() {
        let second = "start = '513GiB'";
        for (arch, gib) in [("x86", 1 << 18), ("arm64", 1 << 18), ("arm64-64k", 1 << 14)] {
            let range =
                |start: u64| PfnRange::new(Pfn::new(start * gib), Pfn::new((start + 1) * gib));
            assert_eq!(region(arch, ""), range(512), "{arch}");
            assert_eq!(region(arch, second), range(513), "{arch}");
        }
    }
}
