//! The outer crate of pagelab: traces, machines, runs and reports.

pub mod logical;
pub mod trace;
