//! A run written down is read back as it was, and holds what a replay needs.

mod emitted;

use pagelab::case::{freelists::FreeLists, pageblocks, text::CaseText};
use pagelab::emit::{self, Kernel, Task, TraceWriter};
use pagelab::plan::Design;
use pagelab::trace::{Record, Strictness, TraceError, TraceReader};
use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::buddy::Placement;
use pagelab_allocator::event::{CompactionScan, Event, Isolation, Migration, Silent};
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::pcp::CacheSlice;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::emulator::{Emulator, EmulatorSpec};

use emitted::{Written, expected};

const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];

/// Reads strictly: a line that cannot be read is an error.
fn read(text: &str) -> Result<Vec<Record>, TraceError> {
    TraceReader::new("emitted", text.as_bytes(), Strictness::Strict)?.collect()
}

/// Where text and events disagree first, or where the text cannot be read; `None` when they say the
/// same.
fn first_difference(text: &str, written: &Written) -> Option<usize> {
    let expected: Vec<_> = written
        .events
        .iter()
        .flat_map(|(pid, event)| expected(event, &written.kernel).into_iter().map(|e| (*pid, e)))
        .collect();
    let found = match read(text) {
        Ok(records) => records,
        Err(error) => return usize::try_from(error.line).ok(),
    };
    let found: Vec<_> = found.into_iter().map(|r| (r.pid, r.event)).collect();
    let at = expected.iter().zip(&found).position(|(a, b)| a != b);
    at.or((expected.len() != found.len()).then(|| expected.len().min(found.len())))
}

#[test]
fn what_was_emitted_is_read_field_for_field() {
    for design in [Design::Carveout, Design::CmaV3] {
        for profile in PROFILES {
            let written = emitted::run(design, profile);
            let difference = first_difference(&written.text, &written);
            assert_eq!(difference, None, "{} {profile:?}", design.name());
        }
    }
}

#[test]
fn time_is_a_counter() {
    let written = emitted::run(Design::Carveout, KernelProfile::V6_1);
    for (at, record) in read(&written.text).unwrap().iter().enumerate() {
        assert_eq!((record.timestamp, record.cpu), (1000 * at as u64, 0));
    }
}

/// The run is no run of allocations alone: every kind of event that it can have, it has.
#[test]
fn the_run_has_every_kind_of_event() {
    for profile in PROFILES {
        let written = emitted::run(Design::CmaV3, profile);
        let of_old = match profile {
            KernelProfile::V6_1 => &["split_free_page", "move_freepages_block"][..],
            KernelProfile::V6_12 => &["move_freepages_block_isolate"],
        };
        let common = "mm_page_alloc mm_page_free mm_page_alloc_zone_locked mm_page_pcpu_drain \
                      mm_page_alloc_extfrag isolate_free_page isolate_free_page_ret \
                      alloc_contig_range alloc_contig_range_ret free_contig_range free_one_page \
                      drain_pages_zone cma_alloc_start cma_alloc_finish cma_release \
                      mm_migrate_pages mm_compaction_begin mm_compaction_end \
                      mm_compaction_isolate_migratepages mm_compaction_isolate_freepages \
                      test_pages_isolated mm_vmscan_wakeup_kswapd";
        for name in common.split_whitespace().chain(of_old.iter().copied()) {
            let start = format!(": {name}: ");
            assert!(written.text.contains(&start), "{profile:?}: no {name}");
        }
    }
}

