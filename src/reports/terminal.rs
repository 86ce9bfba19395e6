//! Tables for the terminal.

use std::fmt::Write as _;

use comfy_table::{Cell as Shown, CellAlignment, Table as Grid, TableComponent, presets};

use super::Report;
use super::table::{Part, Table};

/// Most characters of a line of a note.
const WIDTH: usize = 80;

/// All tables, the best of each group with a `*`, since colours get lost on the way.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for table in &report.tables {
        let _ = writeln!(text, "{}\n{}", table.title, grid(table));
        for (mark, note) in table.marked.iter().enumerate() {
            let letter = Table::letter(mark);
            text.push_str(&wrapped(&format!("  {letter} {note}"), letter.len() + 3));
        }
        for note in &table.notes {
            text.push_str(&wrapped(&format!("  {}", note.replace("in bold", "marked *")), 2));
        }
        text.push('\n');
    }
    for note in &report.notes {
        text.push_str(&wrapped(note, 0));
    }
    text
}

/// A note in lines of at most 80 characters, broken at spaces; those after the first are indented. A longer word has a line to
/// itself.
fn wrapped(note: &str, indent: usize) -> String {
    let mut text = String::new();
    let mut used = 0;
    for (index, word) in note.split(' ').enumerate() {
        let width = word.chars().count();
        if index > 0 && used > indent && used + 1 + width > WIDTH {
            let _ = write!(text, "\n{:indent$}", "");
            used = indent;
        } else if index > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += width;
    }
    text.push('\n');
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_broken_at_spaces_and_indented() {
        let text = wrapped(&format!("  a {}", "words of a note ".repeat(12).trim_end()), 4);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
        assert!(lines[0].starts_with("  a words") && lines[1].starts_with("    "), "{text}");
        assert_eq!(text.split_whitespace().count(), 1 + 4 * 12);
        let path = "p".repeat(90);
        assert_eq!(wrapped(&format!("of {path}"), 0), format!("of\n{path}\n"));
    }
}
