//! Training a vocabulary from the words of a corpus: `WordPiece` as BERT's, or byte-level BPE as GPT-2's, with GLM's
//! special tokens.
//!
//! The same words give the same vocabulary, whatever the number of threads: whatever the `tokenizers` library would
//! take in the order of a hash map is handed to it beforehand, sorted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Trainer,
};

use super::{Extras, Tokenizer, TokenizerError};

/// How text is to be cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainingKind {
    /// Uncased, with BERT's normalisation.
    #[default]
    WordPiece,
    /// Byte-level, with GPT-2's rules.
    Bpe,
}

/// What kind of vocabulary, and how large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingOptions {
    /// How text is cut.
    pub kind: TrainingKind,
    /// Tokens, special ones included.
    pub vocab_size: usize,
    /// `WordPiece`: rarer characters, if not ASCII, are left to `[UNK]`: they would cost two tokens each.
    pub min_char_count: u64,
    /// `WordPiece`: words that are to be one token each.
    pub required: Vec<String>,
    /// At most so many bytes of each document are looked at.
    pub max_document_bytes: usize,
    /// At most so many bytes of each file are looked at.
    pub max_file_bytes: usize,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            kind: TrainingKind::WordPiece,
            vocab_size: 8192,
            min_char_count: 100,
            required: Vec::new(),
            max_document_bytes: 100_000,
            max_file_bytes: 50_000_000,
        }
    }
}

/// `WordPiece`'s special tokens, in the order of their ids, from 0 on.
const SPECIAL: [&str; 10] = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "<|startofpiece|>",
    "<|endofpiece|>",
    "[gMASK]",
    "[sMASK]",
    "[dBLOCK]",
];
const END_OF_TEXT: &str = "<|endoftext|>";
/// Appended to a BPE vocabulary: see [`Tokenizer::open_with`].
const NUM_APPENDED: usize = 9;

/// The words of a text with their counts, added to `counts`.
///
/// # Errors
/// Only where the library fails, which no text is known to cause.
pub fn count_words(
    text: &str,
    kind: TrainingKind,
    counts: &mut BTreeMap<String, u64>,
) -> Result<(), TokenizerError> {
    let mut count = || -> tokenizers::Result<()> {
        // The library's offsets cost time by the square of a text's length.
        for line in text.split_inclusive('\n') {
            let mut line = NormalizedString::from(line);
            let words = match kind {
                TrainingKind::WordPiece => {
                    BertNormalizer::default().normalize(&mut line)?;
                    let mut words = PreTokenizedString::from(line);
                    BertPreTokenizer.pre_tokenize(&mut words)?;
                    words
                }
                TrainingKind::Bpe => {
                    let mut words = PreTokenizedString::from(line);
                    ByteLevel::new(false, true, true).pre_tokenize(&mut words)?;
                    words
                }
            };
            for (word, ..) in words.get_splits(OffsetReferential::Normalized, OffsetType::None) {
                *counts.entry(word.to_string()).or_default() += 1;
            }
        }
        Ok(())
    };
    count().map_err(library)
}

fn library(source: tokenizers::Error) -> TokenizerError {
    TokenizerError::Library { vocabulary: "a vocabulary in training".into(), source }
}

/// A vocabulary for these words.
///
/// # Errors
/// When there are too few different words for a vocabulary of that size, or it is too small for its alphabet.
pub fn train(counts: &BTreeMap<String, u64>, options: &TrainingOptions) -> Result<Tokenizer, TokenizerError> {
    let folder =
        tempfile::tempdir().map_err(|source| TokenizerError::Read { path: std::env::temp_dir(), source })?;
    let found = match options.kind {
        TrainingKind::WordPiece => word_piece(counts, options, folder.path())?,
        TrainingKind::Bpe => byte_level(counts, options, folder.path())?,
    };
    if found != options.vocab_size {
        return Err(TokenizerError::Training { found, wanted: options.vocab_size });
    }
    // Through files, so that the program itself reads, checks and writes the vocabulary.
    Tokenizer::open_with(folder.path(), Extras { task_masks: true, decoder_mask: true })
}

