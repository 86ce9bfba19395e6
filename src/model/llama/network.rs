//! The network of Llama, top to bottom; inference only.
//!
//! A pre-norm transformer that reads left to right: token embeddings; layers of attention with rotary positions, in
//! which several heads share their keys and values, and a gated `SiLU` MLP, each behind an RMS norm and added to its
//! input; a final norm; logits by an output projection, which may be the token embedding.
//!
//! Source: Touvron et al. 2023; transformers 5.23 `models/llama/modeling_llama.py`.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::Config;
use crate::model::causal::{Batch, Cache, Network};
use crate::nn::{self, Dropout, Precision, Rotary, Sequence};

/// A Llama from tokens to final hidden states.
#[derive(Clone, Debug)]
pub struct Llama {
    embed_tokens: Tensor, // [v, h]
    lm_head: Tensor,      // [v, h]
    layers: Vec<Layer>,
    norm: Tensor, // [h]
    rotary: Rotary,
    config: Config,
    precision: Precision,
}

impl Llama {
    /// Finds its weights under the published names.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let table = (config.vocab_size, config.hidden_size);
        let model = vb.pp("model");
        let embed_tokens = model.pp("embed_tokens").get(table, "weight")?;
        let lm_head = match config.tie_word_embeddings {
            true => embed_tokens.clone(),
            false => vb.pp("lm_head").get(table, "weight")?,
        };
        let layers = model.pp("layers");
        Ok(Self {
            embed_tokens,
            lm_head,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::new(config, layers.pp(i)))
                .collect::<Result<_>>()?,
            norm: model.pp("norm").get(config.hidden_size, "weight")?,
            rotary: Rotary::new(config.head_dim(), config.rope_theta, config.max_position_embeddings)?,
            config: config.clone(),
            precision,
        })
    }

    /// `[t, h]` final hidden states. `attend` gets a layer's queries, keys and values, `[t, n * d]` and `[t, k * d]`
    /// with rotary positions, and returns contexts `[t, n * d]`.
    fn run(
        &self,
        batch: &Batch,
        mut attend: impl FnMut(usize, [Tensor; 3]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let longest = self.config.max_position_embeddings;
        if let Some(position) = batch.positions.iter().find(|&&p| p as usize >= longest) {
            bail!("position {position} is beyond the model's {longest} positions; shorten the input");
        }
        let epsilon = self.config.rms_norm_eps;
        let linear = |xs: &Tensor, weight: &Tensor| nn::linear(xs, weight, None, self.precision);
        let added = |to: &Tensor, xs: &Tensor, weight: &Tensor| {
            nn::linear_residual(to, xs, weight, None, None, self.precision)
        };
        let mut xs = nn::embedding(&self.embed_tokens, &batch.ids)?; // [t, h]
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = nn::rms_norm(&xs, &layer.input_layernorm, epsilon)?;
            let turned = |weight| self.rotary.apply(&linear(&normed, weight)?, &batch.positions);
            let qkv = [turned(&layer.q_proj)?, turned(&layer.k_proj)?, linear(&normed, &layer.v_proj)?];
            xs = added(&xs, &attend(index, qkv)?, &layer.o_proj)?;
            let normed = nn::rms_norm(&xs, &layer.post_attention_layernorm, epsilon)?;
            let (gates, values) = (linear(&normed, &layer.gate_proj)?, linear(&normed, &layer.up_proj)?);
            xs = added(&xs, &nn::gated_silu(&gates, &values)?, &layer.down_proj)?;
            nn::check_finite(&xs, || format!("layer {index} (from 0)"))?;
        }
        nn::rms_norm(&xs, &self.norm, epsilon)
    }

    /// `[keys, k * d]` to `[keys, n * d]`: each head of keys or values, for all the query heads that share it.
    fn shared(&self, xs: &Tensor) -> Result<Tensor> {
        let (n, k, d) =
            (self.config.num_attention_heads, self.config.key_value_heads(), self.config.head_dim());
        let keys = xs.dim(0)?;
        if n == k {
            return Ok(xs.clone());
        }
        xs.reshape((keys, k, 1, d))?.broadcast_as((keys, k, n / k, d))?.contiguous()?.reshape((keys, n * d))
    }
}

impl Network for Llama {
    fn forward(&self, batch: &Batch, _: &Dropout) -> Result<Tensor> {
        let scores = nn::Scores::new(self.config.num_attention_heads);
        self.run(batch, |_, [q, k, v]| {
            nn::attention_over(&q, &self.shared(&k)?, &self.shared(&v)?, &scores, &batch.layout)
        })
    }

    fn extend(&self, batch: &Batch, cache: &mut Cache) -> Result<Tensor> {
        let scores = nn::Scores::new(self.config.num_attention_heads);
        self.run(batch, |index, [q, k, v]| {
            let (k, v) = cache.append(index, &k, &v, &batch.layout)?; // [keys, k * d] each
            nn::attention_over(&q, &self.shared(&k)?, &self.shared(&v)?, &scores, &batch.layout)
        })
    }

    fn output_embeddings(&self) -> &Tensor {
        &self.lm_head
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn max_positions(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn forward_flops(&self, sequences: &[Sequence], logit_rows: usize) -> u64 {
        self.config.forward_flops(sequences, logit_rows)
    }
}

/// The weights of one layer; projections are `[out, in]`, without biases.
#[derive(Clone, Debug)]
struct Layer {
    input_layernorm: Tensor,
    q_proj: Tensor,
    k_proj: Tensor,
    v_proj: Tensor,
    o_proj: Tensor,
    post_attention_layernorm: Tensor,
    gate_proj: Tensor,
    up_proj: Tensor,
    down_proj: Tensor,
}

impl Layer {
    fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let (h, inner, d) = (config.hidden_size, config.intermediate_size, config.head_dim());
        let (queries, keys) = (config.num_attention_heads * d, config.key_value_heads() * d);
        let (attention, mlp) = (vb.pp("self_attn"), vb.pp("mlp"));
        let linear = |vb: &VarBuilder, name: &str, o: usize, i: usize| vb.pp(name).get((o, i), "weight");
        let norm = |name: &str| vb.pp(name).get(h, "weight");
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            q_proj: linear(&attention, "q_proj", queries, h)?,
            k_proj: linear(&attention, "k_proj", keys, h)?,
            v_proj: linear(&attention, "v_proj", keys, h)?,
            o_proj: linear(&attention, "o_proj", h, queries)?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            gate_proj: linear(&mlp, "gate_proj", inner, h)?,
            up_proj: linear(&mlp, "up_proj", inner, h)?,
            down_proj: linear(&mlp, "down_proj", h, inner)?,
        })
    }
}
