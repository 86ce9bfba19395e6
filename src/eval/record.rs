//! From what the seeds gave to the files of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::extent::Extent;
use super::finetune::SeedResult;
use super::scoring::{Scored, Totals};
use super::{EvalError, Evaluation, Job, Limit, Run};
use crate::data::mini;
use crate::machine;
use crate::metrics::suite::{self, SuiteScore};
use crate::model::{Head as ModelHead, weights};
use crate::nn;
use crate::results::ours::{
    Bootstrap, Cost, DataFile, GlmEval, Machine, Mode, Model, Program, Rule, SCHEMA_VERSION, SampleCount,
    SeedRun, Selection, TaskRecord,
};
use crate::results::record::{RunConfig, record_path, samples_path, seed_name};
use crate::results::time::UtcTime;
use crate::results::{Record, samples};
use crate::tasks::{Head, Provenance, Split};

/// What the record says of how the program was called.
#[derive(Clone, Debug)]
pub struct Command {
    /// The words of the command line.
    pub arguments: Vec<String>,
    /// As in `cpu`.
    pub device: String,
    /// Commit the program was built from.
    pub git_hash: Option<String>,
    /// Was a whole suite asked for, so that there is an average?
    pub is_suite: bool,
}

/// An evaluation that is done and in the journal, to be written in the end.
#[derive(Clone, Debug)]
pub struct Finished {
    seed: u64,
    evaluation: Evaluation,
    scored: Scored,
    extent: Extent,
}

/// The average over the suite's tasks. With several patterns the first one counts.
fn suite_score(tasks: &[TaskRecord]) -> SuiteScore {
    let suite = tasks.iter().find_map(|record| record.suite.as_deref());
    suite::average(suite::members(suite), |task, metric| {
        let record = tasks.iter().find(|record| record.task == task)?;
        record.scores.get(metric)?.selected
    })
}

fn total_cost(tasks: &[TaskRecord]) -> Cost {
    let count = |of: fn(&Cost) -> Option<u64>| tasks.iter().map(|task| of(&task.cost)).sum::<Option<u64>>();
    let secs =
        |of: fn(&Cost) -> Option<f64>| tasks.iter().filter_map(|task| of(&task.cost)).reduce(|a, b| a + b);
    Cost {
        tokens_computed: count(|cost| cost.tokens_computed),
        tokens_trained: count(|cost| cost.tokens_trained),
        tokens_if_padded_copies: count(|cost| cost.tokens_if_padded_copies),
        tokens_truncated: count(|cost| cost.tokens_truncated),
        train_tokens_truncated: count(|cost| cost.train_tokens_truncated),
        flops: count(|cost| cost.flops),
        train_secs: secs(|cost| cost.train_secs),
        eval_secs: secs(|cost| cost.eval_secs),
        share_of_peak: None,
        peak_memory_bytes: machine::peak_memory_bytes(),
    }
}

/// The final files of a run.
#[derive(Clone, Debug)]
pub struct RunFiles {
    /// The record.
    pub record: PathBuf,
    /// The record's contents.
    pub contents: Record,
}

