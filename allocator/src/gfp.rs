//! What a caller wants (`GfpFlags`) and how hard the allocator tries (`AllocFlags`).

use core::fmt;

use crate::migratetype::MigrateType;
use crate::profile::KernelProfile;
use crate::units::Order;

bitflags::bitflags! {
    /// A request's wishes. Linux: `gfp_t`; bit values are those of 6.1.
    ///
    /// Bits that change their value between versions have one value here; the names that a version
    /// prints are resolved by [`GfpFlags::parse`] and written by [`GfpFlags::text`].
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
    pub struct GfpFlags: u32 {
        /// From ZONE_DMA only.
        const DMA = 0x1;
        /// May come from memory that the kernel cannot address directly.
        const HIGHMEM = 0x2;
        /// From ZONE_DMA32 or below.
        const DMA32 = 0x4;
        /// The page can be migrated or reclaimed.
        const MOVABLE = 0x8;
        /// Slab memory that can be shrunk.
        const RECLAIMABLE = 0x10;
        /// High priority: may use half of the reserve.
        const HIGH = 0x20;
        /// Reclaim may start I/O.
        const IO = 0x40;
        /// Reclaim may call into a file system.
        const FS = 0x80;
        /// Zero the page.
        const ZERO = 0x100;
        /// 6.1 only: cannot sleep, and uses the atomic reserves.
        const ATOMIC_BIT = 0x200;
        /// May reclaim (and so compact) directly, that is, may sleep.
        const DIRECT_RECLAIM = 0x400;
        /// May wake kswapd.
        const KSWAPD_RECLAIM = 0x800;
        /// The page will be dirtied soon.
        const WRITE = 0x1000;
        /// No warning on failure.
        const NOWARN = 0x2000;
        /// Try hard, but fail before the out-of-memory killer.
        const RETRY_MAYFAIL = 0x4000;
        /// Never fail.
        const NOFAIL = 0x8000;
        /// Give up early.
        const NORETRY = 0x1_0000;
        /// Ignore watermarks.
        const MEMALLOC = 0x2_0000;
        /// Compound page.
        const COMP = 0x4_0000;
        /// Never use the reserves.
        const NOMEMALLOC = 0x8_0000;
        /// Obey the cpuset.
        const HARDWALL = 0x10_0000;
        /// From the given node only.
        const THISNODE = 0x20_0000;
        /// Charged to a memory cgroup.
        const ACCOUNT = 0x40_0000;
        /// The page will carry MTE tags: `__GFP_ZEROTAGS`, renamed `__GFP_TAGGED` by the
        /// tag-storage series.
        const TAGGED = 0x80_0000;
        /// 6.12: no memory-profiling extension for this allocation.
        const NO_OBJ_EXT = 0x100_0000;
        /// Skip zeroing (hardware KASAN).
        const SKIP_ZERO = 0x200_0000;
        /// Skip KASAN poisoning or unpoisoning.
        const SKIP_KASAN = 0x400_0000;

        /// Both ways of reclaiming. Linux: `__GFP_RECLAIM`.
        const RECLAIM = Self::DIRECT_RECLAIM.bits() | Self::KSWAPD_RECLAIM.bits();
        /// Linux: `GFP_NOWAIT` without the NOWARN that 6.12 adds.
        const NOWAIT = Self::KSWAPD_RECLAIM.bits();
        /// Linux: `GFP_ATOMIC` of 6.12; 6.1 adds `__GFP_ATOMIC`.
        const ATOMIC = Self::HIGH.bits() | Self::KSWAPD_RECLAIM.bits();
        /// Linux: `GFP_NOIO`.
        const NOIO = Self::RECLAIM.bits();
        /// Linux: `GFP_NOFS`.
        const NOFS = Self::RECLAIM.bits() | Self::IO.bits();
        /// Linux: `GFP_KERNEL`.
        const KERNEL = Self::RECLAIM.bits() | Self::IO.bits() | Self::FS.bits();
        /// Linux: `GFP_KERNEL_ACCOUNT`.
        const KERNEL_ACCOUNT = Self::KERNEL.bits() | Self::ACCOUNT.bits();
        /// Linux: `GFP_USER`.
        const USER = Self::KERNEL.bits() | Self::HARDWALL.bits();
        /// Linux: `GFP_HIGHUSER`.
        const HIGHUSER = Self::USER.bits() | Self::HIGHMEM.bits();
        /// Linux: `GFP_HIGHUSER_MOVABLE`.
        const HIGHUSER_MOVABLE = Self::HIGHUSER.bits() | Self::MOVABLE.bits();
        /// Linux: `GFP_TRANSHUGE_LIGHT`.
        const TRANSHUGE_LIGHT = (Self::HIGHUSER_MOVABLE.bits()
            | Self::COMP.bits()
            | Self::NOMEMALLOC.bits()
            | Self::NOWARN.bits())
            & !Self::RECLAIM.bits();
        /// Linux: `GFP_TRANSHUGE`.
        const TRANSHUGE = Self::TRANSHUGE_LIGHT.bits() | Self::DIRECT_RECLAIM.bits();
    }
}

