//! The memory of a scenario: `[[memory]]`.

use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::units::{NodeId, PageCount, Pfn, PfnRange};

use super::error::HotplugError;
use super::machine::{Machine, caps};
use super::section::{Found, Section};

/// Ranges of a scenario.
pub const MOST_MEMORIES: usize = 64;
/// Memory of a machine, in bytes.
const MOST_INSTALLED: u64 = 4 << 40;
/// From the first byte of a node to its last: there is a list entry for every frame between.
const MOST_SPAN: u64 = 2 << 40;
/// Nodes of a machine, the first and the last.
pub const NODES: (u64, u64) = (0, 63);
/// What a machine needs to boot, in bytes.
const LEAST_BOOT: u64 = 64 << 20;

/// A range of memory, there at boot or installed and not yet used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Its name in the scenario.
    pub name: String,
    /// The frames.
    pub range: PfnRange,
    /// Their node.
    pub node: NodeId,
    /// What they can do.
    pub caps: Caps,
    /// Where they come from.
    pub origin: Origin,
    /// The zone at boot.
    pub zone: ZoneType,
    /// Of boot memory, how much at its front is a CMA area.
    pub cma: PageCount,
    /// Where it stands in the file, a byte.
    pub at: usize,
}

const ORIGINS: [(&str, Origin); 7] = [
    ("boot", Origin::Boot),
    ("acpi", Origin::Acpi),
    ("cxl", Origin::Cxl),
    ("soft-reserved", Origin::SoftReserved),
    ("nvdimm", Origin::Nvdimm),
    ("virtual", Origin::Virtual),
    ("device", Origin::Device),
];
const ZONES: [(&str, ZoneType); 3] =
    [("normal", ZoneType::Normal), ("movable", ZoneType::Movable), ("dma32", ZoneType::Dma32)];

impl Memory {
    /// Whether it is online from the start.
    #[must_use]
    pub fn is_boot(&self) -> bool {
        self.origin == Origin::Boot
    }

    /// Reads one `[[memory]]`.
    ///
    /// # Errors
    ///
    /// With the line and the key of what is wrong.
    pub fn read(mut of: Section<'_>, machine: &Machine) -> Result<Self, HotplugError> {
        let geometry = machine.geometry;
        let name = of.ident("name")?;
        let name = of.need("name", name)?.value.to_owned();
        let start = of.pages("start", geometry)?;
        let start = of.need("start", start)?;
        let size = of.pages("size", geometry)?;
        let size = of.need("size", size)?;
        let block = geometry.pageblock_pages();
        for (key, Found { value, at }) in [("start", start), ("size", size)] {
            if !value.get().is_multiple_of(block.get()) {
                let bytes = geometry.bytes_of(block) >> 20;
                return Err(of.error(at, key, format!("not a multiple of {bytes}MiB")));
            }
        }
        let end = start.value.get().checked_add(size.value.get());
        let end =
            end.filter(|end| size.value.get() > 0 && *end <= machine.platform.physmem_end.get());
        let end =
            end.ok_or_else(|| of.error(size.at, "size", "nothing, or past the last address"))?;
        let node = of.number("node", NODES)?.map_or(0, |found| found.value);
        let origin = of.choice("origin", &ORIGINS)?.unwrap_or(Origin::Boot);
        let zone = of.choice("zone", &ZONES)?;
        let cma = of.pages("cma", geometry)?;
        if origin != Origin::Boot && (zone.is_some() || cma.is_some()) {
            return Err(of.lacks("origin", "only boot memory has a zone or a CMA area"));
        }
        if let Some(Found { value, at }) = cma
            && (value > size.value || !value.get().is_multiple_of(block.get()))
        {
            return Err(of.error(at, "cma", "not whole pageblocks of the memory"));
        }
        let memory = Self {
            name,
            range: PfnRange::new(Pfn::new(start.value.get()), Pfn::new(end)),
            node: NodeId::new(u8::try_from(node).expect("few nodes")),
            caps: caps(&mut of, "caps")?.unwrap_or(Caps::VOLATILE),
            origin,
            zone: zone.unwrap_or(ZoneType::Normal),
            cma: cma.map_or(PageCount::ZERO, |found| found.value),
            at: of.at,
        };
        of.finish()?;
        Ok(memory)
    }
}

/// What is wrong with the memories of a machine together: the byte where it stands, the key, and
/// why.
pub type Wrong = (usize, &'static str, String);

/// That the memories make a machine.
///
/// # Errors
///
/// [`Wrong`].
pub fn check(memories: &[Memory], machine: &Machine) -> Result<(), Wrong> {
    let geometry = machine.geometry;
    for (at, memory) in memories.iter().enumerate() {
        for other in &memories[..at] {
            if other.name == memory.name {
                return Err((memory.at, "memory.name", format!("{:?} is taken", memory.name)));
            }
            if other.range.overlaps(memory.range) {
                let (a, b) = (&memory.name, &other.name);
                return Err((memory.at, "memory.start", format!("{a:?} overlaps {b:?}")));
            }
        }
    }
    let boot = || memories.iter().filter(|memory| memory.is_boot());
    let there: PageCount = boot().map(|memory| memory.range.len()).sum();
    if geometry.bytes_of(there) < LEAST_BOOT {
        return Err((0, "memory", "less than 64MiB at boot".to_owned()));
    }
    let all: PageCount = memories.iter().map(|memory| memory.range.len()).sum();
    if geometry.bytes_of(all) > MOST_INSTALLED {
        return Err((0, "memory", "more than 4TiB in all".to_owned()));
    }
    for memory in memories {
        let near = memories.iter().filter(|other| other.node == memory.node);
        let span = near.map(|other| other.range).reduce(PfnRange::hull).unwrap_or_default();
        if geometry.bytes_of(span.len()) > MOST_SPAN {
            let why = format!("node {} reaches over more than 2TiB", memory.node.get());
            return Err((memory.at, "memory.node", why));
        }
    }
    let zones = zones(memories);
    for (at, (node, kind, span)) in zones.iter().enumerate() {
        if let Some((_, _, other)) = zones[..at].iter().find(|(_, _, other)| other.overlaps(*span))
        {
            let inside = boot().find(|m| m.node == *node && m.zone == *kind);
            let place = inside.map_or(0, |memory| memory.at);
            let why = format!("zones of boot memory, {span} and {other}, overlap");
            return Err((place, "memory.zone", why));
        }
    }
    Ok(())
}

/// The zones of boot memory: node, kind and span.
#[must_use]
pub fn zones(memories: &[Memory]) -> Vec<(NodeId, ZoneType, PfnRange)> {
    let mut zones: Vec<(NodeId, ZoneType, PfnRange)> = Vec::new();
    for memory in memories.iter().filter(|memory| memory.is_boot()) {
        let own = |(node, kind, _): &&mut (NodeId, ZoneType, PfnRange)| {
            *node == memory.node && *kind == memory.zone
        };
        match zones.iter_mut().find(own) {
            Some((_, _, span)) => *span = span.hull(memory.range),
            None => zones.push((memory.node, memory.zone, memory.range)),
        }
    }
    zones
}
