//! Tag storage is a NUMA node without CPUs: proposed by David Hildenbrand and weighed by Catalin
//! Marinas in review of RFC v1.
//!
//! Tagged requests insist on the node of ordinary memory; all others go to tag storage when their
//! own node is full.
//!
//! What was objected: a node keeps tagged pages out only where somebody asks for it; policies,
//! migration and `mprotect()` still put them there, so it makes trouble rarer and not impossible.
//! Size, alignment and place of a node are less free than those of pageblocks (Catalin Marinas).
//! Right if the memory performs differently, fine if it is easy; trouble with CXL memory that has
//! MTE either way (David Hildenbrand).
//!
//! The node's only zone is ZONE_MOVABLE: in another, a reserved page could not be told from
//! unmovable kernel memory, and no second block of its pageblock could be reserved. Reservation and
//! repair are those of RFC v3. Memory policies are not modelled.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::NodeId;

use super::design::{Residence, TagStorageDesign, Terms};

/// The node of the CPUs and of memory that can be tagged.
const DATA: NodeId = NodeId::new(0);
/// The node of tag storage.
const TAGS: NodeId = NodeId::new(1);

/// A node that tagged requests do not use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NumaNode;

impl TagStorageDesign for NumaNode {
    fn name(&self) -> &'static str {
        "numa-node"
    }

    fn residence(&self) -> Residence {
        Residence::Node(TAGS)
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        let terms = Terms::unchanged(gfp);
        if gfp.contains(GfpFlags::TAGGED) { Terms { node: Some(DATA), ..terms } } else { terms }
    }
}
