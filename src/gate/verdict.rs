//! From what was measured to a verdict, with its reasons.

use std::collections::BTreeMap;

use super::file::Direction;
use super::{CheckError, DEFAULT_MARGIN, Entry, GateFile, Judged, Verdict};
use crate::compare::measure::{Parts, by_seeds, measure, value_interval};
use crate::compare::{CompareError, Measured, Pair, Settings, Test, find_task};
use crate::metrics;
use crate::results::ours::SeedRun;
use crate::results::{Run, RunError};
use crate::stats::intervals::Interval;
use crate::stats::{Estimate, intervals, paired, power, sample_std};

/// Measures entry by entry; the samples of a task are read once.
pub(super) struct Measure<'a> {
    baseline: &'a Run,
    run: &'a Run,
    gate: &'a GateFile,
    seeds_as_clusters: bool,
    /// Entries that share the gate's alpha.
    family: usize,
    pairs: BTreeMap<String, Samples>,
    pub notes: Vec<String>,
}

/// What there is of a task's samples.
enum Samples {
    /// Of both runs.
    Both(Pair),
    /// Of the run alone, which stands in for both.
    RunOnly(Pair),
    /// Not of the run; why.
    Missing(String),
}

/// What is known of an entry before it is judged.
#[derive(Default)]
pub(super) struct Finding {
    baseline: Option<f64>,
    run: Option<Estimate>,
    interval: Option<Interval>,
    pub change: Option<Measured>,
    pub corrected_p: Option<f64>,
    alpha: f64,
    /// Why it fails whatever the numbers say.
    missing: Option<String>,
    family: usize,
}

impl<'a> Measure<'a> {
    pub fn new(
        baseline: &'a Run,
        run: &'a Run,
        gate: &'a GateFile,
        seeds_as_clusters: bool,
        entries: &[Entry],
    ) -> Self {
        let family = entries.iter().filter(|entry| entry.alpha.is_none() && entry.asks_for_change()).count();
        Self { baseline, run, gate, seeds_as_clusters, family, pairs: BTreeMap::new(), notes: Vec::new() }
    }

    /// What both runs say of an entry.
    pub fn find(&mut self, entry: &Entry) -> Result<Finding, CheckError> {
        let selected = |run: &Run| find_task(run, &entry.task)?.scores.get(&entry.metric)?.selected;
        let (before, after) = (selected(self.baseline), selected(self.run));
        let alpha = entry.alpha.unwrap_or(self.gate.alpha);
        let family = if entry.alpha.is_some() { 1 } else { self.family };
        let mut finding =
            Finding { baseline: before.map(|e| e.value), run: after, alpha, family, ..Finding::default() };
        if find_task(self.run, &entry.task).is_none() {
            finding.missing = Some(format!("the run has no task {}", entry.task));
            return Ok(finding);
        }
        let Some(after) = after else {
            finding.missing = Some(format!("the run has no value of {}", entry.metric));
            return Ok(finding);
        };
        if entry.asks_for_change() && before.is_none() {
            finding.missing =
                Some(format!("the baseline has no value of {} to hold it against", entry.metric));
        }
        let settings = Settings { alpha, seeds_as_clusters: self.seeds_as_clusters, test: entry.test };
        let runs = [self.baseline, self.run];
        let change = match self.samples(&entry.task)? {
            Samples::Missing(why) => {
                finding.missing = Some(why.clone());
                return Ok(finding);
            }
            Samples::RunOnly(pair) => {
                finding.interval = value_interval(pair, &entry.metric, 1.0 - alpha)?;
                let before = before.filter(|_| entry.asks_for_change());
                let seeds = runs.map(|run| seed_values(run, entry));
                let compared = before.map(|before| unpaired(entry, [before, after], &seeds, pair, settings));
                compared.transpose()?
            }
            Samples::Both(pair) => {
                finding.interval = value_interval(pair, &entry.metric, 1.0 - alpha)?;
                if entry.asks_for_change() { measure(pair, &entry.metric, settings)? } else { None }
            }
        };
        finding.change = change.filter(|_| entry.asks_for_change()).map(|change| directed(change, entry));
        Ok(finding)
    }

    /// The samples of a task. Without the run's it fails, without the baseline's the runs can't be paired.
    fn samples(&mut self, task: &str) -> Result<&Samples, CompareError> {
        if !self.pairs.contains_key(task) {
            let samples = self.read(task)?;
            self.pairs.insert(task.to_string(), samples);
        }
        Ok(&self.pairs[task])
    }

