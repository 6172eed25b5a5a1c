//! Regions that are not fit to be memory are not made.

use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Gate, Verdict, View};

/// No region of what cannot do what every page has to: it is neither memory nor a device.
/// Linux: no counterpart; a change of cxl_acpi in a mail of 2024.
#[derive(Clone, Copy, Debug)]
pub struct DenyRegion;

impl Gate for DenyRegion {
    fn name(&self) -> &'static str {
        "deny-region"
    }

    fn about(&self) -> &'static str {
        "no region of what lacks something: neither memory nor device"
    }

    fn create_region(&self, view: View<'_>, of: &Candidate) -> Verdict {
        Verdict::unless_lacking(view.lacking(of.caps), Errno::Inval)
    }
}
