//! The paper's tables, from the published values, with our runs below.

use super::layout::{Layout, Scores};
use super::runs::{ModelRuns, ScoredTask};
use super::table::{Cell, Column, Group, Part, Row, Table};
use crate::metrics;
use crate::metrics::suite::{self, SUPERGLUE};
use crate::results::ours::TaskRecord;
use crate::results::published::{Published, published};
use crate::stats::Estimate;

/// Columns in front of the scores: model and size.
pub const TEXT_COLUMNS: usize = 2;

/// How far a printed average may be from that of its cells: all are rounded to a tenth, which moves the average of
/// the cells by at most 0.05 and the printed one by as much.
const ROUNDING: f64 = 0.1;

/// A table of the paper, with a row a model of ours where our tasks belong to it.
pub fn table(layout: &Layout, models: &[ModelRuns]) -> Table {
    let mut columns = vec![Column::text("model"), Column { is_number: true, ..Column::text("size") }];
    let column = |scores: &Scores| {
        let parts: Vec<&str> = scores.metrics.iter().map(|(_, shown)| *shown).collect();
        Column::numbers(scores.head, &parts, "/")
    };
    columns.extend(layout.columns.iter().map(column));
    if layout.has_average {
        columns.push(Column::numbers("Avg of cells", &[""], ""));
    }
    let (name, title) = (layout.name.to_string(), layout.title.to_string());
    let mut table = Table { name, title, columns, groups: vec![], marked: vec![], notes: vec![] };
    for (title, rows) in published_rows(layout.name) {
        let rows = rows.iter().map(|row| published_row(layout, row, &mut table)).collect();
        table.groups.push(Group { title, rows });
    }
    let shown =
        |model: &&ModelRuns| layout.columns.iter().any(|scores| beside(layout, scores, model).is_some());
    let ours: Vec<Row> =
        models.iter().filter(shown).map(|model| our_row(layout, model, &mut table)).collect();
    if !ours.is_empty() {
        table.groups.push(Group { title: "Runs of this project".into(), rows: ours });
    } else if layout.split.is_some() {
        table.notes.push("No run of ours is in this table.".into());
    }
    if !layout.note.is_empty() {
        table.notes.push(layout.note.into());
    }
    table.mark_best(|column, _| {
        let scores = column.checked_sub(TEXT_COLUMNS)?;
        Some(layout.columns.get(scores).is_none_or(|scores| scores.higher_is_better))
    });
    table.notes.push(
        "Best of each group in bold. Published values as printed; their sources are in results/published."
            .into(),
    );
    table
}

/// What a model of ours has scored of a column's task, on the split that the published scores are of.
fn beside<'a>(layout: &Layout, scores: &Scores, model: &ModelRuns<'a>) -> Option<ScoredTask<'a>> {
    model.task(scores.ours.0).filter(|scored| Some(scored.task.split.as_str()) == layout.split)
}

