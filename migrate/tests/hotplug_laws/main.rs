//! Whatever happens to memory that comes and goes, no page is lost, and everybody agrees who has
//! what.

mod found;
mod machine;
mod op;
mod twin;
mod world;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::machine::{Setting, settings};
use crate::op::{Op, ops};
use crate::twin::Fault;
use crate::world::World;

fn run(setting: Setting, ops: &[Op], fault: Fault) -> Result<(), String> {
    let mut world = World::new(setting, fault);
    for (at, &op) in ops.iter().enumerate() {
        world.step(op).map_err(|error| format!("operation {at}, {op:?}: {error}"))?;
    }
    world.give_back()
}

/// Runs `cases` random histories.
fn search(cases: u32, fault: Fault) -> Result<(), String> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let found = runner.run(&(settings(), ops()), |(setting, ops)| {
        run(setting, &ops, fault).map_err(TestCaseError::fail)
    });
    found.map_err(|error| error.to_string())
}

#[test]
fn memory_comes_and_goes_and_the_twin_agrees() {
    search(400, Fault::None).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn canary_every_fault_of_a_bookkeeping_is_found() {
    for fault in
        [Fault::ForgetsMetadata, Fault::ForgetsTails, Fault::ForgetsRefusals, Fault::ForgetsLeaks]
    {
        assert!(search(300, fault).is_err(), "{fault:?}");
    }
}
