//! Scenarios whose results follow from the published series: each test carries the number of the
//! scenario and the values that were worked out by hand.

mod arithmetic;
mod sharing;
