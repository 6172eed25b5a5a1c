//! The same questions to every gate that decides which memory may join.
//!
//! `laws.rs` asks at random; `tables.rs`, `every.rs`, `rows.rs`, `traps.rs` and `race.rs` ask what
//! has a known answer. An oracle is a function that judges a gate; each is shown gates that it must
//! refuse, most of them from `fake.rs`.

mod cases;
mod catalogue;
mod every;
mod fake;
mod laws;
mod race;
mod rows;
mod tables;
mod traps;
mod way;
mod world;
