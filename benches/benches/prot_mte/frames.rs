//! Bytes behind the frames: what a migration copies.
#![expect(unsafe_code, reason = "several CPUs copy pages of one mapping")]

use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::{MmapOptions, MmapRaw};
use pagelab_migrate::prelude::*;

use crate::copy_page::{copy_page, end_copies};
use crate::scene::MEMORY;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of its tags: four bits for 16 of the page.
const TAGS: usize = 128;

/// Every frame's bytes, and its tags apart from them, as the hardware has them.
#[derive(Debug)]
pub(crate) struct Frames {
    data: MmapRaw,
    tags: MmapRaw,
    /// The next of the numbers that are written into frames: from one on, as a new frame has zeros.
    written: AtomicU64,
}

impl Frames {
    /// Written once, so that no copy waits for the kernel, and in huge pages where it has some, as
    /// x86's linear map.
    pub(crate) fn new() -> Self {
        let pages = usize::try_from(MEMORY.len().get()).expect("a small machine");
        let map = |len| {
            let mut map = MmapOptions::new().len(len).map_anon().expect("memory for all frames");
            #[cfg(target_os = "linux")]
            let _only_slower = map.advise(Advice::HugePage);
            map.fill(0);
            MmapRaw::from(map)
        };
        Self { data: map(pages * PAGE), tags: map(pages * TAGS), written: AtomicU64::new(1) }
    }

    /// Linux: `copy_highpage()`, with the tags of arm64's.
    ///
    /// # Panics
    ///
    /// Panics unless these are two frames of the machine.
    ///
    /// # Safety
    ///
    /// Nobody else accesses the frames meanwhile.
    pub(crate) unsafe fn copy(&self, from: Pfn, to: Pfn) {
        assert_ne!(from, to, "two frames");
        // SAFETY: as the caller says.
        let (from, to) = unsafe { (self.bytes(from), self.bytes(to)) };
        to.into_iter().zip(from).for_each(|(to, from)| to.copy_from_slice(from));
    }

    /// Copies pages and their tags one after the other, past the caches, and asks for the lines of
    /// each page while the one before is copied. Linux: proposed as `migrate_folios_mc_copy()`.
    ///
    /// # Panics
    ///
    /// Panics unless each moves between two frames of the machine.
    ///
    /// # Safety
    ///
    /// Nobody else accesses the frames meanwhile, and none is there twice.
    pub(crate) unsafe fn copy_all(&self, pages: impl Iterator<Item = (Pfn, Pfn)>) {
        let mut pages = pages.peekable();
        while let Some((from, to)) = pages.next() {
            assert_ne!(from, to, "two frames");
            let next = pages.peek().map_or(from, |&(next, _)| next);
            let next = Self::start(&self.data, next, PAGE);
            // SAFETY: as the caller says. We ourselves access each frame once before the end.
            unsafe {
                let ([from, from_tags], [to, to_tags]) = (self.bytes(from), self.bytes(to));
                copy_page(to, from, next);
                to_tags.copy_from_slice(from_tags);
            }
        }
        end_copies();
    }

    /// Writes numbers all over each frame and its tags, none of which is or was anywhere else.
    ///
    /// # Panics
    ///
    /// Panics unless these are frames of the machine.
    ///
    /// # Safety
    ///
    /// Nobody else accesses the frames meanwhile.
    pub(crate) unsafe fn write_anew(&self, frames: impl Iterator<Item = Pfn>) {
        for frame in frames {
            // SAFETY: as the caller says.
            for bytes in unsafe { self.bytes(frame) } {
                let numbers = bytes.as_chunks_mut().0;
                let first = self.written.fetch_add(numbers.len() as u64, Ordering::Relaxed);
                numbers.iter_mut().zip(first..).for_each(|(to, number)| *to = number.to_le_bytes());
            }
        }
    }

    /// Whether these are two frames with the same bytes and tags.
    ///
    /// # Panics
    ///
    /// Panics unless these are frames of the machine.
    ///
    /// # Safety
    ///
    /// Nobody else accesses the frames meanwhile.
    pub(crate) unsafe fn are_alike(&self, one: Pfn, other: Pfn) -> bool {
        // SAFETY: as the caller says.
        one != other && unsafe { self.bytes(one) == self.bytes(other) }
    }

    /// The bytes of a page, and its tags.
    ///
    /// # Panics
    ///
    /// Panics unless this is a frame of the machine.
    ///
    /// # Safety
    ///
    /// Nobody else accesses the frame for as long as the slices are in use.
    #[expect(clippy::mut_from_ref, reason = "a mapping that several CPUs use")]
    unsafe fn bytes(&self, frame: Pfn) -> [&mut [u8]; 2] {
        [(&self.data, PAGE), (&self.tags, TAGS)].map(|(map, each)| {
            // SAFETY: the mapping has room for all frames; the rest is as the caller says.
            unsafe { core::slice::from_raw_parts_mut(Self::start(map, frame, each), each) }
        })
    }

    /// Where a frame's bytes, so many `each`, begin in a mapping.
    fn start(map: &MmapRaw, frame: Pfn, each: usize) -> *mut u8 {
        assert!(MEMORY.contains(frame), "a frame of the machine");
        let index = usize::try_from((frame - MEMORY.start()).get()).expect("a small machine");
        map.as_mut_ptr().wrapping_add(index * each)
    }
}
