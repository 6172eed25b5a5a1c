//! Memory that comes and goes: blocks, ranges and who owns them, what they can do, who may join.
//!
//! The calls check in Linux's order and fail with its errors and words. What a call would do to
//! pages in use is not done here: offlining is driven from above, as claims are.

pub mod add;
pub mod capacity;
pub mod caps;
pub mod errno;
pub mod gate;
pub mod group;
mod marks;
pub mod memblock;
pub mod memory_block;
pub mod memory_hotplug;
pub mod offline_block;
mod online_block;
pub mod pagemap;
pub mod phases;
pub mod platform;
pub mod printk;
pub mod range;
mod remove;
pub mod resource;
pub mod spec;
pub mod tdx;
pub mod veto;
pub mod vmemmap;

pub use marks::Hotplug;
