//! Rules that look at no machine, or at little of it: mappings, memory slots, what backs a guest.

use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::platform::Mte;
use pagelab_migrate::hotplug::kernel_version::KernelVersion;
use pagelab_migrate::hotplug::kvm::{
    CacheablePfnmap, Caching, DirtyLogging, GuestMte, KvmVma, Vm, VmaFlags, prepare_memory_region,
};
use pagelab_migrate::hotplug::mte_vma::{Backing, MapSharing, ProtMte, mmap};
use pagelab_migrate::hotplug::private_backend::{Backend, Interface};

use super::error::HotplugError;
use super::section::Section;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// May this be mapped?
    Mmap(Backing, MapSharing, ProtMte, KernelVersion),
    /// May a guest have this mapping as memory?
    Memslot(Vm, KvmVma, DirtyLogging),
    /// May this back the private memory of a guest?
    BackGuest(Backend, Interface),
}

const BACKINGS: [(&str, Backing); 5] = [
    ("anonymous", Backing::Anonymous),
    ("shmem", Backing::Shmem),
    ("hugetlb", Backing::Hugetlb),
    ("file", Backing::File),
    ("devdax", Backing::Devdax),
];
const SHARINGS: [(&str, MapSharing); 2] =
    [("shared", MapSharing::Shared), ("private", MapSharing::Private)];
const KERNELS: [(&str, KernelVersion); 2] =
    [("6.12", KernelVersion::new(6, 12)), ("6.13", KernelVersion::HUGETLB_MTE)];
const BACKENDS: [(&str, Backend); 5] = [
    ("anonymous", Backend::Anonymous),
    ("shmem", Backend::Shmem),
    ("hugetlbfs", Backend::Hugetlbfs),
    ("devdax", Backend::Devdax),
    ("guest-memfd", Backend::GuestMemfd),
];
const INTERFACES: [(&str, Interface); 2] =
    [("memfile", Interface::Memfile), ("guest-memfd", Interface::GuestMemfd)];

fn word<T: PartialEq>(choices: &[(&'static str, T)], of: T) -> &'static str {
    choices.iter().find(|(_, choice)| *choice == of).map_or("other", |(word, _)| *word)
}

impl Question {
    /// Reads the keys of `mmap`.
    ///
    /// # Errors
    ///
    /// With the line and the key of what is wrong, here and below.
    pub fn read_mmap(of: &mut Section<'_>) -> Result<Self, HotplugError> {
        let backing = of.choice("backing", &BACKINGS)?;
        let backing = of.need("backing", backing)?;
        let sharing = of.choice("sharing", &SHARINGS)?.unwrap_or(MapSharing::Shared);
        let prot = match of.switch("prot-mte")? {
            Some(false) => ProtMte::Absent,
            Some(true) | None => ProtMte::Wanted,
        };
        let kernel = of.choice("kernel", &KERNELS)?.unwrap_or(KernelVersion::HUGETLB_MTE);
        Ok(Self::Mmap(backing, sharing, prot, kernel))
    }

    /// Reads the keys of `memslot`.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn read_memslot(of: &mut Section<'_>) -> Result<Self, HotplugError> {
        let mut flags = VmaFlags::empty();
        flags.set(VmaFlags::PFNMAP, of.switch("pfnmap")?.unwrap_or(false));
        flags.set(VmaFlags::MTE_ALLOWED, of.switch("mte-allowed")?.unwrap_or(false));
        let caching = match of.switch("cacheable")? {
            Some(false) => Caching::Uncached,
            Some(true) | None => Caching::Cacheable,
        };
        let mte = match of.switch("guest-mte")? {
            Some(true) => GuestMte::On,
            Some(false) | None => GuestMte::Off,
        };
        let cacheable_pfnmap = match of.switch("hardware-coherent")? {
            Some(true) => CacheablePfnmap::Supported,
            Some(false) | None => CacheablePfnmap::Unsupported,
        };
        let logging = match of.switch("dirty-logging")? {
            Some(true) => DirtyLogging::On,
            Some(false) | None => DirtyLogging::Off,
        };
        let (vm, vma) = (Vm { mte, cacheable_pfnmap }, KvmVma { flags, caching });
        Ok(Self::Memslot(vm, vma, logging))
    }

    /// Reads the keys of `back-guest`.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn read_back_guest(of: &mut Section<'_>) -> Result<Self, HotplugError> {
        let backend = of.choice("backend", &BACKENDS)?;
        let backend = of.need("backend", backend)?;
        let interface = of.choice("interface", &INTERFACES)?.unwrap_or(Interface::GuestMemfd);
        Ok(Self::BackGuest(backend, interface))
    }

    /// Words for reports, after the step's own.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Mmap(backing, sharing, prot, kernel) => {
                let tags = if prot == ProtMte::Wanted { " with PROT_MTE" } else { "" };
                let (backing, sharing) = (word(&BACKINGS, backing), word(&SHARINGS, sharing));
                format!(" {backing}, {sharing}{tags}, Linux {}", word(&KERNELS, kernel))
            }
            Self::Memslot(vm, vma, logging) => {
                let flags = [
                    ("MTE guest", vm.mte == GuestMte::On),
                    ("VM_MTE_ALLOWED", vma.flags.contains(VmaFlags::MTE_ALLOWED)),
                    ("VM_PFNMAP", vma.flags.contains(VmaFlags::PFNMAP)),
                    ("uncached", vma.caching == Caching::Uncached),
                    ("coherent", vm.cacheable_pfnmap == CacheablePfnmap::Supported),
                    ("dirty logging", logging == DirtyLogging::On),
                ];
                let set = flags.iter().filter(|(_, set)| *set).map(|(word, _)| *word);
                let set: Vec<_> = set.collect();
                if set.is_empty() { " plain".to_owned() } else { format!(" {}", set.join(", ")) }
            }
            Self::BackGuest(backend, interface) => {
                format!(" {} by {}", word(&BACKENDS, backend), word(&INTERFACES, interface))
            }
        }
    }

    /// The answer on a machine with this tagging; a backend has memory that can do `caps`, for a
    /// guest that needs TDX memory.
    ///
    /// # Errors
    ///
    /// What the call returns.
    pub fn ask(self, mte: Mte, caps: Caps) -> Result<(), Errno> {
        match self {
            Self::Mmap(backing, sharing, prot, kernel) => {
                let mapped = mmap(backing, sharing, prot, mte, kernel);
                mapped.map(|_| ()).map_err(|refused| refused.errno())
            }
            Self::Memslot(vm, vma, logging) => {
                prepare_memory_region(vm, &[vma], logging).map_err(|refused| refused.errno())
            }
            Self::BackGuest(backend, interface) => {
                backend.allowed(interface, caps, Caps::TEE).map_err(|refused| refused.errno())
            }
        }
    }
}
