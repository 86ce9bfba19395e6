//! `SuperGLUE`: a bar a metric with its interval, and published scores as signs.

use super::axis::{self, NORMAL, SMALL, Scale};
use super::scene::{Anchor, Color, Scene, Sign, color, text_width};
use super::{Key, NoPlot, Plot, legend};
use crate::reports::layout::{self, Layout, Scores};
use crate::reports::runs::ModelRuns;
use crate::reports::verdict;
use crate::results::published::{Published, published};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 740.0;
const BAR: f64 = 11.0;
/// 97.5 % quantile of the normal distribution.
const Z: f64 = 1.96;

/// The published rows that are shown, with their signs.
const SHOWN: [(&str, Sign, Color); 4] = [
    ("BERT_Base", Sign::Square, color::VERMILION),
    ("GLM_Base", Sign::Disc, color::GREEN),
    ("GLM_Large", Sign::Triangle, color::PURPLE),
    ("GLM_RoBERTa", Sign::Diamond, color::INK),
];

/// Fill and hatching of the bars of our models.
const BARS: [(Color, Option<f64>); 3] =
    [(color::BLUE, None), (color::ORANGE, Some(6.0)), (color::SKY, Some(3.5))];

/// The plot; without a run of ours there is none.
pub fn plot(models: &[ModelRuns]) -> Result<Plot, NoPlot> {
    let layout = layout::find("superglue").expect("one of the layouts");
    let metrics: Vec<(&Scores, usize)> = layout
        .columns
        .iter()
        .filter(|scores| !scores.ours.0.is_empty())
        .flat_map(|scores| (0..scores.metrics.len()).map(move |part| (scores, part)))
        .collect();
    let ours: Vec<&ModelRuns> = models
        .iter()
        .filter(|model| metrics.iter().any(|(scores, _)| model.task(scores.ours.0).is_some()))
        .take(BARS.len())
        .collect();
    if ours.is_empty() {
        return Err("No plot of SuperGLUE's tasks: no run of ours scored one.".into());
    }

    let row_height = BAR * ours.len() as f64 + 15.0;
    let mut scene = Scene::new(WIDTH, 0.0);
    let mut keys: Vec<(Key, String)> = ours
        .iter()
        .zip(BARS)
        .map(|(model, (color, hatching))| (Key::Bar(color, hatching), format!("{} (ours)", model.label())))
        .collect();
    keys.extend(SHOWN.map(|(name, sign, color)| (Key::Sign(sign, color, true), name.to_string())));
    keys.push((Key::Dash, "best constant answer".into()));
    let top = legend(&mut scene, (16.0, 10.0), RIGHT, &keys) + 22.0;
    let bottom = top + row_height * metrics.len() as f64;
    scene.height = bottom + 44.0;

    let x = Scale { values: (0.0, 100.0), pixels: (LEFT, RIGHT) };
    for tick in (0..=5).map(|i| f64::from(i) * 20.0) {
        scene.line(&[(x.at(tick), top), (x.at(tick), bottom)], 1.0, color::GRID);
    }
    let ticks: Vec<(f64, String)> = (0..=5).map(|i| (f64::from(i) * 20.0, (i * 20).to_string())).collect();
    axis::columns(&mut scene, x, bottom, &ticks);
    scene.text((f64::midpoint(LEFT, RIGHT), bottom + 38.0), "score, percent", SMALL, Anchor::Middle).color =
        color::FAINT;

    for (row, (scores, part)) in metrics.iter().enumerate() {
        let middle = top + row_height * (row as f64 + 0.5);
        let name = format!("{} {}", scores.head, scores.metrics[*part].1);
        scene.text((LEFT - 10.0, middle + 0.36 * NORMAL), name.trim(), NORMAL, Anchor::End);
        metric(&mut scene, x, middle, &ours, layout, (scores, *part));
    }
    Ok(Plot {
        name: "superglue",
        title: "SuperGLUE, validation set: ours and published".into(),
        caption: "Bars with 95 % intervals of the samples are runs of this project; signs are published values (GLM paper, \
                  table 1). Where the two may not be compared (the notes of the table say why), only ours are shown. At most three models."
            .into(),
        scene,
    })
}

/// One metric: bars about `middle`, then the published signs over them.
fn metric(
    scene: &mut Scene,
    x: Scale,
    middle: f64,
    ours: &[&ModelRuns],
    layout: &Layout,
    (scores, part): (&Scores, usize),
) {
    let (task, metric) = (scores.ours.0, scores.ours.1[part]);
    let mut reason = None;
    for (index, model) in ours.iter().enumerate() {
        let Some(scored) = model.task(task) else { continue };
        reason = reason.or_else(|| verdict::not_comparable(scored, model.mode(), layout));
        let Some(score) = scored.task.scores.get(metric).and_then(|scores| scores.selected) else { continue };
        let top = middle + BAR * (index as f64 - ours.len() as f64 / 2.0);
        let end = x.at((100.0 * score.value).max(0.0));
        let (fill, hatching) = BARS[index];
        scene.bar((LEFT, top), ((end - LEFT).max(1.0), BAR - 1.0), fill, hatching);
        if let Some(stderr) = score.stderr {
            let [low, high] = [-Z, Z].map(|z| x.at((100.0 * (score.value + z * stderr)).clamp(0.0, 100.0)));
            let y = top + (BAR - 1.0) / 2.0;
            // A seam of paper keeps the interval apart from its bar.
            scene.line(&[(low, y), (high, y)], 3.5, color::PAPER);
            scene.line(&[(low, y), (high, y)], 1.5, color::INK);
            for end in [low, high] {
                scene.line(&[(end, y - 4.0), (end, y + 4.0)], 1.5, color::INK);
            }
        }
        let is_first = scored.task.metrics.first().is_some_and(|first| first == metric);
        if let Some(guess) = scored.task.chance_level.filter(|_| is_first) {
            let guess = x.at(100.0 * guess);
            let reach = BAR * ours.len() as f64 / 2.0 + 4.0;
            scene.stroke(
                &[(guess, middle - reach), (guess, middle + reach)],
                2.0,
                color::INK,
                Some((3.0, 2.0)),
            );
        }
    }
    if reason.is_some() {
        let text = "not comparable";
        let width = text_width(text, SMALL, false);
        scene.bar((RIGHT - width - 12.0, middle - 8.0), (width + 10.0, 16.0), color::PAPER, None);
        scene.text((RIGHT - 6.0, middle + 0.36 * SMALL), text, SMALL, Anchor::End).color = color::FAINT;
        return;
    }
    for (model, sign, color) in SHOWN {
        let value = published("superglue").iter().find(|row| {
            row.model == model && scores.is_of(&row.task) && row.metric == scores.metrics[part].0
        });
        if let Some(value) = value.and_then(Published::number) {
            scene.point(sign, (x.at(value), middle), 6.5, color::PAPER, true);
            scene.point(sign, (x.at(value), middle), 5.0, color, true);
        }
    }
}