    fn read(&mut self, task: &str) -> Result<Samples, CompareError> {
        let alone = match Pair::read(self.run, self.run, task) {
            Err(CompareError::Run(RunError::NoSamples { file })) => {
                return Ok(Samples::Missing(format!(
                    "its samples are missing: there is no {}",
                    file.display()
                )));
            }
            pair => pair?,
        };
        let Some(before) = find_task(self.baseline, task) else { return Ok(Samples::RunOnly(alone)) };
        let (expected, found) = (before.samples.effective, alone.samples());
        if found < expected {
            let missing = expected - found;
            return Ok(Samples::Missing(format!(
                "{missing} of the baseline's {expected} samples are missing"
            )));
        }
        match Pair::read(self.baseline, self.run, task) {
            Err(CompareError::Run(RunError::NoSamples { file })) => {
                self.notes.push(format!(
                    "{task}: the baseline's samples are missing (no {}): numbers are compared, not samples, which sees less",
                    file.display()
                ));
                Ok(Samples::RunOnly(alone))
            }
            pair => Ok(Samples::Both(pair?)),
        }
    }
}

/// A metric's value of each seed, as the record has it.
fn seed_values(run: &Run, entry: &Entry) -> Vec<f64> {
    let rule = run.record.glm_eval.selection.rule;
    let value = |seed: &SeedRun| Some(seed.selected(rule).get(&entry.metric).copied().flatten()?.value);
    find_task(run, &entry.task).iter().flat_map(|task| &task.runs).filter_map(value).collect()
}

/// Two values with their standard errors, as if they were of different samples: this sees less than pairs would. Where
/// seeds are drawn, those of the records are; other tests need the samples of both runs.
fn unpaired(
    entry: &Entry,
    [before, after]: [Estimate; 2],
    seeds: &[Vec<f64>; 2],
    run: &Pair,
    settings: Settings,
) -> Result<Measured, CompareError> {
    let (metric, alpha) = (&entry.metric, settings.alpha);
    let [first, second] = seeds.each_ref().map(Vec::len);
    let is_by_seeds = settings.seeds_as_clusters || settings.test == Some(Test::Seeds);
    if is_by_seeds && (first < 2 || second < 2) {
        return Err(CompareError::Seeds { task: entry.task.clone(), first, second });
    }
    if settings.test.is_some() && !is_by_seeds {
        let reason = format!(
            "{} {metric}: the `test` that the gate names needs the baseline's samples, which are missing; \
             keep them beside its record, or leave `test` out",
            entry.task
        );
        return Err(CompareError::NotComparable { reasons: vec![reason] });
    }
    let difference = after.value - before.value;
    let units = run.units.len().min(before.n);
    let stderr_of = |estimate| stderr_of(metric, estimate, units);
    let stderr = stderr_of(before).zip(stderr_of(after)).map(|(a, b)| a.hypot(b));
    let z = intervals::normal_quantile(1.0 - alpha / 2.0);
    let around = |stderr: f64| Interval {
        low: difference - z * stderr,
        high: difference + z * stderr,
        level: 1.0 - alpha,
    };
    let p = stderr.and_then(|stderr| paired::t_test(difference, stderr, f64::INFINITY));
    let mut measured = Measured {
        first: before.value,
        second: after.value,
        difference,
        stderr,
        interval: stderr.map(around),
        p: p.map(|p| p.max(Test::Unpaired.smallest_p(units as f64))),
        test: Test::Unpaired,
        n: run.samples(),
        units,
        changed: None,
        seeds: [first, second],
        higher_is_better: metrics::find(metric).is_ok_and(|metric| metric.higher_is_better),
        scale: metrics::scale(metric),
        parts: Parts { samples: stderr.unwrap_or(0.0), seeds: None },
    };
    if is_by_seeds && stderr.is_some() {
        measured.test = Test::Seeds;
        measured.parts.seeds = sample_std(&seeds[0]).zip(sample_std(&seeds[1])).map(<[f64; 2]>::from);
        by_seeds(&mut measured, alpha);
    }
    Ok(measured)
}

/// Standard error of a value. Where no sample or every one is right they show no spread; it is then that of Wilson's
/// interval, which has a width.
fn stderr_of(metric: &str, estimate: Estimate, units: usize) -> Option<f64> {
    let stderr = estimate.stderr?;
    let none_or_all = [0.0, 1.0].contains(&estimate.value) && metrics::scale(metric) > 1.0 && metric != "mcc";
    if stderr > 0.0 || !none_or_all {
        return Some(stderr);
    }
    let level = 0.95;
    let right = if estimate.value > 0.5 { units } else { 0 };
    let interval = intervals::wilson(right, units, level)?;
    Some((interval.high - interval.low) / (2.0 * intervals::normal_quantile(0.5 + level / 2.0)))
}

fn directed(mut change: Measured, entry: &Entry) -> Measured {
    if let Some(direction) = entry.direction {
        change.higher_is_better = direction == Direction::Higher;
    }
    change
}

