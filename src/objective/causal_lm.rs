//! Left to right: every token predicts the next one. The objective of GPT.

use std::sync::Arc;

use super::{Draws, Example, Objective, Vocabulary};

/// Makes examples of causal language modelling.
pub struct CausalLm {
    vocabulary: Arc<Vocabulary>,
}

impl CausalLm {
    /// Draws nothing.
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary }
    }
}

impl Objective for CausalLm {
    fn examples(&self, rows: &[Vec<u32>], _: &mut dyn Draws) -> Vec<Example> {
        let example = |row: &Vec<u32>| {
            let (input_ids, targets) = (row[..row.len() - 1].to_vec(), row[1..].to_vec());
            let len = input_ids.len();
            Example {
                // The start token of a further document is given, not predicted.
                loss_mask: targets.iter().map(|&id| id != self.vocabulary.special.cls).collect(),
                positions: (0..len as u32).collect(),
                block_positions: vec![0; len],
                prefix_length: 0,
                input_ids,
                targets,
            }
        };
        rows.iter().filter(|row| row.len() > 1).map(example).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::tokenizer::Tokenizer;

    #[test]
    fn every_token_predicts_the_next_but_not_the_start_of_a_document() {
        let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
        let (cls, eos) = (vocabulary.special.cls, vocabulary.special.eos);
        let rows = [vec![cls, 50, 51, eos, cls, 52], vec![cls]];
        let examples = CausalLm::new(vocabulary).examples(&rows, &mut ChaCha8Rng::seed_from_u64(0));
        let [example] = &examples[..] else { panic!("one of the rows is too short") };
        assert_eq!(example.input_ids, [cls, 50, 51, eos, cls]);
        assert_eq!(example.targets, [50, 51, eos, cls, 52]);
        assert_eq!(example.loss_mask, [true, true, true, false, true]);
        assert_eq!((example.prefix_length, &example.positions[..]), (0, &[0, 1, 2, 3, 4][..]));
    }
}