/// The comparison sees every field: a text with one field changed is not what was emitted.
#[test]
fn canary_a_changed_field_is_noticed() {
    let written = emitted::run(Design::CmaV3, KernelProfile::V6_12);
    for (name, from, to) in [
        ("mm_page_alloc:", " pfn=0x4", " pfn=0x5"),
        ("mm_page_alloc:", " order=0", " order=1"),
        ("mm_page_alloc:", " migratetype=1", " migratetype=0"),
        ("mm_page_alloc:", "GFP_HIGHUSER_MOVABLE", "GFP_HIGHUSER"),
        ("mm_page_alloc:", "task-7 ", "task-8 "),
        ("mm_page_free:", " order=0", " order=2"),
        ("mm_page_alloc_zone_locked:", " percpu_refill=1", " percpu_refill=0"),
        ("mm_page_alloc_zone_locked:", " migratetype=1", " migratetype=4"),
        ("mm_page_pcpu_drain:", " migratetype=1", " migratetype=2"),
        ("mm_page_alloc_extfrag:", " change_ownership=1", " change_ownership=0"),
        ("mm_page_alloc_extfrag:", " alloc_order=", " alloc_order=1"),
        ("isolate_free_page:", " order=", " order=1"),
        ("isolate_free_page_ret:", " ret=", " ret=1"),
        ("alloc_contig_range:", " mt=4", " mt=1"),
        ("alloc_contig_range_ret:", " ret=0", " ret=-16"),
        ("free_contig_range:", " nr=", " nr=1"),
        ("cma_alloc_start:", " count=", " count=1"),
        ("cma_alloc_finish:", " errorno=0", " errorno=-12"),
        ("cma_release:", " count=", " count=1"),
        ("mm_migrate_pages:", " nr_succeeded=", " nr_succeeded=1"),
        ("mm_migrate_pages:", "reason=contig_range", "reason=compaction"),
        ("mm_compaction_begin:", "mm_compaction_begin:", "mm_compaction_end:"),
        ("drain_pages_zone:", "drain_pages_zone:", "drain_pages:"),
    ] {
        let at = written.text.lines().position(|l| l.contains(name) && l.contains(from));
        let at = at.unwrap_or_else(|| panic!("no line with {name} and {from}"));
        let change = |(n, line): (usize, &str)| match n == at {
            true => line.replacen(from, to, 1) + "\n",
            false => format!("{line}\n"),
        };
        let changed: String = written.text.lines().enumerate().map(change).collect();
        assert!(first_difference(&changed, &written).is_some(), "{name} {from} -> {to}");
        let gone =
            |(n, line): (usize, &str)| if n == at { String::new() } else { format!("{line}\n") };
        let shorter: String = written.text.lines().enumerate().map(gone).collect();
        assert!(first_difference(&shorter, &written).is_some(), "without a {name}");
    }
}

fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// An event whose fields the reader passes over, how 6.1 prints it, and how 6.12 does; empty:
/// alike.
type Line = (Event, &'static str, &'static str);

/// Probes on functions that move free blocks.
fn block_probes() -> Vec<Line> {
    let (pfn, order) = (Pfn::new(0x5bd00), Order::ZERO);
    let migratetype = MigrateType::Isolate;
    vec![
        (
            Event::FreeOnePage { pfn, order, migratetype, placement: Placement::Likely },
            "free_one_page: (free_one_page.constprop.0+0x0/0x0) page=0xfffffc00006f4000 pfn=0x5bd00 \
             order=0 arg5=5",
            "free_one_page: (free_one_page+0x0/0x0) page=0xfffffc00006f4000 pfn=0x5bd00 order=0 arg5=0",
        ),
        (
            Event::FreeOnePage {
                pfn,
                order,
                migratetype: MigrateType::Movable,
                placement: Placement::Tail,
            },
            "free_one_page: (free_one_page+0x0/0x0) page=0xfffffc00006f4000 pfn=0x5bd00 \
             order=0 arg5=1 arg6=2",
            "free_one_page: (free_one_page+0x0/0x0) page=0xfffffc00006f4000 pfn=0x5bd00 order=0 arg5=2",
        ),
        (
            Event::TurnFreeList { pfn: Pfn::new(0x5b800), migratetype: MigrateType::Movable },
            "move_freelist_head: (move_freelist_head+0x0/0x0) page=0xfffffc00006e0000 mt=1",
            "",
        ),
        (
            Event::DrainPagesZone {
                cpu: CpuId::BOOT,
                node: NodeId::default(),
                kind: ZoneType::Dma,
            },
            "drain_pages_zone: (drain_pages_zone+0x0/0x0) cpu=0 zone=0xffff00001fef0000",
            "",
        ),
        (
            Event::SplitFreePage {
                pfn: Pfn::new(0x5b800),
                order: Order::of(10),
                offset: PageCount::new(512),
            },
            "split_free_page: (split_free_page+0x0/0x0) page=0xfffffc00006e0000 order=10 off=0x200",
            "",
        ),
    ]
}

