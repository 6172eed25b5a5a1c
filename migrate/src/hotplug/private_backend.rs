//! What can hold the private memory of a confidential guest.

use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::errno::Errno;

/// A file or mapping that memory comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// Anonymous memory.
    Anonymous,
    /// A memfd on shmem.
    Shmem,
    /// A memfd of huge pages.
    Hugetlbfs,
    /// A character device of memory.
    Devdax,
    /// KVM's own file. Linux: virt/kvm/guest_memfd.c, since 6.8.
    GuestMemfd,
}

/// How KVM asks for a page behind a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// Callbacks that each backend implements: `memfile_pfn_ops` of 2022, not merged.
    Memfile,
    /// KVM's own file only.
    GuestMemfd,
}

/// Why a backend will not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendRefused {
    /// It has no such callbacks.
    #[error("{0:?} memory cannot be a guest's private memory")]
    Unable(Backend),
    /// Its memory cannot do what the guest needs.
    #[error("the memory lacks {0}")]
    Lacks(Caps),
}

impl BackendRefused {
    /// What binding it to a guest returns.
    #[must_use]
    pub const fn errno(self) -> Errno {
        Errno::Inval
    }
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Anonymous, Self::Shmem, Self::Hugetlbfs, Self::Devdax, Self::GuestMemfd];

    /// Whether memory that can do `caps` may be private memory of a guest that needs `needs`.
    ///
    /// For backends that allocate, `caps` is what all of the page allocator's memory can do: there
    /// is no flag to ask for pages that can do more. A device's is its own.
    ///
    /// # Errors
    ///
    /// [`BackendRefused`].
    pub fn allowed(
        self,
        interface: Interface,
        caps: Caps,
        needs: Caps,
    ) -> Result<(), BackendRefused> {
        let able = match interface {
            Interface::Memfile => matches!(self, Self::Shmem | Self::Hugetlbfs | Self::Devdax),
            Interface::GuestMemfd => self == Self::GuestMemfd,
        };
        if !able {
            return Err(BackendRefused::Unable(self));
        }
        let lacks = needs.difference(caps);
        if lacks.is_empty() { Ok(()) } else { Err(BackendRefused::Lacks(lacks)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able(interface: Interface, caps: Caps) -> Vec<Backend> {
        let able = |of: &Backend| of.allowed(interface, caps, Caps::TEE).is_ok();
        Backend::ALL.into_iter().filter(able).collect()
    }

    #[test]
    fn row_16_backends_of_2022_and_of_today() {
        let of_2022 = [Backend::Shmem, Backend::Hugetlbfs, Backend::Devdax];
        assert_eq!(able(Interface::Memfile, Caps::TEE), of_2022);
        assert_eq!(able(Interface::GuestMemfd, Caps::TEE), [Backend::GuestMemfd]);
    }

    #[test]
    fn row_16_devdax_without_tee() {
        let caps = Caps::VOLATILE | Caps::ATOMICS;
        let refused = Backend::Devdax.allowed(Interface::Memfile, caps, Caps::TEE).unwrap_err();
        assert_eq!((refused, refused.errno()), (BackendRefused::Lacks(Caps::TEE), Errno::Inval));
        assert_eq!(refused.to_string(), "the memory lacks tee");
        assert_eq!(Backend::Devdax.allowed(Interface::Memfile, caps, Caps::empty()), Ok(()));
        let today = Backend::Devdax.allowed(Interface::GuestMemfd, Caps::all(), Caps::TEE);
        assert_eq!(today, Err(BackendRefused::Unable(Backend::Devdax)));
        assert_eq!(able(Interface::Memfile, caps), []);
    }
}
