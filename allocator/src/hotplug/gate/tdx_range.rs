//! The check of whole ranges that was posted for TDX in 2024, and not taken.

use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Gate, Verdict, View};
use crate::hotplug::printk::{Level, Line};

/// A range that no one piece of the snapshot has is not added. Asked before the lock, and about the
/// snapshot only. Linux: `arch_check_hotplug_memory_range()` as posted.
#[derive(Clone, Copy, Debug)]
pub struct TdxRange;

impl Gate for TdxRange {
    fn name(&self) -> &'static str {
        "tdx-range"
    }

    fn about(&self) -> &'static str {
        "the whole range at add, against memory at init, as posted in 2024"
    }

    fn add(&self, view: View<'_>, of: &Candidate) -> Verdict {
        let Some(why) = view.tdx.and_then(|tdx| tdx.outside(of.range)) else {
            return Verdict::Allow;
        };
        let (start, end) = view.addresses(of.range);
        let text = format!(
            "virt/tdx: Reject hot-adding memory range: {start:#x}-{end:#x} for TDX compatibility."
        );
        Verdict::refuse(why, Errno::Inval).saying(Line::new(Level::Info, text))
    }
}
