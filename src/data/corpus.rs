//! Documents of a corpus, as a stream: `.jsonl`, `.jsonl.zst`, `.txt`, `.txt.zst` and `.parquet` files, by path, folder or
//! glob.
//!
//! A line of a JSON Lines file is a document, so is a row of a Parquet file, and a text file as a whole. Memory does not grow
//! with the corpus, nor with a text file; a line of JSON is bounded by
//! [`MAX_LINE_BYTES`](super::jsonl::MAX_LINE_BYTES).

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::jsonl::{Jsonl, RowError};
use super::parquet::{self, ParquetError};

/// What can be wrong with a corpus.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum CorpusError {
    /// No file by that name.
    #[error("no corpus at `{}`: there is no such file or folder, and as a pattern it matches nothing (a configuration's paths \
         start from `--data-dir`, else from `$GLM_EVAL_SHARED`, where it is set)", .pattern.display())]
    NotFound { pattern: PathBuf },
    /// A folder without a file of a known kind.
    #[error("{}: the folder has no file that ends in {}", folder.display(), ENDINGS.join(", "))]
    NothingIn { folder: PathBuf },
    /// A file of another kind.
    #[error("{}: only files that end in {} are read", file.display(), ENDINGS.join(", "))]
    UnknownKind { file: PathBuf },
    /// The text isn't UTF-8.
    #[error("{}: not UTF-8 at byte {offset}; convert the file to UTF-8", file.display())]
    NotUtf8 { file: PathBuf, offset: u64 },
    /// A file can't be read.
    #[error("{}: can't be read", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    /// A row of a JSON Lines file is damaged.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A Parquet file is damaged, or has no such column of texts.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
}

const ENDINGS: [&str; 5] = [".jsonl", ".jsonl.zst", ".txt", ".txt.zst", ".parquet"];

/// Text is handed over in pieces of about so many bytes.
const PIECE_BYTES: usize = 1 << 18;

