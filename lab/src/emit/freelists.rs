//! Lists as a debugger would dump them: `freelists-*.json`.
//!
//! The fields are those of `struct zone` and `struct per_cpu_pages`, by their names.

use pagelab_allocator::event::Sink;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::pcp::{CacheSlice, Thp};
use pagelab_allocator::profile::{HighAtomicUnusable, PcpTuning};
use pagelab_allocator::restore::{ListedBlock, MachineState, PcpState, ZoneState};
use pagelab_allocator::units::{Order, PageCount};
use pagelab_allocator::zone::Zone;
use pagelab_migrate::compact::CompactionState;
use pagelab_migrate::emulator::Emulator;
use serde_json::{Map, Value, json};

use super::kernel::Kernel;

/// Every list of the machine at snapshot number `snapshot`, heads first.
///
/// One object: `format`, `osrelease`, `arch`, `vmemmap`, `struct_page`, `page_size`,
/// `pageblock_order`, `migratetypes` in the order of their numbers, `snapshot`, and `zones`.
#[must_use]
pub fn freelists<S: Sink>(emulator: &Emulator<S>, kernel: &Kernel, snapshot: usize) -> String {
    let state = emulator.page_alloc().state();
    let zones = emulator.page_alloc().zones().iter().zip(&state.zones);
    let zones = zones.zip(emulator.compaction().written());
    let zones = zones.map(|((zone, written), compaction)| {
        let mut fields = zone_fields(&state, zone, written);
        fields.extend(compaction_fields(&compaction));
        Value::Object(fields)
    });
    let whole = json!({
        "format": "pgalloc-freelists-1",
        "osrelease": kernel.release(),
        "arch": "arm64",
        "vmemmap": format!("{:#x}", Kernel::VMEMMAP),
        "struct_page": Kernel::STRUCT_PAGE,
        "page_size": state.geometry.page_size(),
        "pageblock_order": state.geometry.pageblock_order().get(),
        "migratetypes": state.types.iter().map(Kernel::type_name).collect::<Vec<_>>(),
        "snapshot": snapshot,
        "stopped_in_spin": true,
        "zones": zones.collect::<Vec<_>>(),
    });
    format!("{whole}\n")
}

fn zone_fields(state: &MachineState, zone: &Zone, written: &ZoneState) -> Map<String, Value> {
    let marks = written.watermarks;
    let promo = marks.high + (marks.high - marks.low);
    let isolated = |&&(_, mt): &&(_, MigrateType)| mt == MigrateType::Isolate;
    let cpus: Vec<_> = written.pcp.iter().map(|pcp| pcp_fields(state, pcp)).collect();
    let [vm_stat, vm_stat_diff] = vm_stat(state, zone, written);
    let fields = json!({
        "index": written.spec.kind.index(),
        "name": written.spec.kind.name(),
        "node": written.spec.node.get(),
        "start_pfn": written.spec.span.start().get(),
        "spanned": written.spec.span.len().get(),
        "present": written.present.get(),
        "managed": written.managed.get(),
        "cma": written.cma.get(),
        "watermark": [marks.min.get(), marks.low.get(), marks.high.get(), promo.get()],
        "watermark_boost": marks.boost.get(),
        "lowmem_reserve": written.lowmem_reserve.map(PageCount::get),
        "nr_isolate_pageblock": written.pageblocks.iter().filter(isolated).count(),
        "nr_reserved_highatomic": written.reserved_highatomic.get(),
        "flags": zone.flag_bits(),
        "vm_stat": vm_stat,
        "vm_stat_diff": vm_stat_diff,
        "stat_threshold": written.stat_threshold,
        "contiguous": u8::from(written.present == written.spec.span.len()),
        "free_area": Order::ZERO.to(state.geometry.max_order())
            .map(|order| free_area(state, &written.free, order)).collect::<Vec<_>>(),
        "pcp": match <[Value; 1]>::try_from(cpus) {
            Ok([only]) => only,
            Err(several) => Value::from(several),
        },
    });
    let Value::Object(mut fields) = fields else { unreachable!("written as an object") };
    // Only the newer kernel has this counter.
    if state.profile.rules().highatomic_unusable == HighAtomicUnusable::Free {
        let free = zone.free_pages().highatomic.get();
        fields.insert("nr_free_highatomic".to_owned(), json!(free));
    }
    fields
}

