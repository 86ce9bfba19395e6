//! A column of texts of a Parquet file, row by row.
//!
//! Pages are read one by one, so that memory does not grow with the file.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::reader::{FileReader, SerializedFileReader};

/// What can be wrong with a Parquet file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum ParquetError {
    /// It is none, or damaged.
    #[error("{}: not a Parquet file that can be read", file.display())]
    Unreadable { file: PathBuf, source: parquet::errors::ParquetError },
    /// There is no such column.
    #[error("{}: there is no column `{column}`; there are {}", file.display(), known.join(", "))]
    NoColumn { file: PathBuf, column: String, known: Vec<String> },
    /// The column has something else.
    #[error("{}: the column `{column}` has {found}, and no texts", file.display())]
    NoTexts { file: PathBuf, column: String, found: String },
    /// A row without a text.
    #[error("{}: row {row}: `{column}` is {what}", file.display())]
    Row { file: PathBuf, row: u64, column: String, what: &'static str },
}

/// Rows that are decoded at once.
const ROWS_AT_ONCE: usize = 64;

/// The texts of a column, from the first row on. Nothing follows an error.
pub struct Texts {
    file: PathBuf,
    column: String,
    /// The column's number among all.
    index: usize,
    /// The level of a value that is there; 0 where none may be missing.
    level: i16,
    reader: SerializedFileReader<File>,
    next_group: usize,
    group: Option<ColumnReaderImpl<ByteArrayType>>,
    /// Decoded, and not yet handed over; `None` for a row without a value.
    decoded: VecDeque<Option<ByteArray>>,
    /// Of the next text, from 1.
    row: u64,
    has_failed: bool,
}

/// Opens a file at a column of texts.
///
/// # Errors
/// When the file can't be read, or has no such column.
pub fn texts(file: &Path, opened: File, column: &str) -> Result<Texts, ParquetError> {
    let unreadable = |source| ParquetError::Unreadable { file: file.into(), source };
    let reader = SerializedFileReader::new(opened).map_err(unreadable)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let Some(index) = schema.columns().iter().position(|known| known.path().string() == column) else {
        let known = schema.columns().iter().map(|known| known.path().string()).collect();
        return Err(ParquetError::NoColumn { file: file.into(), column: column.into(), known });
    };
    let descriptor = schema.column(index);
    let found = match descriptor.physical_type() {
        _ if descriptor.max_rep_level() > 0 => "lists".to_owned(),
        PhysicalType::BYTE_ARRAY => {
            return Ok(Texts {
                file: file.into(),
                column: column.into(),
                index,
                level: descriptor.max_def_level(),
                reader,
                next_group: 0,
                group: None,
                decoded: VecDeque::new(),
                row: 1,
                has_failed: false,
            });
        }
        other => format!("values of type {other}"),
    };
    Err(ParquetError::NoTexts { file: file.into(), column: column.into(), found })
}

impl Texts {
    fn read(&mut self) -> Result<Option<String>, ParquetError> {
        while self.decoded.is_empty() {
            if self.group.is_none() && !self.open_group()? {
                return Ok(None);
            }
            self.decode()?;
        }
        let (row, text) = (self.row, self.decoded.pop_front().flatten());
        self.row += 1;
        let wrong =
            |what| ParquetError::Row { file: self.file.clone(), row, column: self.column.clone(), what };
        let text = text.ok_or_else(|| wrong("missing; every document needs a text"))?;
        let text = std::str::from_utf8(text.data()).map_err(|_| wrong("not UTF-8"))?;
        Ok(Some(text.to_owned()))
    }

    /// Goes on to the next group of rows; false behind the last one.
    fn open_group(&mut self) -> Result<bool, ParquetError> {
        if self.next_group == self.reader.num_row_groups() {
            return Ok(false);
        }
        let reader =
            self.reader.get_row_group(self.next_group).and_then(|group| group.get_column_reader(self.index));
        self.next_group += 1;
        match reader.map_err(|source| self.unreadable(source))? {
            ColumnReader::ByteArrayColumnReader(reader) => self.group = Some(reader),
            _ => unreachable!("the column's type was checked"),
        }
        Ok(true)
    }

    /// Decodes some rows of the group, and leaves it behind its last one.
    fn decode(&mut self) -> Result<(), ParquetError> {
        let Some(group) = &mut self.group else { return Ok(()) };
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let levels_of = (self.level > 0).then_some(&mut levels);
        let read = group.read_records(ROWS_AT_ONCE, levels_of, None, &mut values);
        let (num_rows, ..) = read.map_err(|source| self.unreadable(source))?;
        if num_rows == 0 {
            self.group = None;
        }
        let mut values = values.into_iter();
        match self.level {
            0 => self.decoded.extend(values.map(Some)),
            there => {
                let value = |level| if level == there { values.next() } else { None };
                self.decoded.extend(levels.into_iter().map(value));
            }
        }
        Ok(())
    }

