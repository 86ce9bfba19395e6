//! A run on disk: its record, and the samples it logged beside it.
//!
//! What was changed after it was written is an error: a record carries the sha256 of itself and of each of its files
//! of samples. Records of older programs carry neither, and are taken as they are, with a note.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::hash::sha256_file;
use super::ours::{SeedRun, TaskRecord};
use super::record::{Record, RecordError, samples_name, seed_name};
use super::samples::{self, SampleLine, SamplesError};
use super::time::UtcTime;

/// A run: a record with the place it was read from.
#[derive(Clone, Debug)]
pub struct Run {
    /// The file of the record.
    pub path: PathBuf,
    /// The record.
    pub record: Record,
    /// What to tell the user: which of several records was chosen, what could not be verified.
    pub notes: Vec<String>,
}

/// A run that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is nothing of that name, or it can't be looked into.
    #[error("{}: no run can be read there", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A folder without runs.
    #[error("{}: no run in it: there is no results_*.json in this folder, nor in the folders in it", folder.display())]
    None {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder with runs of several models.
    #[error("{}: holds runs of several models; name one of {}", folder.display(), list(records))]
    Several {
        /// The folder.
        folder: PathBuf,
        /// The newest record of each model.
        records: Vec<PathBuf>,
    },
    /// A record that can't be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Samples that can't be read.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// A run whose samples were not kept.
    #[error("{}: its samples are missing; keep the samples_*.jsonl of a run beside its record", file.display())]
    NoSamples {
        /// Where they should be.
        file: PathBuf,
    },
    /// A file of samples that isn't the one the run wrote.
    #[error("{}: the samples were changed after they were written: sha256 {found}, the record says {stated}; \
        fetch them again, or run again", file.display())]
    EditedSamples {
        /// The file.
        file: PathBuf,
        /// What the record says.
        stated: String,
        /// What it is.
        found: String,
    },
    /// A file of samples with too few or too many of them.
    #[error("{}: {found} samples, the record says {stated}; fetch them again, or run again", file.display())]
    Count {
        /// The file.
        file: PathBuf,
        /// What the record says.
        stated: usize,
        /// What there are.
        found: usize,
    },
    /// A record that names a file elsewhere.
    #[error("{}: names the samples `{name}`, which is no plain file name: not a record of this program", path.display())]
    Outside {
        /// The record.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Run {
    /// Reads the run at `path`: a record, or a folder that holds records, directly or one level down (a model's
    /// folder, or the output folder). Of several records of one model the newest counts, and `notes` says so.
    ///
    /// # Errors
    /// If there is no run, or runs of several models; if the record is cut short, edited, or of another schema.
    pub fn read(path: &Path) -> Result<Self, RunError> {
        let (path, chosen) = if path.is_dir() { newest(path)? } else { (path.to_path_buf(), None) };
        let record = Record::read(&path)?;
        let mut notes = Vec::from_iter(chosen);
        if record.glm_eval.record_sha256.is_none() {
            notes.push(format!(
                "{}: written by an older program, without a digest of itself: changes to it would go unnoticed",
                path.display()
            ));
        }
        Ok(Self { path, record, notes })
    }

    /// Where the samples of a seed of a task are.
    ///
    /// # Errors
    /// If the record names a file in another folder.
    pub fn samples_path(&self, task: &TaskRecord, seed: &SeedRun) -> Result<PathBuf, RunError> {
        let name = match &seed.samples {
            Some(samples) => samples.file.clone(),
            None => samples_name(&seed_name(&task.name, seed.seed, task.runs.len()), &self.stamp()),
        };
        if name.is_empty() || name.contains(['/', '\\']) || name == ".." {
            return Err(RunError::Outside { path: self.path.clone(), name });
        }
        Ok(self.path.parent().unwrap_or(Path::new("")).join(name))
    }

    /// The samples of a seed of a task, in the order of the data.
    ///
    /// # Errors
    /// If they are missing, cut short, or not those that the run wrote.
    pub fn samples(&self, task: &TaskRecord, seed: &SeedRun) -> Result<Vec<SampleLine>, RunError> {
        let file = self.samples_path(task, seed)?;
        if !file.is_file() {
            return Err(RunError::NoSamples { file });
        }
        if let Some(stated) = seed.samples.as_ref().map(|samples| &samples.sha256) {
            let found = sha256_file(&file).map_err(|source| RunError::Io { path: file.clone(), source })?;
            if *stated != found {
                return Err(RunError::EditedSamples { file, stated: stated.clone(), found });
            }
        }
        let lines = samples::read(&file)?.collect::<Result<Vec<_>, _>>()?;
        let stated = task.samples.effective;
        if lines.len() != stated {
            return Err(RunError::Count { file, stated, found: lines.len() });
        }
        Ok(lines)
    }

    /// The time in the names of the run's files: from the record's own name, or from what it says.
    fn stamp(&self) -> String {
        let name = self.path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let started = std::time::Duration::try_from_secs_f64(self.record.start_time).unwrap_or_default();
        name.strip_prefix("results_").map_or_else(|| UtcTime::from_unix(started).stamp(), String::from)
    }
}

/// All records in a folder and in the folders in it, in the order of their names.
///
/// # Errors
/// If a folder can't be read.
pub fn records_in(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut records = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            records.extend(entries(&path)?.into_iter().filter(|path| is_record(path)));
        } else if is_record(&path) {
            records.push(path);
        }
    }
    Ok(records)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let failed = |source| RunError::Io { path: folder.to_path_buf(), source };
    let found = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut paths: Vec<PathBuf> = found.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn is_record(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with("results_") && path.extension().is_some_and(|ending| ending == "json") && path.is_file()
}

