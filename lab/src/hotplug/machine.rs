//! The machine of a scenario: `[platform]` and `[tdx]`.

use core::num::NonZeroU32;

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::group::{OnlinePolicy, Scope};
use pagelab_allocator::hotplug::platform::{Arch, AutoOnline, Host, MemmapOnMemory, Mte, Platform};
use pagelab_allocator::hotplug::printk::{Debugging, RateLimit};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{Pfn, PfnRange};
use pagelab_migrate::hotplug::missing_cap::TagPermission;
use pagelab_migrate::hotplug::pamt::Pamt;

use super::error::HotplugError;
use super::memory::Memory;
use super::nearest::unknown;
use super::section::{Found, Section, range_of};

/// Largest address of a machine, in bytes: 46 bits.
const MOST_ADDRESS: u64 = 1 << 46;
/// CMRs that firmware can report.
const MOST_CMRS: usize = 32;

/// `[platform]`.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Architecture and settings.
    pub platform: Platform,
    /// Pages.
    pub geometry: Geometry,
    /// Whose rules.
    pub profile: KernelProfile,
    /// How plain onlining chooses a zone.
    pub policy: OnlinePolicy,
    /// Whether the CPUs can forbid tag accesses page by page.
    pub tag_permission: TagPermission,
    /// Whether debug lines are printed.
    pub debugging: Debugging,
    /// Whether lines are limited.
    pub rate_limit: RateLimit,
    /// Seed of what is left to chance.
    pub seed: u64,
}

const ARCHES: [(&str, Arch); 3] =
    [("x86", Arch::X86), ("arm64", Arch::Arm64), ("arm64-64k", Arch::Arm64Pages64K)];
const HOSTS: [(&str, Host); 2] = [("bare-metal", Host::BareMetal), ("guest", Host::Guest)];
const MTES: [(&str, Mte); 3] = [("absent", Mte::Absent), ("on", Mte::On), ("nomte", Mte::Disabled)];
const MEMMAPS: [(&str, MemmapOnMemory); 3] =
    [("off", MemmapOnMemory::Off), ("on", MemmapOnMemory::On), ("force", MemmapOnMemory::Force)];
const ONLINES: [(&str, AutoOnline); 4] = [
    ("offline", AutoOnline::Offline),
    ("online", AutoOnline::Online),
    ("kernel", AutoOnline::Kernel),
    ("movable", AutoOnline::Movable),
];
const KERNELS: [(&str, KernelProfile); 2] =
    [("6.1", KernelProfile::V6_1), ("6.12", KernelProfile::V6_12)];
const LIMITS: [(&str, RateLimit); 2] = [("none", RateLimit::None), ("default", RateLimit::Default)];

impl Machine {
    /// Reads `[platform]`.
    ///
    /// # Errors
    ///
    /// With the line and the key of what is wrong.
    pub fn read(mut of: Section<'_>) -> Result<Self, HotplugError> {
        let arch = of.choice("arch", &ARCHES)?.unwrap_or(Arch::X86);
        let geometry = match arch {
            Arch::X86 | Arch::Arm64 => Geometry::PAGES_4K,
            Arch::Arm64Pages64K => Geometry::PAGES_64K,
        };
        let host = of.choice("host", &HOSTS)?.unwrap_or(Host::BareMetal);
        let mut platform = Platform::new(arch, host, frame(MOST_ADDRESS, geometry));
        if let Some(mte) = of.choice("mte", &MTES)? {
            if arch == Arch::X86 && mte != Mte::Absent {
                return Err(of.lacks("mte", "only arm64 has memory tagging"));
            }
            platform.mte = mte;
        }
        platform.memmap_on_memory = of.choice("memmap-on-memory", &MEMMAPS)?.unwrap_or_default();
        platform.auto_online = of.choice("auto-online", &ONLINES)?.unwrap_or_default();
        platform.relied_on = caps(&mut of, "relied-on")?.unwrap_or_default();
        sizes(&mut of, &mut platform, geometry)?;
        let machine = Self {
            platform,
            geometry,
            profile: of.choice("kernel", &KERNELS)?.unwrap_or(KernelProfile::V6_12),
            policy: policy(&mut of)?,
            tag_permission: super::cxl::tag_permission(&mut of)?,
            debugging: match of.switch("dynamic-debug")? {
                Some(true) => Debugging::On,
                Some(false) | None => Debugging::Off,
            },
            rate_limit: of.choice("rate-limit", &LIMITS)?.unwrap_or_default(),
            seed: of.number("seed", (0, i64::MAX.unsigned_abs()))?.map_or(1, |found| found.value),
        };
        of.finish()?;
        Ok(machine)
    }
}

fn frame(bytes: u64, geometry: Geometry) -> Pfn {
    Pfn::new(geometry.pages_in(bytes).get())
}

