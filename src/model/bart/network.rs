//! The network of BART, top to bottom.
//!
//! An encoder whose tokens all see each other, and a decoder that reads left to right and looks at the encoder's output.
//! Post-norm: each branch is added to its input, and the sum normalised. Learned positions, the first two rows of whose
//! tables nothing uses; logits by the transposed embedding.
//!
//! Source: Lewis et al. 2020, section 2; huggingface/transformers `models/bart/modeling_bart.py`.

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::Config;
use super::config::POSITION_OFFSET;
use crate::model::encoder_decoder::{Encoded, EncoderDecoder, Sight, positions};
use crate::model::glm::Cache;
use crate::model::layers::{LayerNorm, Linear};
use crate::nn::{self, DropMask, Dropout, Layout, OutputLayer, Precision, Scores};

/// A BART without heads: from tokens to the decoder's hidden states.
#[derive(Clone, Debug)]
pub struct Bart {
    shared: Tensor, // [v, h], the embedding of both stacks, also the output projection
    encoder: Stack,
    decoder: Stack,
    /// `[v]`, where there is one that changes anything.
    final_logits_bias: Option<Tensor>,
    config: Config,
    precision: Precision,
}

/// Epsilon of `PyTorch`'s layer norm, which no setting changes.
const EPSILON: f64 = 1e-5;

impl Bart {
    /// Finds its weights under the published names.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let model = vb.pp("model");
        Ok(Self {
            shared: model.pp("shared").get((config.vocab_size, config.d_model), "weight")?,
            encoder: Stack::new(config, false, precision, model.pp("encoder"))?,
            decoder: Stack::new(config, true, precision, model.pp("decoder"))?,
            final_logits_bias: match vb.contains_tensor("final_logits_bias") {
                true => {
                    let bias = vb.get((1, config.vocab_size), "final_logits_bias")?;
                    Some(bias.squeeze(0)?.detach()).filter(is_something)
                }
                false => None,
            },
            config: config.clone(),
            precision,
        })
    }

    /// The sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// `[t, h]`: tokens and positions, normalised.
    fn embed(&self, stack: &Stack, ids: &[u32], positions: &[u32]) -> Result<Tensor> {
        let longest = self.config.max_position_embeddings;
        if let Some(position) = positions.iter().find(|&&position| position as usize >= longest) {
            bail!("position {position} is beyond the model's {longest} positions; shorten the input");
        }
        let rows: Vec<u32> = positions.iter().map(|&position| position + POSITION_OFFSET as u32).collect();
        let table = &stack.embed_positions;
        let sum = if self.config.scale_embedding {
            let scale = (self.config.d_model as f64).sqrt();
            ((nn::embedding(&self.shared, ids)? * scale)? + nn::embedding(table, &rows)?)?
        } else {
            nn::embedding_sum(&[(&self.shared, ids), (table, &rows)])?
        };
        stack.layernorm_embedding.forward(&sum)
    }
}

impl EncoderDecoder for Bart {
    fn encode(&self, ids: &[u32], lengths: &[usize], dropout: &Dropout) -> Result<Encoded> {
        let layout = Encoded::layout(lengths);
        let positions: Vec<u32> = lengths.iter().flat_map(|&len| 0..len as u32).collect();
        let xs = self.embed(&self.encoder, ids, &positions)?;
        let hidden = self.encoder.forward(&self.config, &xs, &layout, None, None, dropout)?;
        Ok(Encoded { hidden, lengths: lengths.to_vec() })
    }

    fn look(&self, encoded: &Encoded) -> Result<Sight> {
        let keys_and_values = |layer: &Layer| {
            let (cross, _) = layer.encoder_attn.as_ref().expect("a decoder looks at texts");
            Ok((cross.k_proj.forward(&encoded.hidden)?, cross.v_proj.forward(&encoded.hidden)?))
        };
        let layers = self.decoder.layers.iter().map(keys_and_values).collect::<Result<_>>()?;
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
        let xs = self.embed(&self.decoder, ids, &positions(layout))?;
        self.decoder.forward(&self.config, &xs, layout, Some((sight, &cross)), cache, dropout)
    }

    fn head(&self) -> OutputLayer<'_> {
        OutputLayer { weight: &self.shared, bias: self.final_logits_bias.as_ref() }
    }

    fn start_token(&self) -> u32 {
        self.config.decoder_start_token_id
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn forward_flops(&self, texts: &[usize], decoder: &Layout, logit_rows: usize) -> u64 {
        self.config.forward_flops(texts, decoder, logit_rows)
    }
}

/// Is any value other than 0? A tensor that can't be read is taken for one that is.
fn is_something(tensor: &Tensor) -> bool {
    let largest = || tensor.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F32)?.to_scalar::<f32>();
    largest().map_or(true, |largest| largest != 0.0)
}

