//! The check of whole ranges as its reviewers wanted it.

use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Checked, Gate, Verdict, View};
use crate::hotplug::printk::{Level, Line};
use crate::hotplug::tdx::{Tdx, TdxState};
use crate::hotplug::veto::Why;
use crate::units::PfnRange;

/// A range that firmware does not vouch for is not added before TDX is in use, either, and none
/// slips through beside it. That one piece of the snapshot has to cover, as posted, stays.
/// No Linux counterpart.
#[derive(Clone, Copy, Debug)]
pub struct TdxRangeLocked;

impl Gate for TdxRangeLocked {
    fn name(&self) -> &'static str {
        "tdx-range-locked"
    }

    fn about(&self) -> &'static str {
        "tdx-range under the lock, and against convertible memory"
    }

    fn add(&self, view: View<'_>, of: &Candidate) -> Verdict {
        let Some(why) = view.tdx.and_then(|tdx| incompatible(tdx, of.range)) else {
            return Verdict::Allow;
        };
        let (start, end) = view.addresses(of.range);
        let text = format!("virt/tdx: Rejecting incompatible memory range: {start:#x}-{end:#x}");
        Verdict::refuse(why, Errno::Inval).saying(Line::new(Level::Info, text))
    }

    fn add_checked(&self) -> Checked {
        Checked::UnderLock
    }
}

/// Once initialization has failed, nothing has to be TDX memory.
fn incompatible(tdx: &Tdx, range: PfnRange) -> Option<Why> {
    let foreign = || (!tdx.is_convertible(range)).then_some(Why::NotConvertible);
    match tdx.state() {
        TdxState::Uninitialized => foreign(),
        TdxState::Initialized(_) => tdx.outside(range).or_else(foreign),
        TdxState::Failed(_) => None,
    }
}
