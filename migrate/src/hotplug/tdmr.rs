//! Regions of memory that the TDX module manages. Linux: `struct tdmr_info`, `construct_tdmrs()`.

use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::printk::{Level, Line};
use pagelab_allocator::hotplug::tdx::TdxMemblock;
use pagelab_allocator::units::{NodeId, PageCount, Pfn, PfnRange};

use crate::hotplug::pamt::Pamt;

/// Regions begin and end at multiples of 1 GiB, in pages. Linux: `TDMR_ALIGNMENT`.
pub const ALIGNMENT: PageCount = PageCount::new(1 << 18);
/// Regions that modules have had so far.
pub const USUAL_MOST: usize = 64;
/// With fewer regions to spare there is a warning. Linux: `TDMR_NR_WARN`.
const SPARE: usize = 4;

/// A region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tdmr {
    /// Its frames, memory or not.
    pub range: PfnRange,
    /// Where its tables should lie: the node of the first memory in it. Linux: `tdmr_get_nid()`.
    pub node: NodeId,
}

/// The regions that cover all TDX memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tdmrs {
    regions: Vec<Tdmr>,
    warning: Option<Line>,
}

/// The module has fewer regions than the memory needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more than {0} regions are needed")]
pub struct Exhausted(pub usize);

impl Exhausted {
    /// What initialization returns.
    #[must_use]
    pub const fn errno(self) -> Errno {
        Errno::NoSpc
    }

    /// What it says.
    #[must_use]
    pub fn line(self) -> Line {
        Line::new(Level::Warn, "virt/tdx: initialization failed: TDMRs exhausted.".to_owned())
    }
}

impl Tdmrs {
    /// Covers `memory`, which ascends, with at most `most` regions: one for each piece where
    /// possible, none twice. Linux: `fill_out_tdmrs()`.
    ///
    /// # Errors
    ///
    /// [`Exhausted`].
    pub fn cover(memory: &[TdxMemblock], most: usize) -> Result<Self, Exhausted> {
        let mut regions: Vec<Tdmr> = Vec::new();
        for piece in memory {
            let covered = regions.last().map_or(Pfn::new(0), |last| last.range.end());
            let aligned = align_out(piece.range);
            let start = aligned.start().max(covered);
            if aligned.end() <= start {
                continue;
            }
            if regions.len() == most {
                return Err(Exhausted(most));
            }
            let range = PfnRange::new(start, aligned.end());
            regions.push(Tdmr { range, node: piece.node });
        }
        let warning = (most - regions.len() < SPARE).then(|| {
            let used = regions.len();
            let text =
                format!("virt/tdx: consumed TDMRs reaching limit: {used} used out of {most}");
            Line::new(Level::Warn, text)
        });
        Ok(Self { regions, warning })
    }

    /// The regions, ascending.
    #[must_use]
    pub fn regions(&self) -> &[Tdmr] {
        &self.regions
    }

    /// A word about regions that are nearly used up.
    #[must_use]
    pub const fn warning(&self) -> Option<&Line> {
        self.warning.as_ref()
    }

    /// What the tables of each region take, and on which node they should lie: as many contiguous
    /// claims. Linux: `tdmrs_set_up_pamt_all()`.
    pub fn pamt(&self, pamt: Pamt) -> impl Iterator<Item = (NodeId, PageCount)> {
        self.regions.iter().map(move |region| (region.node, pamt.pages(region.range.len())))
    }

    /// What initialization says at the end. Linux: `init_tdx_module()`.
    #[must_use]
    pub fn pamt_line(&self, pamt: Pamt) -> Line {
        let kilobytes = self.pamt(pamt).map(|(_, pages)| pages).sum::<PageCount>().get() * 4;
        Line::new(Level::Info, format!("virt/tdx: {kilobytes} KB allocated for PAMT"))
    }
}

