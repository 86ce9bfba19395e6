//! Predictions on an unlabelled test set, in the form that the leaderboard takes.

use std::path::Path;

use serde_json::Value;

use super::extent::Extent;
use super::scoring::Scored;
use super::{EvalError, Evaluation, Run};
use crate::metrics::Prediction;
use crate::results::atomic;
use crate::tasks::submission::{self, Prediction as Submitted};

impl Run<'_> {
    /// Writes `<folder>/<Task>.jsonl`.
    pub(super) fn write_submission(
        &mut self,
        folder: &Path,
        evaluation: &Evaluation,
        scored: &Scored,
        extent: Extent,
    ) -> Result<(), EvalError> {
        let Some(name) = submission::file_name(&evaluation.task.name) else { return Ok(()) };
        let outcomes = self.outcomes(scored)?;
        let samples = evaluation.task.samples(&evaluation.data, evaluation.split, &evaluation.form)?;
        // Of each sample only its number and its label are kept: the texts may be large.
        let mut rows = Vec::with_capacity(outcomes.len());
        for (sample, outcome) in extent.take(samples).zip(&outcomes) {
            let sample = sample?;
            let label = match (&outcome.prediction, sample.candidate(0)) {
                (Prediction::Label(label), _) => evaluation.task.official_label(Some(*label)),
                (Prediction::Text(text), _) => Value::from(text.as_str()),
                // The leaderboard wants an answer to everything.
                (Prediction::None, Some(first))
                    if sample.has_own_candidates() && evaluation.reads_texts() =>
                {
                    Value::from(first)
                }
                (Prediction::None | Prediction::LogProb, _) => evaluation.task.official_label(Some(0)),
            };
            let number = sample.doc.get_key_value("idx").map(|(key, idx)| (key.clone(), idx.clone()));
            rows.push((sample.guid, number.into_iter().collect(), label));
        }
        let predictions = rows.iter().map(|(guid, doc, label)| Submitted { guid, doc, label: label.clone() });
        let lines = submission::lines(&evaluation.task.name, predictions)
            .map_err(|error| EvalError::Impossible(error.to_string()))?;
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        Ok(atomic::write(&folder.join(name), text.as_bytes())?)
    }
}
