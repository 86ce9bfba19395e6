//! The network of GPT-2, top to bottom.
//!
//! A pre-norm transformer that reads left to right: token and position embeddings; layers of attention and a GELU MLP,
//! each behind a layer norm and added to its input; a final norm; logits by the transposed token embedding.
//!
//! Source: Radford et al. 2019; transformers 5.23 `models/gpt2/modeling_gpt2.py`.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::Config;
use crate::model::causal::{Batch, Cache, Network};
use crate::model::layers::{LayerNorm, Linear};
use crate::nn::{self, Dropout, Precision, Sequence};

/// A GPT-2 from tokens to final hidden states.
#[derive(Clone, Debug)]
pub struct Gpt2 {
    wte: Tensor, // [v, h], also the output projection
    wpe: Tensor, // [p, h]
    h: Vec<Layer>,
    ln_f: LayerNorm,
    config: Config,
    precision: Precision,
}

impl Gpt2 {
    /// Finds its weights under the published names; projections are `[out, in]` here (see [`Config::weights`]).
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let (h, vb) = (config.n_embd, vb.pp("transformer"));
        let layers = vb.pp("h");
        Ok(Self {
            wte: vb.pp("wte").get((config.vocab_size, h), "weight")?,
            wpe: vb.pp("wpe").get((config.n_positions, h), "weight")?,
            h: (0..config.n_layer)
                .map(|i| Layer::new(config, precision, layers.pp(i)))
                .collect::<Result<_>>()?,
            ln_f: LayerNorm::new(h, config.layer_norm_epsilon, vb.pp("ln_f"))?,
            config: config.clone(),
            precision,
        })
    }

    fn run(
        &self,
        batch: &Batch,
        dropout: &Dropout,
        mut attend: impl FnMut(usize, &Layer, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut xs = dropout.apply(&self.embed(batch)?, self.config.embd_pdrop)?; // [t, h]
        nn::check_finite(&xs, || "the embeddings".into())?;
        let drop = || dropout.mask(self.config.resid_pdrop);
        for (index, layer) in self.h.iter().enumerate() {
            let attended = attend(index, layer, &layer.ln_1.forward(&xs)?)?;
            xs = layer.attn_c_proj.forward_residual(&xs, &attended, drop())?;
            let expanded = nn::gelu(&layer.c_fc.forward(&layer.ln_2.forward(&xs)?)?)?; // [t, 4h]
            xs = layer.mlp_c_proj.forward_residual(&xs, &expanded, drop())?;
            nn::check_finite(&xs, || format!("layer {index} (from 0)"))?;
        }
        self.ln_f.forward(&xs)
    }

    /// `[t, h]`: the sum of the embeddings.
    fn embed(&self, batch: &Batch) -> Result<Tensor> {
        let longest = self.config.n_positions;
        if let Some(position) = batch.positions.iter().find(|&&p| p as usize >= longest) {
            bail!("position {position} is beyond the model's {longest} positions; shorten the input");
        }
        nn::embedding_sum(&[(&self.wte, &batch.ids), (&self.wpe, &batch.positions)])
    }
}

impl Network for Gpt2 {
    fn forward(&self, batch: &Batch, dropout: &Dropout) -> Result<Tensor> {
        self.run(batch, dropout, |_, layer, xs| {
            let drop = dropout.mask(layer.attn_pdrop);
            nn::attention(&layer.c_attn.forward(xs)?, layer.n_head, &batch.layout, drop) // over [t, 3h]
        })
    }

    fn extend(&self, batch: &Batch, cache: &mut Cache) -> Result<Tensor> {
        self.run(batch, &Dropout::off(), |index, layer, xs| {
            let qkv = layer.c_attn.forward(xs)?; // [t, 3h]: thirds, and heads within a third
            let h = self.config.n_embd;
            let part = |i: usize| qkv.narrow(1, i * h, h)?.contiguous();
            let (keys, values) = cache.append(index, &part(1)?, &part(2)?, &batch.layout)?; // [keys, h] each
            nn::attention_over(&part(0)?, &keys, &values, &nn::Scores::new(layer.n_head), &batch.layout)
        })
    }

    fn output_embeddings(&self) -> &Tensor {
        &self.wte
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn max_positions(&self) -> usize {
        self.config.n_positions
    }

    fn forward_flops(&self, sequences: &[Sequence], logit_rows: usize) -> u64 {
        self.config.forward_flops(sequences, logit_rows)
    }
}

/// One layer.
#[derive(Clone, Debug)]
struct Layer {
    ln_1: LayerNorm,
    c_attn: Linear,
    attn_c_proj: Linear,
    ln_2: LayerNorm,
    c_fc: Linear,
    mlp_c_proj: Linear,
    n_head: usize,
    attn_pdrop: f64,
}

impl Layer {
    fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let (h, inner) = (config.n_embd, config.inner());
        let linear = |inputs, outputs, vb| Linear::new(inputs, outputs, precision, vb);
        let norm = |name: &str| LayerNorm::new(h, config.layer_norm_epsilon, vb.pp(name));
        let (attn, mlp) = (vb.pp("attn"), vb.pp("mlp"));
        Ok(Self {
            ln_1: norm("ln_1")?,
            c_attn: linear(h, 3 * h, attn.pp("c_attn"))?,
            attn_c_proj: linear(h, h, attn.pp("c_proj"))?,
            ln_2: norm("ln_2")?,
            c_fc: linear(h, inner, mlp.pp("c_fc"))?,
            mlp_c_proj: linear(inner, h, mlp.pp("c_proj"))?,
            n_head: config.n_head,
            attn_pdrop: config.attn_pdrop,
        })
    }
}
