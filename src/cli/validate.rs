//! `glm-eval validate`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::{COULD_NOT_RUN, unless_closed, with_causes};
use crate::data::LocateError;
use crate::tasks::{Provenance, Split, Task, TaskData, TaskError, mini, names};

/// Load task files and their data, and say what is wrong with them.
///
/// One line a file; exits with 2 when there is an error. No model is touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  glm-eval validate --data-dir data/superglue
  glm-eval validate rte --data-dir data/superglue
  glm-eval validate my-task.toml --data-dir my-data
  glm-eval validate folder-of-task-files")]
pub struct Validate {
    /// A task's name, a task file, or a folder of them [default: the built-in ones]
    #[arg(value_name = "NAME|PATH")]
    path: Option<PathBuf>,
    /// A folder that holds the tasks' folders, directly or one level down
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Validate {
    /// Checks every file; a broken one doesn't keep the others from being checked.
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        if let Some(folder) = self.data_dir.as_deref().filter(|folder| !folder.is_dir()) {
            bail!("--data-dir {}: there is no such folder", folder.display());
        }
        let sources = match &self.path {
            None => names().chain(mini::names()).map(str::to_owned).collect(),
            Some(name) if is_name(name) => vec![name.display().to_string()],
            Some(path) => task_files(path)?.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
        };
        let mut out = io::stdout().lock();
        let mut failed = false;
        for source in &sources {
            let line = match self.check(source) {
                Ok(summary) => format!("ok     {summary}"),
                Err(error) => {
                    failed = true;
                    format!("error  {}", with_causes(&error).replace('\n', " "))
                }
            };
            unless_closed(writeln!(out, "{line}"))?;
        }
        Ok(if failed { ExitCode::from(COULD_NOT_RUN) } else { ExitCode::SUCCESS })
    }

    /// Loads a task file and makes every sample of its data; says what was found.
    fn check(&self, source: &str) -> Result<String, TaskError> {
        use std::fmt::Write as _;
        let is_file = self.path.as_deref().is_some_and(|path| !is_name(path));
        let task = if is_file { Task::open(Path::new(source))? } else { Task::find(source)? };
        let plural = if task.patterns.len() == 1 { "" } else { "s" };
        let mut summary = format!("{}: {} pattern{plural}", task.file, task.patterns.len());
        let data = match TaskData::locate(&task, self.data_dir.as_deref()) {
            Ok(data) => data,
            Err(TaskError::Locate(LocateError::NotFound { .. })) if !self.is_data_asked_for() => {
                return Ok(summary + "; no data found");
            }
            Err(error) => return Err(error),
        };
        for split in Split::ALL {
            let Some(spec) = task.file_spec(split) else { continue };
            if !data.files.contains_key(&split) {
                write!(summary, "; no {split} file ({})", spec.path).expect("a string takes any text");
                continue;
            }
            let mut count = 0;
            for sample in task.samples(&data, split, &task.form())? {
                sample?;
                count += 1;
            }
            let has_official = spec.sha256.is_some();
            let kind = match data.provenance(&task, split)?.0 {
                Provenance::Official => "",
                Provenance::Unknown if !has_official => "",
                Provenance::Partial(_) => " (a known part of the official file)",
                Provenance::Unknown => " (not the official file)",
            };
            write!(summary, "; {split} {count} samples{kind}").expect("a string takes any text");
        }
        Ok(summary)
    }

    /// Of one task, and in one folder? Of all tasks, a folder need not have all.
    fn is_data_asked_for(&self) -> bool {
        self.data_dir.is_some() && self.path.as_deref().is_some_and(|path| !path.is_dir())
    }
}

/// Is it one word, as a task's name, and no file or folder?
fn is_name(path: &Path) -> bool {
    !path.exists() && path.components().count() == 1
}

/// The file itself, or all task files in a folder and the folders in it, by name.
fn task_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    let mut seen = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        // A link may lead to a folder above it.
        if !seen.insert(folder.canonicalize().with_context(|| format!("reading {}", folder.display()))?) {
            continue;
        }
        let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        bail!("{}: holds no .toml file", path.display());
    }
    files.sort();
    Ok(files)
}