/// The zone's counters, and what CPUs have not added to them yet. Linux: `vm_stat[]`,
/// `vm_stat_diff[]`.
fn vm_stat(state: &MachineState, zone: &Zone, written: &ZoneState) -> [Value; 2] {
    let free = zone.free_pages();
    let kept = |pick: fn(&PcpState) -> i64| written.pcp.iter().map(pick).sum::<i64>();
    let counted = |pages: PageCount, kept: i64| i128::from(pages.get()) - i128::from(kept);
    let (all, cma) = (kept(|pcp| pcp.uncounted.all), kept(|pcp| pcp.uncounted.cma));
    let mut shared = json!({
        "NR_FREE_PAGES": number(counted(free.all, all)),
        "NR_FREE_CMA_PAGES": number(counted(free.cma, cma)),
        "NR_MLOCK": 0,
        "NR_BOUNCE": 0,
    });
    let mut diff = json!({
        "NR_FREE_PAGES": all,
        "NR_FREE_CMA_PAGES": cma,
        "NR_MLOCK": 0,
        "NR_BOUNCE": 0,
    });
    // Only kernels of RFC v1 have this one.
    if state.types.contains(MigrateType::Metadata) {
        let metadata = kept(|pcp| pcp.uncounted.metadata);
        shared["NR_FREE_METADATA_PAGES"] = json!(number(counted(free.metadata, metadata)));
        diff["NR_FREE_METADATA_PAGES"] = json!(metadata);
    }
    [shared, diff]
}

fn number(pages: i128) -> i64 {
    i64::try_from(pages).unwrap_or(i64::MAX)
}

fn free_area(state: &MachineState, free: &[ListedBlock], order: Order) -> Value {
    let of_order = || free.iter().filter(|block| block.order == order);
    let list = |mt| of_order().filter(move |block| block.migratetype == mt);
    let lists = state.types.iter().map(|mt| {
        let pfns: Vec<_> = list(mt).map(|block| block.pfn.get()).collect();
        (Kernel::type_name(mt), Value::from(pfns))
    });
    let lists: Map<_, _> = lists.collect();
    json!({ "order": order.get(), "nr_free": of_order().count(), "lists": lists })
}

/// Linux: `struct per_cpu_pages`, whose fields depend on the version.
fn pcp_fields(state: &MachineState, pcp: &PcpState) -> Value {
    let (sizes, tuned) = (pcp.sizes, pcp.counters);
    let count: u64 = pcp.blocks.iter().map(|block| block.order.pages().get()).sum();
    let lists = pcp_lists(state, pcp);
    let has_cache = u8::from(pcp.cache == CacheSlice::Large);
    let flags = u8::from(tuned.freed_high_order) | has_cache << 1;
    match state.profile.rules().pcp {
        PcpTuning::Fixed => json!({
            "count": count,
            "high": sizes.high_min,
            "batch": sizes.batch,
            "free_factor": tuned.free_factor,
            "expire": 0,
            "lists": lists,
        }),
        PcpTuning::Adaptive => json!({
            "count": count,
            "high": tuned.high,
            "high_min": sizes.high_min,
            "high_max": sizes.high_max,
            "batch": sizes.batch,
            "alloc_factor": tuned.alloc_factor,
            "flags": flags,
            "free_count": tuned.free_count,
            "expire": 0,
            "lists": lists,
        }),
    }
}

/// Every list that the kernel has, empty or not. Linux: `order_to_pindex()`.
fn pcp_lists(state: &MachineState, pcp: &PcpState) -> Vec<Value> {
    let huge = state.geometry.pageblock_order();
    let low = Order::COSTLY.min(huge);
    let low = Order::ZERO.to(low).flat_map(|order| MigrateType::PCP.map(|mt| (order, mt)));
    let huge = match state.thp {
        Thp::Configured if huge > Order::COSTLY => {
            vec![(huge, MigrateType::Unmovable), (huge, MigrateType::Movable)]
        }
        Thp::Configured | Thp::Absent => Vec::new(),
    };
    let lists = low.chain(huge).enumerate().map(|(pindex, (order, mt))| {
        let here = pcp.blocks.iter().filter(|b| b.order == order && b.migratetype == mt);
        let shown = if order > Order::COSTLY { json!("thp") } else { json!(order.get()) };
        json!({
            "pindex": pindex,
            "order": shown,
            "migratetype": Kernel::type_name(mt),
            "pfns": here.map(|block| block.pfn.get()).collect::<Vec<_>>(),
        })
    });
    lists.collect()
}

fn compaction_fields(compaction: &CompactionState) -> Map<String, Value> {
    let CompactionState { cached_free, cached_migrate, init_free, init_migrate, deferral, .. } =
        *compaction;
    let fields = [
        ("compact_cached_free_pfn", json!(cached_free.get())),
        ("compact_cached_migrate_pfn", json!(cached_migrate.map(|pfn| pfn.get()))),
        ("compact_init_free_pfn", json!(init_free.get())),
        ("compact_init_migrate_pfn", json!(init_migrate.get())),
        ("compact_considered", json!(deferral.considered())),
        ("compact_defer_shift", json!(deferral.shift())),
        ("compact_order_failed", json!(deferral.order_failed())),
        ("compact_blockskip_flush", json!(u8::from(compaction.blockskip_flush))),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
