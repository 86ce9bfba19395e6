//! What encoder-decoder families have in common: texts that are encoded once, and a decoder that looks at them.

use candle_core::{Result, Tensor, bail};

use super::glm::Cache;
use crate::nn::{Dropout, Layout, OutputLayer, Precision, Sequence, Visibility};

/// A network of an encoder and a decoder.
pub trait EncoderDecoder {
    /// Reads texts.
    ///
    /// # Shapes
    /// - `ids`: `[t]`, the texts one after the other; `lengths`: tokens of each
    fn encode(&self, ids: &[u32], lengths: &[usize], dropout: &Dropout) -> Result<Encoded>;

    /// What the decoder's layers look at: keys and values of encoded texts.
    fn look(&self, encoded: &Encoded) -> Result<Sight>;

    /// Hidden states of the decoder.
    ///
    /// # Shapes
    /// - `ids`: `[t]`, laid out in sequences of which each looks at one of `texts`; their pieces don't see each other
    /// - `cache`: keys and values of the tokens before, which takes up those of the new; each sequence's `cached` is what
    ///   it holds. Not differentiable.
    /// - output: `[t, h]`; logits are taken from the rows that need them
    fn decode(
        &self,
        looking: (&Sight, &[usize]),
        tokens: (&[u32], &Layout),
        cache: Option<&mut Cache>,
        dropout: &Dropout,
    ) -> Result<Tensor>;

    /// From hidden states to logits.
    fn head(&self) -> OutputLayer<'_>;

    /// The token that the decoder begins with.
    fn start_token(&self) -> u32;

    /// What matrix products are computed with.
    fn precision(&self) -> Precision;

    /// Operations of the matrix products where texts of so many tokens are read, and `logit_rows` of the decoder's tokens
    /// get logits.
    fn forward_flops(&self, texts: &[usize], decoder: &Layout, logit_rows: usize) -> u64;
}

/// Texts that an encoder has read, packed without padding.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `[t, h]`: the encoder's output.
    pub hidden: Tensor,
    /// Tokens of each text, adding up to `t`.
    pub lengths: Vec<usize>,
}

impl Encoded {
    /// Every token of a text is visible to every other of it.
    pub fn layout(lengths: &[usize]) -> Layout {
        Layout::new(lengths.iter().map(|&len| Sequence::prefix_lm(len, len)).collect())
    }

    /// Who sees whom in cross attention: `texts` says which text each sequence of the decoder looks at. Sequences of
    /// one text stand together, in the order of the texts.
    ///
    /// # Errors
    /// When a sequence has no text, or they are in another order.
    pub fn cross(lengths: &[usize], decoder: &Layout, texts: &[usize]) -> Result<Layout> {
        let fits = texts.len() == decoder.sequences.len() && texts.iter().all(|&text| text < lengths.len());
        if !fits || !texts.is_sorted() {
            bail!("{} sequences of the decoder don't fit the texts {texts:?}", decoder.sequences.len());
        }
        let mut queries = vec![0; lengths.len()];
        for (sequence, &text) in decoder.sequences.iter().zip(texts) {
            queries[text] += sequence.len();
        }
        let cross = queries.into_iter().zip(lengths).map(|(queries, &keys)| Sequence::cross(queries, keys));
        Ok(Layout::new(cross.collect()))
    }
}

/// Keys and values of encoded texts, for each layer of a decoder.
#[derive(Clone, Debug)]
pub struct Sight {
    /// `[keys, h]` each.
    pub layers: Vec<(Tensor, Tensor)>,
    /// Tokens of each text, adding up to the keys.
    pub lengths: Vec<usize>,
}

