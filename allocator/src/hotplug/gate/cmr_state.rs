//! The second approach of 2022: what firmware vouches for, until TDX is in use.

use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Checked, Gate, Verdict, View};
use crate::hotplug::veto::Why;

/// Convertible memory is added as long as the module is not initialized; a running initialization
/// is waited for. Linux: never written; `tdx_init_disable()` in a mail.
#[derive(Clone, Copy, Debug)]
pub struct CmrState;

impl Gate for CmrState {
    fn name(&self) -> &'static str {
        "cmr-state"
    }

    fn about(&self) -> &'static str {
        "convertible memory before the module is initialized, nothing after"
    }

    fn add(&self, view: View<'_>, of: &Candidate) -> Verdict {
        match view.tdx {
            Some(tdx) if tdx.memlist().is_some() => {
                Verdict::refuse(Why::ModuleInitialized, Errno::Inval)
            }
            Some(tdx) if !tdx.is_convertible(of.range) => {
                Verdict::refuse(Why::NotConvertible, Errno::Inval)
            }
            Some(_) | None => Verdict::Allow,
        }
    }

    fn add_checked(&self) -> Checked {
        Checked::UnderLock
    }
}
