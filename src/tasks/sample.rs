//! One sample of a task: the question, its right answer, and what scoring needs to know besides.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::metrics::LogProb;
use crate::request::{Answer, Part, Prompt, Request};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// To learn from.
    Train,
    /// To evaluate on.
    Val,
    /// The unlabelled set of the leaderboard.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }

    /// Its name in the published code's sample ids.
    pub fn guid_prefix(self) -> &'static str {
        match self {
            Split::Val => "dev",
            other => other.name(),
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the label is read off the scores of the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The best candidate's index is the label.
    Best,
    /// Label 1 when the first candidate is the best, else label 0 (WSC with candidates).
    FirstIsBest,
    /// Label 1 when greedy decoding would give exactly the only candidate, else label 0 (WSC without).
    Greedy,
    /// The same, whatever would come after it (LAMBADA).
    Continuation,
    /// There is no label: how probable the prompt's text is, is the answer.
    LogProb,
    /// There is no label: the text that was written is the answer.
    Text,
    /// There is no label: the whole prompt is the answer, with the texts that were written in its blanks.
    WholeText,
}

/// One sample.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The published code's id: `dev-0`, `train-249m`, `dev-p0-q0-a0`.
    pub guid: String,
    /// Index in the official order, after the official expansion.
    pub doc_id: usize,
    /// The row as read, which is logged only on request.
    pub doc: Arc<Map<String, Value>>,
    /// The question.
    pub request: Request,
    /// Index of the right label, or of a right candidate where the candidates are the sample's own.
    /// `None` on unlabelled sets.
    pub label: Option<usize>,
    /// The label as the published code spells it; null on unlabelled sets.
    pub official_label: Value,
    /// How the label is read off the candidates' scores.
    pub reading: Reading,
    /// The texts of the sample's own candidates, without the space that joins them to a prompt; none where the
    /// task's labels are what there is to choose from.
    pub candidates: Vec<String>,
    /// What is scored together: `MultiRC`'s question, `ReCoRD`'s query, the pair of AX-g.
    pub group: Option<String>,
    /// `ReCoRD`: the texts of all right answers; else the right label's name, if there is one.
    pub references: Vec<String>,
    /// The right texts of the blanks, to learn from; none where candidates are scored.
    pub targets: Vec<String>,
    /// Of the text whose probability is asked.
    pub text_size: Option<TextSize>,
}

/// What the log-probability of a text is spread over, whatever the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextSize {
    /// Words between white space.
    pub num_words: u64,
    /// Bytes in UTF-8.
    pub num_bytes: u64,
}

impl TextSize {
    /// Of a prompt's text; or what the adapter's fields `num_words` and `num_bytes` say, where the text that is read is
    /// not the text as it was published.
    pub fn of(prompt: &Prompt, fields: &[(&'static str, String)]) -> Self {
        let text: String = prompt
            .side_a
            .iter()
            .map(|part| match part {
                Part::Text { text, .. } => text.as_str(),
                Part::Blank | Part::LongBlank(_) => "",
            })
            .collect();
        let field = |name: &str| {
            fields.iter().find(|(field, _)| *field == name).and_then(|(_, number)| number.parse().ok())
        };
        let counted = Self::of_text(&text);
        Self {
            num_words: field("num_words").unwrap_or(counted.num_words),
            num_bytes: field("num_bytes").unwrap_or(counted.num_bytes),
        }
    }

    /// Of a text.
    pub fn of_text(text: &str) -> Self {
        Self { num_words: text.split_whitespace().count() as u64, num_bytes: text.len() as u64 }
    }
}

impl Sample {
    /// The label (or candidate) that an answer amounts to; `None` when a score is not a number.
    pub fn predict(&self, answer: &Answer) -> Option<usize> {
        let best = answer.best()?;
        Some(match self.reading {
            Reading::Best => best,
            Reading::FirstIsBest => usize::from(best == 0),
            Reading::Greedy | Reading::Continuation => usize::from(answer.candidates[0].is_greedy),
            Reading::LogProb | Reading::Text | Reading::WholeText => return None,
        })
    }

    /// How probable the text is that the sample goes on with; `None` where that is not asked, or not a number.
    pub fn log_prob(&self, answer: &Answer) -> Option<LogProb> {
        let size = self.text_size?;
        let scored = answer.candidates.first().filter(|scored| scored.score.is_finite())?;
        let (log_prob, num_tokens) = (scored.score, scored.num_tokens as u64);
        Some(LogProb { log_prob, num_tokens, num_words: size.num_words, num_bytes: size.num_bytes })
    }

    /// The text that an answer amounts to, for samples that are answered with texts; `None` when a blank has none.
    pub fn written(&self, answer: &Answer) -> Option<String> {
        let mut fillings = answer.fillings.iter().map(|filling| filling.text.as_str());
        if self.reading != Reading::WholeText {
            return fillings.next().map(str::to_owned);
        }
        let Prompt { side_a, side_b } = &self.request.prompt;
        let parts = side_a.iter().chain(side_b).map(|part| match part {
            Part::Text { text, .. } => Some(text.trim()),
            Part::Blank | Part::LongBlank(_) => fillings.next(),
        });
        Some(parts.collect::<Option<Vec<_>>>()?.join(" "))
    }

    /// What of the prompt is the sample's own and may be cut, as one text: the document of a summary.
    pub fn source(&self) -> String {
        let Prompt { side_a, side_b } = &self.request.prompt;
        let own = side_a.iter().chain(side_b).filter_map(|part| match part {
            Part::Text { text, shortenable: true } => Some(text.trim()),
            _ => None,
        });
        own.collect::<Vec<_>>().join(" ")
    }

    /// Is it answered with a text?
    pub fn is_written(&self) -> bool {
        matches!(self.reading, Reading::Text | Reading::WholeText)
    }

    /// Is the right answer known, or none needed?
    pub fn is_answered(&self) -> bool {
        self.label.is_some() || !self.targets.is_empty() || self.reading == Reading::LogProb
    }

    /// Is one of the sample's own candidates the answer (instead of one of the task's labels)?
    pub fn has_own_candidates(&self) -> bool {
        self.reading == Reading::Best && !self.candidates.is_empty()
    }

    /// The text of one of the sample's own candidates.
    pub fn candidate(&self, index: usize) -> Option<&str> {
        self.candidates.get(index).map(String::as_str)
    }
}
