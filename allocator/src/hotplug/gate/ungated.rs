//! No gate.

use crate::hotplug::gate::Gate;

/// Everything joins, as on arm64 today. Linux: no check in `add_memory_resource()`.
#[derive(Clone, Copy, Debug)]
pub struct Ungated;

impl Gate for Ungated {
    fn name(&self) -> &'static str {
        "ungated"
    }

    fn about(&self) -> &'static str {
        "everything joins, as on arm64 today"
    }
}