impl Run<'_> {
    /// One record an evaluation of a job.
    pub(super) fn records(&mut self, job: &Job, seeds: &[SeedResult]) -> Result<Vec<TaskRecord>, EvalError> {
        let mut records = Vec::new();
        let first_metric = job.task.metrics.first().map_or("", |metric| metric.name.as_str());
        if job.reports_selection {
            let runs = seeds.iter().map(|seed| seed.seed_run(self.settings.rule, first_metric)).collect();
            let totals =
                sum(seeds.iter().flat_map(|seed| seed.epochs.iter().map(|(_, scored)| scored.totals)));
            let extent = seeds.first().map(|seed| seed.extent);
            records.push(self.task_record(job, &job.selection, runs, totals, extent)?);
        }
        for (index, evaluation) in job.afterwards.iter().enumerate() {
            let scored = |seed: &SeedResult| seed.afterwards[index].0.clone();
            let runs = seeds.iter().map(|seed| {
                let scored = scored(seed);
                let mut run = SeedRun::untrained(seed.seed, scored.scores.clone());
                scored.keep_texts(&mut run);
                run.normalized = scored.normalized;
                run.failed_samples = scored.totals.failed;
                run.cost = scored.totals.cost();
                run
            });
            let runs = runs.collect();
            let totals = sum(seeds.iter().map(|seed| scored(seed).totals));
            let extent = seeds.first().map(|seed| seed.afterwards[index].1);
            records.push(self.task_record(job, evaluation, runs, totals, extent)?);
        }
        self.tell(&records);
        self.keep_for_later(job, seeds);
        Ok(records)
    }

    /// Notes which samples are to be written when the run is done.
    fn keep_for_later(&mut self, job: &Job, seeds: &[SeedResult]) {
        let first_metric = job.task.metrics.first().map_or("", |metric| metric.name.as_str());
        for seed in seeds {
            let mut keep = |evaluation: &Evaluation, scored: &Scored, extent: Extent| {
                self.finished.push(Finished {
                    seed: seed.seed,
                    evaluation: evaluation.clone(),
                    scored: scored.clone(),
                    extent,
                });
            };
            if job.reports_selection {
                let (_, scored) = &seed.epochs[seed.chosen(self.settings.rule, first_metric)];
                keep(&job.selection, scored, seed.extent);
            }
            for (evaluation, (scored, extent)) in job.afterwards.iter().zip(&seed.afterwards) {
                keep(evaluation, scored, *extent);
            }
        }
    }

    /// Writes the samples, the submissions and last the record; then the journal may go.
    ///
    /// # Errors
    /// When a file can't be written; the journal still has everything then.
    pub fn write(&mut self, mut tasks: Vec<TaskRecord>, command: Command) -> Result<RunFiles, EvalError> {
        for done in std::mem::take(&mut self.finished) {
            let name = seed_name(&done.evaluation.name, done.seed, self.settings.seeds.len());
            let path = samples_path(&self.folder, &name, self.start);
            let mut broken = None;
            let journal = &mut *self.journal;
            let lines = done.scored.windows.iter().flat_map(|key| {
                super::scoring::lines(journal, key).unwrap_or_else(|error| {
                    broken = Some(error);
                    Vec::new()
                })
            });
            let written = samples::write(&path, lines)?;
            if let Some(error) = broken {
                return Err(error);
            }
            let task = tasks.iter_mut().find(|task| task.name == done.evaluation.name);
            if let Some(run) = task.and_then(|task| task.runs.iter_mut().find(|run| run.seed == done.seed)) {
                run.samples = Some(written);
            }
            if done.evaluation.split == Split::Test {
                let folder = self.folder.join(format!("submission_{}", self.start.stamp()));
                self.write_submission(&folder, &done.evaluation, &done.scored, done.extent)?;
            }
        }
        let contents = self.record(tasks, command);
        let record = record_path(&self.folder, self.start);
        contents.write(&record)?;
        Ok(RunFiles { record, contents })
    }

    fn record(&self, tasks: Vec<TaskRecord>, command: Command) -> Record {
        let (settings, model) = (self.settings, self.model);
        let ours = GlmEval {
            schema_version: SCHEMA_VERSION,
            record_sha256: None, // it is not finished yet
            program: Program {
                version: env!("CARGO_PKG_VERSION").into(),
                sha256: Some(self.program_sha256.clone()),
                git_hash: command.git_hash,
                arguments: command.arguments,
            },
            model: Model {
                name: model.name.clone(),
                family: Some(model.architecture.family().name().into()),
                num_parameters: Some(weights::num_parameters(&*model.architecture) as u64),
                weights_sha256: model.weights_sha256.clone(),
                config_sha256: Some(crate::results::hash::sha256_hex(format!("{:?}", model.architecture))),
                tokenizer_sha256: Some(model.tokenizer.sha256().into()),
                random_weights: model.random_weights().map(String::from),
            },
            machine: Machine {
                device: command.device.clone(),
                device_name: None,
                dtype: settings.dtype.as_str().into(),
                threads: Some(rayon::current_num_threads()),
                instructions: nn::instructions().ok().map(String::from),
                peak_flops_per_sec: self.peak_flops_per_sec,
            },
            mode: settings.mode,
            selection: Selection {
                rule: settings.rule,
                split: (settings.mode == Mode::Finetune && settings.rule == Rule::Best)
                    .then(|| Split::Val.name().into()),
            },
            bootstrap: Bootstrap::default(),
            suite: command.is_suite.then(|| suite_score(&tasks)),
            cost: total_cost(&tasks).with_share(self.peak_flops_per_sec),
            tasks,
        };
        let config = RunConfig {
            model: model.architecture.family().name().into(),
            model_args: format!("pretrained={},dtype={}", model.name, settings.dtype.as_str()),
            model_num_parameters: Some(weights::num_parameters(&*model.architecture) as u64),
            model_dtype: Some(settings.dtype.as_str().into()),
            batch_size: settings.batch_size,
            device: command.device,
            limit: settings.limit.map(|limit| match limit {
                Limit::Count(count) => count as f64,
                Limit::Share(share) => share,
            }),
            bootstrap_iters: Bootstrap::default().draws,
            random_seed: settings.seeds.first().copied(),
            num_fewshot: Some(settings.num_fewshot),
        };
        Record::new(ours, config, self.start, UtcTime::now())
    }

    fn task_record(
        &self,
        job: &Job,
        evaluation: &Evaluation,
        runs: Vec<SeedRun>,
        totals: Totals,
        extent: Option<Extent>,
    ) -> Result<TaskRecord, EvalError> {
        let task = &evaluation.task;
        let (data, mut notes, is_official) = self.data_files(job, evaluation)?;
        let asked = self.settings.num_fewshot;
        let per_sample =
            totals.shots as f64 / (extent.map_or(0, |extent| extent.samples) * runs.len()).max(1) as f64;
        if per_sample < asked as f64 {
            notes.push(format!(
                "{asked} examples were asked for, and {per_sample:.1} a sample fit, on average"
            ));
        }
        // It was counted on the complete validation set, and says nothing about other rows.
        let is_whole = is_official && evaluation.split == Split::Val && self.settings.limit.is_none();
        let chance_level = task.chance.majority.or(task.chance.random).filter(|_| is_whole);
        let trained =
            |of: fn(&Cost) -> Option<f64>| runs.iter().map(|run| of(&run.cost)).sum::<Option<f64>>();
        let mut record = TaskRecord {
            name: evaluation.name.clone(),
            task: task.name.clone(),
            version: task.version,
            task_file_sha256: task.sha256.clone(),
            suite: task.suite.clone(),
            pattern: (evaluation.form.head == Head::Cloze).then(|| evaluation.form.pattern.to_string()),
            split: evaluation.split.name().into(),
            data,
            samples: SampleCount {
                original: extent.map_or(0, |extent| extent.original),
                effective: extent.map_or(0, |extent| extent.samples),
            },
            metrics: task.metrics.iter().map(|metric| metric.name.clone()).collect(),
            chance_level,
            recipe: job.recipe.settings.clone(),
            notes,
            scores: BTreeMap::new(),
            baselines: extent.map_or_else(|| Ok(BTreeMap::new()), |extent| evaluation.baselines(extent))?,
            cost: Cost {
                tokens_trained: runs.iter().map(|run| run.cost.tokens_trained).sum(),
                train_tokens_truncated: runs.iter().map(|run| run.cost.train_tokens_truncated).sum(),
                flops: runs.iter().map(|run| run.cost.flops).sum(),
                train_secs: trained(|cost| cost.train_secs),
                peak_memory_bytes: machine::peak_memory_bytes(),
                ..totals.cost()
            }
            .with_share(self.peak_flops_per_sec),
            runs,
        };
        record.summarize(self.settings.rule);
        Ok(record)
    }

    /// The files that were read, what to know about them, and whether the scored one is the official one (for a
    /// task file that knows no digest, any file is).
    fn data_files(
        &self,
        job: &Job,
        evaluation: &Evaluation,
    ) -> Result<(Vec<DataFile>, Vec<String>, bool), EvalError> {
        let (mut files, mut notes, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |split: Split, of: &Evaluation| -> Result<bool, EvalError> {
            let (provenance, sha256) = of.data.provenance(&of.task, split)?;
            let name = if of.task.name == evaluation.task.name {
                split.name().to_string()
            } else {
                format!("{} {}", of.task.name, split.name())
            };
            let has_digest = of.task.file_spec(split).is_some_and(|spec| spec.sha256.is_some());
            let is_official = provenance == Provenance::Official || !has_digest;
            match provenance {
                Provenance::Partial(note) => notes.push(format!("{name}: {note}")),
                Provenance::Unknown if has_digest => others.push(name),
                _ => {}
            }
            let rows = of.data.rows(split)?;
            let name = rows.path().file_name();
            let file = name.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let rows = rows.num_rows();
            files.push(DataFile { split: split.name().into(), file, sha256, rows });
            Ok(is_official)
        };
        if self.settings.mode != Mode::ZeroShot {
            add(Split::Train, &job.selection)?;
        }
        let is_official = add(evaluation.split, evaluation)?;
        match others.as_slice() {
            [] => {}
            [one] => notes.push(format!("the {one} file is not the official one")),
            several => notes.push(format!("the {} files are not the official ones", several.join(" and "))),
        }
        if evaluation.task.name == "wsc" && self.settings.mode == Mode::Finetune {
            let how = if job.data.extra_train.is_empty() {
                "learned generatively, without candidates: the official candidate files are not public"
            } else {
                "learned with other noun phrases as candidates (mix loss), from other files than the official ones, \
                 which are not public"
            };
            notes.push(how.into());
        }
        if evaluation.task.suite.as_deref() == Some(mini::SUITE) {
            notes.extend(evaluation.task.source.notes.iter().cloned());
        }
        let head = job.head();
        if let ModelHead::Classes { spans, .. } = head {
            let drawn = self.model.drawn_parts(head, true).unwrap_or_default();
            let reads = if spans > 0 { " and the marked words" } else { "" };
            let start = match drawn.as_slice() {
                [] => String::new(),
                drawn => {
                    let names: Vec<&str> = drawn.iter().map(|part| part.name).collect();
                    format!("; drawn at random before training: {}", names.join(" and "))
                }
            };
            notes.push(format!("answered by a classification head over the pooled token{reads}{start}"));
        }
        if evaluation.form.head == Head::Cloze && evaluation.form.multi_token && !self.settings.multi_token {
            notes.push("a label's word is several tokens here, so words are scored as texts".into());
        }
        Ok((files, notes, is_official))
    }

    fn tell(&self, records: &[TaskRecord]) {
        for record in records {
            self.progress.note(&efficiency(&record.name, &record.cost));
        }
    }
}

