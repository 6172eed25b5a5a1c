//! A page is freed while its pageblock is being isolated.
//!
//! Linux: `free_one_page()` against `set_migratetype_isolate()`, both under `zone->lock`.

use pagelab_allocator::{
    migratetype::MigrateType,
    sync::{Arc, Mutex},
};
use pagelab_loom_tests::{model, refutes, thread};

#[derive(Debug)]
struct Block {
    kind: MigrateType,
    free: Vec<MigrateType>,
}

fn race(free: fn(&Mutex<Block>)) {
    let zone = Arc::new(Mutex::new(Block {
        kind: MigrateType::Movable,
        free: vec![MigrateType::Movable],
    }));
    let other = Arc::clone(&zone);
    let freeing = thread::spawn(move || free(&other));
    {
        let mut block = zone.lock();
        block.kind = MigrateType::Isolate;
        block.free.fill(MigrateType::Isolate);
    }
    freeing.join().expect("the freeing thread ends");
    let block = zone.lock();
    assert_eq!(block.free, [MigrateType::Isolate; 2], "a free page escaped the isolation");
}

#[test]
fn a_freed_page_lands_on_the_list_of_its_block() {
    model(|| {
        race(|zone| {
            let mut block = zone.lock();
            let kind = block.kind;
            block.free.push(kind);
        });
    });
}

#[test]
#[cfg_attr(not(loom), ignore = "only loom explores the schedule that fails")]
fn canary_the_type_is_read_under_another_lock() {
    assert!(refutes(|| {
        race(|zone| {
            let kind = zone.lock().kind;
            zone.lock().free.push(kind);
        });
    }));
}
