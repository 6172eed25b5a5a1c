//! Raiding another type's lists when the own ones are empty.
//!
//! The two rules differ in who keeps the rest: 6.1 moves blocks to the requester's lists and takes
//! from there; 6.12 claims a whole pageblock or leaves everything but the page where it was.

use crate::buddy::{Buddy, Census};
use crate::frame::FrameIndex;
use crate::frames::End;
use crate::migratetype::MigrateType;
use crate::units::{Order, PageCount, Pfn};

/// One fallback, as `mm_page_alloc_extfrag` reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extfrag {
    /// 6.1: first frame of the raided block; 6.12: the page handed out.
    pub pfn: Pfn,
    /// Order asked for.
    pub alloc_order: Order,
    /// Order of the raided block.
    pub fallback_order: Order,
    /// Type asked for.
    pub alloc_migratetype: MigrateType,
    /// Type of the raided list.
    pub fallback_migratetype: MigrateType,
    /// Whether the pageblock belongs to the requester's type now.
    pub change_ownership: Ownership,
}

/// Whether a fallback changed the pageblock's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ownership {
    /// The pageblock has the requester's type now.
    Changed,
    /// The pageblock kept its type.
    Kept,
}

/// How far a request may go into other types' lists. Linux: `ALLOC_NOFRAGMENT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fragmenting {
    /// Any block will do.
    Allowed,
    /// Whole pageblocks only.
    Avoided,
}

/// Whether pageblocks are grouped by type. Linux: `page_group_by_mobility_disabled`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grouping {
    /// They are.
    ByMobility,
    /// The machine has too few pageblocks: everything is UNMOVABLE.
    Disabled,
}

/// A raid that put blocks on the requester's lists (6.1), or found none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Raid {
    /// What the tracepoint says; `None` when there was nothing to raid.
    pub(crate) extfrag: Option<Extfrag>,
    /// How often a pageblock was up for claiming in part: each boosts the watermarks once.
    pub(crate) boosts: u32,
}

/// A page that a claim or a steal handed out (6.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Loot {
    /// The page, already allocated.
    pub(crate) index: FrameIndex,
    /// What the tracepoint says.
    pub(crate) extfrag: Extfrag,
    /// Whether the page was taken from the own lists after the claim.
    pub(crate) via_own_list: ViaOwnList,
}

/// Whether a claimed page passed through the requester's lists, which traces show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ViaOwnList {
    /// It did: `mm_page_alloc_zone_locked` precedes the fallback event.
    Yes,
    /// It was taken directly: no such event.
    No,
}

/// A request as the fallback sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raider {
    /// Order asked for.
    pub(crate) order: Order,
    /// Type asked for.
    pub(crate) mt: MigrateType,
    /// See [`Fragmenting`].
    pub(crate) fragmenting: Fragmenting,
    /// See [`Grouping`].
    pub(crate) grouping: Grouping,
}

impl Buddy {
    /// Whether a request may take a whole pageblock by one of its blocks of `order`.
    /// Linux: `can_steal_fallback()`, `should_try_claim_block()`.
    fn may_claim(&self, order: Order, raider: &Raider) -> bool {
        order.get() >= self.geometry.pageblock_order().get() / 2
            || matches!(raider.mt, MigrateType::Unmovable | MigrateType::Reclaimable)
            || raider.grouping == Grouping::Disabled
    }

    /// The type whose list of `order` would be raided. Linux: `find_suitable_fallback()`.
    fn victim(&self, order: Order, mt: MigrateType) -> Option<MigrateType> {
        mt.fallbacks().into_iter().find(|&other| !self.areas.is_empty(order, other))
    }

    /// Whether a request of `mt` could claim a pageblock through a block of `order`. Compaction
    /// stops when it can. Linux: `find_suitable_fallback(.., only_stealable)`.
    pub(crate) fn could_claim(&self, order: Order, mt: MigrateType, grouping: Grouping) -> bool {
        let raider = Raider { order, mt, fragmenting: Fragmenting::Allowed, grouping };
        self.victim(order, mt).is_some() && self.may_claim(order, &raider)
    }

    fn smallest_claim(&self, raider: &Raider) -> Order {
        match raider.fragmenting {
            Fragmenting::Avoided => raider.order.max(self.geometry.pageblock_order()),
            Fragmenting::Allowed => raider.order,
        }
    }

    /// Whether enough of the pageblock is free or of the raider's kind to take it over.
    fn is_mostly_alike(&self, old: MigrateType, census: Census, raider: &Raider) -> bool {
        let pages = self.geometry.pageblock_pages();
        let alike = match (raider.mt, old) {
            (MigrateType::Movable, _) => census.movable,
            (_, MigrateType::Movable) => pages - (census.free + census.movable),
            _ => PageCount::ZERO,
        };
        raider.grouping == Grouping::Disabled
            || census.free + alike >= PageCount::new(pages.get() / 2)
    }

    /// Moves a block, or all free blocks of its pageblock, to the raider's lists.
    /// Linux 6.1: `__rmqueue_fallback()`.
    pub(crate) fn raid(&mut self, raider: &Raider) -> Raid {
        let Some(block) = self.choose_victim(raider) else {
            return Raid { extfrag: None, boosts: 0 };
        };
        let (extfrag, boosts) = self.raid_block(block, raider);
        Raid { extfrag: Some(extfrag), boosts }
    }

