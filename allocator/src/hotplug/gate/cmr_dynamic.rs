//! Convertible memory at any time: what a later TDX might allow.

use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Checked, Extends, Gate, Verdict, View};
use crate::hotplug::tdx::Tdx;
use crate::hotplug::veto::Why;

/// Convertible memory is added and becomes TDX memory of a module in use.
/// No Linux counterpart: a thought in a mail of 2022.
#[derive(Clone, Copy, Debug)]
pub struct CmrDynamic;

impl Gate for CmrDynamic {
    fn name(&self) -> &'static str {
        "cmr-dynamic"
    }

    fn about(&self) -> &'static str {
        "convertible memory at any time; a module in use takes it"
    }

    fn add(&self, view: View<'_>, of: &Candidate) -> Verdict {
        match view.tdx {
            Some(tdx) if !tdx.is_convertible(of.range) => {
                Verdict::refuse(Why::NotConvertible, Errno::Inval)
            }
            Some(_) | None => Verdict::Allow,
        }
    }

    fn add_checked(&self) -> Checked {
        Checked::UnderLock
    }

    fn extends(&self, view: View<'_>, of: &Candidate) -> Extends {
        let new = |tdx: &Tdx| tdx.memlist().is_some() && !tdx.is_tdx_memory(of.range);
        match view.tdx {
            Some(tdx) if new(tdx) && tdx.is_convertible(of.range) => Extends::Yes,
            Some(_) | None => Extends::No,
        }
    }
}
