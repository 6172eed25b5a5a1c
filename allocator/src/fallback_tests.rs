//! Single decisions of a zone, as tables: which list serves, what becomes of the pageblock, what
//! is left where, and what the traces say.

use MigrateType::{Cma, Movable, Reclaimable, Unmovable};

use crate::buddy::Placement;
use crate::event::Event;
use crate::fallback::Ownership;
use crate::frame::{Head, Movability};
use crate::geometry::Geometry;
use crate::gfp::{AllocFlags, ZoneType};
use crate::migratetype::MigrateType;
use crate::pcp::Thp;
use crate::profile::KernelProfile::{self, V6_1, V6_12};
use crate::rmqueue::ZoneRequest;
use crate::units::{NodeId, Order, PageCount, Pfn, PfnRange};
use crate::zone::{Zone, ZoneSpec};

/// A pageblock: its type, free pages `[start, end)` relative to it, movable pages behind the last
/// free one. The rest is unmovable.
struct Block<'a>(MigrateType, &'a [(u64, u64)], u64);

/// Pageblock `n` of `blocks` starts at frame `n * 512`; there is no other memory.
fn zone(profile: KernelProfile, blocks: &[Block<'_>]) -> Zone {
    let len = 512 * u64::try_from(blocks.len()).unwrap();
    let span = PfnRange::new(Pfn::new(0), Pfn::new(len));
    let spec = ZoneSpec { kind: ZoneType::Normal, node: NodeId::new(0), span };
    let mut zone = Zone::new(spec, Geometry::PAGES_4K, profile, Thp::Absent, 1);
    for (n, Block(mt, free, movable)) in (0..).zip(blocks) {
        let base = Pfn::new(512 * n);
        let index = zone.buddy.index(base);
        zone.buddy.blocks.set_migratetype(index, *mt);
        let last = free.last().map_or(0, |(_, end)| *end);
        for pfn in PfnRange::from_len(base, PageCount::new(512)).iter() {
            let at = pfn.get() - base.get();
            let kind = if (last..last + movable).contains(&at) {
                Movability::Movable
            } else {
                Movability::Unmovable
            };
            let index = zone.buddy.index(pfn);
            zone.buddy.map.set_head(index, Head::Allocated(Order::ZERO, kind));
        }
        for (start, end) in *free {
            let part = PfnRange::new(Pfn::new(512 * n + start), Pfn::new(512 * n + end));
            for (pfn, order) in part.chunks(Order::of(10)) {
                let index = zone.buddy.index(pfn);
                for inner in PfnRange::block(pfn, order).iter() {
                    let inner = zone.buddy.index(inner);
                    zone.buddy.map.clear_head(inner);
                }
                zone.buddy.put_by_block(index, order, Placement::Tail);
            }
        }
        zone.managed += PageCount::new(512);
    }
    zone.check().unwrap();
    zone
}

/// What the traces say about one request, without the frame numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Say {
    /// `mm_page_alloc_zone_locked` with the type.
    Locked(MigrateType),
    /// `mm_page_alloc_extfrag` with the order and type of the victim, and the owner.
    Extfrag(u8, MigrateType, Ownership),
}

fn say(event: &Event) -> Say {
    match event {
        Event::ZoneLocked { migratetype, .. } => Say::Locked(*migratetype),
        Event::Extfrag(e) => {
            Say::Extfrag(e.fallback_order.get(), e.fallback_migratetype, e.change_ownership)
        }
        other => panic!("{other:?}"),
    }
}

fn alloc(
    zone: &mut Zone,
    order: u8,
    mt: MigrateType,
    flags: AllocFlags,
) -> (Option<u64>, Vec<Say>) {
    let mut events = Vec::new();
    let request = ZoneRequest { order: Order::of(order), migratetype: mt, flags };
    let got = zone.alloc_uncached(request, &mut events);
    zone.check().unwrap();
    (got.map(u64::from), events.iter().map(say).collect())
}

