//! Scenarios whose results follow from the published series: each test carries the number of the
//! scenario and the values that were worked out by hand.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails; helpers are not #[test]")]

mod arithmetic;
mod clash;
mod crowd;
mod designs;
mod displaced;
mod lazy;
mod lent;
mod machine;
mod misuse;
mod moved;
mod pinned;
mod programs;
mod sharing;
mod watermark;
