//! The injector of the workload `fragment`: it looks at free memory and brings the unusable free
//! space index back to its target, as a module of a kernel would.

use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{CpuId, Order, Pfn};
use pagelab_migrate::folio::FolioId;

use super::Driver;
use crate::logical::process::Hold;
use crate::size::Share;

/// What the injector has.
#[derive(Debug, Default)]
pub(super) struct Injector {
    /// The pages that keep pageblocks apart, each the last of its block.
    kept: Vec<FolioId>,
    /// Blocks cut so far: which page of a block stays, and whether it may move, goes by this
    /// number.
    cut: u64,
}

impl Injector {
    /// The pages, for the machine's end.
    pub(super) fn into_kept(self) -> Vec<FolioId> {
        self.kept
    }
}

/// What is to be done about free memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Too much of it is in whole pageblocks.
    Cut,
    /// Too much of it is in pieces.
    Mend,
    /// Neither.
    Fine,
}

impl<S: Sink> Driver<S> {
    /// Cuts and mends pageblocks until the index is at its target, or nothing more can be done.
    pub(super) fn hold(&mut self, hold: Hold) {
        loop {
            let done = match self.verdict(hold.index) {
                Verdict::Cut => self.cut_one(hold.unmovable),
                Verdict::Mend => self.mend_one(),
                Verdict::Fine => return,
            };
            if done.is_none() {
                return;
            }
        }
    }

    fn pageblock(&self) -> Order {
        self.emulator.page_alloc().geometry().pageblock_order()
    }

    fn verdict(&self, target: Share) -> Verdict {
        let (order, block) = (self.pageblock(), self.pageblock().pages().get());
        let free = self.emulator.page_alloc().free_blocks();
        let apart = free.pages() - (free.suitable(order) << order.get());
        let wanted = free.pages() * u64::from(target.per_10_000()) / u64::from(Share::ALL);
        if apart + block <= wanted {
            Verdict::Cut
        } else if apart >= wanted + block {
            Verdict::Mend
        } else {
            Verdict::Fine
        }
    }

    /// Takes a pageblock and frees it but for one page.
    fn cut_one(&mut self, unmovable: Share) -> Option<()> {
        let (number, all) = (self.processes.injector.cut, u64::from(Share::ALL));
        let due = |number: u64| number * u64::from(unmovable.per_10_000()) / all;
        let kind = match due(number + 1) > due(number) {
            true => GfpFlags::KERNEL,
            false => GfpFlags::HIGHUSER_MOVABLE,
        };
        let gfp = kind | GfpFlags::NOWARN | GfpFlags::NORETRY;
        let order = self.pageblock();
        let block = self.emulator.allocate(CpuId::BOOT, order, gfp).ok()?;
        let pages = self.split(block);
        // 197 and 512 have no common divisor: every place has its turn.
        let place = number * 197 % order.pages().get();
        for (at, page) in (0..).zip(pages.into_iter().flatten()) {
            if at == place {
                self.processes.injector.kept.push(page);
            } else {
                self.emulator.free(CpuId::BOOT, page);
            }
        }
        self.processes.injector.cut += 1;
        Some(())
    }

    /// Gives back a page without which its pageblock is whole.
    fn mend_one(&mut self) -> Option<()> {
        self.emulator.drain();
        let apart = |page: &FolioId| self.is_all_that_holds(self.emulator.folios()[*page].pfn());
        let at = self.processes.injector.kept.iter().position(apart)?;
        let page = self.processes.injector.kept.swap_remove(at);
        self.emulator.free(CpuId::BOOT, page);
        self.emulator.drain();
        Some(())
    }

    /// Whether the rest of the page's pageblock is free.
    fn is_all_that_holds(&self, page: Pfn) -> bool {
        Order::ZERO.to(self.pageblock()).filter(|order| *order < self.pageblock()).all(|order| {
            let half = Pfn::new((page.get() ^ order.pages().get()) & !(order.pages().get() - 1));
            matches!(self.emulator.frame(half), Frame::Free { head, .. } if head == half)
        })
    }
}
