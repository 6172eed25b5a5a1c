//! What is measured while a trace runs: averages over the trace's clock, peaks, and pictures.

use pagelab_allocator::event::Sink;
use pagelab_allocator::units::PfnRange;

use crate::drive::Driver;
use crate::picture::{block_map, free_cma, occupancy};
use crate::report::blocks::TimedMap;
use crate::report::{Barred, Lent, Moment, approximate};
use crate::survey::Span;

/// Operations between two counts of the data in tag storage, at least; that count visits its
/// frames, so it is made more rarely where there are many.
const STRIDE: u64 = 256;
/// Frames of tag storage for each operation between two counts.
const FRAMES: u64 = 64;

/// Looks at the machine while a trace runs, besides those at its beginning.
const MOMENTS: u64 = 40;
/// Every how many of them a map of the pageblocks is kept, where maps are.
const MAP_EVERY: u64 = 10;

/// Whether maps of the pageblocks are kept at some moments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maps {
    /// They are; the machine's tag storage is this.
    Kept(PfnRange),
    /// They are not: they are large.
    Dropped,
}

/// A value that is averaged over time: each value counts for as long as it held.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    value: u64,
    since: u64,
    first: Option<u64>,
    /// Sum of value times nanoseconds.
    area: u128,
}

impl Average {
    /// The value from `now` on.
    fn set(&mut self, now: u64, value: u64) {
        let start = *self.first.get_or_insert(now);
        let now = now.max(self.since).max(start);
        if self.since >= start {
            self.area += u128::from(self.value) * u128::from(now - self.since.max(start));
        }
        (self.since, self.value) = (now, value);
    }

    /// The average up to the last `set`; the value itself when no time passed.
    fn get(&self) -> f64 {
        let span = self.since - self.first.unwrap_or(self.since);
        if span == 0 {
            return approximate(self.value);
        }
        let whole = u64::try_from(self.area / u128::from(span)).unwrap_or(u64::MAX);
        let rest = u64::try_from(self.area % u128::from(span)).unwrap_or(0);
        approximate(whole) + approximate(rest) / approximate(span)
    }
}

/// The measurements of one run.
#[derive(Debug)]
pub struct Sampler {
    tags: PfnRange,
    lends: bool,
    steps: u64,
    lent: Average,
    occupied: Average,
    barred: Average,
    reserved_peak: u64,
    tagged_at_peak: u64,
    tagged_peak: u64,
    time: Span,
    moments: Vec<Moment>,
    maps: Maps,
    kept: Vec<TimedMap>,
}

impl Sampler {
    /// Measures a machine whose tag storage, as far as it can be lent, is `tags`, while the trace's
    /// clock runs through `time`.
    #[must_use]
    pub fn new<S: Sink>(driver: &Driver<S>, tags: PfnRange, time: Span, maps: Maps) -> Self {
        Self {
            maps,
            kept: Vec::new(),
            time,
            moments: Vec::new(),
            tags,
            lends: driver.lends(),
            steps: 0,
            lent: Average::default(),
            occupied: Average::default(),
            barred: Average::default(),
            reserved_peak: 0,
            tagged_at_peak: 0,
            tagged_peak: 0,
        }
    }

    /// Looks at the machine after an operation at `now` (nanoseconds of the trace's clock).
    pub fn step<S: Sink>(&mut self, driver: &Driver<S>, now: u64) {
        let stats = driver.emulator().tags().stats();
        let reserved = stats.reserved_pages();
        let tagged = driver.emulator().tags().ledger().reserved_pages().get();
        self.tagged_peak = self.tagged_peak.max(tagged_pages(driver));
        if self.lends {
            self.lent.set(now, self.tags.len().get() - reserved);
            if reserved > self.reserved_peak {
                (self.reserved_peak, self.tagged_at_peak) = (reserved, tagged);
            } else if reserved == self.reserved_peak {
                self.tagged_at_peak = self.tagged_at_peak.max(tagged);
            }
        }
        if driver.bars_cma() {
            self.barred.set(now, free_cma(driver));
        }
        if self.lends && self.steps.is_multiple_of(STRIDE.max(self.tags.len().get() / FRAMES)) {
            self.occupied.set(now, self.data_in_tags(driver));
        }
        self.steps += 1;
        let taken = u64::try_from(self.moments.len()).unwrap_or(u64::MAX);
        let span = u128::from(self.time.end - self.time.start);
        let due = span * u128::from(taken) / u128::from(MOMENTS);
        if taken < MOMENTS && u128::from(now.saturating_sub(self.time.start)) > due {
            if taken.is_multiple_of(MAP_EVERY) {
                self.keep_map(driver, now);
            }
            self.moments.push(self.moment(driver, now));
        }
    }

