//! Regions that are not fit to be memory stay devices.

use crate::hotplug::caps::{Caps, Origin};
use crate::hotplug::gate::{Candidate, Driver, Gate, View};
use crate::hotplug::printk::{Level, Line};

/// A region that cannot do what every page has to is not online-capable; what was there at boot is
/// not asked. Linux: no counterpart; a flag of CXL regions in a mail of 2024.
#[derive(Clone, Copy, Debug)]
pub struct Capability;

impl Gate for Capability {
    fn name(&self) -> &'static str {
        "capability"
    }

    fn about(&self) -> &'static str {
        "a region that lacks something stays devdax, with a warning"
    }

    fn probe(&self, view: View<'_>, of: &Candidate, wanted: Driver) -> (Driver, Option<Line>) {
        let lacking = view.lacking(of.caps);
        if wanted == Driver::Devdax || of.origin == Origin::Boot || lacking.is_empty() {
            return (wanted, None);
        }
        let (start, last) = view.ends(of.range);
        let mut text = format!("[mem {start:#010x}-{last:#010x}] lacks {lacking}: devdax only");
        if lacking.contains(Caps::TAG) {
            text.push_str("; pass arm64.nomte to prefer the memory");
        }
        (Driver::Devdax, Some(Line::new(Level::Warn, text)))
    }
}
