//! All that must agree while no thread is inside.

use std::collections::BTreeMap;

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::smp::Exclusive;
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::{PageCount, Pfn};

use crate::smp::SharedMemory;
use crate::smp::page_table::{SharedTable, Tags};

impl<P: Exclusive> SharedMemory<P> {
    /// Checks that each page in use has its frame to itself and as many references as entries, that
    /// each tagged page counts in its tag block and nothing else does, and that the allocator's
    /// pages are those in use, those of reserved blocks and `others`. It must not run beside
    /// anything; nothing may be pinned, and `tables` are all there are.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self, tables: &[Arc<SharedTable>], others: PageCount) -> Result<(), Violation> {
        let mut entries = BTreeMap::new();
        for table in tables {
            self.check_table(table, &mut entries)?;
        }
        let mut tagged = vec![0; self.tags.map().len()];
        let folios = self.folios.all();
        for (frame, folio) in &folios {
            same(format_args!("frame of the page at {frame}"), folio.frame(), *frame)?;
            let mapped = entries.remove(frame).unwrap_or(0);
            same(format_args!("references of {frame}"), folio.references(), mapped)?;
            if folio.is_tagged() {
                let block = self.tags.map().block_of(*frame);
                same(format_args!("{frame} is tagged and can be"), block.is_some(), true)?;
                block.into_iter().for_each(|block| tagged[block.index()] += 1);
            }
        }
        same("entries of frames that no page has", entries.len(), 0)?;
        self.check_blocks(&tagged, PageCount::new(folios.len() as u64) + others)?;
        self.alloc.check()
    }

    /// Counts the entries by frame.
    fn check_table(
        &self,
        table: &SharedTable,
        frames: &mut BTreeMap<Pfn, u32>,
    ) -> Result<(), Violation> {
        let entries = table.lock().clone();
        for (index, entry) in entries.iter().enumerate() {
            let moving = entry.is_migration();
            same(format_args!("entry {index} is about to move"), moving, false)?;
            let Some(mapping) = entry.present() else { continue };
            let frame = mapping.folio().frame();
            if mapping.tags == Tags::Tagged {
                same(format_args!("{frame} has tags"), mapping.folio().is_tagged(), true)?;
            }
            *frames.entry(frame).or_default() += 1;
        }
        Ok(())
    }

    /// Compares each block's count with its tagged pages, and what is held with what is known.
    fn check_blocks(&self, tagged: &[u32], mut known: PageCount) -> Result<(), Violation> {
        for block in self.tags.map().ids() {
            let (count, range) = (self.tags.count(block), self.tags.map().range(block));
            same(format_args!("pages with tags in {range}"), count, tagged[block.index()])?;
            if count > 0 {
                known += range.len();
            }
        }
        same("pages held", self.alloc.whereabouts().held, known)
    }
}
