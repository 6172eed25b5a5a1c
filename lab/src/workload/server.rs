//! A server: a few large processes that live for ever, files read by popularity, logs, and forks
//! for snapshots.

use std::collections::VecDeque;

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::Order;
use pagelab_migrate::fault::Access;

use super::script::{Process, Script};
use super::{Scale, Workload};
use crate::logical::process::FileNumber;
use crate::logical::{PageId, PageSpan};

/// What the server does. Sizes are pages and scale with memory; the values in words are those of a
/// machine of 16 GiB. No machine was measured: every value is assumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerParams {
    /// Large processes. Assumed: 4.
    pub processes: u32,
    /// Anonymous pages of each, in eight areas. Assumed: 1600 MiB.
    pub process_pages: u32,
    /// Pages that each writes a tick. Assumed: 4 MiB.
    pub written_pages: u32,
    /// Files. Assumed: 1000.
    pub files: u32,
    /// Pages of a file. Assumed: 12 MiB.
    pub file_pages: u32,
    /// Files read a tick, in part. Assumed: 12.
    pub reads: u32,
    /// Pages of the log written a tick. Assumed: 512 KiB.
    pub log_pages: u32,
    /// Ticks between two forks. Assumed: 150.
    pub fork_every: u32,
    /// Ticks that a child lives. Assumed: 20.
    pub child_ticks: u32,
    /// Kernel pages for the network that live for a tick. Assumed: 1 MiB, in orders 0 to 3.
    pub network_pages: u32,
    /// Slab pages that stay. Assumed: 300 MiB.
    pub slab_pages: u32,
}

/// Areas of a process.
const AREAS: u32 = 8;

impl ServerParams {
    /// A server with so much memory.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        Self {
            processes: 4,
            process_pages: scale.mib(1600),
            written_pages: scale.mib(4),
            files: 1000,
            file_pages: scale.mib(12),
            reads: 12,
            log_pages: scale.mib(1).div_ceil(2),
            fork_every: 150,
            child_ticks: 20,
            network_pages: scale.mib(1),
            slab_pages: scale.mib(300),
        }
    }
}

/// See [`ServerParams`].
#[derive(Debug)]
pub struct Server {
    params: ServerParams,
    processes: Vec<Process>,
    files: Vec<FileNumber>,
    log: Option<(FileNumber, u32)>,
    children: VecDeque<(u32, Process)>,
    network: Vec<(PageId, Order)>,
}

/// Pages of a log before the next one begins, and the old one is removed: 128 MiB.
const LOG_FILE: u32 = 32_768;

impl Server {
    /// A server that is switched off.
    #[must_use]
    pub const fn new(params: ServerParams) -> Self {
        Self {
            params,
            processes: Vec::new(),
            files: Vec::new(),
            log: None,
            children: VecDeque::new(),
            network: Vec::new(),
        }
    }

    fn files(&mut self, script: &mut Script) {
        for _ in 0..self.params.reads {
            // The lower its number, the more popular a file is.
            let at = script.at(self.files.len()).min(script.at(self.files.len()));
            let all = self.params.file_pages;
            let first = script.pages(0, all);
            let pages = all.div_ceil(4).min(all - first);
            script.read(self.files[at], PageSpan { first, pages });
        }
        let (log, at) = self.log.unwrap_or_else(|| (script.file(), 0));
        let pages = self.params.log_pages.min(LOG_FILE);
        script.write(log, PageSpan { first: at, pages });
        self.log = Some((log, at + pages));
        if at + pages >= LOG_FILE {
            script.remove(log);
            self.log = None;
        }
    }

    fn network(&mut self, script: &mut Script) {
        for (id, order) in core::mem::take(&mut self.network) {
            script.free(id, u32::try_from(order.pages().get()).expect("a small block"));
        }
        let mut left = u64::from(self.params.network_pages);
        while left > 0 {
            let order = [Order::ZERO, Order::ZERO, Order::of(1), Order::of(3)][script.at(4)];
            let gfp = GfpFlags::ATOMIC | GfpFlags::COMP | GfpFlags::NOWARN;
            self.network.push((script.alloc(order, gfp), order));
            left = left.saturating_sub(order.pages().get());
        }
    }

    fn forks(&mut self, script: &mut Script, tick: u32) {
        while self.children.front().is_some_and(|(end, _)| *end <= tick) {
            let (_, child) = self.children.pop_front().expect("just seen");
            script.exit(child);
        }
        if tick.is_multiple_of(self.params.fork_every) {
            let at = script.at(self.processes.len());
            let child = script.fork(&self.processes[at]);
            self.children.push_back((tick + self.params.child_ticks, child));
        }
    }
}

impl Workload for Server {
    fn begin(&mut self, script: &mut Script) {
        for _ in 0..self.params.slab_pages {
            let reclaimable = script.chance(300);
            let kind = if reclaimable { GfpFlags::RECLAIMABLE } else { GfpFlags::empty() };
            script.alloc(Order::ZERO, GfpFlags::KERNEL | kind);
        }
        self.files = (0..self.params.files).map(|_| script.file()).collect();
        for _ in 0..self.params.processes {
            let mut process = script.spawn();
            for _ in 0..AREAS {
                script.grow(&mut process, (self.params.process_pages / AREAS).max(1));
            }
            self.processes.push(process);
        }
    }

    fn tick(&mut self, script: &mut Script, tick: u32) {
        self.network(script);
        self.forks(script, tick);
        for at in 0..self.processes.len() {
            script.visit(&self.processes[at], self.params.written_pages, Access::Write);
        }
        self.files(script);
    }
}
