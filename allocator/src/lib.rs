//! Under construction.
pub mod geometry;
pub mod gfp;
pub mod migratetype;
pub mod profile;
pub mod sync;
pub mod units;
