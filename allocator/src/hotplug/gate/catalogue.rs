//! All gates.

use crate::hotplug::gate::Gate;
use crate::hotplug::gate::capability::Capability;
use crate::hotplug::gate::cmr_dynamic::CmrDynamic;
use crate::hotplug::gate::cmr_state::CmrState;
use crate::hotplug::gate::deny_region::DenyRegion;
use crate::hotplug::gate::documented::Documented;
use crate::hotplug::gate::feature_off::FeatureOff;
use crate::hotplug::gate::no_memremap::NoMemremap;
use crate::hotplug::gate::page_filter::PageFilter;
use crate::hotplug::gate::private_node::PrivateNode;
use crate::hotplug::gate::reject_add::RejectAdd;
use crate::hotplug::gate::tdx_notifier::TdxNotifier;
use crate::hotplug::gate::tdx_notifier_loud::TdxNotifierLoud;
use crate::hotplug::gate::tdx_range::TdxRange;
use crate::hotplug::gate::tdx_range_locked::TdxRangeLocked;
use crate::hotplug::gate::ungated::Ungated;

/// Every gate, in the order of tables.
#[must_use]
pub fn all() -> Vec<&'static dyn Gate> {
    vec![
        &Ungated,
        &TdxNotifier,
        &TdxNotifierLoud,
        &TdxRange,
        &TdxRangeLocked,
        &RejectAdd,
        &CmrState,
        &CmrDynamic,
        &Capability,
        &DenyRegion,
        &PrivateNode,
        &PageFilter,
        &FeatureOff,
        &Documented,
        &NoMemremap,
    ]
}

/// The gate with this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Gate> {
    all().into_iter().find(|gate| gate.name() == name)
}
