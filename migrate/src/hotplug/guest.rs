//! Guests: their memory, which of it is tagged, and what tiering does to it.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount};

use crate::folio::FolioId;
use crate::hotplug::host::Host;
use crate::hotplug::placement::Binding;
use crate::mover::Split;

/// How a guest uses tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestTags {
    /// Not at all.
    None,
    /// It might, so that every page that is mapped for it is marked as tagged.
    /// Linux: `sanitise_mte_tags()`.
    Every,
    /// It might; pages whose tags it has not used are mapped so that using them leaves the guest.
    /// Linux (RFC): NoTagAccess, `FEAT_MTE_PERM`.
    OnAccess,
}

/// What is known of a page's tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageTags {
    /// Nobody has used them.
    Unused,
    /// They matter.
    Used,
    /// They mattered, and the page went where there are none.
    Lost,
}

/// A folio of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestPage {
    /// Which.
    pub folio: FolioId,
    /// Its tags.
    pub tags: PageTags,
}

/// A guest whose memory is shared with the host: folios that can move. Linux: a VM of KVM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// How it uses tags.
    pub tags: GuestTags,
    /// Its memory.
    pub pages: Vec<GuestPage>,
    /// Times it was left for the sake of a tag.
    pub exits: u64,
    /// Pages that lost their tags: silent corruption.
    pub lost: PageCount,
    /// Splits of the host that it has heard of.
    heard: usize,
}

impl Guest {
    /// Holds the pages of large folios that were split, which have the tags of the whole.
    fn hear(&mut self, splits: &[Split]) {
        for split in &splits[self.heard..] {
            if let Some(page) = self.pages.iter().find(|page| page.folio == split.folio) {
                let tags = page.tags;
                let rest = split.pages.iter().filter(|id| **id != split.folio);
                self.pages.extend(rest.map(|&folio| GuestPage { folio, tags }));
            }
        }
        self.heard = splits.len();
    }
}

/// What became of pages that were to change their tier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tiering {
    /// Pages that moved.
    pub moved: PageCount,
    /// Pages that may not lie there.
    pub refused: PageCount,
    /// Pages for which there was no room, or that did not move.
    pub stayed: PageCount,
    /// Pages that lost their tags.
    pub lost: PageCount,
}

impl<S: Sink> Host<S> {
    /// Starts a guest with so many folios of `order`, from the nodes nearest to `near`.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMem`]; nothing stays allocated then. [`Errno::Inval`] for a guest with tags where
    /// nobody uses tags. Linux: there is no `KVM_CAP_ARM_MTE`.
    pub fn start_guest(
        &mut self,
        folios: u64,
        order: Order,
        tags: GuestTags,
        near: NodeId,
    ) -> Result<Guest, Errno> {
        let in_use = self.hot.platform().required().contains(Caps::TAG);
        if tags != GuestTags::None && !in_use {
            return Err(Errno::Inval);
        }
        let (state, needs) = match tags {
            GuestTags::Every => (PageTags::Used, Caps::TAG),
            GuestTags::None | GuestTags::OnAccess => (PageTags::Unused, Caps::empty()),
        };
        let (pages, heard) = (Vec::new(), self.splits().len());
        let mut guest = Guest { tags, pages, exits: 0, lost: PageCount::ZERO, heard };
        let nodes = self.nodes_for(Binding::Near(near), needs);
        for _ in 0..folios {
            match self.allocate(order, GfpFlags::HIGHUSER_MOVABLE, &nodes) {
                Ok(folio) => {
                    if state == PageTags::Used {
                        self.emulator.memory.folios.set_tagged(folio);
                    }
                    guest.pages.push(GuestPage { folio, tags: state });
                }
                Err(errno) => {
                    self.stop_guest(guest);
                    return Err(errno);
                }
            }
        }
        if needs == Caps::TAG {
            self.note_lost(&mut guest);
        }
        Ok(guest)
    }

    /// Frees the memory of a guest.
    pub fn stop_guest(&mut self, mut guest: Guest) {
        self.tell_splits(&mut guest);
        for page in guest.pages {
            self.emulator.free(CpuId::BOOT, page.folio);
        }
    }

