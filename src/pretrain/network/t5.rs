//! T5: the encoder reads an example's prefix, and the decoder the rest, which begins with its start token.

use candle_core::{Result, Tensor};

use super::{Network, num_targets};
use crate::model::encoder_decoder::EncoderDecoder;
use crate::model::t5::{Config, T5};
use crate::model::{Architecture, Build, ModelError, Parameters, weights};
use crate::nn::{self, Dropout, Layout, Precision, Sequence};
use crate::objective::Example;
use crate::tokenizer::SpecialTokens;

/// An encoder and a decoder.
pub(super) struct T5Network {
    t5: T5,
    parameters: Parameters,
}

impl T5Network {
    pub(super) fn new(config: Config, build: &Build) -> std::result::Result<Self, ModelError> {
        let config = Config { dropout_rate: build.dropout, ..config };
        let parameters = weights::parameters(&config, None, build)?;
        let precision = Precision::of(build.dtype, &build.device).1;
        Ok(Self { t5: T5::new(&config, precision, parameters.var_builder())?, parameters })
    }
}

impl Network for T5Network {
    fn architecture(&self) -> &dyn Architecture {
        self.t5.config()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn loss(&self, examples: &[Example], dropout: &Dropout) -> Result<Tensor> {
        let (mut text, mut ids, mut places, mut targets) = (vec![], vec![], vec![], vec![]);
        for example in examples {
            text.extend(&example.input_ids[..example.prefix_length]);
            for i in example.prefix_length..example.len() {
                if example.loss_mask[i] {
                    places.push(ids.len() as u32);
                    targets.push(example.targets[i]);
                }
                ids.push(example.input_ids[i]);
            }
        }
        let (lengths, decoder) = layouts(examples);
        let sight = self.t5.look(&self.t5.encode(&text, &lengths, dropout)?)?;
        let texts: Vec<usize> = (0..examples.len()).collect();
        let hidden = self.t5.decode((&sight, &texts), (&ids, &decoder), None, dropout)?; // [t, h]
        let rows = nn::embedding(&hidden, &places)?; // [m, h]
        nn::mean_linear_cross_entropy(&rows, self.t5.lm_head(), &targets, 0.0, self.t5.precision())
    }

    fn forward_flops(&self, examples: &[Example]) -> u64 {
        let (lengths, decoder) = layouts(examples);
        self.t5.config().forward_flops(&lengths, &decoder, num_targets(examples))
    }

    fn token_ids(&self, special: &SpecialTokens) -> Vec<(&'static str, u32, u32)> {
        let config = self.t5.config();
        vec![
            ("decoder_start_token_id", config.decoder_start_token_id, special.pad),
            ("eos_token_id", config.eos_token_id, special.sep),
        ]
    }
}

/// Tokens of each text, and how the decoder's tokens lie.
fn layouts(examples: &[Example]) -> (Vec<usize>, Layout) {
    let lengths = examples.iter().map(|example| example.prefix_length).collect();
    let decoder = |example: &Example| Sequence::pieces(0, vec![example.len() - example.prefix_length]);
    (lengths, Layout::new(examples.iter().map(decoder).collect()))
}