    fn unreadable(&self, source: parquet::errors::ParquetError) -> ParquetError {
        ParquetError::Unreadable { file: self.file.clone(), source }
    }
}

impl Iterator for Texts {
    type Item = Result<String, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let text = self.read().transpose();
        self.has_failed = matches!(text, Some(Err(_)));
        text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::{Compression, ZstdLevel};
    use parquet::data_type::Int64Type;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    const SCHEMA: &str =
        "message rows { required int64 number; optional binary text (UTF8); required binary title (UTF8); }";

    /// A file of groups of rows; `None` has no text.
    fn write(groups: &[&[Option<&[u8]>]], compression: Compression) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::with_suffix(".parquet").expect("a temporary file");
        let schema = Arc::new(parse_message_type(SCHEMA).expect("a schema"));
        let properties = WriterProperties::builder().set_compression(compression).build();
        let opened = file.reopen().expect("the file");
        let mut writer = SerializedFileWriter::new(opened, schema, Arc::new(properties)).expect("a writer");
        for rows in groups {
            let mut group = writer.next_row_group().expect("a group");
            let mut number = group.next_column().expect("a column").expect("the first");
            let numbers: Vec<i64> = (0..rows.len() as i64).collect();
            number.typed::<Int64Type>().write_batch(&numbers, None, None).expect("numbers");
            number.close().expect("written");
            let mut text = group.next_column().expect("a column").expect("the second");
            let values: Vec<ByteArray> = rows.iter().flatten().map(|&bytes| bytes.to_vec().into()).collect();
            let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.is_some())).collect();
            text.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).expect("texts");
            text.close().expect("written");
            let mut title = group.next_column().expect("a column").expect("the third");
            let titles: Vec<ByteArray> =
                (0..rows.len()).map(|row| ByteArray::from(format!("row {row}").into_bytes())).collect();
            title.typed::<ByteArrayType>().write_batch(&titles, None, None).expect("titles");
            title.close().expect("written");
            group.close().expect("written");
        }
        writer.close().expect("written");
        file
    }

    fn read(file: &tempfile::NamedTempFile, column: &str) -> Result<Vec<String>, ParquetError> {
        texts(file.path(), file.reopen().expect("the file"), column)?.collect()
    }

    #[test]
    fn texts_come_in_order_over_groups_of_rows_and_whatever_they_are_packed_with() {
        let many: Vec<String> = (0..200).map(|i| format!("text {i}")).collect();
        let rows: Vec<Option<&[u8]>> = many.iter().map(|text| Some(text.as_bytes())).collect();
        for compression in
            [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())]
        {
            let file = write(&[&rows, &[Some("Ω".as_bytes()), Some(b"")]], compression);
            let expected = [many.as_slice(), &["Ω".to_owned(), String::new()]].concat();
            assert_eq!(read(&file, "text").expect("texts"), expected);
            assert_eq!(read(&file, "title").expect("texts")[199..], ["row 199", "row 0", "row 1"]);
        }
    }

    #[test]
    fn what_is_no_text_is_told_with_its_row_and_column() {
        let message = |groups: &[&[Option<&[u8]>]], column: &str| {
            read(&write(groups, Compression::UNCOMPRESSED), column).expect_err("it is wrong").to_string()
        };
        let missing = message(&[&[Some(b"a")], &[Some(b"b"), None]], "text");
        assert!(missing.ends_with("row 3: `text` is missing; every document needs a text"), "{missing}");
        let damaged = message(&[&[Some(b"a"), Some(b"\xff")]], "text");
        assert!(damaged.ends_with("row 2: `text` is not UTF-8"), "{damaged}");
        let unknown = message(&[&[]], "body");
        assert!(unknown.ends_with("there is no column `body`; there are number, text, title"), "{unknown}");
        let numbers = message(&[&[]], "number");
        assert!(numbers.ends_with("the column `number` has values of type INT64, and no texts"), "{numbers}");
    }

    #[test]
    fn a_file_that_is_no_parquet_file_is_an_error() {
        let file = tempfile::NamedTempFile::with_suffix(".parquet").expect("a temporary file");
        std::fs::write(file.path(), "PAR1 and nothing else").expect("written");
        let error =
            texts(file.path(), file.reopen().expect("the file"), "text").err().expect("it is damaged");
        assert!(error.to_string().ends_with("not a Parquet file that can be read"), "{error}");
    }
}