/// The files that paths, folders and globs mean: each once, in order of their names within each.
///
/// # Errors
/// When one of them means no file, or a file of a kind that is not read.
pub fn files(patterns: &[PathBuf]) -> Result<Vec<PathBuf>, CorpusError> {
    let (mut files, mut seen) = (Vec::new(), HashSet::new());
    for pattern in patterns {
        let found = match () {
            () if pattern.is_dir() => in_folder(pattern)?,
            () if pattern.exists() => vec![pattern.clone()],
            () => matches(pattern)?,
        };
        for file in found {
            if Kind::of(&file).is_none() {
                return Err(CorpusError::UnknownKind { file });
            }
            // By another name or through a link, too.
            if seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// How a file is read, which its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A document a row of JSON.
    Lines {
        /// By zstd?
        is_packed: bool,
    },
    /// One document.
    Text {
        /// By zstd?
        is_packed: bool,
    },
    /// A document a row of a table.
    Parquet,
}

impl Kind {
    /// What a configuration or a cache calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lines { .. } => "jsonl",
            Self::Text { .. } => "txt",
            Self::Parquet => "parquet",
        }
    }

    /// `None` for names that end otherwise.
    pub fn of(file: &Path) -> Option<Self> {
        let has = |file: &Path, extension: &str| {
            file.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
        };
        let is_packed = has(file, "zst");
        let inner = if is_packed { Path::new(file.file_stem()?) } else { file };
        match () {
            () if has(inner, "jsonl") => Some(Self::Lines { is_packed }),
            () if has(inner, "txt") => Some(Self::Text { is_packed }),
            () if has(file, "parquet") => Some(Self::Parquet),
            () => None,
        }
    }
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let unreadable = |source| CorpusError::Unreadable { file: folder.into(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() && Kind::of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() { Err(CorpusError::NothingIn { folder: folder.into() }) } else { Ok(files) }
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let not_found = || CorpusError::NotFound { pattern: pattern.into() };
    let found = glob::glob(&pattern.to_string_lossy()).map_err(|_| not_found())?;
    let files: Vec<PathBuf> = found.flatten().filter(|path| path.is_file()).collect(); // sorted by the library
    if files.is_empty() { Err(not_found()) } else { Ok(files) }
}

/// A piece of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its text.
    pub text: String,
    /// Does the document end with it?
    pub is_last: bool,
}

/// Hands every piece of a file's documents to `take`, in order. Cutting a document into pieces moves no token boundary:
/// it is cut in front of a single space, where there is one.
///
/// # Errors
/// When the file is damaged, and those of `take`.
pub fn read<E: From<CorpusError>>(
    file: &Path,
    text_field: &str,
    mut take: impl FnMut(Piece) -> Result<(), E>,
) -> Result<(), E> {
    let unreadable = |source| CorpusError::Unreadable { file: file.into(), source };
    let kind = Kind::of(file).ok_or_else(|| CorpusError::UnknownKind { file: file.into() })?;
    let opened = File::open(file).map_err(unreadable)?;
    if opened.metadata().map_err(unreadable)?.len() == 0 {
        return Err(CorpusError::from(RowError::Empty { file: file.into() }).into());
    }
    let unpacked = |opened: File, is_packed: bool| -> Result<Box<dyn Read>, CorpusError> {
        Ok(match is_packed {
            true => Box::new(zstd::Decoder::new(opened).map_err(unreadable)?),
            false => Box::new(opened),
        })
    };
    match kind {
        Kind::Lines { is_packed } => {
            for row in Jsonl::new(file, unpacked(opened, is_packed)?) {
                let row = row.map_err(CorpusError::from)?;
                take_pieces(row.text(text_field).map_err(CorpusError::from)?, &mut take)?;
            }
            Ok(())
        }
        Kind::Parquet => {
            for text in parquet::texts(file, opened, text_field).map_err(CorpusError::from)? {
                take_pieces(&text.map_err(CorpusError::from)?, &mut take)?;
            }
            Ok(())
        }
        Kind::Text { is_packed } => read_text(file, unpacked(opened, is_packed)?, take),
    }
}

/// Hands over a document that is in memory as a whole.
fn take_pieces<E>(mut text: &str, take: &mut impl FnMut(Piece) -> Result<(), E>) -> Result<(), E> {
    while text.len() > PIECE_BYTES {
        let (piece, rest) = text.split_at(cut(text, PIECE_BYTES));
        take(Piece { text: piece.into(), is_last: false })?;
        text = rest;
    }
    take(Piece { text: text.into(), is_last: true })
}

/// A text file, as one document.
fn read_text<E: From<CorpusError>>(
    file: &Path,
    mut reader: Box<dyn Read>,
    mut take: impl FnMut(Piece) -> Result<(), E>,
) -> Result<(), E> {
    let mut bytes = Vec::new(); // read, and not yet handed over
    let mut offset = 0u64; // of the first of them
    loop {
        let unreadable = |source| CorpusError::Unreadable { file: file.into(), source };
        let room = (2 * PIECE_BYTES).saturating_sub(bytes.len()) as u64;
        let read = reader.by_ref().take(room).read_to_end(&mut bytes).map_err(unreadable)?;
        let is_end = read < room as usize;
        let valid = match std::str::from_utf8(&bytes) {
            Ok(_) => bytes.len(),
            // The last character may be cut.
            Err(error) if error.error_len().is_none() && !is_end => error.valid_up_to(),
            Err(error) => {
                let offset = offset + error.valid_up_to() as u64;
                return Err(CorpusError::NotUtf8 { file: file.into(), offset }.into());
            }
        };
        let text = std::str::from_utf8(&bytes[..valid]).expect("it was checked");
        let text = if offset == 0 { text.trim_start_matches('\u{feff}') } else { text };
        let skipped = valid - text.len();
        let end = if is_end { text.len() } else { cut(text, PIECE_BYTES) };
        take(Piece { text: text[..end].into(), is_last: is_end })?;
        if is_end {
            return Ok(());
        }
        bytes.drain(..skipped + end);
        offset += (skipped + end) as u64;
    }
}

/// Where to cut a text that is longer than `most` bytes: in front of the last single space before, or between characters.
fn cut(text: &str, most: usize) -> usize {
    let most = text.floor_char_boundary(most.min(text.len()));
    let bytes = text.as_bytes();
    let is_space = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_whitespace);
    let single = |&i: &usize| bytes[i] == b' ' && !is_space(i - 1) && i + 1 < bytes.len() && !is_space(i + 1);
    (1..most).rev().find(single).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(name: &str, bytes: &[u8]) -> Result<Vec<Piece>, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("a temporary file");
        let mut pieces = Vec::new();
        let read = read(&file, "text", |piece| {
            pieces.push(piece);
            Ok::<_, CorpusError>(())
        });
        let prefix = format!("{}/", folder.path().display());
        read.map(|()| pieces).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn lines_are_documents_and_a_text_file_is_one() {
        let piece = |text: &str| Piece { text: text.into(), is_last: true };
        let lines = b"{\"text\": \"one\"}\n\n{\"text\": \"two\\nlines\", \"id\": 7}\n";
        let expected = [piece("one"), piece("two\nlines")];
        assert_eq!(pieces("a.jsonl", lines).expect("two"), expected);
        let packed = zstd::encode_all(&lines[..], 1).expect("packed");
        assert_eq!(pieces("a.jsonl.zst", &packed).expect("two"), expected);
        assert_eq!(pieces("a.txt", "\u{feff}one\n\ntwo".as_bytes()).expect("one"), [piece("one\n\ntwo")]);
    }

    #[test]
    fn a_gigantic_line_comes_in_pieces_that_join_to_what_it_was() {
        let text = "né word ".repeat(200_000); // 1.8 MB
        for (name, bytes) in [
            ("a.txt", text.clone().into_bytes()),
            ("a.jsonl", serde_json::json!({"text": text}).to_string().into_bytes()),
            ("b.txt", "é".repeat(900_000).into_bytes()), // nowhere to cut
        ] {
            let found = pieces(name, &bytes).expect("text");
            let joined: String = found.iter().map(|piece| piece.text.as_str()).collect();
            let expected = if name == "b.txt" { "é".repeat(900_000) } else { text.clone() };
            assert!(joined == expected, "{name}");
            assert!(found.len() > 3 && found.iter().all(|piece| piece.text.len() <= 2 * PIECE_BYTES));
            assert_eq!(found.iter().filter(|piece| piece.is_last).count(), 1, "{name}");
            let starts = found[1..].iter().map(|piece| &piece.text[..1]);
            assert!(name == "b.txt" || starts.into_iter().all(|start| start == " "), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_place() {
        let error = |name, bytes: &[u8]| pieces(name, bytes).expect_err("it is broken");
        assert_eq!(error("a.txt", b"ab\xffcd"), "a.txt: not UTF-8 at byte 2; convert the file to UTF-8");
        let mut long = "word ".repeat(200_000).into_bytes();
        long[900_000] = 0xff;
        assert_eq!(error("b.txt", &long), "b.txt: not UTF-8 at byte 900000; convert the file to UTF-8");
        assert_eq!(error("c.txt", b"ab\xe2\x82"), "c.txt: not UTF-8 at byte 2; convert the file to UTF-8");
        assert!(error("d.jsonl", b"{\"text\": \"\xff\"}").contains("not UTF-8 at byte 10 of the line"));
        assert!(error("e.jsonl", b"").contains("e.jsonl: the file is empty"));
        assert!(error("f.jsonl", b"{\"body\": \"\"}").contains("f.jsonl:1: there is no field `text`"));
        assert!(error("g.jsonl.zst", b"{\"text\": \"\"}").contains("g.jsonl.zst"));
        assert!(error("h.parquet", b"PAR1").contains("h.parquet: not a Parquet file that can be read"));
    }

    #[test]
    fn folders_and_globs_mean_their_files_in_order_and_each_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["b.txt", "a.jsonl", "notes.md", "c.jsonl.zst", "d.parquet"] {
            std::fs::write(folder.path().join(name), "").expect("a temporary file");
        }
        let names = |patterns: &[&str]| -> Result<Vec<String>, String> {
            let patterns: Vec<PathBuf> = patterns.iter().map(|pattern| folder.path().join(pattern)).collect();
            let files = files(&patterns).map_err(|error| error.to_string())?;
            Ok(files.iter().map(|f| f.file_name().expect("a file").to_string_lossy().into_owned()).collect())
        };
        assert_eq!(names(&["."]).expect("a folder"), ["a.jsonl", "b.txt", "c.jsonl.zst", "d.parquet"]);
        let named = ["*.jsonl*", "a.jsonl", "./a.jsonl"];
        assert_eq!(names(&named).expect("a glob"), ["a.jsonl", "c.jsonl.zst"]);
        assert!(names(&["*.csv"]).expect_err("none").contains("matches nothing"));
        assert!(names(&["notes.md"]).expect_err("another kind").contains("only files that end in .jsonl"));
    }
}
