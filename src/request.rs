//! The questions a task can ask a model, and their answers.
//!
//! Tasks and models meet here and nowhere else. A request says *what* is asked, in words; how it is laid
//! out in tokens is the model family's business.

use std::ops::Range;

/// One part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text, tokenized on its own, so that it is never merged with its neighbours.
    Text {
        /// The text, with the leading space it needs after what comes before.
        text: String,
        /// May tokens be cut from its end when the prompt is too long?
        shortenable: bool,
    },
    /// The blank that the answer fills: one mask token.
    Blank,
    /// A blank for a longer text, with a mask token of its own where the model has one; elsewhere as [`Part::Blank`].
    LongBlank(BlankLength),
}

/// What a long blank stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlankLength {
    /// Whole sentences.
    Sentences,
    /// All that follows.
    Rest,
}

impl Part {
    /// Is it to be filled?
    pub fn is_blank(&self) -> bool {
        matches!(self, Self::Blank | Self::LongBlank(_))
    }
}

/// A cloze prompt. Truncation shortens the longer of the two sides first; most patterns have only side A.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The parts of side A, in reading order.
    pub side_a: Vec<Part>,
    /// The parts of side B, which follow side A directly.
    pub side_b: Vec<Part>,
}

impl Prompt {
    /// All parts, in reading order.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &Part> {
        self.side_a.iter().chain(&self.side_b)
    }

    /// Does it end in a blank for all that follows?
    pub fn asks_for_the_rest(&self) -> bool {
        self.parts().next_back() == Some(&Part::LongBlank(BlankLength::Rest))
    }
}

/// What is asked about a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Which word belongs in the blank? Every word must be one token for the model; answered by its logit.
    Word {
        /// One word a label, in the order of the task's labels.
        words: Vec<String>,
    },
    /// Which text belongs in the blank? Answered by the log-probability of each candidate's tokens.
    Choice {
        /// The candidate texts; at least one, none empty.
        candidates: Vec<String>,
        /// Is the end-of-piece token part of what is scored?
        end_of_piece: bool,
        /// The sum of log-probabilities is divided by `tokens ^ length_penalty`; 0 keeps the sum.
        length_penalty: f64,
        /// Does the prompt see itself in both directions, in models that can? Else it is read as the candidates are, left
        /// to right, with each at its end.
        bidirectional: bool,
    },
    /// Which class do the texts belong to? For a classification head over pooled features. One input a
    /// text pair: a single pair with `num_labels` outputs, or one pair a candidate with one output each.
    Classify {
        /// The text pairs; the second text may be absent.
        pairs: Vec<(String, Option<String>)>,
        /// Marked spans of a single pair, whose words the answer is about; unread by heads that pool one token only.
        spans: Vec<Span>,
        /// Outputs of the head for each pair.
        num_labels: usize,
    },
    /// How probable is the text, which is all of the prompt? Answered by the sum of its tokens' log-probabilities, the
    /// first one's aside. A text longer than the request's `max_tokens` is read in windows that overlap; where only its
    /// end is scored, what does not fit is cut from its start.
    LogProb {
        /// Tokens that each window after the first one scores; the others before them are what it reads besides.
        stride: usize,
        /// Does what a window reads before its scored tokens see itself in both directions, in models that can?
        bidirectional: bool,
        /// Are only the tokens of the prompt's last part scored?
        last_part_only: bool,
    },
    /// Which texts fill the blanks? In reading order, each with those before it in view; answered by a text a blank.
    Generate {
        /// How the texts are searched; the limits are each text's.
        decoding: Decoding,
        /// Which edges of the prompt are those of a whole text.
        edges: Edges,
        /// Where a prompt that is too long is cut.
        cut: Cut,
    },
}

/// Edges of a prompt that are those of a whole text; a family may mark them with its own tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edges {
    /// It is a whole text.
    Both,
    /// It begins a text, and is not known to end it.
    Start,
    /// It is some part of a text.
    Neither,
}

/// Where the shortenable parts of a prompt are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// At their end: what was first is kept.
    End,
    /// At their start: what was last is kept.
    Start,
}

