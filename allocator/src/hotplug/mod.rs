//! Memory that comes and goes: blocks, ranges and who owns them, what they can do, who may join.
//!
//! The calls check in Linux's order and fail with its errors and words. What a call would do to
//! pages in use is not done here: offlining is driven from above, as claims are.

pub mod caps;
pub mod errno;
pub mod gate;
mod marks;
pub mod memblock;
pub mod platform;
pub mod printk;
pub mod tdx;
pub mod veto;

pub use marks::Hotplug;
