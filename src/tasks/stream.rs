//! The samples of a split as a stream over its files.

use std::collections::VecDeque;

use super::adapters::{Expansion, Item, Shuffles, place, plain};
use super::error::TaskError;
use super::sample::{Sample, Split};
use super::task::{Form, Task};
use crate::data::{Jsonl, Row, RowFile, Source};

/// Seed of the random choice of wrong candidates, as in the published code.
const SEED: u32 = 42;

/// The samples of a split. Rows are read as they are needed; where the official order isn't that of the file
/// (`ReCoRD`), an index of a few bytes a sample is made first.
pub struct Samples<'a> {
    task: &'a Task,
    split: Split,
    form: Form,
    /// Files that are still to be read, the next one last.
    files: Vec<RowFile>,
    rows: Option<Jsonl<Box<dyn Source>>>,
    expansion: Expansion<'a>,
    items: VecDeque<Item>,
    /// The official order, if it isn't the file's, the next one last.
    order: Option<Vec<Place>>,
    doc_id: usize,
    failed: bool,
}

/// Where a sample is: its row, and its place among the row's samples.
#[derive(Clone)]
struct Place {
    num_candidates: usize,
    row: (u64, usize),
    row_index: usize,
    index: usize,
    shuffles: VecDeque<Vec<u16>>,
}

impl<'a> Samples<'a> {
    pub(super) fn open(
        task: &'a Task,
        mut files: Vec<RowFile>,
        split: Split,
        form: Form,
    ) -> Result<Self, TaskError> {
        files.reverse();
        let shuffles = Shuffles::draw(SEED);
        let (pattern, head) = (form.pattern, form.head);
        let expansion = Expansion { task, split, pattern, head, pass: 0, row_index: 0, shuffles };
        let (items, order) = (VecDeque::new(), None);
        let mut samples =
            Self { task, split, form, files, rows: None, expansion, items, order, doc_id: 0, failed: false };
        samples.next_file()?;
        Ok(samples)
    }

    /// The next sample, if there is one.
    fn read(&mut self) -> Result<Option<Sample>, TaskError> {
        let Some(item) = self.item()? else { return Ok(None) };
        let place = (self.split != Split::Test).then(|| place(&item.row));
        let sample = self.task.sample(item, self.doc_id, &self.form)?;
        if let Some(place) = place.filter(|_| !sample.is_answered()) {
            return Err(TaskError::Unlabelled { place });
        }
        self.doc_id += 1;
        Ok(Some(sample))
    }

    fn item(&mut self) -> Result<Option<Item>, TaskError> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            let Some(rows) = &mut self.rows else { return Ok(None) };
            if let Some(order) = &mut self.order {
                let Some(place) = order.pop() else {
                    self.next_file()?;
                    continue;
                };
                rows.go_to(place.row)?;
                let Some(row) = rows.read()? else { return Ok(None) };
                self.expansion.row_index = place.row_index;
                self.expansion.shuffles = Shuffles::Recall(place.shuffles);
                return Ok(expand(&row, &mut self.expansion)?.into_iter().nth(place.index));
            }
            match rows.read()? {
                Some(row) => {
                    self.items = expand(&row, &mut self.expansion)?.into();
                    self.expansion.row_index += 1;
                }
                None => self.next_pass()?,
            }
        }
    }

    fn next_pass(&mut self) -> Result<(), TaskError> {
        self.expansion.pass += 1;
        self.expansion.row_index = 0;
        let passes = self.task.adapter().map_or(1, |adapter| adapter.passes(self.split));
        match &mut self.rows {
            Some(rows) if self.expansion.pass < passes => Ok(rows.go_to((0, 0))?),
            _ => self.next_file(),
        }
    }

    fn next_file(&mut self) -> Result<(), TaskError> {
        (self.expansion.pass, self.expansion.row_index) = (0, 0);
        self.rows = self.files.pop().map(|file| file.open()).transpose()?;
        if self.task.adapter().is_some_and(super::adapters::Adapter::sorted_by_candidates) {
            self.order = self.rows.is_some().then(|| self.sort()).transpose()?;
        }
        Ok(())
    }

    /// The places of a file's samples by number of candidates, the next one last; those with as many stay in the
    /// order of the file.
    fn sort(&mut self) -> Result<Vec<Place>, TaskError> {
        let rows = self.rows.as_mut().expect("called with an open file");
        self.expansion.shuffles = Shuffles::draw(SEED);
        let mut places = Vec::new();
        loop {
            let place = rows.place();
            let Some(row) = rows.read()? else { break };
            let items = expand(&row, &mut self.expansion)?;
            let shuffles = self.expansion.shuffles.drawn();
            for (index, item) in items.iter().enumerate() {
                places.push(Place {
                    num_candidates: item.candidates.len(),
                    row: place,
                    row_index: self.expansion.row_index,
                    index,
                    shuffles: shuffles.clone(),
                });
            }
            self.expansion.row_index += 1;
        }
        places.sort_by_key(|place| place.num_candidates);
        places.reverse();
        Ok(places)
    }
}

fn expand(row: &Row, expansion: &mut Expansion<'_>) -> Result<Vec<Item>, TaskError> {
    match expansion.task.adapter() {
        Some(adapter) => adapter.expand(row, expansion),
        None => Ok(vec![plain(row, expansion)?]),
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<Sample, TaskError>;

    /// Nothing follows an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let sample = self.read().transpose();
        self.failed = matches!(sample, Some(Err(_)));
        sample
    }

    /// Skips without making samples of what is skipped; in an official order of its own, without reading it.
    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        let mut left = n;
        while left > 0 && !self.failed {
            if let Some(order) = self.order.as_mut().filter(|order| !order.is_empty()) {
                let skipped = left.min(order.len());
                order.truncate(order.len() - skipped);
                (left, self.doc_id) = (left - skipped, self.doc_id + skipped);
                continue;
            }
            match self.item() {
                Ok(Some(_)) => (left, self.doc_id) = (left - 1, self.doc_id + 1),
                Ok(None) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        self.next()
    }
}
