//! The outer crate of pagelab: traces, machines, runs and reports.

pub mod case_meta;
pub mod cli;
pub mod demo;
pub mod logical;
pub mod plan;
pub mod size;
pub mod survey;
pub mod tagger;
pub mod trace;