/// Names in the order in which they are looked for; the first that fits is printed and its bits are
/// done with. Linux: `__def_gfpflag_names`.
///
/// Composites stand for what the reader takes them for. A kernel's own `GFP_ATOMIC` (6.1) has one
/// bit more, and so has `GFP_NOWAIT` (6.12); neither bit makes a difference to the allocator.
const PRINTED: [(&str, GfpFlags); 38] = [
    ("GFP_TRANSHUGE", GfpFlags::TRANSHUGE),
    ("GFP_TRANSHUGE_LIGHT", GfpFlags::TRANSHUGE_LIGHT),
    ("GFP_HIGHUSER_MOVABLE", GfpFlags::HIGHUSER_MOVABLE),
    ("GFP_HIGHUSER", GfpFlags::HIGHUSER),
    ("GFP_USER", GfpFlags::USER),
    ("GFP_KERNEL_ACCOUNT", GfpFlags::KERNEL_ACCOUNT),
    ("GFP_KERNEL", GfpFlags::KERNEL),
    ("GFP_NOFS", GfpFlags::NOFS),
    ("GFP_ATOMIC", GfpFlags::ATOMIC),
    ("GFP_NOIO", GfpFlags::NOIO),
    ("GFP_NOWAIT", GfpFlags::NOWAIT),
    ("GFP_DMA", GfpFlags::DMA),
    ("__GFP_HIGHMEM", GfpFlags::HIGHMEM),
    ("GFP_DMA32", GfpFlags::DMA32),
    ("__GFP_HIGH", GfpFlags::HIGH),
    ("__GFP_ATOMIC", GfpFlags::ATOMIC_BIT),
    ("__GFP_IO", GfpFlags::IO),
    ("__GFP_FS", GfpFlags::FS),
    ("__GFP_NOWARN", GfpFlags::NOWARN),
    ("__GFP_RETRY_MAYFAIL", GfpFlags::RETRY_MAYFAIL),
    ("__GFP_NOFAIL", GfpFlags::NOFAIL),
    ("__GFP_NORETRY", GfpFlags::NORETRY),
    ("__GFP_COMP", GfpFlags::COMP),
    ("__GFP_ZERO", GfpFlags::ZERO),
    ("__GFP_NOMEMALLOC", GfpFlags::NOMEMALLOC),
    ("__GFP_MEMALLOC", GfpFlags::MEMALLOC),
    ("__GFP_HARDWALL", GfpFlags::HARDWALL),
    ("__GFP_THISNODE", GfpFlags::THISNODE),
    ("__GFP_RECLAIMABLE", GfpFlags::RECLAIMABLE),
    ("__GFP_MOVABLE", GfpFlags::MOVABLE),
    ("__GFP_ACCOUNT", GfpFlags::ACCOUNT),
    ("__GFP_WRITE", GfpFlags::WRITE),
    ("__GFP_RECLAIM", GfpFlags::RECLAIM),
    ("__GFP_DIRECT_RECLAIM", GfpFlags::DIRECT_RECLAIM),
    ("__GFP_KSWAPD_RECLAIM", GfpFlags::KSWAPD_RECLAIM),
    ("__GFP_ZEROTAGS", GfpFlags::TAGGED),
    ("__GFP_SKIP_ZERO", GfpFlags::SKIP_ZERO),
    ("__GFP_NO_OBJ_EXT", GfpFlags::NO_OBJ_EXT),
];

