//! A long text in windows that overlap, so that every token is scored once with enough before it.
//!
//! Source: THUDM/GLM@4f61ed7 `tasks/language_model/dataset.py`, `LMDataset`.

use std::ops::Range;

use super::{EncodingError, Sides};
use crate::request::{Ask, Request};
use crate::tokenizer::Tokenizer;

/// Tokens that are read at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Which tokens of the text.
    pub tokens: Range<usize>,
    /// The first of them that is scored; all behind it are, too.
    pub first_scored: usize,
}

/// The windows of a text: the first reads `length` tokens and scores all but the text's first, each later one begins
/// `stride` tokens further and scores those that none before it has.
pub fn windows(num_tokens: usize, length: usize, stride: usize) -> Vec<Window> {
    let later = num_tokens.saturating_sub(length).div_ceil(stride);
    let window = |index: usize| {
        let start = index * stride;
        let first_scored = if index == 0 { 1 } else { start + length - stride };
        Window { tokens: start..num_tokens.min(start + length), first_scored }
    };
    (0..=later).map(window).collect()
}

/// The tokens of a request's text and their windows. A window has one token less than `max_tokens`: one place is for what
/// stands before it.
///
/// # Errors
/// When there is nothing to score, or the windows would leave tokens out.
pub fn of_text(tokenizer: &Tokenizer, request: &Request) -> Result<(Vec<u32>, Vec<Window>), EncodingError> {
    let Ask::LogProb { stride, last_part_only, .. } = request.ask else {
        unreachable!("only a text has windows")
    };
    let sides = Sides::without_blank(tokenizer, request)?;
    let ids: Vec<u32> = sides.ids().collect();
    let id = || request.id.clone();
    if ids.len() < 2 {
        return Err(EncodingError::TooShort { id: id(), found: ids.len() });
    }
    let length = request.max_tokens.saturating_sub(1);
    if length < 2 || !(last_part_only || (1..=length).contains(&stride)) {
        return Err(EncodingError::Stride { id: id(), stride, max_tokens: request.max_tokens });
    }
    let windows = match last_part_only {
        true => {
            let start = ids.len().saturating_sub(length);
            let first_scored = sides.last_part_start().max(start + 1);
            vec![Window { tokens: start..ids.len(), first_scored }]
        }
        false => windows(ids.len(), length, stride),
    };
    Ok((ids, windows))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_by_hand() {
        // Ten tokens, windows of six that go on by two: 0..6 scores 1 to 5, 2..8 scores 6 and 7, 4..10 scores 8 and 9.
        let window = |tokens, first_scored| Window { tokens, first_scored };
        assert_eq!(windows(10, 6, 2), [window(0..6, 1), window(2..8, 6), window(4..10, 8)]);
        assert_eq!(windows(9, 6, 2).last(), Some(&window(4..9, 8)));
        assert_eq!(windows(6, 6, 2), [window(0..6, 1)]);
        assert_eq!(windows(2, 6, 2), [window(0..2, 1)]);
    }

    proptest! {
        #[test]
        fn every_token_but_the_first_is_scored_once(tokens in 2..200_usize, length in 2..40_usize, stride in 1..40_usize) {
            let stride = stride.min(length);
            let scored: Vec<usize> =
                windows(tokens, length, stride).into_iter().flat_map(|w| w.first_scored..w.tokens.end).collect();
            prop_assert_eq!(scored, (1..tokens).collect::<Vec<_>>());
        }
    }
}
