//! The journal of a run under way: `journal.jsonl`, to which every finished unit is appended.
//!
//! Line 1 tells the format's version; every other line is one unit (a batch of samples, an epoch):
//! `{"key", "kind", "payload", "sha"}`. Keys are hashes of content, made by the caller from all that could
//! move the payload (weights, task file, data, prompt form, code version), so a run continues from whatever
//! still holds and from nothing else. Payloads stay on disk: memory grows with the number of units only.
//!
//! A kill can tear the last line; it is then dropped and its unit done again. A damaged line anywhere else
//! is an error: somebody else wrote there.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{hash, time::UtcTime};

/// Version of the journal's lines.
pub const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    journal: String,
    format: u32,
}

/// The order of the fields is the order in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    kind: String,
    payload: Value,
    /// sha256 of key, kind and payload.
    sha: String,
}

impl Line {
    fn new(key: &str, kind: &str, payload: Value) -> Self {
        let sha = Self::sha(key, kind, &payload);
        Self { key: key.into(), kind: kind.into(), payload, sha }
    }

    fn sha(key: &str, kind: &str, payload: &Value) -> String {
        hash::content_key([key, kind, &payload.to_string()])
    }

    /// The line, if it is whole.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(bytes).ok()?;
        (line.sha == Self::sha(&line.key, &line.kind, &line.payload)).then_some(line)
    }
}

/// A journal that could not be opened, read or continued.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk refused.
    #[error("{}: the journal could not be {action}{}", path.display(),
        if *action == WRITTEN { "; what is finished is kept, and `--resume` goes on from there" } else { "" })]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Nothing can be made in the folder.
    #[error("{}: cannot write to this folder; nothing was started, give another `--output-path`", folder.display())]
    Folder {
        /// The run folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another run writes in this folder.
    #[error("{}: another run is writing here ({owner}); wait for it, or give another `--output-path`", folder.display())]
    Locked {
        /// The run folder.
        folder: PathBuf,
        /// Who holds it, as far as it told.
        owner: String,
    },
    /// The file isn't a journal, or one of another version.
    #[error("{}: line 1 is not the header of a journal of format {FORMAT} but {found}; move the file away to begin anew", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// A line that isn't the last is damaged.
    #[error("{}: line {line} is damaged (cut short, or its checksum differs); move the file away to begin anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A payload isn't what its reader expects, or can't be written as JSON.
    #[error("{}: unit `{key}` has an unexpected payload", path.display())]
    Payload {
        /// The file.
        path: PathBuf,
        /// Its key.
        key: String,
        /// The cause.
        source: serde_json::Error,
    },
}

/// Where a unit's line lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: usize,
}

/// An open journal; while it is open, no other run can open one in the same folder.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    end: u64,
    places: HashMap<String, Place>,
    /// Units that were there on opening and have not been asked for.
    unread: RefCell<HashSet<String>>,
    torn_bytes: u64,
    lock: PathBuf,
    _lock: File,
}

