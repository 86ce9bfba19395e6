//! How a request is laid out for a T5: a text to read, and the texts that may be answered.
//!
//! A prompt without a blank is text to text: the answer is a whole output. In a cloze, the blank is the first sentinel of
//! pre-training, and the answer stands between that sentinel and the next.
//!
//! Source: Raffel et al. 2020, sections 2.4 and 3.1.4, figure 2.

use super::Config;
use crate::model::Family;
use crate::model::ModelError;
use crate::model::prompt::{self, Sides, candidate_ids};
use crate::model::writing::Source;
use crate::request::{Ask, Part, Request};
use crate::tokenizer::Tokenizer;

/// The ids that a T5 needs besides those of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// What the decoder begins with.
    pub start: u32,
    /// What ends a text.
    pub end: u32,
    /// What stands for a blank, and before the text that fills it.
    pub blank: u32,
    /// What stands behind that text.
    pub after_blank: u32,
}

impl Tokens {
    /// Those of a vocabulary: T5's own, or the tokens of a BERT vocabulary that this project's tiny model uses in their
    /// place.
    ///
    /// # Errors
    /// When the vocabulary lacks one, or has another end than the model.
    pub fn of(tokenizer: &Tokenizer, config: &Config) -> Result<Self, ModelError> {
        let lacks =
            |token| ModelError::Tokenizer { vocabulary: tokenizer.describe(), token, family: Family::T5 };
        let id = |own: &'static str, berts: &str| {
            tokenizer.id(own).or_else(|| tokenizer.id(berts)).ok_or_else(|| lacks(own))
        };
        let tokens = Self {
            start: config.decoder_start_token_id,
            end: id("</s>", "[SEP]")?,
            blank: id("<extra_id_0>", "[MASK]")?,
            after_blank: id("<extra_id_1>", "[CLS]")?,
        };
        if tokens.end == config.eos_token_id {
            Ok(tokens)
        } else {
            Err(lacks("an end of text at the id of its config.json"))
        }
    }
}

/// A request in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// What the encoder reads, its end token included.
    pub text: Vec<u32>,
    /// What the decoder reads before an answer, its start token included.
    pub before: Vec<u32>,
    /// The scored tokens of each answer.
    pub answers: Vec<Vec<u32>>,
    /// Tokens cut from the prompt.
    pub truncated: usize,
}

impl Encoding {
    /// Lays a request out.
    ///
    /// # Errors
    /// When a text can't be tokenized, the prompt can't be cut to the limit, or a classification head is asked.
    pub fn new(tokenizer: &Tokenizer, tokens: Tokens, request: &Request) -> Result<Self, ModelError> {
        let (candidates, has_end) = match &request.ask {
            Ask::Word { words } => (words, false),
            Ask::Choice { candidates, end_of_piece, .. } => (candidates, *end_of_piece),
            Ask::Classify { .. } => {
                let what = "a T5 has no classification head; it answers in words (text to text, or by cloze)";
                return Err(ModelError::Unsupported { id: request.id.clone(), what: what.into() });
            }
            Ask::LogProb { .. } => {
                let id = request.id.clone();
                return Err(prompt::EncodingError::LogProb { id, family: "T5" }.into());
            }
            Ask::Generate { .. } => unreachable!("a text that is to be written has a source"),
        };
        let mut answers = candidate_ids(tokenizer, request, candidates)?;
        let longest = answers.iter().map(Vec::len).max().unwrap_or(0);
        let source = source(tokenizer, tokens, request, longest + usize::from(has_end))?;
        if has_end {
            for answer in &mut answers {
                answer.extend(source.ends.first());
            }
        }
        Ok(Self { text: source.ids, before: source.starts, answers, truncated: source.truncated })
    }

    /// The decoder's inputs, one piece an answer: what stands before it, and all of it but its last token.
    pub fn pieces(&self) -> impl Iterator<Item = Vec<u32>> + '_ {
        let piece = |answer: &Vec<u32>| [&self.before, &answer[..answer.len() - 1]].concat();
        self.answers.iter().map(piece)
    }
}

/// What a request reads, cut so that an answer of `num_answer_tokens` fits behind it.
///
/// # Errors
/// When a text can't be tokenized, the prompt can't be cut to the limit, or has several blanks.
pub fn source(
    tokenizer: &Tokenizer,
    tokens: Tokens,
    request: &Request,
    num_answer_tokens: usize,
) -> Result<Source, ModelError> {
    let mut parts = request.prompt.parts();
    let is_cloze = parts.any(Part::is_blank);
    // A vocabulary that keeps the space in the word after it has one at the start of a text, too.
    let mut request = request.clone();
    if let Some(Part::Text { text, .. }) = request.prompt.side_a.first_mut() {
        text.insert(0, ' ');
    }
    let request = &request;
    let mut sides = match is_cloze {
        true => Sides::new(tokenizer, request, &[tokens.blank])?,
        false => Sides::without_blank(tokenizer, request)?,
    };
    let (starts, ends) = match is_cloze {
        true => (vec![tokens.start, tokens.blank], vec![tokens.after_blank, tokens.end]),
        false => (vec![tokens.start], vec![tokens.end]),
    };
    // The limit counts as it does for the other families: what is read for one candidate, answer included.
    let truncated = sides.fit(request, 1 + num_answer_tokens)?;
    Ok(Source { ids: sides.ids().chain([tokens.end]).collect(), starts, ends, truncated })
}
