//! What needs no model, beside the texts that a model wrote: the first words of the source, and all of it.

use std::collections::BTreeMap;

use super::extent::Extent;
use super::scoring::measured;
use super::{EvalError, Evaluation};
use crate::metrics::{Outcome, Prediction};
use crate::results::ours::Estimates;

/// Their names in records and tables, and the words that they take.
const BASELINES: [(&str, usize); 2] = [("first 8 words", 8), ("whole source", usize::MAX)];

impl Evaluation {
    /// The task's metrics of each baseline, on the samples that a model is scored on; none where no texts are written.
    pub(super) fn baselines(&self, extent: Extent) -> Result<BTreeMap<String, Estimates>, EvalError> {
        let mut found = BTreeMap::new();
        if !self.task.is_written() {
            return Ok(found);
        }
        for (name, num_words) in BASELINES {
            let samples = self.task.samples(&self.data, self.split, &self.form)?;
            let outcomes = extent.take(samples).map(|sample| {
                let sample = sample?;
                let words = first_words(&sample.source(), num_words);
                Ok(Outcome {
                    id: sample.guid,
                    group: sample.group,
                    prediction: Prediction::Text(self.task.scored_text(words)),
                    label: None,
                    references: sample.references,
                    log_prob: None,
                })
            });
            let (scores, _) = measured(self, &outcomes.collect::<Result<Vec<_>, EvalError>>()?)?;
            found.insert(name.to_owned(), scores);
        }
        Ok(found)
    }
}

fn first_words(text: &str, count: usize) -> String {
    text.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_fewer_words_is_taken_whole() {
        assert_eq!(first_words(" a b  c d", 2), "a b");
        assert_eq!(first_words("a\nb", 8), "a b");
    }
}
