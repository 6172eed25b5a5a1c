//! Many single pages at once: what as many calls would do, under fewer holds of the zone's lock.

use pagelab_percpu::Exclusive;

use crate::gfp::AllocFlags;
use crate::migratetype::MigrateType;
use crate::page_alloc::AllocRequest;
use crate::smp::cpu::Cpu;
use crate::smp::cpu_zone::{CpuZone, push_listed};
use crate::smp::posted::Posted;
use crate::units::{CpuId, Order, Pfn};

/// Whether a request is one that goes past the lists of its CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unlisted {
    Yes,
    No,
}

impl<P: Exclusive> Cpu<P> {
    /// Up to `wanted` single pages, those that as many calls of
    /// [`alloc_pages`](Self::alloc_pages) would find, until one would fail. They are the caller's,
    /// who has numbers and no handles: for [`free_singles`](Self::free_singles),
    /// [`free_raw`](Self::free_raw), or
    /// [`reclaim`](crate::smp::SharedAllocator::reclaim). Linux: `alloc_pages_bulk()`, which stays
    /// in one zone.
    ///
    /// # Panics
    ///
    /// Panics when `req` is not for single pages.
    #[must_use]
    pub fn alloc_singles(&mut self, req: &AllocRequest, wanted: usize) -> Vec<Pfn> {
        assert_eq!(req.order, Order::ZERO, "single pages");
        let (mut got, mut unlisted) = (Vec::with_capacity(wanted), Unlisted::Yes);
        while got.len() < wanted {
            // What a list may serve once it may serve again.
            match unlisted {
                Unlisted::Yes => unlisted = self.alloc_unlisted(req, wanted, &mut got),
                Unlisted::No => self.alloc_listed(req, wanted, &mut got),
            }
            if got.len() < wanted {
                let Ok(pages) = self.alloc_pages(req) else { break };
                got.push(pages.into_raw().0);
            }
        }
        got
    }

    /// Adds up to `wanted` pages to `got` that the list at hand has, in one turn.
    fn alloc_listed(&mut self, req: &AllocRequest, wanted: usize, got: &mut Vec<Pfn>) {
        let Some(list) = self.list_at_hand(req) else { return };
        let CpuZone { lists, posted, .. } = &mut self.zones.hot;
        let posted: &Posted = posted;
        lists.with(|lists| {
            while got.len() < wanted && posted.mood().is_calm(req.order) {
                let Some(pfn) = lists.pop(posted, list, req) else { return };
                got.push(pfn);
            }
        });
    }

    /// Adds up to `wanted` pages to `got` under one hold of the zone's lock, if no list of this CPU
    /// may serve the request, and while the zone fares so well that nobody would look at its
    /// watermarks.
    fn alloc_unlisted(
        &mut self,
        req: &AllocRequest,
        wanted: usize,
        got: &mut Vec<Pfn>,
    ) -> Unlisted {
        let Some(route) = self.route(req) else { return Unlisted::No };
        let Some(&at) = self.shared().zonelist(req).get(route.rank) else { return Unlisted::No };
        let request = self.shared().zone_request(req, route.flags);
        let (id, zone) = (self.id, &self.zones.at(at).zone);
        // Which of them may lie in lent memory is decided page by page.
        let plain = !route.flags.intersects(AllocFlags::HIGHATOMIC | AllocFlags::CMA)
            && request.migratetype == MigrateType::Movable
            && zone.list_of(request).is_none();
        if !plain {
            return Unlisted::No;
        }
        let mut locked = zone.lock();
        while got.len() < wanted {
            let own = &mut locked.zones[0];
            // The counters that tell may fall by more than a page at a time.
            let spare = own.spare_pages().saturating_sub(own.counting_lag());
            let most = u32::try_from(spare.get().min((wanted - got.len()) as u64));
            let Some(most) = most.ok().filter(|&most| most > 0) else { break };
            let Some(run) = own.alloc_run(id, request, most) else { break };
            let kind = own.kind().index();
            locked.stats.pgalloc[kind] += u64::from(run.end - run.start);
            for index in run {
                zone.posted.hold(index, req.order, req.movability());
                got.push(zone.posted.pfn(index));
            }
        }
        Unlisted::Yes
    }

    /// Gives single pages back one after the other, as many calls of [`free_raw`](Self::free_raw)
    /// would. Linux: `free_unref_page_list()`.
    ///
    /// # Panics
    ///
    /// Panics when nobody holds one of them as a single page; those before it are free then.
    pub fn free_singles(&mut self, pages: &[Pfn]) {
        let (id, mut left) = (self.id, pages);
        while let Some(&first) = left.first() {
            let zone = self.zones.of(first).expect("a page lies in a zone");
            left = &left[zone.free_to_lists(id, left)..];
            left = &left[zone.free_unlisted(id, left)..];
        }
    }
}

impl<P: Exclusive> CpuZone<P> {
    /// Frees the pages at the start of `pages` that have a list of this CPU, in one turn; says how
    /// many.
    fn free_to_lists(&mut self, id: CpuId, pages: &[Pfn]) -> usize {
        let Self { lists, zone, .. } = self;
        lists.with(|lists| {
            let mut push =
                |pfn: &&Pfn| push_listed(zone, id, lists, zone.posted.index(**pfn), Order::ZERO);
            let here = pages.iter().take_while(|pfn| zone.span.contains(**pfn));
            here.take_while(|pfn| push(pfn)).count()
        })
    }

    /// Frees the pages at the start of `pages` that have no list, most likely because their
    /// pageblocks are isolated, under one hold of the zone's lock; says how many.
    /// Linux: `free_one_page()`.
    fn free_unlisted(&self, id: CpuId, pages: &[Pfn]) -> usize {
        let zone = &self.zone;
        let posted = &zone.posted;
        let bypasses = |pfn: Pfn| {
            zone.span.contains(pfn) && posted.migratetype(posted.index(pfn)).bypasses_pcp()
        };
        if !pages.first().is_some_and(|&first| bypasses(first)) {
            return 0;
        }
        let (mut left, mut locked) = (pages, zone.lock());
        // What is posted stays as it is while the lock is held.
        while let Some((&first, rest)) = left.split_first() {
            if !bypasses(first) {
                break;
            }
            let isolated = locked.free_isolated(zone.span, left);
            left = &left[isolated..];
            if isolated == 0 {
                locked.free_unlisted(id, posted.index(first), Order::ZERO);
                left = rest;
            }
        }
        pages.len() - left.len()
    }
}
