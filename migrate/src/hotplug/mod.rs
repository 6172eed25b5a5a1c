//! Who brings memory that comes and goes, and who uses it: CXL windows, devices and regions with
//! what they can do; private memory, KVM, tiers; and what memory costs besides itself.
//!
//! Everything here is arithmetic on values. Blocks, ranges and the calls that move memory between
//! owners are in [`pagelab_allocator::hotplug`].

pub mod attestation;
pub mod cfmws;
pub mod cxl_device;
pub mod emd;
pub mod hdm;
pub mod kernel_version;
pub mod kmem_range;
pub mod kvm;
pub mod lost_tags;
pub mod metadata;
pub mod missing_cap;
pub mod mte_vma;
pub mod pamt;
pub mod private_backend;
pub mod private_memory;
pub mod region;
pub mod restrictions;
pub mod root_decoder;
pub mod root_port;
pub mod tag_space;
pub mod tdmr;
pub mod tiers;
pub mod vmemmap;
