//! `glm-eval check`: the gate.
#![allow(clippy::doc_markdown, reason = "help texts show backticks")]

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use comfy_table::Table;
use serde_json::json;

use super::tables::{p_value, plain_table, shown, signed};
use crate::gate::{GateFile, Report, Verdict, check, output};
use crate::metrics;
use crate::results::{Run, atomic};

/// Exit code where the verdict is that there is none.
const INCONCLUSIVE: u8 = 3;
/// The variable by which a CI system names the file of a job's summary.
const SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Guard a checkpoint: is a run worse than a baseline beyond what chance explains?
///
/// Exits with 0 when all passes, with 1 when a metric fails or is missing, with 2 when it could not be judged. What is
/// inconclusive exits with 0, with --strict with 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --gate every metric of the baseline counts: it fails where the run is significantly worse at alpha 0.05 over all \
metrics together. docs/ci.md explains the verdicts, the gate file, and how to call this from CI.

Examples:
  glm-eval check --baseline results/baseline --run output/glm-tiny
  glm-eval check --baseline baseline.json --run output --gate gate.toml --strict --junit check.xml")]
pub struct Check {
    /// The run to hold against: its record, or a folder that holds it
    #[arg(long, value_name = "FILE|DIR")]
    baseline: PathBuf,
    /// The run to judge: its record, or a folder that holds it
    #[arg(long, value_name = "FILE|DIR")]
    run: PathBuf,
    /// What to judge, and how [default: every metric of the baseline]
    #[arg(long, value_name = "FILE.toml")]
    gate: Option<PathBuf>,
    /// Take seeds as drawn, too: the verdict is then about the training, not about these very models
    #[arg(long)]
    seeds_as_clusters: bool,
    /// Exit with 3 when the worst verdict is inconclusive
    #[arg(long)]
    strict: bool,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a summary in Markdown; it is also appended to $GITHUB_STEP_SUMMARY where that is set
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write a list of {name, unit, value, range, extra}
    #[arg(long, value_name = "FILE")]
    benchmark: Option<PathBuf>,
    /// Write flat numbers by name, as JSON
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

impl Check {
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        let gate = self.gate.as_deref().map(GateFile::read).transpose()?.unwrap_or_default();
        let baseline = Run::read(&self.baseline).context("the baseline")?;
        let run = Run::read(&self.run).context("the run")?;
        super::notes(&[baseline.notes.clone(), run.notes.clone()].concat());
        let report = check(&baseline, &run, &gate, self.seeds_as_clusters)?;
        self.write_files(&baseline, &run, &report)?;
        super::unless_closed(write(&mut io::stdout().lock(), &report))?;
        Ok(ExitCode::from(match report.verdict {
            Verdict::Fail => 1,
            Verdict::Inconclusive if self.strict => INCONCLUSIVE,
            _ => 0,
        }))
    }

    fn write_files(&self, baseline: &Run, run: &Run, report: &Report) -> anyhow::Result<()> {
        let paths =
            json!({"baseline": baseline.path.display().to_string(), "run": run.path.display().to_string()});
        let all = json!({"runs": paths, "strict": self.strict, "report": report});
        let markdown = output::markdown(report);
        let files = [
            (&self.junit, output::junit(report, self.strict)),
            (&self.json, format!("{all:#}\n")),
            (&self.markdown, markdown.clone()),
            (&self.benchmark, format!("{:#}\n", output::benchmarks(report))),
            (&self.metrics, format!("{:#}\n", output::metrics(report))),
        ];
        for (path, text) in files {
            if let Some(path) = path {
                atomic::write_into(path, text.as_bytes())?;
            }
        }
        if let Some(path) = std::env::var_os(SUMMARY).filter(|path| !path.is_empty()) {
            append(Path::new(&path), &markdown).with_context(|| {
                format!("appending to {}, which ${SUMMARY} names", Path::new(&path).display())
            })?;
        }
        Ok(())
    }
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(out, "{}", table(report))?;
    for judged in report.metrics.iter().filter(|judged| judged.verdict != Verdict::Pass) {
        writeln!(out, "  {} {}: {}.", judged.task, judged.metric, judged.reasons.join("; "))?;
    }
    report.notes.iter().try_for_each(|note| writeln!(out, "  {note}."))?;
    let count = |verdict| report.metrics.iter().filter(|judged| judged.verdict == verdict).count();
    writeln!(
        out,
        "{}: {} passed, {} inconclusive, {} failed",
        report.verdict.as_str(),
        count(Verdict::Pass),
        count(Verdict::Inconclusive),
        count(Verdict::Fail)
    )
}

fn table(report: &Report) -> Table {
    let mut table =
        plain_table(&["task", "metric", "baseline", "run", "change", "p", "power", "verdict"], 2..7);
    for judged in &report.metrics {
        let scale = metrics::scale(&judged.metric);
        table.add_row([
            judged.task.clone(),
            judged.metric.clone(),
            shown(judged.baseline, scale),
            shown(judged.run.map(|run| run.value), scale),
            signed(judged.change.as_ref().map(|change| change.difference), scale),
            p_value(judged.corrected_p),
            judged.power.map_or_else(|| "-".into(), |power| format!("{power:.2}")),
            judged.verdict.as_str().into(),
        ]);
    }
    table
}
