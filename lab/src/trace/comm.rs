//! A task's name.

use core::fmt;
use std::borrow::Cow;

/// A task's name: at most 16 bytes, cut when longer. Linux: `current->comm`, `TASK_COMM_LEN`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Comm {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl Comm {
    /// Longest name that is kept, in bytes.
    pub const MAX: usize = 16;

    /// The name with these bytes, cut after [`Comm::MAX`].
    #[must_use]
    pub fn new(name: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX];
        let mut len = 0;
        for (slot, byte) in bytes.iter_mut().zip(name) {
            *slot = *byte;
            len += 1;
        }
        Self { bytes, len }
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The name as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text(), f)
    }
}
