//! Ranges of memory and who has them.

use crate::hotplug::caps::Caps;
use crate::hotplug::gate::Candidate;
use crate::units::{PageCount, Pfn, PfnRange};

/// Who has a range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    /// Nobody: it is installed, and no driver has looked at it.
    Free,
    /// A region of CXL memory without a device on it.
    Region,
    /// A dax device without a driver.
    DaxIdle,
    /// A dax device for programs. Linux: `device_dax`.
    Devdax,
    /// Memory blocks, whatever their state.
    Blocks,
    /// Memory blocks that no driver will ever give back. Linux: dev_dax_kmem_remove() of what is
    /// online.
    Leaked,
    /// Nobody can have it.
    Stranded(Stranded),
}

/// Why nobody can have a range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stranded {
    /// It is less than a memory block.
    Tail,
    /// No region may be made of it.
    Denied,
    /// No driver took it.
    Refused,
}

impl Owner {
    /// Whether the range consists of memory blocks.
    #[must_use]
    pub const fn has_blocks(self) -> bool {
        matches!(self, Self::Blocks | Self::Leaked)
    }

    /// Whether a range may go from this owner to another at once.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use Owner::{Blocks, DaxIdle, Devdax, Free, Leaked, Region, Stranded as S};
        matches!(
            (self, next),
            (Free, Region | DaxIdle | Blocks | S(_))
                | (Region, DaxIdle | Free)
                | (DaxIdle, Devdax | Blocks | S(_) | Region | Free)
                | (Devdax | S(_), DaxIdle)
                | (Blocks, DaxIdle | Leaked | Free)
                | (S(_), Free)
        )
    }
}

/// A range with one owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryRange {
    /// What it is.
    pub of: Candidate,
    /// Who has it.
    pub owner: Owner,
}

/// A range that is not installed, or whose owner cannot give it to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// There is memory already.
    #[error("{0} overlaps memory that is installed")]
    Overlaps(PfnRange),
    /// There is no memory.
    #[error("{0} is not installed")]
    NotInstalled(PfnRange),
    /// The owner does not change that way.
    #[error("{0} cannot go from {1:?} to {2:?}")]
    NoWay(PfnRange, Owner, Owner),
}

/// Everything that is installed, ascending.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges {
    ranges: Vec<MemoryRange>,
}

impl Ranges {
    /// Installs memory.
    ///
    /// # Errors
    ///
    /// [`RangeError::Overlaps`]; nothing has changed then.
    pub fn install(&mut self, of: Candidate, owner: Owner) -> Result<(), RangeError> {
        if self.ranges.iter().any(|old| old.of.range.overlaps(of.range)) {
            return Err(RangeError::Overlaps(of.range));
        }
        let at = self.ranges.partition_point(|old| old.of.range.start() < of.range.start());
        self.ranges.insert(at, MemoryRange { of, owner });
        Ok(())
    }

    /// The pieces, ascending.
    #[must_use]
    pub fn all(&self) -> &[MemoryRange] {
        &self.ranges
    }

    /// All that is installed.
    #[must_use]
    pub fn installed(&self) -> PageCount {
        self.ranges.iter().map(|range| range.of.range.len()).sum()
    }

    /// The pieces inside a range, cut to it.
    pub fn inside(&self, range: PfnRange) -> impl Iterator<Item = MemoryRange> + '_ {
        let first = self.ranges.partition_point(|piece| piece.of.range.end() <= range.start());
        let near = self.ranges[first..].iter();
        near.take_while(move |piece| piece.of.range.start() < range.end()).filter_map(
            move |piece| {
                let part = piece.of.range.intersect(range)?;
                Some(MemoryRange { of: Candidate { range: part, ..piece.of }, owner: piece.owner })
            },
        )
    }

    /// Whether all of a range is installed, and every piece of it has such an owner.
    #[must_use]
    pub fn is_owned(&self, range: PfnRange, by: impl Fn(Owner) -> bool) -> bool {
        let own = self.inside(range).filter(|piece| by(piece.owner));
        own.map(|piece| piece.of.range.len()).sum::<PageCount>() == range.len()
    }

    /// What all of a range is: capabilities that every piece has, node and origin of the first.
    #[must_use]
    pub fn describe(&self, range: PfnRange) -> Option<Candidate> {
        let whole = |a: Candidate, b: Candidate| Candidate { caps: a.caps & b.caps, ..a };
        let found = self.inside(range).map(|piece| piece.of).reduce(whole)?;
        Some(Candidate { range, ..found })
    }

    /// Gives a range, which may be a part of a piece or several, to another owner.
    ///
    /// # Errors
    ///
    /// [`RangeError`]; nothing has changed then.
    pub fn give(&mut self, range: PfnRange, to: Owner) -> Result<(), RangeError> {
        self.is_installed(range)?;
        if let Some(piece) = self.inside(range).find(|piece| !piece.owner.may_become(to)) {
            return Err(RangeError::NoWay(piece.of.range, piece.owner, to));
        }
        self.change(range, |piece| piece.owner = to);
        Ok(())
    }

    /// Says what a range can do, whatever was known before.
    ///
    /// # Errors
    ///
    /// [`RangeError::NotInstalled`]; nothing has changed then.
    pub fn vouch(&mut self, range: PfnRange, caps: Caps) -> Result<(), RangeError> {
        self.is_installed(range)?;
        self.change(range, |piece| piece.of.caps = caps);
        Ok(())
    }

    fn is_installed(&self, range: PfnRange) -> Result<(), RangeError> {
        let there: PageCount = self.inside(range).map(|piece| piece.of.range.len()).sum();
        match !range.is_empty() && there == range.len() {
            true => Ok(()),
            false => Err(RangeError::NotInstalled(range)),
        }
    }

    /// Changes what of each piece lies in `range`; pieces that are alike then become one.
    fn change(&mut self, range: PfnRange, set: impl Fn(&mut MemoryRange)) {
        let cut = |piece: MemoryRange| {
            let (start, end) = (piece.of.range.start(), piece.of.range.end());
            let at = |pfn: Pfn| pfn.max(start).min(end);
            let (from, till) = (at(range.start()), at(range.end()));
            let part = |start, end| {
                let range = PfnRange::new(start, end);
                MemoryRange { of: Candidate { range, ..piece.of }, owner: piece.owner }
            };
            let mut inside = part(from, till);
            set(&mut inside);
            [part(start, from), inside, part(till, end)]
        };
        let pieces = self.ranges.iter().copied().flat_map(cut);
        self.ranges = pieces.filter(|part| !part.of.range.is_empty()).collect();
        self.ranges.dedup_by(|next, last| {
            let alike = last.owner == next.owner
                && Candidate { range: next.of.range, ..last.of } == next.of
                && last.of.range.end() == next.of.range.start();
            if alike {
                last.of.range = last.of.range.hull(next.of.range);
            }
            alike
        });
    }
}
