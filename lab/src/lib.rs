//! The outer crate of pagelab: traces, machines, runs and reports.

pub mod background;
pub mod case;
pub mod census;
pub mod cli;
pub mod contender;
pub mod demo;
pub mod drive;
pub mod emit;
pub mod experiment;
pub mod listener;
pub mod logical;
pub mod machine;
pub mod metric;
pub mod picture;
pub mod plan;
pub mod progress;
pub mod replay;
pub mod report;
pub mod run;
pub mod sample;
pub mod size;
pub mod survey;
pub mod tag_layout;
pub mod tagger;
pub mod trace;
pub mod workload;
