//! Small multiples: one panel a design, the other designs in grey behind it, the same axes for all.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::{GRID, INK, LEVEL, OTHER, OWN, themed};

/// Panels side by side.
const COLUMNS: usize = 3;
/// Size of a panel in pixels of the picture.
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
    /// How often it has a label, about.
    pub labels: usize,
    /// The label of a value.
    pub label: fn(f64) -> String,
}

/// A picture of several panels.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The axis of all panels.
    pub x: Axis,
    /// The same.
    pub y: Axis,
    /// Horizontal lines to compare with, and what they are.
    pub levels: Vec<(f64, String)>,
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

    /// The picture as SVG, described for those who do not see it.
    ///
    /// # Panics
    ///
    /// Never: nothing is written but text in memory.
    #[must_use]
    pub fn draw(&self, description: &str) -> String {
        let rows = self.series.len().div_ceil(COLUMNS).max(1);
        let columns = self.series.len().clamp(1, COLUMNS);
        let pixels = |count: usize, size: u32| u32::try_from(count).unwrap_or(1) * size;
        let size = (pixels(columns, PANEL.0), pixels(rows, PANEL.1));
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            let panels = root.split_evenly((rows, columns));
            for (at, panel) in panels.iter().take(self.series.len()).enumerate() {
                self.panel(panel, at).expect("text in memory takes everything");
            }
        }
        let open = format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(description));
        themed(&svg).replacen("<svg ", &open, 1)
    }

    fn panel(
        &self,
        area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        own: usize,
    ) -> DrawResult {
        let (name, series) = &self.series[own];
        let mut chart = ChartBuilder::on(area)
            .caption(name, ("sans-serif", 16).into_font().color(&INK))
            .margin(8)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(span(self.x.range), span(self.y.range))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .label_style(("sans-serif", 12).into_font().color(&INK))
            .axis_desc_style(("sans-serif", 12).into_font().color(&INK))
            .x_desc(self.x.title.clone())
            .y_desc(self.y.title.clone())
            .x_labels(self.x.labels)
            .y_labels(self.y.labels)
            .x_label_formatter(&|x| (self.x.label)(*x))
            .y_label_formatter(&|y| (self.y.label)(*y))
            .draw()?;
        for (level, words) in &self.levels {
            let (from, to) = self.x.range;
            chart.draw_series(DashedLineSeries::new(
                [(from, *level), (to, *level)],
                5,
                4,
                LEVEL.stroke_width(1),
            ))?;
            let anchor = Pos::new(HPos::Right, VPos::Bottom);
            let style = ("sans-serif", 11).into_font().color(&LEVEL).pos(anchor);
            chart.draw_series([Text::new(words.clone(), (to, *level), style)])?;
        }
        for (at, (_, other)) in self.series.iter().enumerate() {
            if at != own {
                chart.draw_series(LineSeries::new(line(other), OTHER.stroke_width(1)))?;
            }
        }
        self.own(&mut chart, series)
    }

    /// The panel's own design: a band for the intervals, a line, a point for each value.
    fn own<'a>(&self, chart: &mut Context<'a>, series: &Series) -> DrawResult {
        let bounded = |y: f64| y.clamp(self.y.range.0, self.y.range.1);
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
