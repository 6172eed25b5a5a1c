//! How KVM on arm64 decides the memory type of a guest's page from the mapping behind it.
//! Linux: arch/arm64/kvm/mmu.c.

use bitflags::bitflags;
use pagelab_allocator::hotplug::errno::Errno;

bitflags! {
    /// What KVM looks at of a mapping. Linux: `VM_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct VmaFlags: u8 {
        /// Frames without struct pages.
        const PFNMAP = 1;
        /// Frames of which some have struct pages.
        const MIXEDMAP = 1 << 1;
        /// It may be mapped with tags.
        const MTE_ALLOWED = 1 << 2;
        /// The driver knows that no uncached access does harm.
        const ALLOW_ANY_UNCACHED = 1 << 3;
    }
}

/// How the owner of a mapping accesses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// Through the caches.
    Cacheable,
    /// Past them.
    Uncached,
}

/// A mapping of the process that runs the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KvmVma {
    /// Flags.
    pub flags: VmaFlags,
    /// Its own memory type.
    pub caching: Caching,
}

/// Whether the hardware keeps caches coherent where there is no struct page to remember a flush.
/// Linux: `kvm_supports_cacheable_pfnmap()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheablePfnmap {
    /// Needs both `S2FWB` and `CTR_EL0.DIC`.
    Unsupported,
    /// It has both.
    Supported,
}

/// Whether the guest has memory tagging. Linux: `KVM_CAP_ARM_MTE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestMte {
    /// It has not.
    Off,
    /// It has: every page that it gets is tagged, used so or not.
    On,
}

/// Whether writes to a slot are written down. Linux: `KVM_MEM_LOG_DIRTY_PAGES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirtyLogging {
    /// They are not.
    Off,
    /// They are.
    On,
}

/// A virtual machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vm {
    /// Tagging.
    pub mte: GuestMte,
    /// What the hardware can do.
    pub cacheable_pfnmap: CacheablePfnmap,
}

/// Why a slot is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotRefused {
    /// The guest could tag it, the mapping could not.
    #[error("a guest with tagging needs mappings that may have tags")]
    NoTags,
    /// Writes cannot be seen where there is no struct page.
    #[error("no dirty logging of frames without struct pages")]
    Logging,
    /// Caches could hold what is no longer there.
    #[error("the hardware cannot map frames without struct pages through its caches")]
    Cacheable,
}

impl SlotRefused {
    /// What the call returns.
    #[must_use]
    pub const fn errno(self) -> Errno {
        Errno::Inval
    }
}

/// Whether the mappings below a slot will do, in their order. Linux:
/// `kvm_arch_prepare_memory_region()`.
///
/// # Errors
///
/// [`SlotRefused`], the first reason of the first mapping that will not do.
pub fn prepare_memory_region(
    vm: Vm,
    vmas: &[KvmVma],
    logging: DirtyLogging,
) -> Result<(), SlotRefused> {
    vmas.iter().try_for_each(|vma| {
        if vm.mte == GuestMte::On && !vma.flags.contains(VmaFlags::MTE_ALLOWED) {
            return Err(SlotRefused::NoTags);
        }
        if !vma.flags.contains(VmaFlags::PFNMAP) {
            return Ok(());
        }
        if logging == DirtyLogging::On {
            return Err(SlotRefused::Logging);
        }
        match (vma.caching, vm.cacheable_pfnmap) {
            (Caching::Cacheable, CacheablePfnmap::Unsupported) => Err(SlotRefused::Cacheable),
            _ => Ok(()),
        }
    })
}

/// Whether the kernel's memory map has a frame. Linux: `pfn_is_map_memory()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InMemoryMap {
    /// It has not: a device's registers, or memory that only the device knows.
    No,
    /// It has.
    Yes,
}

/// What the guest did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It read or wrote.
    Data,
    /// It fetched an instruction.
    Execute,
}

/// Memory type of a page of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryType {
    /// Normal memory through the caches.
    Cacheable,
    /// Normal memory past them. Linux: `KVM_PGTABLE_PROT_NORMAL_NC`.
    NormalNc,
    /// Registers. Linux: `KVM_PGTABLE_PROT_DEVICE`.
    Device,
}

/// Whether the page's tags are cleared, and it counts as tagged from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sanitised {
    /// Nothing is done.
    No,
    /// Linux: `sanitise_mte_tags()`.
    Yes,
}

/// What the guest gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stage2 {
    /// Memory type.
    pub memory: MemoryType,
    /// Tags.
    pub sanitised: Sanitised,
}

/// Why it gets nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultRefused {
    /// The run of the guest ends with an error.
    #[error("bad address")]
    BadAddress,
    /// The guest gets an abort of its own.
    #[error("the guest executes what is not memory")]
    AbortToGuest,
}

impl FaultRefused {
    /// What running the guest returns, if it returns.
    #[must_use]
    pub const fn errno(self) -> Option<Errno> {
        match self {
            Self::BadAddress => Some(Errno::Fault),
            Self::AbortToGuest => None,
        }
    }
}

/// What a guest gets for an access to a page that it does not have yet, and may have.
/// Linux: `user_mem_abort()`.
///
/// # Errors
///
/// [`FaultRefused`].
pub fn stage2_fault(
    vm: Vm,
    vma: KvmVma,
    frame: InMemoryMap,
    access: Access,
) -> Result<Stage2, FaultRefused> {
    let memory = memory_type(vm, vma, frame)?;
    if memory != MemoryType::Cacheable {
        return match access {
            Access::Execute => Err(FaultRefused::AbortToGuest),
            Access::Data => Ok(Stage2 { memory, sanitised: Sanitised::No }),
        };
    }
    match (vm.mte, vma.flags.contains(VmaFlags::MTE_ALLOWED)) {
        (GuestMte::Off, _) => Ok(Stage2 { memory, sanitised: Sanitised::No }),
        (GuestMte::On, true) => Ok(Stage2 { memory, sanitised: Sanitised::Yes }),
        (GuestMte::On, false) => Err(FaultRefused::BadAddress),
    }
}

/// A mapping through the caches never becomes one past them: what the caches hold would be stale.
fn memory_type(vm: Vm, vma: KvmVma, frame: InMemoryMap) -> Result<MemoryType, FaultRefused> {
    let special = vma.flags.intersects(VmaFlags::PFNMAP | VmaFlags::MIXEDMAP);
    if !special || frame == InMemoryMap::Yes {
        return Ok(MemoryType::Cacheable);
    }
    match (vma.caching, vm.cacheable_pfnmap) {
        (Caching::Cacheable, CacheablePfnmap::Supported) => Ok(MemoryType::Cacheable),
        (Caching::Cacheable, CacheablePfnmap::Unsupported) => Err(FaultRefused::BadAddress),
        (Caching::Uncached, _) if vma.flags.contains(VmaFlags::ALLOW_ANY_UNCACHED) => {
            Ok(MemoryType::NormalNc)
        }
        (Caching::Uncached, _) => Ok(MemoryType::Device),
    }
}

#[cfg(test)]
#[path = "kvm_tests.rs"]
mod tests;
