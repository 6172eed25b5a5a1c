//! A table between threads.

use std::sync::atomic::{AtomicU8, Ordering};

use pagelab_zeroed::Zeroed;

#[test]
fn threads_share_entries_that_are_atomic() {
    for len in [1000, if cfg!(miri) { 1 } else { 1 << 21 }] {
        let table = Zeroed::<AtomicU8>::new(len);
        let add = || {
            for entry in table.iter() {
                entry.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| [scope.spawn(add), scope.spawn(add)].map(|_| ()));
        assert!(table.iter().all(|entry| entry.load(Ordering::Relaxed) == 2));
    }
}
