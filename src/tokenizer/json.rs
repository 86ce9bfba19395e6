//! `tokenizer.json`, the format of the Hugging Face tokenizers library: a strict reader for BERT's `WordPiece`, for
//! byte-level BPE and for T5's Unigram, and a writer whose bytes depend on nothing but the vocabulary.
//!
//! Only GLM's own special tokens are recognised in texts, whatever else `added_tokens` lists. `truncation`, `padding`
//! and `post_processor` are not read: here nothing is cut off or added behind the caller's back.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use super::TokenizerError;
use super::special::Command;
use super::vocabulary::{BertNormalization, Cutting, Vocabulary};

/// Pieces with their ids, in the order of the file, so that a piece that is there twice can be seen.
#[derive(Default)]
pub(super) struct Entries {
    pub pieces: Vec<(String, u32)>,
    /// Log-probabilities, of a Unigram model, whose pieces have no ids but their places.
    pub scores: Vec<f64>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pieces;
        impl<'de> Visitor<'de> for Pieces {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("pieces with their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                while let Some(entry) = map.next_entry()? {
                    entries.pieces.push(entry);
                }
                Ok(entries)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                while let Some((piece, score)) = seq.next_element()? {
                    entries.pieces.push((piece, entries.scores.len() as u32));
                    entries.scores.push(score);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_any(Pieces)
    }
}

#[derive(serde::Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    model: Model,
}

#[derive(serde::Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

#[derive(serde::Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    vocab: Entries,
    #[serde(default)]
    merges: Vec<Merge>,
    max_input_chars_per_word: Option<usize>,
    unk_token: Option<String>,
    unk_id: Option<usize>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    dropout: Option<f64>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// Older files write `"a b"`, newer ones `["a", "b"]`.
enum Merge {
    Line(String),
    Pair(String, String),
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(line) => Ok(Self::Line(line)),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(a), Value::String(b)] => Ok(Self::Pair(a.clone(), b.clone())),
                _ => Err(de::Error::custom("a merge has two pieces")),
            },
            _ => Err(de::Error::custom("a merge is two pieces, in a list or with a space between them")),
        }
    }
}

/// Reads the contents of a `tokenizer.json`; `path` is for messages.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vocabulary, TokenizerError> {
    let file: File = serde_json::from_slice(bytes).map_err(|source| TokenizerError::Json {
        path: path.to_path_buf(),
        expected: "tokenizer.json",
        source,
    })?;
    let File { added_tokens, normalizer, pre_tokenizer, mut model } = file;
    let Entries { pieces: mut entries, scores } = std::mem::take(&mut model.vocab);
    let cutting = match model.kind.as_str() {
        "WordPiece" => wordpiece(path, &model, normalizer, pre_tokenizer.as_ref())?,
        "BPE" => byte_level(path, model, normalizer.as_ref(), pre_tokenizer.as_ref())?,
        "Unigram" => unigram(path, &model, scores, normalizer, pre_tokenizer.as_ref())?,
        _ => return Err(unsupported(path, "model.type", model.kind, "WordPiece, BPE or Unigram")),
    };
    let num_model_pieces = entries.len();
    let known: std::collections::HashSet<(String, u32)> = entries.iter().cloned().collect();
    let added = added_tokens.into_iter().map(|token| (token.content, token.id));
    let added: Vec<_> = added.filter(|token| !known.contains(token)).collect();
    if let Some((token, id)) = added.iter().find(|(_, id)| (*id as usize) < num_model_pieces) {
        let found = format!("{id} for {token:?}, which model.vocab lacks");
        return Err(unsupported(path, "added_tokens.id", found, "an id behind those of model.vocab"));
    }
    entries.extend(added);
    Vocabulary::new(path, entries, num_model_pieces, cutting)
}

