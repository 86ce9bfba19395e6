//! JSON Lines, the format of the `SuperGLUE` files: one object a line, read as a stream.
//!
//! Memory doesn't grow with the number of rows, and a line beyond [`MAX_LINE_BYTES`] is an error before it is
//! held in memory. Every error names the file and the line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

/// The longest line that is read. The longest row of `SuperGLUE` has about 30 KB.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// What can be wrong with a data file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum RowError {
    /// The file can't be read.
    #[error("{}: can't be read", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    /// The file holds no row.
    #[error("{}: the file is empty", file.display())]
    Empty { file: PathBuf },
    /// One line is longer than [`MAX_LINE_BYTES`].
    #[error("{}:{line}: the line is longer than {limit} bytes; is this a JSON Lines file?", file.display())]
    TooLong { file: PathBuf, line: usize, limit: usize },
    /// The text isn't UTF-8.
    #[error(
        "{}:{line}: not UTF-8 at byte {byte} of the line (byte {offset} of the file); \
         convert the file to UTF-8", file.display()
    )]
    NotUtf8 { file: PathBuf, line: usize, byte: usize, offset: u64 },
    /// The line isn't JSON, or is cut short.
    #[error("{}:{line}:{column}: {}", file.display(), if *truncated {
        "the line ends in the middle of a JSON value; is the file cut short?"
    } else {
        "not valid JSON"
    }.to_owned() + &reason(what))]
    NotJson { file: PathBuf, line: usize, column: usize, truncated: bool, what: String },
    /// The line is JSON, but no object.
    #[error("{}:{line}: expected a JSON object, found {found}", file.display())]
    NotAnObject { file: PathBuf, line: usize, found: &'static str },
    /// The row lacks a field.
    #[error("{}:{line}: {}", file.display(), match known.contains(field) {
        true => format!("`{field}` is null"),
        false => format!("there is no field `{field}`; the row has {}", list(known)),
    })]
    Missing { file: PathBuf, line: usize, field: String, known: Vec<String> },
    /// A field has the wrong type.
    #[error("{}:{line}: `{field}` should be {expected}, found {found}", file.display())]
    WrongType { file: PathBuf, line: usize, field: String, expected: &'static str, found: String },
    /// What the row says can't be.
    #[error("{}:{line}: {what}", file.display())]
    Invalid { file: PathBuf, line: usize, what: String },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no fields".into() } else { format!("`{}`", names.join("`, `")) }
}

fn reason(what: &str) -> String {
    if what.is_empty() { String::new() } else { format!(": {what}") }
}

/// What the parser says, without its line, which is always 1 here.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
}

/// A JSON value's type, in words, with short values spelled out.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(text) if text.chars().count() <= 24 => format!("the text {text:?}"),
        Value::String(_) => "a text".into(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".into(),
    }
}

/// One row of a data file: where it stands and the object it holds.
#[derive(Clone, Debug)]
pub struct Row {
    /// The file it was read from.
    pub file: Arc<Path>,
    /// The line, counted from 1.
    pub line: usize,
    /// The row's keys and values, in reading order.
    pub object: Arc<Map<String, Value>>,
    /// Where in the row this object is: empty for the row itself, else as in `passage.questions[2].`.
    place: String,
}

impl Row {
    /// A row made in memory.
    pub fn new(file: impl Into<Arc<Path>>, line: usize, object: Map<String, Value>) -> Self {
        Self { file: file.into(), line, object: Arc::new(object), place: String::new() }
    }

    /// The same place with other contents.
    #[must_use]
    pub fn with_object(&self, object: Map<String, Value>) -> Self {
        Self { object: Arc::new(object), ..self.clone() }
    }

    /// A field's value, if the row has it and it isn't null.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// A field's value.
    pub fn value(&self, field: &str) -> Result<&Value, RowError> {
        self.get(field).ok_or_else(|| RowError::Missing {
            file: self.file.to_path_buf(),
            line: self.line,
            field: format!("{}{field}", self.place),
            known: self.object.keys().cloned().collect(),
        })
    }

    /// A text.
    pub fn text(&self, field: &str) -> Result<&str, RowError> {
        let value = self.value(field)?;
        value.as_str().ok_or_else(|| self.wrong_type(field, "a text", value))
    }

    /// A whole number; the diagnostic sets write theirs as text, which is accepted.
    pub fn integer(&self, field: &str) -> Result<i64, RowError> {
        let value = self.value(field)?;
        let text = || value.as_str().and_then(|text| text.trim().parse().ok());
        value.as_i64().or_else(text).ok_or_else(|| self.wrong_type(field, "a whole number", value))
    }

    /// A whole number that is no less than 0.
    pub fn index(&self, field: &str) -> Result<usize, RowError> {
        let value = self.value(field)?;
        let index = value.as_u64().and_then(|index| usize::try_from(index).ok());
        index.ok_or_else(|| self.wrong_type(field, "a whole number of at least 0", value))
    }