/// What is measured in bytes.
fn sizes(
    of: &mut Section<'_>,
    platform: &mut Platform,
    geometry: Geometry,
) -> Result<(), HotplugError> {
    let section = platform.arch.section_bytes();
    if let Some(Found { value, at }) = of.bytes("block-size")? {
        if !value.is_power_of_two() || value < section || value > 64 << 30 {
            let why = format!("not a power of two from {}MiB to 64GiB", section >> 20);
            return Err(of.error(at, "block-size", why));
        }
        platform.block_size = Some(geometry.pages_in(value));
    }
    if let Some(Found { value, at }) = of.bytes("window-alignment")? {
        if !value.is_power_of_two() || value < 256 << 20 {
            return Err(of.error(at, "window-alignment", "not a power of two from 256MiB on"));
        }
        platform.window_alignment = Some(geometry.pages_in(value));
    }
    for key in ["linear-map-end", "physmem-end"] {
        let Some(Found { value, at }) = of.pages(key, geometry)? else { continue };
        let end = Pfn::new(value.get());
        if value.get() == 0 || end > platform.physmem_end {
            return Err(of.error(at, key, "not an address of up to 46 bits"));
        }
        match key {
            "linear-map-end" => platform.mappable = PfnRange::new(Pfn::new(0), end),
            _ => platform.physmem_end = end,
        }
    }
    Ok(())
}

fn policy(of: &mut Section<'_>) -> Result<OnlinePolicy, HotplugError> {
    let policies = [("contig-zones", false), ("auto-movable", true)];
    let auto = of.choice("online-policy", &policies)?.unwrap_or(false);
    let ratio = of.number("auto-movable-ratio", (1, 1_000_000))?;
    let aware = of.switch("auto-movable-numa-aware")?;
    if !auto {
        return match (ratio, aware) {
            (None, None) => Ok(OnlinePolicy::ContigZones),
            _ => Err(of.lacks("online-policy", "\"auto-movable\" has a ratio and looks at nodes")),
        };
    }
    let ratio = ratio.and_then(|ratio| u32::try_from(ratio.value).ok()).unwrap_or(301);
    Ok(OnlinePolicy::AutoMovable {
        ratio: NonZeroU32::new(ratio).expect("at least one"),
        scope: if aware == Some(false) { Scope::Machine } else { Scope::Node },
    })
}

/// Capabilities by their words.
///
/// # Errors
///
/// When there is no such one, or it stands there twice.
pub fn caps(of: &mut Section<'_>, key: &'static str) -> Result<Option<Caps>, HotplugError> {
    let Some(words) = of.list(key)? else { return Ok(None) };
    let mut all = Caps::empty();
    for Found { value, at } in words {
        let Some(one) = Caps::from_word(value) else {
            let known = Caps::WORDS.map(|(word, _)| word);
            return Err(of.error(at, key, format!("capability {}", unknown(value, &known))));
        };
        if all.contains(one) {
            return Err(of.error(at, key, format!("{value:?} stands there twice")));
        }
        all |= one;
    }
    if all.contains(Caps::VOLATILE | Caps::PERSISTENT) {
        return Err(of.lacks(key, "volatile and persistent at once"));
    }
    Ok(Some(all))
}

/// `[tdx]`.
#[derive(Clone, Debug)]
pub struct TdxMachine {
    /// Memory that firmware vouches for.
    pub cmrs: Vec<PfnRange>,
    /// How much the module keeps about memory.
    pub pamt: Pamt,
}

impl TdxMachine {
    /// Reads `[tdx]`.
    ///
    /// # Errors
    ///
    /// With the line and the key of what is wrong.
    pub fn read(
        mut of: Section<'_>,
        machine: &Machine,
        memories: &[Memory],
    ) -> Result<Self, HotplugError> {
        if machine.platform.arch != Arch::X86 {
            return Err(of.lacks("cmrs", "only x86 has TDX"));
        }
        let words = of.list("cmrs")?;
        let words = of.need("cmrs", words)?;
        let mut cmrs = Vec::new();
        for Found { value, at } in words {
            let named = memories.iter().find(|memory| memory.name == value);
            let range =
                named.map(|memory| memory.range).or_else(|| range_of(value, machine.geometry));
            let names: Vec<&str> = memories.iter().map(|memory| &*memory.name).collect();
            let range = range.ok_or_else(|| {
                let why = format!("no range, and memory {}", unknown(value, &names));
                of.error(at, "cmrs", why)
            })?;
            if range.end() > machine.platform.physmem_end {
                return Err(of.error(at, "cmrs", format!("{value:?} is past the last address")));
            }
            if cmrs.iter().any(|other: &PfnRange| other.overlaps(range)) {
                return Err(of.error(at, "cmrs", format!("{value:?} overlaps another")));
            }
            if cmrs.len() == MOST_CMRS {
                return Err(of.error(at, "cmrs", format!("more than {MOST_CMRS}")));
            }
            cmrs.push(range);
        }
        cmrs.sort_by_key(|range| range.start());
        let pamts = [("static", Pamt::Static), ("dynamic", Pamt::Dynamic)];
        let pamt = of.choice("pamt", &pamts)?.unwrap_or(Pamt::Static);
        of.finish()?;
        Ok(Self { cmrs, pamt })
    }
}
