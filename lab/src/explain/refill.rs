//! A refill of a per-CPU list, told at once: dozens of blocks come off the same few lists.

use std::collections::BTreeMap;

use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::note::Note;
use pagelab_allocator::units::Order;

use super::line::Line;

/// What one list gave.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    blocks: u32,
    /// The largest block that one of them was cut from.
    largest: Option<Order>,
    /// How often it had none.
    misses: u32,
}

/// A refill under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Refill {
    wanted: u32,
    given: BTreeMap<usize, Given>,
    half_rule: Option<Line>,
    /// Raids in between.
    raids: Vec<Line>,
}

impl Refill {
    /// A refill with so many blocks has begun.
    pub(super) fn new(wanted: u32) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// A list was looked at.
    pub(super) fn list(&mut self, mt: MigrateType, from: Option<Order>) {
        let given = self.given.entry(mt.index()).or_default();
        match from {
            Some(order) => {
                given.blocks += 1;
                given.largest = given.largest.max(Some(order));
            }
            None => given.misses += 1,
        }
    }

    /// CMA was weighed; the first time is told.
    pub(super) fn weigh(&mut self, line: Line) {
        self.half_rule.get_or_insert(line);
    }

    /// Another type's lists were raided.
    pub(super) fn raid(&mut self, line: Line) {
        self.raids.push(line);
    }

    /// It has ended with so many blocks.
    pub(super) fn end(self, got: u32) -> Vec<Line> {
        let text = format!("the list is empty: {} blocks wanted, {got} got", self.wanted);
        let kind = if got == 0 { "refill failed" } else { "refill" };
        let mut lines = vec![Line::new("per-CPU", kind, text)];
        lines.extend(self.half_rule);
        for (mt, given) in self.given {
            let mt = MigrateType::from_index(mt);
            let text = match (given.blocks, given.largest) {
                (0, _) | (_, None) => format!("{mt}: empty ({} looks)", given.misses),
                (blocks, Some(order)) => {
                    let then = if given.misses > 0 { ", then empty" } else { "" };
                    format!("{mt}: {blocks} blocks, largest cut from order {order}{then}")
                }
            };
            lines.push(Line::new("list", mt.name(), text));
        }
        lines.extend(self.raids);
        lines
    }
}

/// Whether more than half of the free memory is CMA.
pub(super) fn half_rule(note: &Note) -> Option<Line> {
    let &Note::CmaFirst { free, cma } = note else { return None };
    let (first, verdict) = match cma.get() > free.get() / 2 {
        true => ("CMA first", "more than half: CMA comes first"),
        false => ("own first", "not more than half: the own list comes first"),
    };
    Some(Line::new("half rule", first, format!("{cma} of {free} free pages are CMA: {verdict}")))
}