    /// True or false.
    pub fn boolean(&self, field: &str) -> Result<bool, RowError> {
        let value = self.value(field)?;
        value.as_bool().ok_or_else(|| self.wrong_type(field, "true or false", value))
    }

    /// A nested object, which reports errors with its place in the row.
    pub fn object(&self, field: &str) -> Result<Row, RowError> {
        let value = self.value(field)?;
        let object = value.as_object().ok_or_else(|| self.wrong_type(field, "an object", value))?;
        Ok(self.nested(&format!("{field}."), object))
    }

    /// A list of any values.
    pub fn list(&self, field: &str) -> Result<&[Value], RowError> {
        let value = self.value(field)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| self.wrong_type(field, "a list", value))
    }

    /// A list of nested objects.
    pub fn objects(&self, field: &str) -> Result<Vec<Row>, RowError> {
        let nested = |(i, value): (usize, &Value)| {
            let object = value
                .as_object()
                .ok_or_else(|| self.wrong_type(&format!("{field}[{i}]"), "an object", value))?;
            Ok(self.nested(&format!("{field}[{i}]."), object))
        };
        self.list(field)?.iter().enumerate().map(nested).collect()
    }

    fn nested(&self, place: &str, object: &Map<String, Value>) -> Row {
        let place = format!("{}{place}", self.place);
        Row { file: self.file.clone(), line: self.line, object: Arc::new(object.clone()), place }
    }

    fn wrong_type(&self, field: &str, expected: &'static str, found: &Value) -> RowError {
        RowError::WrongType {
            file: self.file.to_path_buf(),
            line: self.line,
            field: format!("{}{field}", self.place),
            expected,
            found: describe(found),
        }
    }

    /// An error about what this row says.
    pub fn invalid(&self, what: impl Into<String>) -> RowError {
        RowError::Invalid { file: self.file.to_path_buf(), line: self.line, what: what.into() }
    }
}

/// The rows of a JSON Lines file, one after the other. Blank lines are skipped.
#[derive(Debug)]
pub struct Jsonl<R = File> {
    file: Arc<Path>,
    reader: BufReader<R>,
    /// Lines read so far.
    line: usize,
    /// Byte at which the next line begins.
    offset: u64,
    /// Rows returned so far.
    rows: usize,
    buffer: Vec<u8>,
    /// The only row, where it was not read from a line.
    only: Option<Row>,
    done: bool,
}

impl Jsonl {
    /// Opens a file.
    pub fn open(file: &Path) -> Result<Self, RowError> {
        Ok(Self::new(file, Self::file(file)?))
    }

    /// The file itself, once it is known to be none of the things that open but can't be read.
    pub(super) fn file(file: &Path) -> Result<File, RowError> {
        let unreadable = |source| RowError::Unreadable { file: file.to_path_buf(), source };
        let handle = File::open(file).map_err(unreadable)?;
        if handle.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        Ok(handle)
    }
}

impl<R: Read + Seek> Jsonl<R> {
    /// Where the next line begins: its byte, and the number of lines before it.
    pub fn place(&self) -> (u64, usize) {
        (self.offset, self.line)
    }

    /// Goes to a [`place`](Self::place) seen before.
    pub fn go_to(&mut self, (offset, line): (u64, usize)) -> Result<(), RowError> {
        let unreadable = |source| RowError::Unreadable { file: self.file.to_path_buf(), source };
        self.reader.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        (self.offset, self.line, self.done) = (offset, line, false);
        Ok(())
    }
}

impl<R: Read> Jsonl<R> {
    /// Reads lines from anything, for example a decompressed stream; `file` is for messages.
    pub fn new(file: &Path, reader: R) -> Self {
        Self {
            file: file.into(),
            reader: BufReader::with_capacity(1 << 16, reader),
            line: 0,
            offset: 0,
            rows: 0,
            buffer: Vec::new(),
            only: None,
            done: false,
        }
    }

    /// One row that is there already; `nothing` has no lines.
    pub(super) fn only(row: Row, nothing: R) -> Self {
        Self { only: Some(row.clone()), ..Self::new(&row.file, nothing) }
    }

