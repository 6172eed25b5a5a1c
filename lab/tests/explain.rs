//! Explanations: a golden one, what they say of arithmetic, and answers to impossible words.
//!
//! Whoever changes the golden text on purpose runs, from the root of the repository,
//!
//! ```text
//! PAGELAB_REGENERATE=1 cargo test -p pagelab --test explain
//! ```

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const PHONE: &str = "explain --design cma-v3 --workload phone --memory 256MiB --tagged 50% \
                     --ticks 20 --seed 42";
const GOLDEN: &str = "tests/golden/explain-phone.txt";

fn pagelab(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.args(words.split_whitespace()).output().expect("the command starts")
}

#[track_caller]
fn said(words: &str) -> String {
    let output = pagelab(words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn refused(words: &str, expected: &str) {
    let output = pagelab(words);
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(error, format!("pagelab: {expected}\n"));
    assert!(output.stdout.is_empty());
}

/// The words with the operations of a file.
fn with_ops(ops: &str, words: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ops");
    std::fs::write(&file, ops).expect("a file");
    let words = format!("explain {words} --ops {}", file.display());
    (folder, words)
}

#[test]
fn a_tagged_touch_of_a_phone_is_explained_as_it_was() {
    let text = said(&format!("{PHONE} --at 751"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("PAGELAB_REGENERATE").is_some() {
        std::fs::write(&path, &text).expect("the golden file is writable");
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default());
    assert!(text.lines().all(|line| line.chars().count() <= 100));
}

/// 256 MiB are 65536 pages. 1024 of them are the memory map, 4096 the image: 60416 are managed,
/// of which CMA is 512 (ordinary) and 2048 (tags). Boot took two pages: one of zeroes, and its
/// tags. min_free_kbytes is sqrt(16 * 4 * 60416) = 1966 kB, so min is 491 pages, and low a quarter
/// more.
#[test]
fn the_first_touch_of_a_tiny_machine_adds_up() {
    let ops = "spawn process 0\nmap process 0 area 0 pages 33 tagged\n\
               touch process 0 area 0 pages 0..33 write\n";
    let (_folder, words) = with_ops(ops, "--design cma-v3 --at 3 --page 0");
    let text = said(&words);
    let row = |what: &str| -> i64 {
        let line = text.lines().find(|line| line.ends_with(what));
        let line = line.unwrap_or_else(|| panic!("{what} in {text}"));
        let number = line.split_whitespace().find_map(|word| word.parse().ok());
        number.expect("a number")
    };
    assert_eq!(row("free"), 60416 - 2);
    assert_eq!(row("CMA, without ALLOC_CMA"), 512 + 2048 - 1);
    assert_eq!(row("usable"), row("free") - row("CMA, without ALLOC_CMA"));
    assert_eq!((16_i64 * 4 * 60416).isqrt() / 4, 491);
    assert!(text.contains("low mark: passes"), "{text}");
    assert_eq!(row("to be kept: 613 mark"), 491 + 491 / 4);
    assert!(text.contains("design     ALLOC_CMA barred"), "{text}");
    // The block of the page's tags: 32 pages to a page of tags, from the first of memory on.
    assert!(text.contains("tag block  1952 at [0x4ffa0, 0x4ffa1): 0 -> 2 references"), "{text}");
    assert_eq!((0x4f400 - 0x40000) / 32, 1952);
    assert!(text.contains("page       0x4f400, order 0"), "{text}");
    let next = said(&words.replace("--page 0", "--page 1"));
    assert!(next.contains("tag block  1952 at [0x4ffa0, 0x4ffa1): 2 -> 3 references"), "{next}");
}

#[test]
fn a_fault_that_moves_data_says_from_where_to_where() {
    let ops = "spawn process 1\nmap process 1 area 0 pages 1\nprotect process 1 area 0 pages 0..1\n\
               touch process 1 area 0 pages 0..1 write\nexit process 1\nspawn process 2\n\
               map process 2 area 0 pages 2\ntouch process 2 area 0 pages 0..2 write\n\
               protect process 2 area 0 pages 0..1\ntouch process 2 area 0 pages 0..1 write\n";
    let (_folder, words) = with_ops(ops, "--design cma-v3 --at 10");
    let text = said(&words);
    assert!(text.contains("\n    moved    0x4ffa0 -> 0x4f401, order 0, folio"), "{text}");
    assert!(text.contains("1 pages: 1 pages of data moved out\n"), "{text}");
    assert!(text.contains("lacks tag storage: reserved now, the access goes on\n"), "{text}");
}

#[test]
fn drop_movable_says_what_it_drops() {
    let ops = "spawn process 0\nmap process 0 area 0 pages 1 tagged\n\
               touch process 0 area 0 pages 0..1 write\n";
    let (_folder, words) = with_ops(ops, "--design drop-movable --at 3");
    let text = said(&words);
    assert!(text.contains("design     __GFP_MOVABLE dropped\n"), "{text}");
    assert!(text.contains("migratetype Unmovable, zones up to Normal\n"), "{text}");
}

#[test]
fn traces_are_explained_by_line_too() {
    let by_line = said("explain --design cma-v3 --at line:200");
    assert!(by_line.contains("operation 175 of 106261, line 200, after"), "{by_line}");
    assert_eq!(by_line, said("explain --design cma-v3 --at 175"));
}

#[test]
fn data_has_the_same_paths() {
    let data: Value = serde_json::from_str(&said(&format!("{PHONE} --at 751 --json"))).unwrap();
    assert_eq!(data["operation"], 751);
    let pages = |path: &Value| path["pages"].as_array().map_or(0, Vec::len);
    let paths = data["paths"].as_array().expect("paths");
    assert_eq!(paths.iter().map(pages).sum::<usize>(), 148);
}

#[test]
fn impossible_words_are_named() {
    refused(&format!("{PHONE} --at 99999"), "--at 99999: there are 1719 operations");
    refused(&format!("{PHONE} --at 0"), "--at \"0\": counted from 1");
    refused(&format!("{PHONE} --at x"), "--at \"x\": not a number, or line: and a number");
    refused(&format!("{PHONE} --at line:3"), "--at \"line:3\": only traces have lines");
    let no_page = "--page 148: the operation does not come to that page";
    refused(&format!("{PHONE} --at 751 --page 148"), no_page);
    let no_line = "--at line:1: no operation comes from that line; the nearest that have one: 13";
    refused("explain --design cma-v3 --at line:1", no_line);
}
