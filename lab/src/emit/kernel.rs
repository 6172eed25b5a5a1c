//! The kernel that a run claims to come from: addresses and numbers that its text shows.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::migratetype::{MigrateType, TypeSet};
use pagelab_allocator::pcp::Thp;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::restore::MachineState;
use pagelab_allocator::units::{NodeId, Order, Pfn};
use pagelab_allocator::zone::ZoneSpec;

/// How a kernel prints pages, zones and migratetypes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Whose formats.
    pub profile: KernelProfile,
    /// Migratetypes it was built with; their numbers follow from that.
    pub types: TypeSet,
    /// Page and pageblock sizes.
    pub geometry: Geometry,
    thp: Thp,
    zones: Vec<ZoneSpec>,
}

impl Kernel {
    /// Address of the `struct page` of frame 0, as arm64 has it. Linux: `vmemmap`.
    pub const VMEMMAP: u64 = 0xffff_fbff_ff00_0000;
    /// Bytes of a `struct page`.
    pub const STRUCT_PAGE: u64 = 64;
    /// Address of the first `struct zone`, made up.
    const ZONES: u64 = 0xffff_0000_1fef_0000;
    /// Bytes from one `struct zone` to the next, made up.
    const ZONE_BYTES: u64 = 0x680;

    /// The kernel of the machine that `state` describes.
    #[must_use]
    pub fn of(state: &MachineState) -> Self {
        Self {
            profile: state.profile,
            types: state.types,
            geometry: state.geometry,
            thp: state.thp,
            zones: state.zones.iter().map(|zone| zone.spec).collect(),
        }
    }

    /// What `uname -r` prints.
    #[must_use]
    pub fn release(&self) -> String {
        format!("{}-pagelab", self.profile.version())
    }

    /// Address of a frame's `struct page`. Linux: `pfn_to_page()`.
    #[must_use]
    pub fn page(&self, pfn: Pfn) -> u64 {
        Self::VMEMMAP.wrapping_add(pfn.get().wrapping_mul(Self::STRUCT_PAGE))
    }

    /// Address of the zone at `index` of the machine's zones.
    #[must_use]
    pub fn zone_address(&self, index: usize) -> u64 {
        Self::ZONES + u64::try_from(index).unwrap_or(0) * Self::ZONE_BYTES
    }

    /// Address of the zone that has `pfn`; 0 when none has. Linux: `page_zone()`.
    #[must_use]
    pub fn zone_of(&self, pfn: Pfn) -> u64 {
        let at = self.zones.iter().position(|zone| zone.span.contains(pfn));
        at.map_or(0, |at| self.zone_address(at))
    }

    /// Address of a zone by node and kind; 0 when there is none.
    #[must_use]
    pub fn zone_named(&self, node: NodeId, kind: ZoneType) -> u64 {
        let at = self.zones.iter().position(|zone| zone.node == node && zone.kind == kind);
        at.map_or(0, |at| self.zone_address(at))
    }

    /// The number of a migratetype. Linux: `enum migratetype` of this build.
    ///
    /// # Panics
    ///
    /// Panics when the kernel was built without the type: it has no page of it.
    #[must_use]
    pub fn number(&self, mt: MigrateType) -> usize {
        self.types.number(mt).expect("pages have types that the kernel was built with")
    }

    /// Whether a block that left a list of `mt` could be part of a refill of per-CPU lists.
    /// Linux: `percpu_refill` of `mm_page_alloc_zone_locked`.
    #[must_use]
    pub fn looks_like_refill(&self, order: Order, mt: MigrateType) -> bool {
        let huge = self.thp == Thp::Configured && order == self.geometry.pageblock_order();
        mt.is_mergeable() && (order <= Order::COSTLY || huge)
    }

    /// The name of a type in dumps: `MOVABLE`.
    #[must_use]
    pub fn type_name(mt: MigrateType) -> String {
        mt.name().to_uppercase()
    }
}
