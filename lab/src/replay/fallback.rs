//! Fallbacks as recorded: raids, claims and steals, each foreseen before it is carried out.

use pagelab_allocator::by_hand::{AfterSteal, Looted, Victim};
use pagelab_allocator::event::Sink;
use pagelab_allocator::fallback::{Extfrag, Ownership};
use pagelab_allocator::gfp::AllocFlags;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::pcp_by_hand::Side;
use pagelab_allocator::profile::FallbackRule;
use pagelab_allocator::units::CpuId;

use super::cause::Cause;
use super::isolation::type_of;
use super::ledger::Ledger;
use super::recorded::{PerCpu, Recorded};
use super::tally::Kind;
use crate::trace::{self, Record, TraceEvent};

/// The recorded event in the allocator's terms; `None` for types that the kernel does not have.
pub(super) fn told<S: Sink>(alloc: &PageAllocator<S>, raw: &trace::Extfrag) -> Option<Extfrag> {
    let changed = raw.change_ownership;
    Some(Extfrag {
        pfn: raw.pfn,
        alloc_order: raw.alloc_order,
        fallback_order: raw.fallback_order,
        alloc_migratetype: type_of(alloc, raw.alloc_migratetype)?,
        fallback_migratetype: type_of(alloc, raw.fallback_migratetype)?,
        change_ownership: if changed { Ownership::Changed } else { Ownership::Kept },
    })
}

impl Recorded {
    pub(super) fn extfrag(&mut self, record: &Record, raw: &trace::Extfrag, ledger: &mut Ledger) {
        let (Some(zone), Some(told)) = (self.zone(raw.pfn), told(&self.alloc, raw)) else {
            return ledger.impossible(Kind::Extfrag, record, "no such zone or type");
        };
        match self.fallback {
            FallbackRule::MoveThenTake => self.raid(record, &told, zone, ledger),
            FallbackRule::ClaimThenSteal => self.loot(record, &told, zone, ledger),
        }
    }

    /// 6.1: blocks move to the lists of the request, which takes from there.
    fn raid(&mut self, record: &Record, told: &Extfrag, zone: usize, ledger: &mut Ledger) {
        let (mt, from) = (told.alloc_migratetype, told.fallback_migratetype);
        let (order, flags) = (told.alloc_order, AllocFlags::empty());
        let victim = Victim { pfn: told.pfn, order: told.fallback_order, migratetype: from };
        let hand = self.alloc.by_hand(zone, CpuId::BOOT);
        let foreseen = hand.victim(order, mt, flags).filter(|_| hand.first(order, mt).is_none());
        let former = hand.migratetype(told.pfn);
        let known = foreseen == Some(victim);
        if !known {
            let list = (victim.order, victim.migratetype);
            let same = foreseen.is_some_and(|v| (v.order, v.migratetype) == list);
            let turned = same && from == MigrateType::Movable && self.was_compacted(zone);
            let cause = if turned { Cause::ListRotation } else { Cause::Unexplained };
            let name = |victim: Option<Victim>| victim.map_or("nothing".to_owned(), show);
            let said = (name(foreseen), name(Some(victim)));
            ledger.miss(Kind::Extfrag, cause, record, said, (&self.alloc, zone, list.0, from));
            ledger.tally.resyncs += 1;
            if turned && self.alloc.by_hand(zone, CpuId::BOOT).is_listed(victim.pfn, from) {
                self.alloc.rotate_free_list(victim.pfn, from);
            }
        }
        let recorded = told.change_ownership;
        let mut hand = self.alloc.by_hand(zone, CpuId::BOOT);
        let raided = match hand.raid(victim, order, mt, flags) {
            Ok(raided) => raided,
            Err(error) => return ledger.note(record, error),
        };
        if raided.change_ownership != recorded {
            hand.settle_ownership(told.pfn, recorded, [former.unwrap_or(from), mt]);
            let said = (fate(raided.change_ownership, mt), fate(recorded, mt));
            let at = (&self.alloc, zone, victim.order, from);
            if known {
                ledger.miss(Kind::Extfrag, Cause::Movability, record, said, at);
            }
            ledger.tally.resyncs += 1;
        } else if known {
            ledger.tally.hit(Kind::Extfrag);
        }
    }

