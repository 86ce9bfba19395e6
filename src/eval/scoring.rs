//! Asking and scoring the samples of a split, a window at a time.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::extent::Extent;
use super::few_shot::FewShot;
use super::{EvalError, Evaluation, Run};
use crate::metrics::{self, Outcome, Prediction};
use crate::model::{Cost, LanguageModel, ModelError};
use crate::request::{Answer, Ask, CandidateScore, Filling, Part, Request};
use crate::results::hash::content_key;
use crate::results::ours::{self, Estimates, Mode, TextCounts};
use crate::results::samples::SampleTexts;
use crate::results::{Journal, SampleLine};
use crate::stats::intervals::Interval;
use crate::tasks::{Reading, Sample, Task};

/// Samples of a window: the unit of the journal, whatever the batch size. Memory is bounded by it.
const WINDOW: usize = 128;
/// Tokens of a batch when the batch size is not given.
const BATCH_TOKENS: usize = 4096;

/// A finished window in the journal.
#[derive(Serialize, Deserialize)]
struct Window {
    lines: Vec<SampleLine>,
    outcomes: Vec<Outcome>,
    /// What would be predicted by other ways to rank candidates, one a sample, for families that have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    normalized: BTreeMap<String, Vec<Prediction>>,
    totals: Totals,
}

/// What scoring has taken.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Totals {
    pub computed: u64,
    pub as_padded_copies: u64,
    pub truncated: u64,
    pub flops: u64,
    pub failed: usize,
    /// Examples in front of all samples together.
    #[serde(default)]
    pub shots: usize,
    #[serde(default)]
    pub texts: TextCounts,
    pub secs: f64,
}

impl Totals {
    pub fn add(&mut self, other: Self) {
        self.computed += other.computed;
        self.as_padded_copies += other.as_padded_copies;
        self.truncated += other.truncated;
        self.flops += other.flops;
        self.failed += other.failed;
        self.shots += other.shots;
        self.texts.add(other.texts);
        self.secs += other.secs;
    }

    /// Takes off what a request was counted for and did not take, because its texts ended early. Operations are taken
    /// off in proportion: each of its tokens counts alike.
    fn spare(&mut self, cost: &Cost, spared_tokens: usize) {
        let spared = spared_tokens.min(cost.computed);
        self.computed -= spared as u64;
        self.as_padded_copies -= spared as u64;
        self.flops -= (u128::from(cost.flops) * spared as u128 / cost.computed.max(1) as u128) as u64;
    }

    /// For the record.
    pub fn cost(&self) -> ours::Cost {
        ours::Cost {
            tokens_computed: Some(self.computed),
            tokens_if_padded_copies: Some(self.as_padded_copies),
            tokens_truncated: Some(self.truncated),
            flops: Some(self.flops),
            eval_secs: Some(self.secs),
            ..ours::Cost::default()
        }
    }
}

/// All samples of an evaluation, scored; the samples themselves are in the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Scored {
    /// Keys of the windows, in order.
    pub windows: Vec<String>,
    pub totals: Totals,
    pub scores: Estimates,
    /// The same by other ways to rank candidates, by their names.
    pub normalized: BTreeMap<String, Estimates>,
    /// Bootstrap intervals of the scores, where texts are written.
    pub intervals: BTreeMap<String, Interval>,
}

impl Scored {
    /// Into a seed's record: what there is of texts that were written.
    pub fn keep_texts(&self, run: &mut ours::SeedRun) {
        run.intervals.clone_from(&self.intervals);
        run.texts = Some(self.totals.texts).filter(|texts| texts.blanks > 0);
    }
}

