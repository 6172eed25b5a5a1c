//! `gfp_flags=` as the kernels print it.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::profile::KernelProfile;

/// Names in the order in which they are looked for; the first that fits is printed and its bits are
/// done with. Linux: `__def_gfpflag_names`.
///
/// Composites stand for what the reader takes them for. A kernel's own `GFP_ATOMIC` (6.1) has one
/// bit more, and so has `GFP_NOWAIT` (6.12); neither bit makes a difference to the allocator.
const NAMES: [(&str, GfpFlags); 38] = [
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

/// Whether kernels of the profile know the flag by that name.
fn is_known(name: &str, profile: KernelProfile) -> bool {
    match profile {
        KernelProfile::V6_1 => name != "__GFP_NO_OBJ_EXT",
        KernelProfile::V6_12 => name != "__GFP_ATOMIC",
    }
}

/// The flags in the words of a kernel of `profile`: names joined by `|`, then what no name covers
/// in hexadecimal; `none` for no flags. Linux: `show_gfp_flags()`.
#[must_use]
pub fn gfp_text(gfp: GfpFlags, profile: KernelProfile) -> String {
    let (mut text, mut left) = (String::new(), gfp);
    for (name, flags) in NAMES {
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

#[cfg(test)]
mod tests {
    use super::*;

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
                assert_eq!(gfp_text(GfpFlags::parse(text).unwrap(), profile), text);
            }
        }
        for (text, profile) in [
            ("__GFP_HIGH|__GFP_ATOMIC|__GFP_ZERO", KernelProfile::V6_1),
            ("GFP_NOWAIT|__GFP_NORETRY|__GFP_COMP", KernelProfile::V6_12),
        ] {
            assert_eq!(gfp_text(GfpFlags::parse(text).unwrap(), profile), text);
        }
    }

    /// No flag is lost, whatever the combination: bit by bit and all pairs.
    #[test]
    fn text_and_flags_are_one_to_one() {
        for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
            for (a, b) in (0..32).flat_map(|a| (0..32).map(move |b| (a, b))) {
                let gfp = GfpFlags::from_bits_retain(1 << a | 1 << b);
                assert_eq!(GfpFlags::parse(&gfp_text(gfp, profile)), Ok(gfp));
            }
        }
    }
}
