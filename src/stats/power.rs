//! Power: how probably a loss of a given size would be seen, and how many samples or seeds that takes.
//!
//! It is asked of a loss that was chosen beforehand, never of the one that was observed: the power for an observed
//! difference only repeats its p-value (Hoenig and Heisey 2001, "The abuse of power").

use statrs::distribution::{Binomial, Discrete, DiscreteCDF};

use super::paired::{mcnemar, rejects, t_cdf, t_quantile};

/// Probability that the exact `McNemar` test finds, at `alpha` two-sided, a true loss of `loss` in accuracy over `n`
/// samples, of which a share `noise` changes anyway, as often for the better as for the worse.
///
/// The number of changed samples is binomial in `n`, those of them that are losses binomial in that number; the test's
/// verdicts are summed over both.
///
/// Source: Duffy (1984), "Asymptotic and exact power for the `McNemar` test and its analogue with R controls per case".
pub fn mcnemar_power(n: u64, noise: f64, loss: f64, alpha: f64) -> f64 {
    let worse = (noise / 2.0 + loss).clamp(0.0, 1.0);
    let better = (noise / 2.0).min(1.0 - worse);
    let change = worse + better;
    if change <= 0.0 || n == 0 {
        return 0.0;
    }
    let changed = Binomial::new(change.min(1.0), n).expect("a probability");
    let (middle, spread) = (n as f64 * change, (n as f64 * change * (1.0 - change)).max(1.0).sqrt());
    let (from, to) = ((middle - 9.0 * spread).max(0.0) as u64, ((middle + 9.0 * spread) as u64).min(n));
    let of = |count: u64| {
        // The test rejects with `better` changes or fewer; the loss is then the rest.
        let most = rejected_up_to(count, alpha)?;
        let gains = Binomial::new(better / change, count).ok()?;
        Some(changed.pmf(count) * gains.cdf(most))
    };
    (from..=to).filter_map(of).fold(0.0, |sum: f64, share| sum + share).min(1.0)
}

/// The most samples that may have become better among `changed` ones for the test to find a loss; `None` where it
/// never does.
fn rejected_up_to(changed: u64, alpha: f64) -> Option<u64> {
    let is_found = |better: u64| rejects(mcnemar(changed - better, better), alpha);
    if !is_found(0) {
        return None;
    }
    let (mut found, mut not_found) = (0, changed / 2 + 1);
    while not_found - found > 1 {
        let middle = found.midpoint(not_found);
        if is_found(middle) { found = middle } else { not_found = middle }
    }
    Some(found)
}

/// Probability of finding, at `alpha` two-sided, a true loss that is so many standard errors great, as a loss (finding
/// a gain instead doesn't count), with so many degrees of freedom (infinite: a normal difference).
///
/// Source: Cohen (1988), "Statistical Power Analysis for the Behavioral Sciences", section 2.2.
pub fn difference_power(loss: f64, stderr: f64, freedom: f64, alpha: f64) -> f64 {
    if loss <= 0.0 {
        return 0.0;
    }
    if stderr <= 0.0 {
        return 1.0;
    }
    t_cdf(loss / stderr - t_quantile(1.0 - alpha / 2.0, freedom), freedom)
}

/// The standard error with which a loss is found with probability `power`.
pub fn stderr_needed(loss: f64, freedom: f64, alpha: f64, power: f64) -> f64 {
    loss / (t_quantile(1.0 - alpha / 2.0, freedom) + t_quantile(power, freedom))
}

/// The fewest `n` with `power_at(n) >= power`, looked for upwards from `from` by doubling and then halving, for a power
/// that grows with `n` (exact tests are jagged: a few more may be needed); `None` above 100 million.
pub fn samples_needed(from: u64, power: f64, power_at: impl Fn(u64) -> f64) -> Option<u64> {
    let (mut below, mut enough) = (from, from.max(1));
    while power_at(enough) < power {
        (below, enough) = (enough, enough * 2);
        if enough > 100_000_000 {
            return None;
        }
    }
    while enough - below > 1 {
        let middle = below.midpoint(enough);
        if power_at(middle) >= power { enough = middle } else { below = middle }
    }
    Some(enough)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_loss_of_everything_is_found_as_soon_as_the_test_can_find_anything() {
        // All samples change for the worse: 6 of 6 have p = 2 / 64, 5 of 5 have p = 2 / 32 > 0.05.
        assert!((mcnemar_power(6, 0.0, 1.0, 0.05) - 1.0).abs() < 1e-12);
        assert!(mcnemar_power(5, 0.0, 1.0, 0.05).abs() < 1e-12);
        assert!(mcnemar_power(56, 0.0, 0.0, 0.05).abs() < 1e-12);
    }

    #[test]
    fn two_samples_that_change_for_sure_are_enumerated_by_hand() {
        // alpha 0.5: 2 changed samples reject with no gain (p = 2 / 4), 1 does not (p = 1). worse 0.75, better 0.25:
        // all change; both are worse with 0.75^2.
        assert!((mcnemar_power(2, 0.5, 0.5, 0.5) - 0.5625).abs() < 1e-12);
    }

    #[test]
    fn cb_is_too_small_for_five_points() {
        // With 3 samples of noise in 56, a loss of five points changes 6 samples: the test can't see it mostly.
        let power = mcnemar_power(56, 3.0 / 56.0, 0.05, 0.05);
        assert!(power < 0.35, "{power}");
        assert!(mcnemar_power(3270, 0.05, 0.05, 0.05) > 0.999);
    }

    #[test]
    fn needed_samples_and_standard_errors_give_the_power_asked_for() {
        let at = |n: u64| difference_power(0.05, (0.1 / n as f64).sqrt(), f64::INFINITY, 0.05);
        let n = samples_needed(56, 0.8, at).unwrap();
        // (1.95996 + 0.84162)^2 * 0.1 / 0.05^2 = 313.96
        assert_eq!(n, 314);
        let stderr = stderr_needed(0.05, f64::INFINITY, 0.05, 0.8);
        assert!((difference_power(0.05, stderr, f64::INFINITY, 0.05) - 0.8).abs() < 1e-9);
        assert_eq!(samples_needed(1, 0.8, |_| 0.5), None);
    }

    proptest! {
        #[test]
        fn power_is_a_probability_and_grows_with_the_loss(
            n in 1_u64..300, noise in 0.0..0.5_f64, loss in 0.0..0.4_f64, more in 0.0..0.1_f64,
        ) {
            let (less, power) = (mcnemar_power(n, noise, loss, 0.05), mcnemar_power(n, noise, loss + more, 0.05));
            prop_assert!((0.0..=1.0).contains(&less) && less <= power + 1e-9, "{less} {power}");
        }

        #[test]
        fn a_test_that_cannot_see_a_loss_has_the_power_of_half_its_alpha_at_most(n in 1_u64..300, noise in 0.0..0.9_f64) {
            prop_assert!(mcnemar_power(n, noise, 0.0, 0.05) <= 0.025 + 1e-9);
        }
    }
}
