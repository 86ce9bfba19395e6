//! `glm-eval ls`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::metrics::{self, METRICS};
use crate::model::{registry, weights};
use crate::tasks::{SUITES, Task, mini, names};

/// List tasks, suites, models or metrics, one a line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A variant of a task (another published recipe) has a line of its own behind it. Of a model there are its family, parameters, \
layers x width, and where it is published; --json has the rest.

Examples:
  glm-eval ls tasks
  glm-eval ls models --json")]
pub struct Ls {
    /// What to list
    #[arg(value_enum)]
    what: What,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Tasks,
    Suites,
    Models,
    Metrics,
}

/// One line of a list.
struct Entry {
    name: String,
    /// What the line says besides the name.
    text: String,
    /// The same, by key.
    json: Value,
    /// May its name be longer than the column of names?
    may_stick_out: bool,
}

impl Ls {
    /// Prints the list.
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        let entries = match self.what {
            What::Tasks => tasks()?,
            What::Suites => suites(),
            What::Models => models(),
            What::Metrics => metrics()?,
        };
        self.write(&mut io::stdout().lock(), &entries)?;
        Ok(ExitCode::SUCCESS)
    }

    fn write(&self, out: &mut impl Write, entries: &[Entry]) -> io::Result<()> {
        let aligned = entries.iter().filter(|entry| !entry.may_stick_out);
        let width = aligned.map(|entry| entry.name.len()).max().unwrap_or(0);
        for Entry { name, text, json, .. } in entries {
            if self.json {
                let mut object = json!({"name": name});
                for (key, value) in json.as_object().into_iter().flatten() {
                    object[key] = value.clone();
                }
                writeln!(out, "{object}")?;
            } else {
                writeln!(out, "{name:<width$}  {text}")?;
            }
        }
        Ok(())
    }
}

fn tasks() -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for name in names() {
        let task = Task::find(name)?;
        entries.push(task_entry(&task, None));
        for (variant, settings) in &task.variants {
            let settings: Vec<String> =
                settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            let text = format!("{name} with {}", settings.join(", "));
            let entry = task_entry(&Task::find(&format!("{name}_{variant}"))?, Some(name));
            entries.push(Entry { text, may_stick_out: true, ..entry });
        }
    }
    for name in mini::names() {
        entries.push(task_entry(&Task::find(name)?, None));
    }
    Ok(entries)
}

fn task_entry(task: &Task, variant_of: Option<&str>) -> Entry {
    let name = &task.name;
    let json = json!({
        "title": task.title,
        "suite": task.suite,
        "diagnostic_of": task.diagnostic_of,
        "variant_of": variant_of,
        "version": task.version,
        "kind": task.kind,
        "description": task.description,
        "labels": task.label_values,
        "patterns": task.patterns.iter().map(|pattern| pattern.id).collect::<Vec<_>>(),
        "metrics": task.metrics.iter().map(|metric| &metric.name).collect::<Vec<_>>(),
        "chance": task.chance,
        "recipe": task.recipe,
        "variants": task.variants.keys().map(|variant| format!("{name}_{variant}")).collect::<Vec<_>>(),
        "sha256": task.sha256,
    });
    Entry { name: name.clone(), text: task.description.clone(), json, may_stick_out: false }
}

fn suites() -> Vec<Entry> {
    let entry = |(name, tasks): &(&str, &[&str])| Entry {
        name: (*name).to_owned(),
        text: tasks.join(", "),
        json: json!({"tasks": tasks}),
        may_stick_out: false,
    };
    SUITES.iter().map(entry).collect()
}

/// The bundled models, and the published ones, which must be fetched.
fn models() -> Vec<Entry> {
    let entry = |known: registry::Known| {
        let (family, sizes) = (known.architecture.family(), known.architecture.sizes());
        let parameters = weights::num_parameters(&*known.architecture);
        let state = match (known.is_bundled(), known.hub) {
            (true, _) => "bundled".to_owned(),
            (false, Some((repository, None))) => repository.to_owned(),
            (false, Some((repository, Some(revision)))) => format!("{repository}@{}", &revision[..7]),
            (false, None) => "not bundled".to_owned(),
        };
        let text = format!(
            "{family:<7} {:>6}  {:>2} x {:>4}  {state}",
            rounded(parameters),
            sizes.num_layers,
            sizes.hidden_size,
        );
        let json = json!({
            "family": family.name(),
            "bundled": known.is_bundled(),
            "parameters": parameters,
            "max_positions": sizes.max_positions,
            "hub": known.hub.map(|(repository, _)| repository),
            "revision": known.hub.and_then(|(_, revision)| revision),
            "config": known.architecture.to_json(),
        });
        Entry { name: known.name.to_owned(), text, json, may_stick_out: false }
    };
    registry::known().map(entry).collect()
}

/// `6.6 M`, `335 M`, `9.9 B`.
fn rounded(count: usize) -> String {
    match count as f64 {
        n if n < 1e7 => format!("{:.1} M", n / 1e6),
        n if n < 1e9 => format!("{:.0} M", n / 1e6),
        n => format!("{:.1} B", n / 1e9),
    }
}

/// Every metric, with the tasks that use it.
fn metrics() -> anyhow::Result<Vec<Entry>> {
    let tasks = names().map(Task::find).collect::<Result<Vec<_>, _>>()?;
    let entry = |metric: &metrics::Metric| {
        let uses = |task: &&Task| task.metrics.iter().any(|used| used.name == metric.name);
        let users: Vec<&str> = tasks.iter().filter(uses).map(|task| task.name.as_str()).collect();
        let json = json!({
            "summary": metric.summary,
            "lm_eval_name": metric.lm_eval_name,
            "higher_is_better": metric.higher_is_better,
            "tasks": users,
        });
        Entry { name: metric.name.to_owned(), text: metric.summary.to_owned(), json, may_stick_out: false }
    };
    Ok(METRICS.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_rounded_as_models_are_named() {
        assert_eq!([6_600_000, 334_900_000, 9_880_000_000].map(rounded), ["6.6 M", "335 M", "9.9 B"]);
    }
}
