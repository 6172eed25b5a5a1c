//! The LRU lists: who was used when, as far as reclaim cares. Linux: `struct lruvec`.
//!
//! One set of lists for the whole machine: lists of several nodes are not kept apart. A folio that
//! somebody isolated keeps its place here; scanners pass it by.

use std::collections::BTreeMap;

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::units::{Order, PageCount};

use crate::folio::FolioId;

/// One of the lists. Linux: `enum lru_list`, without the unevictable one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LruList {
    /// Anonymous memory that may go.
    InactiveAnon,
    /// Anonymous memory in use.
    ActiveAnon,
    /// Page cache that may go.
    InactiveFile,
    /// Page cache in use.
    ActiveFile,
}

/// What a list holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LruKind {
    /// Anonymous memory: goes to swap.
    Anon,
    /// Page cache: is dropped, or written first.
    File,
}

impl LruList {
    /// Every list, in the kernel's order.
    pub const ALL: [Self; 4] =
        [Self::InactiveAnon, Self::ActiveAnon, Self::InactiveFile, Self::ActiveFile];

    /// What it holds.
    #[must_use]
    pub const fn kind(self) -> LruKind {
        match self {
            Self::InactiveAnon | Self::ActiveAnon => LruKind::Anon,
            Self::InactiveFile | Self::ActiveFile => LruKind::File,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl LruKind {
    /// Where folios of the kind are looked for first.
    #[must_use]
    pub const fn inactive(self) -> LruList {
        match self {
            Self::Anon => LruList::InactiveAnon,
            Self::File => LruList::InactiveFile,
        }
    }

    /// Where folios of the kind go that are used again.
    #[must_use]
    pub const fn active(self) -> LruList {
        match self {
            Self::Anon => LruList::ActiveAnon,
            Self::File => LruList::ActiveFile,
        }
    }
}

bitflags::bitflags! {
    /// How a listed folio was used.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Used: u8 {
        /// Since a scanner last looked. Linux: the accessed bit of a page table entry.
        const YOUNG = 1;
        /// Once before. Linux: `PG_referenced`.
        const REFERENCED = 2;
    }
}

/// No folio.
const NONE: u32 = u32::MAX;

/// Neighbours on a list.
#[derive(Clone, Copy, Debug)]
struct Link {
    newer: u32,
    older: u32,
}

/// Where a folio is listed and how it was used, in one byte: a full machine has one for nearly
/// every frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place(u8);

impl Place {
    const UNLISTED: Self = Self(0);
    const LIST_BITS: u32 = 3;

    const fn new(list: LruList) -> Self {
        Self(list as u8 + 1)
    }

    fn list(self) -> Option<LruList> {
        let list = self.0 & ((1 << Self::LIST_BITS) - 1);
        Some(LruList::ALL[usize::from(list.checked_sub(1)?)])
    }

    const fn used(self) -> Used {
        Used::from_bits_truncate(self.0 >> Self::LIST_BITS)
    }

    fn set_used(&mut self, used: Used) {
        let list = self.0 & ((1 << Self::LIST_BITS) - 1);
        self.0 = list | used.bits() << Self::LIST_BITS;
    }

    fn set_list(&mut self, list: LruList) {
        self.0 = Self::new(list).0 | self.used().bits() << Self::LIST_BITS;
    }
}

/// The four lists, newest first.
///
/// Invariants, checked by [`Lru::check`]: every listed folio stands on its list once, and sizes are
/// the sums of their folios' pages.
#[derive(Clone, Debug)]
pub struct Lru {
    links: Vec<Link>,
    places: Vec<Place>,
    /// Orders of the folios that are not single pages.
    large: BTreeMap<FolioId, Order>,
    ends: [Link; 4],
    sizes: [u64; 4],
}

impl Default for Lru {
    fn default() -> Self {
        let empty = Link { newer: NONE, older: NONE };
        Self {
            links: Vec::new(),
            places: Vec::new(),
            large: BTreeMap::new(),
            ends: [empty; 4],
            sizes: [0; 4],
        }
    }
}

impl Lru {
    fn place(&self, id: FolioId) -> Place {
        self.places.get(id.index()).copied().unwrap_or(Place::UNLISTED)
    }

    /// The list that a folio is on.
    #[must_use]
    pub fn list_of(&self, id: FolioId) -> Option<LruList> {
        self.place(id).list()
    }

    /// Pages on a list. Linux: `lruvec_lru_size()`.
    #[must_use]
    pub const fn pages(&self, list: LruList) -> PageCount {
        PageCount::new(self.sizes[list.index()])
    }

    /// Pages on all lists.
    #[must_use]
    pub fn total(&self) -> PageCount {
        PageCount::new(self.sizes.iter().sum())
    }

    /// Puts a folio on a list as its newest. Linux: `lruvec_add_folio()`.
    ///
    /// # Panics
    ///
    /// Panics when it is listed already.
    pub(crate) fn add(&mut self, id: FolioId, list: LruList, order: Order) {
        if self.places.len() <= id.index() {
            self.places.resize(id.index() + 1, Place::UNLISTED);
            self.links.resize(id.index() + 1, Link { newer: NONE, older: NONE });
        }
        assert!(self.list_of(id).is_none(), "{id} listed twice");
        self.places[id.index()] = Place::new(list);
        if order > Order::ZERO {
            self.large.insert(id, order);
        }
        self.sizes[list.index()] += order.pages().get();
        self.link_newest(id, list);
    }

    /// Takes a folio off its list; says which one that was. Linux: `lruvec_del_folio()`.
    pub(crate) fn remove(&mut self, id: FolioId) -> Option<LruList> {
        let list = self.list_of(id)?;
        self.unlink(id, list);
        self.sizes[list.index()] -= self.size(id);
        self.large.remove(&id);
        self.places[id.index()] = Place::UNLISTED;
        Some(list)
    }

    /// Pages of a listed folio.
    fn size(&self, id: FolioId) -> u64 {
        self.large.get(&id).map_or(1, |order| order.pages().get())
    }

    /// Notes a use; folios that are not listed have no use for it.
    #[inline]
    pub(crate) fn mark(&mut self, id: FolioId, used: Used) {
        if let Some(place) = self.places.get_mut(id.index())
            && *place != Place::UNLISTED
        {
            place.set_used(place.used() | used);
        }
    }

    /// How it was used.
    #[must_use]
    pub fn used(&self, id: FolioId) -> Used {
        self.place(id).used()
    }

    /// Forgets uses; says whether there were any.
    pub(crate) fn clear(&mut self, id: FolioId, used: Used) -> bool {
        let place = &mut self.places[id.index()];
        let before = place.used();
        place.set_used(before - used);
        before.intersects(used)
    }

    /// Makes a folio the newest of `list`, which may be its own. Linux: `list_move()`.
    ///
    /// # Panics
    ///
    /// Panics when it is not listed.
    pub(crate) fn promote(&mut self, id: FolioId, list: LruList) {
        self.leave_for(id, list);
        self.link_newest(id, list);
    }

    /// Makes a folio the oldest of `list`, which may be its own. Linux:
    /// `folio_rotate_reclaimable()`.
    ///
    /// # Panics
    ///
    /// Panics when it is not listed.
    pub(crate) fn demote(&mut self, id: FolioId, list: LruList) {
        self.leave_for(id, list);
        let second = self.ends[list.index()].older;
        self.links[id.index()] = Link { newer: second, older: NONE };
        match second {
            NONE => self.ends[list.index()].newer = id.get(),
            second => self.links[second as usize].older = id.get(),
        }
        self.ends[list.index()].older = id.get();
    }

    fn leave_for(&mut self, id: FolioId, list: LruList) {
        let old = self.list_of(id).unwrap_or_else(|| panic!("{id} is on no list"));
        self.unlink(id, old);
        let pages = self.size(id);
        self.sizes[old.index()] -= pages;
        self.sizes[list.index()] += pages;
        self.places[id.index()].set_list(list);
    }

    fn link_newest(&mut self, id: FolioId, list: LruList) {
        let second = self.ends[list.index()].newer;
        self.links[id.index()] = Link { newer: NONE, older: second };
        match second {
            NONE => self.ends[list.index()].older = id.get(),
            second => self.links[second as usize].newer = id.get(),
        }
        self.ends[list.index()].newer = id.get();
    }

    fn unlink(&mut self, id: FolioId, list: LruList) {
        let Link { newer, older } = self.links[id.index()];
        match newer {
            NONE => self.ends[list.index()].newer = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NONE => self.ends[list.index()].older = newer,
            older => self.links[older as usize].newer = newer,
        }
    }

    /// The oldest folio of a list.
    #[must_use]
    pub fn oldest(&self, list: LruList) -> Option<FolioId> {
        some(self.ends[list.index()].older)
    }

    /// The folios of a list, oldest first.
    pub fn iter(&self, list: LruList) -> impl Iterator<Item = FolioId> {
        core::iter::successors(self.oldest(list), |id| some(self.links[id.index()].newer))
    }

    /// Recounts the lists.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        let mut seen = 0;
        for list in LruList::ALL {
            let mut pages = 0;
            for id in self.iter(list) {
                same(format_args!("list of {id} on {list:?}"), self.list_of(id), Some(list))?;
                seen += 1;
                let circular = seen > self.places.len();
                same(format_args!("{list:?} goes round in circles"), circular, false)?;
                pages += self.size(id);
            }
            same(format_args!("pages of {list:?}"), self.pages(list).get(), pages)?;
        }
        let listed = self.places.iter().filter(|place| **place != Place::UNLISTED).count();
        same("folios of the lists", seen, listed)
    }
}

fn some(raw: u32) -> Option<FolioId> {
    (raw != NONE).then(|| FolioId::new(raw))
}

#[cfg(test)]
#[path = "lru_tests.rs"]
mod tests;
