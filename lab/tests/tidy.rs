//! The house rules, checked against every file of the repository.
//!
//! A rule is a pure function from text to complaints, so each has a canary below: an input that
//! breaks the rule and must be refused. The last test applies all rules to the working tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml::Table;

/// Who may use whom. A member that is not listed has no place in the architecture yet.
const MAY_USE: [(&str, &[&str]); 7] = [
    ("pagelab-allocator", &["pagelab-percpu", "pagelab-zeroed"]),
    ("pagelab-percpu", &[]),
    ("pagelab-zeroed", &[]),
    ("pagelab-migrate", &["pagelab-allocator"]),
    ("pagelab", &["pagelab-allocator", "pagelab-migrate"]),
    ("pagelab-benches", &["pagelab-allocator", "pagelab-percpu", "pagelab-migrate", "pagelab"]),
    ("pagelab-loom-tests", &["pagelab-allocator", "pagelab-percpu", "pagelab-migrate"]),
];

/// Unsafe peers, a cell between threads, a mapping; Cargo cannot override one inherited lint.
const OWN_LINTS: [&str; 3] = ["pagelab-benches", "pagelab-percpu", "pagelab-zeroed"];
/// Where each of them may write unsafe code: the file, or the folder.
const UNSAFE: [&str; 3] = ["benches/", "percpu/src/slot.rs", "zeroed/src/table.rs"];

/// Longest a source file may be, in lines: without its tests, and with them.
const LIMITS: (usize, usize) = (500, 800);
const README_LIMIT: usize = 150;
const COMMENT_LIMIT: usize = 100;

// Written in two halves, so that this file does not break its own rules.
const PRINTS: [&str; 5] = [
    concat!("print", "ln!"),
    concat!("eprint", "ln!"),
    concat!("pri", "nt!"),
    concat!("epri", "nt!"),
    concat!("db", "g!"),
];
const UNFINISHED: [&str; 4] =
    [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("FIX", "ME"), concat!("XX", "X")];
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/tmp", "/wt"), concat!("/ho", "me/")];
/// What the cores must not know: files, environment, clocks, threads, output, randomness, random
/// iteration order and floats.
const AMBIENT: [&str; 11] = [
    "std::fs",
    "std::env",
    "std::time",
    "std::thread",
    "std::io",
    "std::net",
    "std::process",
    "HashMap",
    "HashSet",
    "f32",
    "f64",
];
/// What only the two `sync.rs` may name.
const LOCK_CRATES: [&str; 2] = ["parking_lot", "loom"];
const CORES: [&str; 4] = ["allocator/src/", "percpu/src/", "zeroed/src/", "migrate/src/"];
const SEAMS: [&str; 2] = ["allocator/src/sync.rs", "percpu/src/sync.rs"];

// ---- rules -------------------------------------------------------------------------------------

fn dependency_direction(manifest: &Table) -> Vec<String> {
    let name = package_name(manifest);
    let Some((_, allowed)) = MAY_USE.iter().find(|(member, _)| *member == name) else {
        return vec![format!("{name}: not in the table of who may use whom")];
    };
    let mut complaints = Vec::new();
    for (dependency, source) in dependencies(manifest) {
        if dependency.starts_with("pagelab") && !allowed.contains(&dependency.as_str()) {
            complaints.push(format!("{name}: may not depend on {dependency}"));
        }
        if source.get("path").is_some() || source.get("package").is_some() {
            complaints
                .push(format!("{name}: {dependency} belongs in the root manifest, by its name"));
        }
    }
    complaints
}

fn shared_lints(manifest: &Table) -> Vec<String> {
    let name = package_name(manifest);
    let lints = manifest.get("lints");
    let flag = |key: &str| lints.and_then(|l| l.get(key));
    if flag("workspace").and_then(toml::Value::as_bool) == Some(true) {
        return vec![];
    }
    let unsafe_code = flag("rust").and_then(|r| r.get("unsafe_code")).and_then(|v| v.as_str());
    if OWN_LINTS.contains(&name) && unsafe_code == Some("deny") {
        return vec![];
    }
    vec![format!("{name}: lacks `[lints] workspace = true`")]
}

