//! A phone: apps are launched, used and killed, files come and go, a camera wants contiguous
//! buffers.

use std::collections::VecDeque;

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, PageCount};
use pagelab_migrate::fault::Access;

use super::script::{Process, Script};
use super::{Scale, Workload};
use crate::logical::process::FileNumber;
use crate::logical::{PageId, PageSpan};

/// What the phone does. Sizes are pages and scale with memory; the values in words are those of a
/// machine of 16 GiB. No device was measured: every value is assumed unless a source is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhoneParams {
    /// System processes that live for ever. Assumed: 12.
    pub services: u32,
    /// Anonymous pages of each. Assumed: 80 MiB.
    pub service_pages: u32,
    /// Anonymous pages that every app shares with its parent until it writes. Assumed: 40 MiB.
    pub zygote_pages: u32,
    /// Apps installed. Assumed: 60.
    pub apps: u32,
    /// Apps in memory before the oldest is killed. Assumed: 22.
    pub live_apps: usize,
    /// Anonymous pages of an app, least and most. Assumed: 60 to 320 MiB.
    pub app_pages: (u32, u32),
    /// Pages of an app's code and resources, least and most. Assumed: 60 to 220 MiB.
    pub app_files: (u32, u32),
    /// Launches or switches in 1000 ticks. Assumed: 150.
    pub launches: u32,
    /// Pages of graphics buffers of an app. Assumed: 40 MiB, in blocks of the orders that the
    /// dma-buf system heap tries first: 8 and 4 (Linux: `orders[]` in system_heap.c).
    pub graphics_pages: u32,
    /// Pages of a piece of media that is read once. Assumed: 4 MiB a tick.
    pub media_pages: u32,
    /// Pages written to files a tick. Assumed: 256 KiB.
    pub written_pages: u32,
    /// Slabs allocated before the first tick: three in four of order 3, Linux's largest for small
    /// objects (`slub_max_order`), the others single pages. Assumed: 650 MiB in all.
    pub slabs: u32,
    /// Slabs replaced a tick. Assumed: 24.
    pub slab_churn: u32,
    /// Pages of system files, read before the first tick. Assumed: 2000 MiB.
    pub system_files: u32,
    /// Ticks between two uses of the camera. Assumed: 120.
    pub camera_every: u32,
    /// Ticks that the camera is on. Assumed: 30.
    pub camera_ticks: u32,
    /// Camera buffers. Assumed: 6.
    pub camera_buffers: u32,
    /// Pages of each: so that all take three quarters of the CMA area. Assumed.
    pub camera_pages: u32,
}

impl PhoneParams {
    /// A phone with so much memory and ordinary CMA.
    #[must_use]
    pub fn new(scale: Scale, cma: PageCount) -> Self {
        let camera_buffers = 6;
        let share = cma.get() * 3 / 4 / u64::from(camera_buffers);
        Self {
            services: 12,
            service_pages: scale.mib(80),
            zygote_pages: scale.mib(40),
            apps: 60,
            live_apps: 22,
            app_pages: (scale.mib(60), scale.mib(320)),
            app_files: (scale.mib(60), scale.mib(220)),
            launches: 150,
            graphics_pages: scale.mib(40),
            media_pages: scale.mib(4),
            written_pages: scale.mib(1).div_ceil(4),
            slabs: scale.mib(104),
            slab_churn: 24,
            system_files: scale.mib(2000),
            camera_every: 120,
            camera_ticks: 30,
            camera_buffers,
            camera_pages: u32::try_from(share).unwrap_or(u32::MAX),
        }
    }
}

/// An installed app.
#[derive(Clone, Copy, Debug)]
struct App {
    file: FileNumber,
    file_pages: u32,
    anon_pages: u32,
}

/// An app in memory.
#[derive(Debug)]
struct Running {
    app: usize,
    process: Process,
    graphics: Vec<(PageId, Order)>,
}

/// See [`PhoneParams`].
#[derive(Debug)]
pub struct Phone {
    params: PhoneParams,
    apps: Vec<App>,
    zygote: Option<Process>,
    services: Vec<Process>,
    /// The one used last is at the end.
    running: VecDeque<Running>,
    slab: Vec<(PageId, Order)>,
    camera: Vec<PageId>,
    camera_off: u32,
    media: Option<(FileNumber, u32)>,
    store: Option<FileNumber>,
}

/// Pages of a media file before the next one begins: 64 MiB.
const MEDIA_FILE: u32 = 16_384;
/// Pages of the store that apps write to, over and over: 64 MiB.
const STORE_FILE: u32 = 16_384;

impl Phone {
    /// A phone that is switched off.
    #[must_use]
    pub const fn new(params: PhoneParams) -> Self {
        Self {
            params,
            apps: Vec::new(),
            zygote: None,
            services: Vec::new(),
            running: VecDeque::new(),
            slab: Vec::new(),
            camera: Vec::new(),
            camera_off: 0,
            media: None,
            store: None,
        }
    }

    fn slab(&mut self, script: &mut Script) {
        let kind = match script.below(4) {
            0 => GfpFlags::RECLAIMABLE,
            _ => GfpFlags::empty(),
        };
        let order = if script.below(4) > 0 { Order::of(3) } else { Order::ZERO };
        let gfp = GfpFlags::KERNEL | GfpFlags::COMP | GfpFlags::NOWARN | GfpFlags::NORETRY;
        self.slab.push((script.alloc(order, gfp | kind), order));
    }

