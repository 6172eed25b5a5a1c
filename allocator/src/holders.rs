//! Who holds which block, where a zone's own map need not know.

use core::fmt::Debug;

use crate::buddy::Buddy;
use crate::frame::{FrameIndex, Head};

/// What is written down elsewhere of the blocks that are not on the buddy lists.
pub(crate) trait Holders: Debug + Send + Sync {
    /// What somebody holds from `index` on; `None` where nobody does.
    fn holder(&self, index: FrameIndex) -> Option<Head>;

    /// Another way to the same. A box, as a model checker's `Arc` cannot be one of a trait.
    fn again(&self) -> Box<dyn Holders>;
}

impl Clone for Box<dyn Holders> {
    fn clone(&self) -> Self {
        self.again()
    }
}

impl Buddy {
    /// What starts at `index`. Whoever allocates past the map writes down that he did: what is
    /// neither free nor written down is on a list of some CPU.
    #[inline]
    pub(crate) fn head(&self, index: FrameIndex) -> Option<Head> {
        self.map.head(index).map(|head| self.as_held(index, head))
    }

    /// What a block is that starts at `index`, and of which the map says `head`.
    #[inline]
    pub(crate) fn as_held(&self, index: FrameIndex, head: Head) -> Head {
        match (&self.holders, head) {
            (None, _) | (Some(_), Head::Free(_)) => head,
            (Some(holders), Head::Allocated(order, _) | Head::PerCpu(order)) => {
                holders.holder(index).unwrap_or(Head::PerCpu(order))
            }
        }
    }
}
