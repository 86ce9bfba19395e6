//! `glm-eval compare`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::Table;
use serde_json::json;

use super::tables::{alpha, interval, plain_table, shown, signed};
use crate::compare::{Comparison, Flip, Outcome, Row, Settings, Test, compare};
use crate::metrics::{self, Metric};
use crate::results::Run;

/// Compare two runs sample by sample: is the second one better, worse, or can't one tell?
///
/// Exits with 1 when a metric of the second run is worse beyond what chance explains, or has no value where the first
/// run has one, with 2 when the runs can't be compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Accuracies are compared by the exact McNemar test, all else by a permutation test, with intervals from the paired \
bootstrap (MultiRC and ReCoRD by passage); p-values are corrected for their number (Holm). docs/ci.md says why.

Examples:
  glm-eval compare output/before output/after
  glm-eval compare before.json after.json --seeds-as-clusters --alpha 0.01 --json")]
pub struct Compare {
    /// The first run: its record, or a folder that holds it
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The run that is held against it
    #[arg(value_name = "B")]
    second: PathBuf,
    /// Take seeds as drawn, too: the verdict is then about the training, not about these very models
    #[arg(long)]
    seeds_as_clusters: bool,
    /// Probability of a false alarm, over all metrics together
    #[arg(long, default_value_t = 0.05, value_parser = alpha, value_name = "SHARE")]
    alpha: f64,
    /// Samples to list a task that got worse, and as many that got better
    #[arg(long, default_value_t = 5, value_name = "N")]
    flips: usize,
    /// Print JSON: all numbers, and all samples that changed
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        let runs = [Run::read(&self.first)?, Run::read(&self.second)?];
        for run in &runs {
            super::notes(&run.notes);
        }
        let settings = Settings { alpha: self.alpha, seeds_as_clusters: self.seeds_as_clusters, test: None };
        let comparison = compare(&runs[0], &runs[1], settings)?;
        let worse = comparison.any_worse();
        let mut out = io::stdout().lock();
        super::unless_closed(if self.json {
            let paths = runs.each_ref().map(|run| run.path.display().to_string());
            let all = json!({
                "first": paths[0], "second": paths[1], "alpha": self.alpha,
                "seeds_as_clusters": self.seeds_as_clusters, "any_worse": worse, "comparison": comparison,
            });
            writeln!(out, "{all}")
        } else {
            self.write(&mut out, &runs, &comparison)
        })?;
        Ok(ExitCode::from(u8::from(worse || !comparison.lost.is_empty())))
    }

    fn write(&self, out: &mut impl Write, runs: &[Run; 2], comparison: &Comparison) -> io::Result<()> {
        for (name, run) in ["A", "B"].iter().zip(runs) {
            writeln!(out, "{name}  {}, {}", run.record.model_name, run.path.display())?;
        }
        writeln!(out, "{}", table(&comparison.rows))?;
        let percent = 100.0 * (1.0 - self.alpha);
        writeln!(out, "  In points; B - A with its {percent} % interval; p corrected for all rows (Holm).")?;
        if comparison.rows.iter().any(|row| metrics::find(&row.metric).is_ok_and(Metric::reads_log_probs)) {
            writeln!(out, "  Perplexities are shown as they are.")?;
        }
        comparison.notes.iter().try_for_each(|note| writeln!(out, "  {note}."))?;
        if self.flips == 0 {
            return Ok(());
        }
        for task in &comparison.flips {
            for (what, flips) in [("got worse", &task.lost), ("got better", &task.gained)] {
                if !flips.is_empty() {
                    let listed = list(flips, self.flips);
                    let samples = if flips.len() == 1 { "sample" } else { "samples" };
                    writeln!(out, "  {}: {} {samples} {what}: {listed}", task.task, flips.len())?;
                }
            }
        }
        Ok(())
    }
}

fn list(flips: &[Flip], most: usize) -> String {
    let mut names: Vec<&str> = flips.iter().take(most).map(|flip| flip.guid.as_str()).collect();
    if flips.len() > most {
        names.push("…");
    }
    names.join(", ")
}

fn table(rows: &[Row]) -> Table {
    let mut table =
        plain_table(&["task", "metric", "A", "B", "B - A", "interval", "p", "n", "verdict"], 2..8);
    for row in rows {
        let found = &row.measured;
        let scale = metrics::scale(&row.metric);
        table.add_row([
            row.task.clone(),
            row.metric.clone(),
            shown(Some(found.first), scale),
            shown(Some(found.second), scale),
            signed(Some(found.difference), scale),
            interval(found.interval, scale),
            format!("{}{}", super::tables::p_value(Some(row.corrected_p)), mark(found.test)),
            found.n.to_string(),
            match row.outcome {
                Outcome::Worse => "worse",
                Outcome::Better => "better",
                Outcome::Unclear => "unclear",
                Outcome::Same => "same",
            }
            .into(),
        ]);
    }
    table
}

/// Tests other than the usual ones are marked.
fn mark(test: Test) -> &'static str {
    match test {
        Test::Bootstrap => " (bootstrap)",
        Test::Seeds => " (seeds)",
        _ => "",
    }
}