impl Journal {
    /// Opens a journal, or begins one where there is none (its folder is made). A torn last line is dropped.
    ///
    /// # Errors
    /// If another run holds the folder, the file is no journal of this format, or a line before the last is
    /// damaged. The file is changed only to drop a torn last line.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let path = path.into();
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let unwritable = |source| JournalError::Folder { folder: folder.into(), source };
            fs::create_dir_all(folder).map_err(unwritable)?;
        }
        let lock = path.with_extension("lock");
        let held = take_lock(&path, &lock)?;
        let file = open_file(&path)?;
        let (places, unread) = (HashMap::new(), RefCell::default());
        let mut journal = Self { path, file, end: 0, places, unread, torn_bytes: 0, lock, _lock: held };
        journal.load()?;
        journal.unread = RefCell::new(journal.places.keys().cloned().collect());
        Ok(journal)
    }

    /// The payload of a finished unit, read from disk; `None` if there is none under this key.
    ///
    /// # Errors
    /// If the file was damaged since it was opened, or the payload isn't a `T`.
    pub fn get<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, JournalError> {
        let Some(&Place { offset, length }) = self.places.get(key) else { return Ok(None) };
        self.unread.get_mut().remove(key);
        let mut bytes = vec![0; length];
        let read = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(io_error(&self.path, "read"))?;
        let damaged = || JournalError::Damaged { path: self.path.clone(), line: self.line_at(offset) };
        let line = Line::parse(&bytes).ok_or_else(damaged)?;
        let payload = serde_json::from_value(line.payload);
        payload.map(Some).map_err(|source| JournalError::Payload {
            path: self.path.clone(),
            key: key.into(),
            source,
        })
    }

    /// Is there a finished unit under this key?
    pub fn contains(&self, key: &str) -> bool {
        self.unread.borrow_mut().remove(key);
        self.places.contains_key(key)
    }

    /// Units that were there on opening and have not been asked for: of another run, if the run is over.
    pub fn num_unread(&self) -> usize {
        self.unread.borrow().len()
    }

    /// Number of finished units.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Is no unit finished yet?
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of a torn last line that were dropped on opening.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Appends a finished unit: one write, then synced to disk. A key that is there already gets the new
    /// payload.
    ///
    /// # Errors
    /// If the disk refuses; the journal then holds what it held before.
    pub fn append(&mut self, key: &str, kind: &str, payload: &impl Serialize) -> Result<(), JournalError> {
        let payload = serde_json::to_value(payload);
        let payload = payload.map_err(|source| JournalError::Payload {
            path: self.path.clone(),
            key: key.into(),
            source,
        })?;
        let mut bytes = serde_json::to_vec(&Line::new(key, kind, payload)).expect("a value can be written");
        bytes.push(b'\n');
        let place = Place { offset: self.end, length: bytes.len() - 1 };
        self.write_synced(&bytes)?;
        self.places.insert(key.into(), place);
        Ok(())
    }

    /// Puts what is there under a free name beside it, which is returned, and begins with nothing; other runs stay locked
    /// out.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn set_aside(&mut self) -> Result<PathBuf, JournalError> {
        let name = |number: u64| match number {
            1 => self.path.with_extension("jsonl.old"),
            number => self.path.with_extension(format!("jsonl.old{number}")),
        };
        let aside = (1..u64::MAX).map(name).find(|path| !path.exists()).expect("some number is free");
        fs::rename(&self.path, &aside).map_err(io_error(&self.path, "set aside"))?;
        self.begin_anew()?;
        Ok(aside)
    }

    /// Forgets what is there; other runs stay locked out.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin_anew(&mut self) -> Result<(), JournalError> {
        self.file = open_file(&self.path)?;
        self.file.set_len(0).map_err(io_error(&self.path, "begun"))?;
        (self.end, self.torn_bytes) = (0, 0);
        self.places.clear();
        self.unread.get_mut().clear();
        self.begin()
    }

    /// Removes the journal, when the final files are in place.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn remove(self) -> Result<(), JournalError> {
        fs::remove_file(&self.path).map_err(io_error(&self.path, "removed"))?;
        fs::remove_file(&self.lock).map_err(io_error(&self.lock, "removed"))
    }

    fn write_synced(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Half a line must not stay in front of the next one. Should this fail too, the next opening
            // finds a torn last line; so the first error is the one to tell.
            let _ = self.file.set_len(self.end);
            return Err(io_error(&self.path, WRITTEN)(source));
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Reads all lines once, keeps where they are, and cuts off a torn last one.
    fn load(&mut self) -> Result<(), JournalError> {
        let size = self.file.metadata().map_err(io_error(&self.path, "read"))?.len();
        let mut reader = BufReader::new(self.file.try_clone().map_err(io_error(&self.path, "read"))?);
        let (mut bytes, mut number) = (Vec::new(), 0);
        loop {
            bytes.clear();
            let length = reader.read_until(b'\n', &mut bytes).map_err(io_error(&self.path, "read"))?;
            if length == 0 {
                break;
            }
            number += 1;
            let is_last = self.end + length as u64 == size;
            let whole = bytes.strip_suffix(b"\n");
            if number == 1 {
                match whole {
                    Some(line) => self.check_header(line)?,
                    None if HEADER_START.starts_with(&bytes[..length.min(HEADER_START.len())]) => break, // torn
                    None => return self.check_header(&bytes),
                }
            } else if let Some(line) = whole.and_then(Line::parse) {
                self.places.insert(line.key, Place { offset: self.end, length: length - 1 });
            } else if is_last {
                break;
            } else {
                return Err(JournalError::Damaged { path: self.path.clone(), line: number });
            }
            self.end += length as u64;
        }
        self.torn_bytes = size - self.end;
        if self.torn_bytes > 0 {
            let cut = self.file.set_len(self.end).and_then(|()| self.file.sync_all());
            cut.map_err(io_error(&self.path, "cut to its last whole line"))?;
        }
        if self.end == 0 { self.begin() } else { Ok(()) }
    }

    fn begin(&mut self) -> Result<(), JournalError> {
        let header = Header { journal: "glm-eval".into(), format: FORMAT };
        let mut bytes = serde_json::to_vec(&header).expect("a header can be written");
        bytes.push(b'\n');
        self.write_synced(&bytes)
    }

    fn check_header(&self, line: &[u8]) -> Result<(), JournalError> {
        let found = match serde_json::from_slice::<Header>(line) {
            Ok(header) if header.journal == "glm-eval" && header.format == FORMAT => return Ok(()),
            Ok(header) => format!("format {} of `{}`", header.format, header.journal),
            Err(_) => format!("{:?}", String::from_utf8_lossy(&line[..line.len().min(40)])),
        };
        Err(JournalError::Header { path: self.path.clone(), found })
    }

    /// Number of the line at an offset, for a message.
    fn line_at(&self, offset: u64) -> usize {
        let before = self.places.values().filter(|place| place.offset < offset).count();
        before + 2 // the header, and counting from 1
    }
}

