//! A seed's logged samples, scored again: without a model, and as far as possible without texts.
//!
//! Labels, groups and predicted labels are always logged, so every metric over labels can be had again in full. Texts
//! are logged only with `--log-samples`; without them a metric over texts is the mean of the logged sample scores.

use super::samples::SampleLine;
use crate::metrics::{Metric, Outcome, Prediction, Tally};
use crate::stats::{self, Estimate};

/// The samples of one seed of a task.
#[derive(Clone, Debug)]
pub struct Logged {
    lines: Vec<SampleLine>,
    outcomes: Vec<Outcome>,
    has_texts: bool,
}

/// A metric that can't be had again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{metric} compares texts that were not logged, and no score of each sample was; run again with --log-samples"
)]
pub struct NotLogged {
    metric: &'static str,
}

impl Logged {
    /// From the lines of a file.
    pub fn new(lines: Vec<SampleLine>) -> Self {
        let outcome = |line: &SampleLine| Outcome {
            id: line.guid.clone(),
            group: line.group.clone(),
            prediction: line.prediction.clone().unwrap_or(Prediction::None),
            label: line.target.as_u64().map(|label| label as usize),
            references: line.references.clone().unwrap_or_default(),
            log_prob: line.log_prob,
        };
        let outcomes = lines.iter().map(outcome).collect();
        let has_texts = lines.iter().all(|line| line.references.is_some() && line.prediction.is_some());
        Self { lines, outcomes, has_texts }
    }

    /// The lines, in the order of the data.
    pub fn lines(&self) -> &[SampleLine] {
        &self.lines
    }

    /// One more than the highest label, true or predicted.
    pub fn num_labels(&self) -> usize {
        let said = |outcome: &Outcome| match outcome.prediction {
            Prediction::Label(said) => Some(said),
            _ => None,
        };
        self.outcomes.iter().flat_map(|o| [o.label, said(o)]).flatten().max().map_or(0, |highest| highest + 1)
    }

    /// Samples that a resample takes or leaves together, in order of first appearance: those of one passage
    /// (`MultiRC` and `ReCoRD`, whose groups are `p<passage>-q<question>`), or of one group.
    pub fn units(&self) -> Vec<Vec<usize>> {
        let unit = |line: &SampleLine| line.group.as_ref().map(|group| passage(group).to_string());
        let keys: Vec<Option<String>> = self.lines.iter().map(unit).collect();
        stats::clusters_of(keys.iter().map(Option::as_deref))
    }

    /// The metric, with its standard error and n, as the run computed it.
    ///
    /// # Errors
    /// If it takes texts that were not logged.
    pub fn estimate(&self, metric: &'static Metric) -> Result<Option<Estimate>, NotLogged> {
        if self.is_in_full(metric) {
            return Ok(metric.compute(&self.outcomes, self.num_labels()));
        }
        let groups = stats::clusters_of(self.lines.iter().map(|line| line.group.as_deref()));
        let Some(scores) = self.scores(metric)? else { return Ok(None) };
        let scores: Vec<f64> = scores.into_iter().map(|score| score.unwrap_or(0.0)).collect();
        Ok(stats::clustered_mean_estimate(&scores, &groups))
    }

    /// The metric's counts over units (see [`Metric::tally`]).
    ///
    /// # Errors
    /// If it takes texts that were not logged.
    pub fn tally(
        &self,
        metric: &'static Metric,
        units: &[Vec<usize>],
        num_labels: usize,
    ) -> Result<Option<Tally>, NotLogged> {
        if self.is_in_full(metric) {
            return Ok(metric.tally(&self.outcomes, units, num_labels));
        }
        Ok(self.scores(metric)?.map(|scores| Metric::tally_of_scores(&scores, units)))
    }

    /// How right each sample is, in `0..=1`: its label, or the first score that was logged for it; `None` where
    /// neither is known.
    pub fn rightness(&self) -> Vec<Option<f64>> {
        let of = |(line, outcome): (&SampleLine, &Outcome)| match outcome.label {
            Some(label) => Some(f64::from(u8::from(outcome.prediction == Prediction::Label(label)))),
            None => line.scores.values().find_map(serde_json::Value::as_f64),
        };
        self.lines.iter().zip(&self.outcomes).map(of).collect()
    }

    fn is_in_full(&self, metric: &Metric) -> bool {
        !metric.reads_texts || self.has_texts
    }

    /// The logged scores; `None` where no sample has one because there are no right answers (a test split).
    fn scores(&self, metric: &'static Metric) -> Result<Option<Vec<Option<f64>>>, NotLogged> {
        if !metric.has_sample_scores() {
            return Err(NotLogged { metric: metric.name });
        }
        let score =
            |line: &SampleLine| line.scores.get(metric.lm_eval_name).and_then(serde_json::Value::as_f64);
        let scores: Vec<Option<f64>> = self.lines.iter().map(score).collect();
        Ok(scores.iter().any(Option::is_some).then_some(scores))
    }
}

/// The passage of a question, `p3` of `p3-q5`; other groups are taken whole.
fn passage(group: &str) -> &str {
    match group.split_once("-q") {
        Some((passage, _)) if passage.starts_with('p') => passage,
        _ => group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;
    use crate::request::CandidateScore;
    use crate::results::samples::SampleTexts;
    use serde_json::json;

    fn logged(log_samples: bool, answers: &[(&str, &str)]) -> Logged {
        let line = |(i, (group, text)): (usize, &(&str, &str))| {
            let outcome = Outcome {
                id: format!("val-{i}"),
                group: Some((*group).into()),
                prediction: Prediction::Text((*text).into()),
                label: None,
                references: vec!["an old bridge".into()],
                log_prob: None,
            };
            let texts = SampleTexts { doc: json!({}), arguments: json!({}), target: "an old bridge".into() };
            let metrics = ["record_f1", "record_em"].map(String::from);
            let candidates = [CandidateScore { score: 0.0, num_tokens: 1, is_greedy: true }];
            SampleLine::new(i, &outcome, &candidates, &metrics, &texts, log_samples)
        };
        Logged::new(answers.iter().enumerate().map(line).collect())
    }

    #[test]
    fn texts_that_were_not_logged_are_not_missed_where_each_sample_has_its_score() {
        let answers = [("p0-q0", "old bridge"), ("p0-q1", "bridge"), ("p1-q2", "river")];
        let [with, without] = [true, false].map(|log| logged(log, &answers));
        for name in ["record_f1", "record_em"] {
            let metric = metrics::find(name).unwrap();
            let (a, b) = (with.estimate(metric).unwrap(), without.estimate(metric).unwrap());
            assert_eq!(a, b, "{name}");
            assert_eq!(a.unwrap().n, 3);
        }
        let squad = without.estimate(metrics::find("squad_f1").unwrap()).unwrap_err().to_string();
        assert!(squad.contains("squad_f1 compares texts that were not logged"), "{squad}");
        assert_eq!(without.units(), [vec![0, 1], vec![2]], "questions of a passage belong together");
    }

    #[test]
    fn only_questions_of_passages_are_cut() {
        assert_eq!(["p12-q3", "7", "a-q1"].map(passage), ["p12", "7", "a-q1"]);
    }
}
