//! The outer crate of pagelab: traces, machines, runs and reports.

pub mod background;
pub mod case_meta;
pub mod cli;
pub mod demo;
pub mod drive;
pub mod emit;
pub mod logical;
pub mod machine;
pub mod picture;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod sample;
pub mod size;
pub mod survey;
pub mod tagger;
pub mod trace;
pub mod workload;
