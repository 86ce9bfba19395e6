//! Which blanks GLM's objective makes: the official options, and the mixes of published models.

use serde::{Deserialize, Serialize};

/// Which blanks are made, under the names of the official options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an official option")]
pub struct BlankOptions {
    /// Share of the batches with blanks of a few tokens.
    pub bert_prob: f64,
    /// Share of the batches with blanks of whole sentences; the rest has one long blank a row.
    pub gap_sentence_prob: f64,
    /// Share of a row that short blanks take.
    pub bert_ratio: f64,
    /// Share of a row that sentences take, at least.
    pub gap_sentence_ratio: f64,
    /// Mean of the Poisson distribution that short lengths follow, before 0 is excluded.
    pub average_block_length: f64,
    /// Short blanks have fewer tokens than this.
    pub max_block_length: usize,
    /// A long blank has at least this share of the batch's shortest row.
    pub gpt_min_ratio: f64,
    /// Of the rows with a long blank that could lie anywhere, the share where it is the end of the row.
    pub gpt_infill_prob: f64,
    /// Share of the tokens in short pieces that the network reads as `[dBLOCK]`.
    pub block_mask_prob: f64,
    /// Share of the batches whose rows are cut into shorter ones.
    pub short_seq_prob: f64,
    /// Share of the batches with one short blank a row.
    pub single_span_prob: f64,
    /// Pieces in random order, or in that of the text?
    pub shuffle_blocks: bool,
    /// `[sMASK]` for sentences and `[gMASK]` for long blanks, in place of `[MASK]`?
    pub task_mask: bool,
    /// Positions inside of pieces count on; else they are all 1.
    pub block_position_encoding: bool,
    /// Rows begin at a random position?
    pub random_position: bool,
    /// A mask and a start token of its own for each blank, and no position of its mask in its piece (the paper's
    /// ablation)? They are the ids behind the tokenizer's last: two for each blank after the first.
    pub sentinel_token: bool,
}

impl Default for BlankOptions {
    /// Those of the published base and large models.
    fn default() -> Self {
        Self {
            bert_prob: 1.0,
            gap_sentence_prob: 0.0,
            bert_ratio: 0.15,
            gap_sentence_ratio: 0.15,
            average_block_length: 3.0,
            max_block_length: 40,
            gpt_min_ratio: 0.5,
            gpt_infill_prob: 0.5,
            block_mask_prob: 0.0,
            short_seq_prob: 0.0,
            single_span_prob: 0.0,
            shuffle_blocks: true,
            task_mask: false,
            block_position_encoding: true,
            random_position: false,
            sentinel_token: false,
        }
    }
}

/// The name of a model, and how its blanks were drawn.
type Mix = (&'static str, fn() -> BlankOptions);

impl BlankOptions {
    /// The mixes of published models.
    ///
    /// Source: Du et al. 2022, section 3.1 (`glm-sent`, `glm-doc`: half of the batches have short blanks);
    /// THUDM/GLM@4f61ed7 `config/` (the others).
    const MIXES: [Mix; 5] = [
        ("glm-base", Self::default),
        ("glm-sent", || Self { bert_prob: 0.5, gap_sentence_prob: 0.5, task_mask: true, ..Self::default() }),
        ("glm-doc", || Self { bert_prob: 0.5, task_mask: true, ..Self::default() }),
        ("glm-10b", || Self {
            bert_prob: 0.5,
            gap_sentence_prob: 0.3,
            gpt_min_ratio: 0.25,
            block_mask_prob: 0.1,
            short_seq_prob: 0.02,
            task_mask: true,
            ..Self::default()
        }),
        ("glm-10b-longer", || Self {
            bert_prob: 0.4,
            gap_sentence_prob: 0.3,
            gpt_min_ratio: 0.25,
            block_mask_prob: 0.1,
            short_seq_prob: 0.5,
            single_span_prob: 0.05,
            task_mask: true,
            ..Self::default()
        }),
    ];

    /// A published mix by the name of its model.
    pub fn named(name: &str) -> Option<Self> {
        Self::MIXES.iter().find(|(known, _)| *known == name).map(|(_, options)| options())
    }

    /// The names that [`BlankOptions::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::MIXES.iter().map(|(name, _)| *name)
    }

    /// The first option that makes no sense, in words.
    pub fn problem(&self) -> Option<String> {
        let shares = [
            ("bert_prob", self.bert_prob),
            ("gap_sentence_prob", self.gap_sentence_prob),
            ("bert_ratio", self.bert_ratio),
            ("gap_sentence_ratio", self.gap_sentence_ratio),
            ("gpt_min_ratio", self.gpt_min_ratio),
            ("gpt_infill_prob", self.gpt_infill_prob),
            ("block_mask_prob", self.block_mask_prob),
            ("short_seq_prob", self.short_seq_prob),
            ("single_span_prob", self.single_span_prob),
        ];
        if let Some((name, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Some(format!("{name} is {share}; a share is from 0 to 1"));
        }
        let both = self.bert_prob + self.gap_sentence_prob;
        if both > 1.0 + 1e-9 {
            return Some(format!(
                "bert_prob and gap_sentence_prob are {both} together; they may be at most 1"
            ));
        }
        if !(self.average_block_length > 0.0 && self.average_block_length <= 100.0) {
            return Some(format!(
                "average_block_length is {}; it is above 0 and at most 100",
                self.average_block_length
            ));
        }
        (!(2..=1000).contains(&self.max_block_length))
            .then(|| format!("max_block_length is {}; it is from 2 to 1000", self.max_block_length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_options_are_named() {
        let problem = |change: fn(&mut BlankOptions)| {
            let mut options = BlankOptions::default();
            change(&mut options);
            options.problem().unwrap_or_default()
        };
        assert_eq!(problem(|_| ()), "");
        assert!(problem(|o| o.gap_sentence_prob = 0.5).contains("1.5 together"));
        assert!(problem(|o| o.bert_ratio = f64::NAN).contains("bert_ratio is NaN"));
        assert!(problem(|o| o.max_block_length = 1).contains("max_block_length is 1"));
        assert!(BlankOptions::names().all(|name| BlankOptions::named(name).unwrap().problem().is_none()));
    }
}