    /// The block that [`raid`](Self::raid) goes for, with the order and the type of its list.
    /// Linux 6.1: the search of `__rmqueue_fallback()`.
    pub(crate) fn choose_victim(
        &self,
        raider: &Raider,
    ) -> Option<(FrameIndex, Order, MigrateType)> {
        let mut largest_first = self.smallest_claim(raider).to(self.geometry.max_order()).rev();
        let (mut order, mut victim) =
            largest_first.find_map(|order| Some((order, self.victim(order, raider.mt)?)))?;
        let whole = self.may_claim(order, raider);
        if !whole && raider.mt == MigrateType::Movable && order > raider.order {
            let smallest_first = raider.order.to(self.geometry.max_order());
            let smallest =
                smallest_first.into_iter().find_map(|o| Some((o, self.victim(o, raider.mt)?)));
            (order, victim) = smallest.expect("a larger one was found above");
        }
        Some((self.areas.first(&self.map, order, victim)?, order, victim))
    }

    /// Raids a particular block. Returns what the tracepoint says and how often the watermarks are
    /// boosted. Linux 6.1: `steal_suitable_fallback()`.
    pub(crate) fn raid_block(
        &mut self,
        block: (FrameIndex, Order, MigrateType),
        raider: &Raider,
    ) -> (Extfrag, u32) {
        let (index, order, victim) = block;
        let boosts = self.move_to_raider(index, order, raider);
        (self.extfrag(index, (order, victim), raider), boosts)
    }

    /// The move itself; returns how often the watermarks are boosted.
    fn move_to_raider(&mut self, index: FrameIndex, order: Order, raider: &Raider) -> u32 {
        let old = self.blocks.migratetype(index);
        let mut boosts = 0;
        let mut moved = PageCount::ZERO;
        if order >= self.geometry.pageblock_order() && old != MigrateType::HighAtomic {
            self.set_types(index, order, raider.mt);
        } else if old != MigrateType::HighAtomic {
            boosts = 1;
            if self.may_claim(order, raider) {
                let census = self.census(index);
                moved = self.move_free(index, raider.mt);
                if moved > PageCount::ZERO && self.is_mostly_alike(old, census, raider) {
                    self.blocks.set_migratetype(index, raider.mt);
                }
            }
        }
        if moved == PageCount::ZERO {
            self.areas.remove(&mut self.map, index, order);
            self.areas.add(&mut self.map, (index, order), raider.mt, End::Tail);
        }
        boosts
    }

    /// Takes over a whole pageblock and hands out a page of it, or changes nothing; also says how
    /// often the watermarks are boosted. Linux 6.12: `__rmqueue_claim()`.
    pub(crate) fn claim(&mut self, raider: &Raider) -> (Option<Loot>, u32) {
        let mut boosts = 0;
        for order in self.smallest_claim(raider).to(self.geometry.max_order()).rev() {
            let Some(victim) = self.victim(order, raider.mt) else { continue };
            if !self.may_claim(order, raider) {
                break;
            }
            let index = self.areas.first(&self.map, order, victim).expect("not empty");
            if self.blocks.migratetype(index) == MigrateType::HighAtomic {
                continue;
            }
            let claimed = if order >= self.geometry.pageblock_order() {
                self.set_types(index, order, raider.mt);
                self.take(index, order, raider.order, raider.mt);
                Some((index, ViaOwnList::No))
            } else {
                boosts += 1;
                self.claim_block(index, raider).map(|index| (index, ViaOwnList::Yes))
            };
            if let Some((page, via_own_list)) = claimed {
                let extfrag = self.extfrag(page, (order, victim), raider);
                return (Some(Loot { index: page, extfrag, via_own_list }), boosts);
            }
        }
        (None, boosts)
    }

    /// Linux 6.12: the second half of `try_to_claim_block()`.
    fn claim_block(&mut self, index: FrameIndex, raider: &Raider) -> Option<FrameIndex> {
        let old = self.blocks.migratetype(index);
        if !self.is_whole_block(index) || !self.is_mostly_alike(old, self.census(index), raider) {
            return None;
        }
        self.move_free(index, raider.mt);
        self.blocks.set_migratetype(index, raider.mt);
        self.take_first(raider.order, raider.mt).map(|(page, _)| page)
    }

    /// Takes one block from another type and leaves the rest with its owner.
    /// Linux 6.12: `__rmqueue_steal()`.
    pub(crate) fn steal(&mut self, raider: &Raider) -> Option<Loot> {
        let (order, victim) = raider
            .order
            .to(self.geometry.max_order())
            .find_map(|order| Some((order, self.victim(order, raider.mt)?)))?;
        let index = self.areas.first(&self.map, order, victim)?;
        self.take(index, order, raider.order, victim);
        let extfrag = self.extfrag(index, (order, victim), raider);
        Some(Loot { index, extfrag, via_own_list: ViaOwnList::No })
    }

    /// What the tracepoint says of the block at `index`, from the list of `victim`.
    fn extfrag(&self, index: FrameIndex, victim: (Order, MigrateType), raider: &Raider) -> Extfrag {
        let (fallback_order, fallback_migratetype) = victim;
        let changed = self.blocks.migratetype(index) == raider.mt;
        Extfrag {
            pfn: self.map.pfn(index),
            alloc_order: raider.order,
            fallback_order,
            alloc_migratetype: raider.mt,
            fallback_migratetype,
            change_ownership: if changed { Ownership::Changed } else { Ownership::Kept },
        }
    }
}
