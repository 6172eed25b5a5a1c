//! Small multiples: one panel a design, the other designs in grey behind it, the same axes for all.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::{GRID, INK, LEVEL, OTHER, OWN, themed};

/// Size of a panel in pixels. Letters are four fifths as large as the numbers that plotters takes.
const PANEL: (u32, u32) = (340, 250);
/// Largest radius of a point, pixels.
const RADIUS: f64 = 7.0;

/// A value with the width of its interval, and how much it rests on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// The value.
    pub y: f64,
    /// Half the width of its interval.
    pub half: f64,
    /// From 0 to 1: how large it is drawn.
    pub weight: f64,
}

/// Values of one design.
pub type Series = Vec<Point>;

/// One of the two axes.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, with its unit.
    pub title: String,
    /// From where to where.
    pub range: (f64, f64),
    /// What no value exceeds, in the same unit; bands end there.
    pub limit: f64,
    /// How many labels it has, at most.
    pub labels: usize,
    /// The label of a value.
    pub label: fn(f64) -> String,
}

/// A horizontal line to compare with.
#[derive(Clone, PartialEq, Debug)]
pub struct Level {
    /// Where.
    pub y: f64,
    /// What it is.
    pub words: String,
    /// Where its words stand.
    pub place: Place,
}

/// Where words stand by their line, so that curves which fall from left to right miss them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Above its right end.
    AboveRight,
    /// Below its left end.
    BelowLeft,
}

/// A picture of several panels.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The axis of all panels.
    pub x: Axis,
    /// The same.
    pub y: Axis,
    /// Horizontal lines in all panels.
    pub levels: Vec<Level>,
    /// What the panel of a design without values says.
    pub absent: &'static str,
    /// Name and values of each design.
    pub series: Vec<(String, Series)>,
}

/// Why a picture could not be drawn; never for text.
type DrawResult = Result<(), Box<dyn std::error::Error>>;

impl Chart {
    /// Whether there is anything to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|(_, series)| series.is_empty())
    }

    /// The panels, each as SVG; `title` is told to those who do not see them.
    #[must_use]
    pub fn draw(&self, title: &str) -> Vec<String> {
        (0..self.series.len()).map(|at| self.drawn(at, title)).collect()
    }

    fn drawn(&self, at: usize, title: &str) -> String {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, PANEL).into_drawing_area();
            self.panel(&area, at).expect("text in memory takes everything");
        }
        let name = escaped(&format!("{title}: {}", self.series[at].0));
        let open = format!("<svg role=\"img\" aria-label=\"{name}\" ");
        themed(&svg).replacen("<svg ", &open, 1)
    }

    fn panel(
        &self,
        area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        own: usize,
    ) -> DrawResult {
        let (name, series) = &self.series[own];
        let mut chart = ChartBuilder::on(area)
            .caption(name, ("sans-serif", 19).into_font().color(&INK))
            .margin(8)
            // Half of the last label stands beyond the end of the axis.
            .margin_right(16)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(span(self.x.range), span(self.y.range))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .label_style(("sans-serif", 15).into_font().color(&INK))
            .axis_desc_style(("sans-serif", 15).into_font().color(&INK))
            .x_desc(self.x.title.clone())
            .y_desc(self.y.title.clone())
            .x_labels(self.x.labels)
            .y_labels(self.y.labels)
            .x_label_formatter(&|x| (self.x.label)(*x))
            .y_label_formatter(&|y| (self.y.label)(*y))
            .draw()?;
        for (at, (_, other)) in self.series.iter().enumerate() {
            if at != own {
                chart.draw_series(LineSeries::new(line(other), OTHER.stroke_width(1)))?;
            }
        }
        self.own(&mut chart, series)?;
        self.words(&mut chart, series)
    }

    /// The levels, and what takes the place of values that are not there.
    fn words<'a>(&self, chart: &mut Context<'a>, series: &Series) -> DrawResult {
        let (from, to) = self.x.range;
        let (bottom, top) = self.y.range;
        for Level { y, words, place } in &self.levels {
            let ends = [(from, *y), (to, *y)];
            chart.draw_series(DashedLineSeries::new(ends, 5, 4, LEVEL.stroke_width(1)))?;
            let gap = (0.03 * (to - from), 0.02 * (top - bottom));
            let (at, anchor) = match place {
                Place::AboveRight => ((to, y + gap.1), Pos::new(HPos::Right, VPos::Bottom)),
                Place::BelowLeft => ((from + gap.0, y - gap.1), Pos::new(HPos::Left, VPos::Top)),
            };
            let style = ("sans-serif", 14).into_font().color(&LEVEL).pos(anchor);
            chart.draw_series([Text::new(words.clone(), at, style)])?;
        }
        if series.is_empty() {
            let middle = (f64::midpoint(from, to), f64::midpoint(bottom, top));
            let anchor = Pos::new(HPos::Center, VPos::Center);
            let style = ("sans-serif", 16).into_font().color(&INK).pos(anchor);
            chart.draw_series([Text::new(self.absent, middle, style)])?;
        }
        Ok(())
    }

    /// The panel's own design: a band for the intervals, a line, a point for each value.
    fn own<'a>(&self, chart: &mut Context<'a>, series: &Series) -> DrawResult {
        let bounded = |y: f64| y.clamp(self.y.range.0, self.y.limit);
        let upper = series.iter().map(|p| (p.x, bounded(p.y + p.half)));
        let lower = series.iter().rev().map(|p| (p.x, bounded(p.y - p.half)));
        let band: Vec<_> = upper.chain(lower).collect();
        if series.len() > 1 {
            chart.draw_series([Polygon::new(band, OWN.mix(0.25))])?;
        } else {
            let bars = series.iter().map(|p| {
                PathElement::new([(p.x, bounded(p.y - p.half)), (p.x, bounded(p.y + p.half))], OWN)
            });
            chart.draw_series(bars)?;
        }
        chart.draw_series(LineSeries::new(line(series), OWN.stroke_width(2)))?;
        chart.draw_series(series.iter().map(|p| {
            #[expect(clippy::cast_possible_truncation, reason = "a few pixels")]
            let radius = (1.5 + (RADIUS - 1.5) * p.weight).round() as i32;
            Circle::new((p.x, p.y), radius, OWN.filled())
        }))?;
        Ok(())
    }
}