/// Probes on functions that change types.
fn type_probes() -> Vec<Line> {
    let (pfn, migratetype, cma) = (Pfn::new(0x5bd00), MigrateType::Isolate, MigrateType::Cma);
    vec![
        (
            Event::PutbackIsolated { pfn, order: Order::of(9), migratetype: cma },
            "putback_isolated: (__putback_isolated_page+0x0/0x0) page=0xfffffc00006f4000 order=9 mt=4",
            "",
        ),
        (
            Event::SetPageblockMigratetype { pfn: Pfn::new(0x5b800), migratetype },
            "set_pageblock_migratetype: (set_pageblock_migratetype+0x0/0x0) page=0xfffffc00006e0000 mt=5",
            "",
        ),
        (
            Event::MoveFreepagesBlock { pfn: Pfn::new(0x5b800), migratetype: cma },
            "move_freepages_block: (move_freepages_block+0x0/0x0) zone=0xffff00001fef0000 \
             page=0xfffffc00006e0000 mt=4",
            "",
        ),
        (
            Event::MoveFreepagesBlockIsolate { pfn: Pfn::new(0x5b800), migratetype },
            "move_freepages_block_isolate: (move_freepages_block_isolate+0x0/0x0) \
             zone=0xffff00001fef0000 page=0xfffffc00006e0000 mt=5",
            "",
        ),
    ]
}

/// Tracepoints of page_isolation, cma and kmem.
fn range_events() -> Vec<Line> {
    vec![
        (
            Event::TestPagesIsolated { range: range(0x5ba00, 0x5bd00), fin: Pfn::new(0x5be00) },
            "test_pages_isolated: start_pfn=0x5ba00 end_pfn=0x5bd00 fin_pfn=0x5be00 ret=success",
            "",
        ),
        (
            Event::CmaBusyRetry { range: range(0x5b700, 0x5ba00), align: Order::of(8) },
            "cma_alloc_busy_retry: name=reserved pfn=0x5b700 page=fffffc00006dc000 count=768 align=8",
            "",
        ),
        (
            Event::CmaAllocFinish {
                pfn: Some(Pfn::new(0x5b700)),
                count: PageCount::new(768),
                align: Order::of(8),
                ret: 0,
            },
            "cma_alloc_finish: name=reserved pfn=0x5b700 page=fffffc00006dc000 count=768 align=8",
            "cma_alloc_finish: name=reserved pfn=0x5b700 page=fffffc00006dc000 count=768 align=8 errorno=0",
        ),
        (
            Event::PageAlloc {
                pfn: None,
                order: Order::of(3),
                migratetype: MigrateType::Movable,
                gfp: GfpFlags::HIGHUSER_MOVABLE,
            },
            "mm_page_alloc: page=0000000000000000 pfn=0x0 order=3 migratetype=1 \
             gfp_flags=GFP_HIGHUSER_MOVABLE",
            "",
        ),
    ]
}

/// Probes on attempts of requests, and on the reclaimer.
fn reclaim_probes() -> Vec<Line> {
    let (order, gfp) = (Order::of(3), GfpFlags::HIGHUSER_MOVABLE);
    let flags = AllocFlags::WMARK_LOW | AllocFlags::CMA;
    vec![
        (
            Event::NoPage { order, gfp, flags },
            "get_page_from_freelist_ret: (0x0 <- get_page_from_freelist) order=3 \
             gfp_flags=GFP_HIGHUSER_MOVABLE alloc_flags=0x81 ret=0",
            "",
        ),
        (
            Event::TermsEnter { order, gfp, granted: AllocFlags::empty(), barred: AllocFlags::CMA },
            "alloc_flags: (alloc_flags+0x0/0x0) order=3 gfp_flags=GFP_HIGHUSER_MOVABLE \
             granted=0x0 barred=0x80",
            "",
        ),
        (Event::TermsExit, "alloc_flags_ret: (0x0 <- alloc_flags)", ""),
        (
            Event::BalanceEnter { order, highest: ZoneType::Movable },
            "balance_pgdat: (balance_pgdat+0x0/0x0) order=3 highest=3",
            "",
        ),
        (
            Event::BalanceExit { order: Order::ZERO },
            "balance_pgdat_ret: (0x0 <- balance_pgdat) ret=0",
            "",
        ),
    ]
}

