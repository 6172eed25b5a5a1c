//! The recorded case that a bare `pagelab` runs: arm64, 512 MiB, MTE.
//!
//! A Debian 12 kernel (6.1.192) under QEMU; a program made pages `PROT_MTE` in random order,
//! punched holes and reused them.

use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{PageCount, Pfn};

use crate::case_meta::{CaseMeta, CaseZone};

/// Name of the case; errors call the trace so.
pub const NAME: &str = "arm64-512-mte-s7";

/// The trace, as recorded: zstd-compressed ftrace text.
pub const TRACE: &[u8] = include_bytes!("../data/arm64-512-mte-s7.trace.zst");

/// Pages on the buddy lists at `SNAP 0`. Source: `nr_free_pages` of that snapshot's vmstat, which
/// equals the lists in the dumped memory.
pub const FREE_AT_START: PageCount = PageCount::new(99_781);

/// Pages on the per-CPU lists at `SNAP 0`, free as well. Source: `count` of the dumped per-CPU
/// page lists.
pub const PER_CPU_AT_START: PageCount = PageCount::new(199);

/// The machine. Source: the case's `meta.json`; the frames of the zone start at 1 GiB, and the CMA
/// area (`cma=32M` on the kernel's command line) lies at `[0x5d600, 0x5f600)`.
#[must_use]
pub fn meta() -> CaseMeta {
    CaseMeta {
        name: NAME.to_owned(),
        mem_mib: 512,
        kernel: "6.1.0-56-arm64".to_owned(),
        profile: Some(KernelProfile::V6_1),
        zones: vec![CaseZone {
            kind: ZoneType::Dma,
            start: Pfn::new(0x40000),
            spanned: PageCount::new(131_072),
            present: PageCount::new(131_072),
            managed: PageCount::new(121_665),
            cma: PageCount::new(8192),
        }],
    }
}

/// Pages in use at `SNAP 0`, whether the trace saw their allocation or not: managed pages that are
/// on no list.
#[must_use]
pub fn in_use_at_start() -> PageCount {
    meta().managed() - FREE_AT_START - PER_CPU_AT_START
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical::{Logical, Op};
    use crate::trace::{Strictness, TraceReader};

    #[test]
    fn the_case_is_whole() {
        let reader = TraceReader::new(NAME, TRACE, Strictness::Strict).unwrap();
        let mut stream = Logical::new(reader);
        let tags = stream.by_ref().filter(|s| matches!(s.as_ref().unwrap().op, Op::Tag { .. }));
        assert_eq!(tags.count(), 23_042);
        assert_eq!(stream.peak(), PageCount::new(26_403));
        assert_eq!(in_use_at_start(), PageCount::new(21_685));
    }
}