/// Free pages of pageblock 0 that are on lists of `mt`.
fn listed(zone: &Zone, mt: MigrateType) -> u64 {
    let orders = Order::ZERO.to(Order::of(10));
    let lists = orders.flat_map(|o| zone.buddy.free_list(o, mt).map(move |pfn| (pfn, o)));
    lists.filter(|(pfn, _)| pfn.get() < 512).map(|(_, o)| o.pages().get()).sum()
}

use Ownership::{Changed, Kept};

/// One pageblock of `old` is raided for one page of `mt`. Afterwards its type is `mt` or not, and
/// so many of its free pages are on lists of `mt`.
#[track_caller]
fn raid(profile: KernelProfile, mt: MigrateType, block: Block<'_>, owner: Ownership, own: u64) {
    let old = block.0;
    let mut zone = zone(profile, &[block]);
    let free = zone.free_pages().all.get();
    let (got, _) = alloc(&mut zone, 0, mt, AllocFlags::empty());
    assert!(got.is_some());
    let now = if owner == Changed { mt } else { old };
    assert_eq!(zone.buddy.migratetype(Pfn::new(0)), now, "type of the pageblock");
    assert_eq!(listed(&zone, mt), own, "free pages on the raider's lists");
    assert_eq!(zone.free_pages().all.get(), free - 1);
}

#[test]
fn half_a_pageblock_free_or_alike_is_claimed() {
    // Free and movable pages count for a movable request.
    for (free, movable, owner) in
        [(256, 0, Changed), (240, 16, Changed), (240, 15, Kept), (16, 240, Changed), (16, 0, Kept)]
    {
        let own = free - 1;
        raid(V6_1, Movable, Block(Unmovable, &[(0, free)], movable), owner, own);
        let own = if owner == Changed { own } else { 0 };
        raid(V6_12, Movable, Block(Unmovable, &[(0, free)], movable), owner, own);
    }
    // Unmovable pages count when a movable block is raided: 512 - free - movable of them.
    for (free, movable, owner) in [(1, 256, Changed), (1, 257, Kept), (8, 256, Changed)] {
        for mt in [Unmovable, Reclaimable] {
            let own = free - 1;
            raid(V6_1, mt, Block(Movable, &[(0, free)], movable), owner, own);
            let own = if owner == Changed { own } else { 0 };
            raid(V6_12, mt, Block(Movable, &[(0, free)], movable), owner, own);
        }
    }
    // Between unmovable and reclaimable only free pages count.
    for (free, owner) in [(256, Changed), (255, Kept)] {
        let own = free - 1;
        raid(V6_1, Unmovable, Block(Reclaimable, &[(0, free)], 0), owner, own);
        let own = if owner == Changed { own } else { 0 };
        raid(V6_12, Reclaimable, Block(Unmovable, &[(0, free)], 0), owner, own);
    }
}

#[test]
fn a_movable_request_that_may_not_claim_takes_the_smallest_block() {
    // Free blocks of order 3 and 1; order 4 would be needed to claim.
    let lists = [(0, 8), (16, 18)];
    let mut old = zone(V6_1, &[Block(Unmovable, &lists, 300)]);
    let (got, said) = alloc(&mut old, 0, Movable, AllocFlags::empty());
    assert_eq!(got, Some(16));
    assert_eq!(said, [Say::Extfrag(1, Unmovable, Kept), Say::Locked(Movable)]);
    assert_eq!(listed(&old, Movable), 1, "the rest of the pair changes lists");
    let mut new = zone(V6_12, &[Block(Unmovable, &lists, 300)]);
    let (got, said) = alloc(&mut new, 0, Movable, AllocFlags::empty());
    assert_eq!(got, Some(16));
    assert_eq!(said, [Say::Extfrag(1, Unmovable, Kept)]);
    assert_eq!(listed(&new, Unmovable), 9, "the rest of the pair stays");
}

