//! The loss curve: training and held-out loss over the tokens that were read.

use super::log::Line;
use crate::reports::plots::axis::{self, NORMAL, SMALL, Scale};
use crate::reports::plots::scene::{Anchor, Scene, Sign, color};

/// The training loss is drawn as means over so many stretches, at most.
const STRETCHES: usize = 150;

/// A picture of a log, as SVG.
pub fn loss_curve(lines: &[Line], title: &str) -> String {
    let mut scene = Scene::new(640.0, 320.0);
    let (left, right, top, bottom) = (48.0, 620.0, 34.0, 268.0);
    let train: Vec<(f64, f64)> = stretches(lines);
    let held_out = |line: &Line| Some((line.tokens as f64 / 1e6, line.held_out_loss?));
    let held_out: Vec<(f64, f64)> = lines.iter().filter_map(held_out).collect();
    let all = || train.iter().chain(&held_out);
    let x = Scale::around(all().map(|(tokens, _)| *tokens).chain([0.0]), (left, right));
    let y = Scale::around(all().map(|(_, loss)| *loss), (bottom, top));
    axis::rows(&mut scene, (left, right), y);
    let ticks: Vec<(f64, String)> = x.ticks().into_iter().map(|tick| (tick, x.label(tick))).collect();
    axis::columns(&mut scene, x, bottom, &ticks);
    let name = "million tokens read";
    scene.text((f64::midpoint(left, right), bottom + 38.0), name, SMALL, Anchor::Middle).color = color::FAINT;
    let place = |&(tokens, loss): &(f64, f64)| (x.at(tokens), y.at(loss));
    scene.stroke(&train.iter().map(place).collect::<Vec<_>>(), 1.5, color::BLUE, None);
    scene.stroke(&held_out.iter().map(place).collect::<Vec<_>>(), 1.5, color::VERMILION, Some((5.0, 3.0)));
    for point in held_out.iter().map(place) {
        scene.point(Sign::Square, point, 3.0, color::VERMILION, true);
    }
    scene.text((left, top - 16.0), "loss, nats a token", NORMAL, Anchor::Start).bold = true;
    for (at, name, color, dash) in [
        (right - 250.0, "training", color::BLUE, None),
        (right - 130.0, "held out", color::VERMILION, Some((5.0, 3.0))),
    ] {
        scene.stroke(&[(at, top - 20.0), (at + 28.0, top - 20.0)], 2.0, color, dash);
        scene.text((at + 34.0, top - 16.0), name, NORMAL, Anchor::Start);
    }
    scene.to_svg(title)
}

/// Means over stretches of as many updates each: tokens in millions at the end, loss.
fn stretches(lines: &[Line]) -> Vec<(f64, f64)> {
    let updates = lines.len().div_ceil(STRETCHES).max(1);
    let mean = |lines: &[Line]| {
        let loss = lines.iter().map(|line| line.loss).sum::<f64>() / lines.len() as f64;
        (lines[lines.len() - 1].tokens as f64 / 1e6, loss)
    };
    lines.chunks(updates).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_curves_are_drawn_and_no_more_points_than_a_screen_shows() {
        let line = |update: u64| Line {
            update,
            tokens: 10_000 * update,
            loss: 9.0 / (update as f64).sqrt(),
            gradient_norm: 1.0,
            learning_rate: 1e-3,
            held_out_loss: update.is_multiple_of(100).then_some(3.0),
            tokens_per_sec: 1.0,
            share_of_peak: None,
        };
        let lines: Vec<Line> = (1..=1000).map(line).collect();
        assert_eq!(stretches(&lines).len(), 143); // of 7 updates
        let svg = loss_curve(&lines, "a run");
        assert!(svg.contains("held out") && svg.contains("million tokens read") && svg.contains("a run"));
        assert!(loss_curve(&[], "nothing yet").contains("loss, nats a token"));
    }
}
