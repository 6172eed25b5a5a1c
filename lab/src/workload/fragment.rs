//! The injector: free memory is cut into pieces and kept so while another load runs.
//!
//! The stream cannot look at the machine, so the target is reached by arithmetic: of the pageblocks
//! taken, the target's share is freed but for one page each, the others whole. On a machine that
//! was empty before, free memory then lies in blocks below pageblock order in that proportion.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::Order;

use super::kbuild::Kbuild;
use super::script::Script;
use super::{Scale, Workload};
use crate::logical::{PageId, PageSpan};
use crate::size::Share;

/// What is cut, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentParams {
    /// Unusable free space index to reach at pageblock order, as a share. Chosen by the user;
    /// 75 % otherwise (assumed).
    pub target: Share,
    /// Share of the pages kept that cannot move; the others are anonymous memory that compaction
    /// can move away. Chosen by the user; 50 % otherwise (assumed).
    pub unmovable: Share,
    /// Pageblocks to take: seven eighths of the machine, so that boot and watermarks have room.
    /// Assumed.
    pub blocks: u32,
    /// Pageblocks cut anew in a tick, for the movable ones that compaction emptied. Assumed: one in
    /// 4096 of those taken.
    pub renewed: u32,
}

/// Order of a pageblock with 4 KiB pages.
const PAGEBLOCK: Order = Order::of(9);

impl FragmentParams {
    /// An injector for a machine with so much memory.
    #[must_use]
    pub fn new(scale: Scale, target: Share, unmovable: Share) -> Self {
        let blocks = scale.memory() / PAGEBLOCK.pages().get() * 7 / 8;
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        Self { target, unmovable, blocks, renewed: blocks.div_ceil(4096) }
    }
}

/// See [`FragmentParams`].
#[derive(Debug)]
pub struct Fragment {
    params: FragmentParams,
    load: Kbuild,
    kept: Vec<(PageId, u32)>,
}

impl Fragment {
    /// An injector beside a build.
    #[must_use]
    pub const fn new(params: FragmentParams, load: Kbuild) -> Self {
        Self { params, load, kept: Vec::new() }
    }

    /// Takes a pageblock; what it is kept apart by later may move or not.
    fn take(&self, script: &mut Script) -> PageId {
        let all = u64::from(Share::ALL);
        let unmovable = script.below(all) < u64::from(self.params.unmovable.per_10_000());
        let kind = if unmovable { GfpFlags::KERNEL } else { GfpFlags::HIGHUSER_MOVABLE };
        script.alloc(PAGEBLOCK, kind | GfpFlags::NOWARN | GfpFlags::NORETRY)
    }

    /// Frees a pageblock but for one page.
    fn cut(&mut self, script: &mut Script, id: PageId) {
        let pages = u32::try_from(PAGEBLOCK.pages().get()).expect("a small block");
        let keep = script.pages(0, pages);
        if keep > 0 {
            script.free_part(id, PageSpan { first: 0, pages: keep });
        }
        if keep + 1 < pages {
            script.free_part(id, PageSpan { first: keep + 1, pages: pages - keep - 1 });
        }
        self.kept.push((id, keep));
    }
}

impl Workload for Fragment {
    fn begin(&mut self, script: &mut Script) {
        let taken: Vec<_> = (0..self.params.blocks).map(|_| self.take(script)).collect();
        let whole = u32::try_from(PAGEBLOCK.pages().get()).expect("a small block");
        let all = u64::from(Share::ALL);
        let mut owed = 0;
        // Evenly over memory: every block adds the target's share, and each full one is cut.
        for id in taken {
            owed += u64::from(self.params.target.per_10_000());
            if owed >= all {
                owed -= all;
                self.cut(script, id);
            } else {
                script.free(id, whole);
            }
        }
    }

    fn tick(&mut self, script: &mut Script, tick: u32) {
        if tick == 1 {
            self.load.begin(script);
        }
        for _ in 0..self.params.renewed.min(u32::try_from(self.kept.len()).unwrap_or(u32::MAX)) {
            let at = script.at(self.kept.len());
            let (id, keep) = self.kept.swap_remove(at);
            script.free_part(id, PageSpan { first: keep, pages: 1 });
            let fresh = self.take(script);
            self.cut(script, fresh);
        }
        self.load.tick(script, tick);
    }
}
