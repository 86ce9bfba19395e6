//! Tables for the terminal.

use std::fmt::Write as _;

use comfy_table::{Cell as Shown, CellAlignment, Table as Grid, TableComponent, presets};

use super::Report;
use super::table::{Part, Table};

/// All tables, the best of each group with a `*`, since colours get lost on the way.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for table in &report.tables {
        let _ = writeln!(text, "{}\n{}", table.title, grid(table));
        for (mark, note) in table.marked.iter().enumerate() {
            let _ = writeln!(text, "  {} {note}", Table::letter(mark));
        }
        for note in &table.notes {
            let _ = writeln!(text, "  {}", note.replace("in bold", "marked *"));
        }
        text.push('\n');
    }
    for note in &report.notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

fn grid(table: &Table) -> Grid {
    let mut grid = Grid::new();
    grid.load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_header(table.columns.iter().map(|column| &column.head));
    for between_rows in [TableComponent::HorizontalLines, TableComponent::MiddleIntersections] {
        grid.remove_style(between_rows);
    }
    for (index, column) in table.columns.iter().enumerate() {
        if let Some(shown) = grid.column_mut(index) {
            shown.set_padding((0, 1));
            if column.is_number {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let star = |part: &Part| format!("{}{}", part.text, if part.best { "*" } else { "" });
    for group in &table.groups {
        if !group.title.is_empty() {
            grid.add_row([Shown::new(format!("{}:", group.title)).set_alignment(CellAlignment::Left)]);
        }
        for row in &group.rows {
            grid.add_row(row.cells.iter().zip(&table.columns).map(|(cell, column)| {
                let letters = Table::letters(cell);
                let gap = if letters.is_empty() { "" } else { " " };
                format!("{}{gap}{letters}", cell.join(column.joiner, star))
            }));
        }
    }
    grid
}