impl Run<'_> {
    /// Scores an evaluation with a model, window by window; windows that are in the journal are taken from it.
    pub(super) fn score(
        &mut self,
        model: Option<&dyn LanguageModel>,
        evaluation: &Evaluation,
        extent: Extent,
        few_shot: &FewShot,
        run_key: &str,
        label: &str,
    ) -> Result<Scored, EvalError> {
        let samples = evaluation.task.samples(&evaluation.data, evaluation.split, &evaluation.form)?;
        let mut samples = extent.take(samples).peekable();
        let mut scored = Scored::default();
        self.progress.begin(label, extent.samples as u64);
        let mut outcomes = Vec::new();
        let mut normalized: BTreeMap<String, Vec<Prediction>> = BTreeMap::new();
        while samples.peek().is_some() {
            let window = samples.by_ref().take(WINDOW).collect::<Result<Vec<_>, _>>()?;
            let key = content_key([
                run_key,
                &evaluation.name,
                evaluation.split.name(),
                &scored.windows.len().to_string(),
            ]);
            let done: Window = if let Some(done) = self.journal.get(&key)? {
                done
            } else {
                let missing =
                    || EvalError::Impossible(format!("{}: the journal lacks a window", evaluation.name));
                let done = self.window(model.ok_or_else(missing)?, evaluation, few_shot, &window)?;
                self.journal.append(&key, "samples", &done)?;
                done
            };
            scored.windows.push(key);
            scored.totals.add(done.totals);
            for (way, predictions) in done.normalized {
                // A window without any answer has none by any way either.
                let all = normalized.entry(way).or_default();
                all.resize(outcomes.len(), Prediction::None);
                all.extend(predictions);
            }
            outcomes.extend(done.outcomes);
            let rate = scored.totals.computed as f64 / scored.totals.secs.max(1e-9);
            self.progress.advance(window.len() as u64, &format!("{rate:.0} tokens/s"));
        }
        self.progress.end();
        if !outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.prediction == Prediction::None) {
            let (task, samples) = (evaluation.name.clone(), outcomes.len());
            return Err(EvalError::NothingScored { task, samples });
        }
        (scored.scores, scored.intervals) = measured(evaluation, &outcomes)?;
        for (way, mut predictions) in normalized {
            predictions.resize(outcomes.len(), Prediction::None);
            let pairs = outcomes.iter_mut().zip(predictions);
            pairs.for_each(|(outcome, prediction)| outcome.prediction = prediction);
            scored.normalized.insert(way, measured(evaluation, &outcomes)?.0);
        }
        Ok(scored)
    }

    /// Scores one window. Samples are asked in the order of their length, so that batches need no padding and
    /// hold much the same work; an answer does not depend on its batch.
    fn window(
        &self,
        model: &dyn LanguageModel,
        evaluation: &Evaluation,
        few_shot: &FewShot,
        samples: &[Sample],
    ) -> Result<Window, EvalError> {
        let start = Instant::now();
        let mut totals = Totals::default();
        let mut failures = Vec::new();
        let mut asked: Vec<(usize, Request, Cost)> = Vec::with_capacity(samples.len());
        for (index, sample) in samples.iter().enumerate() {
            let (request, shots) = few_shot.prepend(model, self.asked(sample), &sample.guid);
            totals.shots += shots;
            match model.cost(&request) {
                Ok(cost) => {
                    totals.computed += cost.computed as u64;
                    totals.as_padded_copies += cost.as_padded_copies as u64;
                    totals.truncated += cost.truncated as u64;
                    totals.flops += cost.flops;
                    totals.texts.cut_sources += usize::from(sample.is_written() && cost.truncated > 0);
                    asked.push((index, request, cost));
                }
                Err(error) => failures.push(error),
            }
        }
        asked.sort_by_key(|(index, _, cost)| (cost.computed, *index));
        let mut answers: Vec<Option<Answer>> = vec![None; samples.len()];
        for batch in batches(&asked, self.settings.batch_size) {
            for ((index, _, cost), answer) in batch.iter().zip(self.ask(model, batch, &mut failures)?) {
                if let Some(answer) = &answer {
                    totals.spare(cost, answer.spared_tokens);
                    totals.texts.blanks += answer.fillings.len();
                    totals.texts.unended_blanks += answer.fillings.iter().filter(|f| !f.is_ended).count();
                }
                answers[*index] = answer;
            }
        }
        // One sample may be at fault for its failure; where none of several has an answer, the model is.
        if asked.len() > 1
            && answers.iter().all(Option::is_none)
            && let Some(source) = failures.pop()
        {
            return Err(EvalError::model(&evaluation.name, source));
        }
        if let Some(first) = failures.first() {
            let count = failures.len();
            self.progress.note(&format!(
                "{}: {count} of {} samples not scored, counted as wrong; the first: {}",
                evaluation.name,
                samples.len(),
                with_cause(first)
            ));
        }
        let metrics: Vec<String> = evaluation.task.metrics.iter().map(|spec| spec.name.clone()).collect();
        let reads_texts = evaluation.reads_texts();
        let mut requests: Vec<&Request> = samples.iter().map(|sample| &sample.request).collect();
        for (index, request, _) in &asked {
            requests[*index] = request;
        }
        let (mut lines, mut outcomes) = (Vec::new(), Vec::new());
        let mut normalized: BTreeMap<String, Vec<Prediction>> = BTreeMap::new();
        // A sample that failed is wrong by every way to rank.
        let ways = answers.iter().flatten().map(Answer::normalized).find(|ways| !ways.is_empty());
        let ways: Vec<&str> = ways.iter().flatten().map(|(way, _)| *way).collect();
        for ((sample, request), answer) in samples.iter().zip(requests).zip(&answers) {
            let outcome = outcome(&evaluation.task, sample, answer.as_ref(), reads_texts);
            totals.failed += usize::from(outcome.prediction == Prediction::None);
            totals.texts.empty += usize::from(outcome.prediction == Prediction::Text(String::new()));
            let candidates = answer.as_ref().map_or_else(Vec::new, responses);
            let texts = texts(sample, request);
            let line = SampleLine::new(
                sample.doc_id,
                &outcome,
                &candidates,
                &metrics,
                &texts,
                self.settings.log_samples,
            );
            let likelihoods = answer.as_ref().map_or(&[][..], |answer| &answer.likelihoods);
            lines.push(line.with_likelihoods(likelihoods));
            let by_way = answer.as_ref().map(Answer::normalized).unwrap_or_default();
            for (place, way) in ways.iter().enumerate() {
                let answer = by_way.get(place).map(|(_, answer)| answer);
                let predictions = normalized.entry((*way).to_owned()).or_default();
                predictions.push(self::outcome(&evaluation.task, sample, answer, reads_texts).prediction);
            }
            outcomes.push(outcome);
        }
        totals.secs = start.elapsed().as_secs_f64();
        Ok(Window { lines, outcomes, normalized, totals })
    }

    /// The answers of a batch. Where it has none as a whole, its samples are asked one by one, so that only those
    /// fail that can't be answered on their own; why is added to `failures`.
    fn ask(
        &self,
        model: &dyn LanguageModel,
        batch: &[(usize, Request, Cost)],
        failures: &mut Vec<ModelError>,
    ) -> Result<Vec<Option<Answer>>, EvalError> {
        self.stop.check()?;
        let requests: Vec<&Request> = batch.iter().map(|(_, request, _)| request).collect();
        match model.answer(&requests) {
            Ok(answers) => return Ok(answers.into_iter().map(Some).collect()),
            Err(error) if batch.len() == 1 => {
                failures.push(error);
                return Ok(vec![None]);
            }
            Err(_) => {}
        }
        let mut answers = Vec::with_capacity(batch.len());
        for one in batch.chunks(1) {
            answers.extend(self.ask(model, one, failures)?);
        }
        Ok(answers)
    }

    /// A sample's request in this run's mode: without training, choices are scored without the end of the
    /// piece, as the official zero-shot code does; exact generation needs it always, a continuation never.
    fn asked(&self, sample: &Sample) -> Request {
        let mut request = sample.request.clone();
        let is_open = match sample.reading {
            Reading::Greedy | Reading::LogProb | Reading::Text | Reading::WholeText => false,
            Reading::Continuation => true,
            Reading::Best | Reading::FirstIsBest => self.settings.mode != Mode::Finetune,
        };
        if let Ask::Choice { end_of_piece, length_penalty, .. } = &mut request.ask
            && is_open
        {
            *end_of_piece = false;
            if sample.reading == Reading::Continuation {
                *length_penalty = 0.0; // its score is a log-probability
            }
        }
        request
    }

    /// The outcomes of an evaluation, read back from the journal.
    pub(super) fn outcomes(&mut self, scored: &Scored) -> Result<Vec<Outcome>, EvalError> {
        let mut outcomes = Vec::new();
        for key in &scored.windows {
            let window: Option<Window> = self.journal.get(key)?;
            outcomes.extend(window.into_iter().flat_map(|window| window.outcomes));
        }
        Ok(outcomes)
    }
}

