//! A build: compilers that live for some ticks, files read and written, slabs and page tables that
//! cannot move.

use std::collections::VecDeque;

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::Order;

use super::script::{Process, Script};
use super::{Scale, Workload};
use crate::logical::process::FileNumber;
use crate::logical::{PageId, PageSpan};

/// What the build does. Sizes are pages; the number of jobs and the slabs scale with memory, the
/// values in words are those of a machine of 16 GiB. No build was measured: every value is assumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KbuildParams {
    /// Compilers at one time. Assumed: 32.
    pub jobs: usize,
    /// Anonymous pages of a compiler, least and most. Assumed: 16 to 96 MiB.
    pub job_pages: (u32, u32),
    /// Ticks that a compiler lives, least and most. Assumed: 5 to 30.
    pub job_ticks: (u32, u32),
    /// Pages of headers that every compiler reads. Assumed: 24 MiB.
    pub header_pages: u32,
    /// Pages of a source file. Assumed: 128 KiB.
    pub source_pages: u32,
    /// Pages of an object file. Assumed: 256 KiB.
    pub object_pages: u32,
    /// Source and object files before the oldest are removed. Assumed: 20000.
    pub files: usize,
    /// Slab pages for directory entries and inodes that a job leaves behind. Assumed: 96 KiB, of
    /// which a quarter cannot be shrunk.
    pub slab_pages: u32,
    /// Slab pages before the oldest are freed. Assumed: 600 MiB.
    pub slab_limit: usize,
}

impl KbuildParams {
    /// A build that has the machine for itself.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        let jobs = usize::try_from(scale.memory() * 32 / (16 << 18)).unwrap_or(usize::MAX);
        Self {
            jobs: jobs.max(1),
            job_pages: (16 << 8, 96 << 8),
            job_ticks: (5, 30),
            header_pages: 24 << 8,
            source_pages: 32,
            object_pages: 64,
            files: 20_000,
            slab_pages: 24,
            slab_limit: usize::try_from(scale.mib(600)).unwrap_or(usize::MAX),
        }
    }

    /// A build in a quarter of the machine, beside something else.
    #[must_use]
    pub fn beside(scale: Scale) -> Self {
        let alone = Self::new(scale);
        Self { jobs: (alone.jobs / 4).max(1), slab_limit: alone.slab_limit / 4, ..alone }
    }
}

/// See [`KbuildParams`].
#[derive(Debug)]
pub struct Kbuild {
    params: KbuildParams,
    headers: Option<FileNumber>,
    jobs: Vec<(u32, Process)>,
    slab: VecDeque<PageId>,
    /// Sources and objects, oldest first.
    files: VecDeque<FileNumber>,
}

impl Kbuild {
    /// A build that has not begun.
    #[must_use]
    pub const fn new(params: KbuildParams) -> Self {
        Self {
            params,
            headers: None,
            jobs: Vec::new(),
            slab: VecDeque::new(),
            files: VecDeque::new(),
        }
    }

    /// A file that stays for a while.
    fn remember(&mut self, script: &mut Script, file: FileNumber) {
        self.files.push_back(file);
        if self.files.len() > self.params.files {
            let oldest = self.files.pop_front().expect("more than none");
            script.remove(oldest);
        }
    }

    fn start(&mut self, script: &mut Script, tick: u32) {
        let mut process = script.spawn();
        let headers = *self.headers.get_or_insert_with(|| script.file());
        let all = self.params.header_pages;
        let first = script.pages(0, all - all / 4);
        script.read(headers, PageSpan { first, pages: all / 4 });
        let source = script.file();
        script.read(source, PageSpan { first: 0, pages: self.params.source_pages });
        self.remember(script, source);
        let (least, most) = self.params.job_pages;
        let pages = script.pages(least, most);
        script.grow(&mut process, pages);
        for n in 0..self.params.slab_pages {
            let kind = if n % 4 == 0 { GfpFlags::empty() } else { GfpFlags::RECLAIMABLE };
            self.slab.push_back(script.alloc(Order::ZERO, GfpFlags::KERNEL | kind));
        }
        while self.slab.len() > self.params.slab_limit {
            // Mostly old ones, so that slabs are left half empty.
            let at = script.at(self.slab.len() / 2 + 1);
            let page = self.slab.swap_remove_front(at).expect("some page");
            script.free(page, 1);
        }
        let (short, long) = self.params.job_ticks;
        let end = tick + script.pages(short, long);
        self.jobs.push((end, process));
    }
}

impl Workload for Kbuild {
    fn begin(&mut self, script: &mut Script) {
        while self.jobs.len() < self.params.jobs {
            self.start(script, 0);
        }
    }

    fn tick(&mut self, script: &mut Script, tick: u32) {
        let jobs = core::mem::take(&mut self.jobs);
        let (done, busy): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|(end, _)| *end <= tick);
        self.jobs = busy;
        for (_, process) in done {
            let object = script.file();
            script.write(object, PageSpan { first: 0, pages: self.params.object_pages });
            self.remember(script, object);
            script.exit(process);
        }
        while self.jobs.len() < self.params.jobs {
            self.start(script, tick);
        }
    }
}
