//! The code map of `notes/architecture.md` against the tree: every file stands in it, every file in
//! it exists, no layer of the allocator looks up, and no rooms of lab know each other in a circle.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose files the map lists one by one.
const CRATES: [&str; 5] = ["allocator", "percpu", "zeroed", "migrate", "lab"];
/// Up to this layer nothing knows events or locks.
const SILENT: u32 = 2;
/// The modules that only higher layers may name.
const LOUD: [&str; 2] = ["event", "sync"];

// ---- rules -------------------------------------------------------------------------------------

/// Rows of the tables below a heading, as cells.
fn rows<'a>(map: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let sections = map.split("\n## ");
    let section = sections.into_iter().find(|s| s.lines().next() == Some(heading));
    let lines = section.unwrap_or_default().lines().filter_map(|line| line.strip_prefix('|'));
    lines.map(|line| line.split('|').map(str::trim).collect()).collect()
}

/// Names in code of a cell that are files or directories.
fn paths(cell: &str) -> impl Iterator<Item = &str> {
    let names = cell.split('`').skip(1).step_by(2);
    names.filter(|name| name.ends_with(".rs") || name.ends_with('/'))
}

/// Files and directories that the map lists for a crate: those in the first two cells of a row.
fn listed<'a>(map: &'a str, member: &str) -> Vec<&'a str> {
    rows(map, member).iter().flat_map(|row| row.iter().take(2).flat_map(|c| paths(c))).collect()
}

/// `file` is a path below `src`, as `pcp.rs` or `cma/mod.rs`.
fn stands_in_map(listed: &[&str], file: &str) -> Vec<String> {
    let exempt = file == "lib.rs" || file.ends_with("tests.rs");
    let covered = |name: &str| name == file || name.ends_with('/') && file.starts_with(name);
    if exempt || listed.iter().any(|name| covered(name)) {
        return vec![];
    }
    vec![format!("{file}: not in the code map of notes/architecture.md")]
}

/// Modules of the allocator with their layers; those outside the layers are left out.
fn layers(map: &str) -> Vec<(&str, u32)> {
    let mut found = Vec::new();
    for row in rows(map, "allocator") {
        let (Some(Ok(layer)), Some(files)) = (row.first().map(|n| n.parse()), row.get(1)) else {
            continue;
        };
        found.extend(paths(files).map(|file| (file.trim_end_matches(".rs"), layer)));
    }
    found
}

/// Modules of the same crate that code names; comments may say what they like.
fn named(code: &str) -> Vec<&str> {
    let code = code.split("\n#[cfg(test)]\nmod ").next().unwrap_or(code);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(line));
    let rests = lines.flat_map(|line| line.split("crate::").skip(1));
    rests.map(|r| r.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(r)).collect()
}

fn looks_down(layers: &[(&str, u32)], module: &str, code: &str) -> Vec<String> {
    let layer_of = |name: &str| layers.iter().find(|(m, _)| *m == name).map(|(_, layer)| *layer);
    let Some(own) = layer_of(module) else { return vec![] };
    let wrong = |name: &&str| {
        layer_of(name).is_some_and(|layer| layer > own) || own <= SILENT && LOUD.contains(name)
    };
    let up = named(code).into_iter().filter(wrong);
    up.map(|name| format!("{module}.rs (layer {own}) names {name}.rs")).collect()
}

/// The room of a file below `src`: its folder at the top, or the file itself.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// Of the rooms that name others, (who, whom), those on a circle.
fn circles<'a>(mut names: Vec<(&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    loop {
        let goes_on = |(who, whom): &(&str, &str)| {
            names.iter().any(|name| name.0 == *whom) && names.iter().any(|name| name.1 == *who)
        };
        let left: Vec<_> = names.iter().copied().filter(goes_on).collect();
        if left.len() == names.len() {
            return left;
        }
        names = left;
    }
}

// ---- the tree ----------------------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("lab lies in the root")
}

fn map() -> String {
    fs::read_to_string(root().join("notes/architecture.md")).expect("the map can be read")
}

