//! The network of T5, top to bottom.
//!
//! Two pre-norm stacks: an encoder whose tokens all see each other, and a decoder that reads left to right and looks at
//! the encoder's output. Norms by the root mean square, no biases; positions are a bias of the attention scores by
//! distance, learned by the first layer of each stack and used by all. Scores are not divided by the root of the head
//! size: the initialisation takes care of that.
//!
//! Source: Raffel et al. 2020, section 2.1; huggingface/transformers `models/t5/modeling_t5.py`.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::Config;
use super::config::FeedForwardProj;
use crate::model::encoder_decoder::{Encoded, EncoderDecoder, Sight};
use crate::model::glm::Cache;
use crate::model::layers::{Linear, RmsNorm};
use crate::nn::{self, Buckets, DropMask, Dropout, Layout, OutputLayer, Precision, RelativeBias, Scores};

/// A T5: from tokens to the hidden states from which its head predicts the next ones.
#[derive(Clone, Debug)]
pub struct T5 {
    shared: Tensor, // [v, h], the embedding of both stacks
    encoder: Stack,
    decoder: Stack,
    lm_head: Tensor, // [v, h]: `shared`, or one of its own
    config: Config,
}

impl T5 {
    /// Finds its weights under the published names.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let table = |vb: VarBuilder| vb.get((config.vocab_size, config.d_model), "weight");
        let shared = table(vb.pp("shared"))?;
        let (encoder, decoder) = (vb.pp("encoder"), vb.pp("decoder"));
        Ok(Self {
            encoder: Stack::new(config, config.num_layers, false, precision, encoder)?,
            decoder: Stack::new(config, config.num_decoder_layers, true, precision, decoder)?,
            lm_head: if config.has_lm_head() { table(vb.pp("lm_head"))? } else { shared.clone() },
            shared,
            config: config.clone(),
        })
    }

    /// The sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The output projection `[v, h]`.
    pub fn lm_head(&self) -> &Tensor {
        &self.lm_head
    }
}

impl EncoderDecoder for T5 {
    fn encode(&self, ids: &[u32], lengths: &[usize], dropout: &Dropout) -> Result<Encoded> {
        let layout = Encoded::layout(lengths);
        let hidden = self.encoder.forward(&self.shared, (ids, &layout), None, None, dropout)?;
        Ok(Encoded { hidden, lengths: lengths.to_vec() })
    }

    fn look(&self, encoded: &Encoded) -> Result<Sight> {
        let keys_and_values = |block: &Block| {
            let cross = block.cross_attention.as_ref().expect("a decoder looks at texts");
            Ok((cross.k.forward(&encoded.hidden)?, cross.v.forward(&encoded.hidden)?))
        };
        let layers = self.decoder.blocks.iter().map(keys_and_values).collect::<Result<_>>()?;
        Ok(Sight { layers, lengths: encoded.lengths.clone() })
    }

    fn decode(
        &self,
        (sight, texts): (&Sight, &[usize]),
        (ids, layout): (&[u32], &Layout),
        cache: Option<&mut Cache>,
        dropout: &Dropout,
    ) -> Result<Tensor> {
        let cross = Encoded::cross(&sight.lengths, layout, texts)?;
        let hidden =
            self.decoder.forward(&self.shared, (ids, layout), Some((sight, &cross)), cache, dropout)?;
        match self.config.scale_decoder_outputs {
            true => hidden * (self.config.d_model as f64).powf(-0.5),
            false => Ok(hidden),
        }
    }

    fn head(&self) -> OutputLayer<'_> {
        (&self.lm_head).into()
    }

    fn start_token(&self) -> u32 {
        self.config.decoder_start_token_id
    }

    fn precision(&self) -> Precision {
        self.encoder.precision
    }

    fn forward_flops(&self, texts: &[usize], decoder: &Layout, logit_rows: usize) -> u64 {
        self.config.forward_flops(texts, decoder, logit_rows)
    }
}

/// The layers of the encoder or of the decoder.
#[derive(Clone, Debug)]
struct Stack {
    blocks: Vec<Block>,
    /// Of the first layer, used by all.
    bias: RelativeBias,
    final_layer_norm: RmsNorm,
    dropout_rate: f64,
    precision: Precision,
}

impl Stack {
    fn new(
        config: &Config,
        num_layers: usize,
        is_decoder: bool,
        precision: Precision,
        vb: VarBuilder,
    ) -> Result<Self> {
        let blocks = vb.pp("block");
        let block = |i: usize| Block::new(config, is_decoder, precision, blocks.pp(i).pp("layer"));
        let (num, max_distance) =
            (config.relative_attention_num_buckets, config.relative_attention_max_distance);
        let table = "0.layer.0.SelfAttention.relative_attention_bias.weight";
        Ok(Self {
            blocks: (0..num_layers).map(block).collect::<Result<_>>()?,
            bias: RelativeBias {
                table: blocks.get((num, config.num_heads), table)?,
                buckets: Buckets { num, max_distance, bidirectional: !is_decoder },
            },
            final_layer_norm: RmsNorm::new(
                config.d_model,
                config.layer_norm_epsilon,
                vb.pp("final_layer_norm"),
            )?,
            dropout_rate: config.dropout_rate,
            precision,
        })
    }