/// The layers of the encoder or of the decoder.
#[derive(Clone, Debug)]
struct Stack {
    embed_positions: Tensor, // [2 + p, h]
    layernorm_embedding: LayerNorm,
    layers: Vec<Layer>,
}

impl Stack {
    fn new(config: &Config, is_decoder: bool, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let (h, rows) = (config.d_model, config.max_position_embeddings + POSITION_OFFSET);
        let num_layers = if is_decoder { config.decoder_layers } else { config.encoder_layers };
        let layers = vb.pp("layers");
        let layer = |i: usize| Layer::new(config, is_decoder, precision, layers.pp(i));
        Ok(Self {
            embed_positions: vb.pp("embed_positions").get((rows, h), "weight")?,
            layernorm_embedding: LayerNorm::new(h, EPSILON, vb.pp("layernorm_embedding"))?,
            layers: (0..num_layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// `[t, h]` final hidden states; a decoder looks at `sight`, and may go on from what `cache` holds.
    fn forward(
        &self,
        config: &Config,
        embedded: &Tensor,
        layout: &Layout,
        sight: Option<(&Sight, &Layout)>,
        mut cache: Option<&mut Cache>,
        dropout: &Dropout,
    ) -> Result<Tensor> {
        let mut xs = dropout.apply(embedded, config.dropout)?; // [t, h]
        nn::check_finite(&xs, || "the embeddings".into())?;
        let drop = || dropout.mask(config.dropout);
        let drop_attention = || dropout.mask(config.attention_dropout);
        for (index, layer) in self.layers.iter().enumerate() {
            let (own, norm) = &layer.self_attn;
            let (mut keys, mut values) = (own.k_proj.forward(&xs)?, own.v_proj.forward(&xs)?);
            if let Some(cache) = &mut cache {
                (keys, values) = cache.append(index, &keys, &values, layout)?; // [keys, h]
            }
            xs = norm.forward(&own.forward(&xs, (&keys, &values), layout, [drop_attention(), drop()])?)?;
            if let (Some((cross, norm)), Some((sight, seen))) = (&layer.encoder_attn, sight) {
                let (keys, values) = &sight.layers[index];
                xs =
                    norm.forward(&cross.forward(&xs, (keys, values), seen, [drop_attention(), drop()])?)?;
            }
            let expanded =
                dropout.apply(&nn::gelu_erf(&layer.fc1.forward(&xs)?)?, config.activation_dropout)?;
            xs = layer.final_layer_norm.forward(&layer.fc2.forward_residual(&xs, &expanded, drop())?)?;
            nn::check_finite(&xs, || format!("layer {index} (from 0)"))?;
        }
        Ok(xs)
    }
}

/// One layer; each attention with the norm after it.
#[derive(Clone, Debug)]
struct Layer {
    self_attn: (Attention, LayerNorm),
    /// The decoder's.
    encoder_attn: Option<(Attention, LayerNorm)>,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
}

impl Layer {
    fn new(config: &Config, is_decoder: bool, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let h = config.d_model;
        let (num_heads, f) = match is_decoder {
            false => (config.encoder_attention_heads, config.encoder_ffn_dim),
            true => (config.decoder_attention_heads, config.decoder_ffn_dim),
        };
        let attention = |name: &str| {
            let norm = LayerNorm::new(h, EPSILON, vb.pp(format!("{name}_layer_norm")))?;
            Ok::<_, candle_core::Error>((Attention::new(h, num_heads, precision, vb.pp(name))?, norm))
        };
        Ok(Self {
            self_attn: attention("self_attn")?,
            encoder_attn: is_decoder.then(|| attention("encoder_attn")).transpose()?,
            fc1: Linear::new(h, f, precision, vb.pp("fc1"))?,
            fc2: Linear::new(f, h, precision, vb.pp("fc2"))?,
            final_layer_norm: LayerNorm::new(h, EPSILON, vb.pp("final_layer_norm"))?,
        })
    }
}

#[derive(Clone, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    num_heads: usize,
}

impl Attention {
    fn new(h: usize, num_heads: usize, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let linear = |name: &str| Linear::new(h, h, precision, vb.pp(name));
        Ok(Self {
            q_proj: linear("q_proj")?,
            k_proj: linear("k_proj")?,
            v_proj: linear("v_proj")?,
            out_proj: linear("out_proj")?,
            num_heads,
        })
    }

    /// `[t, h]` to `[t, h]`: the residual branch, with masks for its probabilities and its end.
    fn forward(
        &self,
        xs: &Tensor,
        (keys, values): (&Tensor, &Tensor),
        layout: &Layout,
        [drop, drop_end]: [Option<DropMask>; 2],
    ) -> Result<Tensor> {
        let scores = Scores { drop, ..Scores::new(self.num_heads) };
        let context = nn::attention_over(&self.q_proj.forward(xs)?, keys, values, &scores, layout)?; // [t, h]
        self.out_proj.forward_residual(xs, &context, drop_end)
    }
}