/// In the root manifest, a comment says what each dependency is for; our own share one.
fn explained_dependencies(root: &str) -> Vec<String> {
    let section = root.lines().skip_while(|line| line.trim() != "[workspace.dependencies]").skip(1);
    let (mut explained, mut complaints) = (false, Vec::new());
    for line in section.take_while(|line| !line.starts_with('[')) {
        if line.starts_with('#') {
            explained = true;
        } else if let Some((name, _)) = line.split_once('=') {
            if !explained {
                complaints.push(format!("Cargo.toml: no comment above {}", name.trim()));
            }
            explained &= line.contains("path =");
        }
    }
    complaints
}

fn length(path: &str, text: &str) -> Vec<String> {
    let (code, all) = (before_tests(path, text).lines().count(), text.lines().count());
    let mut complaints = Vec::new();
    if code > LIMITS.0 {
        complaints.push(format!(
            "{path}: {code} lines before its tests, at most {}; split it by noun",
            LIMITS.0
        ));
    }
    if all > LIMITS.1 {
        complaints.push(format!(
            "{path}: {all} lines, at most {}; move tests into a file of their own",
            LIMITS.1
        ));
    }
    complaints
}

/// The formatter leaves comments as they are.
fn narrow_comments(path: &str, text: &str) -> Vec<String> {
    let mark = if path.ends_with(".rs") { "//" } else { "#" };
    let wide = |l: &str| l.trim_start().starts_with(mark) && l.chars().count() > COMMENT_LIMIT;
    let found = text.lines().enumerate().filter(|(_, line)| wide(line));
    found.map(|(n, _)| format!("{path}:{}: wider than {COMMENT_LIMIT} columns", n + 1)).collect()
}

fn silence(path: &str, text: &str) -> Vec<String> {
    if path == "lab/src/main.rs" || is_leaf(path) {
        return vec![];
    }
    name_lines(path, before_tests(path, text), &PRINTS, "only lab/src/main.rs prints")
}

fn no_allow(path: &str, text: &str) -> Vec<String> {
    name_lines(path, text, &[concat!("[al", "low")], "use #[expect(..., reason = \"...\")]")
}

fn finished(path: &str, text: &str) -> Vec<String> {
    let marks =
        text.lines().enumerate().filter(|(_, line)| UNFINISHED.iter().any(|w| has(line, w)));
    marks.map(|(n, line)| format!("{path}:{}: unfinished: {}", n + 1, line.trim())).collect()
}

fn no_ambient(path: &str, text: &str) -> Vec<String> {
    if !CORES.iter().any(|core| path.starts_with(core)) {
        return vec![];
    }
    let code = before_tests(path, text);
    let mut complaints = name_lines(path, code, &AMBIENT, "belongs in lab");
    if !SEAMS.contains(&path) {
        let gates = code.lines().filter(|line| !line.contains("cfg(")).collect::<Vec<_>>();
        complaints.extend(name_lines(path, &gates.join("\n"), &LOCK_CRATES, "belongs in sync.rs"));
    }
    complaints
}

fn no_unsafe(path: &str, text: &str) -> Vec<String> {
    if UNSAFE.iter().any(|place| path.starts_with(place)) {
        return vec![];
    }
    name_lines(path, text, &[concat!("uns", "afe")], "belongs in percpu/src/slot.rs")
}

fn no_machine_paths(path: &str, text: &str) -> Vec<String> {
    let found =
        text.lines().enumerate().filter(|(_, l)| MACHINE_PATHS.iter().any(|p| l.contains(p)));
    found.map(|(n, _)| format!("{path}:{}: names a path of one machine", n + 1)).collect()
}

fn short_readme(text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines <= README_LIMIT {
        return vec![];
    }
    vec![format!("README.md: {lines} lines, at most {README_LIMIT}; it is a map, not a manual")]
}

