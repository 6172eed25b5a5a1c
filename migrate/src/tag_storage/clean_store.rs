//! A store of clean copies in frames of tag storage. Linux: mm/cleancache.c (until 5.16), with
//! exclusive gets; the frames are those of a reserved range, as in guaranteed CMA.
//!
//! The store knows keys and frames, not files. Whoever evicts a clean page from the page cache puts
//! it here, asks here before reading from disk, and says when a file changes. A copy may vanish at
//! any time; the oldest goes first when room is needed.

use core::num::NonZeroU32;
use std::collections::{BTreeMap, BTreeSet};

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

/// A page of a file, as the page cache names it; the store compares keys and nothing more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CleanKey {
    /// The file. Linux: an inode of a pool.
    pub object: u64,
    /// The page within it.
    pub index: u64,
}

/// What became of copies so far, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CleanStats {
    /// Copies taken in. Linux: `cleancache_puts`.
    pub puts: u64,
    /// Copies not taken in, because every frame holds tags. Linux: `cleancache_failed_puts`,
    /// roughly.
    pub refused: u64,
    /// Copies found again. Linux: `cleancache_succ_gets`.
    pub hits: u64,
    /// Copies asked for in vain. Linux: `cleancache_failed_gets`.
    pub misses: u64,
    /// Copies dropped to take in another.
    pub evicted: u64,
    /// Copies dropped because their frame was reserved for tags.
    pub dropped: u64,
    /// Copies dropped because their file changed. Linux: `cleancache_invalidates`.
    pub invalidated: u64,
}

impl CleanStats {
    /// Names and values, in the order of the fields.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("cleancache_puts", self.puts),
            ("cleancache_failed_puts", self.refused),
            ("cleancache_succ_gets", self.hits),
            ("cleancache_failed_gets", self.misses),
            ("cleancache_evicted", self.evicted),
            ("cleancache_dropped", self.dropped),
            ("cleancache_invalidates", self.invalidated),
        ]
        .into_iter()
    }
}

/// A copy in a frame, between the next older and the next younger one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Copied {
    key: CleanKey,
    older: Option<NonZeroU32>,
    younger: Option<NonZeroU32>,
}

/// Frames, and the copies in some of them.
///
/// Invariant, checked with those of tag storage: every frame is free or holds one copy.
#[derive(Clone, Debug, Default)]
pub struct CleanStore {
    free: BTreeSet<Pfn>,
    copies: BTreeMap<CleanKey, NonZeroU32>,
    /// What frames hold, by their distance from `base` less one.
    slots: Vec<Option<Copied>>,
    base: Pfn,
    oldest: Option<NonZeroU32>,
    youngest: Option<NonZeroU32>,
    stats: CleanStats,
}

impl CleanStore {
    /// Copies that are there now.
    #[must_use]
    pub fn copies(&self) -> PageCount {
        PageCount::new(u64::try_from(self.copies.len()).expect("a count of pages"))
    }

    /// Frames of the store, with a copy or without.
    #[must_use]
    pub fn frames(&self) -> PageCount {
        let free = u64::try_from(self.free.len()).expect("a count of pages");
        self.copies() + PageCount::new(free)
    }

    /// The pages of which there are copies.
    pub fn keys(&self) -> impl Iterator<Item = CleanKey> {
        self.copies.keys().copied()
    }

    /// The copy that a frame holds.
    #[must_use]
    pub fn copy_at(&self, frame: Pfn) -> Option<CleanKey> {
        let slot = usize::try_from(frame.get().checked_sub(self.base.get())?).ok()?;
        (*self.slots.get(slot)?).map(|copied| copied.key)
    }

    /// Whether the frame is the store's.
    #[must_use]
    pub fn has(&self, frame: Pfn) -> bool {
        self.free.contains(&frame) || self.copy_at(frame).is_some()
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &CleanStats {
        &self.stats
    }

    /// Frames for copies: at boot, and when a block holds tags no longer.
    pub(crate) fn give(&mut self, frames: PfnRange) {
        self.make_room(frames);
        self.free.extend(frames.iter());
    }

    /// Slots for all frames from the first given one to the last. All regions are given before the
    /// first copy comes.
    fn make_room(&mut self, frames: PfnRange) {
        let slots = u64::try_from(self.slots.len()).expect("a machine's frames");
        let end = self.base + PageCount::new(slots);
        if frames.start() >= self.base && frames.end() <= end {
            return;
        }
        assert!(self.copies.is_empty(), "a region that joins a store in use");
        let none_yet = self.slots.is_empty();
        let start = if none_yet { frames.start() } else { self.base.min(frames.start()) };
        let len = usize::try_from((frames.end().max(end)).get() - start.get());
        self.base = start;
        self.slots.resize(len.expect("a machine's frames"), None);
    }

    /// Takes frames away for tags, whatever they hold; says how many copies that cost.
    pub(crate) fn take(&mut self, frames: PfnRange) -> PageCount {
        let lost: Vec<_> = frames.iter().filter_map(|frame| self.copy_at(frame)).collect();
        for key in &lost {
            self.remove(*key);
        }
        for pfn in frames.iter() {
            self.free.remove(&pfn);
        }
        let lost = u64::try_from(lost.len()).expect("a count of pages");
        self.stats.dropped += lost;
        PageCount::new(lost)
    }

    /// Takes a copy in, in place of an older one of the same page; the oldest of all makes room if
    /// there is none. `None` when every frame holds tags. Linux: `cleancache_put_page()`.
    pub(crate) fn put(&mut self, key: CleanKey) -> Option<Pfn> {
        self.remove(key);
        if self.free.is_empty()
            && let Some(oldest) = self.oldest
        {
            self.remove(self.at(oldest).key);
            self.stats.evicted += 1;
        }
        let Some(frame) = self.free.pop_first() else {
            self.stats.refused += 1;
            return None;
        };
        let number = self.number(frame);
        self.copies.insert(key, number);
        let older = self.youngest.replace(number);
        match older {
            Some(older) => self.at_mut(older).younger = Some(number),
            None => self.oldest = Some(number),
        }
        self.slots[slot(number)] = Some(Copied { key, older, younger: None });
        self.stats.puts += 1;
        Some(frame)
    }

    fn number(&self, frame: Pfn) -> NonZeroU32 {
        let number = u32::try_from(frame.get() - self.base.get() + 1).ok();
        number.and_then(NonZeroU32::new).expect("a machine's frames")
    }

    fn at(&self, number: NonZeroU32) -> Copied {
        self.slots[slot(number)].expect("a copy is listed where it lies")
    }

    fn at_mut(&mut self, number: NonZeroU32) -> &mut Copied {
        self.slots[slot(number)].as_mut().expect("a copy is listed where it lies")
    }

    /// Takes a copy out: the page cache has the page again. Linux: `cleancache_get_page()`.
    pub(crate) fn get(&mut self, key: CleanKey) -> Option<Pfn> {
        let found = self.remove(key);
        let count = if found.is_some() { &mut self.stats.hits } else { &mut self.stats.misses };
        *count += 1;
        found
    }

    /// Drops the copy of a page that changed. Linux: `cleancache_invalidate_page()`.
    pub(crate) fn invalidate(&mut self, key: CleanKey) {
        self.stats.invalidated += u64::from(self.remove(key).is_some());
    }

    /// Drops the copies of a file. Linux: `cleancache_invalidate_inode()`.
    pub(crate) fn invalidate_object(&mut self, object: u64) {
        let all = CleanKey { object, index: 0 }..=CleanKey { object, index: u64::MAX };
        let keys: Vec<_> = self.copies.range(all).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.invalidate(key));
    }