    /// 6.12: a whole pageblock is claimed or one block stolen, and the event is all that says so.
    fn loot(&mut self, record: &Record, told: &Extfrag, zone: usize, ledger: &mut Ledger) {
        let (mt, from) = (told.alloc_migratetype, told.fallback_migratetype);
        let order = told.alloc_order;
        let stolen = self.stolen == Some((record.pid, order, mt));
        let after = if stolen { AfterSteal::Yes } else { AfterSteal::No };
        let mut hand = self.alloc.by_hand(zone, CpuId::BOOT);
        let looted = hand.claim_or_steal(order, mt, AllocFlags::empty(), after);
        match looted {
            Some(looted) if !looted.via_own_list && looted.extfrag == *told => {
                ledger.tally.hit(Kind::Extfrag);
            }
            looted => {
                let name = looted.map_or("nothing".to_owned(), |l| format!("{}", l.pfn));
                let at = (&self.alloc, zone, told.fallback_order, from);
                let said = (name, format!("{}", told.pfn));
                ledger.miss(Kind::Extfrag, Cause::Unexplained, record, said, at);
                if looted.is_none_or(|looted| looted.pfn != told.pfn) {
                    self.force(record, zone, (told.pfn, order), from, ledger);
                }
            }
        }
        let whole = told.fallback_order >= self.alloc.geometry().pageblock_order();
        let stole = told.change_ownership == Ownership::Kept && !whole;
        self.stolen = stole.then_some((record.pid, order, mt));
        if self.per_cpu == PerCpu::Kept && self.is_cached(order) {
            self.alloc.by_hand(zone, CpuId::BOOT).cache(told.pfn, order, mt, Side::Refilled);
        }
    }

    /// 6.12: the event that follows a page taken from a pageblock that was claimed in part.
    pub(super) fn finish_claim(&mut self, claimed: Looted, record: &Record, ledger: &mut Ledger) {
        let raw = match record.event {
            TraceEvent::Extfrag(raw) => Some(raw),
            _ => None,
        };
        let (extfrag, told) = (claimed.extfrag, raw.and_then(|raw| told(&self.alloc, &raw)));
        if told == Some(extfrag) {
            return ledger.tally.hit(Kind::Extfrag);
        }
        let Some(zone) = self.zone(claimed.pfn) else { return };
        let movability = told.is_some_and(|told| is_movability(&extfrag, &told));
        let cause = if movability { Cause::Movability } else { Cause::Unexplained };
        let at = (&self.alloc, zone, extfrag.fallback_order, extfrag.fallback_migratetype);
        let said = (
            format!("{}", claimed.pfn),
            raw.map_or("nothing".to_owned(), |raw| format!("{}", raw.pfn)),
        );
        ledger.miss(Kind::Extfrag, cause, record, said, at);
    }
}

/// Whether two fallbacks differ in what becomes of the pageblock, and in nothing else: how many of
/// its pages can be moved decides that. Linux: `steal_suitable_fallback()`.
pub(super) fn is_movability(said: &Extfrag, told: &Extfrag) -> bool {
    said != told && *told == (Extfrag { change_ownership: told.change_ownership, ..*said })
}

/// What becomes of a pageblock, for people.
pub(super) fn fate(ownership: Ownership, mt: MigrateType) -> String {
    match ownership {
        Ownership::Changed => format!("the pageblock becomes {mt}"),
        Ownership::Kept => "the pageblock keeps its type".to_owned(),
    }
}

fn show(victim: Victim) -> String {
    format!("{} of order {} from {}", victim.pfn, victim.order, victim.migratetype)
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::units::{Order, Pfn};

    use super::*;

    #[test]
    fn only_what_becomes_of_the_pageblock_is_put_down_to_movability() {
        let said = Extfrag {
            pfn: Pfn::new(0x1200),
            alloc_order: Order::ZERO,
            fallback_order: Order::of(3),
            alloc_migratetype: MigrateType::Unmovable,
            fallback_migratetype: MigrateType::Movable,
            change_ownership: Ownership::Changed,
        };
        let kept = Extfrag { change_ownership: Ownership::Kept, ..said };
        assert!(is_movability(&said, &kept) && is_movability(&kept, &said));
        assert!(!is_movability(&said, &said));
        assert!(!is_movability(&said, &Extfrag { pfn: Pfn::new(0x1400), ..kept }));
    }
}
