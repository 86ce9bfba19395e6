//! What other programs read of a judged gate: `JUnit`, Markdown, a list of benchmarks, flat numbers.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Judged, Report, Verdict};
use crate::metrics;

/// `JUnit` XML: one test a metric. What is inconclusive is a skipped test, and a failed one with `strict`.
///
/// Format: the schema of the Jenkins `xUnit` plugin (`junit-10.xsd`), which CI systems share.
pub fn junit(report: &Report, strict: bool) -> String {
    let fails = |judged: &Judged| match judged.verdict {
        Verdict::Fail => true,
        Verdict::Inconclusive => strict,
        Verdict::Pass => false,
    };
    let failures = report.metrics.iter().filter(|judged| fails(judged)).count();
    let skipped = |judged: &&Judged| judged.verdict == Verdict::Inconclusive && !strict;
    let skipped = report.metrics.iter().filter(skipped).count();
    let counts = format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\"", report.metrics.len());
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites name=\"glm-eval check\" {counts}>");
    let _ = writeln!(xml, "  <testsuite name=\"glm-eval check\" {counts} skipped=\"{skipped}\">");
    for judged in &report.metrics {
        let (task, metric) = (escape(&judged.task), escape(&judged.metric));
        let why = escape(&judged.reasons.join("; "));
        let _ = write!(xml, "    <testcase classname=\"glm-eval.{task}\" name=\"{metric}\"");
        let _ = match judged.verdict {
            Verdict::Pass => writeln!(xml, "><system-out>{why}</system-out></testcase>"),
            verdict if fails(judged) => {
                let kind = if verdict == Verdict::Fail { "fail" } else { "inconclusive" };
                writeln!(xml, "><failure type=\"{kind}\" message=\"{why}\">{why}</failure></testcase>")
            }
            _ => writeln!(xml, "><skipped message=\"inconclusive: {why}\"/></testcase>"),
        };
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// Text as XML, and without the characters that no XML may hold.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Markdown: the verdict, a table, and the reason of whatever did not pass.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("### glm-eval check: {}\n\n", report.verdict.as_str());
    text.push_str(
        "| task | metric | baseline | run | change | p | verdict |\n|---|---|---:|---:|---:|---:|---|\n",
    );
    for judged in &report.metrics {
        let scale = metrics::scale(&judged.metric);
        let points =
            |value: Option<f64>| value.map_or_else(|| "-".into(), |value| metrics::shown(value, scale));
        let change = points(judged.change.as_ref().map(|change| change.difference));
        let change = if change.starts_with('-') { change } else { format!("+{change}") };
        let p = judged.corrected_p.map_or_else(|| "-".into(), |p| format!("{p:.3}"));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {change} | {p} | {} |",
            cell(&judged.task),
            cell(&judged.metric),
            points(judged.baseline),
            points(judged.run.map(|run| run.value)),
            judged.verdict.as_str()
        );
    }
    text.push('\n');
    for judged in report.metrics.iter().filter(|judged| judged.verdict != Verdict::Pass) {
        let why = cell(&judged.reasons.join("; "));
        let _ = writeln!(
            text,
            "- {} {} ({}): {why}.",
            cell(&judged.task),
            cell(&judged.metric),
            judged.verdict.as_str()
        );
    }
    for note in &report.notes {
        let _ = writeln!(text, "- {}.", cell(note));
    }
    text
}

/// A text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// `[{name, unit, value, range, extra}]`, as tools that plot benchmarks over time take it; what has no value is left out.
pub fn benchmarks(report: &Report) -> Value {
    let entry = |judged: &Judged| {
        let run = judged.run?;
        let range =
            judged.interval.map(|i| format!("{:.4}..{:.4} ({:.0} %)", i.low, i.high, 100.0 * i.level));
        Some(json!({
            "name": format!("{}/{}", judged.task, judged.metric),
            "unit": if metrics::scale(&judged.metric) > 1.0 { "fraction" } else { judged.metric.as_str() },
            "value": run.value,
            "range": range,
            "extra": format!("n {}; {}: {}", run.n, judged.verdict.as_str(), judged.reasons.join("; ")),
        }))
    };
    Value::Array(report.metrics.iter().filter_map(entry).collect())
}

/// Flat numbers by name: `cb.accuracy`, its `.stderr`, `.n`, `.baseline`, `.change` and `.p`; `null` for what is absent.
pub fn metrics(report: &Report) -> Value {
    let mut flat = Map::new();
    for judged in &report.metrics {
        let name = format!("{}.{}", judged.task, judged.metric);
        let change = judged.change.as_ref();
        flat.insert(name.clone(), json!(judged.run.map(|run| run.value)));
        for (key, value) in [
            ("stderr", json!(judged.run.and_then(|run| run.stderr))),
            ("n", json!(judged.run.map(|run| run.n))),
            ("baseline", json!(judged.baseline)),
            ("change", json!(change.map(|change| change.difference))),
            ("p", json!(judged.corrected_p)),
        ] {
            flat.insert(format!("{name}.{key}"), value);
        }
    }
    Value::Object(flat)
}
