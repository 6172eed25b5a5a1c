//! The first approach of 2022: a machine with TDX grows no memory.

use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Gate, Verdict, View};
use crate::hotplug::printk::{Level, Line};
use crate::hotplug::veto::Why;

/// Nothing is added to a platform with TDX, able or not, in use or not.
/// Linux: `arch_memory_add_precheck()` as posted.
#[derive(Clone, Copy, Debug)]
pub struct RejectAdd;

impl Gate for RejectAdd {
    fn name(&self) -> &'static str {
        "reject-add"
    }

    fn about(&self) -> &'static str {
        "nothing is added on a platform with TDX, as posted in 2022"
    }

    fn add(&self, view: View<'_>, of: &Candidate) -> Verdict {
        if view.tdx.is_none() {
            return Verdict::Allow;
        }
        let (start, end) = view.addresses(of.range);
        let text = format!("Unable to add memory [{start:#x}, {end:#x}) on TDX enabled platform.");
        Verdict::refuse(Why::Platform, Errno::Inval).saying(Line::new(Level::Err, text))
    }
}
