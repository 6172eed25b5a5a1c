//! TDX as it is: a notifier of memory blocks.

use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Gate, Verdict, View};

/// A block that was not there when TDX was initialized is not onlined; why, nobody is told.
/// Linux: `tdx_memory_notifier()`.
#[derive(Clone, Copy, Debug)]
pub struct TdxNotifier;

impl Gate for TdxNotifier {
    fn name(&self) -> &'static str {
        "tdx-notifier"
    }

    fn about(&self) -> &'static str {
        "each block at online, against memory at init, as in Linux since 6.8"
    }

    fn online(&self, view: View<'_>, of: &Candidate) -> Verdict {
        let why = view.tdx.and_then(|tdx| tdx.outside(of.range));
        why.map_or(Verdict::Allow, |why| Verdict::refuse(why, Errno::Perm))
    }
}