    fn keep_map<S: Sink>(&mut self, driver: &Driver<S>, now: u64) {
        if let Maps::Kept(tags) = self.maps {
            let nanoseconds = now - self.time.start;
            self.kept.push(TimedMap { nanoseconds, blocks: block_map(driver, tags) });
        }
    }

    fn moment<S: Sink>(&self, driver: &Driver<S>, now: u64) -> Moment {
        let alloc = driver.emulator().page_alloc();
        let tags = driver.emulator().tags();
        let stats = tags.stats();
        let order = alloc.geometry().pageblock_order();
        let free = alloc.free_blocks();
        Moment {
            nanoseconds: now - self.time.start,
            free_pages: free.pages(),
            free_cma_pages: free_cma(driver),
            huge_available: free.suitable(order),
            unusable_index: free.unusable_index(order),
            tagged_pages: tagged_pages(driver),
            reserved_tag_pages: stats.reserved_pages(),
            claims_free: stats.claims_free,
            claims: stats.claims(),
            moved_pages: stats.displaced_pages + stats.fault_migrations,
            failed: driver.tagging().failed() + driver.requests().failed(),
        }
    }

    /// What the machine was like, evenly spread over time, and the maps that were kept.
    #[must_use]
    pub fn into_moments<S: Sink>(mut self, driver: &Driver<S>) -> (Vec<Moment>, Vec<TimedMap>) {
        self.moments.push(self.moment(driver, self.time.end));
        self.keep_map(driver, self.time.end);
        (self.moments, self.kept)
    }

    /// Pages of tag storage that hold data now.
    fn data_in_tags<S: Sink>(&self, driver: &Driver<S>) -> u64 {
        let tags = driver.emulator().tags();
        if driver.keeps_copies() {
            return tags.clean().copies().get();
        }
        let all = occupancy(driver.emulator().page_alloc(), self.tags).used.get();
        all - tags.stats().reserved_pages()
    }

    /// What was given back; `None` when nothing is lent.
    #[must_use]
    pub fn lent<S: Sink>(&self, driver: &Driver<S>) -> Option<Lent> {
        let stats = driver.emulator().tags().stats();
        let reserved = stats.reserved_pages();
        self.lends.then(|| Lent {
            average_pages: self.lent.get(),
            end_pages: self.tags.len().get() - reserved,
            occupied_average_pages: self.occupied.get(),
            occupied_end_pages: self.data_in_tags(driver),
            reserved_end_pages: reserved,
            reserved_peak_pages: self.reserved_peak,
            tagged_at_peak: self.tagged_at_peak,
        })
    }

    /// Most pages with tags at one time.
    #[must_use]
    pub const fn tagged_peak(&self) -> u64 {
        self.tagged_peak
    }

    /// Free CMA that tagged requests could not have; `None` when the design lets them.
    #[must_use]
    pub fn barred<S: Sink>(&self, driver: &Driver<S>) -> Option<Barred> {
        driver.bars_cma().then(|| Barred {
            average_pages: self.barred.get(),
            end_pages: free_cma(driver),
            failed_requests: driver.barred_failures(),
        })
    }
}

/// Pages that carry tags, in tag storage or kept aside; the page of zeroes is one of them.
fn tagged_pages<S: Sink>(driver: &Driver<S>) -> u64 {
    let tags = driver.emulator().tags();
    let aside = u64::try_from(tags.stashed()).unwrap_or(u64::MAX);
    tags.ledger().reserved_pages().get() + aside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_for_as_long_as_they_hold() {
        let mut average = Average::default();
        average.set(1000, 10);
        average.set(1100, 20);
        average.set(1400, 0);
        // 10 for 100 ns, 20 for 300 ns.
        assert!((average.get() - 17.5).abs() < 1e-9);
        let mut still = Average::default();
        still.set(5, 7);
        assert!((still.get() - 7.0).abs() < 1e-9);
    }
}
