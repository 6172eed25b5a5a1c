//! The page cache: which folio holds which page of which file, and what is left of those that were
//! dropped. Linux: `struct address_space` and its xarray.
//!
//! Files are numbers without contents. A page that reclaim drops leaves a shadow: the age of the
//! LRU lists then, by which a page that is read again is found to have been dropped too early.

use std::collections::BTreeMap;

use pagelab_allocator::check::{Violation, same};

use crate::folio::FolioId;
use crate::numbered::{Number, Numbered};

/// A file. Linux: `struct inode *`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(u32);

impl FileId {
    /// File number `raw`.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Number for FileId {
    fn of(raw: u32) -> Self {
        Self(raw)
    }

    fn raw(self) -> u32 {
        self.0
    }
}

/// A page of a file. Linux: `mapping` and `index` of a folio.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FilePage {
    /// The file.
    pub file: FileId,
    /// Its page, from 0.
    pub index: u32,
}

/// How far the lists had aged, modulo 2^31. Linux: `nonresident_age`, as a shadow keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Age(u32);

impl Age {
    const MASK: u32 = u32::MAX >> 1;

    /// The age after `evictions` evictions and activations.
    #[must_use]
    pub fn new(evictions: u64) -> Self {
        let low = evictions & u64::from(Self::MASK);
        Self(u32::try_from(low).expect("masked to 31 bits"))
    }

    /// How much the lists aged since. Linux: the refault distance.
    #[must_use]
    pub const fn distance_to(self, now: Self) -> u64 {
        (now.0.wrapping_sub(self.0) & Self::MASK) as u64
    }
}

/// What the cache knows of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheEntry {
    /// Nothing.
    Absent,
    /// It was dropped at that age.
    Shadow(Age),
    /// It is in memory.
    Present(FolioId),
}

impl CacheEntry {
    const fn pack(self) -> u32 {
        match self {
            Self::Absent => 0,
            Self::Shadow(age) => age.0 << 1 | 1,
            Self::Present(id) => {
                assert!(id.get() < Age::MASK, "folio number too large for the cache");
                (id.get() + 1) << 1
            }
        }
    }

    const fn unpack(raw: u32) -> Self {
        match raw {
            0 => Self::Absent,
            raw if raw & 1 == 1 => Self::Shadow(Age(raw >> 1)),
            raw => Self::Present(FolioId::new((raw >> 1) - 1)),
        }
    }
}

/// Entries of a node. Linux: `XA_CHUNK_SIZE`.
const CHUNK: u32 = 64;

/// The same as an array length.
const CHUNK_LEN: usize = 64;

/// Pages that a node of nodes covers.
const UPPER_CHUNK: u32 = CHUNK * CHUNK;

/// A run of entries, freed with its last one.
#[derive(Clone, Debug)]
struct Node {
    entries: [u32; CHUNK_LEN],
    used: u8,
}

/// A run of nodes, freed with its last one.
#[derive(Clone, Debug)]
struct Upper {
    nodes: Box<[Option<Box<Node>>; CHUNK_LEN]>,
    used: u8,
}

/// The nodes of a file, with the page that each begins at divided by [`UPPER_CHUNK`].
type File = BTreeMap<u32, Upper>;

/// The nodes of a file, ascending, each with the page that it begins at.
fn nodes(file: &File) -> impl Iterator<Item = (u32, &Node)> {
    file.iter().flat_map(|(number, upper)| {
        let starts = (0..CHUNK).map(move |n| number * UPPER_CHUNK + n * CHUNK);
        starts.zip(&*upper.nodes).filter_map(|(at, node)| Some((at, &**node.as_ref()?)))
    })
}

/// The cached pages of all files.
///
/// Invariants, checked by [`PageCache::check`]: nodes count their entries, and the totals are the
/// sums over all nodes. That folios agree is for the owner to check.
#[derive(Clone, Debug, Default)]
pub struct PageCache {
    files: Numbered<FileId, File>,
    present: u64,
    shadows: u64,
}

/// Number of the upper node, place of the node in there, place within the node.
fn locate(index: u32) -> (u32, usize, usize) {
    let place = |n: u32| usize::try_from(n % CHUNK).expect("below 64");
    (index / UPPER_CHUNK, place(index / CHUNK), place(index))
}

