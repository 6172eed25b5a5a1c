//! A second implementation of the free lists, slow and obvious, and random histories on which the
//! two must agree list by list, in order.
//!
//! It keeps a vector for each list and looks everything up by searching. It shares the units and
//! the enums with the code under test, and nothing else.

use std::collections::BTreeMap;

use crate::event::Event;
use crate::fallback::{Extfrag, Ownership};
use crate::gfp::AllocFlags;
use crate::migratetype::MigrateType::{
    self, Cma, HighAtomic, Isolate, Movable, Reclaimable, Unmovable,
};
use crate::profile::KernelProfile;
use crate::rmqueue::ZoneRequest;
use crate::units::{Order, Pfn};

/// Which end of its list a freed block is meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    Any,
    Tail,
}

/// A mistake that the comparison has to notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// A split hands out the upper half.
    UpperHalf,
    /// Freed blocks always go to the head.
    NeverLikely,
    /// Two buddies of the second order stay apart.
    LostMerge,
    /// The half rule of CMA compares with "at least".
    HalfRule,
    /// A pageblock is claimed with a page less than half.
    ClaimTooEarly,
    /// What is left of a block around one that was chosen goes to the tails.
    RestToTail,
}

/// What both implementations look like from outside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct View {
    pub(crate) lists: BTreeMap<(u8, MigrateType), Vec<u64>>,
    pub(crate) types: BTreeMap<u64, MigrateType>,
    pub(crate) free: u64,
    pub(crate) free_cma: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Slow {
    pub(crate) profile: KernelProfile,
    pub(crate) pageblock: u8,
    pub(crate) max: u8,
    pub(crate) span: (u64, u64),
    pub(crate) lists: BTreeMap<(u8, MigrateType), Vec<u64>>,
    pub(crate) types: BTreeMap<u64, MigrateType>,
    /// Order, and whether the holder can be migrated.
    pub(crate) held: BTreeMap<u64, (u8, bool)>,
    pub(crate) log: Vec<Event>,
    pub(crate) fault: Fault,
}

const fn size(order: u8) -> u64 {
    1 << order
}

const fn others(mt: MigrateType) -> [MigrateType; 2] {
    match mt {
        Unmovable => [Reclaimable, Movable],
        Reclaimable => [Unmovable, Movable],
        _ => [Reclaimable, Unmovable],
    }
}

const fn mixes(mt: MigrateType) -> bool {
    matches!(mt, Unmovable | Movable | Reclaimable)
}

impl Slow {
    fn block(&self, pfn: u64) -> u64 {
        pfn / size(self.pageblock) * size(self.pageblock)
    }

    fn type_of(&self, pfn: u64) -> MigrateType {
        self.types[&self.block(pfn)]
    }

    fn set_types(&mut self, pfn: u64, order: u8, mt: MigrateType) {
        let mut at = pfn;
        while at < pfn + size(order) {
            self.types.insert(self.block(at), mt);
            at += size(self.pageblock);
        }
    }

    fn list(&mut self, order: u8, mt: MigrateType) -> &mut Vec<u64> {
        self.lists.entry((order, mt)).or_default()
    }

    pub(crate) fn first(&self, order: u8, mt: MigrateType) -> Option<u64> {
        self.lists.get(&(order, mt))?.first().copied()
    }

    /// The list on which a free block of exactly this order is.
    fn where_is(&self, pfn: u64, order: u8) -> Option<MigrateType> {
        self.lists
            .iter()
            .find(|((o, _), blocks)| *o == order && blocks.contains(&pfn))
            .map(|((_, mt), _)| *mt)
    }

    fn unlist(&mut self, pfn: u64, order: u8) {
        let mt = self.where_is(pfn, order).expect("listed");
        self.list(order, mt).retain(|&p| p != pfn);
    }