/// Tracepoints of compaction and migrate.
fn compaction_events() -> Vec<Line> {
    let scan = CompactionScan {
        zone: range(0x1000, 0xffd7),
        migrate: Pfn::new(0x2000),
        free: Pfn::new(0x2200),
        mode: "sync",
    };
    let taken =
        Isolation { range: range(0x5b700, 0x5b800), scanned: 256, taken: PageCount::new(3) };
    vec![
        (
            Event::CompactionEnd { scan, status: "complete" },
            "mm_compaction_end: zone_start=0x1000 migrate_pfn=0x2000 free_pfn=0x2200 zone_end=0xffd7, \
             mode=sync status=complete",
            "",
        ),
        (
            Event::IsolateFreepages(taken),
            "mm_compaction_isolate_freepages: range=(0x5b700 ~ 0x5b800) nr_scanned=256 nr_taken=3",
            "",
        ),
        (
            Event::MigratePages(Migration {
                succeeded: PageCount::new(32),
                failed: PageCount::new(1),
                thp_succeeded: 0,
                thp_failed: 0,
                thp_split: 0,
                mode: "MIGRATE_SYNC_LIGHT",
                reason: "compaction",
            }),
            "mm_migrate_pages: nr_succeeded=32 nr_failed=1 nr_thp_succeeded=0 nr_thp_failed=0 \
             nr_thp_split=0 mode=MIGRATE_SYNC_LIGHT reason=compaction",
            "mm_migrate_pages: nr_succeeded=32 nr_failed=1 nr_thp_succeeded=0 nr_thp_failed=0 \
             nr_thp_split=0 nr_split=0 mode=MIGRATE_SYNC_LIGHT reason=compaction",
        ),
    ]
}

#[test]
fn lines_are_those_of_the_recorded_kernels() {
    let lines =
        [block_probes(), type_probes(), reclaim_probes(), range_events(), compaction_events()];
    for (event, old, new) in lines.into_iter().flatten() {
        let new = if new.is_empty() { old } else { new };
        for (profile, text) in PROFILES.into_iter().zip([old, new]) {
            let kernel: Kernel = emitted::kernel(profile);
            let mut writer = TraceWriter::new(Vec::new(), kernel).unwrap();
            writer.event(Task { pid: 139, cpu: 0 }, &event).unwrap();
            let all = String::from_utf8(writer.into_inner()).unwrap();
            let line = all.lines().last().unwrap();
            assert_eq!(line, format!("            task-139     [000] .....     0.000000: {text}"));
            assert_eq!(read(&all).unwrap().len(), 1);
        }
    }
}

/// No 6.1 has flags of per-CPU lists, and none that a dump has anyway count.
#[test]
fn flags_of_per_cpu_lists_are_read_as_written() {
    for (profile, slice, expected) in [
        (KernelProfile::V6_12, 0, CacheSlice::Small),
        (KernelProfile::V6_12, 1 << 16, CacheSlice::Large),
        (KernelProfile::V6_1, 1 << 16, CacheSlice::Small),
    ] {
        let memory = range(0, 1 << 15);
        let mut machine =
            MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
        machine.cache_slice = PageCount::new(slice);
        let emulator = Emulator::new(&EmulatorSpec { machine, tags: None }, Silent).unwrap();
        let kernel = Kernel::of(&emulator.page_alloc().state());
        let [lists, blocks] = [emit::freelists(&emulator, &kernel, 0), emit::pageblocks(&emulator)]
            .map(|text| CaseText { file: "emitted".to_owned(), text });
        let blocks = pageblocks::parse(&blocks).unwrap();
        let blocks: Vec<_> = blocks.into_iter().map(|(_, block)| block).collect();
        let text = lists.text.replace("\"free_factor\"", "\"flags\":2,\"free_factor\"");
        let lists = FreeLists::parse(CaseText { text, ..lists }).unwrap();
        let state = lists.machine(profile, &blocks, None).unwrap();
        let read = PageAllocator::restore(&state, Silent).unwrap();
        assert_eq!(read.zones()[0].pcp(CpuId::BOOT).cache(), expected, "{profile:?} {slice}");
    }
}
