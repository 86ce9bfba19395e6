//! Ours against a published value: which one, how far apart, and what may be said of it.

use super::layout::{Layout, Scores};
use super::runs::{ModelRuns, ScoredTask};
use crate::metrics;
use crate::results::ours::Mode;
use crate::results::published::Published;

/// Half the width of what counts as the same score, in points.
pub const SAME_WITHIN: f64 = 3.0;

/// 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A comparison with a published value, in points (percent); perplexities are as they are.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// The published row.
    pub published: &'static Published,
    /// Ours minus published.
    pub difference: f64,
    /// Half of the 95 % interval; `None` where nothing is known of the error.
    pub half_width: Option<f64>,
}

impl Comparison {
    /// `differs` where the interval leaves out 0; `agrees` where it lies within [`SAME_WITHIN`] points on both sides;
    /// else the data `cannot tell`.
    pub fn verdict(&self) -> &'static str {
        match self.half_width {
            Some(half) if self.difference.abs() > half => "differs",
            Some(half) if self.difference.abs() + half <= SAME_WITHIN => "agrees",
            _ => "cannot tell",
        }
    }
}

/// Compares a metric of a task with a published value.
///
/// Published values come without an error, but they were measured on the same samples: for a share of correct
/// samples the error follows from the value, for the others ours is taken if it is larger. The two are independent here,
/// which makes the interval rather too wide. The spread of our seeds adds to it where there is one.
///
/// Source: the interval of a difference of two independent means; equivalence as in Schuirmann (1987), "A comparison
/// of the two one-sided tests procedure".
pub fn compare(scored: ScoredTask, metric: &str, published: &'static Published) -> Option<Comparison> {
    let ours = scored.task.scores.get(metric)?.selected?;
    let value = published.number()?;
    let scale = metrics::scale(metric);
    let seeds = scored.over_seeds(metric).and_then(|spread| Some(spread.std? / (spread.n as f64).sqrt()));
    let share = value / scale;
    let of_share = ((share * (1.0 - share)).max(0.0) / ours.n as f64).sqrt(); // 0 of a perplexity, which is no share
    let is_share = matches!(metric, "accuracy" | "em" | "record_em");
    let theirs = if is_share { Some(of_share) } else { ours.stderr.map(|stderr| stderr.max(of_share)) };
    let variance = |a: f64, b: f64| a.mul_add(a, b * b) + seeds.map_or(0.0, |seeds| seeds * seeds);
    let half_width = ours.stderr.zip(theirs).map(|(a, b)| scale * Z * variance(a, b).sqrt());
    Some(Comparison { published, difference: scale * ours.value - value, half_width })
}

/// Why a task's score must not be held against the published ones of a table.
pub fn not_comparable(scored: ScoredTask, mode: Mode, layout: &Layout) -> Option<String> {
    let task = scored.task;
    if mode != layout.mode {
        let theirs = if layout.mode == Mode::Finetune { "fine-tuned" } else { "zero-shot" };
        return Some(format!("the published rows are {theirs}, this one is not"));
    }
    let Some(split) = layout.split else { return Some("no run of ours belongs in that table".into()) };
    if task.split != split {
        let set = if split == "val" { "validation" } else { split };
        return Some(format!("the published scores are of the {set} set, this one is of {}", task.split));
    }
    if task.samples.effective < task.samples.original {
        let (part, whole) = (task.samples.effective, task.samples.original);
        return Some(format!("scored on {part} of {whole} samples"));
    }
    let reasons = [
        ("never to be compared", "scored on a sample of the data, made for smoke tests"),
        ("without candidates", "asked without candidates; the published rows choose among candidates"),
        ("is not the official one", "scored on other data than the official"),
        ("are not the official ones", "scored on other data than the official"),
    ];
    let has = |part: &str| task.notes.iter().any(|note| note.contains(part));
    // A run says of which file it read a part only, or another: `test: a sample, ...`.
    let is_partial = task.notes.iter().any(|note| note.starts_with(&format!("{split}: ")));
    let partial = is_partial.then_some("scored on a part of the official data, or on other data");
    let known = reasons.iter().find(|(part, _)| has(part)).map(|(_, reason)| *reason);
    known.or(partial).map(String::from)
}

/// The published row nearest to a model: of the same family if there is any, then nearest in size, then first in print.
pub fn nearest(
    rows: &'static [Published],
    scores: &Scores,
    part: usize,
    model: &ModelRuns,
) -> Option<&'static Published> {
    let size = model.num_parameters()? as f64;
    let family = model.family().unwrap_or_default().to_lowercase();
    let is_family = |row: &Published| !family.is_empty() && row.model.to_lowercase().starts_with(&family);
    let distance = |row: &Published| {
        // Factors of size up to a thousandth apart are the same size.
        row.num_parameters().map(|theirs| ((theirs / size).ln().abs() * 1000.0) as i64)
    };
    rows.iter()
        .filter(|row| {
            scores.is_of(&row.task) && row.metric == scores.metrics[part].0 && row.number().is_some()
        })
        .filter_map(|row| Some((row, (!is_family(row), distance(row)?))))
        .min_by_key(|&(_, key)| key)
        .map(|(row, _)| row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::published::published;

    fn comparison(difference: f64, half_width: Option<f64>) -> &'static str {
        Comparison { published: &published("superglue")[0], difference, half_width }.verdict()
    }

    #[test]
    fn a_verdict_needs_an_interval_that_is_narrow_or_away_from_zero() {
        assert_eq!(comparison(-2.0, Some(1.9)), "differs");
        assert_eq!(comparison(2.0, Some(2.1)), "cannot tell"); // up to 4.1 points apart
        assert_eq!(comparison(0.5, Some(2.0)), "agrees"); // at most 2.5 apart
        assert_eq!(comparison(0.0, Some(7.0)), "cannot tell");
        assert_eq!(comparison(9.0, None), "cannot tell");
    }
}
