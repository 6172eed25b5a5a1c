//! Laws that hold after every operation, whatever the history, and tables of single decisions.
//!
//! The files are named after the noun that they are about. `subject.rs` and `naive.rs` are the
//! oracle: the machine as it shows itself, and what must be true of that.

mod claim;
mod highatomic;
mod history;
mod machine;
mod naive;
mod pcp;
mod small;
mod subject;
mod watermark;
mod zonelist;
