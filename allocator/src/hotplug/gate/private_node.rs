//! Memory that is different is a node of its own.

use crate::hotplug::caps::Caps;
use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Gate, Reach, Verdict, View};

/// Everything joins; memory that lacks something is given to those that name its node, and not for
/// what it cannot do. Linux: `N_MEMORY_PRIVATE` as posted.
#[derive(Clone, Copy, Debug)]
pub struct PrivateNode;

impl Gate for PrivateNode {
    fn name(&self) -> &'static str {
        "private-node"
    }

    fn about(&self) -> &'static str {
        "what lacks something is a node that has to be asked for"
    }

    fn place(&self, _view: View<'_>, caps: Caps, needs: Caps) -> Verdict {
        Verdict::unless_lacking(needs - caps, Errno::NoMem)
    }

    fn reach(&self) -> Reach {
        Reach::Bound
    }
}
