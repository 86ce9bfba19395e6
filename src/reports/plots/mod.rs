//! The plots of a report. Each is a function from runs and published values to a [`Scene`], or to why there is none.

pub mod axis;
mod bars;
mod cost;
mod curves;
mod epochs;
pub mod scene;

use scene::{Anchor, Scene, Sign, color, text_width};

use super::runs::ModelRuns;

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// As in `superglue`; the name of its files.
    pub name: &'static str,
    /// One line.
    pub title: String,
    /// What is to be seen, and how it was made.
    pub caption: String,
    /// The drawing.
    pub scene: Scene,
}

/// Why a plot can't be drawn.
type NoPlot = String;
/// What makes a plot.
type Maker = fn(&[ModelRuns]) -> Result<Plot, NoPlot>;

/// Every plot that belongs to one of the tables, and why the others are missing.
pub fn all(models: &[ModelRuns], has_table: &dyn Fn(&str) -> bool) -> (Vec<Plot>, Vec<NoPlot>) {
    let makers: [(&str, Maker); 6] = [
        ("superglue", bars::plot),
        ("lm", curves::language_modelling),
        ("superglue", epochs::plot),
        ("superglue", pretraining_tokens),
        ("infilling", curves::infilling),
        ("superglue", cost::plot),
    ];
    let (mut plots, mut missing) = (Vec::new(), Vec::new());
    for (table, make) in makers {
        if has_table(table) {
            match make(models) {
                Ok(plot) => plots.push(plot),
                Err(why) => missing.push(why),
            }
        }
    }
    (plots, missing)
}

/// Scores against the tokens a model was pre-trained on.
fn pretraining_tokens(_: &[ModelRuns]) -> Result<Plot, NoPlot> {
    Err("No plot of scores against pre-training tokens: records don't say how many tokens a model was pre-trained on \
         yet, and no published value does."
        .into())
}

/// What a legend shows in front of a name.
#[derive(Clone, Copy, Debug)]
enum Key {
    /// A sign, filled or open.
    Sign(Sign, scene::Color, bool),
    /// A line with a sign on it; dashed or not.
    Line(Sign, scene::Color, bool),
    /// A bar, hatched or not.
    Bar(scene::Color, Option<f64>),
    /// A short vertical dash, as that of guessing.
    Dash,
}

/// Names with their signs in one line, or more where the width doesn't hold them; the height that was taken.
fn legend(scene: &mut Scene, (left, top): (f64, f64), right: f64, keys: &[(Key, String)]) -> f64 {
    const ROW: f64 = 20.0;
    let (mut x, mut y) = (left, top + ROW / 2.0);
    for (key, name) in keys {
        let key_width = if matches!(key, Key::Line(..)) { 28.0 } else { 16.0 };
        let width = key_width + 5.0 + text_width(name, axis::NORMAL, false);
        if x > left && x + width > right {
            (x, y) = (left, y + ROW);
        }
        let middle = (x + key_width / 2.0, y);
        match *key {
            Key::Sign(sign, color, filled) => scene.point(sign, middle, 5.0, color, filled),
            Key::Line(sign, color, dashed) => {
                let ends = [(x, y), (x + key_width, y)];
                scene.stroke(&ends, 2.0, color, dashed.then_some((5.0, 3.0)));
                scene.point(sign, middle, 4.5, color, true);
            }
            Key::Bar(color, hatching) => scene.bar((x, y - 5.0), (key_width, 10.0), color, hatching),
            Key::Dash => {
                let ends = [(middle.0, y - 7.0), (middle.0, y + 7.0)];
                scene.stroke(&ends, 2.0, color::INK, Some((3.0, 2.0)));
            }
        }
        scene.text((x + key_width + 5.0, y + 0.36 * axis::NORMAL), name.clone(), axis::NORMAL, Anchor::Start);
        x += width + 18.0;
    }
    y + ROW / 2.0 - top
}

/// Moves the middles of labels apart so that none overlap, keeping their order.
fn spread(wanted: &[f64], distance: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let mut placed = wanted.to_vec();
    for _ in 0..50 {
        for pair in order.windows(2) {
            let lack = distance - (placed[pair[1]] - placed[pair[0]]);
            if lack > 1e-6 {
                placed[pair[0]] -= lack / 2.0;
                placed[pair[1]] += lack / 2.0;
            }
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::runs::Runs;

    #[test]
    fn no_label_covers_another_or_leaves_the_drawing() {
        let runs = Runs::read(&["results/runs".into()]).unwrap();
        let (models, _) = runs.models();
        let (plots, missing) = all(&models, &|_| true);
        assert_eq!((plots.len(), missing.len()), (5, 1), "{missing:?}");
        for Plot { name, scene, .. } in plots {
            let boxes = scene.boxes();
            for (text, [left, top, right, bottom]) in &boxes {
                let inside = *left >= 0.0 && *top >= 0.0 && *right <= scene.width && *bottom <= scene.height;
                assert!(inside, "{name}: {text:?} at {left} {top} {right} {bottom}");
            }
            for (i, (a, first)) in boxes.iter().enumerate() {
                for (b, second) in &boxes[..i] {
                    let apart =
                        |low: usize, high: usize| first[high] <= second[low] || second[high] <= first[low];
                    assert!(apart(0, 2) || apart(1, 3), "{name}: {a:?} over {b:?}");
                }
            }
        }
    }

    #[test]
    fn labels_that_would_overlap_are_moved_apart_in_their_order() {
        let placed = spread(&[10.0, 11.0, 50.0], 12.0);
        assert!(placed[1] - placed[0] > 11.9 && placed[0] < placed[1] && (placed[2] - 50.0).abs() < 1e-9);
    }
}
