//! The machine as far as hotplug has to know it: architecture, features, what the command line
//! says.

use crate::hotplug::caps::Caps;
use crate::units::{PageCount, Pfn, PfnRange};

/// Architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arch {
    /// x86-64 with pages of 4 KiB.
    X86,
    /// arm64 with pages of 4 or 16 KiB.
    Arm64,
    /// arm64 with pages of 64 KiB.
    Arm64Pages64K,
}

impl Arch {
    /// Bytes of a section. Linux: `1 << SECTION_SIZE_BITS`.
    #[must_use]
    pub const fn section_bytes(self) -> u64 {
        match self {
            Self::X86 | Self::Arm64 => 128 << 20,
            Self::Arm64Pages64K => 512 << 20,
        }
    }

    /// Whether boot memory can go offline. Linux: `prevent_bootmem_remove_notifier()` on arm64.
    #[must_use]
    pub const fn boot_memory(self) -> BootMemory {
        match self {
            Self::X86 => BootMemory::MayLeave,
            Self::Arm64 | Self::Arm64Pages64K => BootMemory::Stays,
        }
    }
}

/// Whether memory that was there at boot may go offline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootMemory {
    /// It may.
    MayLeave,
    /// An attempt is vetoed.
    Stays,
}

/// What the kernel runs on. Linux: `X86_FEATURE_HYPERVISOR`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// Hardware.
    BareMetal,
    /// A hypervisor.
    Guest,
}

/// Memory tagging of the CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mte {
    /// They have none.
    Absent,
    /// They have it, and it is in use.
    On,
    /// They have it, and the command line says `arm64.nomte`.
    Disabled,
}

/// Whether struct pages lie in the memory that they describe.
/// Linux: `memory_hotplug.memmap_on_memory`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemmapOnMemory {
    /// They lie elsewhere.
    #[default]
    Off,
    /// They do where they fill whole pageblocks.
    On,
    /// They do, and the rest of the last pageblock is wasted.
    Force,
}

/// How blocks that have just been added are onlined. Linux: `mhp_default_online_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AutoOnline {
    /// Not at all.
    #[default]
    Offline,
    /// Where the policy says.
    Online,
    /// In a zone for anything.
    Kernel,
    /// In the zone for what can be migrated.
    Movable,
}

/// Whether the machine still boots. Linux: `system_state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// It does.
    Booting,
    /// It runs.
    #[default]
    Running,
}

/// The machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Platform {
    /// Architecture.
    pub arch: Arch,
    /// Hardware or hypervisor.
    pub host: Host,
    /// Memory tagging.
    pub mte: Mte,
    /// What every page of the allocator must do besides, because software relies on it.
    pub relied_on: Caps,
    /// What the linear map can reach. Linux: `arch_get_mappable_range()`.
    pub mappable: PfnRange,
    /// One past the largest frame there can be. Linux: `PHYSMEM_END`.
    pub physmem_end: Pfn,
    /// One past the last frame that may be added while the machine boots. Linux: `mem=`.
    pub mem_limit: Option<Pfn>,
    /// Where struct pages lie.
    pub memmap_on_memory: MemmapOnMemory,
    /// What happens to blocks that were added.
    pub auto_online: AutoOnline,
    /// Pages of a memory block that somebody asked for: a power of two, at least a pageblock.
    /// Linux: `set_memory_block_size_order()`.
    pub block_size: Option<PageCount>,
    /// Alignment of the windows that firmware announces, in pages: advice for the size of memory
    /// blocks. Linux: `memory_block_advise_max_size()`.
    pub window_alignment: Option<PageCount>,
}

impl Platform {
    /// A machine with default settings, that can have memory up to `physmem_end`.
    #[must_use]
    pub const fn new(arch: Arch, host: Host, physmem_end: Pfn) -> Self {
        Self {
            arch,
            host,
            mte: Mte::Absent,
            relied_on: Caps::empty(),
            mappable: PfnRange::new(Pfn::new(0), physmem_end),
            physmem_end,
            mem_limit: None,
            memmap_on_memory: MemmapOnMemory::Off,
            auto_online: AutoOnline::Offline,
            block_size: None,
            window_alignment: None,
        }
    }

    /// Stops using features; that there are none is no error. TDX is its owner's.
    /// Linux: `arm64.nomte`.
    pub fn give_up(&mut self, features: Caps) {
        self.relied_on -= features;
        if features.contains(Caps::TAG) && self.mte == Mte::On {
            self.mte = Mte::Disabled;
        }
    }

    /// What every page of the allocator must be able to do for the architecture's sake; TDX has a
    /// say of its own. Linux: nowhere written down.
    #[must_use]
    pub fn required(&self) -> Caps {
        let tags = if self.mte == Mte::On { Caps::TAG } else { Caps::empty() };
        self.relied_on | tags
    }
}
