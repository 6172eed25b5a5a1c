//! Every metric, in the order in which tables and files show them.

use super::{Metric, Unit};
use crate::report::{Claims, Lent, RunReport, approximate};

/// What definitions are taken from.
const VMSTAT: &str = "mm/vmstat.c";
const SERIES: &str = "tag storage (RFC v1-v3), pages times time";
const MMTESTS: &str = "mmtests MonitorFtraceextfrag, by type names";
const OWN: &str = "pagelab";

const fn metric(
    name: &'static str,
    (unit, range): (Unit, &'static str),
    (meaning, source): (&'static str, &'static str),
    of: fn(&RunReport) -> Option<f64>,
) -> Metric {
    Metric { name, unit, range, meaning, source, of }
}

const MIB: (Unit, &str) = (Unit::Mib, "0 to memory");
const LENT: (Unit, &str) = (Unit::Mib, "0 to tag storage");
const SHARE: (Unit, &str) = (Unit::Share, "0 to 1");
const COUNT: (Unit, &str) = (Unit::Count, "0 up");
const PAGES: (Unit, &str) = (Unit::Pages, "0 up");
const BLOCKS: (Unit, &str) = (Unit::Blocks, "0 up");

/// The metric of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

fn lent(r: &RunReport, value: fn(&Lent) -> f64) -> Option<f64> {
    r.lent.as_ref().map(value)
}

/// Tag storage that data may use: none of it when the design lends nothing.
fn given_back(r: &RunReport) -> f64 {
    r.machine.mib(lent(r, |l| l.average_pages).unwrap_or(0.0))
}

fn claims(r: &RunReport, value: fn(&Claims) -> u64) -> Option<f64> {
    r.claims.as_ref().map(|claims| approximate(value(claims)))
}

fn blocked(r: &RunReport, cause: &str) -> Option<f64> {
    let claims = r.claims.as_ref()?;
    Some(approximate(claims.failed.get(cause).copied().unwrap_or(0)))
}

fn counter(r: &RunReport, name: &str) -> Option<f64> {
    r.counters.get(name).map(|count| approximate(*count))
}

/// `part` of `whole`; `None` when there is no whole.
fn part(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| approximate(part) / approximate(whole))
}

const fn tagged(r: &RunReport) -> u64 {
    r.tagging.at_once + r.tagging.waited
}

#[expect(clippy::unnecessary_wraps, reason = "every metric may be missing, this one never is")]
const fn count(value: u64) -> Option<f64> {
    Some(approximate(value))
}

/// Share of free memory in runs of at least 2^`ORDER` pages.
fn in_runs<const ORDER: usize>(r: &RunReport) -> Option<f64> {
    part(r.census.free_in_runs[ORDER], r.census.free_pages)
}

const fn runs(name: &'static str, of: fn(&RunReport) -> Option<f64>) -> Metric {
    let meaning = "free memory that lies in runs of free pages at least as long as the name says";
    metric(name, SHARE, (meaning, "contiguity distribution (Contiguitas, ISCA 2023)"), of)
}