    fn remove(&mut self, key: CleanKey) -> Option<Pfn> {
        let number = self.copies.remove(&key)?;
        let Copied { older, younger, .. } =
            self.slots[slot(number)].take().expect("a copy is listed where it lies");
        match older {
            Some(older) => self.at_mut(older).younger = younger,
            None => self.oldest = younger,
        }
        match younger {
            Some(younger) => self.at_mut(younger).older = older,
            None => self.youngest = older,
        }
        let frame = self.base + PageCount::new(u64::from(number.get() - 1));
        self.free.insert(frame);
        Some(frame)
    }

    /// Recomputes the invariant.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let held = self.slots.iter().flatten().count();
        same("clean copies by frame", held, self.copies.len())?;
        let (mut next, mut by_age) = (self.oldest, 0);
        while let Some(number) = next.filter(|_| by_age <= held) {
            by_age += 1;
            next = self.at(number).younger;
        }
        same("clean copies by age", by_age, self.copies.len())?;
        for (key, number) in &self.copies {
            let frame = self.base + PageCount::new(u64::from(number.get() - 1));
            let kept = self.copy_at(frame) == Some(*key) && !self.free.contains(&frame);
            same(format_args!("the copy at {frame} is kept"), kept, true)?;
        }
        Ok(())
    }
}

/// Where the slot of a frame is, by the frame's number.
fn slot(number: NonZeroU32) -> usize {
    usize::try_from(number.get() - 1).expect("a machine word has 32 bits or more")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> PfnRange {
        PfnRange::from_len(Pfn::new(start), PageCount::new(len))
    }

    fn key(index: u64) -> CleanKey {
        CleanKey { object: 1, index }
    }

    fn store(frames: u64, copies: u64) -> CleanStore {
        let mut store = CleanStore::default();
        store.give(range(0x100, frames));
        (0..copies).for_each(|index| _ = store.put(key(index)));
        store
    }

    #[test]
    fn the_oldest_copy_makes_room() {
        let mut store = store(2, 3);
        store.check().unwrap();
        assert_eq!(store.get(key(0)), None);
        assert_eq!(store.get(key(1)), Some(Pfn::new(0x101)));
        assert_eq!(store.get(key(1)), None, "gets are exclusive");
        let stats = *store.stats();
        assert_eq!((stats.puts, stats.evicted, stats.hits, stats.misses), (3, 1, 1, 2));
    }

    #[test]
    fn a_page_has_one_copy() {
        let mut store = store(4, 2);
        store.put(key(0));
        assert_eq!((store.copies(), store.frames()), (PageCount::new(2), PageCount::new(4)));
        // It is the youngest now.
        (2..5).for_each(|index| _ = store.put(key(index)));
        assert!(store.get(key(0)).is_some() && store.get(key(1)).is_none());
        store.check().unwrap();
    }

    #[test]
    fn frames_taken_for_tags_lose_their_copies() {
        let mut store = store(4, 2);
        assert_eq!(store.take(range(0x101, 2)), PageCount::new(1));
        assert_eq!(store.frames(), PageCount::new(2));
        assert!(store.has(Pfn::new(0x100)) && !store.has(Pfn::new(0x101)));
        store.take(range(0x100, 4));
        assert_eq!(store.put(key(7)), None);
        store.give(range(0x100, 4));
        assert_eq!(store.put(key(7)), Some(Pfn::new(0x100)));
        store.check().unwrap();
    }

    #[test]
    fn a_file_goes_as_a_whole() {
        let mut store = store(4, 2);
        store.put(CleanKey { object: 2, index: 0 });
        store.invalidate_object(1);
        store.invalidate(key(0));
        assert_eq!((store.copies(), store.stats().invalidated), (PageCount::new(1), 2));
        store.check().unwrap();
    }
}
