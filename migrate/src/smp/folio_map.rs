//! From a frame to the page that lies there. Linux: `struct page`, the array.

use std::collections::BTreeMap;

use pagelab_allocator::sync::{Arc, Mutex};
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::smp::folio::SharedFolio;

/// The pages in use, by frame, behind a lock a pageblock.
#[derive(Debug)]
pub(crate) struct FolioMap {
    first: u64,
    pageblock: Order,
    blocks: Vec<Mutex<BTreeMap<Pfn, Arc<SharedFolio>>>>,
}

impl FolioMap {
    pub(crate) fn new(span: PfnRange, pageblock: Order) -> Self {
        let span = span.align_out(pageblock);
        let blocks = span.blocks(pageblock).map(|_| Mutex::new(BTreeMap::new())).collect();
        Self { first: span.start().get() >> pageblock.get(), pageblock, blocks }
    }

    fn block(&self, frame: Pfn) -> &Mutex<BTreeMap<Pfn, Arc<SharedFolio>>> {
        let index = (frame.get() >> self.pageblock.get()) - self.first;
        &self.blocks[usize::try_from(index).expect("a pageblock of the machine")]
    }

    pub(crate) fn insert(&self, frame: Pfn, folio: Arc<SharedFolio>) {
        self.block(frame).lock().insert(frame, folio);
    }

    pub(crate) fn remove(&self, frame: Pfn) {
        let removed = self.block(frame).lock().remove(&frame);
        drop(removed);
    }

    /// The page in `frame`, without a reference: it may be elsewhere by the time the caller looks.
    pub(crate) fn get(&self, frame: Pfn) -> Option<Arc<SharedFolio>> {
        self.block(frame).lock().get(&frame).cloned()
    }

    /// Every page, in no moment in particular.
    pub(crate) fn all(&self) -> Vec<(Pfn, Arc<SharedFolio>)> {
        let mut all = Vec::new();
        for block in &self.blocks {
            all.extend(block.lock().iter().map(|(&frame, folio)| (frame, Arc::clone(folio))));
        }
        all
    }
}
