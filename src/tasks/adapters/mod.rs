//! What a task file can't say: rows that become several samples, answers that are spans, marks in the text.

mod ax_g;
mod copa;
mod infilling;
mod lambada;
mod multirc;
mod record;
mod wikitext;
mod wsc;

use std::collections::VecDeque;

use serde_json::Value;

use super::error::{TaskError, nearest};
use super::sample::{Reading, Split};
use super::task::{Head, Task};
use crate::data::Row;
use crate::data::python_random::PythonRandom;

/// The adapters that a task file can name.
pub const ADAPTERS: &[&dyn Adapter] = &[
    &ax_g::AxG,
    &copa::Copa,
    &infilling::Infilling,
    &lambada::Lambada,
    &multirc::MultiRc,
    &record::Record,
    &wikitext::WikiText,
    &wsc::Wsc,
];

/// Turns rows into items where a task file can't say how.
pub trait Adapter: Sync {
    /// The name by which a task file asks for it.
    fn name(&self) -> &'static str;

    /// The fields that it adds to those of the row; patterns and `[fields]` may name them.
    fn fields(&self) -> &'static [&'static str];

    /// How often the file is read from start to end; [`Expansion::pass`] counts.
    fn passes(&self, _split: Split) -> usize {
        1
    }

    /// Are items ordered by their number of candidates, as the published code does?
    fn sorted_by_candidates(&self) -> bool {
        false
    }

    /// The items of one row, in the official order.
    fn expand(&self, row: &Row, expansion: &mut Expansion<'_>) -> Result<Vec<Item>, TaskError>;
}

/// A row on its way to becoming a sample.
#[derive(Clone, Debug)]
pub struct Item {
    /// The published code's id.
    pub guid: String,
    /// Counts items with the same id.
    pub copy: usize,
    /// Where the file's fields are looked up.
    pub row: Row,
    /// The adapter's fields.
    pub fields: Vec<(&'static str, String)>,
    /// The texts to choose from, if the adapter gives them.
    pub candidates: Vec<String>,
    /// Index of the right label, or of a right candidate.
    pub label: Option<usize>,
    /// The label as the published code spells it.
    pub official_label: Value,
    /// How the label is read off the candidates' scores.
    pub reading: Reading,
    /// What is scored together.
    pub group: Option<String>,
    /// The texts of all right answers, where there may be several.
    pub references: Vec<String>,
    /// A text with blanks, if the adapter makes one.
    pub blanked: Blanked,
}

/// A text in which an adapter has put blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blanked {
    /// What stands before, between and after the blanks.
    pub literals: Vec<String>,
    /// What belongs in the blanks: one text fewer.
    pub targets: Vec<String>,
}

/// What an expansion depends on besides the row.
pub struct Expansion<'a> {
    /// The task.
    pub task: &'a Task,
    /// The split that is read.
    pub split: Split,
    /// The pattern's id.
    pub pattern: usize,
    /// What the samples are for.
    pub head: Head,
    /// How often the file has been read before.
    pub pass: usize,
    /// Index of the row in the file.
    pub row_index: usize,
    /// Random orders, drawn or given back.
    pub shuffles: Shuffles,
}

/// Random orders that depend on all that were drawn before. Drawn once in the order of the file, they are kept
/// and given back when a row is read again out of order.
pub enum Shuffles {
    /// New orders are drawn, and kept in the order of drawing.
    Draw(Box<PythonRandom>, VecDeque<Vec<u16>>),
    /// Kept orders are given back.
    Recall(VecDeque<Vec<u16>>),
}

impl Shuffles {
    /// Draws with the seed.
    pub fn draw(seed: u32) -> Self {
        Self::Draw(Box::new(PythonRandom::new(seed)), VecDeque::new())
    }

    /// The first `count` of `items` in random order.
    pub fn take<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let order = match self {
            Self::Draw(random, kept) => {
                let mut order: Vec<u16> = (0..items.len() as u16).collect();
                random.shuffle(&mut order);
                order.truncate(count);
                kept.push_back(order.clone());
                order
            }
            Self::Recall(kept) => kept.pop_front().unwrap_or_default(),
        };
        order.into_iter().filter_map(|index| items.get(usize::from(index)).cloned()).collect()
    }

    /// The orders drawn since the last call.
    pub fn drawn(&mut self) -> VecDeque<Vec<u16>> {
        match self {
            Self::Draw(_, kept) => std::mem::take(kept),
            Self::Recall(_) => VecDeque::new(),
        }
    }
}

/// Where a row is, for errors.
pub(super) fn place(row: &Row) -> String {
    format!("{}:{}", row.file.display(), row.line)
}

/// A row's number as text, from the key that the task file names; its index without one.
fn row_id(row: &Row, expansion: &Expansion<'_>) -> Result<String, TaskError> {
    match &expansion.task.data.id {
        None => Ok(expansion.row_index.to_string()),
        // Mirrors of a data set have rows whose number was lost.
        Some(key) if row.object.get(key).is_some_and(Value::is_null) => Ok(format!("line{}", row.line)),
        Some(key) => match row.value(key)? {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Ok(row.integer(key)?.to_string()),
        },
    }
}

/// The index of a row's label among the task's; `None` where it has none.
fn row_label(row: &Row, task: &Task) -> Result<Option<usize>, TaskError> {
    let Some(value) = row.get(&task.data.label) else { return Ok(None) };
    let spelt = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // Booleans are spelt as each task's files do: `True` in one, `true` in the other.
    let same = |label: &String| *label == spelt || value.is_boolean() && label.eq_ignore_ascii_case(&spelt);
    let index = task.labels.iter().position(same);
    index.map(Some).ok_or_else(|| TaskError::UnknownLabel {
        place: place(row),
        found: value.to_string(),
        known: task.labels.clone(),
        near: nearest(&spelt, task.labels.iter().map(String::as_str)),
    })
}

/// One item for the row, with nothing but what the task file says.
pub(super) fn plain(row: &Row, expansion: &Expansion<'_>) -> Result<Item, TaskError> {
    let label = row_label(row, expansion.task)?;
    let group = match &expansion.task.data.group {
        None => None,
        Some(key) => Some(match row.value(key)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
    };
    Ok(Item {
        guid: format!("{}-{}", expansion.split.guid_prefix(), row_id(row, expansion)?),
        copy: 0,
        row: row.clone(),
        fields: Vec::new(),
        candidates: Vec::new(),
        label,
        official_label: expansion.task.official_label(label),
        reading: Reading::Best,
        group,
        references: Vec::new(),
        blanked: Blanked::default(),
    })
}

/// The adapter that a task file asks for.
pub(super) fn find(name: &str) -> Result<&'static dyn Adapter, Option<String>> {
    let adapter = ADAPTERS.iter().copied().find(|adapter| adapter.name() == name);
    adapter.ok_or_else(|| nearest(name, ADAPTERS.iter().map(|adapter| adapter.name())))
}
