//! Which samples of two runs belong together, and when none do.

use serde::Serialize;

use super::CompareError;
use crate::results::ours::{DataFile, GlmEval, Mode, Rule, TaskRecord};
use crate::results::{Logged, Run, RunError, SampleLine};
use crate::stats;

/// A task of a run by its name in the record.
pub fn find_task<'a>(run: &'a Run, name: &str) -> Option<&'a TaskRecord> {
    run.record.glm_eval.tasks.iter().find(|task| task.name == name)
}

fn scored_file(task: &TaskRecord) -> Option<&DataFile> {
    task.data.iter().rfind(|file| file.split == task.split)
}

/// Why numbers of two runs of a task say nothing about each other: another version, split or data. Empty where
/// nothing stands in the way.
pub fn obstacles(first: &TaskRecord, second: &TaskRecord) -> Vec<String> {
    let name = &first.name;
    let mut reasons = Vec::new();
    if first.task != second.task {
        reasons.push(format!("{name}: it is the task {} in one, {} in the other", first.task, second.task));
    }
    if first.version != second.version {
        let (a, b) = (first.version, second.version);
        reasons.push(format!(
            "{name}: version {a} of the task in one, {b} in the other; run both with one program"
        ));
    }
    if first.split != second.split {
        reasons.push(format!("{name}: scored on {} in one, on {} in the other", first.split, second.split));
    } else if let (Some(a), Some(b)) = (scored_file(first), scored_file(second))
        && a.sha256 != b.sha256
    {
        reasons.push(format!(
            "{name}: scored on different data: {} with sha256 {:.12}… in one, {} with {:.12}… in the other",
            a.file, a.sha256, b.file, b.sha256
        ));
    }
    reasons
}

/// Why samples can't be paired one by one: their number differs.
pub(super) fn other_count(first: &TaskRecord, second: &TaskRecord) -> Option<String> {
    let (a, b) = (first.samples.effective, second.samples.effective);
    (a != b).then(|| format!("{}: {a} samples in one, {b} in the other (--limit?)", first.name))
}

/// What to know when the tasks of two runs that `is_meant` says are compared, and differ in more than the model.
pub fn notes(first: &Run, second: &Run, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let mut notes = Vec::new();
    for (run, other) in [(first, second), (second, first)] {
        let alone = run.record.glm_eval.tasks.iter().filter(|task| find_task(other, &task.name).is_none());
        let alone: Vec<&str> = alone.map(|task| task.name.as_str()).filter(|name| is_meant(name)).collect();
        if !alone.is_empty() {
            notes.push(format!("{}: only there: {}", run.path.display(), alone.join(", ")));
        }
    }
    let (a, b) = (&first.record.glm_eval, &second.record.glm_eval);
    if how(a) != how(b) {
        notes.push(format!("the runs differ in how they met the tasks: {} and {}", how(a), how(b)));
    }
    let shared = a.tasks.iter().filter(|task| is_meant(&task.name));
    for (a, b) in shared.filter_map(|task| Some((task, find_task(second, &task.name)?))) {
        let mut differ = Vec::new();
        if a.pattern != b.pattern {
            differ.push("pattern");
        }
        if a.task_file_sha256 != b.task_file_sha256 {
            differ.push("task file");
        }
        let trained = |task: &TaskRecord| -> Vec<String> {
            task.data.iter().filter(|file| file.split != task.split).map(|file| file.sha256.clone()).collect()
        };
        if trained(a) != trained(b) {
            differ.push("training data");
        }
        if a.recipe.iter().map(|(k, s)| (k, &s.value)).ne(b.recipe.iter().map(|(k, s)| (k, &s.value))) {
            differ.push("recipe");
        }
        if !differ.is_empty() {
            notes.push(format!("{}: the runs differ in {}", a.name, differ.join(", ")));
        }
    }
    notes
}

/// How a run met its tasks, and which epoch counts.
fn how(run: &GlmEval) -> &'static str {
    match (run.mode, run.selection.rule) {
        (Mode::Finetune, Rule::Best) => "fine-tuned (best epoch)",
        (Mode::Finetune, Rule::Last) => "fine-tuned (last epoch)",
        (Mode::ZeroShot, _) => "zero-shot",
        (Mode::FewShot, _) => "few-shot",
    }
}

/// A sample that came out differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    /// Position in the split.
    pub doc_id: usize,
    /// Identifier within the task and split.
    pub guid: String,
    /// How right it was in the first run, in `0..=1`: the mean over its seeds.
    pub first: f64,
    /// In the second run.
    pub second: f64,
}

