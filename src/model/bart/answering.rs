//! How a BART answers requests and learns from examples: by classification, and by texts.
//!
//! To be classified, the same text goes to the encoder and, moved on by one token, to the decoder, whose last hidden
//! state has seen all of both. A text is written over the request's, behind the tokens that every output begins with.
//!
//! Source: Lewis et al. 2020, sections 3.1 and 3.3; fairseq `models/bart/README.glue.md`; for texts,
//! huggingface/transformers `modeling_bart.py`, `shift_tokens_right`.

use candle_core::{DType, Result as TensorResult, Tensor};
use candle_nn::VarBuilder;

use super::{Bart, Config};
use crate::model::encoder_decoder::EncoderDecoder;
use crate::model::layers::Linear;
use crate::model::loss::candidate_loss;
use crate::model::prompt::{EncodingError, Sides, encode};
use crate::model::text_to_text::TextToText;
use crate::model::writing::{self, Source};
use crate::model::{Cost, Family, LanguageModel, ModelError, Parameters};
use crate::nn::{self, Dropout, Layout, Precision, Sequence};
use crate::request::{Answer, Ask, CandidateScore, Example, Loss, Part, Request};
use crate::tokenizer::Tokenizer;

/// A BART with its tokenizer, and a classification head if it has one.
pub struct BartModel {
    bart: Bart,
    head: Option<ClassificationHead>,
    parameters: Parameters,
    tokenizer: Tokenizer,
}

impl BartModel {
    /// Builds the network over weights; `head_outputs` adds a classification head.
    ///
    /// # Errors
    /// When a weight is missing or has another shape, or the tokenizer is another model's.
    pub fn new(
        config: &Config,
        parameters: Parameters,
        tokenizer: Tokenizer,
        head_outputs: Option<usize>,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        for (token, id) in [("<s>", config.bos_token_id), ("</s>", config.eos_token_id)] {
            if tokenizer.id(token) != Some(id) {
                let token = if token == "<s>" {
                    "`<s>` at the id of its config.json"
                } else {
                    "`</s>` at the id of its config.json"
                };
                return Err(ModelError::Tokenizer {
                    vocabulary: tokenizer.describe(),
                    token,
                    family: Family::Bart,
                });
            }
        }
        let vb = parameters.var_builder();
        let head = head_outputs.map(|outputs| ClassificationHead::new(config, outputs, precision, &vb));
        Ok(Self {
            bart: Bart::new(config, precision, vb.clone())?,
            head: head.transpose()?,
            parameters,
            tokenizer,
        })
    }

    /// One text a pair, `<s> a </s></s> b </s>`, cut from the end; and how many tokens were cut.
    fn encode(&self, request: &Request) -> Result<(Vec<Vec<u32>>, usize), ModelError> {
        let Ask::Classify { pairs, .. } = &request.ask else {
            let what = "a BART answers by a classification head or with texts; ask with `--head classifier` and fine-tune one";
            return Err(ModelError::Unsupported { id: request.id.clone(), what: what.into() });
        };
        let config = self.bart.config();
        let max_tokens = request.max_tokens.min(config.max_position_embeddings);
        if max_tokens < 2 {
            let (id, missing) = (request.id.clone(), 2 - max_tokens);
            return Err(EncodingError::TooLong { id, missing, max_tokens }.into());
        }
        let mut truncated = 0;
        let text = |(a, b): &(String, Option<String>)| {
            let mut ids = vec![config.bos_token_id];
            ids.extend(encode(&self.tokenizer, request, a)?);
            if let Some(b) = b {
                ids.extend([config.eos_token_id; 2]);
                ids.extend(encode(&self.tokenizer, request, b)?);
            }
            truncated += (ids.len() + 1).saturating_sub(max_tokens);
            ids.truncate(max_tokens - 1);
            ids.push(config.eos_token_id);
            Ok::<_, ModelError>(ids)
        };
        let texts = pairs.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        Ok((texts, truncated))
    }