impl PageCache {
    /// A new, empty file. Linux: `iget_locked()`.
    pub(crate) fn create(&mut self) -> FileId {
        self.files.add(File::new())
    }

    /// Whether the file exists.
    #[must_use]
    pub fn has(&self, file: FileId) -> bool {
        self.files.get(&file).is_some()
    }

    /// Pages in memory. Linux: `NR_FILE_PAGES`.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.present
    }

    /// Pages that left a shadow.
    #[must_use]
    pub const fn shadows(&self) -> u64 {
        self.shadows
    }

    /// What is known of a page. Linux: `xa_load()`.
    #[must_use]
    pub fn get(&self, page: FilePage) -> CacheEntry {
        let (number, upper, place) = locate(page.index);
        let found = self.files.get(&page.file).and_then(|file| file.get(&number));
        let node = found.and_then(|found| found.nodes[upper].as_ref());
        node.map_or(CacheEntry::Absent, |node| CacheEntry::unpack(node.entries[place]))
    }

    /// Replaces what is known of a page. Linux: `xas_store()`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such file.
    pub(crate) fn set(&mut self, page: FilePage, entry: CacheEntry) {
        let (number, upper, place) = locate(page.index);
        let file = self.files.get_mut(&page.file).expect("pages belong to files that exist");
        let fresh = || Upper { nodes: Box::new([const { None }; CHUNK_LEN]), used: 0 };
        let table = file.entry(number).or_insert_with(fresh);
        let node = table.nodes[upper].get_or_insert_with(|| {
            table.used += 1;
            Box::new(Node { entries: [0; CHUNK_LEN], used: 0 })
        });
        let old = CacheEntry::unpack(core::mem::replace(&mut node.entries[place], entry.pack()));
        node.used =
            node.used + u8::from(entry != CacheEntry::Absent) - u8::from(old != CacheEntry::Absent);
        if node.used == 0 {
            table.nodes[upper] = None;
            table.used -= 1;
            if table.used == 0 {
                file.remove(&number);
            }
        }
        self.count(old, |count| *count -= 1);
        self.count(entry, |count| *count += 1);
    }

    fn count(&mut self, entry: CacheEntry, change: impl FnOnce(&mut u64)) {
        match entry {
            CacheEntry::Absent => {}
            CacheEntry::Shadow(_) => change(&mut self.shadows),
            CacheEntry::Present(_) => change(&mut self.present),
        }
    }

    /// Forgets a file; its folios, in the order of the file, are the caller's to free.
    /// Linux: `truncate_inode_pages_final()`.
    pub(crate) fn remove(&mut self, file: FileId) -> Vec<FolioId> {
        let file = self.files.remove(&file).unwrap_or_default();
        let mut folios = Vec::new();
        for raw in nodes(&file).flat_map(|(_, node)| &node.entries) {
            match CacheEntry::unpack(*raw) {
                CacheEntry::Absent => {}
                CacheEntry::Shadow(_) => self.shadows -= 1,
                CacheEntry::Present(id) => {
                    self.present -= 1;
                    folios.push(id);
                }
            }
        }
        folios
    }

    /// The files, ascending.
    pub fn files(&self) -> impl Iterator<Item = FileId> {
        self.files.iter().map(|(id, _)| id)
    }

    /// Pages in memory with their folios, by file and index.
    pub fn iter(&self) -> impl Iterator<Item = (FilePage, FolioId)> {
        self.files.iter().flat_map(|(file, all)| {
            let entries = nodes(all).flat_map(|(start, node)| {
                let indices = (0..CHUNK).map(move |n| start + n);
                indices.zip(&node.entries).map(|(at, raw)| (at, CacheEntry::unpack(*raw)))
            });
            entries.filter_map(move |(index, entry)| match entry {
                CacheEntry::Present(id) => Some((FilePage { file, index }, id)),
                _ => None,
            })
        })
    }

    /// Recounts the nodes.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        let (mut present, mut shadows) = (0, 0);
        for (file, all) in self.files.iter() {
            for (number, upper) in all {
                let used = upper.nodes.iter().flatten().count();
                let place = format_args!("nodes of run {number} of file {}", file.get());
                same(place, usize::from(upper.used), used)?;
                same(format_args!("run {number} is empty"), used == 0, false)?;
            }
            for (start, node) in nodes(all) {
                let kinds = node.entries.iter().map(|raw| CacheEntry::unpack(*raw));
                let (mut kept, mut gone) = (0, 0);
                for entry in kinds {
                    kept += u64::from(matches!(entry, CacheEntry::Present(_)));
                    gone += u64::from(matches!(entry, CacheEntry::Shadow(_)));
                }
                let place = format_args!("entries of the node at {start} of file {}", file.get());
                same(place, u64::from(node.used), kept + gone)?;
                same(format_args!("the node at {start} is empty"), node.used == 0, false)?;
                shadows += gone;
                present += kept;
            }
        }
        same("pages of all files", self.present, present)?;
        same("shadows of all files", self.shadows, shadows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(file: FileId, index: u32) -> FilePage {
        FilePage { file, index }
    }

    #[test]
    fn entries_survive_packing() {
        let ages = [0, 1, u64::from(Age::MASK), u64::from(u32::MAX) + 7];
        let shadows = ages.map(|age| CacheEntry::Shadow(Age::new(age)));
        let folios = [0, 5, Age::MASK - 1].map(|raw| CacheEntry::Present(FolioId::new(raw)));
        for entry in shadows.into_iter().chain(folios).chain([CacheEntry::Absent]) {
            assert_eq!(CacheEntry::unpack(entry.pack()), entry);
        }
    }

    #[test]
    fn distances_wrap() {
        let wrapped = u64::from(Age::MASK) + 1;
        assert_eq!(Age::new(wrapped - 3).distance_to(Age::new(wrapped + 4)), 7);
        assert_eq!(Age::new(5).distance_to(Age::new(5)), 0);
    }

    #[test]
    fn a_file_gives_its_folios_back_in_order() {
        let mut cache = PageCache::default();
        let (one, two) = (cache.create(), cache.create());
        for (index, raw) in [(700, 3), (0, 1), (63, 2)] {
            cache.set(page(one, index), CacheEntry::Present(FolioId::new(raw)));
        }
        cache.set(page(one, 64), CacheEntry::Shadow(Age::new(9)));
        cache.set(page(two, 0), CacheEntry::Present(FolioId::new(4)));
        cache.check().unwrap();
        assert_eq!((cache.pages(), cache.shadows()), (4, 1));
        assert_eq!(cache.get(page(one, 64)), CacheEntry::Shadow(Age::new(9)));
        assert_eq!(cache.remove(one), [1, 2, 3].map(FolioId::new));
        assert_eq!(cache.get(page(one, 0)), CacheEntry::Absent);
        cache.check().unwrap();
        assert_eq!((cache.pages(), cache.shadows(), cache.iter().count()), (1, 0, 1));
        cache.set(page(two, 0), CacheEntry::Absent);
        cache.check().unwrap();
        assert_eq!(cache.files().collect::<Vec<_>>(), [two]);
    }

    #[test]
    fn canary_a_wrong_total() {
        let mut cache = PageCache::default();
        let file = cache.create();
        cache.set(page(file, 0), CacheEntry::Present(FolioId::new(0)));
        cache.present += 1;
        let violation = cache.check().unwrap_err().to_string();
        assert_eq!(violation, "pages of all files: 2 instead of 1");
    }

    #[test]
    fn canary_a_lost_node() {
        let mut cache = PageCache::default();
        let file = cache.create();
        for index in [0, CHUNK, u32::MAX] {
            cache.set(page(file, index), CacheEntry::Present(FolioId::new(index % 7)));
        }
        cache.check().unwrap();
        assert_eq!(cache.iter().map(|(page, _)| page.index).max(), Some(u32::MAX));
        cache.files.get_mut(&file).unwrap().get_mut(&0).unwrap().nodes[1] = None;
        let violation = cache.check().unwrap_err().to_string();
        assert_eq!(violation, "nodes of run 0 of file 0: 2 instead of 1");
    }
}
