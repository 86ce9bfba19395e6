//! `glm-eval bench`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, TableComponent, presets};
use serde_json::{Value, json};

use super::device::{self, DeviceArg};
use crate::bench::{self, Case, Mode, NumberFormat, Program, RandomWork, Report, Side, Summary, Work};
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
  glm-eval bench --shape glm-base --against torch --python venv/bin/python --json")]
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
    /// Sequences of a step
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
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Be the measured process: serve this case
    #[arg(long, value_name = "CASE", hide = true, exclusive = true)]
    serve: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Against {
    /// PyTorch: eager, f32, or with bf16 under autocast
    Torch,
}

const MIN_ROUNDS: usize = 5;

impl Bench {
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        if let Some(case) = &self.serve {
            return serve(case);
        }
        if self.rounds < MIN_ROUNDS {
            bail!("--rounds {}: a median needs at least {MIN_ROUNDS}", self.rounds);
        }
        let config = bench::shape(&self.shape)?;
        let work = RandomWork::new(config, self.batch, self.sequence, self.targets)?;
        set_threads(self.threads)?;
        let device = self.device.open()?;
        let against = self.against.and(self.python.clone()).map(Program::Torch);
        if against.is_some() && !device.is_cpu() {
            bail!("--against torch compares on the CPU; give `--device cpu`");
        }
        let case = Case {
            mode: self.mode,
            dtype: self.dtype,
            threads: rayon::current_num_threads(),
            device: device::name(&device),
            work: Work::Random(work),
        };
        ctrlc::set_handler(bench::interrupt)?;
        let report = bench::measure(&case, &device, against.as_ref(), self.rounds)?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", self.json(&case, &report)?)?;
        } else {
            let (shape, mode, dtype) = (&self.shape, case.mode.as_str(), case.dtype.as_str());
            let title = format!("{shape} {mode} {dtype}, {} x {} tokens a step", self.batch, self.sequence);
            write_table(&mut out, &title, &report, &machine_line(&case))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn json(&self, case: &Case, report: &Report) -> serde_json::Result<Value> {
        let mut object = json!({
            "shape": self.shape,
            "mode": case.mode,
            "dtype": case.dtype,
            "batch": self.batch,
            "sequence": self.sequence,
            "targets": self.targets,
            "threads": case.threads,
        });
        if report.theirs.is_some() {
            object["against"] = json!("torch");
            object["alternations"] = json!(report.rounds);
        }
        for (key, value) in serde_json::to_value(report)?.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        object["machine"] = json!({
            "cpu": machine::cpu_model(),
            "cores": machine::cores(),
            "threads": case.threads,
            "device": case.device,
        });
        Ok(object)
    }
}

