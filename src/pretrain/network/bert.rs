//! BERT and RoBERTa: every token sees all of its row, and logits are computed where a token was hidden.

use candle_core::{Result, Tensor};

use super::{Network, num_targets, targets};
use crate::model::bert::{Batch, Bert, Config, MaskedLmHead};
use crate::model::{Architecture, Build, ModelError, Parameters, weights};
use crate::nn::{self, Dropout, Layout, Precision, Sequence};
use crate::objective::Example;

/// An encoder with its head for masked tokens.
pub(super) struct BertNetwork {
    bert: Bert,
    head: MaskedLmHead,
    parameters: Parameters,
    precision: Precision,
}

impl BertNetwork {
    pub(super) fn new(config: Config, build: &Build) -> std::result::Result<Self, ModelError> {
        let dropout = build.dropout;
        let config = Config { hidden_dropout_prob: dropout, attention_probs_dropout_prob: dropout, ..config };
        let parameters = weights::parameters(&config, None, build)?;
        let precision = Precision::of(build.dtype, &build.device).1;
        let (bert, head) = (parameters.var_builder(), parameters.var_builder());
        Ok(Self {
            bert: Bert::new(&config, precision, bert)?,
            head: MaskedLmHead::new(&config, precision, head)?,
            parameters,
            precision,
        })
    }
}

impl Network for BertNetwork {
    fn architecture(&self) -> &dyn Architecture {
        self.bert.config()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn loss(&self, examples: &[Example], dropout: &Dropout) -> Result<Tensor> {
        let first = self.bert.config().first_position() as u32;
        let mut batch = Batch::default();
        for example in examples {
            batch.ids.extend(&example.input_ids);
            batch.positions.extend(example.positions.iter().map(|position| first + position));
        }
        batch.token_types = vec![0; batch.ids.len()];
        let whole = |example: &Example| Sequence::pieces(example.len(), vec![]);
        batch.layout = Layout::new(examples.iter().map(whole).collect());
        let hidden = self.bert.forward(&batch, dropout)?; // [t, h]
        let (places, targets) = targets(examples);
        let rows = self.head.transform(&nn::embedding(&hidden, &places)?)?; // [m, h]
        nn::mean_linear_cross_entropy(&rows, self.head.output(), &targets, 0.0, self.precision)
    }

    fn forward_flops(&self, examples: &[Example]) -> u64 {
        let lengths: Vec<usize> = examples.iter().map(Example::len).collect();
        self.bert.config().forward_flops(&lengths, num_targets(examples))
    }
}
