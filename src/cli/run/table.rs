//! What `glm-eval run` prints: the plan of a dry run, and the table of a run.

use std::io::{self, Write};

use crate::cli::tables::{plain_table, shown};
use crate::data::mini;
use crate::eval::{self, Job, Settings};
use crate::metrics;
use crate::model::{ModelSource, weights};
use crate::results::Record;
use crate::results::ours::{Mode, Rule, Scores, TaskRecord, TextCounts};
use crate::stats::Estimate;

/// The tables of a run: one table for all models, and what to know about each.
pub fn write_records(out: &mut impl Write, records: &[&Record]) -> io::Result<()> {
    match records {
        [one] => write_record(out, one),
        several => write_side_by_side(out, several),
    }
}

/// What the average is of.
fn of_suite(record: &Record) -> &'static str {
    let is_mini = record.glm_eval.tasks.iter().any(|task| task.suite.as_deref() == Some(mini::SUITE));
    if is_mini { "of superglue-mini" } else { "of 8 tasks" }
}

/// How the models met the tasks.
fn how(record: &Record) -> &'static str {
    match (record.glm_eval.mode, record.glm_eval.selection.rule) {
        (Mode::Finetune, Rule::Best) => "fine-tuned, epoch chosen on the validation set",
        (Mode::Finetune, Rule::Last) => "fine-tuned, last epoch",
        (Mode::ZeroShot, _) => "zero-shot",
        (Mode::FewShot, _) => "few-shot",
    }
}

/// One table, with the models below each other at each metric: 80 columns do for any number of models.
fn write_side_by_side(out: &mut impl Write, records: &[&Record]) -> io::Result<()> {
    let Some(first) = records.first() else { return Ok(()) };
    writeln!(out, "{} models ({})", records.len(), how(first))?;
    let mut table = plain_table(&["task", "metric", "model", "score", "± s.e.", "n", "guess"], 3..7);
    let mut names: Vec<&str> = Vec::new();
    for task in records.iter().flat_map(|record| &record.glm_eval.tasks) {
        if !names.contains(&task.name.as_str()) {
            names.push(&task.name);
        }
    }
    for name in names {
        let of = |record: &'_ &Record| record.glm_eval.tasks.iter().find(|task| task.name == name).cloned();
        let tasks: Vec<(&str, TaskRecord)> =
            records.iter().filter_map(|record| Some((record.model_name.as_str(), of(record)?))).collect();
        let metrics = tasks.first().map_or(&[][..], |(_, task)| &task.metrics);
        for (row, metric) in metrics.iter().enumerate() {
            for (model, (model_name, task)) in tasks.iter().enumerate() {
                let selected = task.scores.get(metric).and_then(|scores| scores.selected);
                let once = |text: &str, is_here: bool| if is_here { text.to_owned() } else { String::new() };
                table.add_row(vec![
                    once(&task.name, row == 0 && model == 0),
                    once(metrics::find(metric).map_or(metric.as_str(), |known| known.name), model == 0),
                    (*model_name).to_owned(),
                    shown(selected.map(|e| e.value), metrics::scale(metric)),
                    shown(selected.and_then(|e| e.stderr), metrics::scale(metric)),
                    selected.map_or_else(|| "-".into(), |e| e.n.to_string()),
                    if row == 0 { percent(task.chance_level) } else { String::new() },
                ]);
            }
            // They are the same for all models.
            for (baseline, scores) in tasks.first().iter().flat_map(|(_, task)| &task.baselines) {
                let estimate = scores.get(metric).copied().flatten();
                let [value, stderr, n] = cells(estimate);
                table.add_row(vec![
                    String::new(),
                    String::new(),
                    baseline.clone(),
                    value,
                    stderr,
                    n,
                    String::new(),
                ]);
            }
        }
    }
    let suites =
        records.iter().filter_map(|record| Some((&record.model_name, record.glm_eval.suite.as_ref()?)));
    for (model, (name, suite)) in suites.enumerate() {
        let once = |text: &str| if model == 0 { text.to_owned() } else { String::new() };
        table.add_row(vec![
            once("average"),
            once(of_suite(first)),
            name.clone(),
            percent(suite.average.map(|e| e.value)),
            percent(suite.average.and_then(|e| e.stderr)),
            String::new(),
            String::new(),
        ]);
    }
    writeln!(out, "{table}")?;
    for record in records {
        writeln!(out, "{}", record.model_name)?;
        for task in record.glm_eval.tasks.iter().filter(|task| task.runs.len() > 1) {
            if let Some((metric, scores)) = task.metrics.first().and_then(|m| task.scores.get_key_value(m)) {
                let over_seeds = over_seeds(task, metric, scores, record.glm_eval.selection.rule);
                writeln!(out, "  {}: {over_seeds}.", task.name)?;
            }
        }
        notes(record).iter().try_for_each(|note| writeln!(out, "  {note}"))?;
    }
    Ok(())
}

