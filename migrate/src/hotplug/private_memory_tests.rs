use std::collections::BTreeMap;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::frame::{Frame, Movability};
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::units::PfnRange;
use pagelab_allocator::zone::ZoneSpec;
use proptest::prelude::*;

use super::*;
use crate::testing::{CPU, PROFILES, range, spec};

const NODE: NodeId = NodeId::new(0);

/// Half of the memory is a movable zone, and some of the rest is a CMA area.
fn spec_with_borders(at: usize) -> MachineSpec {
    let mut spec = spec(PROFILES[at], 1024, Some(cma()));
    let zone = |kind, span| ZoneSpec { kind, node: NODE, span };
    spec.zones = vec![zone(ZoneType::Normal, normal()), zone(ZoneType::Movable, movable())];
    spec
}

fn normal() -> PfnRange {
    range(0x1000, 0x1200)
}

fn movable() -> PfnRange {
    range(0x1200, 0x1400)
}

fn cma() -> PfnRange {
    range(0x1100, 0x1140)
}

fn machine(at: usize) -> PageAllocator {
    PageAllocator::boot(&spec_with_borders(at), Silent).unwrap()
}

fn pages(start: usize, end: usize) -> Range<PageOffset> {
    PageOffset(start)..PageOffset(end)
}

fn file(size: u64) -> PrivateMemory {
    PrivateMemory::create(PageCount::new(size), NODE)
}

/// What makes a page unfit to be private memory: it could be migrated, or has to be.
fn complaint(page_alloc: &PageAllocator, pfn: Pfn) -> Option<&'static str> {
    let movable = page_alloc.zone_of(pfn).is_some_and(|zone| zone.kind() == ZoneType::Movable);
    if movable {
        return Some("in a movable zone");
    }
    if page_alloc.pageblock_type(pfn) == Some(MigrateType::Cma) {
        return Some("in a CMA area");
    }
    match page_alloc.frame(pfn) {
        Frame::Allocated { head, order: Order::ZERO, movability: Movability::Unmovable }
            if head == pfn =>
        {
            None
        }
        _ => Some("not a single page that stays"),
    }
}

#[test]
fn row_15_a_hole_is_not_private_and_a_page_stays_where_it_is() {
    for profile in 0..PROFILES.len() {
        let mut page_alloc = machine(profile);
        let mut file = file(8);
        let at = PageOffset::new(3);
        assert_eq!(file.get_lock_pfn(at), Err(PrivateError::Hole(at)));
        file.fallocate(&mut page_alloc, CPU, pages(2, 6)).unwrap();
        let locked = file.get_lock_pfn(at).unwrap();
        let (pfn, order) = (locked.pfn(), locked.order());
        assert_eq!(order, Order::ZERO);
        assert_eq!(file.get_lock_pfn(at), Err(PrivateError::Locked(at)));
        file.put_unlock_pfn(locked);
        file.fallocate(&mut page_alloc, CPU, pages(0, 8)).unwrap();
        let again = file.get_lock_pfn(at).unwrap();
        assert_eq!(again.pfn(), pfn);
        file.put_unlock_pfn(again);
        assert_eq!(file.fault(&mut page_alloc, CPU, at), Ok(pfn));
        file.release(&mut page_alloc, CPU);
        page_alloc.check().unwrap();
    }
}

#[test]
fn row_15_a_hole_that_is_punched_is_free() {
    let mut page_alloc = machine(1);
    page_alloc.drain_all();
    let free = |page_alloc: &PageAllocator| -> u64 {
        let pages = |zone: &pagelab_allocator::zone::Zone| {
            zone.free_pages().all.get() + zone.pcp_pages().get()
        };
        page_alloc.zones().iter().map(pages).sum()
    };
    let before = free(&page_alloc);
    let mut file = file(8);
    file.fallocate(&mut page_alloc, CPU, pages(0, 8)).unwrap();
    assert_eq!((file.allocated(), free(&page_alloc)), (PageCount::new(8), before - 8));
    let locked = file.get_lock_pfn(PageOffset(5)).unwrap();
    let refused = file.punch_hole(&mut page_alloc, CPU, pages(4, 8)).unwrap_err();
    assert_eq!((refused, refused.errno()), (PrivateError::Locked(PageOffset(5)), Errno::Busy));
    assert_eq!(file.allocated(), PageCount::new(8), "all or nothing");
    file.put_unlock_pfn(locked);
    let freed = file.punch_hole(&mut page_alloc, CPU, pages(4, 8)).unwrap();
    assert_eq!((freed, free(&page_alloc)), (PageCount::new(4), before - 4));
    let hole = file.get_lock_pfn(PageOffset(5)).unwrap_err();
    assert_eq!(hole.errno(), Errno::Fault);
    assert_eq!(file.punch_hole(&mut page_alloc, CPU, pages(4, 8)), Ok(PageCount::ZERO));
}

#[test]
fn row_7_pages_that_stay_come_from_memory_that_need_not_move() {
    for profile in 0..PROFILES.len() {
        let mut page_alloc = machine(profile);
        let mut file = file(1024);
        let refused = file.fallocate(&mut page_alloc, CPU, pages(0, 1024)).unwrap_err();
        assert_eq!(refused.errno(), Errno::NoMem);
        let got = file.allocated().get();
        assert!((256..=512 - 64).contains(&got), "{got} pages of NORMAL without CMA");
        for pfn in file.frames() {
            assert_eq!(complaint(&page_alloc, pfn), None, "{pfn}");
            assert!(normal().contains(pfn) && !cma().contains(pfn));
        }
        file.release(&mut page_alloc, CPU);
        page_alloc.check().unwrap();
    }
}

