//! Records in, tables, plots and a page out. Never sees a model; the same input gives the same bytes.
//!
//! [`layout`] says what stands in which table, [`paper`] and [`against`] fill it, [`table`] is what they make, and each
//! format has a file that renders it. Plots are in [`plots`].

use std::collections::BTreeMap;

pub mod against;
pub mod csv;
pub mod html;
pub mod json;
pub mod latex;
pub mod layout;
pub mod markdown;
pub mod paper;
pub mod plots;
pub mod receipts;
pub mod runs;
pub mod table;
pub mod terminal;
pub mod verdict;

use layout::Layout;
use plots::Plot;
use receipts::{Receipt, Samples};
use runs::Runs;
use table::Table;

/// A way to show a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// On the terminal.
    Terminal,
    /// `report.md`.
    Markdown,
    /// A `.tex` a table, and `report.tex` around them.
    Latex,
    /// A `.csv` a table.
    Csv,
    /// `report.json`.
    Json,
    /// `report.html`, which needs nothing beside it.
    Html,
}

/// Every format with its name.
pub const FORMATS: &[(&str, Format)] = &[
    ("terminal", Format::Terminal),
    ("markdown", Format::Markdown),
    ("latex", Format::Latex),
    ("csv", Format::Csv),
    ("json", Format::Json),
    ("html", Format::Html),
];

/// What is shown, whatever the format.
#[derive(Debug)]
pub struct Report {
    /// The tables that were asked for, in the paper's order; then our runs, score by score.
    pub tables: Vec<Table>,
    /// The plots that belong to them.
    pub plots: Vec<Plot>,
    /// Why others are not there.
    pub missing_plots: Vec<String>,
    /// What holds for all: what was read, left out, chosen.
    pub notes: Vec<String>,
    /// Every run, in the order of time.
    pub receipts: Vec<Receipt>,
    /// The samples that were kept, a set a task and seed.
    pub samples: Vec<Samples>,
}

impl Report {
    /// The report on these tables.
    pub fn new(layouts: &[&Layout], runs: &Runs) -> Self {
        let (models, chosen) = runs.models();
        let mut tables: Vec<Table> = layouts.iter().map(|layout| paper::table(layout, &models)).collect();
        let has = |name: &str| layouts.iter().any(|layout| layout.name == name);
        if has("superglue") {
            tables.extend(against::table(&models));
        }
        let (plots, missing_plots) = plots::all(&models, &has);
        let read: Vec<&str> = runs.read.iter().map(|run| run.name.as_str()).collect();
        let mut notes = match read.as_slice() {
            [] => vec!["No run of ours was read; all values are published ones.".to_string()],
            runs => vec![format!("Runs that were read: {}.", runs.join(", "))],
        };
        notes.extend(chosen);
        notes.extend(runs.problems.iter().cloned());
        let (samples, unread) = receipts::samples(runs);
        notes.extend(unread);
        Self { tables, plots, missing_plots, notes, receipts: receipts::all(runs), samples }
    }

    /// The files of a format, by path; `Terminal` has none.
    pub fn files(&self, format: Format) -> BTreeMap<String, Vec<u8>> {
        let one = |name: &str, text: String| BTreeMap::from([(name.to_string(), text.into_bytes())]);
        let each = |suffix: &str, render: fn(&Table) -> String| {
            let file = |table: &Table| (format!("{}.{suffix}", table.name), render(table).into_bytes());
            self.tables.iter().map(file).collect::<BTreeMap<_, _>>()
        };
        match format {
            Format::Terminal => BTreeMap::new(),
            Format::Markdown => one("report.md", markdown::render(self)),
            Format::Csv => each("csv", csv::render),
            Format::Json => one("report.json", json::render(self)),
            Format::Html => one("report.html", html::render(self)),
            Format::Latex => {
                let mut files = each("tex", latex::render);
                files.extend(one("report.tex", latex::document(self)));
                files
            }
        }
    }

    /// The plots, as SVG and as PNG.
    pub fn plot_files(&self) -> BTreeMap<String, Vec<u8>> {
        use rayon::prelude::*;
        let both = |plot: &Plot| {
            let (svg, png) =
                rayon::join(|| plot.scene.to_svg(&plot.title).into_bytes(), || plot.scene.to_png());
            [(format!("plots/{}.svg", plot.name), svg), (format!("plots/{}.png", plot.name), png)]
        };
        self.plots.par_iter().flat_map_iter(both).collect()
    }
}
