//! What a table is, before it is text, markdown, LaTeX, CSV, JSON or a page.

use serde::Serialize;

/// A table: groups of rows under one head, and the notes that its cells refer to.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// As in `superglue`; the name of its file.
    pub name: String,
    /// One line above it.
    pub title: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The groups, none of them empty.
    pub groups: Vec<Group>,
    /// Notes that cells refer to, in the order of their letters.
    pub marked: Vec<String>,
    /// Notes on the table as a whole.
    pub notes: Vec<String>,
}

/// A column. A paper-style cell holds several numbers (`F1/Acc`), each a part.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Its head.
    pub head: String,
    /// Names of the parts of its cells, as in `["F1", "Acc"]`; one empty name where a cell is one thing.
    pub parts: Vec<String>,
    /// What stands between two parts.
    pub joiner: &'static str,
    /// Numbers are aligned to the right.
    pub is_number: bool,
}

impl Column {
    /// A column of text.
    pub fn text(head: &str) -> Self {
        Self { head: head.into(), parts: vec![String::new()], joiner: "", is_number: false }
    }

    /// A column of numbers with these parts.
    pub fn numbers(head: &str, parts: &[&str], joiner: &'static str) -> Self {
        let parts = parts.iter().map(|part| (*part).to_string()).collect();
        Self { head: head.into(), parts, joiner, is_number: true }
    }

    /// The name of a part where each has a column to itself: `ReCoRD F1`.
    pub fn part_name(&self, part: usize) -> String {
        format!("{} {}", self.head, self.parts[part]).trim().to_string()
    }
}

/// Rows that may be compared with each other.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// As in `BookCorpus + Wikipedia, large`; empty where a table has no groups.
    pub title: String,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Is it of a run of ours, and not published?
    pub ours: bool,
    /// One a column.
    pub cells: Vec<Cell>,
}

/// A cell: its parts, and the notes it refers to, as indices into [`Table::marked`]. Without parts it is empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cell {
    /// One a part of the column.
    pub parts: Vec<Part>,
    /// Indices of notes.
    pub marks: Vec<usize>,
}

/// One number or text.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Part {
    /// As it is shown; empty where there is none.
    pub text: String,
    /// The number behind it, for sorting and choosing the best.
    pub value: Option<f64>,
    /// Is it the best of its group?
    pub best: bool,
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        let part = Part { text: text.into(), ..Part::default() };
        Self { parts: vec![part], marks: vec![] }
    }

    /// The parts as one text; `bold` renders the best ones, `-` stands for an absent part.
    pub fn join(&self, joiner: &str, render: impl Fn(&Part) -> String) -> String {
        if self.parts.iter().all(|part| part.text.is_empty()) {
            return String::new();
        }
        let shown = |part: &Part| if part.text.is_empty() { "-".to_string() } else { render(part) };
        self.parts.iter().map(shown).collect::<Vec<_>>().join(joiner)
    }
}

impl Table {
    /// Marks the best of every group and part, where `is_higher_better` knows a direction for `(column, part)` and
    /// at least two rows have a value.
    pub fn mark_best(&mut self, is_higher_better: impl Fn(usize, usize) -> Option<bool>) {
        for group in &mut self.groups {
            for (column, part) in self
                .columns
                .iter()
                .enumerate()
                .flat_map(|(c, column)| (0..column.parts.len()).map(move |p| (c, p)))
            {
                let Some(higher) = is_higher_better(column, part) else { continue };
                let value = |row: &Row| row.cells[column].parts.get(part).and_then(|part| part.value);
                let values: Vec<f64> = group.rows.iter().filter_map(value).collect();
                let best = values.iter().copied().reduce(if higher { f64::max } else { f64::min });
                if values.len() < 2 {
                    continue;
                }
                for row in &mut group.rows {
                    if let Some(part) = row.cells[column].parts.get_mut(part) {
                        part.best = part.value.is_some() && part.value == best;
                    }
                }
            }
        }
    }

    /// The letter of a note.
    pub fn letter(mark: usize) -> String {
        let letter = char::from(b'a' + (mark % 26) as u8);
        std::iter::repeat_n(letter, mark / 26 + 1).collect()
    }

    /// The letters of a cell's notes, as in `a,c`.
    pub fn letters(cell: &Cell) -> String {
        cell.marks.iter().map(|&mark| Self::letter(mark)).collect::<Vec<_>>().join(",")
    }

    /// The index of a note that cells refer to; equal notes are one.
    pub fn mark(&mut self, note: impl Into<String>) -> usize {
        let note = note.into();
        self.marked.iter().position(|known| *known == note).unwrap_or_else(|| {
            self.marked.push(note);
            self.marked.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f64]) -> Row {
        let part = |&value: &f64| Part { text: format!("{value:.1}"), value: Some(value), best: false };
        Row { ours: false, cells: vec![Cell { parts: values.iter().map(part).collect(), marks: vec![] }] }
    }

    fn table(rows: Vec<Row>) -> Table {
        let columns = vec![Column::numbers("ReCoRD", &["F1", "Acc"], "/")];
        let groups = vec![Group { title: String::new(), rows }];
        Table { name: "t".into(), title: "T".into(), columns, groups, marked: vec![], notes: vec![] }
    }

    #[test]
    fn the_best_of_a_group_is_marked_part_by_part_and_a_tie_twice() {
        let mut table = table(vec![row(&[1.0, 4.0]), row(&[2.0, 3.0]), row(&[2.0, 1.0])]);
        table.mark_best(|_, part| Some(part == 0));
        let best: Vec<Vec<bool>> = table.groups[0]
            .rows
            .iter()
            .map(|row| row.cells[0].parts.iter().map(|p| p.best).collect())
            .collect();
        assert_eq!(best, [[false, false], [true, false], [true, true]]); // more is better, then less
    }

    #[test]
    fn a_row_alone_is_not_the_best_of_anything() {
        let mut table = table(vec![row(&[1.0, 4.0])]);
        table.mark_best(|_, _| Some(true));
        assert!(table.groups[0].rows[0].cells[0].parts.iter().all(|part| !part.best));
    }

    #[test]
    fn notes_are_lettered_and_equal_notes_are_one() {
        let mut table = table(vec![]);
        assert_eq!([table.mark("x"), table.mark("y"), table.mark("x")], [0, 1, 0]);
        assert_eq!([0, 25, 26].map(Table::letter), ["a", "z", "aa"]);
    }

    #[test]
    fn an_absent_part_is_a_dash_and_an_absent_cell_nothing() {
        let part = |text: &str| Part { text: text.into(), ..Part::default() };
        let cell = Cell { parts: vec![part("1.0"), part("")], marks: vec![] };
        assert_eq!(cell.join("/", |part| part.text.clone()), "1.0/-");
        assert_eq!(Cell::default().join("/", |part| part.text.clone()), "");
    }
}
