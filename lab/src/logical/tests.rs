//! Hand-made histories and a naive twin. The recorded cases are in `tests/logical.rs`.

use std::collections::BTreeMap;

use pagelab_allocator::units::{Pfn, PfnRange};
use proptest::prelude::*;

use super::*;
use crate::trace::{Comm, Isolator, Marker, Record, Scanners, TraceError, TraceEvent};

const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;

fn records(events: Vec<TraceEvent>) -> impl Iterator<Item = Result<Record, TraceError>> {
    let comm = Comm::new(b"t");
    let of = move |(line, event)| {
        let (pid, cpu, timestamp, need_resched) = (1, 0, line, false);
        Record { line, comm, pid, cpu, timestamp, need_resched, event }
    };
    (1..).zip(events).map(move |pair| Ok(of(pair)))
}

/// Runs `events` to the end: the operations, and the stream for its counts.
fn ops(events: Vec<TraceEvent>) -> (Vec<Op>, Unused) {
    let mut stream = Logical::new(records(events));
    let ops = stream.by_ref().map(|step| step.unwrap().op).collect();
    (ops, stream.unused().clone())
}

fn alloc(pfn: u64, order: u8) -> TraceEvent {
    let (pfn, order) = (Pfn::new(pfn), Order::of(order));
    TraceEvent::PageAlloc { pfn, order, migratetype: 1, gfp: USER }
}

fn target(pfn: u64) -> TraceEvent {
    let gfp = GfpFlags::USER | GfpFlags::MOVABLE | GfpFlags::RETRY_MAYFAIL;
    TraceEvent::PageAlloc { pfn: Pfn::new(pfn), order: Order::ZERO, migratetype: 1, gfp }
}

fn free(pfn: u64, order: u8) -> TraceEvent {
    TraceEvent::PageFree { pfn: Pfn::new(pfn), order: Order::of(order) }
}

fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

fn tags(frames: &[u64]) -> TraceEvent {
    TraceEvent::Marker(Marker::TagsOn(frames.iter().map(|f| Pfn::new(*f)).collect()))
}

fn alloc_op(id: u64, order: u8) -> Op {
    Op::Alloc { id: PageId(id), order: Order::of(order), gfp: USER }
}

fn free_op(id: u64, first: u32, pages: u32) -> Op {
    Op::Free { id: PageId(id), span: PageSpan { first, pages } }
}

fn tag_op(id: u64, page: u32) -> Op {
    Op::Tag { id: PageId(id), page }
}

#[test]
fn blocks_are_freed_whole_or_in_parts() {
    let (got, unused) = ops(vec![
        alloc(8, 2),
        free(9, 0),
        TraceEvent::PageFreeBatched { pfn: Pfn::new(9) },
        tags(&[8, 9, 11]),
        free(8, 2),
        alloc(8, 2),
        free(8, 2),
    ]);
    let expected = [
        alloc_op(0, 2),
        free_op(0, 1, 1),
        tag_op(0, 0),
        tag_op(0, 3),
        free_op(0, 0, 1),
        free_op(0, 2, 2),
        alloc_op(1, 2),
        free_op(1, 0, 4),
    ];
    assert_eq!(got, expected);
    assert_eq!((unused.free_batched, unused.tag_unknown, unused.free_unknown), (1, 1, 1));
}

#[test]
fn what_was_not_recorded_is_counted_or_supplied() {
    let (got, unused) = ops(vec![free(4, 1), alloc(4, 0), alloc(4, 1), free(4, 2)]);
    let expected = [alloc_op(0, 0), free_op(0, 0, 1), alloc_op(1, 1), free_op(1, 0, 2)];
    assert_eq!(got, expected);
    assert_eq!((unused.free_unknown, unused.realloc), (4, 1));
}

#[test]
fn a_contiguous_allocation_moves_what_is_in_its_way() {
    let enter = TraceEvent::ContigEnter { range: range(16, 20), migratetype: 4 };
    let trim = TraceEvent::ContigFree { range: range(20, 24) };
    let mut history = vec![
        TraceEvent::CmaAllocStart { count: PageCount::new(4), align: 0 },
        alloc(17, 0),
        enter,
        target(40),
        free(17, 0),
        target(41),
        free(41, 0),
        target(42),
        free(18, 0),
        trim,
    ];
    history.extend((20..24).map(|pfn| free(pfn, 0)));
    history.push(TraceEvent::ContigExit { ret: 0 });
    history.push(tags(&[40]));
    history.extend((16..20).map(|pfn| free(pfn, 0)));
    let (got, unused) = ops(history);
    let owner = ContigOwner::Cma;
    let mut expected = vec![
        alloc_op(0, 0),
        Op::AllocContig { id: PageId(1), pages: PageCount::new(4), owner },
        tag_op(0, 0),
    ];
    expected.extend((0..4).map(|page| free_op(1, page, 1)));
    assert_eq!(got, expected);
    assert_eq!((unused.moved_contig, unused.moved_unknown, unused.targets_returned), (1, 1, 1));
    assert_eq!((unused.contig_trimmed, unused.free_unknown), (4, 0));
}

