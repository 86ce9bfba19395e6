//! Where the beam searches of two libraries part ways.

use super::beams::Running;

/// Whose beam search is reproduced. Everything that is not here is the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// Source: THUDM/GLM@4f61ed7 `generation_utils.py`, `BeamSearchScorer`.
    Glm,
    /// Source: transformers 5.23 `generation/utils.py`, `_beam_search`.
    HuggingFace,
}

impl Convention {
    /// The length that a finished text's log-probability is divided by. Hugging Face counts the end token.
    pub(super) fn length(self, num_tokens: usize, is_ended: bool) -> usize {
        match self {
            Self::Glm => num_tokens.max(1),
            Self::HuggingFace => (num_tokens + usize::from(is_ended)).max(1),
        }
    }

    /// The score that no unfinished text is expected to exceed, after a step that made texts of `num_tokens` tokens:
    /// `None` where there is no unfinished one. GLM takes the best candidate of the step, which may have ended, over
    /// the length before the step.
    pub(super) fn bound(
        self,
        best_candidate: f64,
        running: &[Running],
        num_tokens: usize,
        length_penalty: f64,
    ) -> Option<f64> {
        let (log_prob, length) = match self {
            // Official code divides by zero where the first token ends the text.
            Self::Glm => (best_candidate, (num_tokens - 1).max(1)),
            Self::HuggingFace => (running.first()?.log_prob, num_tokens),
        };
        Some(log_prob / (length as f64).powf(length_penalty))
    }

    /// Is an unfinished text that was the `rank`-th candidate of the last step considered in the end?
    pub(super) fn is_kept_at_limit(self, rank: usize, num_beams: usize) -> bool {
        match self {
            Self::Glm => true,
            Self::HuggingFace => rank < num_beams,
        }
    }

    /// May a row be done before its unfinished texts are considered at the limit?
    pub(super) fn tests_before_limit(self) -> bool {
        self == Self::Glm
    }
}