/// Source files of a crate, as paths below its `src`, with their text.
fn sources(member: &str) -> Vec<(String, String)> {
    let src: PathBuf = root().join(member).join("src");
    let (mut found, mut left) = (Vec::new(), vec![src.clone()]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory can be listed");
            left.extend(entries.map(|entry| entry.expect("an entry can be read").path()));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let name = path.strip_prefix(&src).expect("found below src");
            let text = fs::read_to_string(&path).expect("a source file is text");
            found.push((name.to_string_lossy().into_owned(), text));
        }
    }
    found.sort();
    found
}

#[track_caller]
fn accepted(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_file_stands_in_the_map() {
    let map = map();
    for member in CRATES {
        let listed = listed(&map, member);
        assert!(!listed.is_empty(), "the map of {member} is gone");
        let sources = sources(member);
        let missing = sources.iter().flat_map(|(file, _)| stands_in_map(&listed, file));
        accepted(&missing.map(|what| format!("{member}/src/{what}")).collect::<Vec<_>>());
    }
}

#[test]
fn every_name_in_the_map_is_a_file() {
    let map = map();
    for member in CRATES {
        let src = root().join(member).join("src");
        let gone = listed(&map, member).into_iter().filter(|name| !src.join(name).exists());
        accepted(
            &gone.map(|name| format!("{member}/src/{name} does not exist")).collect::<Vec<_>>(),
        );
    }
}

#[test]
fn the_layers_of_the_allocator_look_down() {
    let map = map();
    let layers = layers(&map);
    for (file, text) in sources("allocator") {
        accepted(&looks_down(&layers, file.trim_end_matches(".rs"), &text));
    }
}

#[test]
fn no_rooms_of_lab_know_each_other_in_a_circle() {
    let sources = sources("lab");
    let code = sources.iter().filter(|(file, _)| !file.ends_with("tests.rs"));
    let names = code.flat_map(|(file, text)| named(text).into_iter().map(|n| (room(file), n)));
    let names: Vec<_> = names.filter(|(who, whom)| who != whom).collect();
    assert!(names.contains(&("run", "report")));
    assert_eq!(circles(names), []);
}

// ---- canaries ----------------------------------------------------------------------------------

const MAP: &str = "# Map\n\n## lab\n| file | what |\n|---|---|\n| `a.rs`, `b/` | `c.rs` in words |\n\
                   \n## allocator\n| 0 | `low.rs` | |\n| 3 | `mid.rs`, `top.rs` | |\n| - | `x.rs` | |\n";

#[test]
fn canary_a_file_that_is_not_listed() {
    let listed = listed(MAP, "lab");
    assert_eq!(listed, ["a.rs", "b/", "c.rs"]);
    for file in ["a.rs", "b/mod.rs", "lib.rs", "b_tests.rs"] {
        accepted(&stands_in_map(&listed, file));
    }
    for file in ["d.rs", "b.rs", "d/a.rs"] {
        assert_eq!(stands_in_map(&listed, file).len(), 1, "{file}");
    }
}

#[test]
fn canary_a_layer_that_looks_up() {
    let layers = layers(MAP);
    assert_eq!(layers, [("low", 0), ("mid", 3), ("top", 3)]);
    accepted(&looks_down(&layers, "mid", "use crate::top::T;\nuse crate::low::L;\n"));
    accepted(&looks_down(&layers, "mid", "use crate::event::Event;\nuse crate::x::X;\n"));
    accepted(&looks_down(
        &layers,
        "low",
        "// crate::mid\n\n#[cfg(test)]\nmod t { use crate::mid; }",
    ));
    accepted(&looks_down(&layers, "x", "use crate::top::T;"));
    assert_eq!(looks_down(&layers, "low", "use crate::mid::M;"), ["low.rs (layer 0) names mid.rs"]);
    assert_eq!(looks_down(&layers, "low", "fn f(s: crate::event::Silent) {}").len(), 1);
}

#[test]
fn canary_rooms_in_a_circle() {
    assert_eq!(["a.rs", "b/mod.rs", "c/d/e.rs"].map(room), ["a", "b", "c"]);
    let line = [("a", "b"), ("b", "c"), ("a", "c")];
    assert_eq!(circles(line.to_vec()), []);
    let ring = [("b", "c"), ("c", "b")];
    assert_eq!(circles([("a", "b"), ring[0], ring[1], ("c", "d")].to_vec()), ring);
}
