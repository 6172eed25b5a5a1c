//! What a recorded machine had in use before the trace begins.
//!
//! A trace starts in the middle of a machine's life. What was allocated before is never seen being
//! allocated, but it takes its place: the kernel's image, slabs, and pages of earlier programs. The
//! counters of /proc/zoneinfo at the first snapshot say how much of each kind there was.

use std::path::Path;

use pagelab_allocator::units::PageCount;

use crate::case::error::CaseError;
use crate::case::text::CaseText;

/// Memory in use at the first snapshot, by kind, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Background {
    /// Never handed to the page allocator: firmware, the kernel's image, the memory map.
    pub reserved: PageCount,
    /// User pages, on LRU lists.
    pub movable: PageCount,
    /// Slabs that can be shrunk.
    pub reclaimable: PageCount,
    /// Everything else that is allocated.
    pub unmovable: PageCount,
}

impl Background {
    /// Allocated pages of every kind.
    #[must_use]
    pub fn allocated(&self) -> PageCount {
        self.movable + self.reclaimable + self.unmovable
    }

    /// Everything in use.
    #[must_use]
    pub fn used(&self) -> PageCount {
        self.allocated() + self.reserved
    }

    /// The same without `pages` that the trace itself will allocate before the snapshot.
    #[must_use]
    pub fn without(self, pages: PageCount) -> Self {
        let movable = self.movable.saturating_sub(pages);
        let rest = pages.saturating_sub(self.movable);
        Self { movable, unmovable: self.unmovable.saturating_sub(rest), ..self }
    }
}

/// More pages than any machine has: 52 bits of physical address.
const PAGE_LIMIT: u64 = 1 << 40;

/// Sums over all zones of the counters that matter here.
#[derive(Default)]
struct Sums {
    present: u64,
    managed: u64,
    free: u64,
    per_cpu: u64,
    lru: u64,
    slab_reclaimable: u64,
}

impl Sums {
    /// The sum that a counter adds to.
    fn of(&mut self, name: &str) -> Option<(&'static str, &mut u64)> {
        Some(match name {
            "present" => ("present", &mut self.present),
            "managed" => ("managed", &mut self.managed),
            "nr_free_pages" => ("nr_free_pages", &mut self.free),
            "count:" => ("count", &mut self.per_cpu),
            "nr_slab_reclaimable" => ("nr_slab_reclaimable", &mut self.slab_reclaimable),
            "nr_zone_inactive_anon"
            | "nr_zone_active_anon"
            | "nr_zone_inactive_file"
            | "nr_zone_active_file"
            | "nr_zone_unevictable" => ("nr_zone_*", &mut self.lru),
            _ => return None,
        })
    }
}

impl Background {
    /// Reads `snap-0.zoneinfo.txt` in the directory of `trace`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`CaseError`] when there is one that cannot be read or does not add up.
    pub fn beside(trace: &Path) -> Result<Option<Self>, CaseError> {
        let found = CaseText::beside(trace, "snap-0.zoneinfo.txt")?;
        found.map(|CaseText { file, text }| Self::parse(&file, &text)).transpose()
    }

    /// Reads the text of /proc/zoneinfo, which errors call `file`. Linux: `zoneinfo_show_print()`.
    ///
    /// # Errors
    ///
    /// [`CaseError`] names line and counter.
    pub fn parse(file: &str, text: &str) -> Result<Self, CaseError> {
        let mut sums = Sums::default();
        for (line, words) in (1..).zip(text.lines().map(str::split_whitespace)) {
            let [Some(name), Some(value), None] = take_three(words) else { continue };
            let Some((field, sum)) = sums.of(name) else { continue };
            let count: u64 = value.parse().map_err(|_| {
                let why = format!("{value:?} is not a number of pages");
                CaseError::at(file, line, field, why)
            })?;
            let total = sum.checked_add(count).filter(|total| *total <= PAGE_LIMIT);
            *sum = total.ok_or_else(|| {
                let why = format!("{count} more pages are more than any machine has");
                CaseError::at(file, line, field, why)
            })?;
        }
        Self::from_sums(&sums).ok_or_else(|| {
            let why =
                "fewer pages are managed than are free, on lists, or in slabs, or more than exist";
            CaseError::at(file, 0, "managed", why)
        })
    }

    fn from_sums(sums: &Sums) -> Option<Self> {
        let used = sums.managed.checked_sub(sums.free)?.checked_sub(sums.per_cpu)?;
        let rest = used.checked_sub(sums.lru)?.checked_sub(sums.slab_reclaimable)?;
        Some(Self {
            reserved: PageCount::new(sums.present.checked_sub(sums.managed)?),
            movable: PageCount::new(sums.lru),
            reclaimable: PageCount::new(sums.slab_reclaimable),
            unmovable: PageCount::new(rest),
        })
    }
}

/// The first three words of a line; counters have two.
fn take_three<'a>(mut words: impl Iterator<Item = &'a str>) -> [Option<&'a str>; 3] {
    [words.next(), words.next(), words.next()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Node 0, zone DMA\n  per-node stats\n      nr_slab_reclaimable 20\n  pages free     50\n        present  210\n        managed  200\n      nr_free_pages 50\n      nr_zone_active_anon 30\n      nr_zone_inactive_file 5\n  pagesets\n    cpu: 0\n              count: 10\n              high:  863\n";

    #[test]
    fn kinds_add_up_to_what_is_managed() {
        let background = Background::parse("zoneinfo", TEXT).unwrap();
        let expected = Background {
            reserved: PageCount::new(10),
            movable: PageCount::new(35),
            reclaimable: PageCount::new(20),
            unmovable: PageCount::new(85),
        };
        assert_eq!(background, expected);
        assert_eq!(background.allocated(), PageCount::new(200 - 50 - 10));
        assert_eq!(background.without(PageCount::new(40)).allocated(), PageCount::new(100));
    }

    #[track_caller]
    fn refused(text: &str, message: &str) {
        assert_eq!(Background::parse("zoneinfo", text).unwrap_err().to_string(), message);
    }

    #[test]
    fn errors_name_line_and_field() {
        let bad = TEXT.replace("managed  200", "managed  2x0");
        refused(&bad, "zoneinfo:6: field `managed`: \"2x0\" is not a number of pages");
        let bad = TEXT.replace("managed  200", "managed  20");
        refused(
            &bad,
            "zoneinfo: field `managed`: fewer pages are managed than are free, on lists, or in \
             slabs, or more than exist",
        );
        let bad = TEXT.replace("managed  200", "managed  18446744073709551615");
        refused(
            &bad,
            "zoneinfo:6: field `managed`: 18446744073709551615 more pages are more than any \
             machine has",
        );
    }
}
