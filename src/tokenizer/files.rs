//! The files a vocabulary can come in: `vocab.txt` (BERT), `vocab.json` with `merges.txt` (GPT-2 and `RoBERTa`), and
//! `tokenizer.json`, which `json` reads.

use std::path::{Path, PathBuf};

use super::TokenizerError;
use super::json::{self, Entries};
use super::vocabulary::{BertNormalization, Cutting, UNCASED, Vocabulary};

/// Longest word, in characters, that BERT's `WordPiece` looks at.
const BERT_MAX_WORD_CHARS: usize = 100;

/// Reads whichever vocabulary there is at `path`: a folder, or one of the files.
pub(super) fn open(path: &Path) -> Result<Vocabulary, TokenizerError> {
    if path.is_dir() {
        let [whole, bert, pieces, merges] =
            ["tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"].map(|name| path.join(name));
        return match () {
            () if whole.is_file() => tokenizer_json(&whole),
            () if bert.is_file() => vocab_txt(&bert),
            () if pieces.is_file() && merges.is_file() => vocab_json(&pieces, &merges),
            () if pieces.is_file() => not_found(path, "merges.txt beside its vocab.json"),
            () if merges.is_file() => not_found(path, "vocab.json beside its merges.txt"),
            () => not_found(path, "tokenizer.json, vocab.txt, vocab.json with merges.txt"),
        };
    }
    if !path.is_file() {
        return not_found(path, "a folder or a file of that name");
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_string();
    match name.as_str() {
        "vocab.json" | "merges.txt" => {
            let [pieces, merges] = ["vocab.json", "merges.txt"].map(|name| path.with_file_name(name));
            match [&pieces, &merges].into_iter().find(|file| !file.is_file()) {
                Some(missing) => not_found(path, &missing.display().to_string()),
                None => vocab_json(&pieces, &merges),
            }
        }
        _ if path.extension().is_some_and(|extension| extension == "json") => tokenizer_json(path),
        _ => vocab_txt(path),
    }
}

fn not_found<T>(path: &Path, looked_for: &str) -> Result<T, TokenizerError> {
    Err(TokenizerError::NotFound { path: path.to_path_buf(), looked_for: looked_for.to_string() })
}

fn tokenizer_json(path: &Path) -> Result<Vocabulary, TokenizerError> {
    json::parse(path, &read(path)?)
}

/// One piece a line, its number the id.
fn vocab_txt(path: &Path) -> Result<Vocabulary, TokenizerError> {
    let text = read_text(path)?;
    let entries: Vec<_> = (0u32..).zip(text.lines()).map(|(id, piece)| (piece.to_string(), id)).collect();
    let num_pieces = entries.len();
    let normalization = bert_normalization(&path.with_file_name("tokenizer_config.json"))?;
    let cutting = Cutting::WordPiece { normalization, max_word_chars: BERT_MAX_WORD_CHARS };
    Vocabulary::new(path, entries, num_pieces, cutting)
}

/// What the library's settings beside a `vocab.txt` say; without them, BERT's is uncased.
fn bert_normalization(settings: &Path) -> Result<BertNormalization, TokenizerError> {
    #[derive(Default, serde::Deserialize)]
    struct Settings {
        do_lower_case: Option<bool>,
        strip_accents: Option<bool>,
        tokenize_chinese_chars: Option<bool>,
    }
    let found: Settings = match settings.is_file() {
        true => serde_json::from_slice(&read(settings)?).map_err(|source| TokenizerError::Json {
            path: settings.to_path_buf(),
            expected: "tokenizer_config.json",
            source,
        })?,
        false => Settings::default(),
    };
    Ok(BertNormalization {
        lowercase: found.do_lower_case.unwrap_or(UNCASED.lowercase),
        strip_accents: found.strip_accents.or(UNCASED.strip_accents),
        handle_chinese_chars: found.tokenize_chinese_chars.unwrap_or(UNCASED.handle_chinese_chars),
        clean_text: UNCASED.clean_text,
    })
}

/// Pieces with their ids, and the merges, best first.
fn vocab_json(pieces: &Path, merges: &Path) -> Result<Vocabulary, TokenizerError> {
    let Entries { pieces: entries, .. } = serde_json::from_slice(&read(pieces)?).map_err(|source| {
        TokenizerError::Json { path: pieces.to_path_buf(), expected: "vocab.json", source }
    })?;
    let merges = merges_txt(merges)?;
    let num_pieces = entries.len();
    Vocabulary::new(pieces, entries, num_pieces, Cutting::ByteLevel { merges, splits_digits: false })
}

/// Two pieces a line; only the first line may be a comment, for `#` is a piece like any other.
fn merges_txt(path: &Path) -> Result<Vec<(String, String)>, TokenizerError> {
    let text = read_text(path)?;
    let lines = text.lines().enumerate().filter(|(i, line)| !(*i == 0 && line.starts_with("#version")));
    let lines = lines.map(|(_, line)| line).filter(|line| !line.is_empty());
    lines.enumerate().map(|(i, line)| json::split_merge(path, i + 1, line)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    std::fs::read(path).map_err(|source| TokenizerError::Read { path: PathBuf::from(path), source })
}

fn read_text(path: &Path) -> Result<String, TokenizerError> {
    String::from_utf8(read(path)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|&byte| byte == b'\n').count();
        TokenizerError::NotUtf8 { path: path.to_path_buf(), line }
    })
}
