//! Many single pages at once: what as many calls would do, under fewer holds of the zone's lock.

use pagelab_percpu::Exclusive;

use crate::page_alloc::AllocRequest;
use crate::rmqueue::ZoneRequest;
use crate::smp::cpu::{Cpu, CpuZone, free_locked, push_single, take_no_list};
use crate::units::{Order, Pfn};

impl<P: Exclusive> Cpu<P> {
    /// Up to `wanted` single pages, those that as many calls of
    /// [`alloc_pages`](Self::alloc_pages) would find, until one would fail. They are the caller's,
    /// to be given back by [`free_singles`](Self::free_singles).
    ///
    /// # Panics
    ///
    /// Panics when `req` is not for single pages.
    #[must_use]
    pub fn alloc_singles(&mut self, req: &AllocRequest, wanted: usize) -> Vec<Pfn> {
        assert_eq!(req.order, Order::ZERO, "single pages");
        let mut got = Vec::with_capacity(wanted);
        while got.len() < wanted {
            self.alloc_unlisted(req, wanted - got.len(), &mut got);
            if got.len() < wanted {
                let Ok(pages) = self.alloc_pages(req) else { break };
                got.push(pages.into_raw().0);
            }
        }
        got
    }

    /// Adds pages to `got` under one hold of the zone's lock while no list of this CPU may serve
    /// the request, and the zone fares well.
    fn alloc_unlisted(&mut self, req: &AllocRequest, wanted: usize, got: &mut Vec<Pfn>) {
        let Some(route) = self.route(req) else { return };
        let Some(&at) = self.shared().zonelist(req).get(route.rank) else { return };
        let migratetype = self.shared().migratetype_of(req.gfp);
        let request = ZoneRequest { order: req.order, migratetype, flags: route.flags };
        let (id, zone) = (self.id(), &self.zones[at].zone);
        if zone.list_of(request).is_some() {
            return;
        }
        let mut locked = zone.lock();
        for _ in 0..wanted {
            if !zone.posted.mood().is_calm(req.order) {
                return;
            }
            let Some(pfn) = take_no_list(&mut locked, id, zone, req, request) else { return };
            got.push(pfn);
            locked.post();
        }
    }

    /// Gives single pages back one after the other. Linux: `free_unref_page_list()`.
    ///
    /// # Panics
    ///
    /// Panics when one of them is not allocated as a single page.
    pub fn free_singles(&mut self, pages: &[Pfn]) {
        let mut left = pages;
        while let Some(&first) = left.first() {
            let has = |zone: &CpuZone<P>| zone.zone.span.contains(first);
            let at = self.zones.iter().position(has).expect("a page lies in a zone");
            let freed = self.free_to_lists(at, left);
            left = &left[freed..];
            let Some(&next) = left.first() else { return };
            let isolated = self.free_isolated(at, left);
            left = &left[isolated..];
            if freed + isolated == 0 {
                let zone = &mut self.zones[at];
                zone.free_any(self.id, zone.posted.index(next), Order::ZERO);
                left = &left[1..];
            }
        }
    }

    /// Frees the pages at the start of `pages` for which nothing is to be done but to put them on
    /// a list, in one turn; says how many.
    fn free_to_lists(&mut self, at: usize, pages: &[Pfn]) -> usize {
        let CpuZone { lists, zone, posted } = &mut self.zones[at];
        lists.with(|lists| {
            let push = |pfn: &&Pfn| {
                let index = posted.index(**pfn);
                posted.is_movable(index) && push_single(posted, lists, index)
            };
            pages.iter().take_while(|pfn| zone.span.contains(**pfn)).take_while(push).count()
        })
    }

    /// Frees the pages at the start of `pages` whose pageblocks are isolated, under one hold of the
    /// zone's lock; says how many. Linux: `free_one_page()`.
    fn free_isolated(&mut self, at: usize, pages: &[Pfn]) -> usize {
        let zone = &self.zones[at];
        let is_isolated = |pfn: &&Pfn| {
            let (zone, posted) = (&zone.zone, &zone.posted);
            zone.span.contains(**pfn) && posted.migratetype(posted.index(**pfn)).bypasses_pcp()
        };
        let count = pages.iter().take_while(is_isolated).count();
        let (id, pages) = (self.id(), &pages[..count]);
        if count > 0 {
            self.with_core(at, |core, posted| {
                // Whatever their types are by now: that is for the zone to look at.
                let indices = pages.iter().map(|&pfn| posted.index(pfn));
                core.zones[0].buddy.map.look_ahead(indices.clone(), Order::ZERO);
                indices.for_each(|index| free_locked(core, id, posted, index, Order::ZERO));
            });
        }
        count
    }
}