fn wordpiece(
    path: &Path,
    model: &Model,
    normalizer: Option<Value>,
    pre_tokenizer: Option<&Value>,
) -> Result<Cutting, TokenizerError> {
    require(path, "model.unk_token", model.unk_token.as_deref(), "[UNK]")?;
    require(path, "model.continuing_subword_prefix", model.continuing_subword_prefix.as_deref(), "##")?;
    require(path, "pre_tokenizer.type", kind(pre_tokenizer), "BertPreTokenizer")?;
    require(path, "normalizer.type", kind(normalizer.as_ref()), "BertNormalizer")?;
    let mut settings = normalizer.unwrap_or_default();
    if let Some(object) = settings.as_object_mut() {
        object.remove("type");
    }
    let found = settings.to_string();
    let normalization: BertNormalization = serde_json::from_value(settings).map_err(|_| {
        let supported = "clean_text, handle_chinese_chars, strip_accents and lowercase";
        unsupported(path, "normalizer", found, supported)
    })?;
    let max_word_chars = model.max_input_chars_per_word.unwrap_or(100);
    Ok(Cutting::WordPiece { normalization, max_word_chars })
}

fn byte_level(
    path: &Path,
    model: Model,
    normalizer: Option<&Value>,
    pre_tokenizer: Option<&Value>,
) -> Result<Cutting, TokenizerError> {
    if let Some(normalizer) = normalizer {
        return Err(unsupported(path, "normalizer", normalizer.to_string(), "null"));
    }
    let (splits_digits, pre_tokenizer) = match digits_first(pre_tokenizer) {
        Some(byte_level) => (true, Some(byte_level)),
        None => (false, pre_tokenizer),
    };
    require(path, "pre_tokenizer.type", kind(pre_tokenizer), "ByteLevel")?;
    let setting = |name: &str, default| {
        pre_tokenizer.and_then(|p| p.get(name)).and_then(Value::as_bool).unwrap_or(default)
    };
    if setting("add_prefix_space", true) {
        return Err(unsupported(path, "pre_tokenizer.add_prefix_space", "true".into(), "false"));
    }
    if !setting("use_regex", true) {
        return Err(unsupported(path, "pre_tokenizer.use_regex", "false".into(), "true"));
    }
    for (setting, is_on) in [
        ("model.dropout", model.dropout.is_some_and(|p| p > 0.0)),
        ("model.byte_fallback", model.byte_fallback),
        ("model.ignore_merges", model.ignore_merges),
        ("model.continuing_subword_prefix", model.continuing_subword_prefix.is_some_and(|s| !s.is_empty())),
        ("model.end_of_word_suffix", model.end_of_word_suffix.is_some_and(|s| !s.is_empty())),
    ] {
        if is_on {
            return Err(unsupported(path, setting, "set".into(), "plain byte-level BPE, without it,"));
        }
    }
    let merges = model.merges.into_iter().enumerate().map(|(i, merge)| match merge {
        Merge::Pair(left, right) => Ok((left, right)),
        Merge::Line(line) => split_merge(path, i + 1, &line),
    });
    Ok(Cutting::ByteLevel { merges: merges.collect::<Result<_, _>>()?, splits_digits })
}

/// The second of two steps, where the first makes every digit a word of its own, as in the vocabularies of `SmolLM`.
fn digits_first(pre_tokenizer: Option<&Value>) -> Option<&Value> {
    let steps =
        pre_tokenizer.filter(|p| kind(Some(p)) == Some("Sequence"))?.get("pretokenizers")?.as_array()?;
    match steps.as_slice() {
        [digits, byte_level]
            if kind(Some(digits)) == Some("Digits") && digits["individual_digits"] == true =>
        {
            Some(byte_level)
        }
        _ => None,
    }
}

/// White space becomes the first character of the word after it.
pub(super) const META: &str = "▁";

fn unigram(
    path: &Path,
    model: &Model,
    scores: Vec<f64>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<&Value>,
) -> Result<Cutting, TokenizerError> {
    // Older files cut at white space first, which is the same where words get their white space back one by one.
    let steps = pre_tokenizer.and_then(|value| value.get("pretokenizers")).and_then(Value::as_array);
    let steps: Vec<&Value> =
        steps.map_or_else(|| pre_tokenizer.into_iter().collect(), |all| all.iter().collect());
    let (meta, before) =
        steps.split_last().map_or((None, &steps[..]), |(last, before)| (Some(*last), before));
    require(path, "pre_tokenizer.type", kind(meta), "Metaspace")?;
    require(path, "pre_tokenizer.replacement", meta.and_then(|m| m.get("replacement")?.as_str()), META)?;
    if let Some(other) = before.iter().find(|step| kind(Some(step)) != Some("WhitespaceSplit")) {
        return Err(unsupported(path, "pre_tokenizer", other.to_string(), "WhitespaceSplit and Metaspace"));
    }
    if model.byte_fallback {
        return Err(unsupported(path, "model.byte_fallback", "set".into(), "Unigram without it"));
    }
    let Some(unknown) = model.unk_id.filter(|&id| id < scores.len()) else {
        return Err(unsupported(path, "model.unk_id", format!("{:?}", model.unk_id), "the place of a piece"));
    };
    Ok(Cutting::Unigram { scores, unknown, normalizer })
}

