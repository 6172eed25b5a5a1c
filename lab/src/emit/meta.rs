//! `meta.json` of a written case.

use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::restore::{MachineState, ZoneState};
use pagelab_allocator::units::{Order, PageCount};
use serde_json::{Value, json};

use super::kernel::Kernel;
use crate::contender::Contender;

/// Where a run comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provenance {
    /// What was run, in words.
    pub workload: String,
    /// Seed of the plan.
    pub seed: u64,
    /// The tag-storage design, by whose rules the run can be understood.
    pub design: Contender,
}

/// The text of `meta.json` for a case called `name`: the machine at the beginning, the snapshots by
/// their labels, and how many event lines there are.
#[must_use]
pub fn meta(
    name: &str,
    state: &MachineState,
    provenance: &Provenance,
    labels: &[String],
    events: u64,
) -> String {
    let kernel = Kernel::of(state);
    let present: PageCount = state.zones.iter().map(|zone| zone.present).sum();
    let zones = state.zones.iter().enumerate().map(|(at, zone)| zone_fields(&kernel, at, zone));
    let snapshots = labels.iter().enumerate().map(|(k, label)| json!({ "k": k, "label": label }));
    let yes_no = |yes: bool| if yes { "y" } else { "n" };
    let cma = state.types.contains(MigrateType::Cma);
    let whole = json!({
        "name": name,
        "arch": "arm64",
        "kernel": kernel.release(),
        "mem_mib": state.geometry.bytes_of(present) >> 20,
        "workload": provenance.workload,
        "seed": provenance.seed,
        "split": "emulated",
        "emulated": true,
        "design": provenance.design.to_string(),
        "cpus": state.zones.first().map_or(0, |zone| zone.pcp.len()),
        "config": {
            "CMA": yes_no(cma),
            "TRANSPARENT_HUGEPAGE": yes_no(kernel.looks_like_refill(
                state.geometry.pageblock_order(),
                MigrateType::Movable,
            )),
        },
        "pageblock_order": state.geometry.pageblock_order().get(),
        "orders": Order::ZERO.to(state.geometry.max_order()).count(),
        "migratetypes": state.types.iter().map(Kernel::type_name).collect::<Vec<_>>(),
        "vmemmap": format!("{:#x}", Kernel::VMEMMAP),
        "struct_page": Kernel::STRUCT_PAGE,
        "zones": zones.collect::<Vec<_>>(),
        "snapshots": snapshots.collect::<Vec<_>>(),
        "walker_matches_proc": true,
        "overruns": 0,
        "dropped_events": 0,
        "event_count": events,
    });
    format!("{whole:#}\n")
}

fn zone_fields(kernel: &Kernel, at: usize, zone: &ZoneState) -> Value {
    let marks = zone.watermarks;
    let promo = marks.high + (marks.high - marks.low);
    json!({
        "name": zone.spec.kind.name(),
        "start_pfn": zone.spec.span.start().get(),
        "spanned": zone.spec.span.len().get(),
        "present": zone.present.get(),
        "managed": zone.managed.get(),
        "cma": zone.cma.get(),
        "watermark": [marks.min.get(), marks.low.get(), marks.high.get(), promo.get()],
        "lowmem_reserve": zone.lowmem_reserve.map(PageCount::get),
        "address": format!("{:#x}", kernel.zone_address(at)),
    })
}
