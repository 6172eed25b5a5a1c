//! Every proposed design, held to the same invariants, and each to what is special about it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails; helpers are not #[test]")]

mod aside;
mod canary;
mod churn;
mod copies;
mod given_back;
mod machine;
mod pollution;
mod reach;
mod stuck;
mod taggable;
