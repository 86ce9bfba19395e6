//! Text to ids and back: with GLM's special tokens in the ids of each vocabulary family, or as the vocabulary was
//! published, for the models of other families.
//!
//! BERT's `WordPiece` and the byte-level BPE of GPT-2 and `RoBERTa` are cut by the `tokenizers` library; what surrounds
//! it (special tokens written in a text, their ids, decoding) follows THUDM/GLM@4f61ed7, `data_utils/tokenization.py`,
//! token for token. Nothing is added to a text, and nothing depends on the number of threads.

mod byte_level;
mod error;
mod files;
mod json;
mod special;
pub mod training;
mod vocabulary;
mod wordpiece;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use tokenizers::models::{bpe, unigram::Unigram, wordpiece::WordPiece};
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::pre_tokenizers::{
    bert::BertPreTokenizer, byte_level::ByteLevel, digits::Digits, sequence::Sequence,
};

pub use error::TokenizerError;
use json::META;
use special::{Command, Stretch};
pub use special::{Extras, Family, SpecialTokens};
use tokenizers::{Model as _, Normalizer as _};
use vocabulary::{Cutting, Vocabulary};
use wordpiece::WordPieces;

/// The vocabulary of `models/glm-tiny`, which works from any folder.
const BUILTIN: &[u8] = include_bytes!("../../models/glm-tiny/tokenizer.json");

/// Rows that no published embedding has more than tokens.
const PADDING: usize = 1024;

/// A vocabulary, with GLM's special tokens or as published. Cheap to clone; may be shared between threads.
#[derive(Clone, Debug)]
pub struct Tokenizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    vocabulary: Vocabulary,
    /// `None` where the vocabulary is used as published.
    special: Option<SpecialTokens>,
    commands: Vec<Command>,
    /// Cuts the text between special tokens.
    library: tokenizers::Tokenizer,
    /// Cuts most of it faster, where it can.
    word_pieces: Option<WordPieces>,
    sha256: String,
}