    /// Takes a listed block, keeps its lower part and lists the rest with `mt`.
    fn take(&mut self, pfn: u64, from: u8, order: u8, mt: MigrateType) -> u64 {
        self.unlist(pfn, from);
        let mut pfn = pfn;
        for half in (order..from).rev() {
            let mut rest = pfn + size(half);
            if self.fault == Fault::UpperHalf {
                core::mem::swap(&mut rest, &mut pfn);
            }
            self.list(half, mt).insert(0, rest);
        }
        pfn
    }

    /// Takes a block out of the free block that has it.
    pub(crate) fn take_at(&mut self, pfn: u64, order: u8) -> Option<u64> {
        let around = |from: &u8| self.where_is(pfn / size(*from) * size(*from), *from).is_some();
        let from = (order..=self.max).find(around).filter(|_| pfn.is_multiple_of(size(order)))?;
        let mut start = pfn / size(from) * size(from);
        let mt = self.type_of(start);
        if !mixes(mt) && mt != Cma {
            return None;
        }
        self.unlist(start, from);
        for half in (order..from).rev() {
            let upper = start + size(half);
            let rest = if pfn < upper { upper } else { start };
            start = if pfn < upper { start } else { upper };
            let list = self.list(half, mt);
            let end = list.len();
            list.insert(0, rest);
            if self.fault == Fault::RestToTail {
                self.list(half, mt)[..=end].rotate_left(1);
            }
        }
        self.held.insert(pfn, (order, true));
        Some(pfn)
    }

    fn smallest(&mut self, order: u8, mt: MigrateType) -> Option<u64> {
        for from in order..=self.max {
            if let Some(pfn) = self.first(from, mt) {
                return Some(self.take(pfn, from, order, mt));
            }
        }
        None
    }

    fn smallest_logged(&mut self, order: u8, mt: MigrateType) -> Option<u64> {
        let pfn = self.smallest(order, mt)?;
        let (first, order) = (Pfn::new(pfn), Order::of(order));
        self.log.push(Event::ZoneLocked { pfn: first, order, migratetype: mt });
        Some(pfn)
    }

    fn put(&mut self, pfn: u64, order: u8, mt: MigrateType, wish: Wish) {
        let (mut pfn, mut order) = (pfn, order);
        while order < self.max {
            let buddy = pfn ^ size(order);
            if self.where_is(buddy, order).is_none() {
                break;
            }
            if self.fault == Fault::LostMerge && order == 1 {
                break;
            }
            if order >= self.pageblock {
                let theirs = self.type_of(buddy);
                if theirs != mt && !(mixes(theirs) && mixes(mt)) {
                    break;
                }
                if theirs != mt && self.profile == KernelProfile::V6_12 {
                    self.set_types(buddy, order, mt);
                }
            }
            self.unlist(buddy, order);
            pfn = pfn.min(buddy);
            order += 1;
        }
        let likely = order + 1 < self.max && {
            let parent = pfn.min(pfn ^ size(order));
            self.where_is(parent ^ size(order + 1), order + 1).is_some()
        };
        let likely = likely && self.fault != Fault::NeverLikely;
        if wish == Wish::Tail || likely {
            self.list(order, mt).push(pfn);
        } else {
            self.list(order, mt).insert(0, pfn);
        }
    }

    pub(crate) fn free(&mut self, pfn: u64, order: u8, wish: Wish) {
        self.held.remove(&pfn);
        let piece = match self.profile {
            KernelProfile::V6_1 => order,
            KernelProfile::V6_12 => order.min(self.pageblock),
        };
        let mut at = pfn;
        while at < pfn + size(order) {
            self.put(at, piece, self.type_of(at), wish);
            at += size(piece);
        }
    }

    /// First frame to look at and one past the last, or nothing.
    fn bounds(&self, pfn: u64) -> Option<(u64, u64)> {
        let (start, end) = (self.block(pfn), self.block(pfn) + size(self.pageblock));
        if end > self.span.1 {
            return None;
        }
        Some((if start < self.span.0 { pfn } else { start }, end))
    }