/// Every word as often as it was counted.
fn repeated(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = &str> + Send {
    counts.iter().flat_map(|(word, &n)| std::iter::repeat_n(word.as_str(), n as usize))
}

fn word_piece(
    counts: &BTreeMap<String, u64>,
    options: &TrainingOptions,
    folder: &Path,
) -> Result<usize, TokenizerError> {
    let mut alphabet = frequent_chars(counts, options.min_char_count);
    let limit = alphabet.len();
    alphabet.extend(('!'..='~').filter(|c| !c.is_ascii_uppercase()));
    let inside: BTreeSet<char> = counts.keys().flat_map(|word| word.chars().skip(1)).collect();
    let mut first: Vec<String> = SPECIAL.map(String::from).to_vec();
    first.extend(alphabet.iter().map(char::to_string));
    first.extend(alphabet.intersection(&inside).map(|c| format!("##{c}")));
    for word in &options.required {
        if !first.contains(word) {
            first.push(word.clone());
        }
    }
    let mut trainer = WordPieceTrainer::builder()
        .show_progress(false)
        .vocab_size(options.vocab_size)
        .limit_alphabet(limit)
        .special_tokens(first.into_iter().map(|piece| AddedToken::from(piece, true)).collect())
        .build();
    let mut model = WordPiece::default();
    trainer.feed(repeated(counts), |word| Ok(vec![word.to_string()])).map_err(library)?;
    trainer.train(&mut model).map_err(library)?;
    let mut pieces: Vec<(String, u32)> = model.get_vocab().into_iter().collect();
    pieces.sort_by_key(|(_, id)| *id);
    let lines: String = pieces.iter().flat_map(|(piece, _)| [piece.as_str(), "\n"]).collect();
    let file = folder.join("vocab.txt");
    std::fs::write(&file, lines).map_err(|source| TokenizerError::Read { path: file, source })?;
    Ok(pieces.len())
}

/// The characters that are frequent enough for pieces of their own.
fn frequent_chars(counts: &BTreeMap<String, u64>, at_least: u64) -> BTreeSet<char> {
    let mut chars: BTreeMap<char, u64> = BTreeMap::new();
    for (word, n) in counts {
        for c in word.chars() {
            *chars.entry(c).or_default() += n;
        }
    }
    chars.into_iter().filter(|(_, n)| *n >= at_least).map(|(c, _)| c).collect()
}

fn byte_level(
    counts: &BTreeMap<String, u64>,
    options: &TrainingOptions,
    folder: &Path,
) -> Result<usize, TokenizerError> {
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(options.vocab_size.saturating_sub(NUM_APPENDED))
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from(END_OF_TEXT.to_string(), true)])
        .build();
    let mut model = BPE::default();
    trainer.feed(repeated(counts), |word| Ok(vec![word.to_string()])).map_err(library)?;
    trainer.train(&mut model).map_err(library)?;
    model.save(folder, None).map_err(library)?;
    Ok(model.get_vocab_size() + NUM_APPENDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(kind: TrainingKind) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        let text = |i: usize| {
            format!("The {}th walker walked; walking, she talked of {}. \n", i, "ab".repeat(i % 9))
        };
        (0..400).for_each(|i| count_words(&text(i), kind, &mut counts).unwrap());
        counts
    }

    fn options(kind: TrainingKind, vocab_size: usize) -> TrainingOptions {
        let required = vec!["maybe".to_string()];
        TrainingOptions { kind, vocab_size, required, ..TrainingOptions::default() }
    }

    #[test]
    fn a_word_piece_vocabulary_has_glms_tokens_first_and_the_required_words() {
        let tokenizer =
            train(&counts(TrainingKind::WordPiece), &options(TrainingKind::WordPiece, 200)).unwrap();
        assert_eq!(tokenizer.num_tokens(), 200);
        let special = tokenizer.special().unwrap();
        assert_eq!((special.pad, special.mask, special.sop, special.gmask), (0, 4, 5, Some(7)));
        assert_eq!(tokenizer.encode("maybe").unwrap().len(), 1);
        let ids = tokenizer.encode("The walker walked.").unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), "the walker walked .");
    }

    #[test]
    fn a_byte_level_vocabulary_gives_any_text_back() {
        let tokenizer = train(&counts(TrainingKind::Bpe), &options(TrainingKind::Bpe, 330)).unwrap();
        assert_eq!(tokenizer.num_tokens(), 330);
        for text in ["The walker walked.", "Ünïcode: 日本\n\t!"] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
        }
        let special = tokenizer.special().unwrap();
        assert!(special.gmask.is_some() && special.smask.is_some() && special.dblock.is_some());
        assert!(tokenizer.encode(" walked").unwrap().len() < 7, "merges were learned");
    }

    #[test]
    fn the_same_words_give_the_same_vocabulary() {
        for (kind, size) in [(TrainingKind::WordPiece, 200), (TrainingKind::Bpe, 330)] {
            let sha256 = || train(&counts(kind), &options(kind, size)).unwrap().sha256().to_string();
            let first = sha256();
            assert!((0..3).all(|_| sha256() == first), "{kind:?}");
        }
    }

    #[test]
    fn too_few_words_for_the_size_are_an_error() {
        for kind in [TrainingKind::WordPiece, TrainingKind::Bpe] {
            let message = train(&counts(kind), &options(kind, 8192)).unwrap_err().to_string();
            assert!(message.contains("8192") && message.contains("vocab_size"), "{message}");
        }
    }
}
