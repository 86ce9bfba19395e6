//! The network of BERT and RoBERTa, top to bottom.
//!
//! A post-norm transformer: token, position and token-type embeddings and a norm; layers of attention and a
//! feed-forward network, each added to its input and then normalised. Heads read its last hidden states.
//!
//! Source: Devlin et al. 2019; Liu et al. 2019; huggingface/transformers `modeling_bert.py`, `modeling_roberta.py`.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::config::Activation;
use super::{Batch, Config};
use crate::model::Family;
use crate::model::layers::{LayerNorm, Linear};
use crate::nn::{self, Dropout, OutputLayer, Precision, Scores};

/// An encoder without heads: from tokens to hidden states.
#[derive(Clone, Debug)]
pub struct Bert {
    word_embeddings: Tensor,       // [v, h]
    position_embeddings: Tensor,   // [p, h]
    token_type_embeddings: Tensor, // [types, h]
    norm: LayerNorm,
    layers: Vec<Layer>,
    config: Config,
}

impl Bert {
    /// Finds its weights under the published names.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let (h, model) = (config.hidden_size, vb.pp(config.prefix()));
        let (embeddings, layers) = (model.pp("embeddings"), model.pp("encoder.layer"));
        let table = |name: &str, rows: usize| embeddings.pp(name).get((rows, h), "weight");
        Ok(Self {
            word_embeddings: table("word_embeddings", config.vocab_size)?,
            position_embeddings: table("position_embeddings", config.max_position_embeddings)?,
            token_type_embeddings: table("token_type_embeddings", config.type_vocab_size)?,
            norm: LayerNorm::new(h, config.layer_norm_eps, embeddings.pp("LayerNorm"))?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::new(config, precision, layers.pp(i)))
                .collect::<Result<_>>()?,
            config: config.clone(),
        })
    }

    /// The sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Last hidden states of a batch.
    ///
    /// # Shapes
    /// - output: `[t, h]`
    ///
    /// # Errors
    /// When a sequence is longer than the position table.
    pub fn forward(&self, batch: &Batch, dropout: &Dropout) -> Result<Tensor> {
        let longest = self.config.max_position_embeddings;
        if let Some(position) = batch.positions.iter().find(|&&p| p as usize >= longest) {
            candle_core::bail!("position {position} is beyond the model's {longest}; shorten the input");
        }
        let xs = nn::embedding_sum(&[
            (&self.word_embeddings, &batch.ids),
            (&self.position_embeddings, &batch.positions),
            (&self.token_type_embeddings, &batch.token_types),
        ])?;
        let mut xs = dropout.apply(&self.norm.forward(&xs)?, self.config.hidden_dropout_prob)?; // [t, h]
        nn::check_finite(&xs, || "the embeddings".into())?;
        for (index, layer) in self.layers.iter().enumerate() {
            xs = layer.forward(&xs, batch, dropout)?;
            nn::check_finite(&xs, || format!("layer {index} (from 0)"))?;
        }
        Ok(xs)
    }
}

/// One layer.
#[derive(Clone, Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    config: Config,
}

impl Layer {
    fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let (h, wide) = (config.hidden_size, config.intermediate_size);
        let linear = |inputs, outputs, name: &str| Linear::new(inputs, outputs, precision, vb.pp(name));
        let norm = |name: &str| LayerNorm::new(h, config.layer_norm_eps, vb.pp(name));
        Ok(Self {
            query: linear(h, h, "attention.self.query")?,
            key: linear(h, h, "attention.self.key")?,
            value: linear(h, h, "attention.self.value")?,
            attention_output: linear(h, h, "attention.output.dense")?,
            attention_norm: norm("attention.output.LayerNorm")?,
            intermediate: linear(h, wide, "intermediate.dense")?,
            output: linear(wide, h, "output.dense")?,
            output_norm: norm("output.LayerNorm")?,
            config: config.clone(),
        })
    }

    /// `[t, h]` to `[t, h]`.
    fn forward(&self, xs: &Tensor, batch: &Batch, dropout: &Dropout) -> Result<Tensor> {
        let drop = || dropout.mask(self.config.hidden_dropout_prob);
        let scores = Scores {
            drop: dropout.mask(self.config.attention_probs_dropout_prob),
            ..Scores::new(self.config.num_attention_heads)
        };
        let (q, k, v) = (self.query.forward(xs)?, self.key.forward(xs)?, self.value.forward(xs)?); // [t, h] each
        let context = nn::attention_over(&q, &k, &v, &scores, &batch.layout)?;
        let xs =
            self.attention_norm.forward(&self.attention_output.forward_residual(xs, &context, drop())?)?;
        let expanded = self.config.hidden_act.forward(&self.intermediate.forward(&xs)?)?; // [t, intermediate]
        self.output_norm.forward(&self.output.forward_residual(&xs, &expanded, drop())?)
    }
}

