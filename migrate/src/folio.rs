//! Folios: live allocations, named by an identity that survives migration.
//!
//! A folio knows where it lies, who maps it and who pins it; it does not know which lists it came
//! from. Only `Memory` and the migration code create, move and destroy folios.
//!
//! Nearly every folio has at most one mapping and no pin, so those are stored beside the slab: a
//! slot is 24 bytes.

use core::fmt;
use core::ops::Index;
use std::collections::BTreeMap;

use pagelab_allocator::units::{Order, Pfn, PfnRange};

/// Identity of a live folio, wherever it lies. Identities of dead folios are reused, last first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FolioId(u32);

impl FolioId {
    /// Wraps a raw slot number.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw slot number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for FolioId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folio {}", self.0)
    }
}

/// An address space. Linux: `struct mm_struct *`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpaceId(u32);

impl SpaceId {
    /// Stands for "nobody" inside a folio; never given to a space.
    const NONE: Self = Self(u32::MAX);

    /// Space number `raw`.
    ///
    /// # Panics
    ///
    /// Panics for `u32::MAX`, which is reserved.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        assert!(raw != Self::NONE.0, "space number out of range");
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Virtual page number: virtual address divided by the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct VirtPage(u64);

impl VirtPage {
    /// Wraps a raw virtual page number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw virtual page number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The page `offset` pages further on.
    #[must_use]
    pub const fn plus(self, offset: u64) -> Self {
        Self(self.0 + offset)
    }
}

/// One place where a whole folio is mapped. Linux: one step of `rmap_walk()`.
///
/// A folio of `n` pages mapped at `page` occupies `[page, page + n)`. Mapping a part of a folio
/// needs [`Folios::split`] first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mapping {
    /// The address space.
    pub space: SpaceId,
    /// Where the folio's first page is mapped.
    pub page: VirtPage,
}

/// What a folio holds; decides whether it is on the LRU lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FolioKind {
    /// Kernel memory: never on an LRU list.
    Kernel,
    /// Anonymous user memory.
    Anon,
    /// Shared memory. Linux: `swapbacked` page cache.
    Shmem,
    /// Page cache of a file.
    File,
}

bitflags::bitflags! {
    /// Properties of a folio. Linux: `folio->flags`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FolioFlags: u8 {
        /// On an LRU list: can be isolated and migrated. Linux: `PG_lru`.
        const MOVABLE = 1;
        /// Carries MTE tags, which move along. Linux: `PG_mte_tagged`.
        const TAGGED = 2;
        /// Has an entry in the table of pins.
        const PINNED = 4;
        /// Has an entry in the table of further mappings.
        const SHARED = 8;
    }
}

impl FolioFlags {
    /// Flags that a creator may choose; the others are bookkeeping.
    const CHOSEN: Self = Self::MOVABLE.union(Self::TAGGED);
}

/// How long a pin is expected to last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinTerm {
    /// Short, as for one I/O: an elevated reference count. Linux: `FOLL_PIN` or `folio_get()`.
    Short,
    /// For good, as for RDMA: refused in memory that must stay movable. Linux: `FOLL_LONGTERM`.
    Long,
}

/// Pins on one folio.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pins {
    /// Pins for the time of one operation.
    pub short: u32,
    /// Pins for good.
    pub long: u32,
}

impl Pins {
    fn of(&mut self, term: PinTerm) -> &mut u32 {
        match term {
            PinTerm::Short => &mut self.short,
            PinTerm::Long => &mut self.long,
        }
    }

    /// Pins of both kinds.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.short + self.long
    }
}

/// A live allocation. Linux: `struct folio`.
#[derive(Clone, Debug)]
pub struct Folio {
    pfn: Pfn,
    page: VirtPage,
    space: SpaceId,
    order: Order,
    kind: FolioKind,
    flags: FolioFlags,
}

