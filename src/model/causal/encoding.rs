//! How a request becomes the tokens of a causal model.

use super::Marks;
use crate::model::ModelError;
use crate::model::prompt::windows::{Window, of_text};
use crate::model::prompt::{EncodingError, Sides, candidate_ids};
use crate::model::writing::Source;
use crate::request::{Ask, Part, Request};
use crate::tokenizer::Tokenizer;

/// A prefix and its continuations; every token of a continuation is scored, given the prefix and those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// At least one token.
    pub prefix: Vec<u32>,
    /// At least one token each.
    pub continuations: Vec<Vec<u32>>,
    /// Tokens that truncation removed.
    pub truncated_tokens: usize,
}

impl Encoding {
    /// One encoding a window of a text: its scored tokens continue those before them. The text begins with the start
    /// token.
    pub fn windows(
        tokenizer: &Tokenizer,
        marks: Marks,
        request: &Request,
    ) -> Result<Vec<Self>, EncodingError> {
        let (ids, windows) = of_text(tokenizer, request)?;
        let is_end = matches!(request.ask, Ask::LogProb { last_part_only: true, .. });
        let encode = |Window { tokens, first_scored }: Window| {
            let start = (tokens.start == 0).then_some(marks.start);
            // A window that scores all of its tokens but one reads that one.
            let first_scored = first_scored.max(tokens.start + 1);
            Self {
                prefix: start.into_iter().chain(ids[tokens.start..first_scored].iter().copied()).collect(),
                continuations: vec![ids[first_scored..tokens.end].to_vec()],
                truncated_tokens: if is_end { tokens.start } else { 0 },
            }
        };
        Ok(windows.into_iter().map(encode).filter(|window| window.num_scored() > 0).collect())
    }

    /// The prompt up to its blank, and as continuations each candidate with what follows the blank; where the end of
    /// the piece is asked for, the end of the text is its last token.
    ///
    /// That is the likelihood of the whole text divided by that of what all candidates share, so it ranks candidates as
    /// whole texts do: the "full" scoring of Trinh & Le 2018, and where nothing follows the blank, the continuation of
    /// lm-evaluation-harness (`loglikelihood`).
    pub fn of_candidates(
        tokenizer: &Tokenizer,
        marks: Marks,
        request: &Request,
    ) -> Result<Self, EncodingError> {
        let (texts, ends) = match &request.ask {
            Ask::Word { words } => (words, false),
            Ask::Choice { candidates, end_of_piece, .. } => (candidates, *end_of_piece),
            Ask::Classify { .. } => {
                let (id, expected) =
                    (request.id.clone(), "a blank, since causal models have no classification head");
                return Err(EncodingError::Inputs { id, found: 0, expected });
            }
            Ask::LogProb { .. } => unreachable!("a text has windows"),
            Ask::Generate { .. } => unreachable!("a text that is to be written has a source"),
        };
        let candidates = candidate_ids(tokenizer, request, texts)?;
        let longest = candidates.iter().map(Vec::len).max().unwrap_or(0);
        let mut sides = Sides::new(tokenizer, request, &[])?;
        let besides = longest + usize::from(ends);
        let mut starts = marks.begins_every_text || sides.blank_start() == 0;
        let mut truncated_tokens = sides.fit(request, besides + usize::from(starts))?;
        if !starts && sides.blank_start() == 0 {
            // All that was before the blank is cut away, and something has to stand there.
            starts = true;
            truncated_tokens += sides.fit(request, besides + 1)?;
        }
        let before = sides.ids().take(sides.blank_start());
        let prefix = starts.then_some(marks.start).into_iter().chain(before).collect();
        let after: Vec<u32> = sides.ids().skip(sides.blank_start()).collect();
        let end = ends.then_some(marks.end);
        let continuation = |ids: Vec<u32>| ids.into_iter().chain(after.iter().copied()).chain(end).collect();
        let continuations = candidates.into_iter().map(continuation).collect();
        Ok(Self { prefix, continuations, truncated_tokens })
    }

    /// The same continuations after nothing: how probable they are whatever the prompt.
    #[must_use]
    pub fn unconditional(&self, marks: Marks) -> Self {
        Self { prefix: vec![marks.start], continuations: self.continuations.clone(), truncated_tokens: 0 }
    }

    /// Tokens that the network reads.
    pub fn num_read(&self) -> usize {
        self.prefix.len() + self.num_scored() - self.continuations.len()
    }

    /// Tokens that are scored.
    pub fn num_scored(&self) -> usize {
        self.continuations.iter().map(Vec::len).sum()
    }
}

