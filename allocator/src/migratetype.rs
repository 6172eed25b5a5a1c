//! Migratetypes, the table of fallbacks, and the set of types a kernel was built with.

use core::fmt;

/// What may live in a pageblock. Linux: `enum migratetype`.
///
/// The discriminants are ours. Linux numbers only the types it was built with; see
/// [`TypeSet::number`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum MigrateType {
    /// Kernel allocations that can never move.
    Unmovable = 0,
    /// User pages and everything else that can be migrated.
    Movable = 1,
    /// Slabs that can be shrunk.
    Reclaimable = 2,
    /// Kept back for high-order atomic requests.
    HighAtomic = 3,
    /// Lent to movable requests until its owner asks for it. Linux: `CONFIG_CMA`.
    Cma = 4,
    /// Tag storage lent out by the first tag-storage series (RFC v1 `MIGRATE_METADATA`).
    Metadata = 5,
    /// Being emptied: nothing is allocated from here. Linux: `CONFIG_MEMORY_ISOLATION`.
    Isolate = 6,
}

impl MigrateType {
    /// Number of variants; per-type tables have this length.
    pub const COUNT: usize = 7;
    /// Every type in display order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Unmovable,
        Self::Movable,
        Self::Reclaimable,
        Self::HighAtomic,
        Self::Cma,
        Self::Metadata,
        Self::Isolate,
    ];
    /// The types that have per-CPU lists. Linux: `MIGRATE_PCPTYPES`.
    pub const PCP: [Self; 3] = [Self::Unmovable, Self::Movable, Self::Reclaimable];

    /// Index into per-type tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The type with this index.
    ///
    /// # Panics
    ///
    /// Panics when `index` is not below [`MigrateType::COUNT`].
    #[must_use]
    pub const fn from_index(index: usize) -> Self {
        Self::ALL[index]
    }

    /// The name in `/proc/pagetypeinfo`. Linux: `migratetype_names[]`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Cma => "CMA",
            Self::Metadata => "Metadata",
            Self::Isolate => "Isolate",
        }
    }

    /// Whether freed pages of such a pageblock go past the per-CPU lists.
    /// Linux: `free_unref_page()` of isolated pages; RFC v1 of METADATA.
    #[inline]
    pub(crate) const fn bypasses_pcp(self) -> bool {
        matches!(self, Self::Isolate | Self::Metadata)
    }

    /// Whether free blocks may merge across a pageblock boundary with another mergeable type.
    /// Linux: `migratetype_is_mergeable()`.
    #[must_use]
    pub const fn is_mergeable(self) -> bool {
        (self as u8) < 3
    }

    /// Whether pages of this type may be migrated. Linux: `is_migrate_movable()`.
    #[must_use]
    pub const fn is_movable(self) -> bool {
        matches!(self, Self::Movable | Self::Cma | Self::Metadata)
    }

    /// Where to look when the own lists are empty, best first. Linux: `fallbacks[]`.
    #[must_use]
    pub const fn fallbacks(self) -> [Self; 2] {
        match self {
            Self::Unmovable => [Self::Reclaimable, Self::Movable],
            Self::Reclaimable => [Self::Unmovable, Self::Movable],
            _ => [Self::Reclaimable, Self::Unmovable],
        }
    }
}

impl fmt::Display for MigrateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The migratetypes a kernel was built with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TypeSet {
    bits: u8,
}

impl TypeSet {
    const BASE: u8 = 0b100_1111;
    /// Without `CONFIG_CMA`: Debian's amd64 kernels.
    pub const WITHOUT_CMA: Self = Self { bits: Self::BASE };
    /// With `CONFIG_CMA`: Debian's arm64 kernels.
    pub const WITH_CMA: Self = Self { bits: Self::BASE | 1 << MigrateType::Cma as u8 };
    /// With `CONFIG_CMA` and the tag-storage type of RFC v1.
    pub const WITH_METADATA: Self =
        Self { bits: Self::BASE | 1 << MigrateType::Cma as u8 | 1 << MigrateType::Metadata as u8 };

    /// Whether the kernel knows `mt`.
    #[must_use]
    pub const fn contains(self, mt: MigrateType) -> bool {
        self.bits >> mt as u8 & 1 == 1
    }

    /// The types of the set in Linux's order.
    pub fn iter(self) -> impl Iterator<Item = MigrateType> {
        MigrateType::ALL.into_iter().filter(move |&mt| self.contains(mt))
    }

    /// Number of types. Linux: `MIGRATE_TYPES`.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.bits.count_ones()
    }

    /// Never: the first three types always exist.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// The number that traces of such a kernel print for `mt`; `None` when it has no such type.
    #[must_use]
    pub fn number(self, mt: MigrateType) -> Option<usize> {
        self.iter().position(|t| t == mt)
    }

    /// The type that traces of such a kernel print as `number`.
    #[must_use]
    pub fn from_number(self, number: usize) -> Option<MigrateType> {
        self.iter().nth(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_the_build() {
        assert_eq!(TypeSet::WITHOUT_CMA.number(MigrateType::Isolate), Some(4));
        assert_eq!(TypeSet::WITHOUT_CMA.number(MigrateType::Cma), None);
        assert_eq!(TypeSet::WITH_CMA.number(MigrateType::Isolate), Some(5));
        assert_eq!(TypeSet::WITH_METADATA.number(MigrateType::Metadata), Some(5));
        assert_eq!(TypeSet::WITH_CMA.from_number(4), Some(MigrateType::Cma));
        assert_eq!(TypeSet::WITH_CMA.from_number(6), None);
    }

    #[test]
    fn cma_is_never_a_fallback() {
        for mt in MigrateType::PCP {
            assert!(mt.fallbacks().iter().all(|f| f.is_mergeable() && *f != mt));
        }
    }
}