/// What the power is, and what it would take.
#[derive(Default)]
struct Power {
    probability: Option<f64>,
    samples: Option<u64>,
    seeds: Option<u64>,
}

impl Finding {
    /// The verdict of an entry: the worst of its conditions.
    pub fn judge(self, entry: &Entry, gate: &GateFile) -> Judged {
        let higher = match entry.direction {
            Some(direction) => direction == Direction::Higher,
            None => metrics::find(&entry.metric).is_ok_and(|metric| metric.higher_is_better),
        };
        let mut conditions = Vec::new();
        let (mut margin, mut of) = (None, Power::default());
        if let Some(why) = &self.missing {
            conditions.push((Verdict::Fail, why.clone()));
        } else {
            if let (Some(threshold), Some(run)) = (entry.threshold, self.run) {
                let scale = metrics::scale(&entry.metric);
                conditions.push(by_threshold(
                    [run.value, threshold, scale],
                    self.interval,
                    self.alpha,
                    higher,
                ));
            }
            if entry.asks_for_change() {
                let stated = entry.margin(self.baseline.unwrap_or(0.0));
                let is_share = metrics::scale(&entry.metric) > 1.0;
                let whole = if is_share { 1.0 } else { self.baseline.unwrap_or(1.0) };
                let matters = stated.filter(|&margin| margin > 0.0).unwrap_or(DEFAULT_MARGIN * whole);
                margin = Some(matters);
                match &self.change {
                    None => {
                        conditions.push((Verdict::Fail, format!("{} could not be compared", entry.metric)));
                    }
                    Some(change) => {
                        of = self.power(change, matters, gate.power);
                        conditions.push(self.by_change(
                            change,
                            stated.unwrap_or(0.0),
                            matters,
                            &of,
                            gate.power,
                        ));
                    }
                }
            }
        }
        Judged {
            task: entry.task.clone(),
            metric: entry.metric.clone(),
            verdict: conditions.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Verdict::Inconclusive),
            reasons: conditions.into_iter().map(|(_, reason)| reason).collect(),
            baseline: self.baseline,
            run: self.run,
            interval: self.interval,
            corrected_p: self.corrected_p,
            alpha: self.alpha,
            margin,
            power: of.probability,
            samples_needed: of.samples,
            seeds_needed: of.seeds,
            change: self.change,
        }
    }

    /// `tolerated` is the loss below which nothing fails, `matters` the one that power is stated for.
    fn by_change(
        &self,
        change: &Measured,
        tolerated: f64,
        matters: f64,
        of: &Power,
        wanted: f64,
    ) -> (Verdict, String) {
        let points = |amount: f64| points(amount, change.scale);
        if change.changed == Some(0) {
            return (Verdict::Pass, "nothing changed that it counts".into());
        }
        let gain = change.gain();
        let (Some(p), Some(raw)) = (self.corrected_p, change.p) else {
            return (Verdict::Inconclusive, "too few samples to tell anything".into());
        };
        let p_text =
            if p > raw { format!("p {p:.3} corrected, {raw:.3} alone") } else { format!("p {p:.3}") };
        let significant = paired::rejects(p, self.alpha);
        if significant && gain < 0.0 && -gain > tolerated {
            return (Verdict::Fail, format!("worse by {} ({p_text})", points(-gain)));
        }
        if significant && gain > 0.0 {
            return (Verdict::Pass, format!("better by {} ({p_text})", points(gain)));
        }
        if significant && gain < 0.0 {
            return by_tolerance(change, tolerated, &format!("worse by {} ({p_text})", points(-gain)));
        }
        let seen = if gain < 0.0 {
            format!("worse by {}, which may be chance", points(-gain))
        } else {
            "not worse".into()
        };
        let Some(power) = of.probability else {
            let why = "the samples are too few, or too alike, to say what loss would be seen";
            return (Verdict::Inconclusive, format!("{seen} ({p_text}); {why}"));
        };
        let power_text = format!("a loss of {} would be seen with probability {power:.2}", points(matters));
        if power >= wanted {
            return (Verdict::Pass, format!("{seen} ({p_text}); {power_text}"));
        }
        let needs = match (of.samples, of.seeds) {
            (Some(samples), Some(seeds)) => format!(
                "{} more samples or {} more seeds a run would settle it",
                samples.saturating_sub(change.n as u64),
                seeds.saturating_sub(change.seeds[1] as u64)
            ),
            (Some(samples), None) => {
                format!("{} more samples would settle it", samples.saturating_sub(change.n as u64))
            }
            (None, Some(seeds)) => {
                format!("{} more seeds a run would settle it", seeds.saturating_sub(change.seeds[1] as u64))
            }
            (None, None) => "no number of samples alone would settle it".into(),
        };
        (Verdict::Inconclusive, format!("{seen} ({p_text}); {power_text}: {needs}"))
    }

    /// The power for a loss that matters. What changed between the runs counts as noise, on top of which the loss
    /// comes; Holm's correction may ask for the family's share of alpha. Absent where nothing can be said of it.
    fn power(&self, change: &Measured, matters: f64, wanted: f64) -> Power {
        if change.changed == Some(0) || change.p.is_none() {
            return Power::default(); // it passes for another reason, or there is no test
        }
        let alpha = self.alpha / self.family.max(1) as f64;
        let n = change.n as u64;
        // However great the loss, of too few units the test can't find it.
        let reaches = |units: f64| paired::rejects(change.test.smallest_p(units), alpha);
        let units = change.units as f64;
        if change.test == Test::Mcnemar {
            let noise = change.changed.unwrap_or(0) as f64 / change.n as f64;
            let at = |n: u64| power::mcnemar_power(n, noise, matters, alpha);
            let power = at(n);
            let samples = if power < wanted { power::samples_needed(n, wanted, at) } else { None };
            return Power { probability: Some(power), samples, seeds: None };
        }
        match change.stderr {
            Some(stderr) if stderr > 0.0 || !reaches(units) => {}
            _ => return Power::default(), // without a spread any loss would look as if it were seen
        }
        // A loss changes more samples than noise does: each changed unit is worth as much as those seen.
        let worth = match change.changed {
            Some(changed @ 1..) => change.parts.samples / (changed as f64).sqrt(),
            _ => 0.0,
        };
        let at = |samples: f64, seeds: [usize; 2]| {
            if !reaches((units * samples + 1e-9).floor()) {
                return 0.0;
            }
            let (stderr, freedom) = change.with(samples, seeds, matters * worth);
            power::difference_power(matters, stderr, freedom, alpha)
        };
        let power = at(1.0, change.seeds);
        let mut of = Power { probability: Some(power), ..Power::default() };
        if power < wanted {
            of.samples = power::samples_needed(n, wanted, |more| at(more as f64 / n as f64, change.seeds));
            if change.parts.seeds.is_some() {
                let most = change.seeds[0].max(change.seeds[1]);
                let enough = (most + 1..=10_000).find(|&seeds| at(1.0, [seeds; 2]) >= wanted);
                of.seeds = enough.map(|seeds| seeds as u64);
            }
        }
        of
    }
}

