//! Tables as one page of markdown, with the plots beside it.

use std::fmt::Write as _;

use super::Report;
use super::table::{Part, Table};

/// The page.
pub fn render(report: &Report) -> String {
    let mut text = String::from("# Results\n\n");
    let _ = writeln!(text, "Made by `glm-eval report`; the same runs give the same bytes.\n");
    for note in &report.notes {
        let _ = writeln!(text, "- {}", escape(note));
    }
    for table in &report.tables {
        let _ = write!(text, "\n## {}\n\n{}", escape(&table.title), grid(table));
    }
    if !report.plots.is_empty() {
        text.push_str("\n## Plots\n");
    }
    for plot in &report.plots {
        let _ = write!(
            text,
            "\n![{}](plots/{}.svg)\n\n{}\n",
            escape(&plot.title),
            plot.name,
            escape(&plot.caption)
        );
    }
    for missing in &report.missing_plots {
        let _ = write!(text, "\n{}\n", escape(missing));
    }
    text
}

/// A table with its notes.
pub fn grid(table: &Table) -> String {
    let mut text = String::new();
    let heads: Vec<String> = table.columns.iter().map(|column| escape(&head(column))).collect();
    let rules: Vec<&str> =
        table.columns.iter().map(|column| if column.is_number { "---:" } else { "---" }).collect();
    let _ = writeln!(text, "| {} |\n|{}|", heads.join(" | "), rules.join("|"));
    let bold = |part: &Part| {
        let shown = escape(&part.text);
        if part.best { format!("**{shown}**") } else { shown }
    };
    for group in &table.groups {
        if !group.title.is_empty() {
            let _ = writeln!(text, "| *{}* |{}", escape(&group.title), " |".repeat(table.columns.len() - 1));
        }
        for row in &group.rows {
            let cells = row.cells.iter().zip(&table.columns).map(|(cell, column)| {
                let letters = Table::letters(cell);
                let marks = if letters.is_empty() { String::new() } else { format!(" <sup>{letters}</sup>") };
                format!("{}{marks}", cell.join(column.joiner, bold))
            });
            let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
    text.push('\n');
    for (mark, note) in table.marked.iter().enumerate() {
        let _ = writeln!(text, "- <sup>{}</sup> {}", Table::letter(mark), escape(note));
    }
    for note in &table.notes {
        let _ = writeln!(text, "- {}", escape(note));
    }
    text
}

/// A head with the names of its parts: `ReCoRD F1/Acc`.
pub fn head(column: &super::table::Column) -> String {
    let is_paper_style = column.joiner == "/" && column.parts.len() > 1;
    if is_paper_style { format!("{} {}", column.head, column.parts.join("/")) } else { column.head.clone() }
}

/// Signs that markdown or HTML would take for their own; code in backticks is left alone.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    let mut in_code = false;
    for c in text.chars() {
        in_code ^= c == '`';
        match c {
            '<' => escaped.push_str("&lt;"),
            '|' | '*' | '_' | '[' | ']' if !in_code => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_cell() {
        assert_eq!(escape("a|b <i> _c_ `d_e`"), r"a\|b &lt;i> \_c\_ `d_e`");
    }
}
