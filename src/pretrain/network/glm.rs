//! GLM: a prefix whose tokens see each other, then what is read left to right.

use candle_core::{Result, Tensor};

use super::{Network, num_targets, targets};
use crate::model::glm::{Batch, Config, Glm};
use crate::model::{Architecture, Build, ModelError, Parameters, weights};
use crate::nn::{self, Dropout, Layout, Precision, Sequence};
use crate::objective::Example;

/// GLM.
pub(super) struct GlmNetwork {
    glm: Glm,
    parameters: Parameters,
}

impl GlmNetwork {
    pub(super) fn new(config: Config, build: &Build) -> std::result::Result<Self, ModelError> {
        let config = Config {
            embedding_dropout_prob: build.dropout,
            attention_dropout_prob: build.dropout,
            output_dropout_prob: build.dropout,
            ..config
        };
        let parameters = weights::parameters(&config, None, build)?;
        let precision = Precision::of(build.dtype, &build.device).1;
        Ok(Self { glm: Glm::new(&config, precision, parameters.var_builder())?, parameters })
    }
}

impl Network for GlmNetwork {
    fn architecture(&self) -> &dyn Architecture {
        self.glm.config()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn loss(&self, examples: &[Example], dropout: &Dropout) -> Result<Tensor> {
        let mut batch = Batch::default();
        for example in examples {
            batch.ids.extend(&example.input_ids);
            batch.positions.extend(&example.positions);
            batch.block_positions.extend(&example.block_positions);
        }
        batch.layout = Layout::new(sequences(examples));
        let hidden = self.glm.forward(&batch, dropout)?; // [t, h]
        let (places, targets) = targets(examples);
        let rows = nn::embedding(&hidden, &places)?; // [m, h]
        nn::mean_linear_cross_entropy(&rows, self.glm.word_embeddings(), &targets, 0.0, self.glm.precision())
    }

    fn forward_flops(&self, examples: &[Example]) -> u64 {
        self.glm.config().forward_flops(&sequences(examples), num_targets(examples))
    }
}

fn sequences(examples: &[Example]) -> Vec<Sequence> {
    examples.iter().map(|example| Sequence::prefix_lm(example.len(), example.prefix_length)).collect()
}
