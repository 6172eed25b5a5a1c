//! A table that starts as zeros, and costs memory only where it was written.
//!
//! A large one is a mapping of its own, in huge pages where the system has them: what is looked at
//! here and there then needs a translation for each 2 MiB of it and not for each 4 KiB, of which a
//! processor remembers a few thousand. Linux: `MADV_HUGEPAGE`.
//!
//! ```
//! let mut links = pagelab_zeroed::Zeroed::<[u32; 2]>::new(1 << 30);
//! links[7] = [1, 2];
//! assert_eq!(links[6..8], [[0, 0], [1, 2]]);
//! ```

#[expect(unsafe_code, reason = "the one module that makes entries of zeros that a mapping has")]
mod table;

pub use crate::table::Zeroed;
