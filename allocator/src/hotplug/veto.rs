//! A refusal as data.

use crate::hotplug::caps::Caps;
use crate::hotplug::errno::Errno;
use crate::units::PfnRange;

/// Where a gate is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EntryPoint {
    /// A region of CXL memory is created. Linux: `create_region_store()`.
    CreateRegion,
    /// The driver of a range is chosen. Linux: `cxl_dax_region_probe()`, `dax_kmem`.
    Probe,
    /// Memory is added. Linux: `add_memory_resource()`.
    AddMemory,
    /// A memory block is onlined. Linux: `MEM_GOING_ONLINE`.
    Online,
    /// A memory block is offlined. Linux: `MEM_GOING_OFFLINE`.
    Offline,
    /// Struct pages for a device's memory. Linux: `memremap_pages()`.
    Memremap,
    /// A page is chosen, to be allocated or moved to.
    Place,
}

/// What was wrong with a range.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Why {
    /// The range, or a part of it, was not there when TDX was initialized.
    #[error("not in the snapshot of TDX memory")]
    NotInSnapshot,
    /// No one piece of the snapshot has it all.
    #[error("no single piece of the snapshot covers it")]
    ManyPieces,
    /// Firmware does not vouch for it.
    #[error("not convertible memory")]
    NotConvertible,
    /// The module has its memory and takes no more.
    #[error("the TDX module is initialized")]
    ModuleInitialized,
    /// Nothing may be added to such a platform.
    #[error("the platform supports TDX")]
    Platform,
    /// It cannot do what every page has to.
    #[error("lacks {0}")]
    Lacks(Caps),
    /// Device memory is never mapped with tags, whatever it can do.
    #[error("device memory is untagged")]
    Untagged,
    /// Boot memory does not leave.
    #[error("boot memory")]
    BootMemory,
}

/// A refusal that was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Veto {
    /// Name of the gate.
    pub gate: &'static str,
    /// Where it was asked.
    pub entry: EntryPoint,
    /// About which frames.
    pub range: PfnRange,
    /// What was wrong with them.
    pub why: Why,
    /// What the caller got.
    pub errno: Errno,
}
