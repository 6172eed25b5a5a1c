//! Who brings memory that comes and goes, and who uses it: drivers, devices, guests.
//!
//! What is decided about it is in [`pagelab_allocator::hotplug`]; here are the facts it is decided
//! upon, and what follows. [`host::Host`] has it all as one value; what is not spread over its
//! methods is arithmetic on values.

pub mod actor;
pub mod attestation;
pub mod cfmws;
pub mod cxl_device;
pub mod dax;
pub mod dimm;
pub mod emd;
pub mod guest;
pub mod hdm;
pub mod host;
pub mod interleavings;
pub mod kernel_version;
pub mod kmem_range;
pub mod kvm;
pub mod lost_tags;
pub mod metadata;
pub mod missing_cap;
pub mod mte_vma;
pub mod pamt;
pub mod placement;
mod private;
pub mod private_backend;
pub mod private_memory;
mod private_page;
pub mod region;
pub mod restrictions;
pub mod root_decoder;
pub mod root_port;
pub mod tag_space;
pub mod tdmr;
pub mod tdx_init;
pub mod tiers;
