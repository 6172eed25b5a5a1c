//! /proc/zoneinfo and /proc/vmstat, as far as there is something to say.

use core::fmt::Write as _;

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::PcpTuning;
use pagelab_allocator::restore::ZoneState;
use pagelab_allocator::units::{CpuId, PageCount};
use pagelab_allocator::zone::Zone;
use pagelab_migrate::emulator::Emulator;

/// Pages of movable folios in the zone: they count as anonymous memory in use.
fn movable<S: Sink>(emulator: &Emulator<S>, zone: &Zone) -> PageCount {
    let here = emulator.folios().iter().filter(|(_, f)| zone.span().contains(f.pfn()));
    here.filter(|(_, f)| f.is_movable()).map(|(_, f)| f.order().pages()).sum()
}

/// The text of /proc/zoneinfo. Counters that nothing here counts are left out.
/// Linux: `zoneinfo_show_print()`.
#[must_use]
pub fn zoneinfo<S: Sink>(emulator: &Emulator<S>) -> String {
    let mut text = String::new();
    let alloc = emulator.page_alloc();
    for (zone, state) in alloc.zones().iter().zip(&alloc.state().zones) {
        // Writing into a string does not fail.
        let _ = zone_text(&mut text, alloc, zone, (state, movable(emulator, zone)));
    }
    text
}

fn zone_text<S: Sink>(
    text: &mut String,
    alloc: &PageAllocator<S>,
    zone: &Zone,
    (state, movable): (&ZoneState, PageCount),
) -> core::fmt::Result {
    let (marks, free) = (state.watermarks, zone.counted());
    writeln!(text, "Node {}, zone {:>8}", zone.node(), zone.kind())?;
    let watermarks = [
        ("boost", marks.boost),
        ("min", marks.min + marks.boost),
        ("low", marks.low + marks.boost),
        ("high", marks.high + marks.boost),
    ];
    let sizes = [
        ("spanned", state.spec.span.len()),
        ("present", state.present),
        ("managed", state.managed),
        ("cma", state.cma),
    ];
    writeln!(text, "  pages free     {}", free.all)?;
    for (name, pages) in watermarks.into_iter().chain(sizes) {
        writeln!(text, "        {name:<8} {pages}")?;
    }
    let reserve: Vec<_> = state.lowmem_reserve.iter().map(ToString::to_string).collect();
    writeln!(text, "        protection: ({})", reserve.join(", "))?;
    let counters = [
        ("nr_free_pages", free.all),
        ("nr_zone_inactive_anon", PageCount::ZERO),
        ("nr_zone_active_anon", movable),
        ("nr_free_cma", free.cma),
    ];
    for (name, pages) in counters {
        writeln!(text, "      {name:<12} {pages}")?;
    }
    pagesets(text, alloc, zone, state.stat_threshold)?;
    writeln!(text, "  node_unreclaimable:  0")?;
    writeln!(text, "  start_pfn:           {}", state.spec.span.start().get())
}

fn pagesets<S: Sink>(
    text: &mut String,
    alloc: &PageAllocator<S>,
    zone: &Zone,
    stat_threshold: u32,
) -> core::fmt::Result {
    writeln!(text, "  pagesets")?;
    for cpu in 0..alloc.cpus() {
        let pcp = zone.pcp(CpuId::new(cpu));
        let high = match alloc.profile().rules().pcp {
            PcpTuning::Fixed => pcp.sizes().high_min,
            PcpTuning::Adaptive => pcp.counters().high,
        };
        writeln!(text, "    cpu: {cpu}\n              count: {}", pcp.count())?;
        writeln!(text, "              high:  {high}")?;
        writeln!(text, "              batch: {}", pcp.sizes().batch)?;
        writeln!(text, "  vm stats threshold: {stat_threshold}")?;
    }
    Ok(())
}

/// The text of /proc/vmstat. Linux: `vmstat_show()`.
#[must_use]
pub fn vmstat<S: Sink>(emulator: &Emulator<S>) -> String {
    let alloc = emulator.page_alloc();
    let sum = |count: fn(&Zone) -> PageCount| alloc.zones().iter().map(count).sum::<PageCount>();
    let mut lines = vec![
        ("nr_free_pages".to_owned(), sum(|zone| zone.counted().all).get()),
        ("nr_free_cma".to_owned(), sum(|zone| zone.counted().cma).get()),
    ];
    let by_zone = ZoneType::ALL.map(|kind| {
        (format!("pgalloc_{}", kind.name().to_lowercase()), alloc.stats().pgalloc[kind.index()])
    });
    lines.extend(by_zone);
    lines.push(("pgfree".to_owned(), alloc.stats().pgfree));
    lines.extend(emulator.mm_stats().iter().map(|(name, n)| (name.to_owned(), n)));
    lines.into_iter().map(|(name, n)| format!("{name} {n}\n")).collect()
}
