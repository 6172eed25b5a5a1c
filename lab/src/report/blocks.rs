//! The pageblock map: one cell a pageblock, its type as colour or letter, its occupancy as height.

use std::fmt::Write as _;

use pagelab_allocator::migratetype::MigrateType;
use serde::{Serialize, Serializer};

/// Cells in a row.
const ROW: usize = 64;
/// Rows of a picture.
const MAX_ROWS: usize = 16;
/// Columns of text in a line of the legend.
const LEGEND: usize = 96;

/// Whether colours may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// ANSI colours from a palette that colour-blind readers can tell apart.
    Ansi,
    /// Letters only.
    Plain,
}

/// What a pageblock is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CellKind {
    /// Ordinary memory of this type.
    Type(MigrateType),
    /// Tag storage, lent out; nothing in it holds tags.
    Lent,
    /// Tag storage of which some pages hold tags.
    Tags,
    /// Tag storage that the allocator never sees.
    CarvedOut,
    /// Never handed to the allocator.
    Reserved,
}

/// One pageblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// What it is.
    pub kind: CellKind,
    /// Eighths of its pages in use, rounded up: 0 is empty, 8 is more than seven eighths.
    pub eighths: u8,
}

/// The pageblocks of a machine, by address; a machine's memory has no holes.
///
/// As data it is a string of one letter a pageblock: `u` Unmovable, `m` Movable, `r` Reclaimable,
/// `h` HighAtomic, `c` CMA, `d` Metadata, `i` Isolate, `l` lent tag storage, `t` tag storage with
/// tags; a capital when more than half of it is in use, `.` for an empty Movable one, `#` for tag
/// storage that is carved out and `-` for what was never handed over.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlockMap {
    /// Address of the first cell, bytes.
    start: u64,
    /// Bytes in a pageblock.
    step: u64,
    cells: Vec<Cell>,
}

/// The pageblocks at one moment of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct TimedMap {
    /// Since the first operation, by the trace's clock.
    pub nanoseconds: u64,
    /// The pageblocks.
    pub blocks: BlockMap,
}

impl Serialize for BlockMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.cells.iter().map(|cell| cell.letter()).collect::<String>())
    }
}

impl BlockMap {
    /// A map of `cells` of `step` bytes each, the first at address `start`.
    #[must_use]
    pub const fn new(start: u64, step: u64, cells: Vec<Cell>) -> Self {
        Self { start, step, cells }
    }

    /// The cells, by address.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Pageblocks that one rendered cell stands for: one, or as many as keep the picture small.
    #[must_use]
    pub fn fold(&self) -> usize {
        self.cells.len().div_ceil(ROW * MAX_ROWS).next_power_of_two()
    }

    /// The cells of a picture of the map, each for [`Self::fold`] pageblocks.
    #[must_use]
    pub fn folded(&self) -> Vec<Cell> {
        self.cells.chunks(self.fold()).map(Cell::merged).collect()
    }

    /// Rows of cells, each behind the address of its first pageblock.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        let fold = self.fold();
        let folded = self.folded();
        let mut out = String::new();
        let row_bytes = self.step * u64::try_from(ROW * fold).unwrap_or(u64::MAX);
        for (address, row) in (0..).map(|n| self.start + n * row_bytes).zip(folded.chunks(ROW)) {
            let _ = write!(out, "  {address:#012x} ");
            for cell in row {
                cell.render(colour, &mut out);
            }
            out.push('\n');
        }
        out
    }
}

impl Cell {
    /// One cell for several: the commonest kind (of equals the first), the mean occupancy.
    fn merged(cells: &[Self]) -> Self {
        let mut counts: Vec<(CellKind, usize)> = Vec::new();
        for cell in cells {
            match counts.iter_mut().find(|(kind, _)| *kind == cell.kind) {
                Some((_, count)) => *count += 1,
                None => counts.push((cell.kind, 1)),
            }
        }
        let commonest = counts.iter().rev().max_by_key(|(_, count)| *count);
        let sum: usize = cells.iter().map(|cell| usize::from(cell.eighths)).sum();
        Self {
            kind: commonest.map_or(CellKind::Reserved, |(kind, _)| *kind),
            eighths: u8::try_from(sum.div_ceil(cells.len().max(1))).unwrap_or(8),
        }
    }

    fn render(self, colour: Colour, out: &mut String) {
        match colour {
            Colour::Plain => out.push(self.letter()),
            Colour::Ansi => {
                let glyph = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
                let shape = match self.kind {
                    CellKind::CarvedOut | CellKind::Reserved => '╳',
                    _ => glyph[usize::from(self.eighths.min(8))],
                };
                let (front, back) = self.kind.palette();
                let _ = write!(out, "\x1b[38;5;{front};48;5;{back}m{shape}\x1b[0m");
            }
        }
    }

