//! What a machine with hotplug is built from.

use crate::hotplug::caps::Caps;
use crate::hotplug::gate::Gate;
use crate::hotplug::group::OnlinePolicy;
use crate::hotplug::platform::Platform;
use crate::hotplug::tdx::Tdx;
use crate::units::NodeId;
use crate::watermark::Tunables;

/// What a machine is before anything is added.
#[derive(Clone, Debug)]
pub struct HotplugSpec {
    /// Architecture and settings.
    pub platform: Platform,
    /// TDX, where the platform has it.
    pub tdx: Option<Tdx>,
    /// Who may join.
    pub gate: &'static dyn Gate,
    /// What boot memory can do.
    pub boot_caps: Caps,
    /// Nodes that there may be. Linux: `node_possible_map`.
    pub possible: Vec<NodeId>,
    /// How plain onlining chooses a zone.
    pub policy: OnlinePolicy,
    /// Watermark tunables of the machine.
    pub tunables: Tunables,
}

impl HotplugSpec {
    /// A machine without TDX whose boot memory can do nothing, with default settings.
    #[must_use]
    pub fn new(platform: Platform, gate: &'static dyn Gate, possible: Vec<NodeId>) -> Self {
        Self {
            platform,
            tdx: None,
            gate,
            boot_caps: Caps::empty(),
            possible,
            policy: OnlinePolicy::default(),
            tunables: Tunables::default(),
        }
    }

    /// Boots without features. Linux: `arm64.nomte`.
    pub(crate) fn give_up(&mut self, features: Caps) {
        self.platform.give_up(features);
        if features.contains(Caps::TEE) {
            self.tdx = None;
        }
    }
}