/// The action that may fail in the middle of a run.
const WRITTEN: &str = "written";
/// How every header begins: what a torn one is told by.
const HEADER_START: &[u8] = br#"{"journal":"glm-eval","format":"#;

fn open_file(path: &Path) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).open(path).map_err(io_error(path, "opened"))
}

fn io_error(path: &Path, action: &'static str) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_path_buf();
    move |source| JournalError::Io { path: path.clone(), action, source }
}

/// Takes the folder's lock, and writes into the lock file who holds it. The system lets go of the lock when
/// the process ends, however it ends.
fn take_lock(journal: &Path, lock: &Path) -> Result<File, JournalError> {
    let io = |action| io_error(lock, action);
    let folder = || journal.parent().unwrap_or(journal).to_path_buf();
    let unwritable = |source| JournalError::Folder { folder: folder(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(lock).map_err(unwritable)?;
    match file.try_lock() {
        // A run that ends removes its lock file: what was locked here may have lost its name in between.
        Ok(()) if !is_still(&file, lock) => return take_lock(journal, lock),
        Ok(()) => {}
        Err(TryLockError::Error(source)) => return Err(io("locked")(source)),
        Err(TryLockError::WouldBlock) => {
            let owner = fs::read_to_string(lock).unwrap_or_default();
            let owner =
                owner.lines().next().filter(|owner| !owner.is_empty()).unwrap_or("it did not say who");
            return Err(JournalError::Locked { folder: folder(), owner: owner.into() });
        }
    }
    let owner = format!("process {}, since {} UTC\n", std::process::id(), UtcTime::now().stamp());
    file.set_len(0).and_then(|()| file.write_all(owner.as_bytes())).map_err(io("locked"))?;
    Ok(file)
}

/// Does the path still lead to this open file?
fn is_still(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        file.metadata().ok().zip(fs::metadata(path).ok()).is_some_and(|(a, b)| same(a, b))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A journal of three units, closed; and its folder, which goes with the guard.
    fn three_units() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        for (key, scores) in [("a", vec![0.1, -1.5e-300]), ("b", vec![]), ("c", vec![1.0])] {
            journal.append(key, "batch", &scores).unwrap();
        }
        (folder, path)
    }

    fn get(journal: &mut Journal, key: &str) -> Option<Vec<f64>> {
        journal.get(key).unwrap()
    }

    #[test]
    fn what_is_set_aside_replaces_nothing_and_what_was_not_asked_for_is_counted() {
        let (_folder, path) = three_units();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.num_unread(), 3);
        get(&mut journal, "a");
        assert!(journal.contains("c") && journal.num_unread() == 1);
        let first = journal.set_aside().unwrap();
        assert_eq!((journal.len(), journal.num_unread()), (0, 0));
        journal.append("d", "batch", &1).unwrap();
        let second = journal.set_aside().unwrap();
        journal.append("e", "batch", &1).unwrap();
        journal.begin_anew().unwrap();
        drop(journal);
        let units = |path: &Path| Journal::open(path).unwrap().len();
        assert_eq!([units(&first), units(&second), units(&path)], [3, 1, 0]);
    }

    #[test]
    fn finished_units_are_found_again_bit_for_bit() {
        let (_folder, path) = three_units();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(get(&mut journal, "a"), Some(vec![0.1, -1.5e-300]));
        assert_eq!(get(&mut journal, "b"), Some(vec![]));
        assert_eq!(get(&mut journal, "d"), None);
        journal.append("d", "epoch", &vec![4.0]).unwrap();
        journal.append("a", "batch", &vec![5.0]).unwrap(); // after a read: still at the end
        assert_eq!(get(&mut journal, "a"), Some(vec![5.0]));
        drop(journal);
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!((get(&mut journal, "a"), get(&mut journal, "d")), (Some(vec![5.0]), Some(vec![4.0])));
        assert_eq!((journal.len(), journal.torn_bytes()), (4, 0));
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_named() {
        let (_folder, path) = three_units();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("0.1", "0.2")).unwrap();
        let error = Journal::open(&path).unwrap_err().to_string();
        assert!(error.contains("journal.jsonl: line 2 is damaged"), "{error}");
        assert!(fs::read_to_string(&path).unwrap().contains("0.2"), "nothing was changed");
    }

    #[test]
    fn damage_after_opening_is_found_when_the_unit_is_read() {
        let (_folder, path) = three_units();
        let mut journal = Journal::open(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("[1.0]", "[2.0]")).unwrap();
        let error = journal.get::<Vec<f64>>("c").unwrap_err().to_string();
        assert!(error.contains("line 4 is damaged"), "{error}");
    }

    #[test]
    fn two_runs_cannot_write_in_the_same_folder() {
        let (_folder, path) = three_units();
        let first = Journal::open(&path).unwrap();
        let error = Journal::open(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("another run is writing here (process {}", std::process::id())),
            "{error}"
        );
        drop(first);
        Journal::open(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_journal_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        for (content, found) in [
            ("my notes", "\"my notes\""),
            ("{\"journal\":\"glm-eval\",\"format\":99}\n", "format 99 of `glm-eval`"),
        ] {
            fs::write(&path, content).unwrap();
            let error = Journal::open(&path).unwrap_err().to_string();
            assert!(error.contains(found), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_removed_journal_leaves_nothing() {
        let (_folder, path) = three_units();
        Journal::open(&path).unwrap().remove().unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_is_a_clean_error() {
        let Ok(full) = OpenOptions::new().read(true).append(true).open("/dev/full") else { return };
        let (_folder, path) = three_units();
        let mut journal = Journal::open(&path).unwrap();
        journal.file = full;
        let error = journal.append("d", "batch", &1).unwrap_err();
        assert!(error.to_string().contains("the journal could not be written"), "{error}");
        assert!(!journal.contains("d"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_journal_cut_anywhere_keeps_all_whole_lines(share in 0.0..1.0_f64) {
            let (_folder, path) = three_units();
            let bytes = fs::read(&path).unwrap();
            let cut = (bytes.len() as f64 * share) as usize;
            fs::write(&path, &bytes[..cut]).unwrap();
            let whole = bytes[..cut].split(|&b| b == b'\n').count() - 1;
            let mut journal = Journal::open(&path).unwrap();
            prop_assert_eq!(journal.len(), whole.saturating_sub(1));
            journal.append("z", "batch", &vec![9.0]).unwrap();
            drop(journal);
            let mut journal = Journal::open(&path).unwrap();
            prop_assert_eq!(get(&mut journal, "z"), Some(vec![9.0]));
            prop_assert_eq!(journal.torn_bytes(), 0);
        }
    }
}
