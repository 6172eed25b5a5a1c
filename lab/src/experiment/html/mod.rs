//! The results as one page: words, pictures, tables and definitions, without any other file.
//!
//! Pictures are SVG inside the page, their colours those of the reader's theme. The page loads
//! nothing and runs nothing.

pub mod chart;
pub mod figures;
pub mod maps;
pub mod palette;
pub mod tables;

use std::io::{self, Write};

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};

use crate::experiment::Results;
use crate::metric;

const PAGE: &str = include_str!("page.html");

/// Writes the page.
///
/// # Errors
///
/// What `out` says.
///
/// # Panics
///
/// Never: the template is part of this program, and a test fills it.
pub fn write(results: &Results, out: &mut impl Write) -> io::Result<()> {
    let mut engine = Environment::empty();
    engine.set_auto_escape_callback(|_| AutoEscape::Html);
    engine.add_filter("safe", |text: String| Value::from_safe_string(text));
    engine.add_template("page", PAGE).expect("the template is whole");
    let sizes: Vec<_> = results.by_memory().collect();
    let groups = sizes[0];
    let middle = &groups[groups.len() / 2];
    let given_back = sizes.iter().map(|groups| figures::given_back(results, groups));
    let others = [
        figures::pressure(results, groups),
        figures::moves(results, groups),
        figures::failures(results, groups),
        figures::requests(results, groups),
        figures::contiguity(results, middle),
    ];
    let page = engine.get_template("page").expect("just added");
    let page = page.render(context! {
        preface => results.preface.as_str(),
        plan => format!("{:#}", results.plan),
        seeds => results.groups[0].cells[0].len(),
        memory => groups[0].mebibytes(),
        summary => Serde(tables::summary(results, middle)),
        sizes => sizes.len(),
        given_back => Serde(given_back.collect::<Vec<_>>()),
        figures => Serde(others),
        maps => Serde(maps::rows(results, middle)),
        map_legend => Serde(maps::legend(middle)),
        map_fold => maps::fold(middle),
        map_share => middle.tagged(),
        tables => Serde(tables::headlines(results, groups)),
        blocked => Serde(tables::blocked(results, groups)),
        costs => Serde(tables::costs(results, groups)),
        metrics => Serde(metric::ALL.iter().map(tables::definition).collect::<Vec<_>>()),
    });
    out.write_all(page.expect("the template asks for what is given").as_bytes())
}