    /// `[texts, outputs]`: the head's outputs.
    fn classes(
        &self,
        request: &Request,
        texts: &[&Vec<u32>],
        dropout: &Dropout,
    ) -> Result<Tensor, ModelError> {
        let head = self.head.as_ref().ok_or_else(|| {
            let what = "the model has no classification head; fine-tune one";
            ModelError::Unsupported { id: request.id.clone(), what: what.into() }
        })?;
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let ids: Vec<u32> = texts.iter().copied().flatten().copied().collect();
        let sight = self.bart.look(&self.bart.encode(&ids, &lengths, dropout)?)?;
        let start = self.bart.config().decoder_start_token_id;
        let moved = texts
            .iter()
            .flat_map(|text| std::iter::once(start).chain(text[..text.len() - 1].iter().copied()));
        let layout = Layout::new(lengths.iter().map(|&len| Sequence::prefix_lm(len, 0)).collect());
        let own: Vec<usize> = (0..texts.len()).collect();
        let hidden =
            self.bart.decode((&sight, &own), (&moved.collect::<Vec<_>>(), &layout), None, dropout)?;
        let mut end = 0;
        let last = lengths.iter().map(|&len| {
            end += len;
            end as u32 - 1
        });
        Ok(head.forward(&nn::embedding(&hidden, &last.collect::<Vec<_>>())?, dropout)?)
    }
}

impl LanguageModel for BartModel {
    fn cost(&self, request: &Request) -> Result<Cost, ModelError> {
        if let Ask::Generate { .. } = request.ask {
            return writing::cost(self, request);
        }
        let (texts, truncated) = self.encode(request)?;
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let decoder = Layout::new(lengths.iter().map(|&len| Sequence::prefix_lm(len, 0)).collect());
        Ok(Cost {
            computed: 2 * lengths.iter().sum::<usize>(),
            as_padded_copies: 2 * texts.len() * request.max_tokens,
            truncated,
            flops: self.bart.forward_flops(&lengths, &decoder, 0),
            num_targets: 0,
        })
    }

    fn learning_cost(&self, example: &Example) -> Result<Cost, ModelError> {
        match &example.request.ask {
            Ask::Generate { .. } => writing::learning_cost(self, example),
            _ => self.cost(&example.request),
        }
    }

