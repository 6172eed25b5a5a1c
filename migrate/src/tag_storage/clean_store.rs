//! A store of clean copies in frames of tag storage. Linux: mm/cleancache.c (until 5.16), with
//! exclusive gets; the frames are those of a reserved range, as in guaranteed CMA.
//!
//! The store knows keys and frames, not files. Whoever evicts a clean page from the page cache puts
//! it here, asks here before reading from disk, and says when a file changes. A copy may vanish at
//! any time; the oldest goes first when room is needed.

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

/// Where a copy lies, and when it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Copied {
    frame: Pfn,
    age: u64,
}

/// Frames, and the copies in some of them.
///
/// Invariant, checked with those of tag storage: every frame is free or holds one copy.
#[derive(Clone, Debug, Default)]
pub struct CleanStore {
    free: BTreeSet<Pfn>,
    copies: BTreeMap<CleanKey, Copied>,
    by_frame: BTreeMap<Pfn, CleanKey>,
    by_age: BTreeMap<u64, CleanKey>,
    next_age: u64,
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
        self.by_frame.get(&frame).copied()
    }

    /// Whether the frame is the store's.
    #[must_use]
    pub fn has(&self, frame: Pfn) -> bool {
        self.free.contains(&frame) || self.by_frame.contains_key(&frame)
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &CleanStats {
        &self.stats
    }

    /// Frames for copies: at boot, and when a block holds tags no longer.
    pub(crate) fn give(&mut self, frames: PfnRange) {
        self.free.extend(frames.iter());
    }

    /// Takes frames away for tags, whatever they hold; says how many copies that cost.
    pub(crate) fn take(&mut self, frames: PfnRange) -> PageCount {
        let lost: Vec<_> = self.by_frame.range(frames.start()..frames.end()).collect();
        let lost: Vec<_> = lost.into_iter().map(|(_, key)| *key).collect();
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
            && let Some((_, oldest)) = self.by_age.first_key_value()
        {
            self.remove(*oldest);
            self.stats.evicted += 1;
        }
        let Some(frame) = self.free.pop_first() else {
            self.stats.refused += 1;
            return None;
        };
        let age = self.next_age;
        self.next_age += 1;
        self.copies.insert(key, Copied { frame, age });
        self.by_frame.insert(frame, key);
        self.by_age.insert(age, key);
        self.stats.puts += 1;
        Some(frame)
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
        let Copied { frame, age } = self.copies.remove(&key)?;
        self.by_frame.remove(&frame);
        self.by_age.remove(&age);
        self.free.insert(frame);
        Some(frame)
    }

    /// Recomputes the invariant.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub(crate) fn check(&self) -> Result<(), Violation> {
        same("clean copies by frame", self.by_frame.len(), self.copies.len())?;
        same("clean copies by age", self.by_age.len(), self.copies.len())?;
        for (key, copied) in &self.copies {
            let found = (self.by_frame.get(&copied.frame), self.by_age.get(&copied.age));
            let free = self.free.contains(&copied.frame);
            let kept = found == (Some(key), Some(key)) && !free;
            same(format_args!("the copy at {} is kept", copied.frame), kept, true)?;
        }
        Ok(())
    }
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
