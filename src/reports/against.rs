//! Every score of our runs with its error, its circumstances, and the published value it may be held against.

use super::layout::{LAYOUTS, Layout, Scores};
use super::paper::{number, pattern_note, random_note, task_notes};
use super::runs::{ModelRuns, ScoredTask};
use super::table::{Cell, Column, Group, Part, Row, Table};
use super::verdict::{self, SAME_WITHIN};
use crate::metrics;
use crate::metrics::suite::SUPERGLUE;
use crate::results::published::published;

/// The table of all scores of our runs; `None` without runs.
pub fn table(models: &[ModelRuns]) -> Option<Table> {
    let columns = vec![
        Column::text("task"),
        Column::text("metric"),
        Column::numbers("score ± s.e.", &["score", "s.e."], " ± "),
        Column::numbers("n", &[""], ""),
        Column::numbers("seeds (s.d.)", &["number", "s.d."], "; "),
        Column::numbers("guess", &[""], ""),
        Column::text("epoch"),
        Column::text("held against"),
        Column::numbers("published", &[""], ""),
        Column::numbers("difference [95 %]", &["value", "low", "high"], " "),
        Column::text("verdict"),
    ];
    let (name, title) = ("runs".to_string(), "Runs of this project, against published values".to_string());
    let mut table = Table { name, title, columns, groups: vec![], marked: vec![], notes: vec![] };
    for model in models {
        let mut rows = Vec::new();
        for scored in model.tasks() {
            for (index, metric) in scored.task.metrics.iter().enumerate() {
                rows.push(row(model, scored, index, metric, &mut table));
            }
        }
        rows.extend(average(model, &mut table));
        table.groups.push(Group { title: model.label(), rows });
    }
    table.notes = vec![
        "Scores, errors and differences in points (percent), perplexities and bits as they are. The s.e. is that of the samples; s.d. is the spread over seeds."
            .into(),
        format!(
            "differs: the 95 % interval of the difference leaves out 0. agrees: it lies within {SAME_WITHIN} points \
             on both sides. cannot tell: neither. Published values come without an error; they are taken to have that \
             of as many samples."
        ),
        "A model is held against the published row of its family that is nearest in size.".into(),
    ];
    (!table.groups.is_empty()).then_some(table)
}

fn row(model: &ModelRuns, scored: ScoredTask, index: usize, metric: &str, table: &mut Table) -> Row {
    let task = scored.task;
    let selected = task.scores.get(metric).and_then(|scores| scores.selected);
    let scale = metrics::scale(metric);
    let percent = |value: Option<f64>| value.map(|value| scale * value);
    let score = |value: Option<f64>| {
        let shown = percent(value);
        number(shown, metrics::decimals(shown.unwrap_or(0.0), scale))
    };
    let mut name = Cell::text(&task.name);
    // Notes stand at the first metric of a task.
    if index == 0 {
        let random = model.random_weights().map(|random| table.mark(random_note(random)));
        let notes: Vec<usize> = task_notes(task).into_iter().map(|note| table.mark(note)).collect();
        name.marks = random.into_iter().chain(notes).collect();
    }
    let seeds = scored.over_seeds(metric);
    let count = task.runs.len();
    let mut cells = vec![
        name,
        Cell::text(metric),
        cell([score(selected.map(|e| e.value)), score(selected.and_then(|e| e.stderr))]),
        cell([number(selected.map(|e| e.n as f64), 0)]),
        if count > 1 {
            cell([number(Some(count as f64), 0), score(seeds.and_then(|seeds| seeds.std))])
        } else {
            cell([number(Some(count as f64), 0)])
        },
        cell([number(percent(task.chance_level.filter(|_| index == 0)), 1)]),
        Cell::text(scored.selection()),
    ];
    cells.extend(comparison(model, scored, metric, table));
    Row { ours: true, cells }
}

/// Published row, its value, the difference with its interval, and the verdict.
fn comparison(model: &ModelRuns, scored: ScoredTask, metric: &str, table: &mut Table) -> [Cell; 4] {
    let Some((layout, scores, part)) = published_column(&scored.task.task, metric) else {
        return [Cell::default(), Cell::default(), Cell::default(), Cell::text("nothing published")];
    };
    if let Some(reason) = verdict::not_comparable(scored, model.mode(), layout) {
        let mark = table.mark(format!("{}: not compared, {reason}.", scored.task.name));
        return [
            Cell::default(),
            Cell::default(),
            Cell::default(),
            Cell { marks: vec![mark], ..Cell::text("not compared") },
        ];
    }
    let nearest = verdict::nearest(published(layout.name), scores, part, model);
    let Some(found) = nearest.and_then(|row| verdict::compare(scored, metric, row)) else {
        return [Cell::default(), Cell::default(), Cell::default(), Cell::text("cannot tell")];
    };
    let signed = |value: f64| Part { text: format!("{value:+.1}"), value: Some(value), best: false };
    let ends = found.half_width.map(|half| {
        let (low, high) = (found.difference - half, found.difference + half);
        let part = |value: f64, text: String| Part { text, value: Some(value), best: false };
        [part(low, format!("[{low:+.1},")), part(high, format!("{high:+.1}]"))]
    });
    let mut difference = vec![signed(found.difference)];
    difference.extend(ends.into_iter().flatten());
    [
        Cell::text(&found.published.model),
        cell([Part { text: found.published.value.clone(), value: found.published.number(), best: false }]),
        Cell { parts: difference, marks: vec![] },
        Cell::text(found.verdict()),
    ]
}

/// Where the published values of a metric of ours stand.
fn published_column(task: &str, metric: &str) -> Option<(&'static Layout, &'static Scores, usize)> {
    let columns = LAYOUTS.iter().flat_map(|layout| layout.columns.iter().map(move |scores| (layout, scores)));
    columns.filter(|(_, scores)| scores.ours.0 == task).find_map(|(layout, scores)| {
        let part = scores.ours.1.iter().position(|known| *known == metric)?;
        Some((layout, scores, part))
    })
}

fn average(model: &ModelRuns, table: &mut Table) -> Option<Row> {
    let average = model.suite().average?;
    let notes = SUPERGLUE.iter().filter_map(|member| pattern_note(model, member.task));
    let marks = notes.map(|note| table.mark(note)).collect();
    let mut cells = vec![Cell { marks, ..Cell::text("average") }, Cell::text("of 8 tasks")];
    cells.push(cell([number(Some(100.0 * average.value), 1), number(average.stderr.map(|e| 100.0 * e), 1)]));
    cells.extend((cells.len()..10).map(|_| Cell::default()));
    cells.push(Cell::text(""));
    Some(Row { ours: true, cells })
}

fn cell<const N: usize>(parts: [Part; N]) -> Cell {
    Cell { parts: parts.into(), marks: vec![] }
}
