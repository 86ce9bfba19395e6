//! The data files of a task: where they are, and whether they are the official ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::TaskError;
use super::file::{FileSpec, Reader};
use super::sample::Split;
use super::task::Task;
use crate::data::locate::Wanted;
use crate::data::{RowFile, locate, mini};

/// The located files of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskData {
    /// The folder they are in.
    pub folder: PathBuf,
    /// The files that are there.
    pub files: BTreeMap<Split, RowFile>,
    /// More files of rows to learn from, behind the official ones.
    pub extra_train: Vec<PathBuf>,
    task: String,
}

/// How a file compares with the official one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// It is the complete official file.
    Official,
    /// It is a known part of the official file; scores can't be compared with published ones.
    Partial(String),
    /// It is another file.
    Unknown,
}

/// A file in the task's format.
fn row_file(task: &Task, file: PathBuf) -> RowFile {
    match task.data.reader {
        Reader::Jsonl => RowFile::OnDisk(file),
        Reader::Text => RowFile::Text(file),
    }
}

impl TaskData {
    /// Finds the files, from `--data-dir`, else `GLM_EVAL_DATA`, else the cache.
    ///
    /// The rows of `superglue-mini` are made, wherever the program runs.
    pub fn locate(task: &Task, data_dir: Option<&Path>) -> Result<Self, TaskError> {
        if let Some(set) = task.mini {
            return Ok(Self::made(task, set));
        }
        let specs = || Split::ALL.into_iter().filter_map(|split| Some((split, task.file_spec(split)?)));
        let mut names: Vec<String> = specs().map(|(_, spec)| spec.path.clone()).collect();
        names.dedup();
        let hint = match (&task.data.url, &task.data.hub) {
            (Some(url), _) => format!("download and unpack {url}, and name its folder with --data-dir"),
            (None, Some(hub)) => {
                format!(
                    "get the files, which are part of `{hub}` on the hub, and name their folder with --data-dir"
                )
            }
            (None, None) => {
                "put the files into one of these places, or name their folder with --data-dir".into()
            }
        };
        let suite = task.suite.as_deref().unwrap_or_default();
        let wanted = Wanted { folder: &task.data.folder, suite, files: &names, hint: &hint };
        let folder = locate(wanted, data_dir)?;
        let there = |(split, spec): (Split, &FileSpec)| {
            let file = folder.join(&spec.path);
            file.is_file().then(|| (split, row_file(task, file)))
        };
        let files = specs().filter_map(there).collect();
        Ok(Self { folder, files, extra_train: Vec::new(), task: task.name.clone() })
    }

    /// Data that is not looked for: each split's file.
    pub fn from_files(task: &Task, folder: &Path, files: BTreeMap<Split, PathBuf>) -> Self {
        let files = files.into_iter().map(|(split, file)| (split, row_file(task, file))).collect();
        Self { folder: folder.to_path_buf(), files, extra_train: Vec::new(), task: task.name.clone() }
    }

    fn made(task: &Task, set: &mini::Set) -> Self {
        let folder = Path::new(mini::SUITE).join(&task.data.folder);
        let files = [Split::Train, Split::Val].into_iter().zip(set.files()).map(|(split, bytes)| {
            let name = folder.join(mini::file_name(split.name()));
            (split, RowFile::Made { name, bytes: bytes.into() })
        });
        let files = files.collect();
        Self { folder, files, extra_train: Vec::new(), task: task.name.clone() }
    }

    /// Where a split's file is, or what it is called.
    pub fn file(&self, split: Split) -> Result<&Path, TaskError> {
        self.rows(split).map(RowFile::path)
    }

    /// A split's file.
    pub fn rows(&self, split: Split) -> Result<&RowFile, TaskError> {
        self.files.get(&split).ok_or_else(|| {
            let name = |file: &RowFile| file.path().file_name().map(|name| name.display().to_string());
            let there =
                self.files.iter().filter_map(|(split, file)| Some(format!("{split} ({})", name(file)?)));
            let (folder, there) = (self.folder.display(), there.collect::<Vec<_>>().join(", "));
            let looked_for = match there.is_empty() {
                true => format!("in {folder}"),
                false => format!("in {folder}; what it has is {there}"),
            };
            TaskError::NoFile { task: self.task.clone(), split: split.name(), looked_for }
        })
    }

    /// A split's file compared with the official one, and its SHA-256.
    pub fn provenance(&self, task: &Task, split: Split) -> Result<(Provenance, String), TaskError> {
        let file = self.rows(split)?;
        let sha256 = file
            .sha256()
            .map_err(|source| TaskError::Unreadable { file: file.path().to_path_buf(), source })?;
        let spec = task.file_spec(split).filter(|spec| spec.sha256.as_deref() == Some(&sha256));
        let provenance = match spec {
            Some(spec) if spec.complete => Provenance::Official,
            Some(spec) => Provenance::Partial(spec.note.clone().unwrap_or_default()),
            None => Provenance::Unknown,
        };
        Ok((provenance, sha256))
    }
}