/// A panel that is being drawn.
type Context<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

const fn span((from, to): (f64, f64)) -> core::ops::Range<f64> {
    from..to
}

fn line(series: &Series) -> impl Iterator<Item = (f64, f64)> {
    series.iter().map(|point| (point.x, point.y))
}

/// Text between quotation marks of an attribute.
#[must_use]
pub fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(name: &str, series: Series) -> Chart {
        let axis = Axis {
            title: "per <cent> & \"more\"".to_owned(),
            range: (0.0, 100.0),
            limit: 100.0,
            labels: 6,
            label: |value| format!("{value:.0}"),
        };
        let levels = vec![Level { y: 50.0, words: "a < b".to_owned(), place: Place::BelowLeft }];
        let series = vec![(name.to_owned(), series)];
        Chart { x: axis.clone(), y: axis, levels, absent: "nothing & nobody", series }
    }

    #[test]
    fn hostile_names_are_text() {
        let svg = chart("<&\">", Vec::new()).draw("<script>\"").swap_remove(0);
        assert!(svg.contains("aria-label=\"&lt;script&gt;&quot;: &lt;&amp;&quot;&gt;\""), "{svg}");
        assert!(svg.contains("nothing &amp; nobody") && svg.contains("a &lt; b"), "{svg}");
        assert!(!svg.contains("<script") && !svg.contains("<cent") && !svg.contains("& "), "{svg}");
    }

    #[test]
    fn a_panel_with_values_says_nothing_else() {
        let values = vec![Point { x: 50.0, y: 50.0, half: 5.0, weight: 0.5 }];
        assert!(!chart("cma-v3", values).draw("x")[0].contains("nobody"));
    }

    #[test]
    fn the_last_label_has_room() {
        let svg = chart("cma-v3", Vec::new()).draw("x").swap_remove(0);
        let (before, _) = svg.split_once("\n100\n</text>").expect("a label");
        let (_, x) = before.rsplit_once(" x=\"").expect("a place");
        let x: u32 = x.split('"').next().and_then(|x| x.parse().ok()).expect("a number");
        // Half of three figures of 15 pixels.
        assert!(x + 13 <= PANEL.0, "{x}");
    }

    #[test]
    fn bands_end_where_values_do() {
        let upper = |half| {
            let point = |x| Point { x, y: 95.0, half, weight: 0.5 };
            let mut chart = chart("cma-v3", vec![point(0.0), point(100.0)]);
            chart.y.range = (0.0, 105.0);
            let svg = chart.draw("x").swap_remove(0);
            let (_, polygon) = svg.split_once("<polygon").expect("there is a band");
            let (_, points) = polygon.split_once("points=\"").expect("it has corners");
            points.split(' ').next().map(str::to_owned)
        };
        assert_eq!(upper(5.0), upper(50.0));
    }
}
