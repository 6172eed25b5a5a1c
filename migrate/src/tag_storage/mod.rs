//! Tag storage: memory that holds MTE tags when tags are needed, and data otherwise.
//!
//! [`TagStorage`] owns regions, counts and page flags once, for all designs; what differs between
//! the proposals is a [`design::TagStorageDesign`].

pub mod blocks;
pub mod caches;
pub mod carveout;
pub mod catalogue;
pub mod clean_store;
pub mod cleancache;
pub mod cma;
pub mod cma_filter;
pub mod cma_flag;
pub mod cma_v2;
pub mod cma_v3;
pub mod design;
pub mod drop_movable;
pub mod formula;
pub mod grab_all;
pub mod ledger;
pub mod map;
pub mod metadata;
pub mod numa_node;
pub mod page_set;
pub mod placement;
pub mod region;
pub mod reserve;
pub mod stats;
pub mod taggable_hw;
pub mod zone_movable;
pub mod zones;

use std::collections::BTreeSet;
use std::sync::Arc;

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use self::caches::Caches;
use self::clean_store::CleanStore;
use self::design::{CarveOutTags, FirstUse, Reservation, Residence, TagStorageDesign};
use self::ledger::Ledger;
use self::map::TagMap;
use self::stats::TagStats;
use crate::mover::TargetRules;

const ONE_PAGE: PageCount = PageCount::new(1);

/// The tag storage of a machine under one design.
///
/// Invariants, checked by [`TagStorage::check`]:
///
/// - Every block counts one plus the reserved data pages whose tags it holds.
/// - Tags are kept aside only for pages without tag storage.
/// - The store of clean copies has exactly the frames of blocks that are lent to it.
#[derive(Clone, Debug)]
pub struct TagStorage {
    design: Arc<dyn TagStorageDesign>,
    ledger: Ledger,
    caches: Caches,
    /// Pages whose tags were copied while their storage was missing. Linux (RFC): `tags_by_pfn`.
    stash: BTreeSet<Pfn>,
    stats: TagStats,
    first_use: FirstUse,
    /// Frames that hold clean copies; none unless the design keeps tag storage there.
    clean: CleanStore,
}

impl TagStorage {
    /// Tag storage of a machine whose frames are `span`.
    #[must_use]
    pub fn new(design: Arc<dyn TagStorageDesign>, map: TagMap, span: PfnRange) -> Self {
        let mut ledger = Ledger::new(map, span);
        let mut clean = CleanStore::default();
        let residence = design.residence();
        for block in ledger.map().ids() {
            if !residence.is_lent() || ledger.map().is_nested_block(block) {
                ledger.keep(block);
            } else if residence == Residence::CleanStore {
                clean.give(ledger.map().range(block));
            }
        }
        Self {
            first_use: FirstUse::OnDemand,
            design,
            ledger,
            caches: Caches::new(span),
            stash: BTreeSet::new(),
            stats: TagStats::default(),
            clean,
        }
    }

    /// From now on, the first use of tags is the system's: the zero page, whose tags are reserved
    /// at boot, is nobody's.
    pub(crate) fn await_first_use(&mut self) {
        self.first_use = self.design.first_use();
    }

    /// The design in force.
    #[must_use]
    pub fn design(&self) -> &dyn TagStorageDesign {
        &*self.design
    }

    /// Counts and page flags.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The cache model.
    #[must_use]
    pub const fn caches(&self) -> &Caches {
        &self.caches
    }

    /// The cache model, to leave maintenance out or to note a write.
    pub const fn caches_mut(&mut self) -> &mut Caches {
        &mut self.caches
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &TagStats {
        &self.stats
    }

    pub(crate) const fn stats_mut(&mut self) -> &mut TagStats {
        &mut self.stats
    }

    /// The clean copies in tag storage.
    #[must_use]
    pub const fn clean(&self) -> &CleanStore {
        &self.clean
    }

    pub(crate) const fn clean_mut(&mut self) -> &mut CleanStore {
        &mut self.clean
    }

    /// Pages whose tags are kept aside.
    #[must_use]
    pub fn stashed(&self) -> usize {
        self.stash.len()
    }

    /// Whether the page's tags are kept aside, because its tag storage is missing.
    #[must_use]
    pub fn is_stashed(&self, pfn: Pfn) -> bool {
        self.stash.contains(&pfn)
    }

    /// Whether the machine has tag storage at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ledger.map().is_empty()
    }

    /// Whether `pfn` is tag storage that can never be tagged.
    #[must_use]
    pub fn is_untaggable(&self, pfn: Pfn) -> bool {
        self.design.carve_out_tags() == CarveOutTags::Impossible
            && self.ledger.map().is_tag_storage(pfn)
    }