    /// Capital when more than half is in use; a dot for an empty movable block.
    fn letter(self) -> char {
        let letter = match self.kind {
            CellKind::Type(MigrateType::Movable) if self.eighths == 0 => return '.',
            CellKind::CarvedOut => return '#',
            CellKind::Reserved => return '-',
            CellKind::Lent => 'l',
            CellKind::Tags => 't',
            CellKind::Type(MigrateType::Unmovable) => 'u',
            CellKind::Type(MigrateType::Movable) => 'm',
            CellKind::Type(MigrateType::Reclaimable) => 'r',
            CellKind::Type(MigrateType::HighAtomic) => 'h',
            CellKind::Type(MigrateType::Cma) => 'c',
            CellKind::Type(MigrateType::Metadata) => 'd',
            CellKind::Type(MigrateType::Isolate) => 'i',
        };
        if self.eighths > 4 { letter.to_ascii_uppercase() } else { letter }
    }
}

impl CellKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Type(MigrateType::Unmovable),
        Self::Type(MigrateType::Movable),
        Self::Type(MigrateType::Reclaimable),
        Self::Type(MigrateType::HighAtomic),
        Self::Type(MigrateType::Cma),
        Self::Type(MigrateType::Metadata),
        Self::Type(MigrateType::Isolate),
        Self::Lent,
        Self::Tags,
        Self::CarvedOut,
        Self::Reserved,
    ];

    /// Bright and dark shade from the 256-colour table: the hues of Okabe and Ito.
    const fn palette(self) -> (u8, u8) {
        match self {
            Self::Type(MigrateType::Unmovable) => (202, 52),
            Self::Type(MigrateType::Movable) => (39, 17),
            Self::Type(MigrateType::Reclaimable) => (220, 58),
            Self::Type(MigrateType::HighAtomic) => (175, 53),
            Self::Type(MigrateType::Cma | MigrateType::Metadata) => (36, 22),
            Self::Lent => (48, 22),
            Self::Tags => (231, 91),
            Self::CarvedOut => (176, 53),
            Self::Type(MigrateType::Isolate) | Self::Reserved => (245, 236),
        }
    }

    /// What it is, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Type(mt) => mt.name(),
            Self::Lent => "lent tag storage",
            Self::Tags => "tag storage with some tags",
            Self::CarvedOut => "carve-out",
            Self::Reserved => "never handed over",
        }
    }
}

/// What the cells of `maps` mean, in words, and how many pageblocks a cell stands for.
#[must_use]
pub fn legend(maps: &[&BlockMap], colour: Colour) -> String {
    let shown = |kind: &CellKind| maps.iter().any(|map| map.cells.iter().any(|c| c.kind == *kind));
    let mut out = String::new();
    let mut column = LEGEND;
    for kind in CellKind::ALL.into_iter().filter(shown) {
        let words = kind.words();
        if column + words.len() + 4 > LEGEND {
            out.push_str(if out.is_empty() { "  " } else { "\n  " });
            column = 2;
        } else {
            out.push_str("  ");
        }
        Cell { kind, eighths: 4 }.render(colour, &mut out);
        let _ = write!(out, " {words}");
        column += words.len() + 4;
    }
    out.push_str(match colour {
        Colour::Plain => "\n  capital: more than half in use; . is an empty Movable one\n",
        Colour::Ansi => "\n  height: share of the pageblock in use\n",
    });
    let fold = maps.iter().map(|map| map.fold()).max().unwrap_or(1);
    if fold > 1 {
        let _ = writeln!(out, "  each cell is {fold} pageblocks, shown as the commonest kind");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(blocks: usize) -> BlockMap {
        let kind = |n: usize| match n % 4 {
            0 | 2 => CellKind::Type(MigrateType::Movable),
            _ => CellKind::Type(MigrateType::Unmovable),
        };
        let cells = (0..blocks).map(|n| Cell { kind: kind(n), eighths: 8 }).collect();
        BlockMap { start: 1 << 30, step: 2 << 20, cells }
    }

    #[test]
    fn large_maps_are_folded() {
        let rows = |blocks: usize| map(blocks).render(Colour::Plain).lines().count();
        assert_eq!((map(1024).fold(), rows(1024)), (1, 16));
        assert_eq!((map(1025).fold(), rows(1025)), (2, 9));
        assert_eq!((map(8192).fold(), rows(8192)), (8, 16));
        assert_eq!((map(0).fold(), rows(0)), (1, 0));
        assert!(legend(&[&map(8192)], Colour::Plain).contains("each cell is 8 pageblocks"));
    }

    #[test]
    fn rows_begin_with_their_address() {
        let text = map(8192).render(Colour::Plain);
        let second = text.lines().nth(1).unwrap();
        // 64 cells of 8 pageblocks of 2 MiB are 1 GiB.
        assert_eq!(second, format!("  0x0080000000 {}", "M".repeat(64)));
    }

    #[test]
    fn as_data_it_is_a_string() {
        assert_eq!(serde_json::to_string(&map(4)).unwrap(), "\"MUMU\"");
    }
}