/// How a text is searched, a token at a time.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoding {
    /// A text that has not ended by then is cut there.
    pub max_new_tokens: usize,
    /// A text does not end before.
    #[serde(default)]
    pub min_new_tokens: usize,
    /// No run of so many tokens appears twice in a text; 0 allows it.
    #[serde(default)]
    pub no_repeat_ngram_size: usize,
    /// Texts that are pursued side by side; 1 takes the best token each time (greedy).
    pub num_beams: usize,
    /// A finished text's log-probability is divided by `tokens ^ length_penalty`: above 0 favours long texts.
    #[serde(default)]
    pub length_penalty: f64,
    /// Stop at as many finished texts as there are beams, even where an unfinished one could still be better.
    #[serde(default)]
    pub early_stopping: bool,
    /// Only so many of the most probable tokens are considered after each text; 0 considers all.
    #[serde(default)]
    pub top_k: usize,
    /// Draws tokens, where the most probable ones would be taken. For one beam.
    #[serde(default)]
    pub sampling: Option<Sampling>,
}

/// How tokens are drawn.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Divides the logits; above 0. Small values favour the most probable tokens.
    pub temperature: f64,
    /// Only the most probable tokens that together have this probability are considered; in `0..=1`, 1 considers all.
    pub top_p: f64,
    /// The same seed draws the same texts, whatever else is in the batch.
    pub seed: u64,
}

impl Decoding {
    /// The most probable token each time, up to a limit.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            min_new_tokens: 0,
            no_repeat_ngram_size: 0,
            num_beams: 1,
            length_penalty: 0.0,
            early_stopping: false,
            top_k: 0,
            sampling: None,
        }
    }

    /// What makes no sense about the settings, and the way out.
    pub fn problem(&self) -> Option<String> {
        let sampling = self.sampling.as_ref();
        let found = [
            (self.max_new_tokens == 0, "max_new_tokens is 0; it must be at least 1"),
            (!(1..=1000).contains(&self.num_beams), "num_beams must be from 1 to 1000"),
            (
                self.min_new_tokens > self.max_new_tokens,
                "min_new_tokens is above max_new_tokens; lower one or raise the other",
            ),
            (!self.length_penalty.is_finite(), "length_penalty must be a number"),
            (
                sampling.is_some() && self.num_beams > 1,
                "drawing tokens (temperature, top_p, top_k of `fill`) and several beams exclude each other",
            ),
            (
                sampling.is_some_and(|s| !(s.temperature.is_finite() && s.temperature > 0.0)),
                "temperature must be above 0; without it the most probable token is taken",
            ),
            (
                sampling.is_some_and(|s| !(s.top_p > 0.0 && s.top_p <= 1.0)),
                "top_p must be above 0 and at most 1",
            ),
        ];
        found.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, what)| what.into())
    }
}

/// A marked stretch of one of the texts of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// 0 for the first text, 1 for the second.
    pub text: usize,
    /// Where it is, in bytes.
    pub bytes: Range<usize>,
}

/// One question to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Identifier of the sample, unique within its task and split.
    pub id: String,
    /// The cloze prompt.
    pub prompt: Prompt,
    /// What is asked about it.
    pub ask: Ask,
    /// Most tokens that the model may read for one candidate, answer included.
    pub max_tokens: usize,
}

/// How one candidate (word, text or class) fared.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CandidateScore {
    /// The score that ranks the candidates: a logit, or a sum of log-probabilities after the length penalty.
    pub score: f64,
    /// Number of scored tokens.
    pub num_tokens: usize,
    /// Would greedy decoding have produced exactly these tokens?
    pub is_greedy: bool,
}

/// How probable a candidate is to a model that reads left to right: what any published way to rank candidates is
/// computed from.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Likelihood {
    /// Sum of the log-probabilities of its tokens, and of what follows the blank, given the prompt up to the blank.
    pub log_prob: f64,
    /// Tokens in that sum.
    pub num_tokens: usize,
    /// Bytes of their text.
    pub num_bytes: usize,
    /// The same sum given nothing.
    pub unconditional_log_prob: f64,
}

impl Likelihood {
    /// The candidate's score in each of the published ways to rank candidates, by its name in records: the
    /// log-probability as it is (lm-evaluation-harness's `acc`), over tokens (Brown et al. 2020), over bytes (the
    /// harness's `acc_bytes`), and less what the candidate has whatever the prompt (the answer context of Brown et al.
    /// 2020; the harness's `acc_mutual_info`).
    pub fn scores(&self) -> [(&'static str, f64); 4] {
        [
            ("raw", self.log_prob),
            ("per_token", self.log_prob / self.num_tokens as f64),
            ("per_byte", self.log_prob / self.num_bytes as f64),
            ("less_unconditional", self.log_prob - self.unconditional_log_prob),
        ]
    }
}

/// The text that fills a blank.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Filling {
    /// The text, without surrounding space.
    pub text: String,
    /// Its tokens, without the end of the piece.
    pub num_tokens: usize,
    /// Sum of the log-probabilities of its tokens, the end of the piece among them where it was reached.
    pub log_prob: f64,
    /// Did it end by itself? Otherwise it was cut at the limit.
    pub is_ended: bool,
}

