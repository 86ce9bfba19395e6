//! `glm-eval bench`.

mod print;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use candle_core::Device;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::device::{self, DeviceArg};
use crate::bench::{self, Case, Mode, NumberFormat, Program, RandomWork, TaskWork, Work};
use crate::machine;

/// Measure how fast a model is on this machine: tokens a second, their share of the machine's peak, memory.
///
/// A step of evaluation is a forward pass with the logits of all rows; a step of training is forward,
/// cross-entropy over all rows, backward, and an update by AdamW (no dropout, no clipping). Half of the
/// tokens of each sequence is prefix. Every side is measured in a process of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  glm-eval bench
  glm-eval bench --shape glm-base --mode train --json
  glm-eval bench --shape 4x512x8 --batch 4 --sequence 512 --threads 1
  glm-eval bench --shape glm-base --against torch --python venv/bin/python --json
  glm-eval bench --task copa --data-dir data/superglue
  glm-eval bench --sweep --plot sweep.svg --csv > sweep.csv")]
pub struct Bench {
    /// A published shape (`glm-eval ls models`), or layers x width x heads (x vocabulary)
    #[arg(long, default_value = "glm-tiny", value_name = "NAME|LxHxN[xV]")]
    shape: String,
    /// What a step does
    #[arg(long, value_enum, default_value_t = Mode::Eval)]
    mode: Mode,
    /// Number format of the computation
    #[arg(long, value_enum, default_value_t = NumberFormat::F32)]
    dtype: NumberFormat,
    /// Sequences of a step; with `--task`, samples of a forward pass or of an update
    #[arg(long, default_value_t = 8, value_name = "N")]
    batch: usize,
    /// Tokens of a sequence
    #[arg(long, default_value_t = 128, value_name = "N")]
    sequence: usize,
    /// Share of the tokens that have a target, whose logits are taken
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    targets: f64,
    /// Rounds that count, after a warm-up; at least 5
    #[arg(long, visible_alias = "alternations", default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Threads, on both sides [default: `$RAYON_NUM_THREADS`, else one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where to compute: auto, cpu, or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceArg,
    /// Measure in turns with the same network in another framework, on the CPU
    #[arg(long, value_enum, requires = "python")]
    against: Option<Against>,
    /// A Python that has the other framework
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Answer a task's samples (with `--mode train`, learn from them) in place of random tokens
    #[arg(long, value_name = "NAME|FILE.toml", conflicts_with_all = ["shape", "sequence", "targets", "against"])]
    task: Option<String>,
    /// For `--task`: a bundled model's name, or the folder or file of a checkpoint
    #[arg(short = 'm', long, default_value = "glm-tiny", value_name = "NAME|DIR")]
    model: String,
    /// For `--task`: folder that holds the task's folder [default: `$GLM_EVAL_DATA`, then the cache]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// For `--task`: samples of a step
    #[arg(short = 'L', long, default_value_t = 64, value_name = "N")]
    limit: usize,
    /// Measure sequences of 128 to 2048 tokens in batches of 1 to 64, each in a process of its own
    #[arg(long, conflicts_with_all = ["task", "against", "batch", "sequence"])]
    sweep: bool,
    /// For `--sweep`: most tokens of a step
    #[arg(long, default_value_t = 32768, value_name = "N")]
    max_tokens: usize,
    /// For `--sweep`: draw it
    #[arg(long, value_name = "FILE.svg", requires = "sweep")]
    plot: Option<PathBuf>,
    /// For `--sweep`: print comma-separated values
    #[arg(long, requires = "sweep", conflicts_with = "json")]
    csv: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Be the measured process: serve this case
    #[arg(long, value_name = "CASE", hide = true, exclusive = true)]
    serve: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Against {
    /// Eager, f32, or with bf16 under autocast
    Torch,
}

const MIN_ROUNDS: usize = 5;
/// Cores that others may keep busy unmentioned.
const BUSY: f64 = 0.1;

impl Bench {
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        if let Some(case) = &self.serve {
            return serve(case);
        }
        if self.rounds < MIN_ROUNDS {
            bail!("--rounds {}: a median needs at least {MIN_ROUNDS}", self.rounds);
        }
        device::on_threads(self.threads, || self.exec_on_threads())
    }

