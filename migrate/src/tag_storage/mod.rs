//! Tag storage: memory that holds MTE tags when tags are needed, and data otherwise.
pub mod blocks;
pub mod formula;
pub mod map;
pub mod placement;
pub mod region;