/// A directory at the top is a crate in bold, or a name in code ending in a slash.
fn known_directory(architecture: &str, directory: &str) -> Vec<String> {
    let named = [format!("**{directory}**"), format!("`{directory}/`")];
    if named.iter().any(|name| architecture.contains(name)) {
        return vec![];
    }
    vec![format!("{directory}/: notes/architecture.md does not say what it is for")]
}

// ---- helpers -----------------------------------------------------------------------------------

fn package_name(manifest: &Table) -> &str {
    let name = manifest.get("package").and_then(|package| package.get("name"));
    name.and_then(|name| name.as_str()).unwrap_or("a manifest without a name")
}

/// Every dependency of a manifest, whatever its kind and target.
fn dependencies(manifest: &Table) -> Vec<(String, toml::Value)> {
    let targets = manifest.get("target").and_then(|t| t.as_table());
    let per_target = targets.into_iter().flat_map(Table::values).filter_map(|t| t.as_table());
    let tables = std::iter::once(manifest).chain(per_target);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    tables
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flat_map(|kind| kind.iter().map(|(name, source)| (name.clone(), source.clone())))
        .collect()
}

/// Tests, examples and benchmarks: nothing links against them.
fn is_leaf(path: &str) -> bool {
    ["benches/", "loom-tests/"].iter().any(|top| path.starts_with(top))
        || ["/tests/", "/examples/", "/benches/"].iter().any(|part| path.contains(part))
}

/// The part of a source file above its test module.
fn before_tests<'a>(path: &str, text: &'a str) -> &'a str {
    let end = if is_leaf(path) { None } else { text.find("\n#[cfg(test)]\nmod ") };
    end.map_or(text, |end| &text[..end])
}

/// Code lines that name one of `words`; comments may say what they like.
fn name_lines(path: &str, text: &str, words: &[&str], why: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        for word in words.iter().filter(|word| has(code, word)) {
            complaints.push(format!("{path}:{}: `{word}`: {why}", n + 1));
        }
    }
    complaints
}

