//! Tables for LaTeX with `booktabs`: a fragment a table, and a document that shows them all.

use std::fmt::Write as _;

use super::Report;
use super::markdown::head;
use super::table::{Part, Table};

/// A `table` environment, to be used with `\input`.
pub fn render(table: &Table) -> String {
    let columns: String =
        table.columns.iter().map(|column| if column.is_number { 'r' } else { 'l' }).collect();
    let mut text = String::from("% Made by glm-eval report; needs \\usepackage{booktabs}.\n");
    let _ =
        writeln!(text, "\\begin{{table}}[p]\n\\centering\\footnotesize\\setlength{{\\tabcolsep}}{{3.5pt}}");
    let _ = writeln!(
        text,
        "\\caption{{{}}}\\label{{tab:{}}}",
        escape(&table.title),
        table.name.replace('_', "-")
    );
    let _ = writeln!(text, "\\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n\\toprule");
    let heads = table.columns.iter().map(|column| {
        let shown = escape(&head(column));
        // Two lines where a head has parts: the data set above its metrics.
        match shown.split_once(' ') {
            Some((above, below)) if column.is_number => {
                format!("\\begin{{tabular}}[b]{{@{{}}r@{{}}}}{above}\\\\{below}\\end{{tabular}}")
            }
            _ => shown,
        }
    });
    let _ = writeln!(text, "{} \\\\", heads.collect::<Vec<_>>().join(" & "));
    let bold = |part: &Part| {
        let shown = escape(&part.text);
        if part.best { format!("\\textbf{{{shown}}}") } else { shown }
    };
    for group in &table.groups {
        text.push_str("\\midrule\n");
        if !group.title.is_empty() {
            let _ = writeln!(
                text,
                "\\multicolumn{{{}}}{{@{{}}l}}{{\\emph{{{}}}}} \\\\",
                table.columns.len(),
                escape(&group.title)
            );
        }
        for row in &group.rows {
            let cells = row.cells.iter().zip(&table.columns).map(|(cell, column)| {
                let letters = Table::letters(cell);
                let marks = if letters.is_empty() {
                    String::new()
                } else {
                    format!("\\textsuperscript{{{letters}}}")
                };
                format!("{}{marks}", cell.join(&escape(column.joiner), bold))
            });
            let _ = writeln!(text, "{} \\\\", cells.collect::<Vec<_>>().join(" & "));
        }
    }
    text.push_str(
        "\\bottomrule\n\\end{tabular}\n\n\\medskip\n\\begin{minipage}{0.9\\linewidth}\\raggedright\n",
    );
    for (mark, note) in table.marked.iter().enumerate() {
        let _ = writeln!(text, "\\textsuperscript{{{}}} {}\\\\", Table::letter(mark), escape(note));
    }
    for note in &table.notes {
        let _ = writeln!(text, "{}\\\\", escape(note));
    }
    text.push_str("\\end{minipage}\n\\end{table}\n");
    text
}

/// A document that compiles as it is, beside the tables.
pub fn document(report: &Report) -> String {
    let mut text = String::from(
        "% pdflatex report.tex\n\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n\
         \\usepackage{booktabs}\n\\usepackage[landscape,margin=15mm]{geometry}\n\\begin{document}\n",
    );
    for table in &report.tables {
        let _ = writeln!(text, "\\input{{{}}}\n\\clearpage", table.name);
    }
    text.push_str("\\end{document}\n");
    text
}

/// Signs that LaTeX would take for its own, and those that its fonts lack; code in backticks becomes upright type.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    let mut in_code = false;
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' | '>' | '±' => {
                let sign = if c == '±' { "\\pm".into() } else { c.to_string() };
                let _ = write!(escaped, "${sign}$");
            }
            '[' | ']' => {
                let _ = write!(escaped, "{{{c}}}"); // after `\\` a bracket would be a length
            }
            '`' => {
                escaped.push_str(if in_code { "}" } else { "\\texttt{" });
                in_code = !in_code;
            }
            _ => escaped.push(c),
        }
    }
    if in_code { format!("{escaped}}}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_a_command() {
        assert_eq!(
            escape("100 % of \\a_b {x} `c_d`"),
            "100 \\% of \\textbackslash{}a\\_b \\{x\\} \\texttt{c\\_d}"
        );
        assert_eq!(escape(">100 ± 1"), "$>$100 $\\pm$ 1");
        assert_eq!(escape("a ` b"), "a \\texttt{ b}");
    }
}
