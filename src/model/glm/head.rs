//! Classification head over pooled hidden states.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::nn::{self, Dropout, Precision};

/// The token whose hidden state stands for the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The first token.
    #[default]
    Cls,
    /// The first token after the prefix.
    Start,
    /// The last token of the prefix.
    Pad,
}

/// A tanh pooler and a linear layer.
///
/// Source: THUDM/GLM@4f61ed7 `model/downstream.py`, `GLMForSequenceClassification`.
#[derive(Clone, Debug)]
pub struct Head {
    pooler: (Tensor, Tensor),     // [h, h], [h]
    classifier: (Tensor, Tensor), // [classes, h], [classes]
    dropout_prob: f64,
}

impl Head {
    /// Finds `pool_layer` and `multichoice_head` under their official names.
    pub fn new(hidden_size: usize, num_classes: usize, dropout_prob: f64, vb: VarBuilder) -> Result<Self> {
        let linear = |vb: VarBuilder, outputs: usize| -> Result<(Tensor, Tensor)> {
            Ok((vb.get((outputs, hidden_size), "weight")?, vb.get(outputs, "bias")?))
        };
        Ok(Self {
            pooler: linear(vb.pp("pool_layer"), hidden_size)?,
            classifier: linear(vb.pp("multichoice_head"), num_classes)?,
            dropout_prob,
        })
    }

    /// # Shapes
    /// - `pooled`: `[b, h]`, the pooled tokens' final hidden states; output: `[b, classes]`
    pub fn forward(&self, pooled: &Tensor, dropout: &Dropout) -> Result<Tensor> {
        let (weight, bias) = &self.pooler;
        let dropped = dropout.apply(pooled, self.dropout_prob)?;
        let pooled = nn::linear(&dropped, weight, Some(bias), Precision::F32)?.tanh()?;
        let (weight, bias) = &self.classifier;
        nn::linear(&dropout.apply(&pooled, self.dropout_prob)?, weight, Some(bias), Precision::F32)
    }
}
