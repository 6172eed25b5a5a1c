//! Zones of a machine whose tag storage has a zone or a node of its own. Linux: what
//! `movable_node`, or a node without CPUs in the device tree, makes of memory.

use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::units::{NodeId, PfnRange};
use pagelab_allocator::zone::ZoneSpec;

use super::design::Residence;

/// `zones` with `tags` where `residence` wants them: cut out of the zones that have them and made a
/// zone of their own. Unchanged for designs that keep tag storage in ordinary zones.
#[must_use]
pub fn with_own_zone(zones: &[ZoneSpec], residence: Residence, tags: PfnRange) -> Vec<ZoneSpec> {
    let (kind, node) = match residence {
        Residence::Zone(kind) => (kind, NodeId::default()),
        Residence::Node(node) => (ZoneType::Movable, node),
        Residence::CarvedOut | Residence::Pageblocks(_) | Residence::CleanStore => {
            return zones.to_vec();
        }
    };
    let outside = |zone: &ZoneSpec| {
        let span = zone.span;
        let below = PfnRange::new(span.start(), tags.start().clamp(span.start(), span.end()));
        let above = PfnRange::new(tags.end().clamp(span.start(), span.end()), span.end());
        [below, above].map(|span| ZoneSpec { span, ..*zone })
    };
    let rest = zones.iter().flat_map(outside).filter(|zone| !zone.span.is_empty());
    rest.chain([ZoneSpec { kind, node, span: tags }]).collect()
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::migratetype::MigrateType;
    use pagelab_allocator::units::Pfn;

    use super::*;

    fn range(start: u64, end: u64) -> PfnRange {
        PfnRange::new(Pfn::new(start), Pfn::new(end))
    }

    #[test]
    fn tags_are_cut_out_of_their_zone() {
        let zone = |kind, span| ZoneSpec { kind, node: NodeId::default(), span };
        let dma = zone(ZoneType::Dma, range(0, 0x1000));
        let normal = zone(ZoneType::Normal, range(0x1000, 0x3000));
        let tags = range(0xe00, 0x1000);
        let own = |residence| with_own_zone(&[dma, normal], residence, tags);
        let below = zone(ZoneType::Dma, range(0, 0xe00));
        let movable = zone(ZoneType::Movable, tags);
        assert_eq!(own(Residence::Zone(ZoneType::Movable)), [below, normal, movable]);
        let node = NodeId::new(1);
        let far = ZoneSpec { node, ..movable };
        assert_eq!(own(Residence::Node(node)), [below, normal, far]);
        assert_eq!(own(Residence::Pageblocks(MigrateType::Cma)), [dma, normal]);
    }
}