    /// `[t, h]` final hidden states; a decoder looks at `sight`, and may go on from what `cache` holds.
    fn forward(
        &self,
        embedding: &Tensor,
        (ids, layout): (&[u32], &Layout),
        sight: Option<(&Sight, &Layout)>,
        mut cache: Option<&mut Cache>,
        dropout: &Dropout,
    ) -> Result<Tensor> {
        let mut xs = dropout.apply(&nn::embedding(embedding, ids)?, self.dropout_rate)?; // [t, h]
        nn::check_finite(&xs, || "the embeddings".into())?;
        let drop = || dropout.mask(self.dropout_rate);
        for (index, block) in self.blocks.iter().enumerate() {
            let own = &block.self_attention;
            let normed = own.layer_norm.forward(&xs)?;
            let (mut keys, mut values) = (own.k.forward(&normed)?, own.v.forward(&normed)?); // [t, n * d]
            if let Some(cache) = &mut cache {
                (keys, values) = cache.append(index, &keys, &values, layout)?; // [keys, n * d]
            }
            xs = own.forward(&xs, &normed, (&keys, &values), layout, Some(&self.bias), [drop(), drop()])?;
            if let (Some(cross), Some((sight, seen))) = (&block.cross_attention, sight) {
                let (keys, values) = &sight.layers[index];
                let normed = cross.layer_norm.forward(&xs)?;
                xs = cross.forward(&xs, &normed, (keys, values), seen, None, [drop(), drop()])?;
            }
            xs = block.feed_forward.forward(&xs, [drop(), drop()])?;
            nn::check_finite(&xs, || format!("block {index} (from 0)"))?;
        }
        dropout.apply(&self.final_layer_norm.forward(&xs)?, self.dropout_rate)
    }
}

/// One layer.
#[derive(Clone, Debug)]
struct Block {
    self_attention: Attention,
    /// The decoder's.
    cross_attention: Option<Attention>,
    feed_forward: FeedForward,
}

impl Block {
    fn new(config: &Config, is_decoder: bool, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let attention = |name: &str, vb: VarBuilder| Attention::new(config, precision, name, vb);
        Ok(Self {
            self_attention: attention("SelfAttention", vb.pp(0))?,
            cross_attention: is_decoder.then(|| attention("EncDecAttention", vb.pp(1))).transpose()?,
            feed_forward: FeedForward::new(config, precision, vb.pp(if is_decoder { 2 } else { 1 }))?,
        })
    }
}

#[derive(Clone, Debug)]
struct Attention {
    layer_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    num_heads: usize,
}

impl Attention {
    fn new(config: &Config, precision: Precision, name: &str, vb: VarBuilder) -> Result<Self> {
        let (h, inner) = (config.d_model, config.num_heads * config.d_kv);
        let projections = vb.pp(name);
        let linear = |inputs, outputs, name: &str| {
            Linear::without_bias(inputs, outputs, precision, projections.pp(name))
        };
        Ok(Self {
            layer_norm: RmsNorm::new(h, config.layer_norm_epsilon, vb.pp("layer_norm"))?,
            q: linear(h, inner, "q")?,
            k: linear(h, inner, "k")?,
            v: linear(h, inner, "v")?,
            o: linear(inner, h, "o")?,
            num_heads: config.num_heads,
        })
    }

    /// `[t, h]` to `[t, h]`: the residual branch, with masks for its probabilities and its end.
    fn forward(
        &self,
        xs: &Tensor,
        normed: &Tensor,
        (keys, values): (&Tensor, &Tensor),
        layout: &Layout,
        bias: Option<&RelativeBias>,
        [drop, drop_end]: [Option<DropMask>; 2],
    ) -> Result<Tensor> {
        let scores = Scores { num_heads: self.num_heads, scale: Some(1.0), bias: bias.cloned(), drop };
        let context = nn::attention_over(&self.q.forward(normed)?, keys, values, &scores, layout)?; // [t, n * d]
        self.o.forward_residual(xs, &context, drop_end)
    }
}

#[derive(Clone, Debug)]
struct FeedForward {
    layer_norm: RmsNorm,
    wi: Inner,
    wo: Linear,
}

/// The first half of the feed-forward layer.
#[derive(Clone, Debug)]
enum Inner {
    /// T5 v1.0.
    Relu(Linear),
    /// T5 v1.1: the first is the gate.
    GatedGelu(Linear, Linear),
}

impl FeedForward {
    fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let (h, f) = (config.d_model, config.d_ff);
        let dense = vb.pp("DenseReluDense");
        let wi = |name: &str| Linear::without_bias(h, f, precision, dense.pp(name));
        Ok(Self {
            layer_norm: RmsNorm::new(h, config.layer_norm_epsilon, vb.pp("layer_norm"))?,
            wi: match config.feed_forward_proj {
                FeedForwardProj::Relu => Inner::Relu(wi("wi")?),
                FeedForwardProj::GatedGelu => Inner::GatedGelu(wi("wi_0")?, wi("wi_1")?),
            },
            wo: Linear::without_bias(f, h, precision, dense.pp("wo"))?,
        })
    }

    /// `[t, h]` to `[t, h]`: the residual branch, with masks for its middle and its end.
    fn forward(&self, xs: &Tensor, [drop, drop_end]: [Option<DropMask>; 2]) -> Result<Tensor> {
        let normed = self.layer_norm.forward(xs)?;
        let inner = match &self.wi {
            Inner::Relu(wi) => nn::relu(&wi.forward(&normed)?)?,
            Inner::GatedGelu(gate, wi) => nn::gated_gelu(&gate.forward(&normed)?, &wi.forward(&normed)?)?,
        }; // [t, f]
        let inner = drop.map_or(Ok(inner.clone()), |drop| drop.apply(&inner))?;
        self.wo.forward_residual(xs, &inner, drop_end)
    }
}
