//! Span corruption, T5's objective: spans are replaced by sentinels in what the encoder reads, and the decoder gives
//! each sentinel with its span.
//!
//! Source: Raffel et al. 2020, section 3.3.4; google-research/text-to-text-transfer-transformer
//! `t5/data/preprocessors.py`, `random_spans_noise_mask`, with its `random_roll`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Draws, Example, Objective, Vocabulary, shuffle};

/// What is hidden.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpanOptions {
    /// Share of the tokens in spans.
    pub noise_density: f64,
    /// Mean length of a span.
    pub mean_noise_span_length: f64,
    /// May spans lie anywhere? Else rows begin with text and end with a span, so that short rows have one at their end alone.
    pub random_roll: bool,
}

impl Default for SpanOptions {
    fn default() -> Self {
        Self { noise_density: 0.15, mean_noise_span_length: 3.0, random_roll: false }
    }
}

impl SpanOptions {
    /// The first option that makes no sense, in words.
    pub fn problem(&self) -> Option<String> {
        if !(self.noise_density > 0.0 && self.noise_density < 1.0) {
            return Some(format!("noise_density is {}; it is above 0 and below 1", self.noise_density));
        }
        let mean = self.mean_noise_span_length;
        (!(1.0..=1000.0).contains(&mean))
            .then(|| format!("mean_noise_span_length is {mean}; it is from 1 to 1000"))
    }

    /// How many tokens of so many are hidden, and in how many spans.
    fn noise(&self, len: usize) -> (usize, usize) {
        let tokens = ((len as f64 * self.noise_density).round() as usize).clamp(1, len - 1);
        let spans = ((tokens as f64 / self.mean_noise_span_length).round() as usize).max(1);
        (tokens, spans.min(tokens).min(len - tokens))
    }

    /// Sentinels that a row of so many tokens may need.
    pub fn num_sentinels(&self, max_length: usize) -> usize {
        self.noise(max_length.max(2)).1 + usize::from(self.random_roll)
    }

    /// Which of so many tokens are hidden.
    fn mask(&self, len: usize, max_spans: usize, draws: &mut dyn Draws) -> Vec<bool> {
        let (num_hidden, num_spans) = self.noise(len);
        let num_spans = num_spans.min(max_spans);
        let hidden = segments(num_hidden, num_spans, draws);
        let kept = segments(len - num_hidden, num_spans, draws);
        let pairs = kept.into_iter().zip(hidden);
        let mut mask: Vec<bool> =
            pairs.flat_map(|(kept, hidden)| [vec![false; kept], vec![true; hidden]].concat()).collect();
        if self.random_roll {
            mask.rotate_right(draws.below(len)); // one span may be cut in two
        }
        mask
    }
}

/// Makes examples of span corruption. The prefix is what the encoder reads; the rest is the decoder's, which starts
/// with the padding token. `[SEP]` ends both, as the end of text is the padding token in GLM's vocabularies.
pub struct SpanCorruption {
    options: SpanOptions,
    vocabulary: Arc<Vocabulary>,
    sentinels: Vec<u32>,
}

/// Text that can be hidden in part.
const SHORTEST_TEXT: usize = 2;

impl SpanCorruption {
    /// `sentinels` are the ids of T5's `<extra_id_0>`, `<extra_id_1>` and so on; a row has no more spans than there are, and
    /// with `random_roll` one fewer.
    pub fn new(options: SpanOptions, vocabulary: Arc<Vocabulary>, sentinels: Vec<u32>) -> Self {
        Self { options, vocabulary, sentinels }
    }

    fn example(&self, row: &[u32], draws: &mut dyn Draws) -> Option<Example> {
        let special = &self.vocabulary.special;
        // T5 has no start token.
        let text = row.iter().filter(|&&id| id != special.cls);
        let text: Vec<u32> = text.map(|&id| if id == special.eos { special.sep } else { id }).collect();
        if text.len() < SHORTEST_TEXT {
            return None;
        }
        let max_spans = self.sentinels.len() - usize::from(self.options.random_roll);
        let mask = self.options.mask(text.len(), max_spans, draws);
        let (mut encoder, mut decoder, mut at) = (Vec::new(), vec![special.pad], 0);
        let mut sentinels = self.sentinels.iter();
        for run in mask.chunk_by(|a, b| a == b) {
            let tokens = &text[at..at + run.len()];
            at += run.len();
            if run[0] {
                let &sentinel = sentinels.next().expect("there is one more than spans where one may be cut");
                encoder.push(sentinel);
                decoder.push(sentinel);
                decoder.extend(tokens);
            } else {
                encoder.extend(tokens);
            }
        }
        encoder.push(special.sep);
        decoder.push(special.sep);
        let (prefix_length, len) = (encoder.len(), decoder.len() - 1);
        let of_both = |prefix: &[u32], decoder: &[u32]| [prefix, decoder].concat();
        Some(Example {
            targets: of_both(&encoder, &decoder[1..]),
            loss_mask: [vec![false; prefix_length], vec![true; len]].concat(),
            positions: (0..prefix_length as u32).chain(0..len as u32).collect(),
            block_positions: std::iter::repeat_n(0, prefix_length).chain(1..=len as u32).collect(),
            input_ids: of_both(&encoder, &decoder[..len]),
            prefix_length,
        })
    }
}