    fn answer(&self, requests: &[&Request]) -> Result<Vec<Answer>, ModelError> {
        if let [Request { ask: Ask::Generate { .. }, .. }, ..] = requests {
            return writing::answer(self, requests, |_, _| ());
        }
        let encoded = requests.iter().map(|request| self.encode(request)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = requests.first() else { return Ok(vec![]) };
        let texts: Vec<&Vec<u32>> = encoded.iter().flat_map(|(texts, _)| texts).collect();
        let logits = self.classes(first, &texts, &Dropout::off())?.detach();
        let outputs = logits.dim(1)?;
        let logits = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let mut rest = logits.as_slice();
        let answer = |(texts, _): &(Vec<Vec<u32>>, usize)| {
            let (own, others) = rest.split_at(texts.len() * outputs);
            rest = others;
            let score =
                |&logit: &f32| CandidateScore { score: logit.into(), num_tokens: 0, is_greedy: false };
            Answer { candidates: own.iter().map(score).collect(), ..Answer::default() }
        };
        Ok(encoded.iter().map(answer).collect())
    }

    fn generate(&self, request: &Request, watch: &mut dyn FnMut(usize, &str)) -> Result<Answer, ModelError> {
        writing::answer_watched(self, request, watch)
    }

    fn loss(&self, examples: &[&Example], dropout: &Dropout) -> Result<Tensor, ModelError> {
        if let [Example { request: Request { ask: Ask::Generate { .. }, .. }, .. }, ..] = examples {
            return writing::loss(self, examples, dropout);
        }
        let encoded = examples.iter().map(|e| self.encode(&e.request)).collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&Vec<u32>> = encoded.iter().flat_map(|(texts, _)| texts).collect();
        let logits = self.classes(&examples[0].request, &texts, dropout)?;
        let outputs = logits.dim(1)?;
        let counts: Vec<usize> = encoded.iter().map(|(texts, _)| texts.len() * outputs).collect();
        let labels: Vec<usize> = examples.iter().map(|example| example.label).collect();
        let losses: Vec<Loss> = examples.iter().map(|example| example.loss).collect();
        Ok(candidate_loss(&logits.flatten_all()?, &counts, &labels, &losses)?)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

impl TextToText for BartModel {
    fn network(&self) -> &dyn EncoderDecoder {
        &self.bart
    }

    fn source(&self, request: &Request) -> Result<Source, ModelError> {
        let (config, num_new) = (self.bart.config(), writing::settings(request)?.max_new_tokens);
        if request.prompt.parts().any(Part::is_blank) {
            let what =
                "BART rewrites a whole text and fills no blanks; GLM, T5 and GPT-style models do".into();
            return Err(ModelError::Unsupported { id: request.id.clone(), what });
        }
        let mut request = request.clone();
        request.max_tokens = request.max_tokens.min(config.max_position_embeddings + num_new);
        if let Some(Part::Text { text, .. }) = request.prompt.side_a.first_mut() {
            *text = text.trim_start().to_owned();
        }
        let mut sides = Sides::without_blank(&self.tokenizer, &request)?;
        let truncated = sides.fit(&request, 2 + num_new)?;
        let (bos, eos) = (config.bos_token_id, config.eos_token_id);
        Ok(Source {
            ids: std::iter::once(bos).chain(sides.ids()).chain([eos]).collect(),
            starts: vec![config.decoder_start_token_id, bos],
            ends: vec![eos],
            truncated,
        })
    }

    fn room(&self, source: &Source) -> Option<usize> {
        Some(self.bart.config().max_position_embeddings - source.starts.len())
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// A tanh layer and a projection, each behind dropout.
///
/// Source: huggingface/transformers `modeling_bart.py`, `BartClassificationHead`.
struct ClassificationHead {
    dense: Linear,
    out_proj: Linear,
    dropout: f64,
}

impl ClassificationHead {
    fn new(config: &Config, outputs: usize, precision: Precision, vb: &VarBuilder) -> TensorResult<Self> {
        let (h, vb) = (config.d_model, vb.pp("classification_head"));
        Ok(Self {
            dense: Linear::new(h, h, precision, vb.pp("dense"))?,
            out_proj: Linear::new(h, outputs, precision, vb.pp("out_proj"))?,
            dropout: config.classifier_dropout,
        })
    }

    /// `[b, h]` to `[b, outputs]`.
    fn forward(&self, pooled: &Tensor, dropout: &Dropout) -> TensorResult<Tensor> {
        let hidden = self.dense.forward(&dropout.apply(pooled, self.dropout)?)?.tanh()?;
        self.out_proj.forward(&dropout.apply(&hidden, self.dropout)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::{Architecture, Build, Head, Initial};
    use crate::request::Prompt;

    fn tokenizer(pieces: &str) -> Tokenizer {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("vocab.json"), pieces).expect("writes");
        std::fs::write(folder.path().join("merges.txt"), "#version: 0.2\n").expect("writes");
        Tokenizer::published(folder.path()).expect("opens")
    }

    const PIECES: &str =
        r#"{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "c": 6, "Ġ": 7, "<mask>": 8}"#;

    /// A network whose weights are large enough for mistakes to show.
    fn model(tokenizer: Tokenizer) -> Result<Box<dyn LanguageModel>, ModelError> {
        let config = Config {
            vocab_size: 9,
            d_model: 16,
            encoder_layers: 2,
            decoder_layers: 2,
            encoder_attention_heads: 4,
            decoder_attention_heads: 2,
            encoder_ffn_dim: 24,
            decoder_ffn_dim: 40,
            max_position_embeddings: 12,
            scale_embedding: true,
            ..Config::named().next().expect("bart-base").1
        };
        let head = Head::Classes { outputs: 3, spans: 0 };
        let parts = config.head(head).into_iter().flat_map(|part| part.weights);
        let weights = config.body().into_iter().chain(parts).map(|(name, shape)| {
            let initial = match config.initial(&name) {
                Initial::Normal(_) => Initial::Normal(0.3),
                other => other,
            };
            (name, shape, initial)
        });
        let parameters = Parameters::draw(weights, 3, DType::F32, &Device::Cpu)?;
        let (dtype, device) = (DType::F32, Device::Cpu);
        let build = Build { seed: 1, head, is_trained: true, dropout: 0.0, dtype, device };
        config.build(parameters, tokenizer, &build)
    }

    fn request(pairs: &[(&str, Option<&str>)]) -> Request {
        let pairs = pairs.iter().map(|(a, b)| ((*a).to_owned(), b.map(str::to_owned))).collect();
        Request {
            id: "dev-0".into(),
            prompt: Prompt::default(),
            ask: Ask::Classify { pairs, spans: vec![], num_labels: 3 },
            max_tokens: 64,
        }
    }

    #[test]
    fn an_answer_is_the_same_bytes_whatever_its_batch() {
        let model = model(tokenizer(PIECES)).expect("it can be built");
        let (first, second) = (request(&[("abc a", Some("b"))]), request(&[("c", None), ("ab", None)]));
        let both = model.answer(&[&first, &second]).expect("answers");
        assert_eq!((both[0].candidates.len(), both[1].candidates.len()), (3, 6));
        assert_eq!(both[1], model.answer(&[&second]).expect("an answer")[0]);
        assert_ne!(both[1].candidates[..3], both[1].candidates[3..]);
    }

    #[test]
    fn encoder_and_decoder_read_the_same_tokens_up_to_the_models_length() {
        let model = model(tokenizer(PIECES)).expect("it can be built");
        // <s> a b c </s></s> a </s>, twice.
        assert_eq!(model.cost(&request(&[("abc", Some("a"))])).expect("a cost").computed, 2 * 8);
        let cost = model.cost(&request(&[("abcabcabcabcabc", None)])).expect("a cost");
        assert_eq!((cost.computed, cost.truncated), (2 * 12, 5)); // of 17 tokens
    }

    #[test]
    fn gradients_reach_every_weight_but_the_unused_rows() {
        let model = model(tokenizer(PIECES)).expect("it can be built");
        let example = Example::of_candidates(request(&[("abc", Some("a"))]), 2, Loss::CrossEntropy);
        let (tape, mut gradients) = (nn::Tape::start(), nn::Gradients::default());
        let loss = model.loss(&[&example], &Dropout::new(1)).expect("a loss");
        tape.backward(&loss, &mut gradients).expect("gradients");
        for (name, var) in model.parameters().iter() {
            assert!(gradients.get(var).is_some(), "{name} gets no gradient");
        }
    }

    #[test]
    fn what_a_bart_cannot_do_is_refused() {
        let model = model(tokenizer(PIECES)).expect("it can be built");
        let ask = Ask::Word { words: vec!["a".into()] };
        let error = model.cost(&Request { ask, ..request(&[]) }).expect_err("no cloze").to_string();
        assert!(error.contains("dev-0: a BART answers by a classification head or with texts"), "{error}");
        let other = PIECES.replace("</s>\": 2", "</s>\": 3").replace("<unk>\": 3", "<unk>\": 2");
        let error = super::tests::model(tokenizer(&other)).err().expect("another vocabulary").to_string();
        assert!(error.contains("`</s>` at the id of its config.json"), "{error}");
    }
}
