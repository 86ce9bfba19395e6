//! From the logits after one text to the tokens that may follow it.

use candle_core::{Result, bail};
use rand::Rng;

use crate::nn::log_sum_exp;
use crate::request::{Decoding, Sampling};

/// The logit of a token that is not considered: no probability, but a number, as sums of exponentials need it.
pub const REMOVED: f32 = f32::MIN / 2.0;

/// A token and the logarithm of its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogProb {
    pub token: u32,
    pub log_prob: f64,
}

/// The `count` most probable tokens, best first, without those that are banned; the first among equals first.
///
/// # Errors
/// When a logit is not finite.
pub fn best(
    logits: &mut [f32],
    decoding: &Decoding,
    banned: &[u32],
    count: usize,
) -> Result<Vec<TokenLogProb>> {
    keep_top_k(logits, decoding.top_k);
    // Banned tokens keep their share of the probability, as in both libraries.
    let log_normaliser = log_normaliser(logits)?;
    let log_prob =
        |(token, logit): (u32, f32)| TokenLogProb { token, log_prob: (logit - log_normaliser).into() };
    Ok(largest(logits, banned, count).into_iter().map(log_prob).collect())
}

/// One token, drawn; `None` where all are banned. Its log-probability is the model's own, before anything was cut off.
///
/// # Errors
/// When a logit is not finite.
pub fn draw(
    logits: &mut [f32],
    decoding: &Decoding,
    sampling: &Sampling,
    banned: &[u32],
    random: &mut impl Rng,
) -> Result<Option<TokenLogProb>> {
    let log_normaliser = log_normaliser(logits)?;
    for &token in banned {
        logits[token as usize] = REMOVED;
    }
    let kept = if decoding.top_k > 0 { decoding.top_k } else { logits.len() };
    let mut tokens = largest(logits, &[], kept);
    let Some(&(_, highest)) = tokens.first() else { return Ok(None) };
    let weight = |logit: f32| (f64::from(logit - highest) / sampling.temperature).exp();
    let mut total: f64 = tokens.iter().map(|(_, logit)| weight(*logit)).sum();
    if sampling.top_p < 1.0 {
        let mut sum = 0.0;
        let is_short = |(_, logit): &&(u32, f32)| {
            let is_short = sum < sampling.top_p * total;
            sum += if is_short { weight(*logit) } else { 0.0 };
            is_short
        };
        let nucleus = tokens.iter().take_while(is_short).count();
        tokens.truncate(nucleus.max(1));
        total = sum;
    }
    let mut left = random.random::<f64>() * total;
    let drawn = tokens.iter().find(|(_, logit)| {
        left -= weight(*logit);
        left < 0.0
    });
    let drawn = drawn.or(tokens.last()); // rounding may leave a little
    Ok(drawn.map(|&(token, logit)| TokenLogProb { token, log_prob: (logit - log_normaliser).into() }))
}

/// The logarithm of the sum of all exponentials. Logits that are no numbers rank nothing, and would be taken for banned
/// tokens.
fn log_normaliser(logits: &[f32]) -> Result<f32> {
    let found = log_sum_exp(logits);
    if let Some((token, logit)) =
        logits.iter().enumerate().find(|(_, logit)| found.is_nan() && !logit.is_finite())
    {
        bail!("the logit of token {token} is {logit}; the weights are too large, or damaged");
    }
    Ok(found)
}

/// Tokens that may not come next: the ends while the text is too short, and what would repeat an n-gram.
pub fn banned(history: &[u32], text: &[u32], decoding: &Decoding, ends: &[u32]) -> Vec<u32> {
    let mut banned = Vec::new();
    if text.len() < decoding.min_new_tokens {
        banned.extend(ends);
    }
    let Some(context) = decoding.no_repeat_ngram_size.checked_sub(1) else { return banned };
    let read = [history, text].concat();
    if let Some(start) = read.len().checked_sub(context) {
        let repeats = read.windows(context + 1).filter(|ngram| ngram[..context] == read[start..]);
        banned.extend(repeats.map(|ngram| ngram[context]));
    }
    banned
}

/// Removes what is below the `k`-th largest value; 0 keeps all.
fn keep_top_k(logits: &mut [f32], k: usize) {
    if k == 0 {
        return;
    }
    let Some(&(_, lowest)) = largest(logits, &[], k).last() else { return };
    logits.iter_mut().filter(|logit| **logit < lowest).for_each(|logit| *logit = REMOVED);
}

