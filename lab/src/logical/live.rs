//! Which recorded frames are live, and as what.

use std::collections::BTreeMap;

use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

use super::{PageId, PageSpan};

/// Live pages of one allocation that lie side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) id: PageId,
    pub(super) span: PageSpan,
}

impl Piece {
    fn pages(self) -> PageCount {
        PageCount::new(u64::from(self.span.pages))
    }

    /// The pages `[from, to)` of this piece, counted from its first.
    fn part(self, from: u64, to: u64) -> Self {
        const FITS: &str = "part of a u32 number of pages";
        let first = self.span.first + u32::try_from(from).expect(FITS);
        let pages = u32::try_from(to - from).expect(FITS);
        Self { id: self.id, span: PageSpan { first, pages } }
    }
}

/// Live pieces by their first frame. Pieces never overlap.
#[derive(Debug, Default)]
pub(super) struct LiveTable {
    pieces: BTreeMap<Pfn, Piece>,
    pages: u64,
    peak: u64,
}

impl LiveTable {
    /// Live pages now.
    pub(super) const fn pages(&self) -> u64 {
        self.pages
    }

    /// Most live pages so far.
    pub(super) const fn peak(&self) -> u64 {
        self.peak
    }

    /// Puts `piece` at `pfn`, where nothing may be live.
    pub(super) fn insert(&mut self, pfn: Pfn, piece: Piece) {
        self.pages += u64::from(piece.span.pages);
        self.peak = self.peak.max(self.pages);
        self.pieces.insert(pfn, piece);
    }

    /// The page at `pfn`, as a piece of one page.
    pub(super) fn page(&self, pfn: Pfn) -> Option<Piece> {
        let (start, piece) = self.pieces.range(..=pfn).next_back()?;
        let offset = (pfn - *start).get();
        (offset < u64::from(piece.span.pages)).then(|| piece.part(offset, offset + 1))
    }

    /// Takes every live page of `range` out and hands the pieces to `each` in ascending order.
    /// Returns how many pages that were.
    pub(super) fn remove(&mut self, range: PfnRange, mut each: impl FnMut(Pfn, Piece)) -> u64 {
        let mut removed = 0;
        while let Some(start) = self.overlapping(range) {
            let piece = self.pieces.remove(&start).expect("it was just found");
            let whole = PfnRange::from_len(start, piece.pages());
            let hit = whole.intersect(range).expect("it overlaps");
            let (from, to) = ((hit.start() - start).get(), (hit.end() - start).get());
            if from > 0 {
                self.pieces.insert(start, piece.part(0, from));
            }
            if hit.end() < whole.end() {
                self.pieces.insert(hit.end(), piece.part(to, whole.len().get()));
            }
            removed += to - from;
            each(hit.start(), piece.part(from, to));
        }
        self.pages -= removed;
        removed
    }

    /// First frame of the first piece with a page in `range`.
    fn overlapping(&self, range: PfnRange) -> Option<Pfn> {
        let reaches = |(start, piece): (&Pfn, &Piece)| {
            PfnRange::from_len(*start, piece.pages()).overlaps(range).then_some(*start)
        };
        let before = self.pieces.range(..range.start()).next_back().and_then(reaches);
        before.or_else(|| self.pieces.range(range.start()..range.end()).next().and_then(reaches))
    }
}
