//! `glm-eval report`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::message;
use crate::reports::layout::{LAYOUTS, Layout};
use crate::reports::runs::Runs;
use crate::reports::{self, FORMATS, Format};
use crate::results::atomic;

/// Where runs are kept in a project.
const DEFAULT_RUNS: &str = "results/runs";

/// Write tables, plots and a page from run records, with published results beside them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Published values (GLM paper, tables 1 to 6 and figure 4) are inside the program; without a run of yours they stand alone. \
A model scored on the same task by several runs counts with the newest complete one, and the report says so.

Examples:
  glm-eval report --table superglue
  glm-eval report output/my-glm --table superglue --format latex > superglue.tex
  glm-eval report --table all --format markdown,latex,csv,html --out reports/")]
pub struct Report {
    /// Records, or folders that hold them directly or one level down [default: results/runs]
    #[arg(value_name = "RUNS")]
    runs: Vec<PathBuf>,
    #[arg(
        short,
        long,
        help = "superglue, summarization, gigaword, squad_qg, infilling, lm, ablation or all (a list with commas)",
        value_delimiter = ',',
        default_value = "all"
    )]
    table: Vec<String>,
    /// terminal, markdown, latex, csv, json or html (a list with commas); --out needs one besides terminal
    #[arg(short, long, value_delimiter = ',', default_value = "terminal")]
    format: Vec<String>,
    /// The folder for the files, plots among them (SVG and PNG); without it the one format goes to stdout; CSV needs it
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Report {
    /// Writes the report.
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        let layouts = layouts(&self.table)?;
        let formats = formats(&self.format)?;
        let to_files: Vec<Format> =
            formats.iter().copied().filter(|format| *format != Format::Terminal).collect();
        if self.out.is_none() && formats.len() > 1 {
            bail!("{} formats, but no folder for them: say --out DIR", formats.len());
        }
        if let Some(folder) = self.out.as_ref().filter(|_| to_files.is_empty()) {
            bail!(
                "--out {}: no format for the files in it: say --format markdown, latex, csv, json or html",
                folder.display()
            );
        }
        let report = reports::Report::new(&layouts, &self.read_runs()?);
        for note in &report.notes {
            message(note);
        }
        let mut out = io::stdout().lock();
        if formats.contains(&Format::Terminal) {
            write!(out, "{}", reports::terminal::render(&report))?;
        }
        match &self.out {
            Some(folder) => write_files(folder, &files(&report, &to_files))?,
            None => {
                if let Some(format) = to_files.first() {
                    out.write_all(&one_text(&report, *format)?)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The runs that were named, or those of the project in this folder; there may be none of the latter.
    fn read_runs(&self) -> anyhow::Result<Runs> {
        if !self.runs.is_empty() {
            return Ok(Runs::read(&self.runs)?);
        }
        let default = Path::new(DEFAULT_RUNS);
        if default.is_dir() {
            return Ok(Runs::read(&[default.to_path_buf()])?);
        }
        message(&format!("no folder {DEFAULT_RUNS} here, and no RUNS named: published values only"));
        Ok(Runs::default())
    }
}

/// The files of all formats, and the plots.
fn files(report: &reports::Report, formats: &[Format]) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> =
        formats.iter().flat_map(|format| report.files(*format)).collect();
    if !formats.is_empty() {
        files.extend(report.plot_files());
    }
    files
}

fn write_files(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    for (name, bytes) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("{}: can't be made", parent.display()))?;
        }
        atomic::write(&path, bytes)?;
    }
    if !files.is_empty() {
        message(&format!("{} files in {}", files.len(), folder.display()));
    }
    Ok(())
}

/// A format as one text: its one file, or its one table; tables of LaTeX may follow each other.
fn one_text(report: &reports::Report, format: Format) -> anyhow::Result<Vec<u8>> {
    if format == Format::Latex {
        let tables: Vec<String> = report.tables.iter().map(reports::latex::render).collect();
        return Ok(tables.join("\n").into_bytes());
    }
    let mut files = report.files(format);
    let names: Vec<String> = files.keys().cloned().collect();
    match files.pop_first() {
        Some((_, bytes)) if files.is_empty() => Ok(bytes),
        _ => bail!("{} files ({}), but no folder for them: say --out DIR", names.len(), names.join(", ")),
    }
}

fn layouts(names: &[String]) -> anyhow::Result<Vec<&'static Layout>> {
    if names.iter().any(|name| name == "all") {
        return Ok(LAYOUTS.iter().collect());
    }
    let known: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name).chain(["all"]).collect();
    for name in names {
        if !known.contains(&name.replace('-', "_").as_str()) {
            bail!(unknown("table", name, &known));
        }
    }
    // In the paper's order, each once.
    Ok(LAYOUTS
        .iter()
        .filter(|layout| names.iter().any(|name| name.replace('-', "_") == layout.name))
        .collect())
}

fn formats(names: &[String]) -> anyhow::Result<Vec<Format>> {
    let known: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
    let mut formats = Vec::new();
    for name in names {
        match FORMATS.iter().find(|(known, _)| known == name) {
            Some((_, format)) if !formats.contains(format) => formats.push(*format),
            Some(_) => {}
            None => bail!(unknown("format", name, &known)),
        }
    }
    Ok(formats)
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(known, name), known));
    let nearest = near.filter(|(distance, known)| *distance <= 1 + known.len() / 3).min();
    let hint = nearest.map_or_else(String::new, |(_, nearest)| format!(" (did you mean `{nearest}`?)"));
    format!("no {what} is called `{name}`{hint}; there are {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_table_or_format_is_answered_with_the_nearest() {
        let table = layouts(&["superglu".into()]).unwrap_err().to_string();
        assert!(
            table.starts_with("no table is called `superglu` (did you mean `superglue`?); there are"),
            "{table}"
        );
        let format = formats(&["xlsx".into()]).unwrap_err().to_string();
        assert!(format.starts_with("no format is called `xlsx`; there are terminal, markdown"), "{format}");
    }

    #[test]
    fn tables_come_in_the_papers_order_and_once() {
        let names = |words: &[&str]| -> Vec<&str> {
            let words: Vec<String> = words.iter().map(|word| (*word).into()).collect();
            layouts(&words).unwrap().iter().map(|layout| layout.name).collect()
        };
        assert_eq!(names(&["lm", "superglue", "lm", "squad-qg"]), ["superglue", "squad_qg", "lm"]);
        assert_eq!(names(&["lm", "all"]).len(), LAYOUTS.len());
    }
}