/// The newest record of a folder, and what to say where there are several. Their names sort by time.
fn newest(folder: &Path) -> Result<(PathBuf, Option<String>), RunError> {
    let mut records = records_in(folder)?;
    records.sort_by(|a, b| (a.parent(), a.file_name()).cmp(&(b.parent(), b.file_name())));
    let mut last_of_each: Vec<PathBuf> = Vec::new();
    for record in &records {
        last_of_each.retain(|known| known.parent() != record.parent());
        last_of_each.push(record.clone());
    }
    match last_of_each.as_slice() {
        [] => Err(RunError::None { folder: folder.to_path_buf() }),
        [only] => {
            let others: Vec<PathBuf> = records.iter().filter(|record| *record != only).cloned().collect();
            let note = || {
                let count = records.len();
                format!(
                    "{}: the newest of {count} runs there; the others are {}",
                    only.display(),
                    list(&others)
                )
            };
            Ok((only.clone(), (!others.is_empty()).then(note)))
        }
        _ => Err(RunError::Several { folder: folder.to_path_buf(), records: last_of_each }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CB: &str = "results/runs/glm-tiny-random-cb";

    /// A copy of the committed run, in a folder of its own.
    fn copy(into: &Path) -> PathBuf {
        fs::create_dir_all(into).unwrap();
        for path in entries(Path::new(CB)).unwrap() {
            fs::copy(&path, into.join(path.file_name().unwrap())).unwrap();
        }
        records_in(into).unwrap().remove(0)
    }

    #[test]
    fn a_run_is_found_by_its_record_its_folder_and_the_folder_above_and_has_its_samples() {
        let folder = tempfile::tempdir().unwrap();
        let record = copy(&folder.path().join("glm-tiny"));
        for path in [&record, record.parent().unwrap(), folder.path()] {
            let run = Run::read(path).unwrap();
            assert_eq!(run.path, record);
            assert!(run.notes[0].contains("written by an older program"), "{:?}", run.notes);
            let task = &run.record.glm_eval.tasks[0];
            for seed in &task.runs {
                assert_eq!(run.samples(task, seed).unwrap().len(), 56);
            }
        }
    }

    #[test]
    fn of_several_runs_of_a_model_the_newest_counts_and_of_several_models_one_is_to_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let record = copy(&folder.path().join("glm-tiny"));
        let newer = record.with_file_name("results_2099-01-01T00-00-00.000000.json");
        fs::copy(&record, &newer).unwrap();
        let run = Run::read(folder.path()).unwrap();
        assert_eq!(run.path, newer);
        assert!(run.notes[0].contains("the newest of 2 runs there; the others are"), "{:?}", run.notes);
        let task = &run.record.glm_eval.tasks[0];
        let missing = run.samples(task, &task.runs[0]).unwrap_err().to_string();
        assert!(
            missing.contains("samples_cb_seed1_2099-01-01T00-00-00.000000.jsonl: its samples are missing")
        );
        copy(&folder.path().join("other"));
        let several = Run::read(folder.path()).unwrap_err().to_string();
        assert!(several.contains("holds runs of several models; name one of"), "{several}");
    }

    #[test]
    fn a_folder_without_runs_says_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let message = Run::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains("there is no results_*.json in this folder"), "{message}");
        assert!(matches!(
            Run::read(Path::new("/no/such/run")),
            Err(RunError::Record(RecordError::Io { .. }))
        ));
    }

    #[test]
    fn samples_that_lack_a_line_or_lie_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::read(&copy(folder.path())).unwrap();
        let mut task = run.record.glm_eval.tasks.remove(0);
        let file = run.samples_path(&task, &task.runs[0]).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.split_inclusive('\n').skip(1).collect::<String>()).unwrap();
        let message = run.samples(&task, &task.runs[0]).unwrap_err().to_string();
        assert!(message.contains("55 samples, the record says 56"), "{message}");
        let receipt =
            super::super::ours::SamplesFile { file: "../x".into(), sha256: "0".into(), samples: 56 };
        task.runs[0].samples = Some(receipt.clone());
        assert!(matches!(run.samples(&task, &task.runs[0]), Err(RunError::Outside { .. })));
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        task.runs[0].samples = Some(super::super::ours::SamplesFile { file: name, ..receipt });
        let message = run.samples(&task, &task.runs[0]).unwrap_err().to_string();
        assert!(message.contains("the samples were changed after they were written"), "{message}");
    }
}
