//! Which kernel, for rules that came with a release.

use core::fmt;

/// A release of Linux.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KernelVersion {
    /// 6 of 6.13.
    pub major: u16,
    /// 13 of 6.13.
    pub minor: u16,
}

impl KernelVersion {
    /// Huge pages of hugetlbfs can be mapped with PROT_MTE from here on.
    pub const HUGETLB_MTE: Self = Self::new(6, 13);

    /// Release `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