/// A task of a run, with the samples of each seed.
fn logged<'a>(run: &'a Run, name: &str) -> Result<(&'a TaskRecord, Vec<Logged>), CompareError> {
    let task = find_task(run, name).ok_or_else(|| CompareError::NotComparable {
        reasons: vec![format!("{}: has no {name}", run.path.display())],
    })?;
    let seeds = task.runs.iter().map(|seed| Ok(Logged::new(run.samples(task, seed)?)));
    Ok((task, seeds.collect::<Result<_, RunError>>()?))
}

/// The samples of a task in two runs, each with one set of answers a seed.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The task's name in the records.
    pub task: String,
    /// One a seed of the first run.
    pub first: Vec<Logged>,
    /// One a seed of the second run.
    pub second: Vec<Logged>,
    /// Samples that are drawn together (see [`Logged::units`]).
    pub units: Vec<Vec<usize>>,
    metrics: Vec<String>,
}

impl Pair {
    /// Reads the samples of a task that both runs have, and holds them against each other.
    ///
    /// # Errors
    /// If samples are missing, or are other samples.
    pub fn read(first: &Run, second: &Run, name: &str) -> Result<Self, CompareError> {
        let ((first_task, first), (second_task, second)) = (logged(first, name)?, logged(second, name)?);
        let units = first.first().map(Logged::units).unwrap_or_default();
        let metrics = first_task.metrics.iter().filter(|metric| second_task.metrics.contains(metric));
        let pair = Self { task: name.into(), metrics: metrics.cloned().collect(), first, second, units };
        pair.check()?;
        Ok(pair)
    }

    /// Metrics that both records have.
    pub fn metrics(&self) -> &[String] {
        &self.metrics
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.first.first().map_or(0, |logged| logged.lines().len())
    }

    /// Is every sample a unit of its own?
    pub fn is_unclustered(&self) -> bool {
        self.units.iter().all(|unit| unit.len() == 1)
    }

    /// All seeds of both runs must have answered the same samples.
    fn check(&self) -> Result<(), CompareError> {
        let Some(reference) = self.first.first() else { return Ok(()) };
        let refused = |reason: String| Err(CompareError::NotComparable { reasons: vec![reason] });
        for logged in self.first.iter().chain(&self.second) {
            let (expected, found) = (reference.lines().len(), logged.lines().len());
            if expected != found {
                return refused(format!("{}: {expected} samples in one, {found} in another", self.task));
            }
            let is_other = |(a, b): &(&SampleLine, &SampleLine)| {
                (a.doc_id, &a.doc_hash, &a.target_hash) != (b.doc_id, &b.doc_hash, &b.target_hash)
            };
            if let Some((a, b)) = reference.lines().iter().zip(logged.lines()).find(is_other) {
                return refused(format!(
                    "{}: sample {} ({}) in one is another sample than {} ({}) in the other",
                    self.task, a.doc_id, a.guid, b.doc_id, b.guid
                ));
            }
        }
        Ok(())
    }

    /// Samples that got worse, and samples that got better, by the mean over the seeds; the greatest change first.
    pub fn flips(&self) -> (Vec<Flip>, Vec<Flip>) {
        let over_seeds = |run: &[Logged]| -> Vec<Option<f64>> {
            let seeds: Vec<Vec<Option<f64>>> = run.iter().map(Logged::rightness).collect();
            let sample = |i| stats::mean(&seeds.iter().filter_map(|seed| seed[i]).collect::<Vec<_>>());
            (0..self.samples()).map(sample).collect()
        };
        let lines = self.first.first().map_or(&[][..], Logged::lines);
        let both = over_seeds(&self.first).into_iter().zip(over_seeds(&self.second));
        let flip = |(line, (first, second)): (&SampleLine, (Option<f64>, Option<f64>))| {
            Some(Flip { doc_id: line.doc_id, guid: line.guid.clone(), first: first?, second: second? })
        };
        let mut flips: Vec<Flip> = lines.iter().zip(both).filter_map(flip).collect();
        flips.retain(|flip| (flip.first - flip.second).abs() > 1e-12);
        let size = |flip: &Flip| (flip.second - flip.first).abs();
        flips.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.doc_id.cmp(&b.doc_id)));
        flips.into_iter().partition(|flip| flip.second < flip.first)
    }
}
