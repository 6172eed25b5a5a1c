//! From a frame to the page that lies there. Linux: `struct page`, the array.

use pagelab_allocator::sync::{Mutex, MutexGuard};
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use prefetch_index::prefetch_index;

use crate::smp::folio::SharedFolio;
use crate::smp::slab::FolioRef;

/// The pages in use, by frame, behind a lock a pageblock.
#[derive(Debug)]
pub(crate) struct FolioMap {
    first: u64,
    pageblock: Order,
    blocks: Vec<Mutex<Places>>,
}

/// A place for each frame of a pageblock, made when the first page comes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    start: u64,
    places: Vec<Option<FolioRef>>,
}

impl Places {
    fn index(&self, frame: Pfn) -> usize {
        usize::try_from(frame.get() - self.start).expect("a frame of the pageblock")
    }

    /// The page in `frame`, without a reference.
    pub(crate) fn get(&self, frame: Pfn) -> Option<&FolioRef> {
        self.places.get(self.index(frame))?.as_ref()
    }

    /// Asks for the line of a place, which is looked at soon.
    pub(crate) fn prefetch(&self, frame: Pfn) {
        prefetch_index(&self.places, self.index(frame));
    }

    /// [`FolioMap::take`].
    pub(crate) fn take(&mut self, frame: Pfn) -> Option<FolioRef> {
        let index = self.index(frame);
        self.places.get_mut(index)?.take()
    }

    /// A place for each frame of the pageblock.
    fn make(&mut self, pages: PageCount) {
        if self.places.is_empty() {
            let pages = usize::try_from(pages.get()).expect("a pageblock");
            self.places.resize_with(pages, || None);
        }
    }

    fn put(&mut self, frame: Pfn, folio: FolioRef) {
        let index = self.index(frame);
        self.places[index] = Some(folio);
    }
}

impl FolioMap {
    pub(crate) fn new(span: PfnRange, pageblock: Order) -> Self {
        let span = span.align_out(pageblock);
        let places = |block: Pfn| Places { start: block.get(), places: Vec::new() };
        let blocks = span.blocks(pageblock).map(|block| Mutex::new(places(block))).collect();
        Self { first: span.start().get() >> pageblock.get(), pageblock, blocks }
    }

    fn block(&self, frame: Pfn) -> Option<&Mutex<Places>> {
        // A frame below the first wraps to a pageblock that no machine has.
        let index = (frame.get() >> self.pageblock.get()).wrapping_sub(self.first);
        self.blocks.get(usize::try_from(index).ok()?)
    }

    /// Whether two frames are behind one lock.
    pub(crate) const fn together(&self, one: Pfn, other: Pfn) -> bool {
        one.get() >> self.pageblock.get() == other.get() >> self.pageblock.get()
    }

    /// Works on the pages of the pageblock of `frame` under one hold of its lock, if the machine
    /// has it.
    pub(crate) fn with<R>(&self, frame: Pfn, work: impl FnOnce(&mut Places) -> R) -> Option<R> {
        Some(work(&mut self.block(frame)?.lock()))
    }

    /// The places of the pageblock of `frame`, to put pages there.
    fn lock_to_put(&self, frame: Pfn) -> MutexGuard<'_, Places> {
        let mut places = self.block(frame).expect("a frame of the machine").lock();
        places.make(self.pageblock.pages());
        places
    }

    /// Puts a page into its frame, which nobody else has.
    pub(crate) fn insert(&self, folio: FolioRef) {
        let frame = folio.frame();
        self.lock_to_put(frame).put(frame, folio);
    }

    /// Puts pages that were taken out into the frames that they have now, but those that are
    /// `gone`. Whoever gives the last reference back looks for the page here afterwards.
    pub(crate) fn put_back(
        &self,
        pages: impl Iterator<Item = (Pfn, FolioRef)>,
        gone: impl Fn(&SharedFolio) -> bool,
    ) {
        let mut dropped = Vec::new();
        let mut at_hand = None;
        for (frame, folio) in pages {
            drop(at_hand.take_if(|(first, _)| !self.together(*first, frame)));
            let (_, places) = at_hand.get_or_insert_with(|| (frame, self.lock_to_put(frame)));
            match gone(&folio) {
                true => dropped.push(folio),
                false => places.put(frame, folio),
            }
        }
    }

    /// Takes the page out of `frame`: whoever has it alone may move it.
    pub(crate) fn take(&self, frame: Pfn) -> Option<FolioRef> {
        self.with(frame, |places| places.take(frame))?
    }

    /// The page in `frame`, without a reference: it may be elsewhere by the time the caller looks.
    pub(crate) fn get(&self, frame: Pfn) -> Option<FolioRef> {
        self.with(frame, |places| places.get(frame).cloned())?
    }

    /// Every page, in no moment in particular.
    pub(crate) fn all(&self) -> Vec<(Pfn, FolioRef)> {
        let mut all = Vec::new();
        for block in &self.blocks {
            let places = block.lock();
            let frames = (places.start..).map(Pfn::new);
            let pages = frames.zip(&places.places);
            let pages = pages.filter_map(|(frame, folio)| Some((frame, folio.clone()?)));
            all.extend(pages);
        }
        all
    }
}