    /// Some app; the lower its number, the more often it is used.
    fn some_app(&self, script: &mut Script) -> usize {
        let first = script.at(self.apps.len());
        first.min(script.at(self.apps.len()))
    }

    fn launch(&mut self, script: &mut Script) {
        let app = self.some_app(script);
        let App { file, file_pages, anon_pages } = self.apps[app];
        if let Some(at) = self.running.iter().position(|running| running.app == app) {
            let running = self.running.remove(at).expect("just found");
            for _ in 0..8 {
                script.visit(&running.process, anon_pages / 16, Access::Write);
            }
            let first = script.pages(0, file_pages);
            script.read(file, PageSpan { first, pages: (file_pages / 8).min(file_pages - first) });
            self.running.push_back(running);
            return;
        }
        let zygote = self.zygote.as_ref().expect("the phone is on");
        let mut process = script.fork(zygote);
        script.read(file, PageSpan { first: 0, pages: file_pages / 2 });
        // The heap grows in a few steps, code is read in between.
        for step in 0..4 {
            script.grow(&mut process, (anon_pages / 4).max(1));
            let first = file_pages / 2 + step * (file_pages / 8);
            script.read(file, PageSpan { first, pages: file_pages / 8 });
        }
        let graphics = self.graphics(script);
        self.running.push_back(Running { app, process, graphics });
        while self.running.len() > self.params.live_apps {
            self.kill_oldest(script);
        }
    }

    fn graphics(&self, script: &mut Script) -> Vec<(PageId, Order)> {
        let gfp = GfpFlags::HIGHUSER | GfpFlags::ZERO | GfpFlags::COMP | GfpFlags::NOWARN;
        let (mut left, mut blocks) = (u64::from(self.params.graphics_pages), Vec::new());
        for order in [Order::of(8), Order::of(4), Order::ZERO] {
            while left >= order.pages().get() {
                left -= order.pages().get();
                // A buffer's large blocks are a bonus; in a hurry nothing is compacted for them.
                let hasty = gfp | GfpFlags::NORETRY;
                blocks.push((script.alloc(order, hasty), order));
            }
        }
        blocks
    }

    fn kill_oldest(&mut self, script: &mut Script) {
        let Some(Running { process, graphics, .. }) = self.running.pop_front() else { return };
        script.exit(process);
        for (id, order) in graphics {
            script.free(id, pages_of(order));
        }
    }

    fn camera(&mut self, script: &mut Script, tick: u32) {
        if !self.camera.is_empty() && tick == self.camera_off {
            let pages = self.params.camera_pages;
            core::mem::take(&mut self.camera).into_iter().for_each(|id| script.free(id, pages));
        }
        if self.params.camera_pages > 0 && tick.is_multiple_of(self.params.camera_every) {
            let buffers = self.params.camera_buffers;
            self.camera.extend((0..buffers).map(|_| script.cma(self.params.camera_pages)));
            self.camera_off = tick + self.params.camera_ticks;
        }
    }

    fn files(&mut self, script: &mut Script) {
        let (file, at) = self.media.unwrap_or_else(|| (script.file(), 0));
        let pages = self.params.media_pages.min(MEDIA_FILE);
        script.read(file, PageSpan { first: at, pages });
        let next = at + pages;
        self.media = (next < MEDIA_FILE).then_some((file, next));
        let store = *self.store.get_or_insert_with(|| script.file());
        let pages = self.params.written_pages.min(STORE_FILE);
        let first = script.pages(0, STORE_FILE - pages + 1);
        script.write(store, PageSpan { first, pages });
    }
}

impl Workload for Phone {
    fn begin(&mut self, script: &mut Script) {
        for _ in 0..self.params.slabs {
            self.slab(script);
        }
        let system = script.file();
        script.read(system, PageSpan { first: 0, pages: self.params.system_files });
        let mut zygote = script.spawn();
        script.grow(&mut zygote, self.params.zygote_pages);
        self.zygote = Some(zygote);
        for _ in 0..self.params.services {
            let mut service = script.spawn();
            script.grow(&mut service, self.params.service_pages);
            self.services.push(service);
        }
        for _ in 0..self.params.apps {
            let (least, most) = self.params.app_pages;
            let (smallest, largest) = self.params.app_files;
            self.apps.push(App {
                file: script.file(),
                file_pages: script.pages(smallest, largest),
                anon_pages: script.pages(least, most),
            });
        }
    }

    fn tick(&mut self, script: &mut Script, tick: u32) {
        if script.chance(self.params.launches) {
            self.launch(script);
        }
        self.camera(script, tick);
        self.files(script);
        let at = script.at(self.services.len());
        script.visit(&self.services[at], self.params.service_pages / 16, Access::Write);
        if let Some(front) = self.running.back() {
            script.visit(&front.process, self.params.app_pages.0 / 16, Access::Write);
        }
        for _ in 0..self.params.slab_churn {
            // Not the oldest first: slabs die at random, and leave holes.
            let at = script.at(self.slab.len());
            let (id, order) = self.slab.swap_remove(at);
            script.free(id, pages_of(order));
            self.slab(script);
        }
    }
}

fn pages_of(order: Order) -> u32 {
    u32::try_from(order.pages().get()).expect("a small block")
}
