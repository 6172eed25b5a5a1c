//! The notifier of TDX with a message, the simplest answer to that it has none.

use crate::hotplug::gate::tdx_notifier::TdxNotifier;
use crate::hotplug::gate::{Candidate, Gate, Verdict, View};
use crate::hotplug::printk::{Level, Line};

/// Decides as [`TdxNotifier`] does, and says so for every block. No Linux counterpart.
#[derive(Clone, Copy, Debug)]
pub struct TdxNotifierLoud;

impl Gate for TdxNotifierLoud {
    fn name(&self) -> &'static str {
        "tdx-notifier-loud"
    }

    fn about(&self) -> &'static str {
        "tdx-notifier, with a line for each block that it vetoes"
    }

    fn online(&self, view: View<'_>, of: &Candidate) -> Verdict {
        let (start, last) = view.ends(of.range);
        let text = format!("virt/tdx: [mem {start:#010x}-{last:#010x}] is not TDX memory");
        TdxNotifier.online(view, of).saying(Line::new(Level::Warn, text))
    }
}