fn align_out(range: PfnRange) -> PfnRange {
    let align = ALIGNMENT.get();
    let down = range.start().get() / align * align;
    let up = range.end().get().div_ceil(align) * align;
    PfnRange::new(Pfn::new(down), Pfn::new(up))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pages of 128 MiB, to be written down in eighths of a gigabyte.
    const EIGHTH: u64 = 1 << 15;

    fn pieces(eighths: &[(u64, u64)]) -> Vec<TdxMemblock> {
        let piece = |&(start, end): &(u64, u64)| {
            let range = PfnRange::new(Pfn::new(start * EIGHTH), Pfn::new(end * EIGHTH));
            TdxMemblock { range, node: NodeId::new(0) }
        };
        eighths.iter().map(piece).collect()
    }

    fn ranges(tdmrs: &Tdmrs) -> Vec<PfnRange> {
        tdmrs.regions().iter().map(|region| region.range).collect()
    }

    fn gib(tdmrs: &Tdmrs) -> Vec<(u64, u64)> {
        let gib = |pfn: Pfn| pfn.get() / ALIGNMENT.get();
        ranges(tdmrs).iter().map(|range| (gib(range.start()), gib(range.end()))).collect()
    }

    #[test]
    fn one_region_a_piece_where_possible() {
        let cover = |eighths: &[(u64, u64)]| gib(&Tdmrs::cover(&pieces(eighths), 64).unwrap());
        assert_eq!(cover(&[(0, 16), (32, 544)]), [(0, 2), (4, 68)]);
        assert_eq!(cover(&[(1, 9), (10, 15)]), [(0, 2)], "the second is in the first's last GiB");
        assert_eq!(
            cover(&[(1, 9), (10, 30)]),
            [(0, 2), (2, 4)],
            "the second begins where it ended"
        );
        assert_eq!(cover(&[]), []);
    }

    #[test]
    fn regions_run_out() {
        let apart =
            |count: u64| pieces(&(0..count).map(|n| (n * 16, n * 16 + 1)).collect::<Vec<_>>());
        let cover = |count| Tdmrs::cover(&apart(count), USUAL_MOST);
        assert_eq!(cover(60).unwrap().warning(), None, "four to spare");
        let warned = cover(61).unwrap();
        let text = "virt/tdx: consumed TDMRs reaching limit: 61 used out of 64";
        assert_eq!(warned.warning().map(|line| line.text.as_str()), Some(text));
        assert!(cover(64).is_ok());
        let error = cover(65).unwrap_err();
        assert_eq!((error, error.errno()), (Exhausted(64), Errno::NoSpc));
        assert_eq!(error.line().text, "virt/tdx: initialization failed: TDMRs exhausted.");
    }

    #[test]
    fn q12_tables_are_one_claim_a_region() {
        let mut memory = pieces(&[(0, 16), (32, 544)]);
        memory[1].node = NodeId::new(1);
        let tdmrs = Tdmrs::cover(&memory, 64).unwrap();
        let claims = tdmrs.pamt(Pamt::Static).map(|(node, pages)| (node.get(), pages.get()));
        assert_eq!(claims.collect::<Vec<_>>(), [(0, 2 * 1024 + 4 + 1), (1, 65_665)]);
        let said = tdmrs.pamt_line(Pamt::Static).text;
        assert_eq!(said, "virt/tdx: 270872 KB allocated for PAMT");
    }

    /// What is wrong with a cover of `memory`, gigabyte by gigabyte.
    fn complaint(memory: &[TdxMemblock], regions: &[PfnRange]) -> Option<String> {
        let align = ALIGNMENT.get();
        let end = memory.iter().map(|piece| piece.range.end().get().div_ceil(align)).max();
        for gib in 0..=end.unwrap_or(0) {
            let at = PfnRange::from_len(Pfn::new(gib * align), ALIGNMENT);
            let needed = memory.iter().any(|piece| piece.range.overlaps(at));
            let covers = regions.iter().filter(|region| region.covers(at)).count();
            let touches = regions.iter().filter(|region| region.overlaps(at)).count();
            if (covers, touches) != (usize::from(needed), usize::from(needed)) {
                return Some(format!("GiB {gib}: {covers} cover, {touches} touch"));
            }
        }
        None
    }

    fn ascending() -> impl Strategy<Value = Vec<TdxMemblock>> {
        prop::collection::vec((0_u64..20, 1_u64..20), 0..12).prop_map(|steps| {
            let mut at = 0;
            let ends = steps.into_iter().map(|(gap, len)| {
                let start = at + gap;
                at = start + len;
                (start, at)
            });
            pieces(&ends.collect::<Vec<_>>())
        })
    }

    proptest! {
        #[test]
        fn every_gigabyte_with_memory_is_covered_once(memory in ascending()) {
            let tdmrs = Tdmrs::cover(&memory, 64).unwrap();
            prop_assert_eq!(complaint(&memory, &ranges(&tdmrs)), None);
            prop_assert!(tdmrs.regions().len() <= memory.len());
        }
    }

    #[test]
    fn canary_covers_that_overlap_or_leave_out() {
        let memory = pieces(&[(1, 9), (10, 30)]);
        let each: Vec<_> = memory.iter().map(|piece| align_out(piece.range)).collect();
        assert_eq!(complaint(&memory, &each).unwrap(), "GiB 1: 2 cover, 2 touch");
        assert_eq!(complaint(&memory, &each[..1]).unwrap(), "GiB 2: 0 cover, 0 touch");
        let raw: Vec<_> = memory.iter().map(|piece| piece.range).collect();
        assert_eq!(complaint(&memory, &raw).unwrap(), "GiB 0: 0 cover, 1 touch");
    }
}
