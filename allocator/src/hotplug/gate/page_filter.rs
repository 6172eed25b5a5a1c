//! The allocator looks at what a request needs.

use crate::hotplug::caps::Caps;
use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Gate, Verdict, View};
use crate::hotplug::veto::Why;

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
        match needs - caps {
            none if none.is_empty() => Verdict::Allow,
            lacking => Verdict::refuse(Why::Lacks(lacking), Errno::NoMem),
        }
    }
}