    /// Whether the page may carry tags now.
    #[must_use]
    pub fn is_reserved(&self, pfn: Pfn) -> bool {
        self.ledger.is_reserved(pfn)
    }

    /// Whether reserving may have to move memory, and so may sleep.
    pub(crate) fn must_sleep(&self) -> bool {
        self.design.reservation() != Reservation::NotNeeded
            && self.design.residence().may_need_migration()
    }

    /// A request for data pages as the design wants it; [`GfpFlags::TAGGED`] marks those that will
    /// carry tags. Linux (RFC): `arch_calc_gfp()` and `arch_alloc_cma()`.
    #[must_use]
    pub fn request(&self, order: Order, gfp: GfpFlags) -> AllocRequest {
        self.design.terms(gfp).request(order)
    }

    /// What migration targets gain and lose under the design.
    pub(crate) fn target_rules(&self) -> TargetRules {
        let plain = GfpFlags::HIGHUSER_MOVABLE;
        let wanted = self.design.migration_target(plain);
        let tagged = self.design.terms(wanted);
        TargetRules {
            tagged_added: wanted.difference(plain),
            tagged_dropped: plain.difference(tagged.gfp),
            tagged_barred: tagged.barred,
            tagged_granted: tagged.granted,
            plain_granted: self.design.terms(plain).granted,
            tagged_nodes: None,
        }
    }

    /// How a block is isolated while it is claimed.
    fn isolate_mode(&self) -> IsolateMode {
        match self.design.residence() {
            Residence::Pageblocks(mt) => IsolateMode::CmaAlloc(mt),
            _ => IsolateMode::Other,
        }
    }

    /// Data was stored into frames; matters only in tag storage.
    pub(crate) fn wrote_data(&mut self, frames: PfnRange) {
        for region in self.ledger.map().regions() {
            if let Some(part) = region.tags().intersect(frames) {
                self.caches.wrote_data(part);
            }
        }
    }

    /// Tags of pages were copied: into their storage, or aside when it is missing.
    /// Linux (RFC): `copy_highpage()`.
    pub(crate) fn copied_tags(&mut self, pages: PfnRange) {
        for pfn in pages.iter() {
            if self.is_reserved(pfn) || self.has_storage_always(pfn) {
                self.caches.wrote_tags(pfn);
            } else if self.stash.insert(pfn) {
                self.stats.stashed_pages += 1;
            }
        }
    }

    /// Where storage is never lent, a page has it as soon as it carries tags: none are kept aside.
    fn has_storage_always(&mut self, pfn: Pfn) -> bool {
        if self.design.reservation() != Reservation::NotNeeded || self.is_untaggable(pfn) {
            return false;
        }
        let Ok(begun) = self.ledger.begin(pfn, Order::ZERO) else { return false };
        if let Some(mut pending) = begun {
            while pending.next_block().is_some() {
                self.ledger.claimed(&mut pending);
            }
            self.ledger.finish(pending);
        }
        true
    }

    /// Pages that were copied to frames of tagged requests, whose storage was reserved before the
    /// copy: their tags were never aside. Linux (RFC v1, v2): `copy_highpage()`.
    pub(crate) fn copied_into_storage(&mut self, pages: PfnRange) {
        for pfn in pages.iter() {
            if self.stash.remove(&pfn) {
                self.stats.stashed_pages -= 1;
            }
            self.caches.wrote_tags(pfn);
        }
    }

    /// Pages with tag storage get their tags: those kept aside, or zeroes.
    /// Linux (RFC): `tags_by_pfn` restore, `mte_sync_tags()`.
    pub(crate) fn set_tags(&mut self, pages: PfnRange) {
        for pfn in pages.iter() {
            if self.stash.remove(&pfn) {
                self.stats.restored_pages += 1;
            }
            self.caches.wrote_tags(pfn);
        }
    }

    /// Recomputes the invariants.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        self.ledger.check()?;
        same("pages destroyed by write-back", self.caches.corruptions(), 0)?;
        self.check_clean()?;
        for &pfn in &self.stash {
            let is_reserved = self.is_reserved(pfn);
            same(format_args!("{pfn}, whose tags are aside, has storage"), is_reserved, false)?;
        }
        Ok(())
    }

    fn check_clean(&self) -> Result<(), Violation> {
        self.clean.check()?;
        let kept_there = self.design.residence() == Residence::CleanStore;
        let (map, blocks) = (self.ledger.map(), self.ledger.blocks());
        let mut frames = PageCount::ZERO;
        for block in map.ids().filter(|block| kept_there && !blocks.is_reserved(*block)) {
            frames += map.range(block).len();
            for pfn in map.range(block).iter() {
                same(
                    format_args!("{pfn}, which is lent, is in the store"),
                    self.clean.has(pfn),
                    true,
                )?;
            }
        }
        same("frames of clean copies", self.clean.frames(), frames)
    }
}
