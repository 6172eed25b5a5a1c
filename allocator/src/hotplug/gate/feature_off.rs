//! The feature is given up for the memory.

use crate::hotplug::caps::Caps;
use crate::hotplug::gate::Gate;

/// Everything joins, and no page needs tags or has to be TDX memory. Linux: `arm64.nomte`.
#[derive(Clone, Copy, Debug)]
pub struct FeatureOff;

impl Gate for FeatureOff {
    fn name(&self) -> &'static str {
        "feature-off"
    }

    fn about(&self) -> &'static str {
        "everything joins, tags and TDX are off (arm64.nomte)"
    }

    fn gives_up(&self) -> Caps {
        Caps::TAG | Caps::TEE
    }
}
