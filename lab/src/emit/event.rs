//! One event as the text after a line's time.

use core::fmt::Arguments;
use std::io;

use pagelab_allocator::buddy::Placement;
use pagelab_allocator::event::{CompactionScan, Event, Isolation, Isolator, Migration};
use pagelab_allocator::fallback::{Extfrag, Ownership};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use super::kernel::Kernel;
use crate::trace::TO_TAIL;

/// Takes the text of one line.
type Say<'a> = &'a mut dyn FnMut(Arguments<'_>) -> io::Result<()>;

/// Says what a kernel prints for an event: one line, or two for a probe with entry and return.
/// Sizes and callers of probed functions, which nobody reads, are zero.
pub(super) fn render(kernel: &Kernel, event: &Event, say: Say<'_>) -> io::Result<()> {
    match *event {
        Event::PageAlloc { .. }
        | Event::NoPage { .. }
        | Event::PageFree { .. }
        | Event::ZoneLocked { .. }
        | Event::PcpuDrain { .. }
        | Event::Extfrag(_)
        | Event::WakeKswapd { .. } => page_event(kernel, event, say),
        Event::BalanceEnter { .. } | Event::BalanceExit { .. } => balance_event(kernel, event, say),
        Event::TermsEnter { .. } | Event::TermsExit => terms_event(kernel, event, say),
        Event::CmaAllocStart { .. }
        | Event::CmaBusyRetry { .. }
        | Event::CmaAllocFinish { .. }
        | Event::CmaRelease { .. } => cma_event(kernel, event, say),
        Event::MigratePages(migration) => migrate_pages(kernel, &migration, say),
        Event::CompactionBegin(scan) => {
            say(format_args!("mm_compaction_begin: {}", scan_text(&scan)))
        }
        Event::CompactionEnd { scan, status } => {
            say(format_args!("mm_compaction_end: {} status={status}", scan_text(&scan)))
        }
        Event::IsolateMigratepages(taken) => isolated("migratepages", &taken, say),
        Event::IsolateFreepages(taken) => isolated("freepages", &taken, say),
        Event::TestPagesIsolated { range, fin } => test_pages_isolated(range, fin, say),
        _ => probe(kernel, event, say),
    }
}

/// Linux: include/trace/events/kmem.h.
fn page_event(kernel: &Kernel, event: &Event, say: Say<'_>) -> io::Result<()> {
    let page = |pfn| kernel.page(pfn);
    match *event {
        Event::PageAlloc { pfn, order, migratetype, gfp } => {
            let (page, pfn) = pfn.map_or((0, 0), |pfn| (page(pfn), pfn.get()));
            let (mt, gfp) = (kernel.number(migratetype), gfp.text(kernel.profile));
            say(format_args!(
                "mm_page_alloc: page={page:016x} pfn={pfn:#x} order={order} migratetype={mt} \
                 gfp_flags={gfp}"
            ))
        }
        Event::NoPage { order, gfp, flags } => {
            let site = exit(kernel, "get_page_from_freelist");
            let (gfp, flags) = (gfp.text(kernel.profile), flags.bits());
            say(format_args!(
                "get_page_from_freelist_ret: {site} order={order} gfp_flags={gfp} \
                 alloc_flags={flags:#x} ret=0"
            ))
        }
        Event::PageFree { pfn, order } => say(format_args!(
            "mm_page_free: page={:016x} pfn={:#x} order={order}",
            page(pfn),
            pfn.get()
        )),
        Event::ZoneLocked { pfn, order, migratetype } => say(format_args!(
            "mm_page_alloc_zone_locked: page={:016x} pfn={:#x} order={order} migratetype={} \
             percpu_refill={}",
            page(pfn),
            pfn.get(),
            kernel.number(migratetype),
            u8::from(kernel.looks_like_refill(order, migratetype))
        )),
        Event::PcpuDrain { pfn, order, migratetype } => say(format_args!(
            "mm_page_pcpu_drain: page={:016x} pfn={:#x} order={order} migratetype={}",
            page(pfn),
            pfn.get(),
            kernel.number(migratetype)
        )),
        Event::Extfrag(extfrag) => extfrag_event(kernel, &extfrag, say),
        Event::WakeKswapd { order } => {
            say(format_args!("mm_vmscan_wakeup_kswapd: nid=0 order={order} gfp_flags=none"))
        }
        _ => Ok(()),
    }
}

/// Where the flags of a request change.
fn terms_event(kernel: &Kernel, event: &Event, say: Say<'_>) -> io::Result<()> {
    const NAME: &str = "alloc_flags";
    match *event {
        Event::TermsEnter { order, gfp, granted, barred } => say(format_args!(
            "{NAME}: {} order={order} gfp_flags={} granted={:#x} barred={:#x}",
            entry(kernel, NAME),
            gfp.text(kernel.profile),
            granted.bits(),
            barred.bits()
        )),
        Event::TermsExit => say(format_args!("{NAME}_ret: {}", exit(kernel, NAME))),
        _ => Ok(()),
    }
}

/// Probes of the reclaimer's turns.
fn balance_event(kernel: &Kernel, event: &Event, say: Say<'_>) -> io::Result<()> {
    const FUNCTION: &str = "balance_pgdat";
    match *event {
        Event::BalanceEnter { order, highest } => say(format_args!(
            "{FUNCTION}: {} order={order} highest={}",
            entry(kernel, FUNCTION),
            highest.index()
        )),
        Event::BalanceExit { order } => {
            say(format_args!("{FUNCTION}_ret: {} ret={order}", exit(kernel, FUNCTION)))
        }
        _ => Ok(()),
    }
}

fn extfrag_event(kernel: &Kernel, extfrag: &Extfrag, say: Say<'_>) -> io::Result<()> {
    let pageblock = kernel.geometry.pageblock_order();
    say(format_args!(
        "mm_page_alloc_extfrag: page={:016x} pfn={:#x} alloc_order={} fallback_order={} \
         pageblock_order={pageblock} alloc_migratetype={} fallback_migratetype={} fragmenting={} \
         change_ownership={}",
        kernel.page(extfrag.pfn),
        extfrag.pfn.get(),
        extfrag.alloc_order,
        extfrag.fallback_order,
        kernel.number(extfrag.alloc_migratetype),
        kernel.number(extfrag.fallback_migratetype),
        u8::from(extfrag.fallback_order < pageblock),
        u8::from(extfrag.change_ownership == Ownership::Changed)
    ))
}

/// Linux: include/trace/events/page_isolation.h.
fn test_pages_isolated(range: PfnRange, fin: Pfn, say: Say<'_>) -> io::Result<()> {
    let ret = if range.end() <= fin { "success" } else { "fail" };
    say(format_args!(
        "test_pages_isolated: start_pfn={:#x} end_pfn={:#x} fin_pfn={:#x} ret={ret}",
        range.start().get(),
        range.end().get(),
        fin.get()
    ))
}

/// The name of every area. Linux: that of the area that `cma=` reserves.
const AREA: &str = "reserved";

/// Linux: include/trace/events/cma.h. A failure of 6.1 shows as a page that is null.
fn cma_event(kernel: &Kernel, event: &Event, say: Say<'_>) -> io::Result<()> {
    match *event {
        Event::CmaAllocStart { count, align } => {
            say(format_args!("cma_alloc_start: name={AREA} count={count} align={align}"))
        }
        Event::CmaBusyRetry { range, align } => {
            let (pfn, count) = (range.start(), range.len());
            let page = kernel.page(pfn);
            say(format_args!(
                "cma_alloc_busy_retry: name={AREA} pfn={:#x} page={page:016x} count={count} \
                 align={align}",
                pfn.get()
            ))
        }
        Event::CmaAllocFinish { pfn, count, align, ret } => {
            let page = pfn.filter(|_| ret == 0).map_or(0, |pfn| kernel.page(pfn));
            let pfn = pfn.map_or(0, Pfn::get);
            let errorno = match kernel.profile {
                KernelProfile::V6_1 => String::new(),
                KernelProfile::V6_12 => format!(" errorno={ret}"),
            };
            say(format_args!(
                "cma_alloc_finish: name={AREA} pfn={pfn:#x} page={page:016x} count={count} \
                 align={align}{errorno}"
            ))
        }
        Event::CmaRelease { range } => say(format_args!(
            "cma_release: name={AREA} pfn={:#x} page={:016x} count={}",
            range.start().get(),
            kernel.page(range.start()),
            range.len()
        )),
        _ => Ok(()),
    }
}

/// Linux: include/trace/events/migrate.h.
fn migrate_pages(kernel: &Kernel, migration: &Migration, say: Say<'_>) -> io::Result<()> {
    let Migration { succeeded, failed, thp_succeeded, thp_failed, thp_split, mode, reason } =
        *migration;
    let split = match kernel.profile {
        KernelProfile::V6_1 => "",
        KernelProfile::V6_12 => " nr_split=0",
    };
    say(format_args!(
        "mm_migrate_pages: nr_succeeded={succeeded} nr_failed={failed} \
         nr_thp_succeeded={thp_succeeded} nr_thp_failed={thp_failed} nr_thp_split={thp_split}\
         {split} mode={mode} reason={reason}"
    ))
}

/// Linux: include/trace/events/compaction.h.
fn scan_text(scan: &CompactionScan) -> String {
    format!(
        "zone_start={:#x} migrate_pfn={:#x} free_pfn={:#x} zone_end={:#x}, mode={}",
        scan.zone.start().get(),
        scan.migrate.get(),
        scan.free.get(),
        scan.zone.end().get(),
        scan.mode
    )
}

fn isolated(what: &str, taken: &Isolation, say: Say<'_>) -> io::Result<()> {
    say(format_args!(
        "mm_compaction_isolate_{what}: range=({:#x} ~ {:#x}) nr_scanned={} nr_taken={}",
        taken.range.start().get(),
        taken.range.end().get(),
        taken.scanned,
        taken.taken
    ))
}

/// What kprobes show.
fn probe(kernel: &Kernel, event: &Event, say: Say<'_>) -> io::Result<()> {
    let page = |pfn| kernel.page(pfn);
    let entry = |name: &str| entry(kernel, name);
    match *event {
        Event::IsolateFreePage { pfn, order, taken, isolator } => {
            isolate_free_page(kernel, (pfn, order), (taken, isolator), say)
        }
        Event::ContigEnter { range, migratetype } => say(format_args!(
            "alloc_contig_range: {} start={:#x} end={:#x} mt={}",
            entry("alloc_contig_range"),
            range.start().get(),
            range.end().get(),
            kernel.number(migratetype)
        )),
        Event::ContigExit { ret } => {
            let site = exit(kernel, "alloc_contig_range");
            say(format_args!("alloc_contig_range_ret: {site} ret={ret}"))
        }
        Event::ContigFree { range } => say(format_args!(
            "free_contig_range: {} pfn={:#x} nr={}",
            entry("free_contig_range"),
            range.start().get(),
            range.len()
        )),
        Event::FreeOnePage { pfn, order, migratetype, placement } => {
            free_one_page(kernel, (pfn, order), migratetype, placement, say)
        }
        Event::DrainPagesZone { cpu, node, kind } => say(format_args!(
            "drain_pages_zone: {} cpu={} zone={:#x}",
            entry("drain_pages_zone"),
            cpu.index(),
            kernel.zone_named(node, kind)
        )),
        Event::SplitFreePage { pfn, order, offset } => say(format_args!(
            "split_free_page: {} page={:#x} order={order} off={:#x}",
            entry("split_free_page"),
            page(pfn),
            offset.get()
        )),
        _ => type_probe(kernel, event, say),
    }
}

/// Probes on functions that change types.
fn type_probe(kernel: &Kernel, event: &Event, say: Say<'_>) -> io::Result<()> {
    let (name, zone, pfn, mt) = match *event {
        Event::PutbackIsolated { pfn, order, migratetype } => {
            return say(format_args!(
                "putback_isolated: {} page={:#x} order={order} mt={}",
                entry(kernel, "__putback_isolated_page"),
                kernel.page(pfn),
                kernel.number(migratetype)
            ));
        }
        Event::SetPageblockMigratetype { pfn, migratetype } => {
            ("set_pageblock_migratetype", None, pfn, migratetype)
        }
        Event::TurnFreeList { pfn, migratetype } => ("move_freelist_head", None, pfn, migratetype),
        Event::MoveFreepagesBlock { pfn, migratetype } => {
            ("move_freepages_block", Some(kernel.zone_of(pfn)), pfn, migratetype)
        }
        Event::MoveFreepagesBlockIsolate { pfn, migratetype } => {
            ("move_freepages_block_isolate", Some(kernel.zone_of(pfn)), pfn, migratetype)
        }
        _ => unreachable!("an event without a text: {event:?}"),
    };
    let zone = zone.map(|zone| format!(" zone={zone:#x}")).unwrap_or_default();
    let (site, page, mt) = (entry(kernel, name), kernel.page(pfn), kernel.number(mt));
    say(format_args!("{name}: {site}{zone} page={page:#x} mt={mt}"))
}

/// The flags of a free are the fifth argument of 6.12's function. In 6.1 they are the sixth, which
/// its compiler leaves out as long as no caller passes any.
fn free_one_page(
    kernel: &Kernel,
    (pfn, order): (Pfn, Order),
    mt: MigrateType,
    placement: Placement,
    say: Say<'_>,
) -> io::Result<()> {
    let flags = match placement {
        Placement::Likely => 0,
        Placement::Tail => TO_TAIL,
    };
    let mt = kernel.number(mt);
    let (site, args) = match (kernel.profile, placement) {
        (KernelProfile::V6_1, Placement::Likely) => {
            (entry(kernel, "free_one_page"), format!("arg5={mt}"))
        }
        (KernelProfile::V6_1, Placement::Tail) => {
            ("(free_one_page+0x0/0x0)".to_owned(), format!("arg5={mt} arg6={flags}"))
        }
        (KernelProfile::V6_12, _) => (entry(kernel, "free_one_page"), format!("arg5={flags}")),
    };
    let (page, pfn) = (kernel.page(pfn), pfn.get());
    say(format_args!("free_one_page: {site} page={page:#x} pfn={pfn:#x} order={order} {args}"))
}

fn isolate_free_page(
    kernel: &Kernel,
    (pfn, order): (Pfn, Order),
    (taken, isolator): (PageCount, Isolator),
    say: Say<'_>,
) -> io::Result<()> {
    let (function, page) = ("__isolate_free_page", kernel.page(pfn));
    // The search is inlined into its caller.
    let caller = match isolator {
        Isolator::BlockScan => "isolate_freepages_block",
        Isolator::FastSearch => "compaction_alloc",
        Isolator::EndOfIsolation => "unset_migratetype_isolate",
    };
    let site = entry(kernel, function);
    say(format_args!("isolate_free_page: {site} page={page:#x} order={order}"))?;
    say(format_args!("isolate_free_page_ret: ({caller}+0x0/0x0 <- {function}) ret={taken}"))
}

/// Where an entry probe says it is.
fn entry(kernel: &Kernel, function: &str) -> String {
    format!("({}+0x0/0x0)", symbol(kernel, function))
}

/// Where a return probe says it is.
fn exit(kernel: &Kernel, function: &str) -> String {
    format!("(0x0 <- {})", symbol(kernel, function))
}

/// The function's symbol in kernels of the profile.
fn symbol(kernel: &Kernel, function: &str) -> String {
    let suffix = match (kernel.profile, function) {
        (KernelProfile::V6_1, "free_one_page") => ".constprop.0",
        (KernelProfile::V6_12, "alloc_contig_range") => "_noprof",
        _ => "",
    };
    format!("{function}{suffix}")
}
