//! Pageblock maps: small multiples over time, one row a design.

use std::fmt::Write as _;

use pagelab_allocator::migratetype::MigrateType;
use serde::Serialize;

use super::chart::escaped;
use crate::experiment::{Group, Results};
use crate::report::blocks::{BlockMap, Cell, CellKind, TimedMap};
use crate::report::seconds;

/// Cells in a row of a map.
const ROW: usize = 64;
/// Size of a cell, pixels.
const CELL: usize = 4;

/// The maps of one design.
#[derive(Clone, Debug, Serialize)]
pub struct MapRow {
    /// Its name.
    pub design: String,
    /// When each map was taken, and the map.
    pub maps: Vec<Map>,
}

/// One map.
#[derive(Clone, Debug, Serialize)]
pub struct Map {
    /// Seconds since the first operation.
    pub seconds: String,
    /// The map.
    pub svg: String,
}

/// What a class of cells is called, and how the page's style names it.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// Words, for all kinds of cells that look so.
    pub words: String,
    /// Class.
    pub class: &'static str,
}

/// The maps of the first seed of a group, by design.
#[must_use]
pub fn rows(results: &Results, group: &Group) -> Vec<MapRow> {
    let designs = results.designs.iter().zip(&group.cells);
    let rows = designs.map(|(design, cells)| MapRow {
        design: design.to_string(),
        maps: cells[0].maps.iter().map(|map| picture(&design.to_string(), map)).collect(),
    });
    rows.filter(|row| !row.maps.is_empty()).collect()
}

/// Pageblocks that a cell of the maps stands for.
#[must_use]
pub fn fold(group: &Group) -> usize {
    group.cells[0][0].maps.first().map_or(1, |map| map.blocks.fold())
}

/// The classes that these maps have.
#[must_use]
pub fn legend(group: &Group) -> Vec<Key> {
    let maps = group.cells.iter().flat_map(|cells| &cells[0].maps);
    let cells: Vec<Cell> = maps.flat_map(|map| map.blocks.folded()).collect();
    let mut keys: Vec<Key> = Vec::new();
    for kind in CellKind::ALL {
        if !cells.iter().any(|cell| cell.kind == kind) {
            continue;
        }
        match keys.iter_mut().find(|key| key.class == class(kind)) {
            Some(key) => key.words = format!("{} or {}", key.words, kind.words()),
            None => keys.push(Key { words: kind.words().to_owned(), class: class(kind) }),
        }
    }
    keys
}

fn picture(design: &str, map: &TimedMap) -> Map {
    let seconds = format!("{:.1}", seconds(map.nanoseconds));
    let name = format!("Pageblocks of {design} after {seconds} s");
    Map { svg: draw(&map.blocks, &name), seconds }
}

fn draw(map: &BlockMap, name: &str) -> String {
    let cells = map.folded();
    let (width, height) = (ROW * CELL, cells.len().div_ceil(ROW) * CELL);
    let mut svg = format!(
        "<svg role=\"img\" aria-label=\"{}\" class=\"map\" viewBox=\"0 0 {width} {height}\" \
         shape-rendering=\"crispEdges\" \
         xmlns=\"http://www.w3.org/2000/svg\">",
        escaped(name),
    );
    for (y, row) in cells.chunks(ROW).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|a, b| a == b) {
            let Cell { kind, eighths } = run[0];
            let opacity = match kind {
                CellKind::CarvedOut | CellKind::Reserved => 100,
                _ => 30 + 70 * usize::from(eighths.min(8)) / 8,
            };
            let _ = write!(
                svg,
                "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{CELL}\" \
                 fill-opacity=\".{opacity:02}\"/>",
                class(kind),
                x * CELL,
                y * CELL,
                run.len() * CELL,
            );
            x += run.len();
        }
    }
    svg.push_str("</svg>");
    svg.replace("\".100\"", "\"1\"")
}

const fn class(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Type(MigrateType::Unmovable) => "unmovable",
        CellKind::Type(MigrateType::Movable) => "movable",
        CellKind::Type(MigrateType::Reclaimable) => "reclaimable",
        CellKind::Type(MigrateType::HighAtomic) => "highatomic",
        CellKind::Type(MigrateType::Cma | MigrateType::Metadata) => "cma",
        CellKind::Type(MigrateType::Isolate) => "isolate",
        CellKind::Lent => "lent",
        CellKind::Tags | CellKind::CarvedOut => "tags",
        CellKind::Reserved => "reserved",
    }
}