/// The task's metrics, and where texts are written their bootstrap intervals.
pub(super) fn measured(
    evaluation: &Evaluation,
    outcomes: &[Outcome],
) -> Result<(Estimates, BTreeMap<String, Interval>), EvalError> {
    let task = &evaluation.task;
    let find = |spec: &crate::tasks::MetricSpec| {
        metrics::find(&spec.name).map_err(|e| EvalError::Impossible(e.to_string()))
    };
    let found = task.metrics.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let name = |metric: &&metrics::Metric| metric.name.to_owned();
    if !task.is_written() {
        let estimate =
            |metric: &&metrics::Metric| (name(metric), metric.compute(outcomes, task.labels.len()));
        return Ok((found.iter().map(estimate).collect(), BTreeMap::new()));
    }
    let all = metrics::measure_all(&found, outcomes, 0);
    let named = || found.iter().map(name).zip(&all);
    let scores = named().map(|(name, measured)| (name, measured.map(|m| m.estimate))).collect();
    let intervals = named().filter_map(|(name, measured)| Some((name, (*measured)?.interval?))).collect();
    Ok((scores, intervals))
}

/// What is logged of an answer: its candidates; or of each text its log-probability, and whether it ended by itself.
fn responses(answer: &Answer) -> Vec<CandidateScore> {
    let text = |filling: &Filling| CandidateScore {
        score: filling.log_prob,
        num_tokens: filling.num_tokens,
        is_greedy: filling.is_ended,
    };
    answer.candidates.iter().copied().chain(answer.fillings.iter().map(text)).collect()
}

