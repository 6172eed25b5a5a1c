//! Frames that the free scanner took aside for migration to use.

use std::collections::VecDeque;

use pagelab_allocator::event::Sink;
use pagelab_allocator::page_alloc::{PageAllocator, Pages};
use pagelab_allocator::profile::CompactionTargets;
use pagelab_allocator::units::{Order, PageCount};

/// Isolated free blocks by order. Linux: `cc->freepages`, `cc->nr_freepages`.
#[derive(Debug, Default)]
pub(crate) struct FreePages {
    lists: [VecDeque<Pages>; Order::LIMIT.index() + 1],
    /// Blocks of the search that is under way, in the order in which they were found.
    fresh: Vec<Pages>,
    pages: PageCount,
}

impl FreePages {
    /// Pages taken aside and not used yet.
    pub(crate) const fn pages(&self) -> PageCount {
        self.pages
    }

    /// Adds a block that the scanner just found.
    pub(crate) fn add(&mut self, block: Pages) {
        self.pages += block.order().pages();
        self.fresh.push(block);
    }

    /// Ends a search: the finds become targets.
    pub(crate) fn settle<S: Sink>(&mut self, page_alloc: &mut PageAllocator<S>) {
        let targets = page_alloc.profile().rules().compaction_targets;
        for block in core::mem::take(&mut self.fresh) {
            match targets {
                // Linux 6.1, `split_map_pages()`: the last frame found is used first.
                CompactionTargets::SinglePages => {
                    for single in page_alloc.split(block, Order::ZERO) {
                        self.lists[0].push_front(single);
                    }
                }
                CompactionTargets::ByOrder => self.lists[block.order().index()].push_back(block),
            }
        }
    }

    /// Puts a block back that was not needed, before the others of its order.
    pub(crate) fn give_back(&mut self, block: Pages) {
        self.pages += block.order().pages();
        self.lists[block.order().index()].push_front(block);
    }

    /// Takes a block of exactly `order` from the smallest sufficient one; lower halves are used,
    /// upper halves wait in front. Linux 6.12: the splitting in `compaction_alloc()`.
    pub(crate) fn take<S: Sink>(
        &mut self,
        page_alloc: &mut PageAllocator<S>,
        order: Order,
    ) -> Option<Pages> {
        let list = self.lists[order.index()..].iter_mut().find(|list| !list.is_empty())?;
        let mut block = list.pop_front()?;
        while let Some(half) = block.order().down().filter(|half| *half >= order) {
            let mut halves = page_alloc.split(block, half);
            self.lists[half.index()].push_front(halves.pop()?);
            block = halves.pop()?;
        }
        self.pages -= order.pages();
        Some(block)
    }

    /// Takes every block out, smallest order first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Pages> {
        self.pages = PageCount::ZERO;
        self.lists.iter_mut().flat_map(|list| list.drain(..))
    }
}
