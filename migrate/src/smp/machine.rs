//! Which machine something belongs to.

use pagelab_allocator::sync::Arc;

/// A machine, of which nothing is known but that it is one and no other.
#[derive(Clone, Debug)]
pub(crate) struct Machine(Arc<()>);

impl Machine {
    /// One that is no other.
    pub(crate) fn new() -> Self {
        Self(Arc::new(()))
    }

    /// Whether they are the same.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