/// A difference in words: of shares in points, of perplexities as it is.
fn points(amount: f64, scale: f64) -> String {
    format!("{}{}", metrics::shown(amount, scale), if scale > 1.0 { " points" } else { "" })
}

/// A significant loss, but a smaller one than those that matter. It passes if those are outside of the interval.
fn by_tolerance(change: &Measured, tolerated: f64, what: &str) -> (Verdict, String) {
    let worst = change.interval.map(|i| if change.higher_is_better { i.low } else { -i.high });
    let limit = format!("a loss of {}", points(tolerated, change.scale));
    if worst.is_some_and(|worst| worst > -tolerated) {
        return (Verdict::Pass, format!("{what}, which is tolerated: {limit} is excluded"));
    }
    // The interval shrinks with the root of the samples, until it ends at what is tolerated.
    let reach = worst.map_or(0.0, |worst| change.gain() - worst);
    let needed = (change.n as f64 * (reach / (tolerated + change.gain())).powi(2)).ceil();
    let more = if needed.is_finite() {
        format!(": {} more samples would settle it", (needed - change.n as f64).max(1.0))
    } else {
        String::new()
    };
    (Verdict::Inconclusive, format!("{what}, which is tolerated, but {limit} is not excluded{more}"))
}

/// A value on the right side of a threshold passes, one that is significantly on the other side fails.
fn by_threshold(
    [value, threshold, scale]: [f64; 3],
    interval: Option<Interval>,
    alpha: f64,
    higher: bool,
) -> (Verdict, String) {
    let (value_text, threshold_text) = (metrics::shown(value, scale), metrics::shown(threshold, scale));
    let (met, side) = if higher { (value >= threshold, "below") } else { (value <= threshold, "above") };
    if met {
        return (Verdict::Pass, format!("{value_text} keeps to the threshold {threshold_text}"));
    }
    // Where nothing is left to chance, a single text settles it, too.
    let excludes = |i: Interval| if higher { i.high < threshold } else { i.low > threshold };
    let is_beyond = interval.map_or(alpha >= 1.0, excludes);
    let verdict = if is_beyond { Verdict::Fail } else { Verdict::Inconclusive };
    let chance = if is_beyond { "beyond chance" } else { "which may be chance" };
    (verdict, format!("{value_text} is {side} the threshold {threshold_text}, {chance}"))
}
