//! What objectives need to know of a vocabulary.

use crate::tokenizer::{SpecialTokens, Tokenizer, TokenizerError};

/// Special tokens, and which tokens end a sentence.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// Ids of the special tokens.
    pub special: SpecialTokens,
    /// Tokens of the tokenizer.
    pub num_tokens: usize,
    /// T5's sentinels `<extra_id_0>`, `<extra_id_1>` and so on, as far as the tokenizer has them.
    extra_ids: Vec<u32>,
    ends: Vec<Ends>,
}

/// How a token ends sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    No,
    /// Where sentences are blanked out, but not where rows are cut.
    Blanks,
    Both,
}

/// A token that an objective needs and the vocabulary lacks.
#[derive(Debug, thiserror::Error)]
#[error(
    "the objective needs {} for {what}, which the tokenizer lacks; add it to the tokenizer (`--train-tokenizer` makes one \
     that has all of them), or switch {option} off", .token
)]
pub struct VocabularyError {
    pub(super) token: &'static str,
    pub(super) what: &'static str,
    pub(super) option: &'static str,
}

const ENDS: [char; 6] = ['.', '?', '!', ';', ':', '\n'];
const CHINESE_ENDS: [char; 5] = ['。', '？', '！', '；', '…'];

impl Vocabulary {
    /// Looks at every token once. A token that contains one of `. ? ! ; :` or a newline ends a sentence; the Chinese
    /// marks and the ellipsis do so only for blanks of sentences.
    ///
    /// Source: THUDM/GLM@4f61ed7 `blocklm_utils.py`, `data_utils/datasets.py`, `contains_sentence_end`.
    ///
    /// # Errors
    /// Where the tokenizer was opened without GLM's tokens.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let special = tokenizer.special()?.clone();
        let is_special = |id: u32| {
            let s = &special;
            let optional = [s.gmask, s.smask, s.dblock];
            [s.pad, s.cls, s.mask, s.sep, s.unk, s.sop, s.eop].contains(&id) || optional.contains(&Some(id))
        };
        let ends = |id: u32| {
            // Byte-level pieces spell a newline `Ċ`, and others as bytes: their text says what they are.
            let text = tokenizer.decode(&[id]).unwrap_or_default();
            match () {
                () if is_special(id) => Ends::No,
                () if text.contains(ENDS) => Ends::Both,
                () if text.contains(CHINESE_ENDS) => Ends::Blanks,
                () => Ends::No,
            }
        };
        let num_tokens = tokenizer.num_tokens();
        let extra_ids = (0..).map_while(|i| tokenizer.id(&format!("<extra_id_{i}>"))).collect();
        Ok(Self { num_tokens, extra_ids, ends: (0..num_tokens as u32).map(ends).collect(), special })
    }

    /// So many sentinels for spans: the tokenizer's own; else, in GLM's vocabularies, `[MASK]` and `[CLS]` and then the
    /// last of `embedding_rows` rows that no token has, counted down. `None` where there are not enough.
    pub fn sentinels(&self, count: usize, embedding_rows: usize) -> Option<Vec<u32>> {
        let free = (self.num_tokens as u32..embedding_rows as u32).rev();
        let sentinels: Vec<u32> = match self.extra_ids.is_empty() {
            true => [self.special.mask, self.special.cls].into_iter().chain(free).take(count).collect(),
            false => self.extra_ids.iter().copied().take(count).collect(),
        };
        (sentinels.len() == count).then_some(sentinels)
    }

    /// Does this token end a sentence, where rows are cut?
    pub fn ends_sentence(&self, id: u32) -> bool {
        self.ends.get(id as usize) == Some(&Ends::Both)
    }

    /// Does this token end a sentence, where sentences are blanked out?
    pub fn ends_blank(&self, id: u32) -> bool {
        self.ends.get(id as usize).is_some_and(|ends| *ends != Ends::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_stops_end_sentences_and_special_tokens_do_not() {
        let tokenizer = Tokenizer::builtin();
        let vocabulary = Vocabulary::new(&tokenizer).unwrap();
        let id = |text: &str| tokenizer.encode(text).expect("plain text")[0];
        for end in [".", "?", "!", ";", ":"] {
            assert!(vocabulary.ends_sentence(id(end)) && vocabulary.ends_blank(id(end)), "{end}");
        }
        for other in ["the", ",", "[MASK]"] {
            assert!(!vocabulary.ends_sentence(id(other)) && !vocabulary.ends_blank(id(other)), "{other}");
        }
        assert!(!vocabulary.ends_sentence(u32::MAX));
    }
}
