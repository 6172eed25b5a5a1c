//! Where a replay writes down what it finds: the tally, and the one miss that somebody asked about.

use core::fmt::{Display, Write};

use pagelab_allocator::event::Sink;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::units::Order;

use super::cause::Cause;
use super::compare::Difference;
use super::tally::{Kind, Miss, Tally};
use crate::trace::Record;

/// The books of a replay.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Predictions counted.
    pub tally: Tally,
    /// The miss to explain, by number.
    wanted: Option<u64>,
    /// That miss with the lists around it.
    explained: Option<Explained>,
}

/// A miss with the lists around it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explained {
    /// The miss.
    pub miss: Miss,
    /// The lists before the recorded event was carried out.
    pub before: String,
    /// The lists afterwards.
    pub after: Option<String>,
    place: (usize, Order, MigrateType),
}

/// A machine, and the list at which something was expected.
pub type Place<'a, S> = (&'a PageAllocator<S>, usize, Order, MigrateType);

/// Most blocks of a list that are shown.
const SHOWN: usize = 16;

impl Ledger {
    /// Books that keep the lists around miss number `wanted`.
    #[must_use]
    pub fn new(wanted: Option<u64>) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Counts a miss; `told` is what the emulator said and what was recorded.
    pub fn miss<S: Sink>(
        &mut self,
        kind: Kind,
        cause: Cause,
        record: &Record,
        told: (String, String),
        place: Place<'_, S>,
    ) {
        self.miss_at(kind, cause, record.line, told, place);
    }

    /// [`miss`](Self::miss) at a line of the trace.
    pub fn miss_at<S: Sink>(
        &mut self,
        kind: Kind,
        cause: Cause,
        line: u64,
        told: (String, String),
        place: Place<'_, S>,
    ) {
        let (predicted, recorded) = told;
        let miss = Miss { number: 0, line, kind, cause, predicted, recorded };
        let number = self.tally.miss(miss.clone());
        if self.wanted == Some(number) {
            let (alloc, zone, order, mt) = place;
            self.explained = Some(Explained {
                miss: Miss { number, ..miss },
                before: lists(alloc, zone, order, mt),
                after: None,
                place: (zone, order, mt),
            });
        }
    }

    /// An event that the lists do not allow: a miss that nothing explains.
    pub fn impossible(&mut self, kind: Kind, record: &Record, why: &str) {
        self.outside(kind, record.line, (why.to_owned(), record.event.name().to_owned()));
        self.tally.resyncs += 1;
    }

    /// A miss that nothing explains and that is about no list in particular.
    pub fn outside(&mut self, kind: Kind, line: u64, told: (String, String)) {
        let (predicted, recorded) = told;
        let cause = Cause::Unexplained;
        let miss = Miss { number: 0, line, kind, cause, predicted, recorded };
        let number = self.tally.miss(miss.clone());
        if self.wanted == Some(number) {
            self.explained = Some(Explained {
                miss: Miss { number, ..miss },
                before: "no list in particular\n".to_owned(),
                after: Some("no list in particular\n".to_owned()),
                place: (0, Order::ZERO, MigrateType::Movable),
            });
        }
    }

    /// Something at a snapshot differs, and it is no list in particular.
    pub fn differs(&mut self, line: u64, difference: Difference) {
        self.outside(Kind::Listed, line, difference.told());
    }

    /// A recorded step that could not be carried out after its miss was counted: one more.
    pub fn note(&mut self, record: &Record, why: impl Display) {
        self.impossible(Kind::Taken, record, &why.to_string());
    }

    /// Completes the miss to explain with the lists after it.
    pub fn look_back<S: Sink>(&mut self, alloc: &PageAllocator<S>) {
        if let Some(explained) = &mut self.explained
            && explained.after.is_none()
        {
            let (zone, order, mt) = explained.place;
            explained.after = Some(lists(alloc, zone, order, mt));
        }
    }

    /// The miss that somebody asked about, if there was one.
    #[must_use]
    pub fn into_explained(self) -> (Tally, Option<Explained>) {
        (self.tally, self.explained)
    }
}

/// The free lists that a request of `order` and `mt` looks at, and the per-CPU list, as text.
fn lists<S: Sink>(alloc: &PageAllocator<S>, zone: usize, order: Order, mt: MigrateType) -> String {
    let mut text = String::new();
    let Some(zone) = alloc.zones().get(zone) else { return text };
    for order in order.to(alloc.geometry().max_order()) {
        let mut blocks = zone.buddy().free_list(order, mt);
        let shown: Vec<_> = blocks.by_ref().take(SHOWN).map(|pfn| pfn.to_string()).collect();
        let more = blocks.count();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} order {order} {mt}: {}{rest}",
            zone.kind(),
            if shown.is_empty() { "empty".to_owned() } else { shown.join(" ") },
        );
    }
    text
}