/// An error and its causes in one line.
fn with_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

/// The sample lines of a window, read back from the journal.
pub(super) fn lines(journal: &mut Journal, key: &str) -> Result<Vec<SampleLine>, EvalError> {
    let window: Option<Window> = journal.get(key)?;
    Ok(window.map(|window| window.lines).unwrap_or_default())
}

/// Consecutive samples, as many as the batch size says, or as fill a batch with tokens.
fn batches(asked: &[(usize, Request, Cost)], size: Option<usize>) -> Vec<&[(usize, Request, Cost)]> {
    if let Some(size) = size {
        return asked.chunks(size).collect();
    }
    let mut batches = Vec::new();
    let mut start = 0;
    let mut tokens = 0;
    for (i, (.., cost)) in asked.iter().enumerate() {
        if i > start && tokens + cost.computed > BATCH_TOKENS {
            batches.push(&asked[start..i]);
            (start, tokens) = (i, 0);
        }
        tokens += cost.computed;
    }
    if start < asked.len() {
        batches.push(&asked[start..]);
    }
    batches
}

impl Evaluation {
    /// Are texts compared, and not labels?
    pub(super) fn reads_texts(&self) -> bool {
        let reads_texts = |name: &str| metrics::find(name).is_ok_and(|metric| metric.reads_texts);
        self.task.metrics.iter().any(|spec| reads_texts(&spec.name))
    }
}

fn outcome(task: &Task, sample: &Sample, answer: Option<&Answer>, reads_texts: bool) -> Outcome {
    let predicted = answer.and_then(|answer| sample.predict(answer));
    let log_prob = answer.and_then(|answer| sample.log_prob(answer));
    let prediction = match predicted {
        None if sample.is_written() => {
            let text = answer.and_then(|answer| sample.written(answer));
            text.map_or(Prediction::None, |text| Prediction::Text(task.scored_text(text)))
        }
        None if log_prob.is_some() => Prediction::LogProb,
        None => Prediction::None,
        Some(index) if reads_texts => {
            sample.candidate(index).map_or(Prediction::None, |text| Prediction::Text(text.into()))
        }
        Some(index) => Prediction::Label(index),
    };
    Outcome {
        id: sample.guid.clone(),
        group: sample.group.clone(),
        prediction,
        label: if reads_texts { None } else { sample.label },
        references: sample.references.clone(),
        log_prob,
    }
}

/// The texts of a sample, with the request as it was asked: examples in the prompt are part of it.
fn texts(sample: &Sample, request: &Request) -> SampleTexts {
    let side = |parts: &[Part]| -> Vec<Value> {
        let part = |part: &Part| match part {
            Part::Blank | Part::LongBlank(_) => json!("[MASK]"),
            Part::Text { text, .. } => json!(text),
        };
        parts.iter().map(part).collect()
    };
    let prompt = &request.prompt;
    let arguments = match &request.ask {
        Ask::Word { words } => json!({"a": side(&prompt.side_a), "b": side(&prompt.side_b), "words": words}),
        Ask::Choice { candidates, bidirectional: true, .. } => {
            json!({"a": side(&prompt.side_a), "b": side(&prompt.side_b), "candidates": candidates})
        }
        Ask::Choice { candidates, .. } => {
            json!({
                "a": side(&prompt.side_a),
                "b": side(&prompt.side_b),
                "candidates": candidates,
                "bidirectional": false,
            })
        }
        Ask::Classify { pairs, .. } => json!({"pairs": pairs}),
        Ask::LogProb { stride, bidirectional, last_part_only } => {
            json!({
                "a": side(&prompt.side_a),
                "stride": stride,
                "bidirectional": bidirectional,
                "last_part_only": last_part_only,
            })
        }
        Ask::Generate { decoding, .. } => {
            json!({"a": side(&prompt.side_a), "b": side(&prompt.side_b), "decoding": decoding})
        }
    };
    let doc = Value::Object((*sample.doc).clone());
    SampleTexts { doc, arguments, target: sample.references.join("\n") }
}