    /// Free and movable pages of a pageblock, frame by frame.
    fn census(&self, pfn: u64) -> (u64, u64) {
        let Some((start, end)) = self.bounds(pfn) else { return (0, 0) };
        let inside = |p: u64, head: u64, order: u8| head <= p && p < head + size(order);
        let free = |p: u64| {
            self.lists.iter().any(|((o, _), list)| list.iter().any(|&head| inside(p, head, *o)))
        };
        let moves =
            |p: u64| self.held.iter().any(|(&head, &(o, movable))| movable && inside(p, head, o));
        let count = |test: &dyn Fn(u64) -> bool| (start..end).filter(|&p| test(p)).map(|_| 1).sum();
        (count(&free), count(&moves))
    }

    /// Free blocks of a pageblock go to the tails of `mt`, ascending.
    fn move_block(&mut self, pfn: u64, mt: MigrateType) -> u64 {
        let Some((start, end)) = self.bounds(pfn) else { return 0 };
        let mut moved = 0;
        for at in start..end {
            for order in 0..=self.max {
                if self.where_is(at, order).is_some() {
                    self.unlist(at, order);
                    self.list(order, mt).push(at);
                    moved += size(order);
                    break;
                }
            }
        }
        moved
    }

    fn victim(&self, order: u8, mt: MigrateType) -> Option<MigrateType> {
        others(mt).into_iter().find(|&other| self.first(order, other).is_some())
    }

    fn can_steal(&self, order: u8, mt: MigrateType) -> bool {
        order >= self.pageblock / 2 || mt == Unmovable || mt == Reclaimable
    }

    fn enough(&self, old: MigrateType, mt: MigrateType, free: u64, movable: u64) -> bool {
        let pages = size(self.pageblock);
        let alike = match (mt, old) {
            (Movable, _) => movable,
            (_, Movable) => pages - free - movable,
            _ => 0,
        };
        let early = u64::from(self.fault == Fault::ClaimTooEarly);
        free + alike + early >= pages / 2
    }

    fn extfrag(&mut self, pfn: u64, order: u8, from: u8, mt: MigrateType, victim: MigrateType) {
        let own = self.type_of(pfn) == mt;
        self.log.push(Event::Extfrag(Extfrag {
            pfn: Pfn::new(pfn),
            alloc_order: Order::of(order),
            fallback_order: Order::of(from),
            alloc_migratetype: mt,
            fallback_migratetype: victim,
            change_ownership: if own { Ownership::Changed } else { Ownership::Kept },
        }));
    }

    /// 6.1: brings something to the own lists, if there is anything.
    fn raid(&mut self, order: u8, mt: MigrateType, least: u8) -> bool {
        for from in (least..=self.max).rev() {
            let Some(victim) = self.victim(from, mt) else { continue };
            let whole = self.can_steal(from, mt);
            let (from, victim) = if !whole && mt == Movable && from > order {
                let smaller = (order..=self.max).find(|&o| self.victim(o, mt).is_some());
                let smaller = smaller.expect("one was found");
                (smaller, self.victim(smaller, mt).expect("just seen"))
            } else {
                (from, victim)
            };
            let pfn = self.first(from, victim).expect("not empty");
            self.steal_suitable(pfn, from, mt, whole);
            self.extfrag(pfn, order, from, mt, victim);
            return true;
        }
        false
    }

    fn steal_suitable(&mut self, pfn: u64, from: u8, mt: MigrateType, whole: bool) {
        let old = self.type_of(pfn);
        if old != HighAtomic && from >= self.pageblock {
            self.set_types(pfn, from, mt);
        } else if old != HighAtomic && whole {
            let (free, movable) = self.census(pfn);
            if self.move_block(pfn, mt) > 0 {
                if self.enough(old, mt, free, movable) {
                    self.set_types(pfn, 0, mt);
                }
                return;
            }
        }
        self.unlist(pfn, from);
        self.list(from, mt).push(pfn);
    }

