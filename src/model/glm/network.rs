//! The network of GLM, top to bottom.
//!
//! A pre-norm transformer: token, position and block-position embeddings; layers of attention and a GELU MLP,
//! each behind a layer norm and added to its input; a final norm; logits by the transposed token embedding.
//!
//! Source: Du et al. 2022, section 2; THUDM/GLM@4f61ed7 `model/modeling_glm.py`, `mpu/transformer.py`.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::{Batch, BeamCache, Cache, Config};
use crate::model::layers::{LayerNorm, Linear};
use crate::nn::{self, Dropout, Precision};

/// A GLM without heads: from tokens to final hidden states.
#[derive(Clone, Debug)]
pub struct Glm {
    word_embeddings: Tensor,                   // [v, h], also the output projection
    position_embeddings: Tensor,               // [p, h]
    block_position_embeddings: Option<Tensor>, // [p, h]
    layers: Vec<Layer>,
    final_layernorm: LayerNorm,
    config: Config,
    precision: Precision,
}

impl Glm {
    /// Finds its weights under the official names.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let (h, rows) = (config.hidden_size, config.position_table_rows());
        let transformer = vb.pp("transformer");
        let table = |name: &str| transformer.pp(name).get((rows, h), "weight");
        let layers = transformer.pp("layers");
        Ok(Self {
            word_embeddings: vb.pp("word_embeddings").get((config.vocab_size, h), "weight")?,
            position_embeddings: table("position_embeddings")?,
            block_position_embeddings: match config.block_position_encoding {
                true => Some(table("block_position_embeddings")?),
                false => None,
            },
            layers: (0..config.num_layers)
                .map(|i| Layer::new(config, precision, layers.pp(i)))
                .collect::<Result<_>>()?,
            final_layernorm: LayerNorm::new(h, config.layernorm_epsilon, transformer.pp("final_layernorm"))?,
            config: config.clone(),
            precision,
        })
    }

    /// The sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What matrix products are computed with.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The token embedding `[v, h]`, which is also the output projection.
    pub fn word_embeddings(&self) -> &Tensor {
        &self.word_embeddings
    }

    /// Final hidden states of a batch.
    ///
    /// # Shapes
    /// - output: `[t, h]`, after the final norm; logits are taken from the rows that need them
    pub fn forward(&self, batch: &Batch, dropout: &Dropout) -> Result<Tensor> {
        let attend = |_: usize, layer: &Layer, xs: &Tensor| layer.attention(xs, batch, dropout);
        self.run(batch, dropout, attend, |_| ())
    }

    /// Final hidden states of tokens that follow those in `cache`, which takes up their keys and values.
    ///
    /// # Shapes
    /// - `batch`: the new tokens; each sequence's `cached` is what the cache holds for it
    /// - output: `[t, h]`, of the new tokens
    pub fn extend(&self, batch: &Batch, cache: &mut Cache) -> Result<Tensor> {
        self.extend_watched(batch, cache, |_| ())
    }

    /// [`Glm::extend`], showing `watch` the embedding sum and each layer's output, `[t, h]` each.
    pub fn extend_watched(
        &self,
        batch: &Batch,
        cache: &mut Cache,
        watch: impl FnMut(&Tensor),
    ) -> Result<Tensor> {
        let attend =
            |index: usize, layer: &Layer, xs: &Tensor| layer.attention_cached(xs, batch, index, cache);
        self.run(batch, &Dropout::off(), attend, watch)
    }

    /// Final hidden states of one new token a beam, whose keys and values `beams` takes up.
    ///
    /// # Shapes
    /// - `batch`: `b` tokens, one a beam; its layout is not read
    /// - output: `[b, h]`
    pub fn extend_beams(&self, batch: &Batch, beams: &mut BeamCache) -> Result<Tensor> {
        let attend = |index: usize, layer: &Layer, xs: &Tensor| {
            let [q, keys, values] = layer.projections(xs)?;
            beams.attend(index, &q, &keys, &values, layer.num_heads)
        };
        self.run(batch, &Dropout::off(), attend, |_| ())
    }

    fn run(
        &self,
        batch: &Batch,
        dropout: &Dropout,
        mut attend: impl FnMut(usize, &Layer, &Tensor) -> Result<Tensor>,
        mut watch: impl FnMut(&Tensor),
    ) -> Result<Tensor> {
        let mut xs = dropout.apply(&self.embed(batch)?, self.config.embedding_dropout_prob)?; // [t, h]
        nn::check_finite(&xs, || "the embeddings".into())?;
        watch(&xs);
        let drop = || dropout.mask(self.config.output_dropout_prob);
        for (index, layer) in self.layers.iter().enumerate() {
            let attended = attend(index, layer, &layer.input_layernorm.forward(&xs)?)?;
            xs = layer.dense.forward_residual(&xs, &attended, drop())?;
            let expanded = layer.expand(&layer.post_attention_layernorm.forward(&xs)?)?;
            xs = layer.dense_4h_to_h.forward_residual(&xs, &expanded, drop())?;
            nn::check_finite(&xs, || format!("layer {index} (from 0)"))?;
            watch(&xs);
        }
        self.final_layernorm.forward(&xs)
    }

    /// `[t, h]`: the sum of the embeddings.
    fn embed(&self, batch: &Batch) -> Result<Tensor> {
        let longest = self.position_embeddings.dim(0)?;
        if let Some(position) = batch.positions.iter().find(|&&p| p as usize >= longest) {
            bail!("position {position} is beyond the model's {longest} positions; shorten the input");
        }
        let mut tables: Vec<(&Tensor, &[u32])> =
            vec![(&self.word_embeddings, &batch.ids), (&self.position_embeddings, &batch.positions)];
        if let Some(table) = &self.block_position_embeddings {
            tables.push((table, &batch.block_positions));
        }
        nn::embedding_sum(&tables)
    }
}