/// The prompt of a text that is to be written, cut so that `num_new_tokens` fit behind it.
///
/// # Errors
/// When it can't be tokenized or cut so far, or something follows its blank.
pub fn source(
    tokenizer: &Tokenizer,
    marks: Marks,
    request: &Request,
    num_new_tokens: usize,
) -> Result<Source, ModelError> {
    let mut sides = Sides::new(tokenizer, request, &[])?;
    if sides.blank_start() < sides.ids().count() {
        let what =
            "a causal model goes on where a prompt ends, and something follows the blank; put it at the end";
        return Err(ModelError::Unsupported { id: request.id.clone(), what: what.into() });
    }
    let starts = marks.begins_every_text || sides.blank_start() == 0;
    let truncated = sides.fit(request, num_new_tokens + usize::from(starts))?;
    let start = (starts || sides.blank_start() == 0).then_some(marks.start);
    let ids = start.into_iter().chain(sides.ids()).collect();
    Ok(Source { ids, starts: vec![], ends: vec![marks.end], truncated })
}

/// Bytes of the text of each continuation, before any of it is cut.
pub fn continuation_bytes(request: &Request) -> Vec<usize> {
    let texts = match &request.ask {
        Ask::Word { words: texts } | Ask::Choice { candidates: texts, .. } => texts.as_slice(),
        Ask::Classify { .. } | Ask::Generate { .. } | Ask::LogProb { .. } => &[],
    };
    let after: usize = request
        .prompt
        .parts()
        .skip_while(|part| !part.is_blank())
        .map(|part| if let Part::Text { text, .. } = part { text.len() } else { 0 })
        .sum();
    texts.iter().map(|text| text.len() + after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Prompt;

    const MARKS: Marks = Marks { start: 2, end: 0, begins_every_text: false };

    fn text(text: &str, shortenable: bool) -> Part {
        Part::Text { text: text.to_owned(), shortenable }
    }

    fn choice(side_a: Vec<Part>, candidates: &[&str], end_of_piece: bool, max_tokens: usize) -> Request {
        let candidates = candidates.iter().map(ToString::to_string).collect();
        Request {
            id: "dev-0".into(),
            prompt: Prompt { side_a, side_b: vec![] },
            ask: Ask::Choice { candidates, end_of_piece, length_penalty: 0.0, bidirectional: true },
            max_tokens,
        }
    }

    fn ids(text: &str) -> Vec<u32> {
        Tokenizer::builtin().encode(text).expect("plain text")
    }

    fn encoding(request: &Request, marks: Marks) -> Encoding {
        Encoding::of_candidates(&Tokenizer::builtin(), marks, request).expect("it fits")
    }

    #[test]
    fn what_is_before_the_blank_is_the_prefix_and_what_follows_it_ends_every_continuation() {
        let parts = || vec![text("it is", false), Part::Blank, text(" today .", false)];
        let request = choice(parts(), &[" hot", " very cold"], false, 64);
        let found = encoding(&request, MARKS);
        assert_eq!(found.prefix, ids("it is"));
        let with_rest = |answer: &str| [ids(answer), ids(" today .")].concat();
        assert_eq!(found.continuations, [with_rest(" hot"), with_rest(" very cold")]);
        assert_eq!(continuation_bytes(&request), [4 + 8, 10 + 8]);
        let ended = encoding(&choice(parts(), &[" hot"], true, 64), MARKS);
        assert_eq!(ended.continuations, [[with_rest(" hot"), vec![0]].concat()]);
        let started = encoding(&request, Marks { begins_every_text: true, ..MARKS });
        assert_eq!(started.prefix, [vec![2], ids("it is")].concat());
    }

    #[test]
    fn without_a_text_before_the_blank_the_start_of_a_text_is_the_prefix() {
        let request = choice(vec![Part::Blank, text(" it is", false)], &[" so"], false, 64);
        assert_eq!(encoding(&request, MARKS).prefix, [2]);
        // Four tokens of the answer leave no room for another before them.
        let request = choice(vec![text("it is", true), Part::Blank], &[" so it is now"], false, 4);
        let error = Encoding::of_candidates(&Tokenizer::builtin(), MARKS, &request).expect_err("no room");
        assert!(error.to_string().contains("1 tokens too long for 4"), "{error}");
    }

    #[test]
    fn the_longest_continuation_fits() {
        let before = "the cat sat on the mat and looked at the cow ".repeat(4);
        let request = choice(vec![text(&before, true), Part::Blank], &[" a", " a b c d"], true, 20);
        let found = encoding(&request, MARKS);
        let longest = found.continuations.iter().map(Vec::len).max().expect("two");
        assert_eq!(found.prefix.len() + longest, 20);
        assert_eq!(found.truncated_tokens, ids(&before).len() + longest - 20);
    }
}