/// The answer to a request: one score a candidate, in the request's order, or one text a blank.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// One a candidate; none where texts were asked for.
    pub candidates: Vec<CandidateScore>,
    /// One a candidate, where the model's family has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub likelihoods: Vec<Likelihood>,
    /// One a blank; none where candidates were to be scored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fillings: Vec<Filling>,
    /// Tokens of the request's cost that were not computed after all, because texts ended before their limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spared_tokens: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Answer {
    /// The same candidates by each of the ways of [`Likelihood::scores`]; none where there are no likelihoods.
    pub fn normalized(&self) -> Vec<(&'static str, Self)> {
        let ways =
            self.likelihoods.first().map_or(vec![], |first| first.scores().map(|(name, _)| name).to_vec());
        let by = |(way, name): (usize, &'static str)| {
            let candidates = self.candidates.iter().zip(&self.likelihoods);
            let rescored = |(candidate, likelihood): (&CandidateScore, &Likelihood)| CandidateScore {
                score: likelihood.scores()[way].1,
                ..*candidate
            };
            (name, Self { candidates: candidates.map(rescored).collect(), ..Self::default() })
        };
        ways.into_iter().enumerate().map(by).collect()
    }

    /// Index of the best candidate; the first among equals. `None` when a score is not a number.
    pub fn best(&self) -> Option<usize> {
        let scores = self.candidates.iter().map(|c| c.score);
        if scores.clone().any(f64::is_nan) {
            return None;
        }
        let best = scores.clone().fold(f64::NEG_INFINITY, f64::max);
        scores.into_iter().position(|s| s >= best)
    }
}

/// The loss by which a request with a known answer is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Softmax cross-entropy over the candidates' scores.
    CrossEntropy,
    /// Each wrong candidate should score at least 1 below the right one.
    Hinge,
    /// Minus the right candidate's score.
    Generative,
    /// Cross-entropy plus generative.
    Mix,
}

/// A request with its known answer, to learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The question.
    pub request: Request,
    /// Index of the right candidate.
    pub label: usize,
    /// How to learn from it.
    pub loss: Loss,
    /// The right texts of the blanks, where texts are asked for; `label` and `loss` are not read then.
    pub texts: Vec<String>,
    /// Share of each token's target that is spread over the vocabulary, where texts are learned; in `0..1`.
    pub label_smoothing: f64,
}

impl Example {
    /// A question whose right candidate is known.
    pub fn of_candidates(request: Request, label: usize, loss: Loss) -> Self {
        Self { request, label, loss, texts: vec![], label_smoothing: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(scores: &[f64]) -> Answer {
        let candidate = |&score: &f64| CandidateScore { score, num_tokens: 1, is_greedy: false };
        Answer { candidates: scores.iter().map(candidate).collect(), ..Answer::default() }
    }

    #[test]
    fn the_first_of_equal_scores_wins() {
        assert_eq!(answer(&[-1.0, 2.0, 2.0]).best(), Some(1));
    }

    #[test]
    fn each_way_to_rank_has_its_own_best() {
        // Raw prefers the first, per token the second, per byte the third, less unconditional the fourth.
        let likelihood =
            |&(log_prob, num_tokens, num_bytes, unconditional_log_prob): &(f64, usize, usize, f64)| {
                Likelihood { log_prob, num_tokens, num_bytes, unconditional_log_prob }
            };
        let likelihoods: Vec<_> =
            [(-1.0, 1, 1, -1.0), (-3.0, 6, 6, -3.0), (-4.0, 4, 40, -4.0), (-5.0, 5, 5, -9.0)]
                .iter()
                .map(likelihood)
                .collect();
        let answer = Answer { likelihoods, ..answer(&[-1.0, -3.0, -4.0, -5.0]) };
        let best: Vec<_> = answer.normalized().iter().map(|(name, answer)| (*name, answer.best())).collect();
        let expected = [("raw", 0), ("per_token", 1), ("per_byte", 2), ("less_unconditional", 3)];
        assert_eq!(best, expected.map(|(name, index)| (name, Some(index))));
    }

    #[test]
    fn a_score_that_is_not_a_number_has_no_best() {
        assert_eq!(answer(&[1.0, f64::NAN]).best(), None);
        assert_eq!(answer(&[]).best(), None);
    }
}
