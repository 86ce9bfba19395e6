//! Masked language modelling, BERT's objective: some tokens are hidden, and predicted from both sides.
//!
//! Source: Devlin et al. 2019, section 3.1; google-research/bert `create_pretraining_data.py`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Draws, Example, Objective, Vocabulary};

/// What is hidden, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedLmOptions {
    /// Share of the tokens that are predicted.
    pub masked_lm_prob: f64,
    /// Of these, the share that the network reads as `[MASK]`.
    pub mask_share: f64,
    /// Of these, the share that it reads as some other token; the rest it reads as they are.
    pub random_share: f64,
}

impl Default for MaskedLmOptions {
    fn default() -> Self {
        Self { masked_lm_prob: 0.15, mask_share: 0.8, random_share: 0.1 }
    }
}

impl MaskedLmOptions {
    /// The first option that makes no sense, in words.
    pub fn problem(&self) -> Option<String> {
        let shares = [
            ("masked_lm_prob", self.masked_lm_prob),
            ("mask_share", self.mask_share),
            ("random_share", self.random_share),
            ("mask_share and random_share together", self.mask_share + self.random_share),
        ];
        let (name, share) = shares.into_iter().find(|(_, share)| !(0.0..=1.0 + 1e-9).contains(share))?;
        Some(format!("{name} is {share}; a share is from 0 to 1"))
    }
}

/// Makes examples of masked language modelling. A text ends in `[SEP]`, as it does when BERT is asked: in GLM's
/// vocabularies the end of text is the padding token.
pub struct MaskedLm {
    options: MaskedLmOptions,
    vocabulary: Arc<Vocabulary>,
}

impl MaskedLm {
    /// With these shares.
    pub fn new(options: MaskedLmOptions, vocabulary: Arc<Vocabulary>) -> Self {
        Self { options, vocabulary }
    }

    fn example(&self, row: &[u32], draws: &mut dyn Draws) -> Option<Example> {
        let special = &self.vocabulary.special;
        let is_text = |&i: &usize| row[i] != special.cls && row[i] != special.eos;
        let mut places: Vec<usize> = (0..row.len()).filter(is_text).collect();
        let row: Vec<u32> = row.iter().map(|&id| if id == special.eos { special.sep } else { id }).collect();
        let count = (places.len() as f64 * self.options.masked_lm_prob).round().max(1.0) as usize;
        let mut example = Example {
            loss_mask: vec![false; row.len()],
            positions: (0..row.len() as u32).collect(),
            block_positions: vec![0; row.len()],
            prefix_length: row.len(),
            input_ids: row.clone(),
            targets: row,
        };
        for drawn in 0..count.min(places.len()) {
            let other = drawn + draws.below(places.len() - drawn);
            places.swap(drawn, other);
            let place = places[drawn];
            example.loss_mask[place] = true;
            let how = draws.unit();
            if how < self.options.mask_share {
                example.input_ids[place] = special.mask;
            } else if how < self.options.mask_share + self.options.random_share {
                example.input_ids[place] = draws.below(self.vocabulary.num_tokens) as u32;
            }
        }
        (!places.is_empty()).then_some(example)
    }
}

impl Objective for MaskedLm {
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

    #[test]
    fn of_the_hidden_tokens_eight_in_ten_are_masks_and_one_in_ten_is_another() {
        let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
        let (cls, mask) = (vocabulary.special.cls, vocabulary.special.mask);
        let row: Vec<u32> = std::iter::once(cls).chain(100..300).collect();
        let objective = MaskedLm::new(MaskedLmOptions::default(), vocabulary);
        let mut draws = ChaCha8Rng::seed_from_u64(5);
        let (mut hidden, mut masks, mut others) = (0, 0, 0);
        for example in objective.examples(&vec![row.clone(); 500], &mut draws) {
            assert_eq!((example.num_targets(), &example.targets), (30, &row)); // 15 % of 200
            assert!(!example.loss_mask[0], "[CLS] is never hidden");
            for (i, &id) in row.iter().enumerate().filter(|(i, _)| example.loss_mask[*i]) {
                hidden += 1;
                masks += usize::from(example.input_ids[i] == mask);
                others += usize::from(example.input_ids[i] != mask && example.input_ids[i] != id);
            }
            let is_kept = |i: usize| example.loss_mask[i] || example.input_ids[i] == row[i];
            assert!((0..row.len()).all(is_kept), "what is not predicted stays");
        }
        // Four standard errors of shares of 15000: 0.013 at 0.8, 0.010 at 0.1.
        let share = |count: usize| count as f64 / f64::from(hidden);
        assert!((share(masks) - 0.8).abs() < 0.013, "{}", share(masks));
        assert!((share(others) - 0.1).abs() < 0.010, "{}", share(others));
    }

    #[test]
    fn a_text_ends_in_the_separator_which_is_not_hidden() {
        let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
        let special = vocabulary.special.clone();
        let row = [vec![special.cls], (100..120).collect(), vec![special.eos]].concat();
        let options = MaskedLmOptions { masked_lm_prob: 1.0, ..MaskedLmOptions::default() };
        let mut draws = ChaCha8Rng::seed_from_u64(3);
        let example = MaskedLm::new(options, vocabulary).examples(&[row], &mut draws).remove(0);
        assert_eq!(example.input_ids.last(), Some(&special.sep));
        assert_eq!(example.loss_mask, [vec![false], vec![true; 20], vec![false]].concat());
    }

    #[test]
    fn a_row_without_text_makes_no_example() {
        let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
        let rows = [vec![vocabulary.special.cls, vocabulary.special.eos]];
        let objective = MaskedLm::new(MaskedLmOptions::default(), vocabulary);
        assert!(objective.examples(&rows, &mut ChaCha8Rng::seed_from_u64(0)).is_empty());
    }
}