    fn tell_splits(&mut self, guest: &mut Guest) {
        guest.hear(self.splits());
    }

    /// Finds pages whose tags matter where there are none: they are lost. To be called whenever
    /// pages of the guest may have moved on somebody else's behalf.
    pub fn note_lost(&mut self, guest: &mut Guest) {
        self.tell_splits(guest);
        let zones = self.emulator.page_alloc().zones();
        let mut nodes: Vec<_> = zones.iter().map(|zone| zone.node()).collect();
        nodes.dedup();
        let bare: Vec<_> =
            nodes.into_iter().filter(|node| !self.node_caps(*node).contains(Caps::TAG)).collect();
        for page in guest.pages.iter_mut().filter(|page| page.tags == PageTags::Used) {
            if self.node_of(page.folio).is_some_and(|node| bare.contains(&node)) {
                page.tags = PageTags::Lost;
                guest.lost += self.emulator.folios()[page.folio].order().pages();
            }
        }
    }

    /// Moves pages of a guest to `to`, a slower node. Linux: `demote_folio_list()`.
    pub fn demote(
        &mut self,
        guest: &mut Guest,
        pages: core::ops::Range<usize>,
        to: NodeId,
    ) -> Tiering {
        self.tell_splits(guest);
        let mut outcome = Tiering::default();
        let before = guest.lost;
        let uses_tags = |page: &GuestPage| page.tags == PageTags::Used;
        let cold = &guest.pages[pages];
        // A gate is asked, and a no is counted, only about what is to move.
        let tagged = cold.iter().any(uses_tags) && self.may_place(to, Caps::TAG).is_ok();
        let plain = !cold.iter().all(uses_tags) && self.may_place(to, Caps::empty()).is_ok();
        for page in cold {
            if self.node_of(page.folio) == Some(to) {
                continue;
            }
            let len = self.emulator.folios()[page.folio].order().pages();
            if if uses_tags(page) { tagged } else { plain } {
                let moved = self.move_folios(&[page.folio], &[to]);
                outcome.moved += moved;
                outcome.stayed += len.saturating_sub(moved);
            } else {
                outcome.refused += len;
            }
        }
        self.note_lost(guest);
        outcome.lost = guest.lost.saturating_sub(before);
        outcome
    }

    /// The guest uses tags of a page. Where that leaves the guest, the page is brought to memory
    /// that has tags first; says how many pages moved for it.
    ///
    /// # Errors
    ///
    /// [`Errno::Fault`] when the tags are lost, or the page cannot be brought to where there are
    /// some; [`Errno::Inval`] for a guest without tags.
    ///
    /// # Panics
    ///
    /// Panics when the guest has no such page.
    pub fn use_tags(&mut self, guest: &mut Guest, at: usize) -> Result<PageCount, Errno> {
        self.tell_splits(guest);
        let GuestPage { folio, tags } = guest.pages[at];
        match (guest.tags, tags) {
            (GuestTags::None, _) => Err(Errno::Inval),
            (_, PageTags::Lost) => Err(Errno::Fault),
            (_, PageTags::Used) => Ok(PageCount::ZERO),
            (_, PageTags::Unused) => {
                guest.exits += 1;
                let moved = self.promote_for_tags(folio)?;
                // The rest of a page that was split on the way stays unused.
                self.tell_splits(guest);
                guest.pages[at].tags = PageTags::Used;
                self.emulator.memory.folios.set_tagged(folio);
                Ok(moved)
            }
        }
    }

    /// Brings a folio to the nearest node with tags, if it is not on one.
    fn promote_for_tags(&mut self, folio: FolioId) -> Result<PageCount, Errno> {
        let here = self.node_of(folio).ok_or(Errno::Inval)?;
        let able = |host: &Self, node: NodeId| host.node_caps(node).contains(Caps::TAG);
        if able(self, here) {
            return Ok(PageCount::ZERO);
        }
        let nodes: Vec<_> =
            self.nodes_near(here).into_iter().filter(|node| able(self, *node)).collect();
        let moved = self.move_folios(&[folio], &nodes);
        let there = self.node_of(folio).is_some_and(|node| able(self, node));
        if there { Ok(moved) } else { Err(Errno::Fault) }
    }
}
