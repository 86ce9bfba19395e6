//! How tables of comparisons are drawn: numbers in points (hundredths), a dash where there is none.

use std::ops::Range;

use comfy_table::{CellAlignment, Table, TableComponent, presets};

use crate::metrics;
use crate::stats::intervals::Interval;

/// A table without lines between its rows; the columns of numbers are on the right.
pub fn plain_table(header: &[&str], numbers: Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header.iter().copied());
    for between_rows in [TableComponent::HorizontalLines, TableComponent::MiddleIntersections] {
        table.remove_style(between_rows);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A metric's value as it is shown: `scale` is 100 for shares (see `Metric::scale`).
pub fn shown(value: Option<f64>, scale: f64) -> String {
    value.map_or_else(|| "-".into(), |value| metrics::shown(value, scale))
}

/// A difference of such values, with its sign.
pub fn signed(value: Option<f64>, scale: f64) -> String {
    let signed = |value: f64| match metrics::shown(value, scale) {
        zero if zero.trim_matches(['-', '0', '.']).is_empty() => zero.trim_start_matches('-').to_owned(),
        text if text.starts_with('-') => text,
        text => format!("+{text}"),
    };
    value.map_or_else(|| "-".into(), signed)
}

/// As in `-5.4..+1.8`.
pub fn interval(value: Option<Interval>, scale: f64) -> String {
    let end = |value| signed(Some(value), scale);
    value.map_or_else(|| "-".into(), |i| format!("{}..{}", end(i.low), end(i.high)))
}

/// Three digits, or that it is below them.
pub fn p_value(p: Option<f64>) -> String {
    match p {
        None => "-".into(),
        Some(p) if p < 0.001 => "<.001".into(),
        Some(p) => format!("{p:.3}"),
    }
}

/// Parses an alpha: above 0, at most 1.
pub fn alpha(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(alpha) if alpha > 0.0 && alpha <= 1.0 => Ok(alpha),
        _ => Err("expected a number above 0 and at most 1, such as 0.05".into()),
    }
}