    fn exec_on_threads(&self) -> anyhow::Result<ExitCode> {
        let device = self.device.open()?;
        device::check_dtype(self.dtype.dtype(), &device)?;
        let case = Case {
            mode: self.mode,
            dtype: self.dtype,
            threads: rayon::current_num_threads(),
            device: device::name(&device),
            work: self.work()?,
        };
        ctrlc::set_handler(bench::interrupt)?;
        if self.sweep {
            self.sweep(&case, &device)?;
        } else {
            self.measure(&case, &device)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn work(&self) -> anyhow::Result<Work> {
        let Some(task) = &self.task else {
            let config = bench::shape(&self.shape)?;
            return Ok(Work::Random(RandomWork::new(config, self.batch, self.sequence, self.targets)?));
        };
        let work = TaskWork {
            task: task.clone(),
            model: self.model.clone(),
            data_dir: self.data_dir.clone(),
            batch: self.batch,
            limit: self.limit,
        };
        work.check(self.mode)?;
        Ok(Work::Task(work))
    }

    fn measure(&self, case: &Case, device: &Device) -> anyhow::Result<()> {
        let against = self.against.and(self.python.clone()).map(Program::Torch);
        if against.is_some() && !device.is_cpu() {
            bail!("--against torch compares on the CPU; give `--device cpu`");
        }
        let report = bench::measure(case, device, against.as_ref(), self.rounds)?;
        warn_of_load(report.others_busy_cores);
        let mut out = std::io::stdout().lock();
        if !self.json {
            let (mode, dtype) = (case.mode.as_str(), case.dtype.as_str());
            let title = match &self.task {
                Some(task) => format!("{} {mode} {dtype}, {task} in batches of {}", self.model, self.batch),
                None => {
                    format!("{} {mode} {dtype}, {} x {} tokens a step", self.shape, self.batch, self.sequence)
                }
            };
            return Ok(print::write_report(&mut out, &title, &report, &print::machine_line(case))?);
        }
        let mut facts = match &self.task {
            Some(task) => json!({"task": task, "model": self.model}),
            None => json!({"shape": self.shape}),
        };
        add(&mut facts, &json!({"mode": case.mode, "dtype": case.dtype, "batch": self.batch}))?;
        if self.task.is_none() {
            add(&mut facts, &json!({"sequence": self.sequence, "targets": self.targets}))?;
        }
        if report.theirs.is_some() {
            add(&mut facts, &json!({"against": "torch", "alternations": report.rounds}))?;
        }
        add(&mut facts, &json!({"threads": case.threads}))?;
        add(&mut facts, &report)?;
        facts["machine"] = machine_facts(case);
        Ok(writeln!(out, "{facts}")?)
    }

    fn sweep(&self, case: &Case, device: &Device) -> anyhow::Result<()> {
        let works = bench::works(&bench::shape(&self.shape)?, self.targets, self.max_tokens)?;
        let count = works.len();
        let mut number = 0;
        let sweep = bench::sweep(case, works, device, self.rounds, |work| {
            number += 1;
            super::message(&format!("{number} of {count}: {} x {} tokens", work.batch, work.sequence));
        })?;
        warn_of_load(sweep.points.iter().filter_map(|point| point.others_busy_cores).reduce(f64::max));
        let (mode, dtype) = (case.mode.as_str(), case.dtype.as_str());
        let share = 100.0 * self.targets;
        let title = format!("{} {mode} {dtype}, logits of {share:.0} % of the tokens", self.shape);
        if let Some(file) = &self.plot {
            let svg = bench::draw(&sweep, &format!("{title}, {}", print::machine_line(case)))?;
            std::fs::write(file, svg).with_context(|| format!("writing {}", file.display()))?;
        }
        let mut out = std::io::stdout().lock();
        if self.csv {
            print::write_csv(&mut out, &sweep)?;
        } else if self.json {
            let mut facts = json!({"shape": self.shape, "mode": case.mode, "dtype": case.dtype});
            add(&mut facts, &json!({"targets": self.targets, "threads": case.threads}))?;
            add(&mut facts, &sweep)?;
            facts["machine"] = machine_facts(case);
            writeln!(out, "{facts}")?;
        } else {
            print::write_sweep(&mut out, &title, &sweep, &print::machine_line(case))?;
        }
        Ok(())
    }
}

/// Other processes slow both sides, and not alike: thread pools that wait for their slowest thread suffer most.
fn warn_of_load(others_busy_cores: Option<f64>) {
    if let Some(cores) = others_busy_cores.filter(|&cores| cores > BUSY) {
        tracing::warn!(
            "other processes kept {cores:.1} cores busy meanwhile; these figures are of a machine under load"
        );
    }
}

/// Adds the keys of `more`.
fn add(object: &mut Value, more: &impl Serialize) -> serde_json::Result<()> {
    for (key, value) in serde_json::to_value(more)?.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    Ok(())
}

fn machine_facts(case: &Case) -> Value {
    json!({
        "cpu": machine::cpu_model(),
        "cores": machine::cores(),
        "threads": case.threads,
        "device": case.device,
    })
}

/// The measured process.
fn serve(case: &str) -> anyhow::Result<ExitCode> {
    let case: Case = serde_json::from_str(case).context("--serve takes a case as `bench` writes it")?;
    let device: DeviceArg = case.device.parse().map_err(anyhow::Error::msg)?;
    device::on_threads(Some(case.threads), || {
        bench::serve(&case, &device.open()?, std::io::stdin().lock(), std::io::stdout())?;
        Ok(ExitCode::SUCCESS)
    })
}
