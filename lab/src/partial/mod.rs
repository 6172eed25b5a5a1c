//! Output that is there whole or not at all, even when someone interrupts the process.

mod apart;
mod error;
mod file;
mod folder;
mod temporary;

pub use apart::apart;
pub use error::WriteError;
pub(crate) use error::at;
pub use file::PartialFile;
pub use folder::PartialFolder;
pub use temporary::abandon;