/// What a task took, in one line; what is not known is left out.
fn efficiency(name: &str, cost: &Cost) -> String {
    let mut parts = Vec::new();
    if let Some(secs) = cost.secs() {
        parts.push(format!("{secs:.1} s"));
    }
    let computed = cost.tokens_computed.unwrap_or(0);
    parts.push(match cost.tokens_trained {
        Some(trained) => format!("{} tokens scored and {} learned from", grouped(computed), grouped(trained)),
        None => format!("{} tokens scored", grouped(computed)),
    });
    if let Some(copies) = cost.tokens_if_padded_copies {
        let times = copies as f64 / computed.max(1) as f64;
        let saved = grouped(copies.saturating_sub(computed));
        parts.push(format!("{saved} saved against a padded copy a candidate ({times:.1} times as many)"));
    }
    if let (Some(flops), Some(secs), Some(share)) = (cost.flops, cost.secs(), cost.share_of_peak) {
        let (speed, percent) = (flops as f64 / secs / 1e9, share * 100.0);
        parts.push(format!("{speed:.0} GFLOP/s, {percent:.0} % of the machine's peak"));
    }
    if let Some(bytes) = cost.peak_memory_bytes {
        parts.push(format!("at most {:.0} MB in use", bytes as f64 / 1e6));
    }
    format!("{name}: {}", parts.join("; "))
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join(",")
}

fn sum(totals: impl Iterator<Item = Totals>) -> Totals {
    totals.fold(Totals::default(), |mut sum, one| {
        sum.add(one);
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_a_task_took_and_leaves_out_what_is_not_known() {
        let cost = Cost { tokens_computed: Some(1200), ..Cost::default() };
        assert_eq!(efficiency("rte", &cost), "rte: 1,200 tokens scored");
        let cost = Cost {
            tokens_trained: Some(34_000),
            tokens_if_padded_copies: Some(3000),
            flops: Some(6_000_000_000),
            train_secs: Some(1.5),
            eval_secs: Some(0.5),
            peak_memory_bytes: Some(123_456_789),
            ..cost
        };
        // 6 GFLOP in 2 s are 3 a second, of a peak of 12.
        assert_eq!(
            efficiency("rte", &cost.clone().with_share(Some(12e9))),
            "rte: 2.0 s; 1,200 tokens scored and 34,000 learned from; 1,800 saved against a padded copy a candidate \
             (2.5 times as many); 3 GFLOP/s, 25 % of the machine's peak; at most 123 MB in use"
        );
        // Faster than the peak: that was measured on a busy machine.
        assert_eq!(cost.with_share(Some(2e9)).share_of_peak, None);
    }
}