/// The largest values with their places, in order; neither removed ones nor what is no number.
fn largest(values: &[f32], banned: &[u32], count: usize) -> Vec<(u32, f32)> {
    let by_value = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count >= values.len() {
        let mut all: Vec<(u32, f32)> = (0..).zip(values.iter().copied()).collect();
        all.retain(|(place, value)| *value > REMOVED && !banned.contains(place));
        all.sort_unstable_by(by_value);
        return all;
    }
    let mut found: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    let mut lowest = REMOVED;
    for (place, &value) in (0..).zip(values) {
        if value > lowest && !banned.contains(&place) {
            let at = found.partition_point(|(_, better)| *better >= value);
            found.insert(at, (place, value));
            found.truncate(count);
            if found.len() == count {
                lowest = found.last().map_or(REMOVED, |(_, value)| *value);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_best_tokens_come_in_order_and_the_first_among_equals_first() {
        let values = [1.0, 3.0, f32::NEG_INFINITY, 3.0, f32::NAN, 2.0];
        assert_eq!(largest(&values, &[], 3), [(1, 3.0), (3, 3.0), (5, 2.0)]);
        assert_eq!(largest(&values, &[1], 9), [(3, 3.0), (5, 2.0), (0, 1.0)]);
    }

    #[test]
    fn log_probabilities_are_of_the_kept_tokens_and_banned_ones_keep_their_share() {
        // Of e⁰, e^ln2 and e^ln5 the largest two are kept: probabilities 2/7 and 5/7.
        let logits = [0.0, 2f32.ln(), 5f32.ln()];
        let decoding = Decoding { top_k: 2, ..Decoding::greedy(1) };
        let found = best(&mut logits.to_vec(), &decoding, &[2], 4).expect("numbers");
        assert_eq!(found.len(), 1);
        assert!((found[0].log_prob - (2.0f64 / 7.0).ln()).abs() < 1e-6);
    }

    #[test]
    fn a_logit_that_is_not_finite_is_an_error_and_not_a_banned_token() {
        let decoding = Decoding { top_k: 1, ..Decoding::greedy(1) };
        let sampling = Sampling { temperature: 1.0, top_p: 1.0, seed: 0 };
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let logits = [1.0, bad, 2.0];
            let mut random = ChaCha8Rng::seed_from_u64(1);
            let found = [
                best(&mut logits.to_vec(), &Decoding::greedy(1), &[], 1).map(|_| ()),
                draw(&mut logits.to_vec(), &decoding, &sampling, &[], &mut random).map(|_| ()),
            ];
            for error in found.map(|found| found.expect_err("it is no number").to_string()) {
                assert!(error.starts_with(&format!("the logit of token 1 is {bad};")), "{error}");
            }
        }
        // What was removed is a number, and all that is left may be banned.
        let removed = best(&mut [REMOVED, 0.0], &Decoding::greedy(1), &[1], 1);
        assert!(removed.expect("numbers").is_empty());
    }

    #[test]
    fn what_would_repeat_an_n_gram_is_banned() {
        let with = |n: usize| Decoding { no_repeat_ngram_size: n, ..Decoding::greedy(9) };
        // After 1 2 3 1 2, the trigram 1 2 3 would come again.
        assert_eq!(banned(&[], &[1, 2, 3, 1, 2], &with(3), &[]), [3]);
        assert_eq!(banned(&[1, 2, 3], &[1, 2], &with(3), &[]), [3]);
        assert_eq!(banned(&[], &[4, 5], &with(1), &[]), [4, 5]);
        assert!(banned(&[], &[1], &with(3), &[]).is_empty());
        assert!(banned(&[], &[1, 1, 1], &with(0), &[]).is_empty());
    }

    #[test]
    fn a_short_text_may_not_end() {
        let decoding = Decoding { min_new_tokens: 2, ..Decoding::greedy(9) };
        assert_eq!(banned(&[], &[7], &decoding, &[0, 1]), [0, 1]);
        assert!(banned(&[7, 7], &[7, 7], &decoding, &[0, 1]).is_empty());
    }

    /// How often each of four tokens is drawn, in 4,000 draws.
    fn counts(top_k: usize, temperature: f64, top_p: f64) -> [usize; 4] {
        let logits = [1f32.ln(), 2f32.ln(), 3f32.ln(), 4f32.ln()];
        let decoding = Decoding { top_k, ..Decoding::greedy(1) };
        let sampling = Sampling { temperature, top_p, seed: 0 };
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0; 4];
        for _ in 0..4000 {
            let drawn = draw(&mut logits.to_vec(), &decoding, &sampling, &[0], &mut random)
                .expect("numbers")
                .expect("one is left");
            counts[drawn.token as usize] += 1;
        }
        counts
    }

    /// Four standard deviations of a count.
    fn is_near(count: usize, probability: f64) -> bool {
        let deviation = (4000.0 * probability * (1.0 - probability)).sqrt();
        (count as f64 - 4000.0 * probability).abs() <= 4.0 * deviation
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_probable() {
        // 0 is banned: 2/9, 3/9 and 4/9 are left.
        let plain = counts(0, 1.0, 1.0);
        assert!(plain[0] == 0 && is_near(plain[1], 2.0 / 9.0) && is_near(plain[3], 4.0 / 9.0), "{plain:?}");
        // At a temperature of 1/2 the weights are squares: 4/29, 9/29, 16/29.
        assert!(is_near(counts(0, 0.5, 1.0)[3], 16.0 / 29.0));
        // The two largest: 3/7 and 4/7. They have 7/9 of the probability, so a nucleus of 0.7 is the same.
        for two in [counts(2, 1.0, 1.0), counts(0, 1.0, 0.7)] {
            assert!(two[1] == 0 && is_near(two[2], 3.0 / 7.0), "{two:?}");
        }
        assert_eq!(counts(0, 1.0, 1e-9)[3], 4000);
    }
}