/// Reads `a b`.
pub(super) fn split_merge(
    path: &Path,
    number: usize,
    line: &str,
) -> Result<(String, String), TokenizerError> {
    match line.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok((left.to_string(), right.to_string()))
        }
        _ => Err(TokenizerError::Merge {
            path: path.to_path_buf(),
            number,
            merge: line.to_string(),
            problem: "is not two pieces with one space between them".to_string(),
        }),
    }
}

fn kind(component: Option<&Value>) -> Option<&str> {
    component?.get("type")?.as_str()
}

fn require(
    path: &Path,
    setting: &'static str,
    found: Option<&str>,
    supported: &'static str,
) -> Result<(), TokenizerError> {
    match found {
        Some(found) if found == supported => Ok(()),
        found => Err(unsupported(path, setting, found.unwrap_or("absent").to_string(), supported)),
    }
}

fn unsupported(path: &Path, setting: &'static str, found: String, supported: &'static str) -> TokenizerError {
    TokenizerError::Unsupported { path: path.to_path_buf(), setting, found, supported }
}

/// Writes a `tokenizer.json`: compact, pieces in the order of their ids. Other readers of the format recognise the
/// special tokens too, except GLM's other spellings of `RoBERTa`'s, which the format has no place for.
pub(super) fn write(vocabulary: &Vocabulary, commands: &[Command]) -> String {
    let pieces = vocabulary.pieces();
    let mut special: Vec<_> = commands.iter().map(|command| (command.id, command.strips_left)).collect();
    special.extend((vocabulary.num_model_pieces..pieces.len()).map(|id| (id as u32, false)));
    special.sort_by_key(|(id, _)| *id); // stable: what a command says about itself comes first
    special.dedup_by_key(|(id, _)| *id);
    let added = special.into_iter().map(|(id, lstrip)| {
        json!({
            "id": id, "content": pieces[id as usize], "single_word": false, "lstrip": lstrip, "rstrip": false,
            "normalized": false, "special": true,
        })
    });
    let vocab: Map<String, Value> = (0u64..)
        .zip(&pieces[..vocabulary.num_model_pieces])
        .map(|(id, piece)| (piece.clone(), Value::from(id)))
        .collect();
    let (normalizer, pre_tokenizer, decoder, model) = match &vocabulary.cutting {
        Cutting::WordPiece { normalization: n, max_word_chars } => (
            json!({
                "type": "BertNormalizer", "clean_text": n.clean_text,
                "handle_chinese_chars": n.handle_chinese_chars,
                "strip_accents": n.strip_accents, "lowercase": n.lowercase,
            }),
            json!({"type": "BertPreTokenizer"}),
            json!({"type": "WordPiece", "prefix": "##", "cleanup": false}),
            json!({
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": max_word_chars, "vocab": vocab,
            }),
        ),
        Cutting::ByteLevel { merges, splits_digits } => {
            let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
            let model = json!({
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": merges,
            });
            let digits = json!({"type": "Digits", "individual_digits": true});
            let pre_tokenizer = match splits_digits {
                true => json!({"type": "Sequence", "pretokenizers": [digits, byte_level]}),
                false => byte_level.clone(),
            };
            (Value::Null, pre_tokenizer, byte_level, model)
        }
        Cutting::Unigram { scores, unknown, normalizer } => {
            let meta =
                json!({"type": "Metaspace", "replacement": META, "prepend_scheme": "always", "split": true});
            let vocab: Vec<_> = pieces.iter().zip(scores).collect();
            let model = json!({"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": false});
            (normalizer.clone().unwrap_or_default(), meta.clone(), meta, model)
        }
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder,
        "model": model,
    })
    .to_string()
}
