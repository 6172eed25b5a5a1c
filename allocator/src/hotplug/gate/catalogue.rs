//! All gates.

use crate::hotplug::gate::Gate;
use crate::hotplug::gate::ungated::Ungated;

/// Every gate, in the order of tables.
#[must_use]
pub fn all() -> Vec<&'static dyn Gate> {
    vec![&Ungated]
}

/// The gate with this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Gate> {
    all().into_iter().find(|gate| gate.name() == name)
}