/// Published rows by group, both in the order of print; a row is one model's numbers.
fn published_rows(file: &str) -> Vec<(String, Vec<Vec<&'static Published>>)> {
    let mut groups: Vec<(String, Vec<Vec<&'static Published>>)> = Vec::new();
    for value in published(file) {
        let title = group_title(value);
        let at = groups.iter().position(|(known, _)| *known == title).unwrap_or_else(|| {
            groups.push((title, vec![]));
            groups.len() - 1
        });
        let group = &mut groups[at].1;
        match group.iter_mut().find(|row| row[0].model == value.model && row[0].table == value.table) {
            Some(row) => row.push(value),
            None => group.push(vec![value]),
        }
    }
    groups
}

/// What was pre-trained on the same kind of data at about the same size stands together.
fn group_title(value: &Published) -> String {
    if value.table.starts_with("README") {
        return "README of THUDM/GLM".into();
    }
    let data = match value.pretraining_data.as_str() {
        "BookCorpus+Wikipedia" => "BookCorpus + Wikipedia",
        "" | "unverified" => "Pre-training data not stated",
        _ => "Larger corpora",
    };
    match value.num_parameters() {
        Some(size) if size < 300e6 => format!("{data}, base"),
        Some(_) => format!("{data}, large"),
        None => data.into(),
    }
}

fn published_row(layout: &Layout, values: &[&'static Published], table: &mut Table) -> Row {
    let find = |scores: &Scores, metric: &str| {
        values.iter().find(|value| scores.is_of(&value.task) && value.metric == metric).copied()
    };
    let first = values[0];
    let mut cells = vec![Cell::text(&first.model), size_cell(first, table)];
    for scores in layout.columns {
        let part = |(metric, _): &(&str, &str)| {
            let value = find(scores, metric);
            let text = value.map_or_else(String::new, |value| value.value.clone());
            Part { text, value: value.and_then(Published::number), best: false }
        };
        cells.push(Cell { parts: scores.metrics.iter().map(part).collect(), marks: vec![] });
    }
    if layout.has_average {
        let average =
            average_of_cells(layout, &|scores, part| find(scores, scores.metrics[part].0)?.number());
        let printed = values.iter().find(|value| value.metric == "Avg").and_then(|value| value.number());
        let mut cell = Cell::default();
        cell.parts.push(number(average, 2));
        if let Some((average, printed)) = average.zip(printed).filter(|(a, p)| (a - p).abs() > ROUNDING) {
            let note = format!(
                "{} prints an average of {printed:.1}, but its cells give {average:.2}.",
                first.model
            );
            let mark = table.mark(note);
            cell.marks.push(mark);
            let printed = cells.last_mut().expect("the average is the last column");
            printed.marks.push(mark);
        }
        cells.push(cell);
    }
    Row { ours: false, cells }
}

/// The average over `SuperGLUE` in percent, as the paper takes it, from any source of cells.
fn average_of_cells(layout: &Layout, find: &dyn Fn(&Scores, usize) -> Option<f64>) -> Option<f64> {
    let cell = |task: &str, metric: &str| {
        let scores = layout.columns.iter().find(|scores| scores.ours.0 == task)?;
        let part = scores.ours.1.iter().position(|known| *known == metric)?;
        Some(Estimate { value: find(scores, part)?, stderr: None, n: 1 })
    };
    suite::average(SUPERGLUE, cell).average.map(|average| average.value)
}

fn size_cell(value: &Published, table: &mut Table) -> Cell {
    let mut cell = match value.params.as_str() {
        "" | "unverified" => Cell::default(),
        alike if value.num_parameters() == Some(340e6) && !alike.starts_with("340M") => {
            let mark = table.mark("About as large as BERT_Large, as the paper says.");
            Cell { marks: vec![mark], ..Cell::text("340M") }
        }
        params => Cell::text(params.split(' ').next().unwrap_or("")),
    };
    if value.params.contains("unverified") && !cell.parts.is_empty() {
        cell.marks.push(table.mark("The size was seen in one place only."));
    }
    if let Some(part) = cell.parts.first_mut() {
        part.value = value.num_parameters();
    }
    cell
}

fn our_row(layout: &Layout, model: &ModelRuns, table: &mut Table) -> Row {
    let mut name = Cell::text(format!("{} (ours)", model.label()));
    name.marks.extend(model.random_weights().map(|random| table.mark(random_note(random))));
    let size = model.num_parameters().map(|count| count as f64);
    let mut cells = vec![
        name,
        Cell { parts: vec![Part { text: rounded(size), value: size, best: false }], marks: vec![] },
    ];
    for scores in layout.columns {
        let Some(scored) = beside(layout, scores, model) else {
            cells.push(Cell::default());
            continue;
        };
        let part = |metric: &&str| {
            let scale = metrics::scale(metric);
            let selected = scored.task.scores.get(*metric).and_then(|scores| scores.selected);
            let value = selected.map(|e| scale * e.value);
            number(value, metrics::decimals(value.unwrap_or(0.0), scale))
        };
        let parts = scores.ours.1.iter().map(part).collect();
        let notes = pattern_note(model, scores.ours.0).into_iter().chain(task_notes(scored.task));
        let marks = notes.map(|note| table.mark(note)).collect();
        cells.push(Cell { parts, marks });
    }
    if layout.has_average {
        let suite = model.suite();
        cells.pop(); // nobody printed one
        cells.push(Cell::default());
        cells.push(Cell { parts: vec![number(suite.average.map(|e| 100.0 * e.value), 2)], marks: vec![] });
        if !suite.missing.is_empty() {
            let note = format!("{}: no average without {}.", model.label(), suite.missing.join(", "));
            cells.last_mut().expect("just pushed").marks.push(table.mark(note));
        }
    }
    Row { ours: true, cells }
}

/// What to know before quoting any score of a model whose weights were drawn at random.
pub fn random_note(random: &str) -> String {
    let random = random.split(':').next().unwrap_or(random);
    format!("Weights {random}: scores of a model that was never pre-trained.")
}

/// Which of several patterns of a task counts, in a table that shows one.
pub fn pattern_note(model: &ModelRuns, task: &str) -> Option<String> {
    let mut patterns: Vec<&str> = Vec::new();
    for pattern in
        model.tasks().filter(|scored| scored.task.task == task).filter_map(|s| s.task.pattern.as_deref())
    {
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    let (first, others) = patterns.split_first()?;
    let others = others.join(", ");
    (!others.is_empty())
        .then(|| format!("{task}: pattern {first} counts, the first that was run; the others are {others}."))
}

/// What to know before quoting a task's score.
pub fn task_notes(task: &TaskRecord) -> Vec<String> {
    let mut notes: Vec<String> = task.notes.iter().map(|note| format!("{}: {note}.", task.name)).collect();
    let samples = task.samples;
    if samples.effective < samples.original {
        notes
            .push(format!("{}: scored on {} of {} samples.", task.name, samples.effective, samples.original));
    }
    let failed: usize = task.runs.iter().map(|run| run.failed_samples).sum();
    if failed > 0 {
        notes.push(format!("{}: {failed} samples failed and count as wrong.", task.name));
    }
    if let Some(limit) = task.recipe.get("train_limit").and_then(|limit| limit.value.as_u64()) {
        let train = task.data.iter().find(|file| file.split == "train");
        if let Some(file) = train.filter(|file| file.rows as u64 > limit) {
            // Questions where a row has several: the limit counts samples.
            notes.push(format!("{}: trained on at most {limit} samples of {} rows.", task.name, file.rows));
        }
    }
    notes
}

/// A number as a part; nothing where there is none.
pub fn number(value: Option<f64>, decimals: usize) -> Part {
    Part { text: value.map_or_else(String::new, |value| format!("{value:.decimals$}")), value, best: false }
}

/// `7.4M`, `335M`, `9.9B`.
pub fn rounded(count: Option<f64>) -> String {
    match count {
        None => String::new(),
        Some(n) if n < 1e7 => format!("{:.1}M", n / 1e6),
        Some(n) if n < 1e9 => format!("{:.0}M", n / 1e6),
        Some(n) => format!("{:.1}B", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{self, LAYOUTS};
    use super::*;

    #[test]
    fn every_published_value_stands_in_its_table_once_as_printed() {
        for layout in LAYOUTS {
            let table = table(layout, &[]);
            let rows: Vec<&Row> = table.groups.iter().flat_map(|group| &group.rows).collect();
            let mut shown = 0;
            for value in published(layout.name) {
                let of_model: Vec<&&Row> =
                    rows.iter().filter(|row| row.cells[0].parts[0].text == value.model).collect();
                let column = layout.columns.iter().position(|scores| {
                    scores.is_of(&value.task)
                        && scores.metrics.iter().any(|(metric, _)| *metric == value.metric)
                });
                let column = column.unwrap_or_else(|| panic!("{}: no column for {value:?}", layout.name));
                let part =
                    layout.columns[column].metrics.iter().position(|(metric, _)| *metric == value.metric);
                let text = |row: &&Row| row.cells[TEXT_COLUMNS + column].parts[part.unwrap()].text.clone();
                let equal = of_model.iter().filter(|row| text(row) == value.value).count();
                assert_eq!(equal, 1, "{}: {value:?}", layout.name);
                shown += 1;
            }
            let numbers = |row: &&Row| {
                let scores = &row.cells[TEXT_COLUMNS..TEXT_COLUMNS + layout.columns.len()];
                scores.iter().flat_map(|cell| &cell.parts).filter(|part| !part.text.is_empty()).count()
            };
            assert_eq!(
                rows.iter().map(numbers).sum::<usize>(),
                shown,
                "{}: nothing else is shown",
                layout.name
            );
        }
    }

    #[test]
    fn two_printed_averages_do_not_follow_from_their_cells() {
        let marked = |name| table(layout::find(name).unwrap(), &[]).marked;
        assert_eq!(
            [marked("superglue"), marked("ablation")]
                .concat()
                .iter()
                .filter(|n| n.contains("prints"))
                .collect::<Vec<_>>(),
            [
                "GLM_Sent prints an average of 76.8, but its cells give 77.28.",
                "GLM_Large - cloze finetune prints an average of 70.0, but its cells give 69.88.",
            ]
        );
    }

    #[test]
    fn groups_are_of_the_same_data_and_size() {
        let table = table(layout::find("superglue").unwrap(), &[]);
        let titles: Vec<&str> = table.groups.iter().map(|group| group.title.as_str()).collect();
        assert_eq!(
            titles,
            [
                "BookCorpus + Wikipedia, base",
                "BookCorpus + Wikipedia, large",
                "Larger corpora, base",
                "Larger corpora, large",
                "README of THUDM/GLM",
            ]
        );
        assert_eq!(table.groups[1].rows.len(), 7);
    }
}
