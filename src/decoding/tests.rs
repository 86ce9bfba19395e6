use candle_core::Error;
use proptest::prelude::*;

use super::*;
use crate::request::Sampling;

const END: u32 = 0;
const VOCABULARY: u32 = 4;

/// Logits that depend on the row and on every token of the text so far.
fn logits(row: usize, text: &[u32]) -> Vec<f32> {
    let seed = text.iter().fold(row as u32 + 7, |seed, token| seed.wrapping_mul(31).wrapping_add(token + 1));
    let logit = |token: u32| {
        let mixed = (seed.wrapping_mul(VOCABULARY) + token).wrapping_mul(0x9E37_79B9);
        (mixed >> 24) as f32 / 64.0 // 0..4
    };
    (0..VOCABULARY).map(logit).collect()
}

fn log_prob(row: usize, text: &[u32], token: u32) -> f64 {
    let logits = logits(row, text);
    (logits[token as usize] - crate::nn::log_sum_exp(&logits)).into()
}

/// Decodes these rows; the model finds each text again by following parents.
fn decode_rows(rows: &[usize], decoding: &Decoding, convention: Convention) -> Vec<Vec<Hypothesis>> {
    let search = Search { decoding, convention, ends: &[END] };
    let row =
        |&seed: &usize| Row { history: vec![], max_new_tokens: decoding.max_new_tokens, seed: seed as u64 };
    let mut texts: Vec<(usize, Vec<u32>)> = rows.iter().map(|&row| (row, vec![])).collect();
    let first = rows.iter().map(|&row| logits(row, &[])).collect();
    let step = |extensions: &[Extension]| {
        let extend = |e: &Extension| {
            let (row, text) = &texts[e.parent];
            assert_eq!(rows[e.row], *row, "a beam continues one of its own row");
            (*row, [text.as_slice(), &[e.token]].concat())
        };
        texts = extensions.iter().map(extend).collect();
        Ok::<_, Error>(texts.iter().map(|(row, text)| logits(*row, text)).collect())
    };
    let rows: Vec<Row> = rows.iter().map(row).collect();
    decode(&rows, search, first, step, |_| ()).expect("logits are numbers")
}

fn beams(num_beams: usize, max_new_tokens: usize) -> Decoding {
    Decoding { num_beams, ..Decoding::greedy(max_new_tokens) }
}

/// Every text of at most `limit` tokens, ended or cut, with its log-probability.
fn all_texts(row: usize, text: &[u32], so_far: f64, limit: usize) -> Vec<(Vec<u32>, f64)> {
    if text.len() == limit {
        return vec![(text.to_vec(), so_far)];
    }
    let mut found = vec![(text.to_vec(), so_far + log_prob(row, text, END))];
    for token in 1..VOCABULARY {
        let longer = [text, &[token]].concat();
        found.extend(all_texts(row, &longer, so_far + log_prob(row, text, token), limit));
    }
    found
}

#[test]
fn greedy_takes_the_best_token_each_time() {
    for (row, convention) in [(1, Convention::Glm), (2, Convention::HuggingFace), (3, Convention::Glm)] {
        let found = decode_rows(&[row], &Decoding::greedy(6), convention).remove(0).remove(0);
        let mut text = Vec::new();
        let mut sum = 0.0;
        let is_ended = loop {
            if text.len() == 6 {
                break false;
            }
            let logits = logits(row, &text);
            let best = (0..VOCABULARY).max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize]));
            let best = best.expect("a vocabulary");
            sum += log_prob(row, &text, best);
            if best == END {
                break true;
            }
            text.push(best);
        };
        assert_eq!((&found.tokens, found.is_ended), (&text, is_ended));
        assert!((found.log_prob - sum).abs() < 1e-9);
    }
}

/// 4 tokens, of which one ends: at most 27 texts are pursued before the limit of 4, so 81 beams lose none.
#[test]
fn beams_enough_for_all_texts_find_the_best_of_all() {
    for convention in [Convention::Glm, Convention::HuggingFace] {
        for row in 0..20 {
            let found = decode_rows(&[row], &beams(81, 4), convention).remove(0).remove(0);
            let all = all_texts(row, &[], 0.0, 4);
            let best = all.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("there are texts");
            assert_eq!(found.tokens, best.0);
            assert!((found.score - best.1).abs() < 1e-6);
        }
    }
}

