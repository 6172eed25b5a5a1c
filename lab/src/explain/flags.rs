//! Flags of a request in the kernel's notation, and what a design made of them.

use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::watermark::Mark;

use super::line::Line;

/// `ALLOC_*` flags joined by `|`, the watermark first.
pub(super) fn alloc_flags(flags: AllocFlags) -> String {
    let marks = AllocFlags::WMARK_LOW | AllocFlags::WMARK_HIGH;
    let mut text = match flags.mark() {
        _ if flags.contains(AllocFlags::NO_WATERMARKS) => String::new(),
        Mark::Min => "ALLOC_WMARK_MIN".to_owned(),
        Mark::Low => "ALLOC_WMARK_LOW".to_owned(),
        Mark::High => "ALLOC_WMARK_HIGH".to_owned(),
    };
    for flag in flags.difference(marks).iter() {
        text.push_str(if text.is_empty() { "" } else { "|" });
        text.push_str(&name(flag));
    }
    text
}

/// One flag; RFC v1 has a name of its own.
fn name(flag: AllocFlags) -> String {
    match flag {
        AllocFlags::METADATA => "ALLOC_FROM_METADATA".to_owned(),
        _ => flag.iter_names().map(|(name, _)| format!("ALLOC_{name}")).collect(),
    }
}

/// The request as it was asked for, and every change of the design.
pub(super) fn request(
    asked: GfpFlags,
    request: &AllocRequest,
    profile: KernelProfile,
) -> Vec<Line> {
    let text = |gfp: GfpFlags| gfp.text(profile);
    let tagged = match asked.contains(GfpFlags::TAGGED) {
        true => ", to carry tags",
        false => "",
    };
    let asked_for = format!("order {}{tagged}\n{}", request.order, text(asked));
    let mut lines = vec![Line::new("request", "request", asked_for)];
    let mut changes = Vec::new();
    let (dropped, added) = (asked.difference(request.gfp), request.gfp.difference(asked));
    if !dropped.is_empty() {
        changes.push(format!("{} dropped", text(dropped)));
    }
    if !added.is_empty() {
        changes.push(format!("{} added, for node {}", text(added), request.node));
    }
    if !request.barred.is_empty() {
        changes.push(format!("{} barred", rights(request.barred)));
    }
    if !request.granted.is_empty() {
        changes.push(format!("{} granted", rights(request.granted)));
    }
    if !changes.is_empty() {
        lines.push(Line::new("design", "changed", changes.join("\n")));
    }
    let (mt, highest) = (request.gfp.migratetype(), request.gfp.highest_zone());
    let derived = format!("migratetype {mt}, zones up to {highest}");
    lines.push(Line::new("", "derived", derived));
    lines
}

pub(super) fn rights(flags: AllocFlags) -> String {
    flags.iter().map(name).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::units::Order;

    use super::*;

    #[test]
    fn flags_have_the_kernels_names() {
        let flags = AllocFlags::WMARK_LOW | AllocFlags::CMA | AllocFlags::KSWAPD;
        assert_eq!(alloc_flags(flags), "ALLOC_WMARK_LOW|ALLOC_CMA|ALLOC_KSWAPD");
        assert_eq!(alloc_flags(AllocFlags::METADATA), "ALLOC_WMARK_MIN|ALLOC_FROM_METADATA");
        assert_eq!(alloc_flags(AllocFlags::NO_WATERMARKS), "ALLOC_NO_WATERMARKS");
    }

    #[test]
    fn what_a_design_changes_is_said() {
        let asked = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::ZERO | GfpFlags::TAGGED;
        let kept = asked.difference(GfpFlags::MOVABLE);
        let made = AllocRequest::new(Order::ZERO, kept).barring(AllocFlags::CMA);
        let lines = request(asked, &made, KernelProfile::V6_12);
        let texts: Vec<_> = lines.iter().map(|line| &*line.text).collect();
        let expected = [
            "order 0, to carry tags\nGFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_ZEROTAGS",
            "__GFP_MOVABLE dropped\nALLOC_CMA barred",
            "migratetype Unmovable, zones up to Normal",
        ];
        assert_eq!(texts, expected);
    }
}
