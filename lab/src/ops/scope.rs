//! What of a stream's identities exists: no number is used twice, and no page lies outside of its
//! area.

use core::fmt;
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
            Op::Alloc { id, .. } => self.page("alloc", id),
            Op::AllocContig { id, .. } => self.page("contig", id),
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
                match known.insert(area, pages) {
                    None => Ok(()),
                    Some(_) => Err(used_before("area", area.0)),
                }
            }
            ProcessOp::Protect { process, area, span }
            | ProcessOp::Touch { process, area, span, .. } => {
                self.inside("pages", (process, area), span)
            }
            ProcessOp::Pin { pin, process, area, page, .. } => {
                if !self.pins.insert(pin) {
                    return Err(used_before("pin", pin.0));
                }
                self.inside("page", (process, area), PageSpan { first: page, pages: 1 })
            }
            _ => Ok(()),
        }
    }

    fn page(&mut self, field: &'static str, id: PageId) -> Result<(), Wrong> {
        match self.pages.insert(id) {
            true => Ok(()),
            false => Err(used_before(field, id.0)),
        }
    }

    fn make(
        &mut self,
        field: &'static str,
        process: ProcessId,
        areas: BTreeMap<AreaId, u32>,
    ) -> Result<(), Wrong> {
        match self.processes.insert(process, areas) {
            None => Ok(()),
            Some(_) => Err(used_before(field, process.0)),
        }
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

fn used_before(field: &'static str, number: impl fmt::Display) -> Wrong {
    Wrong::new(field, number, "that number was used before")
}
