//! Memory is added and onlined while TDX is initialized.
//!
//! Linux: `add_memory_resource()` and `online_pages()` against `init_tdx_module()`. While TDX
//! works, every page of the allocator is memory that TDX can use: either the addition is refused,
//! or initialization fails.

use pagelab_allocator::{
    online::OnlineTo,
    smp::{Step, hotplug::SharedHotplug},
    sync::Arc,
};
use pagelab_loom_tests::{
    hotplug::{ADD, FOREIGN, tdx_host},
    model, thread,
};

fn share(gate: &str, without: Option<Step>) -> SharedHotplug {
    let (hot, alloc) = tdx_host(gate);
    match without {
        None => SharedHotplug::new(hot, alloc),
        #[cfg(any(loom, shuttle))]
        Some(step) => SharedHotplug::new_without(hot, alloc, step),
        #[cfg(not(any(loom, shuttle)))]
        Some(step) => panic!("only models leave out {step:?}"),
    }
}

/// Runs an addition against an initialization, under one gate.
fn race(gate: &str, without: Option<Step>) {
    let shared = Arc::new(share(gate, without));
    let adder = Arc::clone(&shared);
    let adding = thread::spawn(move || {
        if adder.add_memory(ADD).is_ok() {
            let block = adder.with(|hot, _| hot.ids(FOREIGN).next()).expect("it has a block");
            // What the gate says to it is the point.
            let _ = adder.online_block(block, OnlineTo::Kernel);
        }
    });
    let _ = shared.init_tdx();
    adding.join().expect("the addition ends");
    let foreign = shared.with(|hot, alloc| {
        hot.check(alloc).expect("no page got lost");
        hot.violations()
    });
    assert_eq!(foreign.get(), 0, "the allocator has memory that TDX cannot use");
}

#[test]
fn the_notifier_of_today_lets_no_foreign_memory_in() {
    model(|| race("tdx-notifier", None));
}

#[test]
fn a_check_under_the_lock_lets_none_in() {
    model(|| race("tdx-range-locked", None));
    model(|| race("cmr-state", None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_allocator::smp::Step;
    use pagelab_loom_tests::refutes;

    use super::race;

    #[test]
    fn canary_the_patch_as_posted_checks_before_the_lock() {
        assert!(refutes(|| race("tdx-range", None)));
    }

    #[test]
    fn canary_the_snapshot_is_old_when_it_is_used() {
        assert!(refutes(|| race("tdx-notifier", Some(Step::InitHoldsLock))));
    }

    #[test]
    fn canary_nobody_checks() {
        assert!(refutes(|| race("documented", None)));
    }
}