#[test]
fn the_conventions_differ_in_the_length_of_a_text() {
    let decoding = Decoding { length_penalty: 1.0, ..beams(81, 3) };
    for row in 0..20 {
        for convention in [Convention::Glm, Convention::HuggingFace] {
            for found in decode_rows(&[row], &decoding, convention).remove(0) {
                let counted = usize::from(found.is_ended && convention == Convention::HuggingFace);
                let length = (found.tokens.len() + counted).max(1) as f64;
                assert!((found.score * length - found.log_prob).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn early_stopping_ends_at_as_many_texts_as_beams() {
    let steps = |early_stopping: bool| {
        let decoding = Decoding { early_stopping, length_penalty: 2.0, ..beams(2, 40) };
        let search = Search { decoding: &decoding, convention: Convention::Glm, ends: &[END] };
        let mut steps = 0;
        // The other token is always more probable than the end, and longer texts score better.
        let step = |extensions: &[Extension]| Ok::<_, Error>(vec![vec![0.0, 1.0]; extensions.len()]);
        let rows = [Row { max_new_tokens: 40, ..Row::default() }];
        decode(&rows, search, vec![vec![0.0, 1.0]], step, |_| steps += 1).expect("logits are numbers");
        steps
    };
    assert_eq!((steps(true), steps(false)), (2, 40));
}

#[test]
fn a_row_without_any_token_left_ends_with_what_it_has() {
    // Each of the three tokens once, then none is left; the end never comes.
    let decoding = Decoding { no_repeat_ngram_size: 1, min_new_tokens: 9, ..Decoding::greedy(9) };
    for convention in [Convention::Glm, Convention::HuggingFace] {
        let found = decode_rows(&[5], &decoding, convention).remove(0).remove(0);
        assert_eq!((found.tokens.len(), found.is_ended), (3, false));
    }
}

#[test]
fn a_search_ends_at_logits_that_are_no_numbers() {
    for steps in [0, 1] {
        let decoding = beams(2, 4);
        let search = Search { decoding: &decoding, convention: Convention::HuggingFace, ends: &[END] };
        let first = if steps == 0 { vec![f32::NAN; 4] } else { logits(1, &[]) };
        let step = |extensions: &[Extension]| Ok::<_, Error>(vec![vec![f32::NAN; 4]; extensions.len()]);
        let rows = [Row { max_new_tokens: 4, ..Row::default() }];
        let found = decode(&rows, search, vec![first], step, |_| ());
        assert!(found.expect_err("no text can be found").to_string().contains("is NaN"));
    }
}

#[test]
fn settled_tokens_are_never_taken_back() {
    let decoding = Decoding { length_penalty: 0.7, ..beams(3, 12) };
    let search = Search { decoding: &decoding, convention: Convention::Glm, ends: &[END] };
    for row in 0..20 {
        let mut texts = vec![vec![]];
        let step = |extensions: &[Extension]| {
            texts = extensions.iter().map(|e| [texts[e.parent].as_slice(), &[e.token]].concat()).collect();
            Ok::<_, Error>(texts.iter().map(|text: &Vec<u32>| logits(row, text)).collect())
        };
        let mut shown: Vec<u32> = Vec::new();
        let watch = |progress: &Progress| {
            assert!(progress.settled().starts_with(&shown));
            shown = progress.settled().to_vec();
        };
        let rows = [Row { max_new_tokens: 12, ..Row::default() }];
        let found = decode(&rows, search, vec![logits(row, &[])], step, watch).expect("logits are numbers");
        assert_eq!(shown, found[0][0].tokens);
    }
}

proptest! {
    #[test]
    fn a_text_does_not_depend_on_its_batch(
        rows in proptest::collection::vec(0..50usize, 1..6),
        num_beams in 1..5usize,
        length_penalty in 0.0..2.0,
        ngram in 0..3usize,
        is_glm: bool,
        is_drawn: bool,
    ) {
        let sampling = is_drawn.then_some(Sampling { temperature: 0.8, top_p: 0.9, seed: 0 });
        let num_beams = if is_drawn { 1 } else { num_beams };
        let decoding = Decoding {
            length_penalty, no_repeat_ngram_size: ngram, sampling, min_new_tokens: 2, ..beams(num_beams, 8)
        };
        let convention = if is_glm { Convention::Glm } else { Convention::HuggingFace };
        let together = decode_rows(&rows, &decoding, convention);
        for (row, found) in rows.iter().zip(together) {
            prop_assert!(!found.is_empty() && found.len() <= num_beams);
            prop_assert_eq!(&decode_rows(&[*row], &decoding, convention)[0], &found);
            for hypothesis in &found {
                prop_assert!(hypothesis.tokens.len() >= 2 && hypothesis.tokens.len() <= 8);
                let sum: f64 = (0..hypothesis.tokens.len())
                    .map(|i| log_prob(*row, &hypothesis.tokens[..i], hypothesis.tokens[i])).sum();
                let end = if hypothesis.is_ended { log_prob(*row, &hypothesis.tokens, END) } else { 0.0 };
                prop_assert!((sum + end - hypothesis.log_prob).abs() < 1e-6);
            }
        }
    }
}