impl Folio {
    /// The first frame.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Binary logarithm of the number of pages.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// The frames.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        PfnRange::block(self.pfn, self.order)
    }

    /// What it holds.
    #[must_use]
    pub const fn kind(&self) -> FolioKind {
        self.kind
    }

    /// Whether it is on an LRU list, so that migration may try to move it.
    #[must_use]
    pub const fn is_movable(&self) -> bool {
        self.flags.contains(FolioFlags::MOVABLE)
    }

    /// Whether it carries MTE tags.
    #[must_use]
    pub const fn is_tagged(&self) -> bool {
        self.flags.contains(FolioFlags::TAGGED)
    }

    /// Whether somebody holds a reference that migration cannot account for.
    /// Linux: `folio_ref_count()` above the expected count.
    #[must_use]
    pub const fn is_pinned(&self) -> bool {
        self.flags.contains(FolioFlags::PINNED)
    }

    /// Whether at least one page table maps it. Linux: `folio_mapped()`.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.space != SpaceId::NONE
    }

    fn first_mapping(&self) -> Option<Mapping> {
        self.is_mapped().then_some(Mapping { space: self.space, page: self.page })
    }

    fn set_first_mapping(&mut self, mapping: Option<Mapping>) {
        (self.space, self.page) =
            mapping.map_or((SpaceId::NONE, VirtPage::default()), |m| (m.space, m.page));
    }
}

/// Every live folio.
///
/// Invariants, checked by [`Folios::check`]:
///
/// - `PINNED` and `SHARED` are set exactly on folios with an entry in the side tables, and no entry
///   is empty.
/// - Further mappings exist only behind a first one, and no mapping appears twice.
/// - Free slots are on the free list once each.
#[derive(Clone, Debug, Default)]
pub struct Folios {
    slots: Vec<Option<Folio>>,
    free: Vec<FolioId>,
    further: BTreeMap<FolioId, Vec<Mapping>>,
    pins: BTreeMap<FolioId, Pins>,
}

impl Folios {
    /// No folios.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of live folios.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether nothing lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A new folio, unmapped and unpinned.
    ///
    /// # Panics
    ///
    /// Panics when 2^32 folios live, or when `flags` holds bookkeeping bits.
    pub(crate) fn insert(
        &mut self,
        pfn: Pfn,
        order: Order,
        kind: FolioKind,
        flags: FolioFlags,
    ) -> FolioId {
        assert!(FolioFlags::CHOSEN.contains(flags), "{flags:?} are not a creator's to set");
        let (page, space) = (VirtPage::default(), SpaceId::NONE);
        let folio = Folio { pfn, page, space, order, kind, flags };
        if let Some(id) = self.free.pop() {
            self.slots[id.index()] = Some(folio);
            return id;
        }
        let id = FolioId(u32::try_from(self.slots.len()).expect("fewer than 2^32 folios"));
        self.slots.push(Some(folio));
        id
    }

    /// The dead folio's last state.
    ///
    /// # Panics
    ///
    /// Panics when it is not live, still mapped or still pinned.
    pub(crate) fn remove(&mut self, id: FolioId) -> Folio {
        let folio = &self[id];
        assert!(!folio.is_mapped(), "{id} freed with {} mappings", self.map_count(id));
        assert!(!folio.is_pinned(), "{id} freed with {} pins", self.pins(id).total());
        self.free.push(id);
        self.slots[id.index()].take().expect("the slot was just read")
    }

    /// The folio, or `None` when it is not live.
    #[must_use]
    pub fn get(&self, id: FolioId) -> Option<&Folio> {
        self.slots.get(id.index())?.as_ref()
    }

    fn get_mut(&mut self, id: FolioId) -> &mut Folio {
        let slot = self.slots.get_mut(id.index()).and_then(Option::as_mut);
        slot.unwrap_or_else(|| panic!("{id} is not live"))
    }

