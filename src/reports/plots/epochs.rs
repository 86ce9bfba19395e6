//! Scores after every epoch of fine-tuning: a small panel a task, a thin line a seed.

use std::collections::BTreeSet;

use super::axis::{self, NORMAL, SMALL, Scale};
use super::scene::{Anchor, Color, Scene, Sign, color, looks};
use super::{Key, NoPlot, Plot, legend};
use crate::reports::runs::{ModelRuns, ScoredTask};
use crate::stats;

const COLUMNS: usize = 4;
const PANEL: (f64, f64) = (186.0, 172.0);
const ACROSS: f64 = 760.0;
/// More are left out: the plot would be too long to look at.
const MOST_PANELS: usize = 24;

/// The plot; without a run that was trained there is none.
pub fn plot(models: &[ModelRuns]) -> Result<Plot, NoPlot> {
    let mut tasks: Vec<(String, Vec<(usize, ScoredTask)>)> = Vec::new();
    let is_drawn =
        |scored: &ScoredTask| scored.trained_runs().next().is_some() && !scored.task.metrics.is_empty();
    for (index, model) in models.iter().enumerate() {
        for scored in model.tasks().filter(is_drawn) {
            match tasks.iter_mut().find(|(name, _)| *name == scored.task.name) {
                Some((_, all)) => all.push((index, scored)),
                None => tasks.push((scored.task.name.clone(), vec![(index, scored)])),
            }
        }
    }
    tasks.truncate(MOST_PANELS);
    if tasks.is_empty() {
        return Err("No plot of scores against epochs: no run of ours was fine-tuned.".into());
    }
    let mut scene = Scene::new(ACROSS, 0.0);
    let trained: BTreeSet<usize> = tasks.iter().flat_map(|(_, all)| all.iter().map(|(of, _)| *of)).collect();
    let style = |index: usize| looks(trained.range(..index).count());
    let key = |&index: &usize| {
        let (sign, color) = style(index);
        (Key::Line(sign, color, false), format!("{}, mean over seeds", models[index].label()))
    };
    let mut keys: Vec<(Key, String)> = trained.iter().map(key).collect();
    keys.push((Key::Dash, "best constant answer (dashed)".into()));
    let top = legend(&mut scene, (16.0, 8.0), ACROSS - 16.0, &keys) + 14.0;
    for (place, (name, all)) in tasks.iter().enumerate() {
        let at = ((place % COLUMNS) as f64 * PANEL.0 + 8.0, (place / COLUMNS) as f64 * PANEL.1 + top);
        scene.place(panel(name, all, style), at);
    }
    scene.height = top + PANEL.1 * tasks.len().div_ceil(COLUMNS) as f64 + 4.0;
    Ok(Plot {
        name: "epochs",
        title: "Scores of the validation set after each epoch of fine-tuning".into(),
        caption: "The first metric of each task in percent, as every record has it. Thin lines are single seeds; where there \
                  is one seed, bars are 95 % intervals of the samples. At most 24 tasks."
            .into(),
        scene,
    })
}

fn panel(name: &str, all: &[(usize, ScoredTask)], style: impl Fn(usize) -> (Sign, Color)) -> Scene {
    let (left, right, top, bottom) = (34.0, PANEL.0 - 10.0, 24.0, PANEL.1 - 40.0);
    let mut scene = Scene::new(PANEL.0, PANEL.1);
    let metric = &all[0].1.task.metrics[0];
    let seeds = |scored: &ScoredTask| -> Vec<Vec<(f64, stats::Estimate)>> {
        let epochs = |run: &crate::results::ours::SeedRun| {
            let score = |epoch: &crate::results::ours::Epoch| {
                Some((epoch.epoch as f64, epoch.scores.get(metric).copied().flatten()?))
            };
            run.epochs.iter().filter_map(score).collect()
        };
        scored.trained_runs().map(epochs).collect()
    };
    let guess = all.iter().find_map(|(_, scored)| scored.task.chance_level).map(|guess| 100.0 * guess);
    let points: Vec<(f64, stats::Estimate)> =
        all.iter().flat_map(|(_, scored)| seeds(scored)).flatten().collect();
    let is_single = |scored: &ScoredTask| scored.trained_runs().count() == 1;
    let margin = |e: &stats::Estimate| {
        if all.iter().any(|(_, s)| is_single(s)) { e.stderr.unwrap_or(0.0) * 1.96 } else { 0.0 }
    };
    let ends = points.iter().flat_map(|(_, e)| [e.value - margin(e), e.value + margin(e)]).map(|v| 100.0 * v);
    let y = Scale::around(ends.chain(guess), (bottom, top));
    let last = points.iter().map(|(epoch, _)| *epoch).fold(1.0, f64::max);
    let x = Scale { values: (0.5, last + 0.5), pixels: (left, right) };
    scene.text((left - 26.0, top - 10.0), name, NORMAL, Anchor::Start).bold = true;
    let width = super::text_width(name, NORMAL, true);
    let unit = scene.text((left - 20.0 + width, top - 10.0), metric.replace('_', " "), SMALL, Anchor::Start);
    unit.color = color::FAINT;
    axis::rows(&mut scene, (left, right), y);
    let step = (last / 6.0).ceil().max(1.0) as usize;
    let ticks: Vec<(f64, String)> =
        (1..=last as usize).step_by(step).map(|e| (e as f64, e.to_string())).collect();
    axis::columns(&mut scene, x, bottom, &ticks);
    if let Some(guess) = guess {
        scene.stroke(&[(left, y.at(guess)), (right, y.at(guess))], 1.5, color::INK, Some((4.0, 3.0)));
    }
    for (index, scored) in all {
        let (sign, color) = style(*index);
        let seeds = seeds(scored);
        let mut means: Vec<(f64, Vec<f64>)> = Vec::new();
        for (epoch, score) in seeds.iter().flatten() {
            match means.iter_mut().find(|(known, _)| (known - epoch).abs() < 0.5) {
                Some((_, values)) => values.push(100.0 * score.value),
                None => means.push((*epoch, vec![100.0 * score.value])),
            }
        }
        for seed in seeds.iter().filter(|_| seeds.len() > 1) {
            let line: Vec<(f64, f64)> = seed.iter().map(|(e, s)| (x.at(*e), y.at(100.0 * s.value))).collect();
            scene.line(&line, 0.75, color);
        }
        for (epoch, score) in seeds.iter().flatten().filter(|_| seeds.len() == 1) {
            let margin = 1.96 * score.stderr.unwrap_or(0.0);
            let end = |v: f64| (x.at(*epoch), y.at(100.0 * v));
            scene.line(&[end(score.value - margin), end(score.value + margin)], 1.0, color);
        }
        let line: Vec<(f64, f64)> =
            means.iter().filter_map(|(e, values)| Some((x.at(*e), y.at(stats::mean(values)?)))).collect();
        scene.line(&line, 2.0, color);
        for point in line {
            scene.point(sign, point, 3.5, color, true);
        }
    }
    let below = scene.text((f64::midpoint(left, right), bottom + 32.0), "epoch", SMALL, Anchor::Middle);
    below.color = color::FAINT;
    scene
}
