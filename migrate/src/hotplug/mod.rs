//! Who brings memory that comes and goes, and who uses it: drivers, devices, guests.
//!
//! What is decided about it is in [`pagelab_allocator::hotplug`]; here are the facts it is decided
//! upon, and what follows.

pub mod actor;
pub mod dax;
pub mod guest;
pub mod host;
pub mod placement;
mod private;
