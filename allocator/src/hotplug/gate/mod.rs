//! Who may join the page allocator: every rule that is in force or was proposed, as a pure
//! decision.
//!
//! A gate sees a [`View`] and answers for one entry point; it changes nothing. What is not
//! overridden is allowed. One file a gate; [`catalogue`] lists them.
//!
//! The machine says what is (what memory can do, what TDX took, what firmware vouches for), a gate
//! says what follows.

use core::fmt::Debug;

use crate::geometry::Geometry;
use crate::hotplug::caps::{Caps, Origin};
use crate::hotplug::errno::Errno;
use crate::hotplug::platform::Platform;
use crate::hotplug::printk::Line;
use crate::hotplug::tdx::Tdx;
use crate::hotplug::veto::Why;
use crate::units::{NodeId, PageCount, PfnRange};

pub mod capability;
pub mod catalogue;
pub mod cmr_dynamic;
pub mod cmr_state;
pub mod deny_region;
pub mod documented;
pub mod feature_off;
pub mod no_memremap;
pub mod page_filter;
pub mod private_node;
pub mod reject_add;
pub mod tdx_notifier;
pub mod tdx_notifier_loud;
pub mod tdx_range;
pub mod tdx_range_locked;
pub mod ungated;

/// The memory that a gate is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The frames.
    pub range: PfnRange,
    /// Their node.
    pub node: NodeId,
    /// What they can do.
    pub caps: Caps,
    /// Where they come from.
    pub origin: Origin,
}

/// What a gate may look at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The size of its pages, for addresses in messages.
    pub geometry: Geometry,
    /// The machine.
    pub platform: &'a Platform,
    /// TDX, where the platform has it.
    pub tdx: Option<&'a Tdx>,
}

impl View<'_> {
    /// What every page of the allocator must be able to do now.
    #[must_use]
    pub fn required(&self) -> Caps {
        let tee = self.tdx.is_some_and(|tdx| tdx.memlist().is_some());
        self.platform.required() | if tee { Caps::TEE } else { Caps::empty() }
    }

    /// What memory that can do `caps` lacks to be a page of the allocator like others.
    #[must_use]
    pub fn lacking(&self, caps: Caps) -> Caps {
        self.required() - caps
    }

    /// The address of the first byte of a range, and one past the last. Linux: `PFN_PHYS()`.
    #[must_use]
    pub const fn addresses(&self, range: PfnRange) -> (u64, u64) {
        let (start, end) = (range.start().get(), range.end().get());
        let geometry = self.geometry;
        (geometry.bytes_of(PageCount::new(start)), geometry.bytes_of(PageCount::new(end)))
    }

    /// The addresses of the first and the last byte of a range, as most messages have them.
    #[must_use]
    pub const fn ends(&self, range: PfnRange) -> (u64, u64) {
        let (start, end) = self.addresses(range);
        (start, end.saturating_sub(1))
    }
}

/// What a gate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing against it.
    Allow,
    /// No.
    Refuse(Refusal),
}

/// A no, and what the caller and the log are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What is wrong.
    pub why: Why,
    /// What the caller gets.
    pub errno: Errno,
    /// What the gate itself prints.
    pub line: Option<Line>,
}

impl Verdict {
    /// A no without words.
    #[must_use]
    pub const fn refuse(why: Why, errno: Errno) -> Self {
        Self::Refuse(Refusal { why, errno, line: None })
    }

    /// A no with `errno` if something is lacking.
    #[must_use]
    pub const fn unless_lacking(lacking: Caps, errno: Errno) -> Self {
        if lacking.is_empty() { Self::Allow } else { Self::refuse(Why::Lacks(lacking), errno) }
    }

    /// The same verdict; the gate prints `line` with a no.
    #[must_use]
    pub fn saying(self, line: Line) -> Self {
        match self {
            Self::Allow => Self::Allow,
            Self::Refuse(refusal) => Self::Refuse(Refusal { line: Some(line), ..refusal }),
        }
    }
}

/// Which driver gets a range that the system could use as memory. Linux: `dax_kmem`, `device_dax`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// It becomes memory of the page allocator.
    Kmem,
    /// It stays a device.
    Devdax,
}

/// Whether a check is made under the lock that orders it with others, or before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// Before `mem_hotplug_begin()`: the answer may be old when it is acted upon.
    BeforeLock,
    /// Under it, or under another that keeps TDX from being initialized until memory was added.
    UnderLock,
}

/// A rule about memory that joins.
pub trait Gate: Debug + Send + Sync {
    /// One word.
    fn name(&self) -> &'static str;

    /// One line: what it is, and whose.
    fn about(&self) -> &'static str;

    /// What is not used from boot on, so that no page needs it: tags ([`Caps::TAG`]), TDX
    /// ([`Caps::TEE`]).
    fn gives_up(&self) -> Caps {
        Caps::empty()
    }

    /// A region of CXL memory is about to be created.
    fn create_region(&self, _view: View<'_>, _of: &Candidate) -> Verdict {
        Verdict::Allow
    }

    /// Which driver gets a range that wants to be `wanted`, and what is printed.
    fn probe(&self, _view: View<'_>, _of: &Candidate, wanted: Driver) -> (Driver, Option<Line>) {
        (wanted, None)
    }

    /// Memory is about to be added.
    fn add(&self, _view: View<'_>, _of: &Candidate) -> Verdict {
        Verdict::Allow
    }

    /// When [`add`](Self::add) is asked.
    fn add_checked(&self) -> Checked {
        Checked::BeforeLock
    }

    /// Whether memory that was added becomes TDX memory of a module in use.
    fn extends(&self, _view: View<'_>, _of: &Candidate) -> Extends {
        Extends::No
    }

    /// A memory block is about to be onlined.
    fn online(&self, _view: View<'_>, _of: &Candidate) -> Verdict {
        Verdict::Allow
    }

    /// A device's memory is about to get struct pages.
    fn memremap(&self, _view: View<'_>, _of: &Candidate) -> Verdict {
        Verdict::Allow
    }

    /// Whether a page of memory that can do `caps` may hold what needs `needs`.
    fn place(&self, _view: View<'_>, _caps: Caps, _needs: Caps) -> Verdict {
        Verdict::Allow
    }

    /// Which requests may get memory that lacks something every page should have.
    fn reach(&self) -> Reach {
        Reach::All
    }
}

/// Whether memory is taken into the snapshot of TDX.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extends {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Which requests reach memory that is less able than others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// All: memory is memory.
    All,
    /// Those that name its node. Linux: `N_MEMORY_PRIVATE` as posted.
    Bound,
}
