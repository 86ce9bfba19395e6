//! A vocabulary in memory: pieces in the order of their ids, and how text is cut into them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::TokenizerError;
use super::special::Family;

/// How BERT prepares a text before it is cut.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BertNormalization {
    pub clean_text: bool,
    pub handle_chinese_chars: bool,
    /// `None`: as `lowercase`.
    pub strip_accents: Option<bool>,
    pub lowercase: bool,
}

/// `bert-base-uncased`'s own.
pub(super) const UNCASED: BertNormalization =
    BertNormalization { clean_text: true, handle_chinese_chars: true, strip_accents: None, lowercase: true };

/// How text is cut into pieces.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cutting {
    /// Longest match first, within words; a longer word than `max_word_chars` is unknown as a whole.
    WordPiece { normalization: BertNormalization, max_word_chars: usize },
    /// Byte pair encoding over bytes, with these merges, best first; in some vocabularies every digit is a word of
    /// its own.
    ByteLevel { merges: Vec<(String, String)>, splits_digits: bool },
    /// The most probable pieces, by these log-probabilities, of a text that a normaliser of the library has prepared.
    Unigram { scores: Vec<f64>, unknown: usize, normalizer: Option<serde_json::Value> },
}

/// Pieces, their ids, and where they come from.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    pub path: PathBuf,
    pub family: Family,
    pub cutting: Cutting,
    /// Pieces that text can be cut into; what follows in `pieces` are tokens that only a name can call.
    pub num_model_pieces: usize,
    pieces: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    /// Checks that `entries` are pieces with the ids 0, 1, 2, ... (in any order), each once.
    pub fn new(
        path: &Path,
        mut entries: Vec<(String, u32)>,
        num_model_pieces: usize,
        cutting: Cutting,
    ) -> Result<Self, TokenizerError> {
        let path = path.to_path_buf();
        entries.sort_by_key(|(_, id)| *id);
        let Some((last, _)) = entries.last() else {
            return Err(TokenizerError::Empty { path });
        };
        let last = last.clone();
        let mut ids: HashMap<String, u32> = HashMap::with_capacity(entries.len());
        for (expected, (piece, id)) in entries.iter().enumerate() {
            if let Some(first) = ids.insert(piece.clone(), *id) {
                let piece = piece.clone();
                return Err(TokenizerError::DuplicatePiece { path, piece, first, second: *id });
            }
            if *id != expected as u32 {
                let (expected, found, piece) = (expected as u32, *id, piece.clone());
                return Err(TokenizerError::IdOrder { path, expected, found, piece });
            }
        }
        let family = match &cutting {
            Cutting::WordPiece { .. } => Family::Bert,
            // RoBERTa's dictionary has GPT-2's end of text too, as an ordinary piece.
            Cutting::ByteLevel { .. } if ids.contains_key("<s>") && ids.contains_key("</s>") => {
                Family::Roberta
            }
            Cutting::ByteLevel { .. } if ids.contains_key("<|endoftext|>") => Family::Gpt2,
            Cutting::Unigram { .. } if ids.contains_key("</s>") && ids.contains_key("<pad>") => Family::T5,
            Cutting::ByteLevel { .. } | Cutting::Unigram { .. } => {
                return Err(TokenizerError::UnknownFamily { path, last });
            }
        };
        if let Cutting::ByteLevel { merges, .. } = &cutting {
            check_merges(&path, merges, &ids)?;
        }
        let pieces = entries.into_iter().map(|(piece, _)| piece).collect();
        Ok(Self { path, family, cutting, num_model_pieces, pieces, ids })
    }

    /// All pieces, special tokens included, in the order of their ids.
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    /// The id of a piece.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.ids.get(piece).copied()
    }

    /// Gives `token` the next free id.
    pub fn append(&mut self, token: &str) {
        self.ids.insert(token.to_string(), self.pieces.len() as u32);
        self.pieces.push(token.to_string());
    }

    /// The vocabulary in words, for messages.
    pub fn describe(&self) -> String {
        let (family, n) = (self.family.name(), self.pieces.len());
        format!("the {family} vocabulary {} ({n} tokens)", self.path.display())
    }
}

/// Every merge must join two pieces to a third.
fn check_merges(
    path: &Path,
    merges: &[(String, String)],
    ids: &HashMap<String, u32>,
) -> Result<(), TokenizerError> {
    for (i, (left, right)) in merges.iter().enumerate() {
        let joined = format!("{left}{right}");
        if let Some(unknown) = [left, right, &joined].into_iter().find(|piece| !ids.contains_key(*piece)) {
            return Err(TokenizerError::Merge {
                path: path.to_path_buf(),
                number: i + 1,
                merge: format!("{left} {right}"),
                problem: format!("needs the piece {unknown:?}, which the vocabulary lacks"),
            });
        }
    }
    Ok(())
}
