//! Rows of tokens cut out of documents.
//!
//! A document is drawn with a probability proportional to its length. Of a long one, a window is taken that begins and
//! ends at the end of a sentence, if one is near; short ones follow each other until the row is full, each with its own
//! start token, without a reset of positions or attention between them.
//!
//! Source: THUDM/GLM@4f61ed7 `data_utils/datasets.py`, `BlockDataset`.

use std::sync::Arc;

use super::{Draws, Vocabulary};

/// Tokenized documents.
pub trait Documents: Send + Sync {
    /// Tokens of all documents.
    fn num_tokens(&self) -> usize;

    /// The document that a token belongs to, counting from the first token of the first document.
    fn document_of(&self, token: usize) -> usize;

    /// Tokens of a document.
    fn len_of(&self, document: usize) -> usize;

    /// Some tokens of a document.
    fn tokens(&self, document: usize, range: std::ops::Range<usize>) -> Vec<u32>;
}

impl Documents for Vec<Vec<u32>> {
    fn num_tokens(&self) -> usize {
        self.iter().map(Vec::len).sum()
    }

    fn document_of(&self, token: usize) -> usize {
        let mut end = 0;
        let ends_after = |document: &Vec<u32>| {
            end += document.len();
            end > token
        };
        self.iter().position(ends_after).expect("the token is in one of the documents")
    }

    fn len_of(&self, document: usize) -> usize {
        self[document].len()
    }

    fn tokens(&self, document: usize, range: std::ops::Range<usize>) -> Vec<u32> {
        self[document][range].to_vec()
    }
}

/// Why there are no rows.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// There is nothing to cut rows out of.
    #[error("the documents have no tokens")]
    NoTokens,
    /// A row must hold a start token, some text and an end.
    #[error("rows of {0} tokens are too short; they need at least {MIN_LENGTH}")]
    TooShort(usize),
}

/// Fewest tokens of a row.
pub const MIN_LENGTH: usize = 8;

/// Rows of documents.
#[derive(Clone)]
pub struct Rows<D> {
    documents: D,
    vocabulary: Arc<Vocabulary>,
    max_length: usize,
    /// Do short documents share a row?
    across_documents: bool,
}

impl<D: Documents> Rows<D> {
    /// Rows of at most `max_length` tokens.
    ///
    /// # Errors
    /// When there is nothing to cut.
    pub fn new(
        documents: D,
        vocabulary: Arc<Vocabulary>,
        max_length: usize,
        across_documents: bool,
    ) -> Result<Self, RowError> {
        if documents.num_tokens() == 0 {
            return Err(RowError::NoTokens);
        }
        if max_length < MIN_LENGTH {
            return Err(RowError::TooShort(max_length));
        }
        Ok(Self { documents, vocabulary, max_length, across_documents })
    }

    /// A row: `[CLS]`, tokens of a document, and an end token where the document ends in the row.
    pub fn draw(&self, draws: &mut dyn Draws) -> Vec<u32> {
        let special = &self.vocabulary.special;
        let document = self.draw_document(draws);
        // With the end token that follows each document, and the start token before it.
        let excess = (self.documents.len_of(document) + 2).saturating_sub(self.max_length);
        if excess > 0 {
            let drawn = draws.below(excess);
            let start = self.start(document, drawn, draws);
            return match start < self.documents.len_of(document) {
                true => self.piece(document, start, self.max_length),
                false => self.draw(draws), // the end of the document, without any of its text
            };
        }
        let mut row = self.piece(document, 0, self.max_length);
        while self.across_documents && row.len() < self.max_length {
            let room = self.max_length - row.len();
            let document = self.draw_document(draws);
            let is_last = self.documents.len_of(document) + 2 >= room;
            row.extend(self.piece(document, 0, room));
            if is_last {
                break;
            }
        }
        debug_assert_eq!(row[0], special.cls);
        row
    }

    fn draw_document(&self, draws: &mut dyn Draws) -> usize {
        self.documents.document_of(draws.below(self.documents.num_tokens()))
    }

    /// Moves a start to the end of a sentence: by a coin back, or on, by at most half a row.
    fn start(&self, document: usize, drawn: usize, draws: &mut dyn Draws) -> usize {
        let farthest = self.max_length / 2;
        let _ = draws.unit(); // the coin for starts inside of sentences, which the official options leave at 0
        let goes_back = draws.unit() < 0.5;
        let (first, last) = match goes_back {
            true => (drawn.saturating_sub(farthest), drawn),
            false => (drawn, (drawn + farthest).min(self.documents.len_of(document) + 1)),
        };
        let (before, len) = (first.saturating_sub(1), self.documents.len_of(document));
        let around = self.documents.tokens(document, before..last.min(len));
        let follows_end = |start: usize| {
            start > 0 && start <= len && self.vocabulary.ends_sentence(around[start - 1 - before])
        };
        let mut starts = first..=last;
        match goes_back {
            // The beginning of the document is good, too.
            true => starts.rev().find(|&start| start == 0 || follows_end(start)).unwrap_or(first),
            false => starts.find(|&start| follows_end(start)).unwrap_or(last),
        }
    }

    /// `[CLS]` and the document from `start` on, cut to `room` tokens: back to the end of a sentence, unless more than
    /// half would go.
    fn piece(&self, document: usize, start: usize, room: usize) -> Vec<u32> {
        let special = &self.vocabulary.special;
        let len = self.documents.len_of(document);
        let end = len.min(start + room.saturating_sub(1));
        let mut piece = vec![special.cls];
        piece.extend(self.documents.tokens(document, start.min(len)..end));
        if start + room > len + 1 {
            piece.push(special.eos);
            return piece;
        }
        let ends = |keep: &usize| *keep == 1 || self.vocabulary.ends_sentence(piece[keep - 1]);
        let keep = (1..=room).rev().find(ends).unwrap_or(room);
        piece.truncate(if keep < room / 2 { room } else { keep });
        piece
    }
}
