//! Which mappings may be PROT_MTE. Linux: arch/arm64/include/asm/mman.h.
//!
//! The rule is about what a mapping is made of by kind, never about the memory that it gets: heap
//! that an application puts on a device without PROT_MTE uses memory without tags and nobody asks.

use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::platform::Mte;
use pagelab_allocator::hotplug::printk::{Level, Line};

use crate::hotplug::kernel_version::KernelVersion;

/// What a mapping is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backing {
    /// Anonymous memory.
    Anonymous,
    /// shmem, memfd.
    Shmem,
    /// Huge pages of hugetlbfs, by file or by `MAP_HUGETLB`.
    Hugetlb,
    /// A file of a file system on a disk.
    File,
    /// A character device of memory: /dev/dax0.0.
    Devdax,
}

/// Whether writes are seen by others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapSharing {
    /// `MAP_SHARED`
    Shared,
    /// `MAP_PRIVATE`
    Private,
}

/// Whether tags are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtMte {
    /// No.
    Absent,
    /// `PROT_MTE`
    Wanted,
}

/// Whether a mapping may get tags, now or by mprotect(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MteAllowed {
    /// It may not.
    No,
    /// `VM_MTE_ALLOWED`
    Yes,
}

/// Why a mapping is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapRefused {
    /// The processors have no tags, or they are off: the bit means nothing.
    #[error("there are no tags")]
    NoMte,
    /// Not for such a mapping.
    #[error("{0:?} memory cannot be mapped with tags")]
    NotAllowed(Backing),
    /// Pages of a device are not copied.
    #[error("a device's memory cannot be mapped privately")]
    PrivateDevdax,
}

impl MapRefused {
    /// What the call returns.
    #[must_use]
    pub const fn errno(self) -> Errno {
        Errno::Inval
    }

    /// What the log says when `command` tried. Linux: `check_vma()` of drivers/dax.
    #[must_use]
    pub fn line(self, command: &str) -> Option<Line> {
        let text = || format!("dax0.0: {command}: dax_mmap: fail, attempted private mapping");
        matches!(self, Self::PrivateDevdax).then(|| Line::new(Level::Info, text()))
    }
}

/// Whether a mapping may get tags. Linux: `arch_calc_vm_flag_bits()`, and `VM_MTE_ALLOWED` that
/// shmem sets.
#[must_use]
pub fn mte_allowed(backing: Backing, mte: Mte, kernel: KernelVersion) -> MteAllowed {
    let taggable = match backing {
        Backing::Anonymous | Backing::Shmem => true,
        Backing::Hugetlb => kernel >= KernelVersion::HUGETLB_MTE,
        Backing::File | Backing::Devdax => false,
    };
    if taggable && mte == Mte::On { MteAllowed::Yes } else { MteAllowed::No }
}

/// Changes a mapping to have tags, or to have none. Linux: `arch_validate_prot()`,
/// `arch_validate_flags()`.
///
/// # Errors
///
/// [`MapRefused`].
pub fn mprotect(
    backing: Backing,
    prot: ProtMte,
    mte: Mte,
    kernel: KernelVersion,
) -> Result<(), MapRefused> {
    match (prot, mte_allowed(backing, mte, kernel)) {
        (ProtMte::Absent, _) | (ProtMte::Wanted, MteAllowed::Yes) => Ok(()),
        (ProtMte::Wanted, MteAllowed::No) if mte != Mte::On => Err(MapRefused::NoMte),
        (ProtMte::Wanted, MteAllowed::No) => Err(MapRefused::NotAllowed(backing)),
    }
}

/// Makes a mapping; tells whether it may have tags later. Linux: `mmap_region()`, and the driver's
/// `mmap` before its flags are looked at.
///
/// # Errors
///
/// [`MapRefused`].
pub fn mmap(
    backing: Backing,
    sharing: MapSharing,
    prot: ProtMte,
    mte: Mte,
    kernel: KernelVersion,
) -> Result<MteAllowed, MapRefused> {
    if prot == ProtMte::Wanted && mte != Mte::On {
        return Err(MapRefused::NoMte);
    }
    if (backing, sharing) == (Backing::Devdax, MapSharing::Private) {
        return Err(MapRefused::PrivateDevdax);
    }
    mprotect(backing, prot, mte, kernel)?;
    Ok(mte_allowed(backing, mte, kernel))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V6_12: KernelVersion = KernelVersion::new(6, 12);
    const V6_13: KernelVersion = KernelVersion::new(6, 13);

    fn shared(backing: Backing, prot: ProtMte, kernel: KernelVersion) -> Option<MapRefused> {
        mmap(backing, MapSharing::Shared, prot, Mte::On, kernel).err()
    }

    #[test]
    fn row_26_no_tags_on_devdax() {
        let refused = MapRefused::NotAllowed(Backing::Devdax);
        assert_eq!(shared(Backing::Devdax, ProtMte::Wanted, V6_13), Some(refused));
        assert_eq!((refused.errno(), refused.line("heap")), (Errno::Inval, None));
        let later = mprotect(Backing::Devdax, ProtMte::Wanted, Mte::On, V6_13);
        assert_eq!(later, Err(refused));
        let private = mmap(Backing::Devdax, MapSharing::Private, ProtMte::Absent, Mte::On, V6_13);
        let private = private.unwrap_err();
        assert_eq!((private, private.errno()), (MapRefused::PrivateDevdax, Errno::Inval));
        let said = private.line("heap").unwrap().text;
        assert_eq!(said, "dax0.0: heap: dax_mmap: fail, attempted private mapping");
    }

    #[test]
    fn row_27_heap_on_devdax_without_tags() {
        assert_eq!(shared(Backing::Devdax, ProtMte::Absent, V6_12), None);
    }

    #[test]
    fn row_29_huge_pages_since_6_13() {
        let refused = MapRefused::NotAllowed(Backing::Hugetlb);
        assert_eq!(shared(Backing::Hugetlb, ProtMte::Wanted, V6_12), Some(refused));
        for kernel in [V6_13, KernelVersion::new(6, 14), KernelVersion::new(7, 0)] {
            assert_eq!(shared(Backing::Hugetlb, ProtMte::Wanted, kernel), None, "{kernel}");
        }
    }

    #[test]
    fn row_26_rule_in_full() {
        use Backing::{Anonymous, Devdax, File, Hugetlb, Shmem};
        let all = [Anonymous, Shmem, Hugetlb, File, Devdax];
        let tagged = |kernel| {
            let allowed = |of: &Backing| mte_allowed(*of, Mte::On, kernel) == MteAllowed::Yes;
            all.into_iter().filter(allowed).collect::<Vec<_>>()
        };
        assert_eq!(tagged(V6_12), [Anonymous, Shmem]);
        assert_eq!(tagged(V6_13), [Anonymous, Shmem, Hugetlb]);
        for backing in all {
            for mte in [Mte::Absent, Mte::Disabled] {
                assert_eq!(mte_allowed(backing, mte, V6_13), MteAllowed::No);
                let refused = mprotect(backing, ProtMte::Wanted, mte, V6_13);
                assert_eq!(refused, Err(MapRefused::NoMte));
                assert_eq!(mprotect(backing, ProtMte::Absent, mte, V6_13), Ok(()));
            }
        }
    }
}