/// What was found, and on which machine.
fn write_table(out: &mut impl Write, title: &str, report: &Report, machine: &str) -> std::io::Result<()> {
    writeln!(out, "{title}")?;
    let mut table = Table::new();
    let header =
        ["", "ms a step", "min", "max", "tokens/s", "samples/s", "GFLOP/s", "of peak", "peak memory"];
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    for between_rows in [TableComponent::HorizontalLines, TableComponent::MiddleIntersections] {
        table.remove_style(between_rows);
    }
    table.add_row(row("glm-eval", &report.ours));
    if let Some(theirs) = &report.theirs {
        let version = theirs.about.get("version").and_then(Value::as_str).unwrap_or("");
        table.add_row(row(&format!("torch {version}"), theirs));
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    writeln!(out, "{table}")?;
    if let Some(ratio) = &report.ratio {
        let ([q1, q3], rounds) = (ratio.ratio_quartiles, report.rounds);
        writeln!(
            out,
            "  {:.2} times as fast as torch: median of {rounds} turns, half of them {q1:.2} to {q3:.2},",
            ratio.ratio
        )?;
        writeln!(out, "  all {:.2} to {:.2}", ratio.ratio_min, ratio.ratio_max)?;
        if let Some(memory) = ratio.peak_memory_ratio {
            writeln!(out, "  {memory:.2} of its peak memory")?;
        }
    }
    let peak = report.peak_flops_per_sec / 1e9;
    writeln!(out, "  {machine}; its fastest large matrix product: {peak:.0} GFLOP/s")
}

/// A side in the table.
fn row(name: &str, side: &Side) -> Vec<String> {
    let Summary { median, min, max } = side.seconds;
    let ms = |secs: f64| format!("{:.1}", secs * 1e3);
    let memory = side.peak_memory_bytes.map(|bytes| format!("{:.0} MB", bytes as f64 / 1e6));
    vec![
        name.into(),
        ms(median),
        ms(min),
        ms(max),
        format!("{:.0}", side.tokens_per_sec),
        format!("{:.1}", side.samples_per_sec),
        format!("{:.0}", side.flops_per_sec / 1e9),
        format!("{:.0} %", side.share_of_peak * 100.0),
        memory.unwrap_or_else(|| "-".into()),
    ]
}

/// As in `2 threads of AMD EPYC 9575F`.
fn machine_line(case: &Case) -> String {
    let plural = if case.threads == 1 { "" } else { "s" };
    let cpu = machine::cpu_model().unwrap_or_else(|| "an unknown processor".into());
    let on = if case.device == "cpu" { String::new() } else { format!(", {}", case.device) };
    format!("{} thread{plural} of {cpu}{on}", case.threads)
}

/// The measured process.
fn serve(case: &str) -> anyhow::Result<ExitCode> {
    let case: Case = serde_json::from_str(case).context("--serve takes a case as `bench` writes it")?;
    set_threads(Some(case.threads))?;
    let device: DeviceArg = case.device.parse().map_err(anyhow::Error::msg)?;
    bench::serve(&case, &device.open()?, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the one thread pool.
fn set_threads(threads: Option<usize>) -> anyhow::Result<()> {
    if threads == Some(0) {
        bail!("--threads 0: at least one thread is needed");
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build_global()
        .context("making the thread pool")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Amount, Ratio};

    fn side(secs: f64, about: Value) -> Side {
        Side {
            seconds: Summary { median: secs, min: secs * 0.9, max: secs * 1.1 },
            tokens_per_sec: 1024.0 / secs,
            samples_per_sec: 8.0 / secs,
            flops_per_sec: 1e10 / secs,
            share_of_peak: 0.05 / secs,
            peak_memory_bytes: Some(200_000_000),
            about: about.as_object().cloned().unwrap_or_default(),
        }
    }

    #[test]
    fn a_table_shows_both_sides_and_how_they_compare() {
        let report = Report {
            rounds: 5,
            steps_per_round: 3,
            amount: Amount { tokens: 1024, samples: 8, flops: 1e10 as u64, tokens_if_padded_copies: None },
            ratio: Some(Ratio {
                ratio: 2.0,
                ratio_min: 1.8,
                ratio_max: 2.2,
                ratio_quartiles: [1.9, 2.1],
                peak_memory_ratio: Some(0.5),
            }),
            ours: side(0.1, Value::Null),
            theirs: Some(Side { peak_memory_bytes: None, ..side(0.2, json!({"version": "9.9"})) }),
            peak_flops_per_sec: 2e11,
        };
        let mut out = Vec::new();
        write_table(&mut out, "glm-tiny eval f32", &report, "2 threads of a processor").expect("a buffer");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.contains('─')).collect();
        assert_eq!(
            lines[3..],
            [
                " glm-eval        100.0    90.0   110.0      10240        80.0       100      50 %        200 MB",
                " torch 9.9       200.0   180.0   220.0       5120        40.0        50      25 %             -",
                "  2.00 times as fast as torch: median of 5 turns, half of them 1.90 to 2.10,",
                "  all 1.80 to 2.20",
                "  0.50 of its peak memory",
                "  2 threads of a processor; its fastest large matrix product: 200 GFLOP/s",
            ]
        );
    }
}
