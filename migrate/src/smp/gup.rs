//! Pinning pages that programs have mapped. Linux: mm/gup.c.

use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::units::Pfn;

use crate::smp::SharedMemory;
use crate::smp::page_table::{Access, Fault, SharedTable};
use crate::smp::slab::FolioRef;

/// A page that stays where it is, for a device.
#[derive(Debug)]
#[must_use = "a dropped pin holds its page for ever"]
pub struct Pinned(FolioRef);

impl Pinned {
    /// Its frame, which does not change.
    #[must_use]
    pub fn frame(&self) -> Pfn {
        self.0.frame()
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// Pins the page at `index` without holding its table's lock: reads the entry, pins what it
    /// says, and looks whether it still says so. Linux: `gup_fast_pte_range()`.
    ///
    /// # Errors
    ///
    /// The [`Fault`] to be taken first; [`Fault::Moving`] also when the entry changed meanwhile.
    pub fn pin(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        index: usize,
        access: Access,
    ) -> Result<Pinned, Fault> {
        self.admit_with(cpu, table.anon());
        let folio = table.peek(index, access)?;
        if !folio.try_pin() {
            return Err(Fault::Moving);
        }
        let pinned = Pinned(folio);
        match table.peek(index, access) {
            Ok(now) if now.is(&pinned.0) => Ok(pinned),
            changed => {
                self.unpin(cpu, pinned);
                Err(changed.err().unwrap_or(Fault::Moving))
            }
        }
    }

    /// Pins the page in `frame`, whoever has it, as lookups without locks do: takes what the map of
    /// frames says, and looks whether it is still there. There is none while somebody moves it.
    /// Linux: `get_page_unless_zero()` by frame number, `filemap_get_entry()`.
    pub fn pin_frame(&self, cpu: &mut Cpu<P>, frame: Pfn) -> Option<Pinned> {
        self.admit(cpu);
        let folio = self.folios.get(frame).filter(|folio| folio.try_pin())?;
        let pinned = Pinned(folio);
        if pinned.frame() == frame {
            return Some(pinned);
        }
        self.unpin(cpu, pinned);
        None
    }

    /// Gives a pin back. Linux: `unpin_user_page()`.
    pub fn unpin(&self, cpu: &mut Cpu<P>, pinned: Pinned) {
        self.admit_with(cpu, pinned.0.anon());
        let put = pinned.0.unpin();
        self.end(cpu, &pinned.0, put);
    }
}
