//! A sweep as a picture: speed and memory over the length of a sequence, one line a batch size.

use plotters::prelude::*;

use super::{BenchError, Point, Sweep};

const SIZE: (u32, u32) = (960, 420);
/// Of the lines, by batch size; readable without seeing colours apart by the labels beside them.
const COLOURS: [RGBColor; 4] =
    [RGBColor(27, 94, 163), RGBColor(202, 101, 22), RGBColor(38, 128, 72), RGBColor(140, 60, 130)];

/// The picture as SVG.
///
/// # Errors
/// When there is nothing to draw.
pub fn draw(sweep: &Sweep, title: &str) -> Result<String, BenchError> {
    crate::font::register();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let area = area.titled(title, ("sans-serif", 16)).map_err(failed)?;
        let (left, right) = area.split_horizontally(SIZE.0 / 2);
        panel(&left, "tokens a second", sweep, |point| Some(point.side.tokens_per_sec))?;
        panel(&right, "peak memory, MB", sweep, |point| {
            point.side.peak_memory_bytes.map(|bytes| bytes as f64 / 1e6)
        })?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// One quantity over the length, both on logarithmic scales.
fn panel(
    area: &DrawingArea<SVGBackend, plotters::coord::Shift>,
    what: &str,
    sweep: &Sweep,
    value: impl Fn(&Point) -> Option<f64>,
) -> Result<(), BenchError> {
    let values = || sweep.points.iter().filter_map(&value);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if !least.is_finite() {
        return Err(BenchError::Plot(format!("there are no figures of {what}")));
    }
    let lengths = || sweep.points.iter().map(|point| point.sequence as f64);
    let (shortest, longest) = (lengths().fold(f64::INFINITY, f64::min), lengths().fold(0.0, f64::max));
    let mut chart = ChartBuilder::on(area)
        .caption(what, ("sans-serif", 14))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(
            (shortest / 1.1..longest * 1.6).log_scale().base(2.0),
            (least / 1.3..most * 1.3).log_scale().base(2.0),
        )
        .map_err(failed)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("tokens of a sequence")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()
        .map_err(failed)?;
    let mut batches: Vec<usize> = sweep.points.iter().map(|point| point.batch).collect();
    batches.dedup();
    for (batch, colour) in batches.into_iter().zip(COLOURS.into_iter().cycle()) {
        let points = sweep.points.iter().filter(|point| point.batch == batch);
        let points: Vec<(f64, f64)> =
            points.filter_map(|point| Some((point.sequence as f64, value(point)?))).collect();
        let Some(&last) = points.last() else { continue };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3))
            .map_err(failed)?;
        let style = ("sans-serif", 12).into_font().color(&colour);
        let label = Text::new(format!("batch {batch}"), (last.0 * 1.05, last.1), style);
        chart.draw_series(std::iter::once(label)).map_err(failed)?;
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Plot(error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::bench::{Side, Summary};

    fn point(batch: usize, sequence: usize, tokens_per_sec: f64) -> Point {
        let side = Side {
            seconds: Summary { median: 1.0, min: 1.0, max: 1.0 },
            tokens_per_sec,
            samples_per_sec: 1.0,
            flops_per_sec: 1e9,
            share_of_peak: 0.5,
            peak_memory_bytes: Some(1 << 27),
            about: Map::new(),
        };
        Point { batch, sequence, side, others_busy_cores: None }
    }

    #[test]
    fn a_sweep_is_drawn_with_a_line_and_a_label_a_batch_in_each_panel() -> Result<(), BenchError> {
        let points = vec![point(1, 128, 9e3), point(1, 256, 8e3), point(4, 128, 1.2e4), point(4, 256, 1.1e4)];
        let svg = draw(&Sweep { peak_flops_per_sec: 1e10, points }, "by hand")?;
        assert_eq!((svg.matches("<polyline").count() >= 4, svg.matches("batch 4").count()), (true, 2));
        assert!(svg.contains("by hand") && svg.trim_end().ends_with("</svg>"));
        assert!(draw(&Sweep { peak_flops_per_sec: 1e10, points: vec![] }, "nothing").is_err());
        Ok(())
    }
}
