//! A file of rows: on disk, or made by the program and held in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::jsonl::{Jsonl, RowError};
use super::locate::{sha256_bytes, sha256_file};

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowFile {
    /// On disk.
    OnDisk(PathBuf),
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
            Self::OnDisk(path) | Self::Made { name: path, .. } => path,
        }
    }

    /// Opens it.
    pub fn open(&self) -> Result<Jsonl<Box<dyn Source>>, RowError> {
        let source: Box<dyn Source> = match self {
            Self::OnDisk(path) => Box::new(Jsonl::<File>::file(path)?),
            Self::Made { bytes, .. } => Box::new(Cursor::new(bytes.clone())),
        };
        Ok(Jsonl::new(self.path(), source))
    }

    /// Its SHA-256, in lower-case hexadecimal digits.
    pub fn sha256(&self) -> io::Result<String> {
        match self {
            Self::OnDisk(path) => sha256_file(path),
            Self::Made { bytes, .. } => Ok(sha256_bytes(bytes)),
        }
    }

    /// Lines that are not blank; 0 for a file that can't be read.
    pub fn num_rows(&self) -> usize {
        let reader: Box<dyn BufRead> = match self {
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

#[cfg(test)]
mod tests {
    use super::*;

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
