//! From a frame to the page that lies there. Linux: `struct page`, the array.

use pagelab_allocator::sync::{Arc, Mutex};
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use crate::smp::folio::SharedFolio;

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
    places: Vec<Option<Arc<SharedFolio>>>,
}

impl Places {
    fn index(&self, frame: Pfn) -> usize {
        usize::try_from(frame.get() - self.start).expect("a frame of the pageblock")
    }

    /// The page in `frame`, without a reference.
    pub(crate) fn get(&self, frame: Pfn) -> Option<&Arc<SharedFolio>> {
        self.places.get(self.index(frame))?.as_ref()
    }

    /// Takes the page out of `frame`.
    pub(crate) fn take(&mut self, frame: Pfn) -> Option<Arc<SharedFolio>> {
        let index = self.index(frame);
        self.places.get_mut(index)?.take()
    }

    fn put(&mut self, frame: Pfn, folio: Arc<SharedFolio>, pages: PageCount) {
        if self.places.is_empty() {
            let pages = usize::try_from(pages.get()).expect("a pageblock");
            self.places.resize_with(pages, || None);
        }
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

    fn block(&self, frame: Pfn) -> &Mutex<Places> {
        let index = (frame.get() >> self.pageblock.get()) - self.first;
        &self.blocks[usize::try_from(index).expect("a pageblock of the machine")]
    }

    /// Whether two frames are behind one lock.
    pub(crate) const fn together(&self, one: Pfn, other: Pfn) -> bool {
        one.get() >> self.pageblock.get() == other.get() >> self.pageblock.get()
    }

    /// Works on the pages of the pageblock of `frame` under one hold of its lock.
    pub(crate) fn with<R>(&self, frame: Pfn, work: impl FnOnce(&mut Places) -> R) -> R {
        work(&mut self.block(frame).lock())
    }

    /// Puts pages into frames of one pageblock, which nobody else has.
    pub(crate) fn insert(&self, pages: impl IntoIterator<Item = (Pfn, Arc<SharedFolio>)>) {
        let mut pages = pages.into_iter().peekable();
        let Some(&(first, _)) = pages.peek() else { return };
        let mut places = self.block(first).lock();
        pages.for_each(|(frame, folio)| places.put(frame, folio, self.pageblock.pages()));
    }

    pub(crate) fn remove(&self, frame: Pfn) {
        // The page may be dropped here, but not under the lock.
        let removed = self.with(frame, |places| places.take(frame));
        drop(removed);
    }

    /// The page in `frame`, without a reference: it may be elsewhere by the time the caller looks.
    pub(crate) fn get(&self, frame: Pfn) -> Option<Arc<SharedFolio>> {
        self.with(frame, |places| places.get(frame).cloned())
    }

    /// Every page, in no moment in particular.
    pub(crate) fn all(&self) -> Vec<(Pfn, Arc<SharedFolio>)> {
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