/// Whether `word` occurs in `line` and is not the middle of a longer name.
fn has(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (left, right) = (&line[..at], &line[at + word.len()..]);
        let closed = word.ends_with('!') || !inside(right.chars().next());
        closed && !inside(left.chars().next_back())
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("lab lies in the root").to_path_buf()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// What git is told not to look at, at the top of the tree.
fn ignored() -> Vec<String> {
    let text = read(".gitignore");
    text.lines().filter_map(|line| line.strip_prefix('/').map(str::to_owned)).collect()
}

/// Names at the top that belong to the repository.
fn top() -> Vec<PathBuf> {
    let ignored = ignored();
    let mut entries: Vec<_> = fs::read_dir(root())
        .expect("the root can be listed")
        .map(|entry| entry.expect("an entry of the root can be read").path())
        .filter(|path| !ignored.iter().any(|name| path.ends_with(name)) && !path.ends_with(".git"))
        .collect();
    entries.sort();
    entries
}

/// Every text file of the repository, by its path from the root.
fn files() -> Vec<(String, String)> {
    let (mut found, mut todo) = (Vec::new(), top());
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory can be listed");
            todo.extend(entries.map(|e| e.expect("an entry can be read").path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            let name = path.strip_prefix(root()).expect("found below the root");
            found.push((name.to_string_lossy().into_owned(), text));
        }
    }
    found.sort();
    found
}

fn manifest(text: &str) -> Table {
    text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[track_caller]
fn refused(complaints: &[String], part: &str) {
    assert!(complaints.iter().any(|c| c.contains(part)), "not refused: {part}; got {complaints:?}");
}

#[track_caller]
fn accepted(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

// ---- canaries ----------------------------------------------------------------------------------

fn package(name: &str, rest: &str) -> Table {
    manifest(&format!("[package]\nname = \"{name}\"\n{rest}"))
}

#[test]
fn canary_dependency_direction() {
    let upwards = "[dependencies]\npagelab-migrate.workspace = true";
    refused(&dependency_direction(&package("pagelab-allocator", upwards)), "pagelab-migrate");
    let hidden = "[target.'cfg(unix)'.dev-dependencies]\npagelab.workspace = true";
    refused(&dependency_direction(&package("pagelab-migrate", hidden)), "pagelab");
    let leaf = "[build-dependencies]\npagelab-benches.workspace = true";
    refused(&dependency_direction(&package("pagelab", leaf)), "pagelab-benches");
    let renamed = "[dependencies]\nlab = { path = \"../lab\", package = \"pagelab\" }";
    refused(&dependency_direction(&package("pagelab-migrate", renamed)), "root manifest");
    refused(&dependency_direction(&package("pagelab-new", "")), "not in the table");
    let downwards = "[dependencies]\npagelab-allocator.workspace = true";
    accepted(&dependency_direction(&package("pagelab-migrate", downwards)));
}

#[test]
fn canary_shared_lints() {
    refused(&shared_lints(&package("pagelab", "")), "lacks");
    refused(&shared_lints(&package("pagelab", "[lints]\nworkspace = false")), "lacks");
    let own = "[lints.rust]\nunsafe_code = \"deny\"";
    refused(&shared_lints(&package("pagelab", own)), "lacks");
    for name in OWN_LINTS {
        refused(&shared_lints(&package(name, "[lints.rust]\nmissing_docs = \"deny\"")), "lacks");
        accepted(&shared_lints(&package(name, own)));
    }
    accepted(&shared_lints(&package("pagelab", "[lints]\nworkspace = true")));
}

#[test]
fn canary_explained_dependencies() {
    let start = "[workspace.dependencies]\n# Why.\na = { path = \"a\" }\nb = { path = \"b\" }\n";
    accepted(&explained_dependencies(&format!("{start}# Why c.\nc = \"1\"\n\n[other]\nd = 1")));
    refused(&explained_dependencies(&format!("{start}# Why c.\nc = \"1\"\nd = \"1\"")), "above d");
    refused(&explained_dependencies("[workspace.dependencies]\nc = \"1\""), "above c");
}

#[test]
fn canary_length() {
    let line = "x\n";
    refused(&length("lab/src/a.rs", &line.repeat(501)), "501 lines before its tests");
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}", line.repeat(400), line.repeat(399));
    refused(&length("lab/src/a.rs", &tested), "801 lines");
    accepted(&length("lab/src/a.rs", &tested[..tested.len() - 2]));
}

#[test]
fn canary_narrow_comments() {
    let line =
        |mark: &str, columns: usize| format!("x\n{mark}{}\n", "é".repeat(columns - mark.len()));
    for mark in ["//", "///", "//!", "    // "] {
        refused(&narrow_comments("lab/src/a.rs", &line(mark, 101)), "a.rs:2: wider than 100");
        accepted(&narrow_comments("lab/src/a.rs", &line(mark, 100)));
    }
    refused(&narrow_comments("Cargo.toml", &line("# ", 101)), "Cargo.toml:2:");
    accepted(&narrow_comments("lab/src/a.rs", &line("    let _ = ", 101)));
}

#[test]
fn canary_silence() {
    for word in PRINTS {
        let text = format!("fn f() {{\n    {word}(\"x\");\n}}\n");
        refused(&silence("lab/src/report.rs", &text), ":2:");
        accepted(&silence("lab/src/main.rs", &text));
        accepted(&silence("lab/tests/cli.rs", &text));
    }
    accepted(&silence("lab/src/a.rs", &format!("// says {}(x)\n", PRINTS[0])));
}

#[test]
fn canary_no_allow() {
    for text in [concat!("#[al", "low(dead_code)]"), concat!("#![al", "low(dead_code)]")] {
        refused(&no_allow("lab/tests/a.rs", text), "expect");
    }
}

#[test]
fn canary_finished() {
    for word in UNFINISHED {
        refused(&finished("migrate/src/a.rs", &format!("fn f() {{ {word}() }} // {word}")), ":1:");
    }
}

#[test]
fn canary_no_ambient() {
    for word in AMBIENT.iter().chain(&LOCK_CRATES) {
        refused(&no_ambient("migrate/src/a.rs", &format!("use {word};\n")), word);
        accepted(&no_ambient("lab/src/a.rs", &format!("use {word};\n")));
        accepted(&no_ambient("migrate/src/a.rs", &format!("// not {word}\nlet a{word} = 1;\n")));
    }
    for seam in SEAMS {
        accepted(&no_ambient(seam, "use parking_lot::Mutex;"));
        refused(&no_ambient(seam, "use std::thread;"), "std::thread");
    }
    accepted(&no_ambient("percpu/src/step.rs", "#[cfg(all(loom, feature = \"loom\"))]"));
    refused(&no_ambient("percpu/src/step.rs", "use loom::cell::Cell;"), "loom");
}

#[test]
fn canary_no_unsafe() {
    let text = concat!("uns", "afe impl Sync for A {}");
    refused(&no_unsafe("percpu/src/flag.rs", text), ":1:");
    refused(&no_unsafe("allocator/src/zone.rs", text), ":1:");
    accepted(&no_unsafe("percpu/src/slot.rs", text));
    accepted(&no_unsafe("lab/src/a.rs", "#![deny(unsafe_code)] // nothing else"));
}

#[test]
fn canary_no_machine_paths() {
    for path in MACHINE_PATHS {
        refused(&no_machine_paths("README.md", &format!("see {path}x")), ":1:");
    }
}

#[test]
fn canary_short_readme() {
    refused(&short_readme(&"x\n".repeat(151)), "151 lines");
    accepted(&short_readme(&"x\n".repeat(150)));
}

#[test]
fn canary_known_directory() {
    refused(&known_directory("* **lab** is", "scripts"), "scripts/");
    accepted(&known_directory("* **lab** is; `scripts/` holds", "lab"));
    accepted(&known_directory("* **lab** is; `scripts/` holds", "scripts"));
}

/// The rules are worth nothing when the walk finds no files.
#[test]
fn canary_walk() {
    let names: Vec<_> = files().into_iter().map(|(name, _)| name).collect();
    for expected in ["Cargo.toml", ".ci/run", "allocator/src/units.rs", "lab/tests/tidy.rs"] {
        assert!(names.iter().any(|name| name == expected), "the walk missed {expected}");
    }
    assert!(!names.iter().any(|name| name.starts_with("target/") || name.starts_with(".git/")));
}

// ---- the tree ----------------------------------------------------------------------------------

#[test]
fn the_manifests_are_tidy() {
    let text = read("Cargo.toml");
    let mut complaints = explained_dependencies(&text);
    let workspace = manifest(&text);
    let members = workspace["workspace"]["members"].as_array().expect("members is a list");
    for member in members {
        let member = member.as_str().expect("a member is a name");
        let manifest = manifest(&read(&format!("{member}/Cargo.toml")));
        complaints.extend(dependency_direction(&manifest));
        complaints.extend(shared_lints(&manifest));
    }
    assert_eq!(members.len(), MAY_USE.len(), "a member is missing in the manifest or the table");
    accepted(&complaints);
}

#[test]
fn the_tree_is_tidy() {
    let mut complaints = Vec::new();
    for (path, text) in files() {
        complaints.extend(no_machine_paths(&path, &text));
        if path.ends_with(".rs") {
            complaints.extend(length(&path, &text));
            complaints.extend(silence(&path, &text));
            complaints.extend(no_allow(&path, &text));
            complaints.extend(finished(&path, &text));
            complaints.extend(no_ambient(&path, &text));
            complaints.extend(no_unsafe(&path, &text));
        }
        if path.ends_with(".rs") || path.ends_with(".toml") {
            complaints.extend(narrow_comments(&path, &text));
        }
        if path == "README.md" {
            complaints.extend(short_readme(&text));
        }
    }
    let architecture = read("notes/architecture.md");
    for directory in top().iter().filter(|path| path.is_dir()) {
        let name = directory.file_name().expect("has a name").to_string_lossy();
        if !name.starts_with('.') {
            complaints.extend(known_directory(&architecture, &name));
        }
    }
    accepted(&complaints);
}
