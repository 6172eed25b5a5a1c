//! No struct pages of devices while tags are in use.

use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Gate, Verdict, View};
use crate::hotplug::platform::Mte;
use crate::hotplug::veto::Why;

/// Memory of devices is mapped without tags, so it is not mapped at all; memory that is added as
/// such is not looked at. Linux: no counterpart; `memremap_pages()` in a mail of 2023.
#[derive(Clone, Copy, Debug)]
pub struct NoMemremap;

impl Gate for NoMemremap {
    fn name(&self) -> &'static str {
        "no-memremap"
    }

    fn about(&self) -> &'static str {
        "no device memory with struct pages while tags are in use"
    }

    fn memremap(&self, view: View<'_>, _of: &Candidate) -> Verdict {
        match view.platform.mte {
            Mte::On => Verdict::refuse(Why::Untagged, Errno::Inval),
            Mte::Absent | Mte::Disabled => Verdict::Allow,
        }
    }
}
