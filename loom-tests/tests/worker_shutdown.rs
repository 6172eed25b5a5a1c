//! A worker is stopped while it works, and while the memory that it works on is used.
//!
//! Linux: `kthread_stop()` against `kcompactd()`. Work that was sent before the stop is done; the
//! stop waits for the work at hand; nothing stays isolated or reserved. Whoever receives must look
//! for work after he has seen that no more will come, not before.

use std::collections::VecDeque;

use pagelab_allocator::sync::{Arc, Mutex};
use pagelab_allocator::units::{Order, PfnRange};
use pagelab_loom_tests::mm::{DATA, TAGS, end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::page_table::Access;
use pagelab_migrate::smp::worker::{Work, Worker};
use pagelab_migrate::smp::{Placement, Step};

/// A channel, as models need it: what was sent, and whether more may come, each behind a lock.
struct Channel {
    sent: Mutex<VecDeque<Work>>,
    end: Mutex<End>,
}

/// Whether more may come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Closed,
}

impl Channel {
    fn new() -> Self {
        Self { sent: Mutex::new(VecDeque::new()), end: Mutex::new(End::Open) }
    }

    /// Waits for work, or for the end: what was sent before the end is there when the end is.
    fn receive(&self) -> Option<Work> {
        loop {
            let end = *self.end.lock();
            let work = self.sent.lock().pop_front();
            if work.is_some() || end == End::Closed {
                return work;
            }
            thread::yield_now();
        }
    }
}

/// Runs a worker against munmap of the page that it moves, and against its stop.
fn race(receive: fn(&Channel) -> Option<Work>, missing: Option<Step>) {
    let (memory, [mut here, there]) = machine::<2>(missing);
    let table = memory.new_table(1);
    memory.map(&mut here, &table, 0, Placement::Taggable).expect("all is free");
    let frame = table.access(0, Access::Read, |frame| frame).expect("it is mapped");
    let channel = Arc::new(Channel::new());
    let working = thread::spawn({
        let (channel, worker) = (channel.clone(), Worker::new(memory.clone(), there));
        move || worker.serve(|| receive(&channel)).1
    });
    channel.sent.lock().push_back(Work::Compact(PfnRange::block(frame, Order::ZERO)));
    channel.sent.lock().push_back(Work::Prepare(DATA.start()));
    *channel.end.lock() = End::Closed;
    memory.unmap(&mut here, &table, 0);
    let done = working.join().expect("the worker stops");
    assert_eq!(done.moved + done.stayed, 1, "pages looked at");
    assert_eq!(done.prepared, 1, "blocks prepared");
    let block = memory.tags().map().block_at(TAGS.start()).expect("tag storage");
    assert_eq!(memory.tags().count(block), 0, "pages with tags");
    end(&memory, &mut here, vec![table]);
}

#[test]
fn what_was_sent_is_done_and_nothing_is_kept() {
    model(|| race(Channel::receive, None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::{refutes, thread};
    use pagelab_migrate::smp::Step;
    use pagelab_migrate::smp::worker::Work;

    use super::{Channel, End, race};

    /// Looks for work first, and for the end afterwards.
    fn receive_hastily(channel: &Channel) -> Option<Work> {
        loop {
            let work = channel.sent.lock().pop_front();
            if work.is_some() || *channel.end.lock() == End::Closed {
                return work;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn canary_the_stop_overtakes_the_work() {
        assert!(refutes(|| race(receive_hastily, None)));
    }

    #[test]
    fn canary_what_was_prepared_is_kept() {
        assert!(refutes(|| race(Channel::receive, Some(Step::StopLends))));
    }
}