#[test]
fn canary_pages_that_could_move() {
    let mut page_alloc = machine(0);
    let request = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
    let mut take = |request| page_alloc.alloc_pages(CPU, &request).unwrap().pfn();
    let movable = take(request);
    let two = take(AllocRequest::new(Order::of(1), GfpFlags::HIGHUSER));
    assert_eq!(complaint(&page_alloc, movable), Some("in a movable zone"));
    assert_eq!(complaint(&page_alloc, two), Some("not a single page that stays"));
    assert_eq!(complaint(&page_alloc, cma().start()), Some("in a CMA area"));
}

#[test]
fn files_keep_their_size() {
    let mut page_alloc = machine(0);
    let mut file = file(4);
    let end = PrivateError::PastEnd(PageOffset(4));
    assert_eq!(file.fallocate(&mut page_alloc, CPU, pages(2, 5)), Err(end));
    assert_eq!(file.allocated(), PageCount::ZERO);
    assert_eq!(file.punch_hole(&mut page_alloc, CPU, pages(0, 5)), Err(end));
    assert_eq!(file.get_lock_pfn(PageOffset(4)), Err(end));
    assert_eq!(file.fault(&mut page_alloc, CPU, PageOffset(4)), Err(end));
    let empty = file.fallocate(&mut page_alloc, CPU, pages(2, 2)).unwrap_err();
    assert_eq!((empty, empty.errno()), (PrivateError::Empty, Errno::Inval));
}

#[test]
#[should_panic(expected = "page 0 was locked in another file")]
fn a_page_is_put_back_to_its_own_file() {
    let mut page_alloc = machine(0);
    let (mut one, mut other) = (file(1), file(1));
    for file in [&mut one, &mut other] {
        file.fallocate(&mut page_alloc, CPU, pages(0, 1)).unwrap();
    }
    let locked = one.get_lock_pfn(PageOffset(0)).unwrap();
    other.put_unlock_pfn(locked);
}

// ---- twin --------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
enum Act {
    Fallocate(usize, usize),
    Punch(usize, usize),
    Lock(usize),
    Unlock,
    Fault(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let at = || 0_usize..14;
    let act = prop_oneof![
        (at(), at()).prop_map(|(start, end)| Act::Fallocate(start, end)),
        (at(), at()).prop_map(|(start, end)| Act::Punch(start, end)),
        at().prop_map(Act::Lock),
        Just(Act::Unlock),
        at().prop_map(Act::Fault),
    ];
    prop::collection::vec(act, 0..60)
}

const SIZE: usize = 12;

/// The file as a map from places to whether they are locked.
#[derive(Default)]
struct Twin(BTreeMap<usize, bool>);

impl Twin {
    fn range(start: usize, end: usize) -> Result<Range<usize>, PrivateError> {
        match (start < end, end <= SIZE) {
            (false, _) => Err(PrivateError::Empty),
            (true, false) => Err(PrivateError::PastEnd(PageOffset(SIZE))),
            (true, true) => Ok(start..end),
        }
    }

    fn punch(&mut self, start: usize, end: usize) -> Result<PageCount, PrivateError> {
        let range = Self::range(start, end)?;
        if let Some((at, _)) = self.0.range(range.clone()).find(|(_, locked)| **locked) {
            return Err(PrivateError::Locked(PageOffset(*at)));
        }
        let before = self.0.len();
        self.0.retain(|at, _| !range.contains(at));
        Ok(PageCount::new((before - self.0.len()) as u64))
    }

    fn lock(&mut self, at: usize) -> Result<(), PrivateError> {
        let offset = PageOffset(at);
        match self.0.get_mut(&at) {
            _ if at >= SIZE => Err(PrivateError::PastEnd(offset)),
            None => Err(PrivateError::Hole(offset)),
            Some(true) => Err(PrivateError::Locked(offset)),
            Some(locked) => {
                *locked = true;
                Ok(())
            }
        }
    }
}

proptest! {
    #[test]
    fn the_file_is_what_the_map_is(acts in acts()) {
        let mut page_alloc = machine(1);
        let (mut file, mut twin) = (file(SIZE as u64), Twin::default());
        let mut held: Vec<LockedPfn> = Vec::new();
        for act in acts {
            match act {
                Act::Fallocate(start, end) => {
                    let got = file.fallocate(&mut page_alloc, CPU, pages(start, end));
                    let range = Twin::range(start, end);
                    prop_assert_eq!(got, range.clone().map(drop));
                    for at in range.unwrap_or_default() {
                        twin.0.entry(at).or_default();
                    }
                }
                Act::Punch(start, end) => {
                    let got = file.punch_hole(&mut page_alloc, CPU, pages(start, end));
                    prop_assert_eq!(got, twin.punch(start, end));
                }
                Act::Lock(at) => {
                    let got = file.get_lock_pfn(PageOffset(at)).map(|locked| held.push(locked));
                    prop_assert_eq!(got, twin.lock(at));
                }
                Act::Unlock => {
                    if let Some(locked) = held.pop() {
                        twin.0.insert(locked.offset.0, false);
                        file.put_unlock_pfn(locked);
                    }
                }
                Act::Fault(at) => {
                    let got = file.fault(&mut page_alloc, CPU, PageOffset(at));
                    prop_assert_eq!(got.is_ok(), at < SIZE);
                    if at < SIZE {
                        twin.0.entry(at).or_default();
                    }
                }
            }
            prop_assert_eq!(file.allocated().get(), twin.0.len() as u64);
        }
        let mut frames: Vec<_> = file.frames().collect();
        frames.sort_unstable();
        frames.dedup();
        prop_assert_eq!(frames.len(), twin.0.len(), "no frame twice");
        file.release(&mut page_alloc, CPU);
        page_alloc.check().unwrap();
    }
}