/// The table of one model's run, and what to know about it.
fn write_record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let ours = &record.glm_eval;
    writeln!(out, "{} ({})", record.model_name, how(record))?;
    let mut table = plain_table(&["task", "metric", "score", "± s.e.", "n", "guess", "over seeds"], 2..6);
    for task in &ours.tasks {
        for (row, metric) in task.metrics.iter().enumerate() {
            let scores = task.scores.get(metric);
            let chance = if row == 0 { task.chance_level } else { None };
            table.add_row(vec![
                if row == 0 { task.name.clone() } else { String::new() },
                metrics::find(metric).map_or(metric.as_str(), |known| known.name).to_string(),
                shown(scores.and_then(|s| s.selected).map(|e| e.value), metrics::scale(metric)),
                shown(scores.and_then(|s| s.selected).and_then(|e| e.stderr), metrics::scale(metric)),
                scores.and_then(|s| s.selected).map_or_else(|| "-".into(), |e| e.n.to_string()),
                percent(chance),
                scores
                    .map_or_else(String::new, |scores| over_seeds(task, metric, scores, ours.selection.rule)),
            ]);
        }
        for (baseline, scores) in &task.baselines {
            for (row, metric) in task.metrics.iter().enumerate() {
                let [value, stderr, n] = cells(scores.get(metric).copied().flatten());
                let name = if row == 0 { format!("  {baseline}") } else { String::new() };
                table.add_row(vec![name, metric.clone(), value, stderr, n, String::new(), String::new()]);
            }
        }
    }
    if let Some(suite) = &ours.suite {
        let (value, stderr) =
            (suite.average.map(|e| e.value), suite.average.and_then(|e: Estimate| e.stderr));
        table.add_row(vec![
            "average".into(),
            of_suite(record).into(),
            percent(value),
            percent(stderr),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }
    writeln!(out, "{table}")?;
    notes(record).iter().try_for_each(|note| writeln!(out, "  {note}"))
}

/// Value, standard error and n.
fn cells(estimate: Option<Estimate>) -> [String; 3] {
    let n = estimate.map_or_else(|| "-".into(), |e| e.n.to_string());
    [percent(estimate.map(|e| e.value)), percent(estimate.and_then(|e| e.stderr)), n]
}

/// Mean and spread over several seeds.
fn over_seeds(task: &TaskRecord, metric: &str, scores: &Scores, rule: Rule) -> String {
    let spread = if rule == Rule::Best { scores.best } else { scores.last };
    match spread {
        Some(spread) if task.runs.len() > 1 => {
            let std = shown(spread.std, metrics::scale(metric));
            format!("{} seeds, s.d. {std}", spread.n)
        }
        _ => String::new(),
    }
}

/// Everything a reader must know before quoting a number.
fn notes(record: &Record) -> Vec<String> {
    let ours = &record.glm_eval;
    let mut notes = Vec::new();
    if let Some(random) = &ours.model.random_weights {
        notes.push(format!("Weights {random}."));
    }
    if let Some(suite) = ours.suite.as_ref().filter(|suite| !suite.missing.is_empty()) {
        notes.push(format!("The average lacks {}.", suite.missing.join(", ")));
    }
    if ours.tasks.iter().any(|task| task.samples.effective < task.samples.original) {
        let parts = ours.tasks.iter().filter(|task| task.samples.effective < task.samples.original);
        let parts: Vec<String> =
            parts.map(|t| format!("{} {} of {}", t.name, t.samples.effective, t.samples.original)).collect();
        notes.push(format!("Scored on a part only: {}.", parts.join(", ")));
    }
    let limited =
        |task: &&TaskRecord| task.recipe.get("train_limit").is_some_and(|limit| !limit.value.is_null());
    if ours.mode == Mode::Finetune && ours.tasks.iter().any(|task| limited(&task)) {
        let caps: std::collections::BTreeSet<String> = ours
            .tasks
            .iter()
            .filter(limited)
            .map(|task| task.recipe["train_limit"].value.to_string())
            .collect();
        let caps: Vec<String> = caps.into_iter().collect();
        notes.push(format!("At most {} training samples a task.", caps.join(" or ")));
    }
    notes.extend(task_notes(&ours.tasks));
    for task in &ours.tasks {
        let failed: usize = task.runs.iter().map(|run| run.failed_samples).sum();
        if failed > 0 {
            notes.push(format!("{}: {failed} samples failed and count as wrong.", task.name));
        }
        let all: Vec<TextCounts> = task.runs.iter().filter_map(|run| run.texts).collect();
        if !all.is_empty() {
            notes.push(format!("{}: {}.", task.name, befell(&all, task.samples.effective)));
        }
    }
    notes
}

/// What befell the texts of all seeds.
fn befell(seeds: &[TextCounts], samples: usize) -> String {
    let sum = seeds.iter().fold(TextCounts::default(), |mut sum, one| {
        sum.add(*one);
        sum
    });
    format!(
        "of {} texts, {} had their source cut and {} are empty (scored as that); {} of {} blanks did not end before \
         the limit",
        samples * seeds.len(),
        sum.cut_sources,
        sum.empty,
        sum.unended_blanks,
        sum.blanks
    )
}

/// The notes of all tasks: one that several have is a line that names them.
fn task_notes(tasks: &[TaskRecord]) -> Vec<String> {
    let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
    for (task, note) in tasks.iter().flat_map(|task| task.notes.iter().map(move |note| (task, note))) {
        match notes.iter_mut().find(|(known, _)| known == note) {
            Some((_, names)) => names.push(&task.name),
            None => notes.push((note, vec![&task.name])),
        }
    }
    notes.iter().map(|(note, names)| format!("{}: {note}.", names.join(", "))).collect()
}

/// What a run would do.
pub fn write_plan(
    out: &mut impl Write,
    model: &ModelSource,
    jobs: &[Job],
    settings: &Settings,
) -> anyhow::Result<()> {
    writeln!(out, "{}: {} parameters", model.name, weights::num_parameters(&*model.architecture))?;
    let mut table =
        plain_table(&["task", "pattern", "train", "epochs", "eval", "train tokens", "eval tokens"], 2..7);
    let mut total = (0, 0);
    for job in jobs {
        let size = job.size(model, settings)?;
        let seeds = settings.seeds.len() as u64;
        let passes = if settings.mode == Mode::Finetune { job.recipe.recipe.epochs as u64 } else { 0 };
        let learned = size.train_tokens * passes * seeds;
        let scored = size.selection.tokens * size.num_scorings * seeds;
        total = (total.0 + learned, total.1 + scored);
        table.add_row(vec![
            job.selection.name.clone(),
            job.form.pattern.to_string(),
            size.train_samples.to_string(),
            passes.to_string(),
            size.selection.samples.to_string(),
            learned.to_string(),
            scored.to_string(),
        ]);
        for (evaluation, once) in job.afterwards.iter().zip(size.afterwards) {
            let scored = once.tokens * seeds;
            total.1 += scored;
            table.add_row(vec![
                format!("{} {}", evaluation.name, evaluation.split),
                evaluation.form.pattern.to_string(),
                String::new(),
                String::new(),
                once.samples.to_string(),
                String::new(),
                scored.to_string(),
            ]);
        }
    }
    writeln!(out, "{table}")?;
    let Some(job) = jobs.first() else { return Ok(()) };
    let speed = eval::probe(model, job, settings)?;
    // A training step is a forward and a backward pass, which is about two forward passes more.
    let secs = (total.1 as f64 + 3.0 * total.0 as f64) / speed;
    writeln!(
        out,
        "  {} tokens to learn from and {} to score, over {} seeds; at {speed:.0} tokens/s forward, about {}.",
        total.0,
        total.1,
        settings.seeds.len(),
        duration(secs)
    )?;
    Ok(())
}

fn duration(secs: f64) -> String {
    match secs {
        s if s < 90.0 => format!("{s:.0} seconds"),
        s if s < 5400.0 => format!("{:.0} minutes", s / 60.0),
        s => format!("{:.1} hours", s / 3600.0),
    }
}

fn percent(share: Option<f64>) -> String {
    shown(share, 100.0)
}
