//! `glm-eval recompute`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::results::Run;
use crate::results::recompute::{Check, recompute};

/// Compute the scores of a run again from its logged samples, without a model, and compare with the record.
///
/// What the samples don't say is not looked at: epochs that don't count, and the baselines of generation tasks; nor are
/// intervals, and other ways to rank candidates. Exits with 1 where they differ, with 2 where samples are missing or were edited.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  glm-eval recompute results/runs/glm-tiny-random-cb
  glm-eval recompute output/glm-tiny/results_2026-11-23T22-38-06.560719.json --json")]
pub struct Recompute {
    /// The run: its record, or a folder that holds it
    run: PathBuf,
    /// Print JSON: every number that was compared, in the record and from the samples
    #[arg(long)]
    json: bool,
}

impl Recompute {
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        let run = Run::read(&self.run)?;
        super::notes(&run.notes);
        let checks = recompute(&run)?;
        let wrong = checks.iter().filter(|check| !check.same).count();
        let mut out = io::stdout().lock();
        super::unless_closed(if self.json {
            let record = run.path.display().to_string();
            writeln!(out, "{}", json!({"record": record, "same": wrong == 0, "checks": checks}))
        } else {
            write(&mut out, &checks)
        })?;
        Ok(ExitCode::from(u8::from(wrong > 0)))
    }
}

fn write(out: &mut impl Write, checks: &[Check]) -> io::Result<()> {
    let number = |x: Option<f64>| x.map_or_else(|| "none".into(), |x| x.to_string());
    for check in checks.iter().filter(|check| !check.same) {
        let (recorded, recomputed) = (number(check.recorded), number(check.recomputed));
        writeln!(out, "DIFFERS {}: {recorded} in the record, {recomputed} from the samples", check.what)?;
    }
    let same = checks.iter().filter(|check| check.same).count();
    writeln!(out, "{same} of {} follow from the samples", checks.len())
}
