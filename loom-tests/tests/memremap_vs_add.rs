//! A device's memory gets struct pages while somebody adds it to the system.
//!
//! Linux: `memremap_pages()` against `add_memory_resource()`. A range has memory blocks or belongs
//! to a device, never both: whoever comes second is refused.

use pagelab_allocator::{
    hotplug::pagemap::{PagemapKind, PagemapMemmap, PagemapOps, Remap},
    smp::{Step, hotplug::SharedHotplug},
    sync::Arc,
    units::NodeId,
};
use pagelab_loom_tests::{
    hotplug::{ADD, FOREIGN, tdx_host},
    model, thread,
};

fn share(without: Option<Step>) -> SharedHotplug {
    let (hot, alloc) = tdx_host("ungated");
    match without {
        None => SharedHotplug::new(hot, alloc),
        #[cfg(any(loom, shuttle))]
        Some(step) => SharedHotplug::new_without(hot, alloc, step),
        #[cfg(not(any(loom, shuttle)))]
        Some(step) => panic!("only models leave out {step:?}"),
    }
}

/// Runs an addition against a mapping of the same memory.
fn race(without: Option<Step>) {
    let shared = Arc::new(share(without));
    let adder = Arc::clone(&shared);
    let adding = thread::spawn(move || adder.add_memory(ADD).is_ok());
    let remap = Remap {
        ranges: vec![FOREIGN],
        node: NodeId::new(0),
        kind: PagemapKind::Generic,
        ops: PagemapOps::default(),
        memmap: PagemapMemmap::Whole,
    };
    let mapped = shared.memremap_pages(&remap).is_ok();
    let added = adding.join().expect("the addition ends");
    assert!(mapped != added, "one of them has it, and only one: {mapped} {added}");
    shared.with(|hot, alloc| hot.check(alloc)).expect("no page got lost");
}

#[test]
fn a_range_has_blocks_or_a_device() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_allocator::smp::Step;
    use pagelab_loom_tests::refutes;

    use super::race;

    #[test]
    fn canary_the_range_is_not_taken() {
        assert!(refutes(|| race(Some(Step::RemapTakesRange))));
    }
}