/// The place of each decoder token in its own output: every piece begins at 0, behind what is cached.
pub fn positions(decoder: &Layout) -> Vec<u32> {
    let of = |sequence: &Sequence| {
        let pieces = match &sequence.visibility {
            Visibility::Pieces { prefix: 0, pieces, .. } => pieces.clone(),
            _ => vec![sequence.len()],
        };
        let start = sequence.cached as u32;
        pieces.into_iter().flat_map(move |len| start..start + len as u32).collect::<Vec<_>>()
    };
    decoder.sequences.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::decoding::{Convention, Row, Search};
    use crate::model::bart::{self, Bart};
    use crate::model::continuation::over_texts;
    use crate::model::t5::{self, T5};
    use crate::model::writing::Source;
    use crate::model::{Architecture, Initial, Parameters};
    use crate::nn;
    use crate::request::Decoding;

    /// Weights that are large enough for mistakes to show.
    fn weights(config: &dyn Architecture) -> Parameters {
        let weights = config.body().into_iter().map(|(name, shape)| {
            let initial = match config.initial(&name) {
                Initial::Normal(_) => Initial::Normal(0.3),
                other => other,
            };
            (name, shape, initial)
        });
        Parameters::draw(weights, 5, DType::F32, &Device::Cpu).expect("weights")
    }

    fn bart() -> bart::Config {
        bart::Config {
            vocab_size: 20,
            d_model: 16,
            encoder_layers: 2,
            decoder_layers: 2,
            encoder_attention_heads: 2,
            decoder_attention_heads: 4,
            encoder_ffn_dim: 24,
            decoder_ffn_dim: 24,
            max_position_embeddings: 16,
            ..bart::Config::named().next().expect("bart-base").1
        }
    }

    fn models() -> [Box<dyn EncoderDecoder>; 2] {
        models_of(Precision::F32)
    }

    fn models_of(precision: Precision) -> [Box<dyn EncoderDecoder>; 2] {
        let sizes = t5::Config::named().next().expect("t5-tiny").1;
        let t5 = t5::Config { vocab_size: 20, d_model: 16, d_kv: 6, d_ff: 24, num_heads: 3, ..sizes };
        let bart = bart();
        let (t5_weights, bart_weights) = (weights(&t5).var_builder(), weights(&bart).var_builder());
        [
            Box::new(T5::new(&t5, precision, t5_weights).expect("a T5")),
            Box::new(Bart::new(&bart, precision, bart_weights).expect("a BART")),
        ]
    }

    /// Two texts of three and five tokens.
    fn sight(model: &dyn EncoderDecoder) -> Sight {
        let encoded = model.encode(&[4, 9, 1, 3, 8, 7, 2, 1], &[3, 5], &Dropout::off()).expect("texts");
        model.look(&encoded).expect("keys and values")
    }

    fn rows(hidden: &Tensor) -> Vec<Vec<f32>> {
        hidden.to_vec2().expect("rows")
    }

    fn assert_near(a: &[Vec<f32>], b: &[Vec<f32>]) {
        assert_eq!(a.len(), b.len());
        assert!(
            a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-5),
            "{a:?}, {b:?}"
        );
    }

    #[test]
    fn steps_from_a_cache_equal_one_pass_and_beams_look_at_one_text() {
        for model in models() {
            let (sight, off) = (sight(&*model), Dropout::off());
            // Of the second text, two beams that begin alike; of the first, one.
            let outputs = [[2, 5, 6], [2, 7, 9], [2, 7, 4]];
            let texts = [0, 1, 1];
            let whole = Layout::new(vec![Sequence::prefix_lm(3, 0); 3]);
            let once = model.decode((&sight, &texts), (outputs.as_flattened(), &whole), None, &off);
            let once = rows(&once.expect("hidden states"));
            let mut cache = Cache::new();
            for step in 0..3 {
                let ids: Vec<u32> = outputs.iter().map(|output| output[step]).collect();
                let layout = Layout::new(vec![Sequence { cached: step, ..Sequence::prefix_lm(1, 0) }; 3]);
                let hidden = model.decode((&sight, &texts), (&ids, &layout), Some(&mut cache), &off);
                let expected: Vec<Vec<f32>> = (0..3).map(|output| once[output * 3 + step].clone()).collect();
                assert_near(&rows(&hidden.expect("hidden states")), &expected);
            }
        }
    }

    #[test]
    fn pieces_are_as_they_are_alone_and_a_texts_token_changes_only_what_looks_at_it() {
        for model in models() {
            let (sight, off) = (sight(&*model), Dropout::off());
            let ids = [2, 5, 6, 2, 7, 2, 7];
            let layout = Layout::new(vec![Sequence::pieces(0, vec![3, 2]), Sequence::pieces(0, vec![2])]);
            let all =
                rows(&model.decode((&sight, &[0, 1]), (&ids, &layout), None, &off).expect("hidden states"));
            let alone = Layout::new(vec![Sequence::prefix_lm(2, 0)]);
            let piece = model.decode((&sight, &[0]), (&[2, 7], &alone), None, &off).expect("hidden states");
            assert_near(&rows(&piece), &all[3..5]);
            assert_ne!(all[3..5], all[5..]); // the same tokens over another text
            let other = model.encode(&[4, 9, 1, 3, 8, 7, 2, 6], &[3, 5], &off).expect("texts");
            let other = model.look(&other).expect("keys and values");
            let after =
                rows(&model.decode((&other, &[0, 1]), (&ids, &layout), None, &off).expect("hidden states"));
            assert_eq!(all[..5], after[..5]);
            assert!(all[5..].iter().zip(&after[5..]).all(|(a, b)| a != b));
        }
    }

    #[test]
    fn what_is_written_has_the_probability_that_it_is_scored_with_in_bf16_too() {
        for precision in [Precision::F32, Precision::Bf16].into_iter().filter(|p| p.is_supported()) {
            for model in models_of(precision) {
                let source = Source { ids: vec![4, 9, 1], starts: vec![2], ends: vec![], truncated: 0 };
                let decoding = Decoding::greedy(1);
                let convention = Convention::HuggingFace;
                let search = Search { decoding: &decoding, convention, ends: &source.ends };
                let rows = [Row { max_new_tokens: 1, ..Row::default() }];
                let sources = std::slice::from_ref(&source);
                let found = over_texts(&*model, 20, sources, &rows, search, &mut |_| ()).expect("a text");
                let off = Dropout::off();
                let sight = model.look(&model.encode(&source.ids, &[3], &off).expect("a text")).expect("it");
                let layout = Layout::new(vec![Sequence::prefix_lm(1, 0)]);
                let hidden = model.decode((&sight, &[0]), (&[2], &layout), None, &off).expect("states");
                let best = &found[0][0];
                let scores = nn::score_tokens(&hidden, model.head(), &best.tokens, precision);
                let score = f64::from(scores.expect("a score")[0].log_prob);
                assert!((best.log_prob - score).abs() < 1e-6, "{precision:?}: {} and {score}", best.log_prob);
            }
        }
    }

    #[test]
    fn a_barts_logits_have_their_bias_and_its_embedding_is_not_copied_for_them() {
        let bart = bart();
        let mut weights = weights(&bart).snapshot().expect("a copy");
        let bias: Vec<f32> = (0..20u8).map(|id| f32::from(id) / 4.0).collect();
        let tensor = Tensor::from_vec(bias.clone(), (1, 20), &Device::Cpu).expect("a tensor");
        weights.insert("final_logits_bias".into(), tensor);
        let weights = Parameters::load(&weights, DType::F32, &Device::Cpu).expect("weights");
        let model = Bart::new(&bart, Precision::F32, weights.var_builder()).expect("a BART");
        let hidden = Tensor::ones((1, 16), DType::F32, &Device::Cpu).expect("a tensor");
        let logits = |layer: OutputLayer| {
            nn::logits(&hidden, layer, Precision::F32).expect("logits").to_vec2::<f32>().expect("values")
        };
        let layer = model.head();
        assert_eq!(layer.weight.dims(), [20, 16]);
        let (with, without) = (logits(layer), logits(layer.weight.into()));
        let added: Vec<f32> = without[0].iter().zip(&bias).map(|(logit, bias)| logit + bias).collect();
        assert_near(&with, &[added]);
    }

    #[test]
    fn every_piece_begins_at_position_0_and_sees_its_own_text() {
        let decoder = Layout::new(vec![Sequence::pieces(0, vec![2, 3]), Sequence::prefix_lm(1, 0)]);
        assert_eq!(positions(&decoder), [0, 1, 0, 1, 2, 0]);
        let cross = Encoded::cross(&[7, 4], &decoder, &[0, 1]).expect("one text a sequence");
        assert_eq!(cross.sequences, [Sequence::cross(5, 7), Sequence::cross(1, 4)]);
        let beams = Encoded::cross(&[9, 7], &decoder, &[1, 1]).expect("one text for both");
        assert_eq!(beams.sequences, [Sequence::cross(0, 9), Sequence::cross(6, 7)]);
        for texts in [&[0][..], &[0, 2], &[1, 0]] {
            assert!(Encoded::cross(&[7, 4], &decoder, texts).is_err());
        }
        let step = Layout::new(vec![Sequence { cached: 4, ..Sequence::prefix_lm(2, 0) }]);
        assert_eq!(positions(&step), [4, 5]);
    }
}
