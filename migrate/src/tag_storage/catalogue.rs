//! Every proposed design, by name. Linux has none of them.

use core::fmt;
use std::sync::Arc;

use super::carveout::Carveout;
use super::cleancache::Cleancache;
use super::cma::{CmaV2, CmaV3};
use super::cma_filter::CmaFilter;
use super::cma_flag::CmaFlag;
use super::design::TagStorageDesign;
use super::drop_movable::DropMovable;
use super::grab_all::GrabAll;
use super::metadata::Metadata;
use super::numa_node::NumaNode;
use super::zone_movable::ZoneMovable;

/// A tag-storage design, by name; the decisions are in the file of that name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Design {
    /// Never lent.
    Carveout,
    /// A migratetype of its own (RFC v1).
    Metadata,
    /// CMA; a page without storage is refused (RFC v2).
    CmaV2,
    /// CMA; a page without storage is repaired when touched (RFC v3).
    CmaV3,
    /// CMA; tagged requests are unmovable.
    DropMovable,
    /// CMA; tagged requests look at pages until one suits.
    CmaFilter,
    /// Only the CMA areas that are tag storage are barred to tagged requests.
    CmaFlag,
    /// `ZONE_MOVABLE`.
    ZoneMovable,
    /// A node without CPUs.
    NumaNode,
    /// CMA until the first use of tags takes all of it.
    GrabAll,
    /// Clean copies of file pages only.
    Cleancache,
}

impl Design {
    /// Every design: the baseline, the three series, then what was proposed beside them.
    pub const ALL: [Self; 11] = [
        Self::Carveout,
        Self::Metadata,
        Self::CmaV2,
        Self::CmaV3,
        Self::DropMovable,
        Self::CmaFilter,
        Self::CmaFlag,
        Self::ZoneMovable,
        Self::NumaNode,
        Self::GrabAll,
        Self::Cleancache,
    ];

    /// The name to type and to print.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Carveout => "carveout",
            Self::Metadata => "metadata",
            Self::CmaV2 => "cma-v2",
            Self::CmaV3 => "cma-v3",
            Self::DropMovable => "drop-movable",
            Self::CmaFilter => "cma-filter",
            Self::CmaFlag => "cma-flag",
            Self::ZoneMovable => "zone-movable",
            Self::NumaNode => "numa-node",
            Self::GrabAll => "grab-all",
            Self::Cleancache => "cleancache",
        }
    }

    /// The design of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|design| design.name() == name)
    }

    /// The decisions behind the name.
    #[must_use]
    pub fn build(self) -> Arc<dyn TagStorageDesign> {
        match self {
            Self::Carveout => Arc::new(Carveout),
            Self::Metadata => Arc::new(Metadata),
            Self::CmaV2 => Arc::new(CmaV2),
            Self::CmaV3 => Arc::new(CmaV3),
            Self::DropMovable => Arc::new(DropMovable),
            Self::CmaFilter => Arc::new(CmaFilter),
            Self::CmaFlag => Arc::new(CmaFlag),
            Self::ZoneMovable => Arc::new(ZoneMovable),
            Self::NumaNode => Arc::new(NumaNode),
            Self::GrabAll => Arc::new(GrabAll),
            Self::Cleancache => Arc::new(Cleancache),
        }
    }
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_designs_of_that_name() {
        for design in Design::ALL {
            assert_eq!(design.build().name(), design.name());
            assert_eq!(Design::by_name(design.name()), Some(design));
        }
        assert_eq!(Design::by_name("cma"), None);
    }
}
