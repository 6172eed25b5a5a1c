//! Initializing the TDX module. Linux: `init_tdx_module()`.

use pagelab_allocator::contig::ContigRange;
use pagelab_allocator::event::Sink;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::printk::Level;
use pagelab_allocator::hotplug::tdx::{Tdx, TdxMemblock, TdxState};
use pagelab_allocator::units::{CpuId, PageCount};

use crate::hotplug::host::Host;
use crate::hotplug::pamt::Pamt;
use crate::hotplug::tdmr::{Tdmrs, USUAL_MOST};

/// What initialization took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TdxInitialized {
    /// Regions that cover all memory.
    pub tdmrs: usize,
    /// Pages of the tables about them.
    pub pamt: PageCount,
    /// Pages that had to move for the tables, which are contiguous.
    pub migrated: PageCount,
}

impl<S: Sink> Host<S> {
    /// Initializes the TDX module with the memory that there is now; a second call does nothing.
    /// Linux: `tdx_enable()`.
    ///
    /// # Errors
    ///
    /// [`Errno::NxIo`] on a platform without TDX, [`Errno::NoSpc`] when regions run out,
    /// [`Errno::NoMem`] when a table finds no contiguous memory, [`Errno::Io`] when some memory is
    /// not convertible. TDX is off until the next boot then.
    pub fn tdx_init(&mut self, pamt: Pamt) -> Result<TdxInitialized, Errno> {
        let tdx = self.hot.tdx().ok_or(Errno::NxIo)?;
        match tdx.state() {
            TdxState::Initialized(_) => return Ok(TdxInitialized::default()),
            TdxState::Failed(errno) => return Err(*errno),
            TdxState::Uninitialized => {}
        }
        let snapshot = Tdx::snapshot(self.hot.memblock());
        let done = self.set_up_module(&snapshot, pamt);
        match done {
            Ok(_) => self.tdx_mut().initialized(snapshot),
            Err(errno) => {
                self.tdx_mut().failed(errno);
                let number = errno.number();
                let text = format!("virt/tdx: module initialization failed ({number})");
                self.say(Level::Err, text);
            }
        }
        done
    }

    fn tdx_mut(&mut self) -> &mut Tdx {
        self.hot.tdx_mut().expect("the platform has TDX")
    }

    fn set_up_module(
        &mut self,
        snapshot: &[TdxMemblock],
        pamt: Pamt,
    ) -> Result<TdxInitialized, Errno> {
        let tdmrs = Tdmrs::cover(snapshot, USUAL_MOST).map_err(|exhausted| {
            self.hot.log_mut().print(exhausted.line());
            exhausted.errno()
        })?;
        if let Some(line) = tdmrs.warning() {
            self.hot.log_mut().print(line.clone());
        }
        let (tables, migrated) = self.allocate_tables(&tdmrs, pamt)?;
        // Configuring the module fails at the first memory that it cannot convert.
        let convertible =
            |piece: &TdxMemblock| self.hot.tdx().is_some_and(|tdx| tdx.is_convertible(piece.range));
        if !snapshot.iter().all(convertible) {
            self.free_tables(tables);
            return Err(Errno::Io);
        }
        let taken: PageCount = tables.iter().map(|table| table.range().len()).sum();
        self.hot.count_tables(taken);
        self.hot.log_mut().print(tdmrs.pamt_line(pamt));
        // The module has them until the next boot.
        tables.into_iter().map(ContigRange::into_raw).for_each(drop);
        Ok(TdxInitialized { tdmrs: tdmrs.regions().len(), pamt: taken, migrated })
    }

    /// One contiguous table a region, on its node. Linux: `tdmrs_set_up_pamt_all()`.
    fn allocate_tables(
        &mut self,
        tdmrs: &Tdmrs,
        pamt: Pamt,
    ) -> Result<(Vec<ContigRange>, PageCount), Errno> {
        let (mut tables, mut migrated) = (Vec::new(), PageCount::ZERO);
        for (node, pages) in tdmrs.pamt(pamt) {
            match self.emulator.alloc_contig_pages_node(CpuId::BOOT, pages, node) {
                Ok(taken) => {
                    migrated += taken.migrated;
                    tables.push(taken.range);
                }
                Err(_) => {
                    self.free_tables(tables);
                    return Err(Errno::NoMem);
                }
            }
        }
        Ok((tables, migrated))
    }

    fn free_tables(&mut self, tables: Vec<ContigRange>) {
        for table in tables {
            self.emulator.release_range(CpuId::BOOT, table);
        }
    }
}
