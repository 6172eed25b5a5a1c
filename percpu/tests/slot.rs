//! Slots between real threads; Miri runs these too, in fewer rounds.

use std::{panic, thread};

use pagelab_percpu::{Asymmetric, Exclusive, Fence, Locked, Owner, Remote, Slot};

const ROUNDS: u32 = if cfg!(miri) { 50 } else { 200_000 };

fn split<P: Exclusive>(protocol: P) -> (Owner<Vec<u32>, P>, Remote<Vec<u32>, P>) {
    Slot::new(Vec::new(), protocol).split()
}

/// An owner pushes numbers and takes some back while two remotes drain: each number comes out once.
fn every_number_comes_out_once<P: Exclusive + Send + Sync + 'static>(protocol: P) {
    let (mut owner, remote) = split(protocol);
    let drains: Vec<_> = (0..2)
        .map(|_| {
            let remote = remote.clone();
            thread::spawn(move || {
                let drain = |_| remote.with(std::mem::take);
                (0..ROUNDS / 20).flat_map(drain).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut found = Vec::new();
    for n in 0..ROUNDS {
        owner.with(|list| list.push(n));
        if n % 3 == 0 {
            found.extend(owner.with(Vec::pop));
        }
    }
    for drain in drains {
        found.extend(drain.join().expect("the drain ends"));
    }
    found.extend(remote.with(std::mem::take));
    found.sort_unstable();
    assert!(found.into_iter().eq(0..ROUNDS));
}

#[test]
fn the_asymmetric_slot_loses_nothing() {
    every_number_comes_out_once(Asymmetric::new());
}

#[test]
fn the_portable_slot_loses_nothing() {
    every_number_comes_out_once(Asymmetric::with_fence(Fence::PORTABLE));
}

#[test]
fn the_locked_slot_loses_nothing() {
    every_number_comes_out_once(Locked::new());
}

/// Work that panics gives the value back, on both sides.
fn a_panic_ends_the_turn<P: Exclusive>(protocol: P) {
    let (mut owner, remote) = split(protocol);
    let fails = |list: &mut Vec<u32>| {
        list.push(1);
        panic!("as the test wants");
    };
    for _ in 0..2 {
        panic::catch_unwind(panic::AssertUnwindSafe(|| owner.with(fails))).expect_err("it panics");
        panic::catch_unwind(panic::AssertUnwindSafe(|| remote.with(fails))).expect_err("it panics");
    }
    assert_eq!(owner.with(|list| list.len()), 4);
    assert_eq!(remote.with(|list| list.len()), 4);
}

#[test]
fn a_panic_ends_the_turn_of_either_side() {
    a_panic_ends_the_turn(Asymmetric::new());
    a_panic_ends_the_turn(Asymmetric::with_fence(Fence::PORTABLE));
    a_panic_ends_the_turn(Locked::new());
}

#[test]
fn the_owner_moves_between_threads() {
    let (mut owner, remote) = split(Asymmetric::new());
    owner.with(|list| list.push(1));
    let moved = thread::spawn(move || {
        owner.with(|list| list.push(2));
        owner
    });
    let mut owner = moved.join().expect("the thread ends");
    assert_eq!(owner.with(Vec::pop), Some(2));
    assert_eq!(remote.with(Vec::pop), Some(1));
}

#[test]
fn a_slot_has_cache_lines_of_its_own() {
    let address = |remote: &Remote<Vec<u32>>| remote.with(|list| std::ptr::from_ref(list).addr());
    let slots: Vec<_> = (0..8).map(|_| split(Asymmetric::new()).1).collect();
    let mut addresses: Vec<_> = slots.iter().map(address).collect();
    addresses.sort_unstable();
    assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= 64), "{addresses:x?}");
}
