//! The pageblock map: one cell a pageblock, its type as colour or letter, its occupancy as height.

use std::fmt::Write as _;

use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::Frame;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

/// Cells in a row.
const ROW: usize = 64;

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

/// The pageblocks of a machine, by address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlockMap {
    cells: Vec<Cell>,
}

impl BlockMap {
    /// Looks at every pageblock of every zone. `tags` are the ranges of tag storage; `reserved`
    /// says whether a frame of them holds tags.
    pub fn new<S: Sink>(
        alloc: &PageAllocator<S>,
        tags: &[PfnRange],
        reserved: impl Fn(Pfn) -> bool,
    ) -> Self {
        let order = alloc.geometry().pageblock_order();
        let blocks = alloc.zones().iter().flat_map(|zone| zone.span().blocks(order));
        let cells = blocks.map(|block| cell(alloc, PfnRange::block(block, order), tags, &reserved));
        Self { cells: cells.collect() }
    }

    /// The cells, by address.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Rows of cells, each line indented by two spaces.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        let mut out = String::new();
        for row in self.cells.chunks(ROW) {
            out.push_str("  ");
            for cell in row {
                cell.render(colour, &mut out);
            }
            out.push('\n');
        }
        out
    }
}

fn cell<S: Sink>(
    alloc: &PageAllocator<S>,
    block: PfnRange,
    tags: &[PfnRange],
    reserved: &impl Fn(Pfn) -> bool,
) -> Cell {
    let mut used = PageCount::ZERO;
    let mut known = PageCount::ZERO;
    for pfn in block.iter() {
        match alloc.frame(pfn) {
            Frame::Allocated { .. } => used += PageCount::new(1),
            Frame::Free { .. } | Frame::PerCpu { .. } => {}
            Frame::Reserved => continue,
        }
        known += PageCount::new(1);
    }
    let is_tags = tags.iter().any(|range| range.overlaps(block));
    let kind = match alloc.pageblock_type(block.start()) {
        _ if is_tags && known == PageCount::ZERO => CellKind::CarvedOut,
        _ if is_tags && block.iter().any(reserved) => CellKind::Tags,
        _ if is_tags => CellKind::Lent,
        Some(mt) if known > PageCount::ZERO => CellKind::Type(mt),
        _ => CellKind::Reserved,
    };
    let eighths = (used.get() * 8).div_ceil(block.len().get());
    Cell { kind, eighths: u8::try_from(eighths).unwrap_or(8) }
}

impl Cell {
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
            Self::Type(MigrateType::Isolate) | Self::CarvedOut | Self::Reserved => (245, 236),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Type(mt) => mt.name(),
            Self::Lent => "lent tag storage",
            Self::Tags => "tag storage with tags",
            Self::CarvedOut => "carve-out",
            Self::Reserved => "never handed over",
        }
    }
}

/// One line that says in words what the cells mean.
#[must_use]
pub fn legend(colour: Colour) -> String {
    let kinds = [
        CellKind::Type(MigrateType::Unmovable),
        CellKind::Type(MigrateType::Movable),
        CellKind::Type(MigrateType::Reclaimable),
        CellKind::Type(MigrateType::Cma),
        CellKind::Lent,
        CellKind::Tags,
        CellKind::CarvedOut,
        CellKind::Reserved,
    ];
    let mut out = String::from("  ");
    for kind in kinds {
        Cell { kind, eighths: 4 }.render(colour, &mut out);
        let _ = write!(out, " {}  ", kind.words());
    }
    let rest = match colour {
        Colour::Plain => "\n  capital: more than half in use; . empty Movable",
        Colour::Ansi => "\n  height: share of the pageblock in use",
    };
    out.truncate(out.trim_end().len());
    out.push_str(rest);
    out.push('\n');
    out
}
