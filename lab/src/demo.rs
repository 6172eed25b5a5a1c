//! The recorded case that a bare `pagelab` runs: arm64, 512 MiB, MTE.
//!
//! A Debian 12 kernel (6.1.192) under QEMU; a program made pages `PROT_MTE` in random order,
//! punched holes and reused them.

use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{PageCount, Pfn};

use crate::background::Background;
use crate::case::meta::{CaseMeta, CaseZone};

/// Name of the case; errors call the trace so.
pub const NAME: &str = "arm64-512-mte-s7";

/// The trace, as recorded: zstd-compressed ftrace text.
pub const TRACE: &[u8] = include_bytes!("../data/arm64-512-mte-s7.trace.zst");

/// /proc/zoneinfo at `SNAP 0`, as recorded.
const ZONEINFO: &str = include_str!("../data/arm64-512-mte-s7.snap-0.zoneinfo.txt");

/// Memory of the demonstration's machine, bytes: half of the recorded one's, so that memory is
/// tight enough for the designs to differ.
pub const MEMORY: u64 = 256 << 20;

/// The machine. Source: the case's `meta.json`; the frames of the zone start at 1 GiB, and the CMA
/// area (`cma=32M` on the kernel's command line) lies at `[0x5d600, 0x5f600)`.
#[must_use]
pub fn meta() -> CaseMeta {
    CaseMeta {
        design: None,
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
        cmdline: String::new(),
        snapshots: 0,
        hz: None,
    }
}

/// What was in use at `SNAP 0`.
///
/// # Panics
///
/// Never: the text is part of this program, and a test reads it.
#[must_use]
pub fn background() -> Background {
    Background::parse(NAME, ZONEINFO).expect("the recorded text is whole")
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
        let (background, meta) = (background(), meta());
        assert_eq!(background.allocated(), PageCount::new(121_665 - 99_781 - 199));
        assert_eq!(meta.zones[0].present - background.reserved, meta.managed());
    }
}
