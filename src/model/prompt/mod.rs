//! From the texts of a request to tokens: what all families do alike.

pub mod truncation;
pub mod windows;

use self::truncation::{TokenPart, truncate, truncate_start};
use crate::request::{Ask, Cut, Part, Prompt, Request};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Why a request has no encoding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum EncodingError {
    /// A text can't be tokenized.
    #[error("{id}: a text can't be tokenized")]
    Tokenizer { id: String, source: TokenizerError },
    /// The prompt has no blank, or several.
    #[error("{id}: the prompt has {found} blanks; this question needs exactly one")]
    Blanks { id: String, found: usize },
    /// The prompt is too long, even without everything that may be cut.
    #[error(
        "{id}: the prompt is {missing} tokens too long for {max_tokens} with all shortenable parts cut away; \
         raise the maximum length or mark more parts as shortenable"
    )]
    TooLong { id: String, missing: usize, max_tokens: usize },
    /// A word of a one-token question is several tokens, or none.
    #[error(
        "{id}: the word {word:?} is {num_tokens} tokens with this tokenizer, but must be one; \
         ask with --multi-token instead"
    )]
    NotOneToken { id: String, word: String, num_tokens: usize },
    /// A candidate has nothing to score.
    #[error("{id}: the candidate {candidate:?} has no tokens")]
    EmptyCandidate { id: String, candidate: String },
    /// A marked span that is not in its text.
    #[error("{id}: a marked span at bytes {start} to {end} does not fit its text of {length} bytes")]
    SpanOutside { id: String, start: usize, end: usize, length: usize },
    /// Truncation would take a marked span, without which there is no answer.
    #[error(
        "{id}: a marked span has no tokens, or lies beyond {max_tokens} tokens; raise the maximum length"
    )]
    SpanCut { id: String, max_tokens: usize },
    /// The family does not generate here.
    #[error("{id}: {family} models don't write texts; use a GLM, T5, BART, GPT-2 or Llama")]
    Generation { id: String, family: &'static str },
    /// A text without a second token.
    #[error("{id}: the text has {found} tokens; the first is given, so there is nothing to score")]
    TooShort { id: String, found: usize },
    /// Windows that would leave tokens out, or score nothing.
    #[error(
        "{id}: windows of {max_tokens} tokens can't go on by {stride}; the stride is at least 1 and below the maximum \
         length, which is at least 3"
    )]
    Stride { id: String, stride: usize, max_tokens: usize },
    /// The family gives texts no probability.
    #[error("{id}: {family} models don't read texts left to right; ask a GLM, a GPT-2 or a Llama")]
    LogProb { id: String, family: &'static str },
    /// Blanks and texts to fill them differ in number.
    #[error("{id}: {texts} texts for the {blanks} blanks of the prompt; give one each")]
    Texts { id: String, texts: usize, blanks: usize },
    /// There is nothing to choose from, or several inputs where one was asked for.
    #[error("{id}: the question has {found} inputs, where {expected} was expected")]
    Inputs { id: String, found: usize, expected: &'static str },
}

/// The ids of a text of the request.
pub fn encode(tokenizer: &Tokenizer, request: &Request, text: &str) -> Result<Vec<u32>, EncodingError> {
    tokenizer.encode(text).map_err(|source| EncodingError::Tokenizer { id: request.id.clone(), source })
}

/// The id of a word that is one token.
pub fn one_token(tokenizer: &Tokenizer, request: &Request, word: &str) -> Result<u32, EncodingError> {
    match encode(tokenizer, request, word)?.as_slice() {
        [id] => Ok(*id),
        ids => Err(EncodingError::NotOneToken {
            id: request.id.clone(),
            word: word.to_owned(),
            num_tokens: ids.len(),
        }),
    }
}

/// The ids of each candidate: at least one candidate, of at least one token each.
pub fn candidate_ids(
    tokenizer: &Tokenizer,
    request: &Request,
    candidates: &[String],
) -> Result<Vec<Vec<u32>>, EncodingError> {
    let id = || request.id.clone();
    if candidates.is_empty() {
        return Err(EncodingError::Inputs { id: id(), found: 0, expected: "at least one candidate" });
    }
    let ids_of = |candidate: &String| {
        let ids = encode(tokenizer, request, candidate)?;
        match ids.is_empty() {
            true => Err(EncodingError::EmptyCandidate { id: id(), candidate: candidate.clone() }),
            false => Ok(ids),
        }
    };
    candidates.iter().map(ids_of).collect()
}

/// A prompt's sides in tokens.
#[derive(Clone)]
pub struct Sides {
    a: Vec<TokenPart>,
    b: Vec<TokenPart>,
    /// Indices of the blanks' parts, side B counted after side A; that behind the last part, where there is none.
    blanks: Vec<usize>,
}

impl Sides {
    /// Tokenizes a prompt part by part; `blank` stands for its blank.
    ///
    /// # Errors
    /// When the prompt has not exactly one blank.
    pub fn new(tokenizer: &Tokenizer, request: &Request, blank: &[u32]) -> Result<Self, EncodingError> {
        Self::with_blanks(tokenizer, request, |_| blank.to_vec())?.with_one_blank(request)
    }

    /// The same, if there is one blank.
    ///
    /// # Errors
    /// When there are several.
    pub fn with_one_blank(self, request: &Request) -> Result<Self, EncodingError> {
        match self.blanks.len() {
            1 => Ok(self),
            found => Err(EncodingError::Blanks { id: request.id.clone(), found }),
        }
    }

    /// Tokenizes a prompt part by part; `blank` gives the ids that stand for a blank.
    ///
    /// # Errors
    /// When the prompt has no blank.
    pub fn with_blanks(
        tokenizer: &Tokenizer,
        request: &Request,
        blank: impl Fn(&Part) -> Vec<u32>,
    ) -> Result<Self, EncodingError> {
        let part = |part: &Part| match part {
            Part::Text { text, shortenable } => {
                Ok(TokenPart { ids: encode(tokenizer, request, text)?, shortenable: *shortenable })
            }
            Part::Blank | Part::LongBlank(_) => Ok(TokenPart { ids: blank(part), shortenable: false }),
        };
        let Prompt { side_a, side_b } = &request.prompt;
        // By its part, not by the mask's id: a text may contain a mask token of its own.
        let parts = side_a.iter().chain(side_b).enumerate();
        let blanks: Vec<usize> = parts.filter(|(_, part)| part.is_blank()).map(|(index, _)| index).collect();
        if blanks.is_empty() {
            return Err(EncodingError::Blanks { id: request.id.clone(), found: 0 });
        }
        let side = |parts: &[Part]| parts.iter().map(part).collect::<Result<_, _>>();
        Ok(Self { a: side(side_a)?, b: side(side_b)?, blanks })
    }

    /// Tokenizes a prompt part by part that has no blank: all of it is to be read.
    ///
    /// # Errors
    /// When the prompt has one.
    pub fn without_blank(tokenizer: &Tokenizer, request: &Request) -> Result<Self, EncodingError> {
        let part = |part: &Part| match part {
            Part::Text { text, shortenable } => {
                Ok(TokenPart { ids: encode(tokenizer, request, text)?, shortenable: *shortenable })
            }
            Part::Blank | Part::LongBlank(_) => {
                Err(EncodingError::Inputs { id: request.id.clone(), found: 1, expected: "no blank" })
            }
        };
        let side = |parts: &[Part]| parts.iter().map(part).collect::<Result<Vec<_>, _>>();
        let (a, b) = (side(&request.prompt.side_a)?, side(&request.prompt.side_b)?);
        Ok(Self { blanks: vec![a.len() + b.len()], a, b })
    }

    /// The same without a blank that is the last part.
    #[must_use]
    pub fn without_blank_at_end(mut self) -> Self {
        if self.blanks.last() == Some(&(self.a.len() + self.b.len() - 1)) {
            self.blanks.pop();
            self.b.pop().or_else(|| self.a.pop());
        }
        self
    }

    fn parts(&self) -> impl Iterator<Item = &TokenPart> {
        self.a.iter().chain(&self.b)
    }

    /// Cuts shortenable parts until `besides` more tokens fit, and says how many tokens that took.
    ///
    /// # Errors
    /// When it does not fit even without all that may be cut.
    pub fn fit(&mut self, request: &Request, besides: usize) -> Result<usize, EncodingError> {
        let num_tokens = self.parts().map(|part| part.ids.len()).sum::<usize>();
        let excess = (num_tokens + besides).saturating_sub(request.max_tokens);
        let cut = match &request.ask {
            Ask::Generate { cut, .. } => *cut,
            // What comes right before the end says most about it.
            Ask::Choice { .. } if request.prompt.asks_for_the_rest() => Cut::Start,
            _ => Cut::End,
        };
        let cut = match cut {
            Cut::Start => truncate_start(self.a.iter_mut().chain(&mut self.b), excess),
            Cut::End => truncate(&mut self.a, &mut self.b, excess),
        };
        cut.map_err(|missing| EncodingError::TooLong {
            id: request.id.clone(),
            missing,
            max_tokens: request.max_tokens,
        })?;
        Ok(excess)
    }

    /// Tokens before the first blank.
    pub fn blank_start(&self) -> usize {
        self.tokens_before(self.blanks[0])
    }

    /// Tokens before each blank, in reading order.
    pub fn blank_starts(&self) -> impl Iterator<Item = usize> {
        self.blanks.iter().map(|&blank| self.tokens_before(blank))
    }

    /// Tokens before the last part.
    pub fn last_part_start(&self) -> usize {
        self.tokens_before((self.a.len() + self.b.len()).saturating_sub(1))
    }

    fn tokens_before(&self, index: usize) -> usize {
        self.parts().take(index).map(|part| part.ids.len()).sum()
    }

    /// All tokens, side A before side B.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.parts().flat_map(|part| part.ids.iter().copied())
    }
}