    /// Live folios by identity, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (FolioId, &Folio)> {
        (0..).map(FolioId).zip(&self.slots).filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
    }

    /// The folio now lies at `to`.
    pub(crate) fn relocate(&mut self, id: FolioId, to: Pfn) {
        self.get_mut(id).pfn = to;
    }

    /// Adds a mapping. Linux: `folio_add_anon_rmap_ptes()` and its siblings.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live.
    pub fn map(&mut self, id: FolioId, mapping: Mapping) {
        let folio = self.get_mut(id);
        if folio.is_mapped() {
            folio.flags |= FolioFlags::SHARED;
            self.further.entry(id).or_default().push(mapping);
        } else {
            folio.set_first_mapping(Some(mapping));
        }
    }

    /// Removes a mapping. Linux: `folio_remove_rmap_ptes()`.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live or not mapped there.
    pub fn unmap(&mut self, id: FolioId, mapping: Mapping) {
        let is_first = self[id].first_mapping() == Some(mapping);
        let Some(further) = self.further.get_mut(&id) else {
            assert!(is_first, "{id} is not mapped at {mapping:?}");
            self.get_mut(id).set_first_mapping(None);
            return;
        };
        let new_first = if is_first {
            Some(further.remove(0))
        } else {
            let at = further.iter().position(|m| *m == mapping);
            further.remove(at.unwrap_or_else(|| panic!("{id} is not mapped at {mapping:?}")));
            None
        };
        if further.is_empty() {
            self.further.remove(&id);
            self.get_mut(id).flags -= FolioFlags::SHARED;
        }
        if new_first.is_some() {
            self.get_mut(id).set_first_mapping(new_first);
        }
    }

    /// Where the folio is mapped, in the order of mapping. Linux: `rmap_walk()`.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live.
    pub fn mappings(&self, id: FolioId) -> impl Iterator<Item = Mapping> {
        self[id].first_mapping().into_iter().chain(self.further(id).iter().copied())
    }

    /// Number of mappings. Linux: `folio_mapcount()`.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live.
    #[must_use]
    pub fn map_count(&self, id: FolioId) -> usize {
        usize::from(self[id].is_mapped()) + self.further(id).len()
    }

    fn further(&self, id: FolioId) -> &[Mapping] {
        match self[id].flags.contains(FolioFlags::SHARED) {
            true => &self.further[&id],
            false => &[],
        }
    }

    /// Takes a pin, without asking whether the memory may be pinned; `Memory::pin` asks.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live.
    pub(crate) fn pin(&mut self, id: FolioId, term: PinTerm) {
        self.get_mut(id).flags |= FolioFlags::PINNED;
        *self.pins.entry(id).or_default().of(term) += 1;
    }

    /// Drops a pin. Linux: `unpin_user_page()`.
    ///
    /// # Panics
    ///
    /// Panics when no such pin is held.
    pub fn unpin(&mut self, id: FolioId, term: PinTerm) {
        let pins = self.pins.get_mut(&id).unwrap_or_else(|| panic!("{id} has no pins"));
        let count = pins.of(term);
        assert!(*count > 0, "{id} has no {term:?} pins");
        *count -= 1;
        if pins.total() == 0 {
            self.pins.remove(&id);
            self.get_mut(id).flags -= FolioFlags::PINNED;
        }
    }

    /// Pins on a folio.
    #[must_use]
    pub fn pins(&self, id: FolioId) -> Pins {
        self.pins.get(&id).copied().unwrap_or_default()
    }

    /// Marks the folio as carrying tags. Linux: `set_page_mte_tagged()`.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live.
    pub fn set_tagged(&mut self, id: FolioId) {
        self.get_mut(id).flags |= FolioFlags::TAGGED;
    }

    /// Turns a folio of order `n` into `2^n` folios of one page, in frame order; the first keeps
    /// its identity. Mappings are divided, tags are inherited. Linux: `split_folio()`.
    ///
    /// The allocator has to be told as well (`split_page()`), and so have the page tables.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live, or pinned: a pin cannot be divided.
    pub(crate) fn split(&mut self, id: FolioId) -> Vec<FolioId> {
        let whole = self[id].clone();
        assert!(!whole.is_pinned(), "{id} split with {} pins", self.pins(id).total());
        let mappings: Vec<_> = self.mappings(id).collect();
        self.get_mut(id).order = Order::ZERO;
        let mut singles = vec![id];
        for (offset, pfn) in (0..).zip(whole.range().iter()).skip(1) {
            let flags = whole.flags & FolioFlags::CHOSEN;
            let single = self.insert(pfn, Order::ZERO, whole.kind, flags);
            for m in &mappings {
                self.map(single, Mapping { space: m.space, page: m.page.plus(offset) });
            }
            singles.push(single);
        }
        singles
    }

    /// Recomputes the invariants of the tables.
    ///
    /// # Errors
    ///
    /// The first violation, in words with both numbers.
    pub fn check(&self) -> Result<(), String> {
        for &id in &self.free {
            if self.get(id).is_some() {
                return Err(format!("{id} is live and on the free list"));
            }
        }
        let dead = self.slots.iter().filter(|slot| slot.is_none()).count();
        if dead != self.free.len() {
            return Err(format!("{dead} dead slots, {} on the free list", self.free.len()));
        }
        for (id, folio) in self.iter() {
            self.check_one(id, folio)?;
        }
        let flagged = |flag| self.iter().filter(move |(_, f)| f.flags.contains(flag)).count();
        for (flag, entries) in
            [(FolioFlags::SHARED, self.further.len()), (FolioFlags::PINNED, self.pins.len())]
        {
            if flagged(flag) != entries {
                return Err(format!("{} folios {flag:?}, {entries} entries", flagged(flag)));
            }
        }
        Ok(())
    }

    fn check_one(&self, id: FolioId, folio: &Folio) -> Result<(), String> {
        if folio.is_pinned() != (self.pins(id).total() > 0) {
            return Err(format!("{id}: {:?} with {:?}", folio.flags, self.pins(id)));
        }
        let further = self.further.get(&id).map_or(0, Vec::len);
        if folio.flags.contains(FolioFlags::SHARED) != (further > 0) {
            return Err(format!("{id}: {:?} with {further} further mappings", folio.flags));
        }
        if further > 0 && !folio.is_mapped() {
            return Err(format!("{id}: unmapped with {further} further mappings"));
        }
        let mut all: Vec<_> = self.mappings(id).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        if all.len() != count {
            return Err(format!("{id}: {count} mappings, {} different", all.len()));
        }
        Ok(())
    }
}

