//! A file of rows: on disk, or made by the program and held in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::jsonl::{Jsonl, Row, RowError};
use super::locate::{sha256_bytes, sha256_file};

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowFile {
    /// On disk, a row a line.
    OnDisk(PathBuf),
    /// On disk, a text that is one row with the only field `text`.
    Text(PathBuf),
    /// Made by the program.
    Made {
        /// What messages call it.
        name: PathBuf,
        /// Its contents.
        bytes: Arc<[u8]>,
    },
}

/// What rows are read from.
pub trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

impl RowFile {
    /// Where it is, or what it is called.
    pub fn path(&self) -> &Path {
        match self {
            Self::OnDisk(path) | Self::Text(path) | Self::Made { name: path, .. } => path,
        }
    }

    /// Opens it.
    pub fn open(&self) -> Result<Jsonl<Box<dyn Source>>, RowError> {
        let source: Box<dyn Source> = match self {
            Self::OnDisk(path) => Box::new(Jsonl::<File>::file(path)?),
            Self::Text(path) => return Ok(Jsonl::only(text_row(path)?, Box::new(io::empty()))),
            Self::Made { bytes, .. } => Box::new(Cursor::new(bytes.clone())),
        };
        Ok(Jsonl::new(self.path(), source))
    }

    /// Its SHA-256, in lower-case hexadecimal digits.
    pub fn sha256(&self) -> io::Result<String> {
        match self {
            Self::OnDisk(path) | Self::Text(path) => sha256_file(path),
            Self::Made { bytes, .. } => Ok(sha256_bytes(bytes)),
        }
    }

    /// Lines that are not blank; 0 for a file that can't be read.
    pub fn num_rows(&self) -> usize {
        let reader: Box<dyn BufRead> = match self {
            Self::Text(path) => return usize::from(path.is_file()),
            Self::OnDisk(path) => match File::open(path) {
                Ok(file) => Box::new(BufReader::new(file)),
                Err(_) => return 0,
            },
            Self::Made { bytes, .. } => Box::new(&bytes[..]),
        };
        let lines = reader.split(b'\n').map_while(Result::ok);
        lines.filter(|line| !line.iter().all(u8::is_ascii_whitespace)).count()
    }
}

/// A text as a row. It may be longer than a line of JSON Lines may be.
fn text_row(path: &Path) -> Result<Row, RowError> {
    let unreadable = |source| RowError::Unreadable { file: path.to_path_buf(), source };
    let text = String::from_utf8(std::fs::read(path).map_err(unreadable)?).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..offset];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        RowError::NotUtf8 {
            file: path.to_path_buf(),
            line: before.split(|&byte| byte == b'\n').count(),
            byte: offset - line_start,
            offset: offset as u64,
        }
    })?;
    // A byte order mark is no part of the text.
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(RowError::Empty { file: path.to_path_buf() });
    }
    Ok(Row::new(path, 1, serde_json::Map::from_iter([("text".to_owned(), text.into())])))
}

#[cfg(test)]
mod tests {
    use super::super::jsonl::MAX_LINE_BYTES;
    use super::*;

    #[test]
    fn a_text_is_one_row_and_what_is_no_text_is_named_with_its_place() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let text = RowFile::Text(file.path().to_path_buf());
        std::fs::write(file.path(), "one \"line\"\nand more\n").expect("a temporary file");
        let row = text.open().expect("it is there").read().expect("a row").expect("a row");
        assert_eq!(row.text("text").expect("the field"), "one \"line\"\nand more\n");
        assert_eq!(text.num_rows(), 1);
        std::fs::write(file.path(), "\u{feff}one line\n").expect("a temporary file");
        let row = text.open().expect("it is there").read().expect("a row").expect("a row");
        assert_eq!(row.text("text").expect("the field"), "one line\n");
        std::fs::write(file.path(), b"good\nba\xffd").expect("a temporary file");
        let error = text.open().err().expect("no text").to_string();
        assert!(error.contains(":2: not UTF-8 at byte 2 of the line (byte 7 of the file)"), "{error}");
        std::fs::write(file.path(), " \n").expect("a temporary file");
        assert!(matches!(text.open(), Err(RowError::Empty { .. })));
    }

    #[test]
    fn a_text_may_be_longer_than_a_line_and_is_read_again_where_it_began() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(MAX_LINE_BYTES as u64 + 1).expect("a hole, which reads as zeros");
        let mut rows = RowFile::Text(file.path().to_path_buf()).open().expect("it is there");
        for _ in 0..2 {
            let row = rows.read().expect("a row").expect("a row");
            assert_eq!(row.text("text").expect("the field").len(), MAX_LINE_BYTES + 1);
            assert!(rows.read().expect("the end").is_none());
            rows.go_to((0, 0)).expect("the beginning");
        }
    }

    #[test]
    fn rows_in_memory_are_read_as_rows_on_disk() {
        let bytes = b"{\"idx\": 0}\n\n{\"idx\": 1}\n";
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), bytes).expect("a temporary file");
        let on_disk = RowFile::OnDisk(file.path().to_path_buf());
        let made = RowFile::Made { name: "made.jsonl".into(), bytes: bytes[..].into() };
        for rows in [&on_disk, &made] {
            assert_eq!(rows.num_rows(), 2);
            assert_eq!(rows.sha256().expect("read"), sha256_bytes(bytes));
            let mut read = rows.open().expect("it is there");
            let place = read.place();
            assert_eq!(read.by_ref().flatten().count(), 2);
            read.go_to(place).expect("a known place");
            assert_eq!(read.read().expect("a row").expect("a row").line, 1);
        }
        let broken = RowFile::Made { name: "made.jsonl".into(), bytes: b"[]"[..].into() };
        let error = broken.open().and_then(|mut rows| rows.read()).expect_err("no object");
        assert_eq!(error.to_string(), "made.jsonl:1: expected a JSON object, found a list");
    }
}