impl Tokenizer {
    /// Opens a folder with `tokenizer.json`, `vocab.txt` (BERT) or `vocab.json` and `merges.txt` (GPT-2 or `RoBERTa`,
    /// told apart by their contents), or such a file itself.
    ///
    /// A vocabulary that is not GLM's yet gets its special tokens appended: the block symbols, and for GPT-2 the
    /// task masks of the published checkpoints. [`Tokenizer::open_with`] chooses otherwise.
    ///
    /// # Errors
    /// Where no vocabulary is found, or the one found is damaged, unsupported or lacks tokens that GLM needs.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        Self::new(files::open(path)?, None)
    }

    /// Like [`Tokenizer::open`], with the optional tokens as in the official options `add_task_mask` and
    /// `add_decoder_mask`. They are appended where they are lacking; what the file has stays.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn open_with(path: &Path, extras: Extras) -> Result<Self, TokenizerError> {
        Self::new(files::open(path)?, Some(extras))
    }

    /// The vocabulary of the bundled `glm-tiny`: 8,192 uncased pieces.
    pub fn builtin() -> Self {
        static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
        let parse = || Self::new(builtin()?, None);
        TOKENIZER.get_or_init(|| parse().expect("the bundled vocabulary is valid")).clone()
    }

    /// The same vocabulary, for a model of another family.
    pub fn builtin_published() -> Self {
        static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
        let parse = || Self::as_published(builtin()?);
        TOKENIZER.get_or_init(|| parse().expect("the bundled vocabulary is valid")).clone()
    }

    /// Opens what [`Tokenizer::open`] does, as it was published: nothing is appended, and the special tokens are the
    /// vocabulary's own, by their published spelling ([`Tokenizer::id`]). For the families other than GLM.
    ///
    /// # Errors
    /// Where no vocabulary is found, or the one found is damaged or unsupported.
    pub fn published(path: &Path) -> Result<Self, TokenizerError> {
        Self::as_published(files::open(path)?)
    }

    /// The same of the text of a `tokenizer.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`Tokenizer::published`].
    pub fn parse_published(path: &Path, tokenizer_json: &str) -> Result<Self, TokenizerError> {
        Self::as_published(json::parse(path, tokenizer_json.as_bytes())?)
    }

    fn as_published(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        let commands = special::published_commands(&vocabulary);
        Self::assemble(vocabulary, None, commands)
    }

    /// GLM's tokens are appended.
    fn new(mut vocabulary: Vocabulary, extras: Option<Extras>) -> Result<Self, TokenizerError> {
        let special = special::complete(&mut vocabulary, extras)?;
        let commands = special::commands(vocabulary.family, &special);
        Self::assemble(vocabulary, Some(special), commands)
    }

    fn assemble(
        vocabulary: Vocabulary,
        special: Option<SpecialTokens>,
        commands: Vec<Command>,
    ) -> Result<Self, TokenizerError> {
        let library = build(&vocabulary)
            .map_err(|source| TokenizerError::Library { vocabulary: vocabulary.describe(), source })?;
        let unk = special.as_ref().map(|special| special.unk).or(vocabulary.id("[UNK]"));
        let word_pieces = unk.and_then(|unk| WordPieces::new(&vocabulary, unk));
        let digest = Sha256::digest(json::write(&vocabulary, &commands));
        let sha256 = digest.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("strings take all writes");
            hex
        });
        Ok(Self(Arc::new(Inner { vocabulary, special, commands, library, word_pieces, sha256 })))
    }

    /// The ids of `text`, and nothing else. Special tokens written in it become their ids; in byte-level
    /// vocabularies a mask swallows the white space before it. White space alone has no ids.
    ///
    /// # Errors
    /// Only where the library fails, which no text is known to cause.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 4);
        for stretch in special::split(text, &self.0.commands) {
            match stretch {
                Stretch::Command(id) => ids.push(id),
                Stretch::Text(text) => self.push_text(text, &mut ids)?,
            }
        }
        Ok(ids)
    }

    /// The ids of a text from elsewhere, in which the names of special tokens are words like any other.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 4);
        self.push_text(text, &mut ids)?;
        Ok(ids)
    }

    /// The ids of a text without special tokens.
    fn push_text(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let library = |text: &str, ids: &mut Vec<u32>| match self.0.library.encode_fast(text, false) {
            Ok(encoding) => {
                ids.extend_from_slice(encoding.get_ids());
                Ok(())
            }
            Err(source) => Err(TokenizerError::Library { vocabulary: self.0.vocabulary.describe(), source }),
        };
        match (&self.0.word_pieces, self.family()) {
            (Some(pieces), _) => pieces.encode(text, ids, library),
            (None, Family::T5) => self.push_words(text, ids),
            (None, _) => library(text, ids),
        }
    }

    /// The ids of a text, each of whose words carries the white space before it as its first character. The first word
    /// has one only where the text begins with white space: it may go on with the part before.
    fn push_words(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let failed = |source| TokenizerError::Library { vocabulary: self.0.vocabulary.describe(), source };
        let mut normalized = tokenizers::NormalizedString::from(text);
        if let Some(normalizer) = self.0.library.get_normalizer() {
            normalizer.normalize(&mut normalized).map_err(failed)?;
        }
        let text = normalized.get();
        let mut space = if text.starts_with(char::is_whitespace) { META } else { "" };
        for word in text.split_whitespace() {
            let pieces = self.0.library.get_model().tokenize(&format!("{space}{word}")).map_err(failed)?;
            ids.extend(pieces.into_iter().map(|piece| piece.id));
            space = META;
        }
        Ok(())
    }

    /// The text of `ids`. `WordPiece` joins words with spaces (`it ' s`); byte-level vocabularies give the text back
    /// as it was, with U+FFFD for bytes that are no UTF-8.
    ///
    /// # Errors
    /// Where an id is outside of the vocabulary, as the dummy ids of a padded embedding are.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let tokens = ids.iter().map(|&id| {
            let vocabulary = &self.0.vocabulary;
            self.token(id).ok_or_else(|| TokenizerError::IdOutside {
                id,
                vocabulary: vocabulary.describe(),
                last: self.last_id(),
            })
        });
        if self.family() == Family::Bert {
            let mut text = String::new();
            for token in tokens {
                match token? {
                    token if text.is_empty() => text.push_str(token),
                    token => match token.strip_prefix("##") {
                        Some(rest) => text.push_str(rest),
                        None => text.extend([" ", token]),
                    },
                }
            }
            return Ok(text);
        }
        if self.family() == Family::T5 {
            let text = tokens.collect::<Result<String, _>>()?.replace(META, " ");
            return Ok(text.strip_prefix(' ').map_or(text.clone(), str::to_owned));
        }
        let mut bytes = Vec::new();
        for token in tokens {
            byte_level::push_bytes(token?, &mut bytes);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The token of an id as GLM spells it: a piece (with its `##` or `Ġ`), or a special token. `None` outside of
    /// the vocabulary.
    pub fn token(&self, id: u32) -> Option<&str> {
        let command = self.0.commands.iter().rev().find(|command| command.id == id);
        let piece = || self.0.vocabulary.pieces().get(id as usize).map(String::as_str);
        command.map(|command| command.text).or_else(piece)
    }

    /// The ids of GLM's special tokens.
    ///
    /// # Errors
    /// Where the vocabulary was opened as published, for another family.
    pub fn special(&self) -> Result<&SpecialTokens, TokenizerError> {
        self.0.special.as_ref().ok_or_else(|| TokenizerError::NotGlms(self.describe()))
    }

    /// The id of a token by its spelling in the vocabulary, such as `[CLS]`, `<s>`, `##ing` or `Ġthe`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.0.vocabulary.id(token)
    }

    /// The vocabulary in words, for messages.
    pub fn describe(&self) -> String {
        self.0.vocabulary.describe()
    }

    /// Whose vocabulary it is.
    pub fn family(&self) -> Family {
        self.0.vocabulary.family
    }

    /// Number of tokens, special tokens included; the ids are the numbers below it.
    pub fn num_tokens(&self) -> usize {
        self.0.vocabulary.pieces().len()
    }

    fn last_id(&self) -> u32 {
        self.num_tokens() as u32 - 1
    }

    /// Checks that every id has a row of the embedding; more rows than ids are fine, as padded vocabularies have them.
    ///
    /// # Errors
    /// Where there are fewer rows than ids.
    pub fn check_fits(&self, embedding_rows: usize) -> Result<(), TokenizerError> {
        if self.num_tokens() <= embedding_rows {
            return Ok(());
        }
        let (vocabulary, last) = (self.0.vocabulary.describe(), self.last_id());
        Err(TokenizerError::TooFewRows { vocabulary, last, rows: embedding_rows })
    }

    /// Checks that a published vocabulary is that of a model with so many rows: it has the special tokens, under the
    /// ids that the model's configuration gives them, and about as many tokens as rows (tables are padded, but not by
    /// thousands).
    ///
    /// # Errors
    /// Where it is another model's.
    pub fn check_is_of(
        &self,
        family: &'static str,
        embedding_rows: usize,
        tokens: &[(&'static str, Option<u32>)],
    ) -> Result<(), TokenizerError> {
        let missing: Vec<_> =
            tokens.iter().map(|(token, _)| *token).filter(|t| self.id(t).is_none()).collect();
        if !missing.is_empty() {
            let (path, needed) = (self.0.vocabulary.path.clone(), tokens.iter().map(|(t, _)| *t).collect());
            let what = format!("a vocabulary for {family} models");
            return Err(TokenizerError::MissingTokens { path, what, needed, missing });
        }
        for &(token, expected) in tokens {
            if let (Some(expected), Some(found)) = (expected, self.id(token))
                && found != expected
            {
                let vocabulary = self.describe();
                return Err(TokenizerError::OtherId { vocabulary, token, found, expected });
            }
        }
        match embedding_rows - self.num_tokens() < PADDING {
            true => Ok(()),
            false => Err(TokenizerError::TooManyRows { vocabulary: self.describe(), rows: embedding_rows }),
        }
    }

    /// The vocabulary's fingerprint: the SHA-256, in hexadecimal, of what [`Tokenizer::to_json`] gives. The same
    /// vocabulary has the same one, whichever kind of file it was read from.
    pub fn sha256(&self) -> &str {
        &self.0.sha256
    }

    /// The vocabulary with GLM's special tokens as a `tokenizer.json` for a model directory.
    /// [`Tokenizer::open`] on it gives the same ids.
    pub fn to_json(&self) -> String {
        json::write(&self.0.vocabulary, &self.0.commands)
    }
}

fn builtin() -> Result<Vocabulary, TokenizerError> {
    json::parse(Path::new("builtin:glm-tiny"), BUILTIN)
}

/// The library's part of the work. It is told nothing of special tokens: those are GLM's business.
fn build(vocabulary: &Vocabulary) -> tokenizers::Result<tokenizers::Tokenizer> {
    let pieces = &vocabulary.pieces()[..vocabulary.num_model_pieces];
    let ids: bpe::Vocab = pieces.iter().cloned().zip(0u32..).collect();
    match &vocabulary.cutting {
        Cutting::WordPiece { normalization: n, max_word_chars } => {
            let model = WordPiece::builder().vocab(ids).max_input_chars_per_word(*max_word_chars).build()?;
            let normalizer =
                BertNormalizer::new(n.clean_text, n.handle_chinese_chars, n.strip_accents, n.lowercase);
            let mut library = tokenizers::Tokenizer::new(model);
            library.with_normalizer(Some(normalizer))?.with_pre_tokenizer(Some(BertPreTokenizer));
            Ok(library)
        }
        Cutting::ByteLevel { merges, splits_digits } => {
            let model = bpe::BPE::builder().vocab_and_merges(ids, merges.clone()).build()?;
            let mut library = tokenizers::Tokenizer::new(model);
            let byte_level = ByteLevel::new(false, true, true);
            match splits_digits {
                true => library.with_pre_tokenizer(Some(Sequence::new(vec![
                    Digits::new(true).into(),
                    byte_level.into(),
                ]))),
                false => library.with_pre_tokenizer(Some(byte_level)),
            };
            Ok(library)
        }
        Cutting::Unigram { scores, unknown, normalizer } => {
            let pieces = pieces.iter().cloned().zip(scores.iter().copied()).collect();
            let mut library = tokenizers::Tokenizer::new(Unigram::from(pieces, Some(*unknown), false)?);
            if let Some(normalizer) = normalizer {
                let normalizer: NormalizerWrapper = serde_json::from_value(normalizer.clone())?;
                library.with_normalizer(Some(normalizer))?;
            }
            Ok(library)
        }
    }
}

#[cfg(test)]
mod tests;
