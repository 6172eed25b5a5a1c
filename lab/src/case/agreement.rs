//! Whether `meta.json` and the first dump tell of the same machine.

use pagelab_allocator::restore::{MachineState, ZoneState};
use pagelab_allocator::units::PageCount;

use super::error::CaseError;
use super::meta::{CaseMeta, CaseZone, profile_of};
use super::text::CaseText;

/// Firmware keeps less than this share of a machine's memory for itself.
const FIRMWARE: u64 = 16;

/// Compares what `meta`, as read from `text`, says with the lists at the first snapshot.
///
/// # Errors
///
/// [`CaseError`] with the line and field of `meta.json` that says otherwise.
pub(super) fn check(
    text: &CaseText,
    meta: &CaseMeta,
    dump: &MachineState,
) -> Result<(), CaseError> {
    let told = &meta.zones;
    for zone in &dump.zones {
        let kind = zone.spec.kind;
        let Some(told) = told.iter().find(|told| told.kind == kind) else {
            return Err(wrong(text, "", "zones", format!("the lists have a zone {kind}")));
        };
        compare(text, told, zone)?;
    }
    let listed = |told: &&CaseZone| dump.zones.iter().any(|zone| zone.spec.kind == told.kind);
    if let Some(told) = told.iter().find(|told| !listed(told)) {
        let why = format!("the lists have no zone {}", told.kind);
        return Err(wrong(text, told.kind.name(), "name", why));
    }
    let present: PageCount = dump.zones.iter().map(|zone| zone.present).sum();
    let present = dump.geometry.bytes_of(present) >> 20;
    let least = meta.mem_mib - (meta.mem_mib / FIRMWARE).max(1);
    if (least..=meta.mem_mib).contains(&present) {
        return Ok(());
    }
    let why = format!("{} MiB, and the zones of the lists have {present}", meta.mem_mib);
    Err(wrong(text, "", "mem_mib", why))
}

/// Compares the kernel that `meta` names with the `release` that the dumped memory had.
///
/// # Errors
///
/// [`CaseError`] when they follow other rules.
pub(super) fn check_kernel(
    text: &CaseText,
    meta: &CaseMeta,
    release: Option<&str>,
) -> Result<(), CaseError> {
    match release {
        Some(release) if profile_of(release) != meta.profile => {
            let why = format!("{:?}, and the lists are of {release:?}", meta.kernel);
            Err(wrong(text, "", "kernel", why))
        }
        _ => Ok(()),
    }
}

fn compare(text: &CaseText, told: &CaseZone, zone: &ZoneState) -> Result<(), CaseError> {
    let kind = zone.spec.kind;
    for (field, told, listed) in [
        ("start_pfn", told.start.get(), zone.spec.span.start().get()),
        ("spanned", told.spanned.get(), zone.spec.span.len().get()),
        ("present", told.present.get(), zone.present.get()),
        ("managed", told.managed.get(), zone.managed.get()),
        ("cma", told.cma.get(), zone.cma.get()),
    ] {
        if told != listed {
            let why = format!("{told} for zone {kind}, and the lists say {listed}");
            return Err(wrong(text, kind.name(), field, why));
        }
    }
    Ok(())
}

/// An error at the first line that names `field` after `zone` was named.
fn wrong(text: &CaseText, zone: &str, field: &str, why: String) -> CaseError {
    let named = if zone.is_empty() { 0 } else { text.line_of(zone).saturating_sub(1) };
    let is_field = |line: &str| line.contains(&format!("\"{field}\""));
    let line = text.text.lines().skip(named).position(is_field).map_or(1, |at| named + at + 1);
    CaseError::at(&text.file, line, field, why)
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::boot::MachineSpec;
    use pagelab_allocator::event::Silent;
    use pagelab_allocator::geometry::Geometry;
    use pagelab_allocator::gfp::ZoneType;
    use pagelab_allocator::page_alloc::PageAllocator;
    use pagelab_allocator::profile::KernelProfile;
    use pagelab_allocator::units::{Pfn, PfnRange};

    use super::*;

    const META: &str = r#"{
 "name": "c", "mem_mib": 64, "kernel": "6.1.0",
 "zones": [{
   "name": "DMA32",
   "start_pfn": 4096,
   "spanned": 16384, "present": 16384,
   "managed": 16384
 }]
}"#;

    fn error(from: &str, to: &str) -> String {
        let text = CaseText { file: "m".to_owned(), text: META.replace(from, to) };
        let meta = CaseMeta::parse(&text.file, &text.text).expect("it can be read");
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_1);
        let span = PfnRange::new(Pfn::new(4096), Pfn::new(20480));
        let spec = MachineSpec::single(geometry, profile, ZoneType::Dma32, span);
        let machine = PageAllocator::boot(&spec, Silent).expect("a machine").state();
        check(&text, &meta, &machine).err().map_or("fine".to_owned(), |error| error.to_string())
    }

    #[test]
    fn what_contradicts_the_lists_is_named() {
        assert_eq!(error("zebra", ""), "fine");
        let says = "m:5: field `start_pfn`: 4097 for zone DMA32, and the lists say 4096";
        assert_eq!(error("4096", "4097"), says);
        assert!(error("\": 16384\n", "\": 16383\n").starts_with("m:7: field `managed`: 16383"));
        assert!(error("\"DMA32\"", "\"DMA\"").starts_with("m:3: field `zones`: the lists have"));
        assert_eq!(error("64,", "68,"), "fine", "the firmware has the rest");
        let says = "m:2: field `mem_mib`: 63 MiB, and the zones of the lists have 64";
        assert_eq!(error("64,", "63,"), says);
        assert!(error("64,", "96,").starts_with("m:2: field `mem_mib`: 96 MiB"));
    }
}
