//! What a run cost: tokens that one context for all candidates saved, and tokens a second.

use super::axis::{self, LARGE, NORMAL, SMALL, Scale};
use super::scene::{Anchor, Scene, color};
use super::{Key, NoPlot, Plot, legend};
use crate::reports::runs::{ModelRuns, ScoredTask};
use crate::results::ours::Cost;

const ROW: f64 = 34.0;
/// More are left out: the plot would be too long to look at.
const MOST_ROWS: usize = 40;

/// The plot; without a record of tokens there is none.
pub fn plot(models: &[ModelRuns]) -> Result<Plot, NoPlot> {
    let several = models.len() > 1;
    let rows: Vec<(String, ScoredTask)> = models
        .iter()
        .flat_map(|model| model.tasks().map(move |scored| (model.label(), scored)))
        .filter(|(_, scored)| saved(&scored.task.cost).is_some())
        .map(|(model, scored)| {
            let name = scored.task.name.clone();
            (if several { format!("{name}, {model}") } else { name }, scored)
        })
        .take(MOST_ROWS)
        .collect();
    if rows.is_empty() {
        return Err("No plot of tokens and speed: no record of ours has them.".into());
    }
    let labels = rows.iter().map(|(name, _)| super::text_width(name, NORMAL, false)).fold(60.0, f64::max);
    let (left, gap) = (labels + 24.0, 40.0);
    let width = 780.0;
    let panel = (width - left - gap - 36.0 - 40.0) / 2.0; // 36 for the longest bar's number
    let mut scene = Scene::new(width, 0.0);
    let keys = [
        (Key::Bar(color::BLUE, None), "scoring".to_string()),
        (Key::Bar(color::ORANGE, Some(6.0)), "training".to_string()),
    ];
    let (top, second) = (54.0, left + panel + gap + 40.0);
    let bottom = top + ROW * rows.len() as f64;
    scene.height = bottom + 30.0;
    scene.text((left, 22.0), "tokens saved", LARGE, Anchor::Start).bold = true;
    let below = "times as many in padded copies";
    scene.text((left, 40.0), below, SMALL, Anchor::Start).color = color::FAINT;
    scene.text((second, 22.0), "thousand tokens a second", LARGE, Anchor::Start).bold = true;
    legend(&mut scene, (second, 27.0), width, &keys);
    let most = rows.iter().filter_map(|(_, scored)| saved(&scored.task.cost)).fold(1.0, f64::max);
    let fastest = rows.iter().flat_map(|(_, scored)| speeds(&scored.task.cost)).flatten().fold(0.0, f64::max);
    let saved_scale = Scale { pixels: (left, left + panel), ..Scale::around([0.0, most], (0.0, 1.0)) };
    let speed_scale = Scale { pixels: (second, second + panel), ..Scale::around([0.0, fastest], (0.0, 1.0)) };
    for scale in [saved_scale, speed_scale] {
        for tick in scale.ticks() {
            scene.line(&[(scale.at(tick), top), (scale.at(tick), bottom)], 1.0, color::GRID);
        }
        let ticks: Vec<(f64, String)> =
            scale.ticks().into_iter().map(|tick| (tick, scale.label(tick))).collect();
        axis::columns(&mut scene, scale, bottom, &ticks);
    }
    for (index, (name, scored)) in rows.iter().enumerate() {
        let middle = top + ROW * (index as f64 + 0.5);
        scene.text((left - 10.0, middle + 0.36 * NORMAL), name.clone(), NORMAL, Anchor::End);
        if let Some(times) = saved(&scored.task.cost) {
            let end = saved_scale.at(times);
            scene.bar((left, middle - 7.0), (end - left, 14.0), color::BLUE, None);
            scene.text((end + 5.0, middle + 0.36 * SMALL), format!("{times:.1}"), SMALL, Anchor::Start);
        }
        let looks = [(color::BLUE, None), (color::ORANGE, Some(6.0))];
        for ((speed, (fill, hatching)), up) in
            speeds(&scored.task.cost).into_iter().zip(looks).zip([-12.0, 1.0])
        {
            let Some(speed) = speed else { continue };
            let end = speed_scale.at(speed);
            scene.bar((second, middle + up), (end - second, 11.0), fill, hatching);
            scene.text(
                (end + 5.0, middle + up + 5.5 + 0.36 * SMALL),
                format!("{speed:.1}"),
                SMALL,
                Anchor::Start,
            );
        }
    }
    Ok(Plot {
        name: "cost",
        title: "Tokens saved and speed, a task".into(),
        caption: "From the records. Each context is read once for all of its candidates, without padding; \
                  left, how many times as many tokens padded copies would have taken. Seconds are wall-clock, on \
                  whatever machine a run had."
            .into(),
        scene,
    })
}

/// How many times as many tokens padded copies would take.
fn saved(cost: &Cost) -> Option<f64> {
    let (copies, computed) =
        (cost.tokens_if_padded_copies?, cost.tokens_computed.filter(|tokens| *tokens > 0)?);
    Some(copies as f64 / computed as f64)
}

/// Thousands of tokens a second, in scoring and in training.
fn speeds(cost: &Cost) -> [Option<f64>; 2] {
    let speed = |tokens: Option<u64>, secs: Option<f64>| {
        let (tokens, secs) = (tokens?, secs.filter(|secs| *secs > 0.0)?);
        Some(tokens as f64 / secs / 1000.0)
    };
    [speed(cost.tokens_computed, cost.eval_secs), speed(cost.tokens_trained, cost.train_secs)]
}
