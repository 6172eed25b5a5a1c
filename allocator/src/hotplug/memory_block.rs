//! Memory blocks: what is onlined and offlined at a time. Linux: drivers/base/memory.c.

use crate::gfp::ZoneType;
use crate::hotplug::group::GroupId;
use crate::hotplug::platform::{Arch, Host, Platform};
use crate::hotplug::vmemmap::Memmap;
use crate::units::{NodeId, PageCount, Pfn, PfnRange};

/// Below this much memory at boot, blocks are sections. Linux: `MEM_SIZE_FOR_LARGE_BLOCK`.
const LARGE_MACHINE: u64 = 64 << 30;
/// Largest block that is chosen without being asked for. Linux: `MAX_BLOCK_SIZE`.
const LARGEST: u64 = 2 << 30;

/// Pages of a memory block on a machine whose boot memory ends at `end`.
/// Linux: `memory_block_size_bytes()`, `probe_memory_block_size()`.
///
/// `page_size` is in bytes.
#[must_use]
pub fn block_pages(platform: &Platform, end: Pfn, page_size: u64) -> PageCount {
    let section = platform.arch.section_bytes();
    let bytes = match (platform.block_size, platform.arch) {
        (Some(pages), _) => return pages,
        (None, Arch::Arm64 | Arch::Arm64Pages64K) => section,
        (None, Arch::X86) => by_size(platform, end.get() * page_size, page_size),
    };
    PageCount::new(bytes.max(section) / page_size)
}

/// The rule of x86. Linux: `probe_memory_block_size()`.
fn by_size(platform: &Platform, end: u64, page_size: u64) -> u64 {
    let section = platform.arch.section_bytes();
    let advice = platform.window_alignment.map_or(LARGEST, |pages| pages.get() * page_size);
    if end < LARGE_MACHINE {
        return section;
    }
    let limit = LARGEST.min(advice);
    if platform.host == Host::BareMetal {
        return limit;
    }
    let mut size = limit;
    while size > section && !end.is_multiple_of(size) {
        size /= 2;
    }
    size
}

/// Number of a memory block: its first frame in blocks. Linux: `memory42` in sysfs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockId(u64);

impl BlockId {
    /// Wraps a number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Where a block is between being there and being used. Linux: `MEM_ONLINE` and its like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// It has struct pages, and nobody uses it.
    Offline,
    /// The page allocator has it, in a zone of this kind.
    Online(ZoneType),
}

/// Whether anybody said no to an offline block when it was to be onlined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Nobody.
    No,
    /// A gate did; the block is in limbo.
    Yes,
}

/// Whether memory was there at boot. Linux: `early_section()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Early {
    /// It was.
    Yes,
    /// It was added later.
    No,
}

/// A memory block. Linux: `struct memory_block`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryBlock {
    /// The frames.
    pub range: PfnRange,
    /// Their node.
    pub node: NodeId,
    /// Whether the page allocator has it.
    pub state: BlockState,
    /// Whether it was vetoed last time.
    pub refused: Refused,
    /// Whether it was there at boot.
    pub early: Early,
    /// Frames of it that are memory; others are holes.
    pub present: PageCount,
    /// Frames with hardware errors. Linux: `nr_hwpoison`.
    pub poisoned: u64,
    /// What was added together with it.
    pub group: Option<GroupId>,
    /// Where its struct pages lie.
    pub memmap: Memmap,
}

impl MemoryBlock {
    /// Whether the page allocator has it.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        matches!(self.state, BlockState::Online(_))
    }

    /// Frames that are handed over when the block is onlined.
    #[must_use]
    pub fn given(&self) -> PfnRange {
        PfnRange::new(self.range.start() + self.memmap.inside(), self.range.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    #[track_caller]
    fn check(arch: Arch, host: Host, end: u64, advice: Option<u64>, mib: u64) {
        let page = if arch == Arch::Arm64Pages64K { 1 << 16 } else { 1 << 12 };
        let mut platform = Platform::new(arch, host, Pfn::new(1 << 40));
        platform.window_alignment = advice.map(|bytes| PageCount::new(bytes / page));
        let pages = block_pages(&platform, Pfn::new(end / page), page);
        assert_eq!(pages.get() * page, mib * MIB, "{arch:?} {host:?} {end:#x} {advice:?}");
    }

    #[test]
    fn row_4_sizes_of_memory_blocks() {
        use Arch::{Arm64, Arm64Pages64K, X86};
        use Host::{BareMetal, Guest};
        check(X86, BareMetal, 32 * GIB, None, 128);
        check(X86, BareMetal, 96 * GIB, None, 2048);
        check(X86, BareMetal, 96 * GIB, Some(256 * MIB), 256);
        check(X86, Guest, 96 * GIB, None, 2048);
        check(X86, Guest, 96 * GIB + 512 * MIB, None, 512);
        check(X86, Guest, 97 * GIB + 128 * MIB, None, 128);
        check(X86, Guest, 96 * GIB, Some(1024 * MIB), 1024);
        check(Arm64, BareMetal, 96 * GIB, None, 128);
        check(Arm64Pages64K, BareMetal, 96 * GIB, None, 512);
    }

    #[test]
    fn a_size_that_was_asked_for_wins() {
        let mut platform = Platform::new(Arch::X86, Host::BareMetal, Pfn::new(1 << 40));
        platform.block_size = Some(PageCount::new(GIB >> 12));
        assert_eq!(block_pages(&platform, Pfn::new((96 * GIB) >> 12), 4096).get(), GIB >> 12);
    }
}
