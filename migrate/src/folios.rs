//! The slab of live folios, with side tables for what few folios have.
//!
//! Only `Memory` and the migration code create, move and destroy folios. Nearly every folio has at
//! most one mapping and no pin, so a slot is 16 bytes.

use core::ops::Index;
use std::collections::BTreeMap;

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::units::{Order, Pfn};

use crate::folio::{Folio, FolioFlags, FolioId, FolioKind, Mapping, PinTerm, Pins};
use crate::page_cache::FilePage;

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
        let folio = Folio::new(pfn, order, kind, flags);
        if let Some(id) = self.free.pop() {
            self.slots[id.index()] = Some(folio);
            return id;
        }
        let id = FolioId::new(u32::try_from(self.slots.len()).expect("fewer than 2^32 folios"));
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
        (0..).map(FolioId::new).zip(&self.slots).filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
    }

    /// The folio now lies at `to`.
    pub(crate) fn relocate(&mut self, id: FolioId, to: Pfn) {
        self.get_mut(id).set_pfn(to);
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
        let folio = self.get_mut(id);
        let is_first = folio.first_mapping() == Some(mapping);
        if !folio.flags.contains(FolioFlags::SHARED) {
            assert!(is_first, "{id} is not mapped at {mapping:?}");
            folio.set_first_mapping(None);
            return;
        }
        let further = self.further.get_mut(&id).expect("shared folios have further mappings");
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

    /// Enters a folio in the page cache.
    pub(crate) fn set_file_page(&mut self, id: FolioId, page: FilePage) {
        self.get_mut(id).set_file_page(page);
    }

    /// Takes a folio out of the page cache.
    pub(crate) fn leave_cache(&mut self, id: FolioId) {
        self.get_mut(id).leave_cache();
    }

    /// Sets bookkeeping flags.
    pub(crate) fn set_flag(&mut self, id: FolioId, flag: FolioFlags) {
        self.get_mut(id).flags |= flag;
    }

    /// Clears bookkeeping flags.
    pub(crate) fn clear_flag(&mut self, id: FolioId, flag: FolioFlags) {
        self.get_mut(id).flags -= flag;
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
            let single = self.insert(pfn, Order::ZERO, whole.kind(), flags);
            self.get_mut(single).flags |= whole.flags & FolioFlags::ISOLATED;
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
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        for &id in &self.free {
            same(format_args!("{id} of the free list is live"), self.get(id).is_some(), false)?;
        }
        let dead = self.slots.iter().filter(|slot| slot.is_none()).count();
        same("dead slots on the free list", self.free.len(), dead)?;
        let flagged = |flag| self.iter().filter(move |(_, f)| f.flags.contains(flag)).count();
        for (flag, entries) in
            [(FolioFlags::SHARED, self.further.len()), (FolioFlags::PINNED, self.pins.len())]
        {
            same(format_args!("entries of folios that are {flag:?}"), entries, flagged(flag))?;
        }
        // As many entries as flags: when every entry belongs to a flagged folio, the others have
        // none.
        for (&id, pins) in &self.pins {
            let is_pinned = self.get(id).is_some_and(Folio::is_pinned);
            same(format_args!("{id} with {pins:?} is pinned"), is_pinned, pins.total() > 0)?;
        }
        self.further.iter().try_for_each(|(&id, further)| self.check_further(id, further))
    }

    /// A folio with further mappings is marked as shared, is mapped, and nowhere twice.
    fn check_further(&self, id: FolioId, further: &[Mapping]) -> Result<(), Violation> {
        let count = further.len();
        let is = |state: fn(&Folio) -> bool| self.get(id).is_some_and(state);
        let is_shared = is(|folio| folio.flags.contains(FolioFlags::SHARED));
        same(format_args!("{id} with {count} further mappings is shared"), is_shared, count > 0)?;
        let is_mapped = is(Folio::is_mapped);
        same(format_args!("{id} with {count} further mappings is mapped"), is_mapped, true)?;
        let mut all: Vec<_> = self.mappings(id).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        same(format_args!("mappings of {id}, each once"), count, all.len())
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
    use crate::folio::{SpaceId, VirtPage};

    fn at(space: u32, page: u64) -> Mapping {
        Mapping { space: SpaceId::new(space), page: VirtPage::new(page) }
    }

    fn anon(folios: &mut Folios, pfn: u64, order: u8) -> FolioId {
        folios.insert(Pfn::new(pfn), Order::of(order), FolioKind::Anon, FolioFlags::MOVABLE)
    }

    #[test]
    fn a_slot_is_16_bytes() {
        assert_eq!(size_of::<Option<Folio>>(), 16);
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

    #[test]
    fn check_notices_entries_of_the_wrong_folio() {
        let mut folios = Folios::new();
        let [one, two] = [1, 2].map(|pfn| anon(&mut folios, pfn, 0));
        folios.map(one, at(0, 7));
        folios.map(one, at(1, 7));
        folios.pin(one, PinTerm::Short);
        let mut wrong = folios.clone();
        let further = wrong.further.remove(&one).unwrap();
        wrong.further.insert(two, further);
        assert!(wrong.check().is_err());
        let pins = folios.pins.remove(&one).unwrap();
        folios.pins.insert(two, pins);
        assert!(folios.check().is_err());
    }
}
