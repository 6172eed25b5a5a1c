//! Memory that comes and goes, by scenario: a machine, what is done to it, and who decides what
//! joins the page allocator.
//!
//! A scenario is read and found possible before anything runs. Each gate has a machine of its own;
//! after every step no page may have got lost. What comes out is a value that renderers show.

pub mod csv;
pub mod cxl;
pub mod error;
pub mod expect;
pub mod facts;
pub mod files;
pub mod gates;
pub mod html;
pub mod jsonl;
pub mod list;
pub mod machine;
pub mod measure;
pub mod memory;
mod nearest;
mod perform;
pub mod plan;
pub mod private_file;
pub mod question;
pub mod read_step;
pub mod results;
pub mod runner;
pub mod scenario;
pub mod section;
pub mod shipped;
pub mod step;
pub mod table;
