//! GPT-2: every token sees what comes before it.

use candle_core::{Result, Tensor};

use super::{Network, num_targets, targets};
use crate::model::causal::{Batch, Network as _};
use crate::model::gpt2::{Config, Gpt2};
use crate::model::{Architecture, Build, ModelError, Parameters, weights};
use crate::nn::{self, Dropout, Precision, Sequence};
use crate::objective::Example;
use crate::tokenizer::SpecialTokens;

/// A GPT-2.
pub(super) struct Gpt2Network {
    gpt2: Gpt2,
    config: Config,
    parameters: Parameters,
}

impl Gpt2Network {
    pub(super) fn new(config: Config, build: &Build) -> std::result::Result<Self, ModelError> {
        let dropout = build.dropout;
        let config = Config { embd_pdrop: dropout, attn_pdrop: dropout, resid_pdrop: dropout, ..config };
        let parameters = weights::parameters(&config, None, build)?;
        let precision = Precision::of(build.dtype, &build.device).1;
        Ok(Self { gpt2: Gpt2::new(&config, precision, parameters.var_builder())?, config, parameters })
    }
}

impl Network for Gpt2Network {
    fn architecture(&self) -> &dyn Architecture {
        &self.config
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn loss(&self, examples: &[Example], dropout: &Dropout) -> Result<Tensor> {
        let batch = Batch::texts(examples.iter().map(|example| (0, &example.input_ids[..])));
        let hidden = self.gpt2.forward(&batch, dropout)?; // [t, h]
        let (places, targets) = targets(examples);
        let (rows, table) = (nn::embedding(&hidden, &places)?, self.gpt2.output_embeddings()); // [m, h], [v, h]
        nn::mean_linear_cross_entropy(&rows, table, &targets, 0.0, self.gpt2.precision())
    }

    fn forward_flops(&self, examples: &[Example]) -> u64 {
        let sequences: Vec<Sequence> =
            examples.iter().map(|example| Sequence::causal(example.len(), vec![])).collect();
        self.config.forward_flops(&sequences, num_targets(examples))
    }

    fn token_ids(&self, special: &SpecialTokens) -> Vec<(&'static str, u32, u32)> {
        let ends = &self.config.ends;
        let ids = [
            ("bos_token_id", ends.bos_token_id, special.cls),
            ("eos_token_id", ends.eos_token_id, special.eos),
        ];
        ids.into_iter().filter_map(|(key, id, expected)| Some((key, id?, expected))).collect()
    }
}
