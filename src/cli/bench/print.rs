//! What `glm-eval bench` prints.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, TableComponent, presets};
use serde_json::Value;

use crate::bench::{Amount, Case, Point, Report, Side, Summary, Sweep};
use crate::machine;

/// What was found, and on which machine.
pub fn write_report(out: &mut impl Write, title: &str, report: &Report, machine: &str) -> io::Result<()> {
    writeln!(out, "{title}")?;
    let version = |side: &Side| side.about.get("version").and_then(Value::as_str).unwrap_or("").to_owned();
    let theirs = report.theirs.iter().map(|theirs| (format!("torch {}", version(theirs)), theirs));
    write_rows(out, std::iter::once(("glm-eval".into(), &report.ours)).chain(theirs))?;
    if let Some(copies) = report.amount.tokens_if_padded_copies {
        writeln!(out, "  {}", tokens_line(&report.amount, copies))?;
    }
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
    write_machine(out, machine, report.peak_flops_per_sec)
}

/// A sweep as a table.
pub fn write_sweep(out: &mut impl Write, title: &str, sweep: &Sweep, machine: &str) -> io::Result<()> {
    writeln!(out, "{title}")?;
    let name = |point: &Point| format!("{} x {}", point.batch, point.sequence);
    write_rows(out, sweep.points.iter().map(|point| (name(point), &point.side)))?;
    write_machine(out, machine, sweep.peak_flops_per_sec)
}

/// A sweep as comma-separated values; what is not known is empty.
pub fn write_csv(out: &mut impl Write, sweep: &Sweep) -> io::Result<()> {
    writeln!(
        out,
        "batch,sequence,seconds,seconds_min,seconds_max,tokens_per_sec,flops_per_sec,share_of_peak,peak_memory_bytes"
    )?;
    for Point { batch, sequence, side, .. } in &sweep.points {
        let Summary { median, min, max } = side.seconds;
        let memory = side.peak_memory_bytes.map_or_else(String::new, |bytes| bytes.to_string());
        writeln!(
            out,
            "{batch},{sequence},{median:.6},{min:.6},{max:.6},{:.1},{:.3e},{:.4},{memory}",
            side.tokens_per_sec, side.flops_per_sec, side.share_of_peak
        )?;
    }
    Ok(())
}

fn write_rows<'a>(out: &mut impl Write, sides: impl Iterator<Item = (String, &'a Side)>) -> io::Result<()> {
    let mut table = Table::new();
    let header =
        ["", "ms a step", "min", "max", "tokens/s", "samples/s", "GFLOP/s", "of peak", "peak memory"];
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    for between_rows in [TableComponent::HorizontalLines, TableComponent::MiddleIntersections] {
        table.remove_style(between_rows);
    }
    table.add_rows(sides.map(|(name, side)| row(name, side)));
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    writeln!(out, "{table}")
}

fn write_machine(out: &mut impl Write, machine: &str, peak_flops_per_sec: f64) -> io::Result<()> {
    let peak = peak_flops_per_sec / 1e9;
    writeln!(out, "  {machine}; its fastest large matrix product: {peak:.0} GFLOP/s")
}

/// What one context for all candidates saves.
fn tokens_line(amount: &Amount, copies: u64) -> String {
    let Amount { samples, tokens, .. } = amount;
    let times = copies as f64 / (*tokens).max(1) as f64;
    format!(
        "a step is {samples} samples of {tokens} tokens; a padded copy a candidate would take {copies} \
         ({times:.1} times as many)"
    )
}

/// A side in the table.
fn row(name: String, side: &Side) -> Vec<String> {
    let Summary { median, min, max } = side.seconds;
    let ms = |secs: f64| format!("{:.1}", secs * 1e3);
    let memory = side.peak_memory_bytes.map(|bytes| format!("{:.0} MB", bytes as f64 / 1e6));
    vec![
        name,
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
pub fn machine_line(case: &Case) -> String {
    let plural = if case.threads == 1 { "" } else { "s" };
    let cpu = machine::cpu_model().unwrap_or_else(|| "an unknown processor".into());
    let on = if case.device == "cpu" { String::new() } else { format!(", {}", case.device) };
    format!("{} thread{plural} of {cpu}{on}", case.threads)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::Ratio;

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
            amount: Amount {
                tokens: 1024,
                samples: 8,
                flops: 1e10 as u64,
                tokens_if_padded_copies: Some(2560),
            },
            ratio: Some(Ratio {
                ratio: 2.0,
                ratio_min: 1.8,
                ratio_max: 2.2,
                ratio_quartiles: [1.9, 2.1],
                peak_memory_ratio: Some(0.5),
            }),
            ours: side(0.1, Value::Null),
            theirs: Some(Side { peak_memory_bytes: None, ..side(0.2, json!({"version": "9.9"})) }),
            others_busy_cores: Some(0.01),
            peak_flops_per_sec: 2e11,
        };
        let mut out = Vec::new();
        write_report(&mut out, "glm-tiny eval f32", &report, "2 threads of a processor").expect("a buffer");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.contains('─')).collect();
        assert_eq!(
            lines[3..],
            [
                " glm-eval        100.0    90.0   110.0      10240        80.0       100      50 %        200 MB",
                " torch 9.9       200.0   180.0   220.0       5120        40.0        50      25 %             -",
                "  a step is 8 samples of 1024 tokens; a padded copy a candidate would take 2560 (2.5 times as many)",
                "  2.00 times as fast as torch: median of 5 turns, half of them 1.90 to 2.10,",
                "  all 1.80 to 2.20",
                "  0.50 of its peak memory",
                "  2 threads of a processor; its fastest large matrix product: 200 GFLOP/s",
            ]
        );
    }

    #[test]
    fn a_sweep_as_comma_separated_values_leaves_empty_what_is_not_known() {
        let unknown = Side { peak_memory_bytes: None, ..side(0.5, Value::Null) };
        let points = vec![
            Point { batch: 1, sequence: 128, side: side(0.1, Value::Null), others_busy_cores: None },
            Point { batch: 4, sequence: 256, side: unknown, others_busy_cores: None },
        ];
        let mut out = Vec::new();
        write_csv(&mut out, &Sweep { peak_flops_per_sec: 2e11, points }).expect("a buffer");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "1,128,0.100000,0.090000,0.110000,10240.0,1.000e11,0.5000,200000000",
                "4,256,0.500000,0.450000,0.550000,2048.0,2.000e10,0.1000,",
            ]
        );
    }
}