    /// The next row; `None` at the end of the file. A file without a row is an error.
    pub fn read(&mut self) -> Result<Option<Row>, RowError> {
        if let Some(row) = self.only.as_ref().filter(|_| self.line == 0) {
            (self.line, self.rows) = (1, 1);
            return Ok(Some(row.clone()));
        }
        loop {
            let start = self.offset;
            self.buffer.clear();
            let limit = MAX_LINE_BYTES as u64 + 1;
            let unreadable = |source| RowError::Unreadable { file: self.file.to_path_buf(), source };
            let mut bounded = self.reader.by_ref().take(limit);
            let read = bounded.read_until(b'\n', &mut self.buffer).map_err(unreadable)?;
            if read == 0 {
                let empty = self.rows == 0;
                return if empty { Err(RowError::Empty { file: self.file.to_path_buf() }) } else { Ok(None) };
            }
            self.line += 1;
            self.offset += read as u64;
            if read > MAX_LINE_BYTES {
                return Err(RowError::TooLong {
                    file: self.file.to_path_buf(),
                    line: self.line,
                    limit: MAX_LINE_BYTES,
                });
            }
            let text = std::str::from_utf8(&self.buffer).map_err(|error| RowError::NotUtf8 {
                file: self.file.to_path_buf(),
                line: self.line,
                byte: error.valid_up_to(),
                offset: start + error.valid_up_to() as u64,
            })?;
            // A byte order mark is no part of the text.
            let text = if self.line == 1 { text.trim_start_matches('\u{feff}') } else { text };
            let text = text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let value =
                serde_json::from_str(text).map_err(|source: serde_json::Error| RowError::NotJson {
                    file: self.file.to_path_buf(),
                    line: self.line,
                    column: source.column(),
                    truncated: source.is_eof(),
                    what: if source.is_eof() { String::new() } else { without_place(&source) },
                })?;
            let object = match value {
                Value::Object(object) => object,
                Value::Array(_) => return Err(self.not_an_object("a list")),
                Value::String(_) => return Err(self.not_an_object("a text")),
                _ => return Err(self.not_an_object("a single value")),
            };
            self.rows += 1;
            return Ok(Some(Row::new(self.file.clone(), self.line, object)));
        }
    }

    fn not_an_object(&self, found: &'static str) -> RowError {
        RowError::NotAnObject { file: self.file.to_path_buf(), line: self.line, found }
    }
}

impl<R: Read> Iterator for Jsonl<R> {
    type Item = Result<Row, RowError>;

    /// Nothing follows an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let row = self.read().transpose();
        self.done = !matches!(row, Some(Ok(_)));
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Row>, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("val.jsonl");
        std::fs::write(&file, bytes).expect("a temporary file");
        let rows: Result<Vec<_>, _> = Jsonl::open(&file).expect("the file was just written").collect();
        let prefix = format!("{}/", folder.path().display());
        rows.map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn rows_know_their_line_and_blank_lines_are_skipped() {
        let rows = read(b"\xef\xbb\xbf{\"idx\": 0}\n\n  \r\n{\"idx\": \"7\"}").expect("two rows");
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(rows[1].integer("idx").expect("a number in a text"), 7);
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_place() {
        let error = |bytes: &[u8]| read(bytes).expect_err("it is broken");
        assert_eq!(error(b""), "val.jsonl: the file is empty");
        assert_eq!(
            error(b"{\"a\": 1}\n{\"a\": \"cut"),
            "val.jsonl:2:10: the line ends in the middle of a JSON value; is the file cut short?"
        );
        assert_eq!(error(b"{\"a\": 1}\n[1]\n"), "val.jsonl:2: expected a JSON object, found a list");
        assert_eq!(error(b"{'a': 1}"), "val.jsonl:1:2: not valid JSON: key must be a string");
        assert_eq!(
            error(b"{\"a\": 1}\n{\"a\": \"\xff\"}"),
            "val.jsonl:2: not UTF-8 at byte 7 of the line (byte 16 of the file); convert the file to UTF-8"
        );
    }

    #[test]
    fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        // A hole in the file reads as zeros: no line ends there.
        file.as_file().set_len(MAX_LINE_BYTES as u64 + 9).expect("a hole");
        let error =
            Jsonl::open(file.path()).and_then(|mut rows| rows.read()).expect_err("too long").to_string();
        assert!(
            error.ends_with("the line is longer than 67108864 bytes; is this a JSON Lines file?"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_field_is_named_with_its_place_in_the_row() {
        let rows = read(br#"{"passage": {"questions": [{"answers": 3}]}, "label": "yes"}"#).expect("one row");
        let row = &rows[0];
        let message = |error: RowError| error.to_string().split_once(":1: ").expect("a line").1.to_owned();
        let questions = row.object("passage").and_then(|p| p.objects("questions")).expect("one question");
        assert_eq!(
            message(questions[0].list("answers").expect_err("3 is no list")),
            "`passage.questions[0].answers` should be a list, found the number 3"
        );
        assert_eq!(
            message(questions[0].text("question").expect_err("there is none")),
            "there is no field `passage.questions[0].question`; the row has `answers`"
        );
        assert_eq!(
            message(row.boolean("label").expect_err("a text")),
            "`label` should be true or false, found the text \"yes\""
        );
    }

    #[test]
    fn a_place_can_be_read_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("val.jsonl");
        std::fs::write(&file, "{\"idx\": 0}\n{\"idx\": 1}\n").expect("a temporary file");
        let mut rows = Jsonl::open(&file).expect("the file was just written");
        rows.read().expect("a row");
        let place = rows.place();
        assert!(rows.by_ref().all(|row| row.is_ok()));
        rows.go_to(place).expect("a known place");
        let again = rows.read().expect("a row").expect("a row");
        assert_eq!((again.line, again.index("idx").expect("a number")), (2, 1));
    }
}
