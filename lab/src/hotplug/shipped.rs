//! The scenarios that are part of the program: the files of `lab/scenarios/hotplug/`.

use super::nearest::unknown;

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        /// Name and text of each, by name.
        pub const ALL: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../scenarios/hotplug/", $name, ".toml")))),*
        ];
    };
}

scenarios![
    "q01-log-volume",
    "q01-log-volume-2gib",
    "q01-log-volume-advised",
    "q01-log-volume-auto-online",
    "q01-log-volume-daxctl",
    "q01-log-volume-dyndbg",
    "q01-log-volume-ratelimited",
    "q02-cost-of-late",
    "q03-capacity-mte",
    "q03-capacity-tdx-after",
    "q03-capacity-tdx-before",
    "q04-granularity-auto-online",
    "q04-granularity-udev",
    "q04-granularity-wrong-half",
    "q04-two-pieces",
    "q05-race-a1-a2-a3-t",
    "q05-race-a1-a2-t-a3",
    "q05-race-a1-t-a2-a3",
    "q05-race-t-a1-a2-a3",
    "q05-race",
    "q06-hand-back",
    "q06-hand-back-full",
    "q06-pins-128mib",
    "q06-pins-2gib",
    "q07-tails-128mib",
    "q07-tails-1gib",
    "q07-tails-256mib",
    "q07-tails-2gib",
    "q07-tails-512mib",
    "q08-zone-21gib",
    "q08-zone-22gib",
    "q08-zone-numa-aware",
    "q09-lost-tags",
    "q10-tiering-mte",
    "q10-tiering-no-tags",
    "q10-tiering-on-access",
    "q11-private-kernel",
    "q11-private-kernel-full",
    "q11-private-kernel-memmap",
    "q11-private-kernel-memmap-full",
    "q11-private-movable",
    "q11-private-movable-full",
    "q12-pamt-fresh",
    "q12-pamt-movable",
    "q12-pamt-unmovable",
    "q13-metadata",
    "row05-boot-block-returns",
    "row06-attested-later",
    "row06-tsp",
    "row09-reject-all",
    "row10-cmr-and-state",
    "row11-cmrs-are-given",
    "row12-no-gfp-tdx",
    "row14-nvdimm",
    "row15-private-file",
    "row16-backends",
    "row17-dynamic",
    "row18-documented",
    "row19-emd-width",
    "row20-interleave",
    "row21-undefined-bit",
    "row22-window-says-no",
    "row24-deny-region",
    "row25-nomte",
    "row26-prot-mte",
    "row27-heap-on-devdax",
    "row29-hugetlb",
    "row30-memremap-on-ram",
    "row31-interchangeable",
    "row32-no-memremap",
    "row34-memory-slots",
    "row35-atomics",
    "row37-device-memory",
    "row38-private-node",
    "row39-all-movable",
    "row40-carve-out",
    "row41-virtual-dimm",
    "row42-cma-with-tags",
    "row43-cma",
    "size-1tib-full",
    "trap07-boot-cxl",
    "trap14-address-gate",
    "trap22-boot-memory",
];

/// Every one.
const EVERY: &str = "all";

/// The scenario of that name, or all of them. The beginning of a name is enough.
///
/// # Errors
///
/// Words about what was meant.
pub fn named(word: &str) -> Result<Vec<(&'static str, &'static str)>, String> {
    if word == EVERY {
        return Ok(ALL.to_vec());
    }
    if let Some(found) = ALL.iter().find(|(name, _)| *name == word) {
        return Ok(vec![*found]);
    }
    let begun: Vec<_> = ALL
        .iter()
        .filter(|(name, _)| name.strip_prefix(word).is_some_and(|rest| rest.starts_with('-')))
        .copied()
        .collect();
    if begun.is_empty() {
        let known: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        return Err(format!("no file, and scenario {}", unknown(word, &known)));
    }
    Ok(begun)
}
