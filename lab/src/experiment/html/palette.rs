//! Colours of pictures: the page decides them, so that they follow the reader's theme.
//!
//! Pictures are drawn with placeholders, which become CSS variables in the finished text. The
//! variables' values are from the palette of Okabe and Ito, which colour-blind readers can tell
//! apart; nothing is told by colour alone.

use plotters::style::RGBColor;

/// Text and axes.
pub const INK: RGBColor = RGBColor(1, 2, 3);
/// Lines behind the data.
pub const GRID: RGBColor = RGBColor(4, 5, 6);
/// The design that a panel is about.
pub const OWN: RGBColor = RGBColor(7, 8, 9);
/// All other designs.
pub const OTHER: RGBColor = RGBColor(10, 11, 12);
/// Levels to compare with.
pub const LEVEL: RGBColor = RGBColor(13, 14, 15);

const NAMES: [(RGBColor, &str); 5] = [
    (INK, "var(--ink)"),
    (GRID, "var(--grid)"),
    (OWN, "var(--own)"),
    (OTHER, "var(--other)"),
    (LEVEL, "var(--level)"),
];

/// `svg` with the page's colours instead of placeholders.
#[must_use]
pub fn themed(svg: &str) -> String {
    NAMES.iter().fold(svg.to_owned(), |text, (colour, name)| {
        let RGBColor(red, green, blue) = colour;
        text.replace(&format!("\"#{red:02X}{green:02X}{blue:02X}\""), &format!("\"{name}\""))
    })
}
