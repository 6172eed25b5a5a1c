//! What a host simulator needs of both crates, for one glob import.

pub use pagelab_allocator::boot::MachineSpec;
pub use pagelab_allocator::event::{Event, Silent, Sink};
pub use pagelab_allocator::geometry::Geometry;
pub use pagelab_allocator::gfp::{GfpFlags, ZoneType};
pub use pagelab_allocator::profile::KernelProfile;
pub use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

pub use crate::emulator::{Emulator, EmulatorSpec, TagSpec};
pub use crate::fault::Access;
pub use crate::folio::{FolioId, PinTerm, SpaceId, VirtPage};

pub use crate::tag_storage::carveout::Carveout;
pub use crate::tag_storage::catalogue::Design;
pub use crate::tag_storage::cma::{CmaV2, CmaV3};
pub use crate::tag_storage::design::TagStorageDesign;
pub use crate::vma::{Backing, Prot, VirtRange};
