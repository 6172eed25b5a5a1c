//! Raids on other types' free lists, counted.

use serde::Serialize;

/// How often other types' lists were raided. Linux: `mm_page_alloc_extfrag`; the classes are those
/// that mmtests' MonitorFtraceextfrag derives from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ExtfragCounts {
    /// Events.
    pub events: u64,
    /// The raided block was smaller than a pageblock.
    pub fragmenting: u64,
    /// For unmovable requests.
    pub unmovable: u64,
    /// For unmovable requests, out of movable lists.
    pub unmovable_in_movable: u64,
    /// The pageblock changed hands. Linux: `change_ownership`.
    pub claimed: u64,
}