/// One layer.
#[derive(Clone, Debug)]
struct Layer {
    input_layernorm: LayerNorm,
    query_key_value: Linear,
    dense: Linear,
    post_attention_layernorm: LayerNorm,
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
    num_heads: usize,
    attention_dropout_prob: f64,
}

impl Layer {
    fn new(config: &Config, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let h = config.hidden_size;
        let linear = |inputs, outputs, vb| Linear::new(inputs, outputs, precision, vb);
        let norm = |name: &str| LayerNorm::new(h, config.layernorm_epsilon, vb.pp(name));
        let (attention, mlp) = (vb.pp("attention"), vb.pp("mlp"));
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            query_key_value: linear(h, 3 * h, attention.pp("query_key_value"))?,
            dense: linear(h, h, attention.pp("dense"))?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            dense_h_to_4h: linear(h, 4 * h, mlp.pp("dense_h_to_4h"))?,
            dense_4h_to_h: linear(4 * h, h, mlp.pp("dense_4h_to_h"))?,
            num_heads: config.num_attention_heads,
            attention_dropout_prob: config.attention_dropout_prob,
        })
    }

    /// `[t, h]` to `[t, h]` contexts, yet to be projected.
    fn attention(&self, xs: &Tensor, batch: &Batch, dropout: &Dropout) -> Result<Tensor> {
        let qkv = self.query_key_value.forward(xs)?; // [t, 3h]: thirds, and heads within a third
        let drop = dropout.mask(self.attention_dropout_prob);
        nn::attention(&qkv, self.num_heads, &batch.layout, drop)
    }

    /// `[t, h]` to `[t, h]` contexts, over the cached keys and the new ones.
    fn attention_cached(
        &self,
        xs: &Tensor,
        batch: &Batch,
        layer: usize,
        cache: &mut Cache,
    ) -> Result<Tensor> {
        let [q, keys, values] = self.projections(xs)?;
        let (keys, values) = cache.append(layer, &keys, &values, &batch.layout)?; // [keys, h] each
        nn::attention_over(&q, &keys, &values, &nn::Scores::new(self.num_heads), &batch.layout)
    }

    /// `[t, h]` to queries, keys and values `[t, h]` each.
    fn projections(&self, xs: &Tensor) -> Result<[Tensor; 3]> {
        let qkv = self.query_key_value.forward(xs)?; // [t, 3h]
        let h = qkv.dim(1)? / 3;
        // What is cached keeps nothing of how it came about.
        let part = |i: usize| Ok::<_, candle_core::Error>(qkv.narrow(1, i * h, h)?.contiguous()?.detach());
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// `[t, h]` to `[t, 4h]`: the MLP up to its last projection.
    fn expand(&self, xs: &Tensor) -> Result<Tensor> {
        nn::gelu(&self.dense_h_to_4h.forward(xs)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::{Initial, Parameters};
    use crate::nn::{Layout, Sequence};

    fn config() -> Config {
        Config {
            num_layers: 2,
            vocab_size: 50,
            hidden_size: 32,
            num_attention_heads: 4,
            max_sequence_length: 40,
            ..Config::named("glm-tiny").expect("a listed name")
        }
    }

    /// A network whose weights are large enough for mistakes to show.
    fn network(dtype: DType) -> Result<Glm> {
        let initial = |name: &str| match name {
            _ if name.ends_with("layernorm.weight") => Initial::Ones,
            _ => Initial::Normal(0.2),
        };
        let shapes =
            config().parameters().into_iter().map(|(name, shape)| (name.clone(), shape, initial(&name)));
        let parameters = Parameters::draw(shapes, 7, dtype, &Device::Cpu)?;
        Glm::new(&config(), Precision::F32, parameters.var_builder())
    }

    /// A context of five tokens and pieces of three and two.
    fn batch() -> Batch {
        Batch {
            ids: vec![1, 17, 3, 22, 9, 40, 11, 12, 40, 13],
            positions: vec![0, 1, 2, 3, 4, 2, 2, 2, 2, 2],
            block_positions: vec![0, 0, 0, 0, 0, 1, 2, 3, 1, 2],
            layout: Layout::new(vec![Sequence::pieces(5, vec![3, 2])]),
        }
    }

    fn hidden(glm: &Glm, batch: &Batch) -> Result<Vec<Vec<f32>>> {
        glm.forward(batch, &Dropout::off())?.to_dtype(DType::F32)?.to_vec2()
    }

    #[test]
    fn a_token_of_one_piece_changes_nothing_in_the_context_or_another_piece() -> Result<()> {
        let glm = network(DType::F32)?;
        let mut other = batch();
        other.ids[9] = 30;
        let (before, after) = (hidden(&glm, &batch())?, hidden(&glm, &other)?);
        assert_eq!(before[..9], after[..9]);
        assert_ne!(before[9], after[9]);
        Ok(())
    }

    #[test]
    fn a_token_of_the_context_changes_everything() -> Result<()> {
        let glm = network(DType::F32)?;
        let mut other = batch();
        other.ids[4] = 30;
        let (before, after) = (hidden(&glm, &batch())?, hidden(&glm, &other)?);
        assert!(before.iter().zip(&after).all(|(a, b)| a != b));
        Ok(())
    }

    #[test]
    fn reading_on_from_a_cache_equals_one_pass() -> Result<()> {
        let glm = network(DType::F32)?;
        let mut whole = batch();
        whole.layout = Layout::new(vec![Sequence::prefix_lm(10, 5)]);
        let part = |from: usize, to: usize, cached: usize, prefix: usize| Batch {
            ids: whole.ids[from..to].to_vec(),
            positions: whole.positions[from..to].to_vec(),
            block_positions: whole.block_positions[from..to].to_vec(),
            layout: Layout::new(vec![Sequence { cached, ..Sequence::prefix_lm(to - from, prefix) }]),
        };
        let mut cache = Cache::new();
        glm.extend(&part(0, 5, 0, 5), &mut cache)?;
        let mut steps = Vec::new();
        for at in 5..10 {
            steps.extend(glm.extend(&part(at, at + 1, at, 0), &mut cache)?.to_vec2::<f32>()?);
        }
        for (step, once) in steps.iter().flatten().zip(hidden(&glm, &whole)?[5..].iter().flatten()) {
            assert!((step - once).abs() < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn half_precision_stays_near_single_precision() -> Result<()> {
        let exact = hidden(&network(DType::F32)?, &batch())?;
        for (dtype, allowed) in [(DType::F16, 0.02), (DType::BF16, 0.15)] {
            let rough = hidden(&network(dtype)?, &batch())?;
            let worst = exact.iter().flatten().zip(rough.iter().flatten()).map(|(a, b)| (a - b).abs());
            let worst = worst.fold(0.0, f32::max);
            assert!(worst > 0.0 && worst < allowed, "{dtype:?}: {worst}");
        }
        Ok(())
    }

    #[test]
    fn damaged_weights_are_reported_with_their_layer() -> Result<()> {
        let shapes =
            config().parameters().into_iter().map(|(name, shape)| (name, shape, Initial::Normal(0.2)));
        let parameters = Parameters::draw(shapes, 7, DType::F32, &Device::Cpu)?;
        let damaged = parameters.get("transformer.layers.1.mlp.dense_4h_to_h.bias").expect("a weight");
        let mut values = damaged.to_vec1::<f32>()?;
        values[3] = f32::INFINITY;
        damaged.set(&Tensor::new(values, &Device::Cpu)?)?;
        let glm = Glm::new(&config(), Precision::F32, parameters.var_builder())?;
        let error = glm.forward(&batch(), &Dropout::off()).expect_err("it is infinite").to_string();
        assert!(error.starts_with("layer 1 (from 0): token 0, channel 3 of the output is inf"), "{error}");
        Ok(())
    }

    #[test]
    fn a_position_beyond_the_tables_is_an_error() -> Result<()> {
        let mut long = batch();
        long.positions[4] = 41;
        let error = network(DType::F32)?.forward(&long, &Dropout::off()).expect_err("there is no row 41");
        assert!(error.to_string().contains("position 41 is beyond the model's 41 positions"), "{error}");
        Ok(())
    }
}
