//! `glm-eval run`: the main job.

mod settings;
mod table;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use self::settings::RunArgs;
use super::progress::Bars;
use crate::eval::{self, Command, Job, Run as EvalRun, Settings, Stop};
use crate::machine;
use crate::model::ModelSource;
use crate::results::hash::sha256_file;
use crate::results::record::run_folder;
use crate::results::{Journal, Record, atomic};
use crate::tasks::{self, Task};

/// Fine-tune and score models on tasks: the main job.
///
/// Tasks are names (`rte`), suites (`superglue`) or task files. Records and samples are written under
/// the output folder; the table goes to stdout. Without data of SuperGLUE, and without --data-dir, its place is taken by
/// `superglue-mini`, rows that this program makes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  glm-eval run superglue
  glm-eval run superglue --data-dir data/superglue
  glm-eval run rte cb --model my-glm --seeds 1,2,3 --select best
  glm-eval run copa --mode zero-shot --limit 50 --log-samples
  glm-eval run superglue --dry-run")]
pub struct Run {
    #[command(flatten)]
    args: RunArgs,
}

/// Spent on the machine's peak.
const PEAK_SECS: f64 = 0.1;

/// What runs, and on how fast a machine: the same for all models.
struct Here {
    program_sha256: String,
    peak_flops_per_sec: Option<f64>,
}

static STOP: Stop = Stop::new();

impl Run {
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        super::device::on_threads(self.args.threads, || self.exec_on_threads())
    }

    fn exec_on_threads(&self) -> anyhow::Result<ExitCode> {
        let (tasks, is_suite) = self.tasks()?;
        let tasks = super::or_mini(tasks, self.args.data_dir())?;
        let settings = self.args.settings(&tasks)?;
        let models = self.args.models()?;
        let plans = models
            .iter()
            .map(|model| {
                eval::plan(&tasks, model, &settings).with_context(|| format!("planning {}", model.name))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        for model in &models {
            if let Some(note) = model.random_weights() {
                tracing::warn!("{}: weights {note}", model.name);
            }
        }
        let mut out = std::io::stdout().lock();
        if self.args.dry_run {
            for (model, jobs) in models.iter().zip(&plans) {
                table::write_plan(&mut out, model, jobs, &settings)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        ctrlc::set_handler(|| {
            // Asked twice, it ends at once: what is finished is in the journal anyway.
            if STOP.is_asked() {
                std::process::exit(i32::from(super::COULD_NOT_RUN));
            }
            STOP.ask();
        })?;
        let program_sha256 = sha256_file(&std::env::current_exe()?)?;
        // All of them before any work: a folder that can't be written to is known now. And they stay to the end:
        // a run that is killed in the second model resumes the first from its journal.
        let mut journals =
            models.iter().map(|model| self.journal(model)).collect::<anyhow::Result<Vec<_>>>()?;
        // A fraction of a second; no score depends on it.
        let peak = machine::peak_flops_per_sec(settings.dtype, &settings.device, PEAK_SECS);
        let here = Here { program_sha256, peak_flops_per_sec: peak.ok() };
        let mut records = Vec::new();
        for ((model, jobs), journal) in models.iter().zip(&plans).zip(&mut journals) {
            records.push(self.run_model(model, jobs, &settings, journal, is_suite, &here)?);
        }
        for mut journal in journals {
            let unread = journal.num_unread();
            if unread > 0 {
                let aside = journal.set_aside()?;
                tracing::warn!(
                    "{unread} finished units of the run that was to be resumed belong to other settings or tasks; they are \
                     kept in {}",
                    aside.display()
                );
            }
            journal.remove()?;
        }
        table::write_records(&mut out, &records.iter().map(|(record, _)| record).collect::<Vec<_>>())?;
        records.iter().try_for_each(|(_, file)| writeln!(out, "Record: {}", file.display()))?;
        Ok(ExitCode::SUCCESS)
    }

    fn run_model(
        &self,
        model: &ModelSource,
        jobs: &[Job],
        settings: &Settings,
        journal: &mut Journal,
        is_suite: bool,
        here: &Here,
    ) -> anyhow::Result<(Record, PathBuf)> {
        let bars = Bars::new();
        let start = eval::start(journal)?;
        let mut run = EvalRun {
            model,
            settings,
            journal,
            folder: run_folder(&self.args.output_path, &model.name),
            start,
            finished: Vec::new(),
            program_sha256: here.program_sha256.clone(),
            peak_flops_per_sec: here.peak_flops_per_sec,
            progress: &bars,
            stop: &STOP,
        };
        let tasks = run.run(jobs)?;
        let command = Command {
            // A resumed run's record is that of a run that was never interrupted.
            arguments: super::arguments_without_folders()
                .into_iter()
                .filter(|word| word != "--resume")
                .collect(),
            device: super::device::name(&settings.device),
            git_hash: option_env!("GLM_EVAL_GIT_HASH").map(String::from),
            is_suite,
        };
        let files = run.write(tasks, command)?;
        Ok((files.contents, files.record))
    }

    /// Opens the journal; without `--resume` one with finished units is set aside, not lost.
    fn journal(&self, model: &ModelSource) -> anyhow::Result<Journal> {
        let folder = run_folder(&self.args.output_path, &model.name);
        let mut journal = Journal::open(folder.join("journal.jsonl"))?;
        atomic::remove_leftovers(&folder);
        match (self.args.resume, journal.len()) {
            (true, 0) => tracing::warn!("{}: no unfinished run to resume; starting anew", folder.display()),
            (true, _) | (false, 0) => {}
            // It had only begun.
            (false, 1) => journal.begin_anew()?,
            (false, _) => {
                let aside = journal.set_aside()?;
                tracing::warn!(
                    "an unfinished run was set aside as {}; renamed to journal.jsonl, `--resume` goes on with it",
                    aside.display()
                );
            }
        }
        Ok(journal)
    }

    /// The tasks by name, and whether a whole suite was asked for.
    fn tasks(&self) -> anyhow::Result<(Vec<Task>, bool)> {
        let mut found: Vec<Task> = Vec::new();
        let mut is_suite = false;
        for name in self.args.task_names() {
            let names = match tasks::suite(name) {
                Some(names) => {
                    is_suite |= tasks::is_averaged(name);
                    names.into_iter().map(String::from).collect()
                }
                None => vec![name.to_string()],
            };
            for name in names {
                let task = Task::find(&name)?;
                if !found.iter().any(|known| known.name == task.name) {
                    found.push(task);
                }
            }
        }
        if found.is_empty() {
            bail!("no task was named; `glm-eval ls tasks` and `glm-eval ls suites` list what there is");
        }
        Ok((found, is_suite))
    }
}