/// Further names by which other builds and versions print these flags; read, and never printed.
const SYNONYMS: [(&str, GfpFlags); 7] = [
    ("__GFP_DMA", GfpFlags::DMA),
    ("__GFP_DMA32", GfpFlags::DMA32),
    ("__GFP_TAGGED", GfpFlags::TAGGED),
    ("__GFP_SKIP_KASAN", GfpFlags::SKIP_KASAN),
    ("__GFP_SKIP_KASAN_POISON", GfpFlags::SKIP_KASAN),
    ("__GFP_SKIP_KASAN_UNPOISON", GfpFlags::SKIP_KASAN),
    ("none", GfpFlags::empty()),
];

/// Whether kernels of the profile know the flag by that name.
fn is_known(name: &str, profile: KernelProfile) -> bool {
    match profile {
        KernelProfile::V6_1 => name != "__GFP_NO_OBJ_EXT",
        KernelProfile::V6_12 => name != "__GFP_ATOMIC",
    }
}

/// A flag name that no kernel we know prints.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown gfp flag {0:?}")]
pub struct UnknownGfpFlag(pub String);

impl GfpFlags {
    /// Reads the kernel's text form: names joined by `|` in any order, `none`, or a remainder in
    /// hexadecimal (bits of the 6.1 numbering). Linux: `show_gfp_flags()`.
    ///
    /// # Errors
    ///
    /// [`UnknownGfpFlag`] with the offending name.
    pub fn parse(text: &str) -> Result<Self, UnknownGfpFlag> {
        text.split('|').try_fold(Self::empty(), |all, name| {
            let mut names = PRINTED.iter().chain(&SYNONYMS);
            let flag = match names.find(|(known, _)| *known == name) {
                Some((_, flag)) => *flag,
                None => name
                    .strip_prefix("0x")
                    .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                    .map(Self::from_bits_retain)
                    .ok_or_else(|| UnknownGfpFlag(name.to_owned()))?,
            };
            Ok(all | flag)
        })
    }

    /// The flags in the words of a kernel of `profile`: names joined by `|`, then what no name
    /// covers in hexadecimal; `none` for no flags. Linux: `show_gfp_flags()`.
    #[must_use]
    pub fn text(self, profile: KernelProfile) -> String {
        let (mut text, mut left) = (String::new(), self);
        for (name, flags) in PRINTED {
            if left.contains(flags) && is_known(name, profile) {
                left.remove(flags);
                text.push_str(if text.is_empty() { "" } else { "|" });
                text.push_str(name);
            }
        }
        match (text.is_empty(), left.is_empty()) {
            (true, true) => "none".to_owned(),
            (_, true) => text,
            (true, false) => format!("{:#x}", left.bits()),
            (false, false) => format!("{text}|{:#x}", left.bits()),
        }
    }

    /// The migratetype of the request. Linux: `gfp_migratetype()`.
    ///
    /// MOVABLE and RECLAIMABLE together are illegal in Linux; MOVABLE wins here.
    #[must_use]
    pub const fn migratetype(self) -> MigrateType {
        if self.contains(Self::MOVABLE) {
            MigrateType::Movable
        } else if self.contains(Self::RECLAIMABLE) {
            MigrateType::Reclaimable
        } else {
            MigrateType::Unmovable
        }
    }

    /// The highest kind of zone the request may use. Linux: `gfp_zone()`.
    #[must_use]
    pub const fn highest_zone(self) -> ZoneType {
        if self.contains(Self::DMA) {
            ZoneType::Dma
        } else if self.contains(Self::DMA32) {
            ZoneType::Dma32
        } else if self.contains(Self::MOVABLE.union(Self::HIGHMEM)) {
            ZoneType::Movable
        } else {
            ZoneType::Normal
        }
    }

