//! Where the allocations of a stream are, and what their flags say they are.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, Pfn, PfnRange};
use pagelab_migrate::folio::{FolioId, SpaceId, VirtPage};
use pagelab_migrate::page_cache::FilePage;

/// Where an allocation of the trace is on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// Mapped at this address.
    Mapped(SpaceId, VirtPage),
    /// A block; its pages apart once one of them was freed.
    Block(FolioId, Order),
    /// Pages of a block, by place; `None` where freed.
    Pages(Box<[Option<FolioId>]>),
    /// What is left of a claimed range.
    Contig(Box<Claimed>),
    /// A page of the file that stands for all page cache of the trace; perhaps reclaimed since.
    Cached(FilePage),
    /// The request failed.
    Missing,
}

/// A claimed range of which parts may have been freed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Claimed {
    /// Where it began.
    pub(super) start: Pfn,
    /// What is not freed.
    pub(super) left: Vec<PfnRange>,
    /// The CMA area it came from.
    pub(super) area: Option<usize>,
}

impl Claimed {
    /// Takes a part out; `None` unless all of it is still there.
    pub(super) fn take(&mut self, part: PfnRange) -> Option<PfnRange> {
        let at = self.left.iter().position(|range| range.covers(part))?;
        let whole = self.left.swap_remove(at);
        let rest =
            [PfnRange::new(whole.start(), part.start()), PfnRange::new(part.end(), whole.end())];
        self.left.extend(rest.into_iter().filter(|range| !range.is_empty()));
        Some(part)
    }
}

/// Whether a request of a recording is for page cache: movable memory for user space that readahead
/// asked for (it neither retries nor warns), that is about to be written, or that must not enter
/// file systems. Large anonymous pages may not use reserves, page cache may.
#[must_use]
pub fn is_page_cache(gfp: GfpFlags) -> bool {
    let movable = GfpFlags::HIGHUSER_MOVABLE.difference(GfpFlags::FS);
    let ahead = gfp.contains(GfpFlags::NORETRY | GfpFlags::NOWARN);
    let in_file_system = !gfp.contains(GfpFlags::FS);
    gfp.contains(movable)
        && !gfp.intersects(GfpFlags::ZERO | GfpFlags::TAGGED | GfpFlags::NOMEMALLOC)
        && (ahead || gfp.contains(GfpFlags::WRITE) || in_file_system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_tell_page_cache_from_anonymous_memory() {
        let user = GfpFlags::HIGHUSER_MOVABLE;
        for (gfp, cached) in [
            (user | GfpFlags::NORETRY | GfpFlags::NOWARN, true),
            (user | GfpFlags::WRITE, true),
            (user.difference(GfpFlags::FS), true),
            // Anonymous memory: a first touch, a copy on write, a huge page, a tagged page.
            (user | GfpFlags::ZERO, false),
            (user, false),
            (GfpFlags::TRANSHUGE | GfpFlags::NORETRY, false),
            (user | GfpFlags::ZERO | GfpFlags::TAGGED, false),
            // Not for user space, or not movable.
            (GfpFlags::KERNEL | GfpFlags::NORETRY | GfpFlags::NOWARN, false),
            (GfpFlags::HIGHUSER | GfpFlags::WRITE, false),
        ] {
            assert_eq!(is_page_cache(gfp), cached, "{gfp:?}");
        }
    }
}