/// Cuts a length into so many parts of at least 1; all ways are equally likely.
fn segments(len: usize, count: usize, draws: &mut dyn Draws) -> Vec<usize> {
    let mut is_start: Vec<bool> = (1..len).map(|i| i < count).collect(); // of the tokens after the first
    shuffle(&mut is_start, draws);
    let mut lengths = vec![1];
    for starts in is_start {
        match starts {
            true => lengths.push(1),
            false => *lengths.last_mut().expect("there is one") += 1,
        }
    }
    lengths
}

impl Objective for SpanCorruption {
    fn examples(&self, rows: &[Vec<u32>], draws: &mut dyn Draws) -> Vec<Example> {
        rows.iter().filter_map(|row| self.example(row, draws)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::tokenizer::Tokenizer;

    fn examples(rows: &[Vec<u32>], random_roll: bool) -> Vec<Example> {
        let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
        let options = SpanOptions { random_roll, ..SpanOptions::default() };
        let objective = SpanCorruption::new(options, vocabulary, (9000..9020).collect());
        objective.examples(rows, &mut ChaCha8Rng::seed_from_u64(9))
    }

    #[test]
    fn the_sentinels_of_the_decoder_fill_those_of_the_encoder() {
        let special = Tokenizer::builtin().special().unwrap().clone();
        let row: Vec<u32> = std::iter::once(special.cls).chain(100..200).collect();
        let (whole, rolled) = (examples(&vec![row.clone(); 50], false), examples(&vec![row; 50], true));
        let first_is_kept = |example: &&Example| example.input_ids[0] == 100;
        assert_eq!(whole.iter().filter(first_is_kept).count(), 50);
        // 15 % of 100 tokens: of 50 rows, 42.5 begin with a token that is kept; four standard errors are 10.
        assert!((33..50).contains(&rolled.iter().filter(first_is_kept).count()));
        for (i, example) in whole.iter().chain(&rolled).enumerate() {
            let (encoder, decoder) = example.targets.split_at(example.prefix_length);
            assert_eq!((encoder.last(), decoder.last()), (Some(&special.sep), Some(&special.sep)));
            assert_eq!(example.input_ids[example.prefix_length], special.pad);
            // 15 % of 100 tokens in 15 / 3 spans, of which one may be cut where rows are rolled.
            let is_cut = usize::from(i >= 50 && encoder[0] > 8192 && encoder[encoder.len() - 2] > 8192);
            assert_eq!(decoder.len(), 15 + 5 + is_cut + 1);
            let mut filled = Vec::new();
            for &id in &encoder[..encoder.len() - 1] {
                match decoder.iter().position(|&other| other == id && id > 8192) {
                    Some(at) => {
                        filled.extend(decoder[at + 1..].iter().take_while(|&&id| (100..200).contains(&id)));
                    }
                    None => filled.push(id),
                }
            }
            assert_eq!(filled, (100..200).collect::<Vec<u32>>());
        }
    }

    #[test]
    fn lengths_are_cut_in_all_ways_alike() {
        // 5 in 3 parts: the two cuts lie in 4 places, 6 ways.
        let mut draws = ChaCha8Rng::seed_from_u64(2);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            *counts.entry(segments(5, 3, &mut draws)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        // Four standard errors of a count: 4 √(6000 · 1/6 · 5/6) = 115.
        assert!(counts.values().all(|count: &i32| (count - 1000).abs() < 116), "{counts:?}");
    }

    #[test]
    fn a_row_of_one_token_makes_no_example() {
        assert!(examples(&[vec![Tokenizer::builtin().special().unwrap().cls, 100]], false).is_empty());
    }
}