    /// Flags of the slow path. Linux: `gfp_to_alloc_flags()`, for a task that is not real-time.
    #[must_use]
    pub fn slow_path_flags(self, order: Order) -> AllocFlags {
        let mut flags = AllocFlags::WMARK_MIN | AllocFlags::CPUSET;
        flags.set(AllocFlags::MIN_RESERVE, self.contains(Self::HIGH));
        flags.set(AllocFlags::KSWAPD, self.contains(Self::KSWAPD_RECLAIM));
        if !self.contains(Self::DIRECT_RECLAIM) {
            if !self.contains(Self::NOMEMALLOC) {
                flags |= AllocFlags::NON_BLOCK;
                if order > Order::ZERO && flags.contains(AllocFlags::MIN_RESERVE) {
                    flags |= AllocFlags::HIGHATOMIC;
                }
            }
            if flags.contains(AllocFlags::MIN_RESERVE) {
                flags.remove(AllocFlags::CPUSET);
            }
        }
        flags | self.cma_flag()
    }

    /// `ALLOC_CMA` for movable requests. Linux: `gfp_to_alloc_flags_cma()`.
    #[must_use]
    pub fn cma_flag(self) -> AllocFlags {
        match self.migratetype() {
            MigrateType::Movable => AllocFlags::CMA,
            _ => AllocFlags::empty(),
        }
    }
}

bitflags::bitflags! {
    /// How hard to try, and where. Linux: `ALLOC_*` in mm/internal.h.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct AllocFlags: u32 {
        /// Check against the low watermark instead of the min one.
        const WMARK_LOW = 0x1;
        /// Check against the high watermark instead of the min one.
        const WMARK_HIGH = 0x2;
        /// Do not check watermarks at all.
        const NO_WATERMARKS = 0x4;
        /// The task is being killed for memory.
        const OOM = 0x8;
        /// The caller cannot sleep.
        const NON_BLOCK = 0x10;
        /// May use half of the min reserve.
        const MIN_RESERVE = 0x20;
        /// Obey the cpuset.
        const CPUSET = 0x40;
        /// May take pages of MIGRATE_CMA.
        const CMA = 0x80;
        /// Prefer another zone to mixing types in a pageblock.
        const NOFRAGMENT = 0x100;
        /// May take pages of MIGRATE_HIGHATOMIC.
        const HIGHATOMIC = 0x200;
        /// May take pages of MIGRATE_METADATA (RFC v1 `ALLOC_FROM_METADATA`).
        const METADATA = 0x400;
        /// May wake kswapd.
        const KSWAPD = 0x800;

        /// Linux: `ALLOC_WMARK_MIN`: no watermark bit.
        const WMARK_MIN = 0;
        /// Flags that may dip into the reserves. Linux: `ALLOC_RESERVES`.
        const RESERVES = Self::NON_BLOCK.bits()
            | Self::MIN_RESERVE.bits()
            | Self::HIGHATOMIC.bits()
            | Self::OOM.bits();
    }
}

/// The kinds of zones, lowest first. Linux: `enum zone_type` on 64-bit machines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ZoneType {
    /// Memory for devices with narrow addresses; on arm64 everything below 4 GiB.
    Dma = 0,
    /// Memory below 4 GiB.
    Dma32 = 1,
    /// Ordinary memory.
    Normal = 2,
    /// Memory that holds movable pages only.
    Movable = 3,
}

impl ZoneType {
    /// Number of kinds. Linux: `MAX_NR_ZONES` without devices.
    pub const COUNT: usize = 4;
    /// Every kind, lowest first.
    pub const ALL: [Self; Self::COUNT] = [Self::Dma, Self::Dma32, Self::Normal, Self::Movable];

    /// Index into per-zone tables. Linux: `zone_idx()`.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in `/proc`. Linux: `zone_names[]`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::Movable => "Movable",
        }
    }
}

