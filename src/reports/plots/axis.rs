//! A frame with two axes: round ticks, a grid, and points to pixels.

use super::scene::{Anchor, Scene, color};

/// Size of tick labels.
pub const SMALL: f64 = 11.0;
/// Size of other labels.
pub const NORMAL: f64 = 12.0;
/// Size of the title of a panel.
pub const LARGE: f64 = 13.0;

/// A range of values on a range of pixels.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Lowest and highest value.
    pub values: (f64, f64),
    /// Where they lie.
    pub pixels: (f64, f64),
}

impl Scale {
    /// The pixel of a value; one beyond the range lies at its end, as a record could say anything.
    pub fn at(&self, value: f64) -> f64 {
        let share =
            (value.clamp(self.values.0, self.values.1) - self.values.0) / (self.values.1 - self.values.0);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// A range around values that begins and ends on a tick; a single value gets room on both sides.
    pub fn around(values: impl IntoIterator<Item = f64>, pixels: (f64, f64)) -> Self {
        // Nothing that is drawn here is larger; a record could say anything.
        let values = values.into_iter().filter(|value| value.abs() < 1e9);
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let (low, high) = if high - low < 1e-9 { (low - 1.0, high + 1.0) } else { (low, high) };
        let step = round_step((high - low) / 4.0);
        Self { values: ((low / step).floor() * step, (high / step).ceil() * step), pixels }
    }

    /// About four round values in the range.
    pub fn ticks(&self) -> Vec<f64> {
        let step = round_step((self.values.1 - self.values.0) / 4.0);
        let first = (self.values.0 / step - 1e-9).ceil() as i64;
        let last = (self.values.1 / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }

    /// A tick with no more decimals than the step needs.
    pub fn label(&self, tick: f64) -> String {
        let step = round_step((self.values.1 - self.values.0) / 4.0);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        format!("{:.decimals$}", if tick == 0.0 { 0.0 } else { tick })
    }
}

/// The nearest of 1, 2, 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor =
        [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= step * 0.999).unwrap_or(10.0);
    factor * power
}

/// Horizontal grid lines with their values to the left.
pub fn rows(scene: &mut Scene, x: (f64, f64), y: Scale) {
    for tick in y.ticks() {
        scene.line(&[(x.0, y.at(tick)), (x.1, y.at(tick))], 1.0, color::GRID);
        scene.text((x.0 - 6.0, y.at(tick) + 0.36 * SMALL), y.label(tick), SMALL, Anchor::End);
    }
}

/// Values below the frame at these places.
pub fn columns(scene: &mut Scene, x: Scale, bottom: f64, ticks: &[(f64, String)]) {
    scene.line(&[(x.pixels.0, bottom), (x.pixels.1, bottom)], 1.0, color::INK);
    for (tick, label) in ticks {
        scene.line(&[(x.at(*tick), bottom), (x.at(*tick), bottom + 4.0)], 1.0, color::INK);
        scene.text((x.at(*tick), bottom + 6.0 + SMALL), label.clone(), SMALL, Anchor::Middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let scale = Scale::around([13.7, 15.1], (0.0, 100.0));
        assert_eq!(scale.values, (13.5, 15.5));
        assert_eq!(
            scale.ticks().iter().map(|t| scale.label(*t)).collect::<Vec<_>>(),
            ["13.5", "14.0", "14.5", "15.0", "15.5"]
        );
        assert!((scale.at(14.5) - 50.0).abs() < 1e-9);
        assert_eq!((scale.at(-1e308), scale.at(f64::INFINITY)), (0.0, 100.0));
        let wide = Scale::around([3.0, 97.0], (0.0, 1.0));
        assert_eq!(wide.ticks().iter().map(|t| wide.label(*t)).collect::<Vec<_>>(), ["0", "50", "100"]);
    }

    #[test]
    fn a_single_value_or_none_still_has_a_range() {
        assert_eq!(Scale::around([5.0], (0.0, 1.0)).values, (4.0, 6.0));
        for nothing in [vec![], vec![f64::NAN, f64::INFINITY, 1e300]] {
            assert_eq!(Scale::around(nothing, (0.0, 1.0)).values, (0.0, 1.0));
        }
    }
}
