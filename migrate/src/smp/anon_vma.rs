//! The tables in which a page may be mapped. Linux: `struct anon_vma`.

use core::fmt::{self, Debug, Formatter};

use pagelab_allocator::sync::{Arc, Mutex};

use crate::smp::machine::Machine;
use crate::smp::page_table::SharedTable;

/// How many tables a walk visits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tables {
    One,
    Several,
}

/// The address spaces that descend from one by fork, parents before children.
pub struct AnonVma {
    /// Whose frames the pages lie in.
    machine: Machine,
    tables: Mutex<Vec<Arc<SharedTable>>>,
}

/// Its tables have pages each of which knows it again: they are left out.
impl Debug for AnonVma {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnonVma").finish_non_exhaustive()
    }
}

impl AnonVma {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, tables: Mutex::new(Vec::new()) }
    }

    /// Whether its pages are those of a machine.
    pub(crate) fn is_of(&self, machine: &Machine) -> bool {
        self.machine.is(machine)
    }

    /// From now on every walk visits `table`, after those before it. Linux:
    /// `anon_vma_chain_link()`.
    pub(crate) fn link(&self, table: Arc<SharedTable>) {
        self.tables.lock().push(table);
    }

    /// No walk visits `table` any more. Linux: `unlink_anon_vmas()`.
    pub(crate) fn unlink(&self, table: &Arc<SharedTable>) {
        self.tables.lock().retain(|linked| !Arc::ptr_eq(linked, table));
    }

    /// Visits the tables while none can be linked. A parent comes before its child: what fork
    /// copies while the walk is between them is met in the child. Linux: `rmap_walk_anon()`.
    pub(crate) fn rmap_walk(&self, mut visit: impl FnMut(&SharedTable, Tables)) {
        let tables = self.tables.lock();
        let number = if tables.len() == 1 { Tables::One } else { Tables::Several };
        tables.iter().for_each(|table| visit(table, number));
    }
}