#[test]
fn events_and_their_order() {
    let none = AllocFlags::empty();
    let whole = || [Block(Movable, &[(0, 512)], 0)];
    let (got, said) = alloc(&mut zone(V6_1, &whole()), 0, Unmovable, none);
    assert_eq!((got, said[0]), (Some(0), Say::Extfrag(9, Movable, Changed)));
    assert_eq!(said[1..], [Say::Locked(Unmovable)]);
    let (got, said) = alloc(&mut zone(V6_12, &whole()), 0, Unmovable, none);
    assert_eq!((got, said), (Some(0), vec![Say::Extfrag(9, Movable, Changed)]));
    let part = || [Block(Movable, &[(0, 256)], 0)];
    let (_, said) = alloc(&mut zone(V6_1, &part()), 0, Unmovable, none);
    assert_eq!(said, [Say::Extfrag(8, Movable, Changed), Say::Locked(Unmovable)]);
    let (_, said) = alloc(&mut zone(V6_12, &part()), 0, Unmovable, none);
    assert_eq!(said, [Say::Locked(Unmovable), Say::Extfrag(8, Movable, Changed)]);
}

#[test]
fn a_claim_that_fails_is_followed_by_smaller_orders() {
    // The largest block, of order 6, lies in a pageblock that is mostly used; eight blocks of
    // order 5 lie in one that is half free.
    let eight: Vec<_> = (0..8).map(|n| (64 * n, 64 * n + 32)).collect();
    let blocks = || [Block(Unmovable, &[(0, 64)], 0), Block(Unmovable, &eight, 0)];
    let mut new = zone(V6_12, &blocks());
    let (got, said) = alloc(&mut new, 0, Movable, AllocFlags::empty());
    assert_eq!(got, Some(512));
    assert_eq!(said, [Say::Locked(Movable), Say::Extfrag(5, Unmovable, Changed)]);
    assert_eq!(listed(&new, Movable), 0, "the first pageblock was left alone");
    let mut old = zone(V6_1, &blocks());
    let (got, said) = alloc(&mut old, 0, Movable, AllocFlags::empty());
    assert_eq!(got, Some(0));
    assert_eq!(said, [Say::Extfrag(6, Unmovable, Kept), Say::Locked(Movable)]);
    assert_eq!(listed(&old, Movable), 63);
}

#[test]
fn the_table_of_fallbacks_is_tried_in_order() {
    for profile in [V6_1, V6_12] {
        for (mt, first, second) in [
            (Unmovable, Reclaimable, Movable),
            (Movable, Reclaimable, Unmovable),
            (Reclaimable, Unmovable, Movable),
        ] {
            // Used pageblocks between them keep the free ones from merging.
            let used = || Block(Unmovable, &[], 0);
            let (far, near) = (Block(second, &[(0, 512)], 0), Block(first, &[(0, 512)], 0));
            let mut zone = zone(profile, &[far, used(), near, used()]);
            let (got, _) = alloc(&mut zone, 9, mt, AllocFlags::empty());
            assert_eq!(got, Some(1024), "{profile:?} {mt}");
            let (got, _) = alloc(&mut zone, 9, mt, AllocFlags::empty());
            assert_eq!(got, Some(0), "{profile:?} {mt}");
        }
    }
}

#[test]
fn nofragment_takes_whole_pageblocks_only() {
    for profile in [V6_1, V6_12] {
        let mut part = zone(profile, &[Block(Movable, &[(0, 256)], 0)]);
        assert_eq!(alloc(&mut part, 0, Unmovable, AllocFlags::NOFRAGMENT), (None, vec![]));
        assert_eq!(part.buddy.migratetype(Pfn::new(0)), Movable);
        let mut whole = zone(profile, &[Block(Movable, &[(0, 512)], 0)]);
        assert_eq!(alloc(&mut whole, 0, Unmovable, AllocFlags::NOFRAGMENT).0, Some(0));
    }
}