const SCANNERS: Scanners = Scanners { zone: Pfn::new(0), migrate: Pfn::new(0), free: Pfn::new(0) };

#[test]
fn compaction_keeps_identities() {
    let isolate = TraceEvent::IsolateFreePage { pfn: Some(Pfn::new(64)), order: Order::of(2) };
    let (got, unused) = ops(vec![
        alloc(1, 0),
        alloc(2, 0),
        TraceEvent::CompactionBegin(SCANNERS),
        isolate,
        TraceEvent::IsolateFreePageExit { pages: 4, caller: Isolator::Other },
        free(1, 0),
        free(2, 0),
        free(66, 0),
        free(67, 0),
        TraceEvent::CompactionEnd(SCANNERS),
        free(65, 0),
        free(64, 0),
    ]);
    let expected = [alloc_op(0, 0), alloc_op(1, 0), free_op(1, 0, 1), free_op(0, 0, 1)];
    assert_eq!(got, expected);
    assert_eq!((unused.moved_compaction, unused.targets_returned), (2, 2));
}

/// Page by page, with a map that knows nothing of blocks.
#[derive(Default)]
struct Twin {
    pages: BTreeMap<u64, (PageId, u32)>,
    next: u64,
    log: Vec<Op>,
    unknown: u64,
}

impl Twin {
    fn free(&mut self, pfn: u64) {
        match self.pages.remove(&pfn) {
            Some((id, first)) => self.log.push(Op::Free { id, span: PageSpan { first, pages: 1 } }),
            None => self.unknown += 1,
        }
    }

    fn event(&mut self, event: &TraceEvent) {
        match event {
            TraceEvent::PageAlloc { pfn, order, .. } => {
                let frames = PfnRange::block(*pfn, *order);
                for frame in frames.iter().map(Pfn::get) {
                    if self.pages.contains_key(&frame) {
                        self.free(frame);
                    }
                }
                let id = PageId(self.next);
                self.next += 1;
                self.pages.extend(frames.iter().zip(0..).map(|(f, at)| (f.get(), (id, at))));
                self.log.push(Op::Alloc { id, order: *order, gfp: USER });
            }
            TraceEvent::PageFree { pfn, order } => {
                PfnRange::block(*pfn, *order).iter().for_each(|frame| self.free(frame.get()));
            }
            TraceEvent::Marker(Marker::TagsOn(frames)) => {
                for (id, page) in frames.iter().filter_map(|f| self.pages.get(&f.get())) {
                    self.log.push(Op::Tag { id: *id, page: *page });
                }
            }
            _ => {}
        }
    }
}

/// Frees of one page each.
fn page_by_page(ops: &[Op]) -> Vec<Op> {
    let each = |op: &Op| match *op {
        Op::Free { id, span } => (span.first..span.first + span.pages)
            .map(|first| Op::Free { id, span: PageSpan { first, pages: 1 } })
            .collect(),
        other => vec![other],
    };
    ops.iter().flat_map(each).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_naive_twin_agrees(history in proptest::collection::vec((0..3, 0_u64..32, 0_u8..4), 0..80)) {
        let events: Vec<_> = history
            .into_iter()
            .map(|(kind, pfn, order)| match kind {
                0 => alloc(pfn, order),
                1 => free(pfn, order),
                _ => tags(&[pfn, pfn + 1]),
            })
            .collect();
        let mut twin = Twin::default();
        events.iter().for_each(|event| twin.event(event));
        let mut stream = Logical::new(records(events));
        let got: Vec<_> = stream.by_ref().map(|step| step.unwrap().op).collect();
        prop_assert_eq!(page_by_page(&got), twin.log);
        prop_assert_eq!(stream.unused().free_unknown, twin.unknown);
        prop_assert_eq!(stream.live().get(), u64::try_from(twin.pages.len()).unwrap());
    }
}
