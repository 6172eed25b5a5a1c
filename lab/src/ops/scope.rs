//! What of a stream's identities exists: no number is used twice, and no page lies outside of its
//! area.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::Wrong;
use crate::logical::process::{AreaId, PinId, ProcessId, ProcessOp};
use crate::logical::{Op, PageId, PageSpan};

/// The identities of a stream so far.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Areas with their lengths, of processes that were ever made.
    processes: BTreeMap<ProcessId, BTreeMap<AreaId, u32>>,
    pages: BTreeSet<PageId>,
    pins: BTreeSet<PinId>,
}

impl Scope {
    /// The next operation.
    ///
    /// # Errors
    ///
    /// [`Wrong`] names the identity that is used twice, or the pages outside of their area.
    pub fn enter(&mut self, op: Op) -> Result<(), Wrong> {
        match op {
            Op::Alloc { id, .. } => once(self.pages.insert(id), "alloc", id.0),
            Op::AllocContig { id, .. } => once(self.pages.insert(id), "contig", id.0),
            Op::Process(op) => self.process(op),
            Op::Failed { .. } | Op::Free { .. } | Op::Tag { .. } | Op::Snapshot { .. } => Ok(()),
        }
    }

    /// Pages of an area; `None` when there is no such area.
    #[must_use]
    pub fn area(&self, process: ProcessId, area: AreaId) -> Option<u32> {
        self.processes.get(&process)?.get(&area).copied()
    }

    fn process(&mut self, op: ProcessOp) -> Result<(), Wrong> {
        match op {
            ProcessOp::Spawn { process } => self.make("process", process, BTreeMap::new()),
            ProcessOp::Fork { parent, child } => {
                let areas = self.processes.get(&parent).cloned().unwrap_or_default();
                self.make("to", child, areas)
            }
            ProcessOp::Map { process, area, pages, .. } => {
                let known = self.processes.entry(process).or_default();
                once(known.insert(area, pages).is_none(), "area", u64::from(area.0))
            }
            ProcessOp::Protect { process, area, span }
            | ProcessOp::Touch { process, area, span, .. } => {
                self.inside("pages", (process, area), span)
            }
            ProcessOp::Pin { pin, process, area, page, .. } => {
                once(self.pins.insert(pin), "pin", u64::from(pin.0))?;
                self.inside("page", (process, area), PageSpan { first: page, pages: 1 })
            }
            _ => Ok(()),
        }
    }

    fn make(
        &mut self,
        field: &'static str,
        process: ProcessId,
        areas: BTreeMap<AreaId, u32>,
    ) -> Result<(), Wrong> {
        let fresh = self.processes.insert(process, areas).is_none();
        once(fresh, field, u64::from(process.0))
    }

    fn inside(
        &self,
        field: &'static str,
        (process, area): (ProcessId, AreaId),
        span: PageSpan,
    ) -> Result<(), Wrong> {
        let end = u64::from(span.first) + u64::from(span.pages);
        match self.area(process, area) {
            Some(pages) if end > u64::from(pages) => {
                Err(Wrong::new(field, end, &format!("the area has {pages} pages")))
            }
            _ => Ok(()),
        }
    }
}

fn once(fresh: bool, field: &'static str, number: u64) -> Result<(), Wrong> {
    match fresh {
        true => Ok(()),
        false => Err(Wrong::new(field, number, "that number was used before")),
    }
}