#[test]
fn lent_memory_is_used_before_a_fallback_and_never_retyped() {
    for profile in [V6_1, V6_12] {
        let blocks = || [Block(Cma, &[(0, 100)], 0), Block(Unmovable, &[(0, 512)], 0)];
        let (got, said) = alloc(&mut zone(profile, &blocks()), 0, Movable, AllocFlags::CMA);
        assert_eq!((got, said), (Some(96), vec![Say::Locked(Cma)]));
        let mut barred = zone(profile, &blocks());
        let (got, _) = alloc(&mut barred, 0, Movable, AllocFlags::empty());
        assert_eq!(got, Some(512));
        assert_eq!(barred.buddy.migratetype(Pfn::new(0)), Cma);
        let (got, _) = alloc(&mut zone(profile, &blocks()[..1]), 0, Movable, AllocFlags::empty());
        assert_eq!(got, None);
    }
}

#[track_caller]
fn check_half(free: u64, cma: u64, first: MigrateType) {
    for profile in [V6_1, V6_12] {
        let own = free - cma;
        let mut zone = zone(profile, &[Block(Cma, &[(0, cma)], 0), Block(Movable, &[(0, own)], 0)]);
        assert_eq!(zone.free_pages().all.get(), free);
        let (_, said) = alloc(&mut zone, 0, Movable, AllocFlags::CMA);
        assert_eq!(said, [Say::Locked(first)], "{cma} of {free}");
    }
}

#[test]
fn more_than_half_lent_means_lent_first() {
    check_half(100, 50, Movable);
    check_half(100, 51, Cma);
    check_half(101, 50, Movable);
    check_half(101, 51, Cma);
}

#[test]
fn dropping_movable_is_not_dropping_cma() {
    // Scenario S15: without MOVABLE a request claims movable pageblocks through any block; without
    // ALLOC_CMA it stays movable. Neither takes lent pages.
    for profile in [V6_1, V6_12] {
        let blocks = || [Block(Movable, &[(0, 8)], 0), Block(Cma, &[(0, 512)], 0)];
        let mut unmovable = zone(profile, &blocks());
        assert_eq!(alloc(&mut unmovable, 0, Unmovable, AllocFlags::empty()).0, Some(0));
        assert_eq!(unmovable.buddy.migratetype(Pfn::new(0)), Unmovable);
        let mut barred = zone(profile, &blocks());
        assert_eq!(alloc(&mut barred, 0, Movable, AllocFlags::empty()).0, Some(0));
        assert_eq!(barred.buddy.migratetype(Pfn::new(0)), Movable);
        for zone in [unmovable, barred] {
            assert_eq!(zone.free_pages().cma.get(), 512);
        }
    }
}

#[track_caller]
fn check_mark(free: u64, cma: u64, mark: u64, flags: AllocFlags, passes: bool) {
    for profile in [V6_1, V6_12] {
        let (lent, own) = ((0, cma.min(512)), (0, free - cma));
        let more = (0, cma.saturating_sub(512));
        let zone = zone(
            profile,
            &[Block(Cma, &[lent], 0), Block(Cma, &[more], 0), Block(Movable, &[own], 0)],
        );
        let pages = PageCount::new(mark);
        let ok = zone.watermark_ok_with(
            zone.free_pages().all,
            Order::ZERO,
            pages,
            ZoneType::Normal,
            flags,
        );
        assert_eq!(ok, passes, "{free} free, {cma} lent, mark {mark}, {flags:?}");
    }
}

#[test]
fn lent_pages_do_not_count_for_those_who_may_not_have_them() {
    let (with, without) = (AllocFlags::CMA, AllocFlags::empty());
    check_mark(1000, 800, 250, with, true);
    check_mark(1000, 800, 250, without, false);
    check_mark(300, 140, 200, with, true);
    check_mark(300, 140, 200, without, false);
    check_half(300, 140, Movable);
}

#[test]
fn reserves_shrink_the_mark_step_by_step() {
    let (high, block, oom) = (AllocFlags::MIN_RESERVE, AllocFlags::NON_BLOCK, AllocFlags::OOM);
    for (flags, floor) in [
        (AllocFlags::empty(), 400),
        (block, 400),
        (high, 200),
        (high | block, 150),
        (oom, 200),
        (high | block | oom, 75),
    ] {
        check_mark(floor + 1, 0, 400, flags, true);
        check_mark(floor, 0, 400, flags, false);
    }
}
