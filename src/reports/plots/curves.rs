//! Published curves: perplexity and LAMBADA against parameters (the paper's figure 4), infilling against masked share.

use super::axis::{self, LARGE, NORMAL, SMALL, Scale};
use super::scene::{Anchor, Color, Scene, Sign, color, looks};
use super::{Key, NoPlot, Plot, legend, spread};
use crate::reports::runs::ModelRuns;
use crate::results::published::{Published, published};

/// How a context is read: the end of the task's name, what is shown, and how.
const CONTEXTS: [(&str, &str, Sign, Color, bool); 2] = [
    ("(unidirectional context)", "GLM, left to right", Sign::Disc, color::BLUE, false),
    ("(bidirectional context)", "GLM, both directions", Sign::Square, color::VERMILION, true),
];

/// Figure 4: language modelling against parameters.
#[expect(
    clippy::unnecessary_wraps,
    reason = "one of several makers of plots, some of which may have no data"
)]
pub fn language_modelling(_: &[ModelRuns]) -> Result<Plot, NoPlot> {
    let mut scene = Scene::new(760.0, 330.0);
    let mut keys: Vec<(Key, String)> = CONTEXTS
        .iter()
        .map(|(_, name, sign, color, dashed)| (Key::Line(*sign, *color, *dashed), (*name).to_string()))
        .collect();
    keys.push((Key::Sign(Sign::Disc, color::FAINT, false), "without 2D positions".into()));
    keys.push((Key::Sign(Sign::Triangle, color::INK, true), "GPT_Large, the authors' own".into()));
    legend(&mut scene, (16.0, 8.0), 744.0, &keys);
    panel(&mut scene, 52.0, "BookWiki: perplexity (less is better)", "BookWiki held-out LM");
    panel(&mut scene, 436.0, "LAMBADA: accuracy, percent", "LAMBADA");
    Ok(Plot {
        name: "lm",
        title: "Language modelling against parameters (GLM paper, figure 4)".into(),
        caption: "Published values: GLM_Doc, GLM_410M and GLM_515M without fine-tuning, zero-shot; GPT_Large is as large \
                  as GLM_Large. Scores of our runs, if there are any, are in the table."
            .into(),
        scene,
    })
}

fn panel(scene: &mut Scene, left: f64, title: &str, task: &str) {
    let (top, bottom, right) = (68.0, 280.0, left + 300.0);
    let rows: Vec<&Published> = published("lm")
        .iter()
        .filter(|row| row.table == "GLM-F4" && row.task.starts_with(task) && row.number().is_some())
        .collect();
    let values = rows.iter().filter_map(|row| row.number());
    let y = Scale::around(values, (bottom, top));
    let x = Scale { values: (300.0, 550.0), pixels: (left, right) };
    scene.text((left - 32.0, top - 16.0), title, LARGE, Anchor::Start).bold = true;
    axis::rows(scene, (left, right), y);
    let ticks: Vec<(f64, String)> = [340.0, 410.0, 515.0].map(|m: f64| (m, format!("{m:.0}M"))).into();
    axis::columns(scene, x, bottom, &ticks);
    scene.text((f64::midpoint(left, right), bottom + 38.0), "parameters", SMALL, Anchor::Middle).color =
        color::FAINT;
    let at = |row: &&&Published| Some((x.at(row.num_parameters()? / 1e6), y.at(row.number()?)));
    for (context, _, sign, color, dashed) in CONTEXTS {
        let of = |row: &&&Published| row.task.ends_with(context);
        let is_variant = |row: &&&Published| row.model.ends_with("- 2D");
        let is_rival = |row: &&&Published| row.model.starts_with("GPT");
        let plain = |row: &&&Published| !is_variant(row) && !is_rival(row);
        let points: Vec<(f64, f64)> =
            rows.iter().filter(of).filter(plain).filter_map(|row| at(&row)).collect();
        scene.stroke(&points, 2.0, color, dashed.then_some((5.0, 3.0)));
        for point in points {
            scene.point(sign, point, 5.0, color, true);
        }
        for point in rows.iter().filter(of).filter(is_variant).filter_map(|row| at(&row)) {
            // A little to the side, as it would cover the others.
            scene.point(sign, (point.0 + 12.0, point.1), 5.5, color, false);
        }
        for point in rows.iter().filter(of).filter(is_rival).filter_map(|row| at(&row)) {
            scene.point(Sign::Triangle, point, 6.0, color::INK, true);
        }
    }
}

/// Table 5: BLEU of text infilling against the share that is masked.
#[expect(
    clippy::unnecessary_wraps,
    reason = "one of several makers of plots, some of which may have no data"
)]
pub fn infilling(_: &[ModelRuns]) -> Result<Plot, NoPlot> {
    let mut scene = Scene::new(620.0, 340.0);
    let (left, right, top, bottom) = (48.0, 500.0, 40.0, 292.0);
    let rows = published("infilling");
    let mut models: Vec<&str> = Vec::new();
    for row in rows {
        if !models.contains(&row.model.as_str()) {
            models.push(&row.model);
        }
    }
    let share =
        |row: &Published| row.task.split(' ').find_map(|word| word.strip_suffix('%')?.parse::<f64>().ok());
    let x = Scale { values: (8.0, 52.0), pixels: (left, right) };
    let y = Scale::around(rows.iter().filter_map(Published::number), (bottom, top));
    scene.text((16.0, top - 18.0), "BLEU", LARGE, Anchor::Start).bold = true;
    axis::rows(&mut scene, (left, right), y);
    let ticks: Vec<(f64, String)> = (1..=5).map(|i| (f64::from(i) * 10.0, format!("{}%", i * 10))).collect();
    axis::columns(&mut scene, x, bottom, &ticks);
    let axis_name = "share of the text that is masked";
    scene.text((f64::midpoint(left, right), bottom + 38.0), axis_name, SMALL, Anchor::Middle).color =
        color::FAINT;
    let mut ends = Vec::new();
    for (index, model) in models.iter().enumerate() {
        let (sign, color) = looks(index);
        let of = rows.iter().filter(|row| row.model == *model);
        let points: Vec<(f64, f64)> =
            of.filter_map(|row| Some((x.at(share(row)?), y.at(row.number()?)))).collect();
        scene.stroke(&points, 2.0, color, (index % 2 == 1).then_some((6.0, 3.0)));
        for point in &points {
            scene.point(sign, *point, 5.0, color, true);
        }
        ends.push(points.last().map_or(bottom, |point| point.1));
    }
    for (index, ((model, end), label)) in models.iter().zip(&ends).zip(spread(&ends, 17.0)).enumerate() {
        scene.line(&[(x.at(50.0) + 8.0, *end), (right + 4.0, label)], 1.0, color::FAINT);
        let (sign, color) = looks(index);
        scene.point(sign, (right + 12.0, label), 4.5, color, true);
        scene.text((right + 22.0, label + 0.36 * NORMAL), *model, NORMAL, Anchor::Start);
    }
    Ok(Plot {
        name: "infilling",
        title: "Text infilling against the share of masked text (GLM paper, table 5)".into(),
        caption: "Published values on Yahoo Answers. No run of ours: the published blanks are not public."
            .into(),
        scene,
    })
}
