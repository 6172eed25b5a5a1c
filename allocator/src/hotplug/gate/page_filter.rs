//! The allocator looks at what a request needs.

use crate::hotplug::caps::Caps;
use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Gate, Verdict, View};

/// Everything joins; a page goes only to what it is good enough for.
/// Linux: no counterpart; `GFP_TDX`, which nobody wanted.
#[derive(Clone, Copy, Debug)]
pub struct PageFilter;

impl Gate for PageFilter {
    fn name(&self) -> &'static str {
        "page-filter"
    }

    fn about(&self) -> &'static str {
        "everything joins, requests say what they need (GFP_TDX, GFP_TAGGED)"
    }

    fn place(&self, _view: View<'_>, caps: Caps, needs: Caps) -> Verdict {
        Verdict::unless_lacking(needs - caps, Errno::NoMem)
    }
}