    /// 6.12: a whole pageblock, or nothing.
    fn claim(&mut self, order: u8, mt: MigrateType, least: u8) -> Option<u64> {
        for from in (least..=self.max).rev() {
            let Some(victim) = self.victim(from, mt) else { continue };
            if !self.can_steal(from, mt) {
                return None;
            }
            let pfn = self.first(from, victim).expect("not empty");
            let old = self.type_of(pfn);
            if old == HighAtomic {
                continue;
            }
            if from >= self.pageblock {
                self.set_types(pfn, from, mt);
                self.take(pfn, from, order, mt);
                self.extfrag(pfn, order, from, mt, victim);
                return Some(pfn);
            }
            let start = self.block(pfn);
            if start < self.span.0 || start + size(self.pageblock) > self.span.1 {
                continue;
            }
            let (free, movable) = self.census(pfn);
            if self.enough(old, mt, free, movable) {
                self.move_block(pfn, mt);
                self.set_types(pfn, 0, mt);
                let got = self.smallest_logged(order, mt).expect("at least the block seen");
                self.extfrag(got, order, from, mt, victim);
                return Some(got);
            }
        }
        None
    }

    fn steal(&mut self, order: u8, mt: MigrateType) -> Option<u64> {
        let from = (order..=self.max).find(|&o| self.victim(o, mt).is_some())?;
        let victim = self.victim(from, mt)?;
        let pfn = self.first(from, victim)?;
        self.take(pfn, from, order, victim);
        self.extfrag(pfn, order, from, mt, victim);
        Some(pfn)
    }

    fn pages_of(&self, wanted: impl Fn(MigrateType) -> bool) -> u64 {
        let listed = self.lists.iter().filter(|((_, mt), _)| wanted(*mt));
        listed.map(|((order, _), list)| list.iter().map(|_| size(*order)).sum::<u64>()).sum()
    }

    fn rmqueue(&mut self, order: u8, mt: MigrateType, flags: AllocFlags) -> Option<u64> {
        let cma = flags.contains(AllocFlags::CMA);
        let (all, lent) = (self.pages_of(|t| t != Isolate), self.pages_of(|t| t == Cma));
        let half = lent > all / 2 || self.fault == Fault::HalfRule && lent >= all / 2;
        if cma
            && half
            && let Some(pfn) = self.smallest_logged(order, Cma)
        {
            return Some(pfn);
        }
        let avoid = flags.contains(AllocFlags::NOFRAGMENT);
        let least = if avoid { order.max(self.pageblock) } else { order };
        loop {
            if let Some(pfn) = self.smallest_logged(order, mt) {
                return Some(pfn);
            }
            if cma && let Some(pfn) = self.smallest_logged(order, Cma) {
                return Some(pfn);
            }
            if self.profile == KernelProfile::V6_12 {
                let claimed = self.claim(order, mt, least);
                return claimed.or_else(|| if avoid { None } else { self.steal(order, mt) });
            }
            if !self.raid(order, mt, least) {
                return None;
            }
        }
    }

    /// `rmqueue_buddy()`.
    pub(crate) fn alloc(&mut self, request: ZoneRequest, movable: bool) -> Option<u64> {
        let (order, flags) = (request.order.get(), request.flags);
        let mut got = None;
        if flags.contains(AllocFlags::HIGHATOMIC) {
            got = self.smallest_logged(order, HighAtomic);
        }
        got = got.or_else(|| self.rmqueue(order, request.migratetype, flags));
        if got.is_none() && flags.intersects(AllocFlags::OOM | AllocFlags::NON_BLOCK) {
            got = self.smallest_logged(order, HighAtomic);
        }
        self.held.extend(got.map(|pfn| (pfn, (order, movable))));
        got
    }

    pub(crate) fn view(&self) -> View {
        let lists = self.lists.iter().filter(|(_, blocks)| !blocks.is_empty());
        View {
            lists: lists.map(|(key, blocks)| (*key, blocks.clone())).collect(),
            types: self.types.clone(),
            free: self.pages_of(|mt| mt != Isolate),
            free_cma: self.pages_of(|mt| mt == Cma),
        }
    }
}
