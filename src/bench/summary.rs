//! Repeated measurements in a few numbers.

use serde::Serialize;

/// Middle and extremes; the extremes show what else the machine was doing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle value, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// `None` without values.
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: quantile(values, 0.5)?,
            min: quantile(values, 0.0)?,
            max: quantile(values, 1.0)?,
        })
    }
}

/// The value below which a share `q` of the values lies, linear between neighbours; `None` without values.
pub(super) fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_by_hand() {
        let values = [4.0, 1.0, 3.0, 2.0];
        // Places 0, 0.75, 1.5, 2.25 and 3 of 1 2 3 4.
        let found = [0.0, 0.25, 0.5, 0.75, 1.0].map(|q| quantile(&values, q));
        assert_eq!(found, [1.0, 1.75, 2.5, 3.25, 4.0].map(Some));
        assert_eq!(Summary::of(&values), Some(Summary { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Summary::of(&[]), None);
    }
}
