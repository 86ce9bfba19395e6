//! Trains the vocabulary of `glm-tiny`: 8,192 uncased `WordPiece` entries, GLM's special tokens included.
//!
//! ```text
//! cargo run --release --example train_tokenizer -- CORPUS_DIR models/glm-tiny/tokenizer.json
//! ```
//!
//! `CORPUS_DIR` holds `novels.jsonl.zst` and `wiki.jsonl.zst`, one `{"text": ...}` a line. The slice: from the
//! first document on, always one of the file that has given fewer bytes so far, at most 100,000 bytes of a document
//! (novels are long), until the texts reach 36,000,000 bytes or a file ends. The same files give the same bytes.
#![expect(clippy::print_stderr, reason = "an example reports to its terminal")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use glm_eval::tokenizer::training::{TrainingKind, TrainingOptions, count_words, train};

type Error = Box<dyn std::error::Error + Send + Sync>;

const MAX_DOCUMENT_BYTES: usize = 100_000;
const SLICE_BYTES: usize = 36_000_000;

/// Answers of `SuperGLUE`'s official patterns, which must be one piece each.
const REQUIRED: [&str; 8] = ["yes", "no", "true", "false", "maybe", "neither", "2", "b"];

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, out] = arguments.as_slice() else {
        return Err("usage: train_tokenizer CORPUS_DIR OUT".into());
    };
    let counts = count_slice(Path::new(corpus))?;
    let words: u64 = counts.values().sum();
    eprintln!("{words} words, {} different", counts.len());

    let options = TrainingOptions { required: REQUIRED.map(String::from).to_vec(), ..Default::default() };
    let tokenizer = train(&counts, &options)?;
    std::fs::write(out, tokenizer.to_json())?;
    eprintln!("{out}: {} entries, sha256 {}", tokenizer.num_tokens(), tokenizer.sha256());
    Ok(())
}

/// The slice of the corpus, as words with their counts.
fn count_slice(folder: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let open = |name: &str| -> Result<_, Error> {
        let file = File::open(folder.join(name)).map_err(|e| format!("{name}: {e}"))?;
        Ok(BufReader::new(zstd::Decoder::new(file)?).lines())
    };
    let mut files = [open("novels.jsonl.zst")?, open("wiki.jsonl.zst")?];
    let mut counts = BTreeMap::new();
    let (mut bytes, mut documents) = ([0, 0], [0, 0]);
    while bytes[0] + bytes[1] < SLICE_BYTES {
        let turn = usize::from(bytes[1] < bytes[0]);
        let Some(line) = files[turn].next() else { break };
        let row: serde_json::Value = serde_json::from_str(&line?)?;
        let text = row["text"].as_str().ok_or("a row without text")?;
        let text = &text[..text.floor_char_boundary(MAX_DOCUMENT_BYTES)];
        count_words(text, TrainingKind::WordPiece, &mut counts)?;
        bytes[turn] += text.len();
        documents[turn] += 1;
    }
    eprintln!("novels and wiki: {documents:?} documents, {bytes:?} bytes");
    Ok(counts)
}
