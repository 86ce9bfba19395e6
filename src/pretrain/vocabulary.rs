//! A vocabulary from a corpus.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;

use super::PretrainError;
use crate::data::corpus;
use crate::objective::CacheError;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::training::{TrainingOptions, count_words, train};

/// Text whose words are counted at one time.
const BATCH_BYTES: usize = 4 << 20;

/// Trains a vocabulary on the first part of each document and file.
///
/// # Errors
/// When the corpus is damaged, or does not suffice for the size.
pub fn train_tokenizer(
    files: &[PathBuf],
    text_field: &str,
    options: &TrainingOptions,
) -> Result<Tokenizer, PretrainError> {
    let mut counts = BTreeMap::new();
    for file in files {
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        let (mut of_file, mut of_document) = (0, 0);
        corpus::read(file, text_field, |piece| {
            let room = options.max_document_bytes.saturating_sub(of_document);
            let room = room.min(options.max_file_bytes.saturating_sub(of_file));
            let text = piece.text[..piece.text.floor_char_boundary(room.min(piece.text.len()))].to_string();
            of_file += text.len();
            batch_bytes += text.len();
            of_document = if piece.is_last { 0 } else { of_document + text.len() };
            if !text.is_empty() {
                batch.push(text);
            }
            if batch_bytes >= BATCH_BYTES {
                batch_bytes = 0;
                count(&mut batch, options, &mut counts)?;
            }
            Ok::<_, CacheError>(())
        })?;
        count(&mut batch, options, &mut counts)?;
    }
    if counts.is_empty() {
        return Err(CacheError::Empty { files: files.to_vec() }.into());
    }
    Ok(train(&counts, options)?)
}

fn count(
    texts: &mut Vec<String>,
    options: &TrainingOptions,
    counts: &mut BTreeMap<String, u64>,
) -> Result<(), CacheError> {
    let of_text = |text: String| {
        let mut counts = BTreeMap::new();
        count_words(&text, options.kind, &mut counts).map(|()| counts)
    };
    let all = std::mem::take(texts).into_par_iter().map(of_text).collect::<Result<Vec<_>, _>>()?;
    for (word, n) in all.into_iter().flatten() {
        *counts.entry(word).or_default() += n;
    }
    Ok(())
}