impl fmt::Display for ZoneType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: GfpFlags, mt: MigrateType, zone: ZoneType) {
        let gfp = GfpFlags::parse(text).unwrap();
        assert_eq!(gfp, expected, "{text}");
        assert_eq!((gfp.migratetype(), gfp.highest_zone()), (mt, zone), "{text}");
    }

    #[test]
    fn text_is_a_set_of_names() {
        use MigrateType::{Movable, Reclaimable, Unmovable};
        check("GFP_KERNEL", GfpFlags::from_bits_retain(0xcc0), Unmovable, ZoneType::Normal);
        check(
            "GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP",
            GfpFlags::from_bits_retain(0x14_0dca),
            Movable,
            ZoneType::Movable,
        );
        check(
            "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO",
            GfpFlags::from_bits_retain(0x14_0dca),
            Movable,
            ZoneType::Movable,
        );
        check(
            "GFP_NOFS|__GFP_RECLAIMABLE",
            GfpFlags::from_bits_retain(0xc50),
            Reclaimable,
            ZoneType::Normal,
        );
        check(
            "GFP_KERNEL|GFP_DMA32",
            GfpFlags::from_bits_retain(0xcc4),
            Unmovable,
            ZoneType::Dma32,
        );
        check("none", GfpFlags::empty(), Unmovable, ZoneType::Normal);
        check("GFP_KERNEL|0x8", GfpFlags::from_bits_retain(0xcc8), Movable, ZoneType::Normal);
        assert_eq!(GfpFlags::parse("GFP_KERNEL|GFP_HUH"), Err(UnknownGfpFlag("GFP_HUH".into())));
    }

    #[test]
    fn composites_have_the_documented_values() {
        assert_eq!(GfpFlags::HIGHUSER_MOVABLE.bits(), 0x10_0cca);
        assert_eq!(GfpFlags::KERNEL_ACCOUNT.bits(), 0x40_0cc0);
        assert_eq!(GfpFlags::NOFS.bits(), 0xc40);
        assert!(!GfpFlags::TRANSHUGE_LIGHT.intersects(GfpFlags::RECLAIM));
    }

    #[test]
    fn slow_path_flags_follow_the_caller() {
        let atomic = GfpFlags::ATOMIC.slow_path_flags(Order::of(1));
        assert!(
            atomic
                .contains(AllocFlags::NON_BLOCK | AllocFlags::MIN_RESERVE | AllocFlags::HIGHATOMIC)
        );
        assert!(!atomic.contains(AllocFlags::CPUSET));
        let user = GfpFlags::HIGHUSER_MOVABLE.slow_path_flags(Order::ZERO);
        assert_eq!(user, AllocFlags::CPUSET | AllocFlags::KSWAPD | AllocFlags::CMA);
    }

    /// What the recorded kernels printed, letter for letter.
    #[test]
    fn recorded_texts_come_back() {
        let both = [
            "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO|__GFP_ZEROTAGS",
            "GFP_HIGHUSER_MOVABLE|__GFP_NOWARN|__GFP_RETRY_MAYFAIL|__GFP_COMP|__GFP_THISNODE",
            "GFP_HIGHUSER|__GFP_ACCOUNT",
            "GFP_USER|__GFP_RETRY_MAYFAIL|__GFP_COMP|__GFP_MOVABLE",
            "GFP_KERNEL_ACCOUNT|__GFP_COMP|__GFP_ZERO",
            "GFP_KERNEL|GFP_DMA32|__GFP_NOWARN",
            "GFP_KERNEL|GFP_DMA|__GFP_NOWARN",
            "GFP_NOFS|__GFP_HIGHMEM|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP|__GFP_HARDWALL|__GFP_MOVABLE",
            "GFP_NOWAIT|__GFP_IO|__GFP_FS|__GFP_NOWARN|__GFP_NORETRY|__GFP_NOMEMALLOC",
            "GFP_ATOMIC|__GFP_NOWARN|__GFP_NORETRY|__GFP_RECLAIMABLE",
            "__GFP_IO|__GFP_FS|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP|__GFP_NOMEMALLOC",
            "none",
        ];
        for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
            for text in both {
                assert_eq!(GfpFlags::parse(text).unwrap().text(profile), text);
            }
        }
        for (text, profile) in [
            ("__GFP_HIGH|__GFP_ATOMIC|__GFP_ZERO", KernelProfile::V6_1),
            ("GFP_NOWAIT|__GFP_NORETRY|__GFP_COMP", KernelProfile::V6_12),
        ] {
            assert_eq!(GfpFlags::parse(text).unwrap().text(profile), text);
        }
    }

    /// No flag is lost, whatever the combination: bit by bit and all pairs.
    #[test]
    fn text_and_flags_are_one_to_one() {
        for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
            for (a, b) in (0..32).flat_map(|a| (0..32).map(move |b| (a, b))) {
                let gfp = GfpFlags::from_bits_retain(1 << a | 1 << b);
                assert_eq!(GfpFlags::parse(&gfp.text(profile)), Ok(gfp));
            }
        }
    }
}