/// Every metric.
pub const ALL: &[Metric] = &[
    metric(
        "given_back",
        LENT,
        ("tag storage that holds no tags, averaged over time", SERIES),
        |r| Some(given_back(r)),
    ),
    metric(
        "usable_memory",
        MIB,
        ("memory without tag storage, and what of that is given back, averaged over time", OWN),
        |r| {
            let data = r.machine.pages - r.machine.carve_out_pages;
            Some(r.machine.mib(approximate(data)) + given_back(r))
        },
    ),
    metric("given_back_end", LENT, ("tag storage that holds no tags at the end", SERIES), |r| {
        Some(r.machine.mib(lent(r, |l| approximate(l.end_pages)).unwrap_or(0.0)))
    }),
    metric(
        "given_back_share",
        SHARE,
        ("part of tag storage that holds no tags, averaged over time", SERIES),
        |r| {
            let whole = r.machine.mib(approximate(r.machine.carve_out_pages));
            (whole > 0.0).then(|| given_back(r) / whole)
        },
    ),
    metric("lent_and_used", LENT, ("tag storage that holds data, averaged over time", OWN), |r| {
        Some(r.machine.mib(lent(r, |l| l.occupied_average_pages).unwrap_or(0.0)))
    }),
    metric("tag_pages_peak", PAGES, ("most tag pages reserved at one time", SERIES), |r| {
        lent(r, |l| approximate(l.reserved_peak_pages))
    }),
    metric(
        "tag_efficiency",
        SHARE,
        ("tagged data pages in 32 times the tag pages, when most are reserved", SERIES),
        |r| r.lent.as_ref()?.efficiency(),
    ),
    metric(
        "fast_path_hit_rate",
        SHARE,
        ("claims on tag storage that found the block free, of all claims", "RFC v2 patch 26"),
        |r| r.claims.as_ref()?.hit_rate(),
    ),
    metric("tagged_pages", PAGES, ("pages that came to carry tags", OWN), |r| count(tagged(r))),
    metric(
        "tagged_pages_peak",
        PAGES,
        ("most pages that carried tags at one time, kept in tag storage or aside", OWN),
        |r| count(r.tagged_peak_pages),
    ),
    metric("tagged_at_once", SHARE, ("pages to be tagged that had not to wait", OWN), |r| {
        part(r.tagging.at_once, r.tagging.asked)
    }),
    metric(
        "tagged_waited",
        SHARE,
        ("pages to be tagged that waited for a move or a fault tried again", OWN),
        |r| part(r.tagging.waited, r.tagging.asked),
    ),
    metric("tagged_failed", SHARE, ("pages to be tagged that could not be", OWN), |r| {
        part(r.tagging.failed(), r.tagging.asked)
    }),
    metric(
        "tagged_no_progress",
        COUNT,
        ("pages to be tagged whose page and tag storage were both stuck", "RFC v2 review"),
        |r| count(r.tagging.failed_no_progress),
    ),
    metric(
        "moves_per_tagged_page",
        (Unit::Ratio, "0 up"),
        ("pages moved for the sake of tags, for each page tagged", SERIES),
        |r| {
            let claims = r.claims.as_ref()?;
            part(claims.displaced_pages + claims.moved_tagged_pages, tagged(r))
        },
    ),
    metric("claims", COUNT, ("claims on tag storage", OWN), |r| {
        claims(r, |c| c.free + c.moved + c.dropped + c.failed.values().sum::<u64>())
    }),
    metric("claims_moved", COUNT, ("claims that data had to leave the block for", OWN), |r| {
        claims(r, |c| c.moved)
    }),
    metric("claims_dropped", COUNT, ("claims that clean copies were dropped for", OWN), |r| {
        claims(r, |c| c.dropped)
    }),
    metric(
        "claim_retries",
        COUNT,
        ("claims tried again for EBUSY", "alloc_contig_range() of the series"),
        |r| claims(r, |c| c.retries),
    ),
    metric("claims_failed", COUNT, ("claims given up", OWN), |r| {
        claims(r, |c| c.failed.values().sum())
    }),
    metric("blocked_pinned", COUNT, ("claims given up for a pinned page", OWN), |r| {
        blocked(r, "pinned")
    }),
    metric("blocked_unmovable", COUNT, ("claims given up for an unmovable page", OWN), |r| {
        blocked(r, "unmovable")
    }),
    metric("blocked_isolated", COUNT, ("claims given up for an isolated pageblock", OWN), |r| {
        blocked(r, "isolated")
    }),
    metric(
        "blocked_not_moved",
        COUNT,
        ("claims given up for a page that did not move", OWN),
        |r| blocked(r, "not_moved"),
    ),
    metric(
        "blocked_no_target",
        COUNT,
        ("claims given up for want of memory to move to", OWN),
        |r| blocked(r, "no_target"),
    ),
    metric("moved_out_pages", PAGES, ("pages of data that left tag storage for tags", OWN), |r| {
        claims(r, |c| c.displaced_pages)
    }),
    metric("moved_tagged_pages", PAGES, ("tagged pages that moved to get storage", OWN), |r| {
        claims(r, |c| c.moved_tagged_pages)
    }),
    metric(
        "cma_utilisation",
        SHARE,
        ("pages of CMA pageblocks without tags that hold movable data at the end", OWN),
        |r| part(r.census.cma_movable_pages, r.census.cma_pages),
    ),
    metric(
        "contig_failed",
        COUNT,
        ("contiguous ranges of others that could not be had", OWN),
        |r| count(r.requests.failed_contig),
    ),
    metric("requests_failed", COUNT, ("requests that failed, for any cause", OWN), |r| {
        count(r.requests.failed())
    }),
    metric(
        "failed_only_cma",
        COUNT,
        ("requests that failed although free CMA would have sufficed", OWN),
        |r| count(r.requests.failed_only_cma),
    ),
    metric(
        "unusable_index",
        (Unit::Index, "0 to 1"),
        ("free memory that cannot serve a pageblock, at the end", VMSTAT),
        |r| Some(approximate(r.after.unusable_index) / 1000.0),
    ),
    metric(
        "fragmentation_index",
        (Unit::Index, "-1 to 1"),
        ("-1: a pageblock can be had; else 0 for want of memory, 1 for fragmentation", VMSTAT),
        |r| {
            let index = i32::try_from(r.after.fragmentation_index).ok()?;
            Some(f64::from(index) / 1000.0)
        },
    ),
    metric("mixed_blocks", BLOCKS, ("MOVABLE pageblocks with an unmovable page", OWN), |r| {
        count(r.census.mixed_blocks)
    }),
    metric(
        "mixed_share",
        SHARE,
        ("part of the MOVABLE pageblocks that hold an unmovable page", OWN),
        |r| part(r.census.mixed_blocks, r.census.movable_blocks),
    ),
    metric(
        "unmovable_scatter",
        (Unit::Ratio, "1 up"),
        ("pageblocks that hold unmovable pages, for each that these would fill", OWN),
        |r| {
            let fill = r.census.unmovable_pages.div_ceil(r.machine.pageblock_pages);
            part(r.census.unmovable_blocks, fill)
        },
    ),
    metric(
        "unmovable_gini",
        (Unit::Index, "0 to 1"),
        ("how unevenly unmovable pages lie in the pageblocks: 0 alike, 1 in few", "Gini"),
        |r| Some(approximate(r.census.unmovable_gini) / 1000.0),
    ),
    metric("huge_available", BLOCKS, ("2 MiB blocks that the free lists can serve", VMSTAT), |r| {
        count(r.after.huge_available)
    }),
    metric(
        "huge_of_optimum",
        SHARE,
        ("2 MiB blocks that the free lists can serve, of what free memory could make", "LLFree"),
        |r| part(r.after.huge_available, r.after.free_pages / r.machine.pageblock_pages),
    ),
    metric("huge_possible", BLOCKS, ("2 MiB ranges in which nothing has to stay", OWN), |r| {
        count(r.census.huge_possible)
    }),
    metric("giant_free", BLOCKS, ("aligned ranges of 1 GiB that are all free", OWN), |r| {
        count(r.census.giant_free)
    }),
    metric("giant_possible", BLOCKS, ("1 GiB ranges in which nothing has to stay", OWN), |r| {
        count(r.census.giant_possible)
    }),
    metric("extfrag_events", COUNT, ("raids on other types' free lists", MMTESTS), |r| {
        count(r.extfrag.events)
    }),
    metric(
        "extfrag_fragmenting",
        COUNT,
        ("raids on blocks smaller than a pageblock", MMTESTS),
        |r| count(r.extfrag.fragmenting),
    ),
    metric("extfrag_unmovable", COUNT, ("raids for unmovable requests", MMTESTS), |r| {
        count(r.extfrag.unmovable)
    }),
    metric(
        "extfrag_unmovable_in_movable",
        COUNT,
        ("raids for unmovable requests on movable lists", MMTESTS),
        |r| count(r.extfrag.unmovable_in_movable),
    ),
    metric("extfrag_claimed", COUNT, ("raids after which the pageblock changed hands", OWN), |r| {
        count(r.extfrag.claimed)
    }),
    metric("pages_migrated", PAGES, ("pgmigrate_success", VMSTAT), |r| {
        counter(r, "pgmigrate_success")
    }),
    metric("pages_not_migrated", PAGES, ("pgmigrate_fail", VMSTAT), |r| {
        counter(r, "pgmigrate_fail")
    }),
    metric("compact_stall", COUNT, ("requests that had to compact", VMSTAT), |r| {
        counter(r, "compact_stall")
    }),
    metric("pages_scanned", PAGES, ("looked at by reclaim", VMSTAT), |r| count(r.reclaim.scanned)),
    metric("reclaim_stalls", COUNT, ("requests that had to reclaim (allocstall)", VMSTAT), |r| {
        count(r.reclaim.stalls)
    }),
    metric("cache_dropped", PAGES, ("page cache taken back (pgsteal_file)", VMSTAT), |r| {
        count(r.reclaim.file)
    }),
    metric("refault_file", PAGES, ("page cache read again", VMSTAT), |r| {
        count(r.reclaim.refault_file)
    }),
    metric(
        "refault_copied",
        PAGES,
        ("of these, found as clean copies in tag storage: not read from the disk", OWN),
        |r| count(r.reclaim.refault_copied),
    ),
    metric(
        "disk_rereads",
        PAGES,
        ("page cache read again from the disk: refault_file less refault_copied", OWN),
        |r| count(r.reclaim.refault_file - r.reclaim.refault_copied),
    ),
    metric("swapped_out", PAGES, ("anonymous pages swapped out (pswpout)", VMSTAT), |r| {
        count(r.reclaim.anon)
    }),
    metric("refault_anon", PAGES, ("anonymous pages that came back", VMSTAT), |r| {
        count(r.reclaim.refault_anon)
    }),
    runs("free_in_runs_4KiB", in_runs::<0>),
    runs("free_in_runs_8KiB", in_runs::<1>),
    runs("free_in_runs_16KiB", in_runs::<2>),
    runs("free_in_runs_32KiB", in_runs::<3>),
    runs("free_in_runs_64KiB", in_runs::<4>),
    runs("free_in_runs_128KiB", in_runs::<5>),
    runs("free_in_runs_256KiB", in_runs::<6>),
    runs("free_in_runs_512KiB", in_runs::<7>),
    runs("free_in_runs_1MiB", in_runs::<8>),
    runs("free_in_runs_2MiB", in_runs::<9>),
    runs("free_in_runs_4MiB", in_runs::<10>),
    runs("free_in_runs_8MiB", in_runs::<11>),
    runs("free_in_runs_16MiB", in_runs::<12>),
    runs("free_in_runs_32MiB", in_runs::<13>),
    runs("free_in_runs_64MiB", in_runs::<14>),
    runs("free_in_runs_128MiB", in_runs::<15>),
    runs("free_in_runs_256MiB", in_runs::<16>),
    runs("free_in_runs_512MiB", in_runs::<17>),
    runs("free_in_runs_1GiB", in_runs::<18>),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_are_shown_to_a_tenth() {
        let shown = [0.0, 0.25, 1.75, 2.0, 9.9, 9.96, 12.25].map(|value| Unit::Count.show(value));
        assert_eq!(shown, ["0", "0.2", "1.8", "2", "9.9", "10", "12"]);
    }

    #[test]
    fn names_are_unique_and_snake_case() {
        for (at, metric) in ALL.iter().enumerate() {
            let ok = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(metric.name.chars().all(ok), "{}", metric.name);
            assert!(ALL[..at].iter().all(|other| other.name != metric.name), "{}", metric.name);
        }
    }
}