/// From the hidden states of masked tokens to the vocabulary.
#[derive(Clone, Debug)]
pub struct MaskedLmHead {
    dense: Linear,
    activation: Activation,
    norm: LayerNorm,
    decoder: Tensor, // [v, h], the token embedding where they are tied
    bias: Tensor,    // [v]
}

impl MaskedLmHead {
    /// Finds its weights; the projection is the token embedding where they are tied.
    pub fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let (h, v) = (config.hidden_size, config.vocab_size);
        let names = config.masked_lm_names();
        let table = match config.tie_word_embeddings {
            true => vb.pp(config.prefix()).pp("embeddings.word_embeddings").get((v, h), "weight")?,
            false => vb.get((v, h), &names.decoder)?,
        };
        Ok(Self {
            dense: Linear::new(h, h, precision, vb.pp(&names.dense))?,
            activation: match config.family {
                Family::Roberta => Activation::Gelu, // whatever the layers use
                _ => config.hidden_act,
            },
            norm: LayerNorm::new(h, config.layer_norm_eps, vb.pp(&names.norm))?,
            decoder: table,
            bias: vb.get(v, &names.bias)?,
        })
    }

    /// `[m, h]` to `[m, h]`: what [`MaskedLmHead::output`] projects.
    pub fn transform(&self, xs: &Tensor) -> Result<Tensor> {
        self.norm.forward(&self.activation.forward(&self.dense.forward(xs)?)?)
    }

    /// The projection to the vocabulary.
    pub fn output(&self) -> OutputLayer<'_> {
        OutputLayer { weight: &self.decoder, bias: Some(&self.bias) }
    }
}

/// A classification head over the first token, and over marked spans where it has been made for them.
#[derive(Clone, Debug)]
pub struct ClassHead {
    /// BERT pools with a layer that pre-training has learned, RoBERTa with one of the head's own.
    pooler: Linear,
    classifier: Linear,
    family: Family,
    dropout_prob: f64,
}

impl ClassHead {
    /// Finds its weights: `pooler` and `classifier` (BERT), `classifier.dense` and `classifier.out_proj` (RoBERTa).
    pub fn new(config: &Config, outputs: usize, spans: usize, vb: VarBuilder) -> Result<Self> {
        let h = config.hidden_size;
        let linear = |inputs, outputs, name: &str| Linear::new(inputs, outputs, Precision::F32, vb.pp(name));
        let (pooler, classifier) = match config.family {
            Family::Roberta => {
                (linear((1 + spans) * h, h, "classifier.dense")?, linear(h, outputs, "classifier.out_proj")?)
            }
            _ => (linear(h, h, "bert.pooler.dense")?, linear((1 + spans) * h, outputs, "classifier")?),
        };
        Ok(Self { pooler, classifier, family: config.family, dropout_prob: config.hidden_dropout_prob })
    }

    /// The outputs for each input.
    ///
    /// # Shapes
    /// - `first`: `[b, h]`, hidden states of the first tokens; `spans`: `[b, spans * h]`, means over marked spans
    /// - output: `[b, outputs]`
    ///
    /// Source: huggingface/transformers `BertPooler`, `BertForSequenceClassification`, `RobertaClassificationHead`;
    /// with spans, Wang et al. 2019 (SuperGLUE), section 4.1.
    pub fn forward(&self, first: &Tensor, spans: Option<&Tensor>, dropout: &Dropout) -> Result<Tensor> {
        let with_spans = |xs: &Tensor| match spans {
            Some(spans) => Tensor::cat(&[xs, spans], 1),
            None => Ok(xs.clone()),
        };
        let drop = |xs: &Tensor| dropout.apply(xs, self.dropout_prob);
        let features = match self.family {
            Family::Roberta => self.pooler.forward(&drop(&with_spans(first)?)?)?.tanh()?, // [b, h]
            _ => with_spans(&self.pooler.forward(first)?.tanh()?)?, // [b, (1 + spans) h]
        };
        self.classifier.forward(&drop(&features)?)
    }
}

/// Where the masked-language-model head's weights are.
pub(super) struct MaskedLmNames {
    pub dense: String,
    pub norm: String,
    pub decoder: String,
    pub bias: String,
}

impl Config {
    /// The published names of the masked-language-model head. Untied, the projection has a bias of its own.
    pub(super) fn masked_lm_names(&self) -> MaskedLmNames {
        let (head, dense, norm) = match self.family {
            Family::Roberta => ("lm_head", "dense", "layer_norm"),
            _ => ("cls.predictions", "transform.dense", "transform.LayerNorm"),
        };
        MaskedLmNames {
            dense: format!("{head}.{dense}"),
            norm: format!("{head}.{norm}"),
            decoder: format!("{head}.decoder.weight"),
            bias: match self.tie_word_embeddings {
                true => format!("{head}.bias"),
                false => format!("{head}.decoder.bias"),
            },
        }
    }
}