impl Index<FolioId> for Folios {
    type Output = Folio;

    fn index(&self, id: FolioId) -> &Folio {
        self.get(id).unwrap_or_else(|| panic!("{id} is not live"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(space: u32, page: u64) -> Mapping {
        Mapping { space: SpaceId::new(space), page: VirtPage::new(page) }
    }

    fn anon(folios: &mut Folios, pfn: u64, order: u8) -> FolioId {
        folios.insert(Pfn::new(pfn), Order::of(order), FolioKind::Anon, FolioFlags::MOVABLE)
    }

    #[test]
    fn a_slot_is_24_bytes() {
        assert_eq!(size_of::<Option<Folio>>(), 24);
    }

    #[test]
    fn identities_are_reused_last_first() {
        let mut folios = Folios::new();
        let ids: Vec<_> = (0..3).map(|n| anon(&mut folios, n, 0)).collect();
        folios.remove(ids[0]);
        folios.remove(ids[2]);
        folios.check().unwrap();
        assert_eq!((anon(&mut folios, 9, 0), anon(&mut folios, 8, 0)), (ids[2], ids[0]));
        assert_eq!(anon(&mut folios, 7, 0), FolioId::new(3));
        folios.check().unwrap();
    }

    #[test]
    fn mappings_keep_their_order_and_the_first_is_replaced() {
        let mut folios = Folios::new();
        let id = anon(&mut folios, 5, 0);
        for space in 0..4 {
            folios.map(id, at(space, 7));
        }
        folios.unmap(id, at(0, 7));
        folios.unmap(id, at(2, 7));
        folios.check().unwrap();
        assert_eq!(folios.mappings(id).collect::<Vec<_>>(), [at(1, 7), at(3, 7)]);
        folios.unmap(id, at(3, 7));
        folios.unmap(id, at(1, 7));
        folios.check().unwrap();
        assert_eq!(folios.map_count(id), 0);
        folios.remove(id);
    }

    #[test]
    fn split_divides_mappings_and_keeps_the_first_identity() {
        let mut folios = Folios::new();
        let id = anon(&mut folios, 8, 2);
        folios.map(id, at(1, 100));
        folios.map(id, at(2, 200));
        folios.set_tagged(id);
        let singles = folios.split(id);
        folios.check().unwrap();
        assert_eq!((singles.len(), singles[0]), (4, id));
        let last = singles[3];
        assert_eq!(folios.mappings(last).collect::<Vec<_>>(), [at(1, 103), at(2, 203)]);
        assert_eq!((folios[last].pfn(), folios[last].is_tagged()), (Pfn::new(11), true));
    }

    #[test]
    fn pins_count_by_term() {
        let mut folios = Folios::new();
        let id = anon(&mut folios, 1, 0);
        folios.pin(id, PinTerm::Short);
        folios.pin(id, PinTerm::Long);
        folios.check().unwrap();
        folios.unpin(id, PinTerm::Short);
        assert!(folios[id].is_pinned());
        folios.unpin(id, PinTerm::Long);
        assert!(!folios[id].is_pinned());
        folios.check().unwrap();
    }

    #[test]
    #[should_panic(expected = "folio 0 freed with 1 pins")]
    fn freeing_a_pinned_folio_is_a_programming_error() {
        let mut folios = Folios::new();
        let id = anon(&mut folios, 1, 0);
        folios.pin(id, PinTerm::Long);
        folios.remove(id);
    }

    #[test]
    fn check_notices_a_lost_side_table() {
        let mut folios = Folios::new();
        let id = anon(&mut folios, 1, 0);
        folios.pin(id, PinTerm::Short);
        folios.pins.clear();
        assert!(folios.check().is_err());
    }
}
