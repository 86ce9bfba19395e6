//! How a GLM answers requests and learns from examples.
//!
//! The context of a request is read once and every candidate is scored against it in the same pass: part A
//! never sees part B, so this is exact, in evaluation and in training.

use candle_core::{DType, Device, Result as TensorResult, Tensor};

use super::{Batch, Config, Encoding, Glm, Head, Pool, Targets};
use crate::model::language_model::window_batches;
use crate::model::loss::{candidate_loss, candidate_scores};
use crate::model::{Cost, LanguageModel, ModelError, Parameters};
use crate::nn::{self, Dropout, Precision, TokenScore};
use crate::request::{Answer, Ask, CandidateScore, Example, Loss, Request};
use crate::tokenizer::Tokenizer;

/// A GLM with its tokenizer, and a classification head if it has one.
pub struct GlmModel {
    glm: Glm,
    head: Option<Head>,
    parameters: Parameters,
    tokenizer: Tokenizer,
}

impl GlmModel {
    /// Builds the network over weights; `head_outputs` adds a classification head with weights under
    /// `pool_layer` and `multichoice_head`.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(
        config: &Config,
        parameters: Parameters,
        tokenizer: Tokenizer,
        head_outputs: Option<usize>,
        precision: Precision,
    ) -> TensorResult<Self> {
        let vb = parameters.var_builder();
        let head = |outputs| Head::new(config.hidden_size, outputs, config.output_dropout_prob, vb.clone());
        let head = head_outputs.map(head).transpose()?;
        Ok(Self { glm: Glm::new(config, precision, vb.clone())?, head, parameters, tokenizer })
    }

    /// The longest sequence: what is asked for, as far as the model has positions.
    fn fit(&self, request: &Request) -> Request {
        let max_tokens = request.max_tokens.min(self.glm.config().max_sequence_length);
        Request { max_tokens, ..request.clone() }
    }

    pub(super) fn glm(&self) -> &Glm {
        &self.glm
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn encode(&self, request: &Request) -> Result<Vec<Encoding>, ModelError> {
        Ok(Encoding::computed(&self.tokenizer, &self.fit(request))?)
    }

    /// `[pairs, num_labels]` outputs of the head, flat; none without pooled tokens.
    fn classes(&self, requests: &[&Request], pooled: &Tensor) -> Result<Vec<f32>, ModelError> {
        if pooled.dim(0)? == 0 {
            return Ok(Vec::new());
        }
        let logits = self.head(requests[0])?.forward(pooled, &Dropout::off())?;
        Ok(logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    fn head(&self, request: &Request) -> Result<&Head, ModelError> {
        let what = "the model has no classification head; ask by cloze, or fine-tune one";
        self.head
            .as_ref()
            .ok_or_else(|| ModelError::Unsupported { id: request.id.clone(), what: what.into() })
    }
}

impl LanguageModel for GlmModel {
    fn cost(&self, request: &Request) -> Result<Cost, ModelError> {
        if let Ask::Generate { .. } = request.ask {
            return self.generation_cost(request);
        }
        let encodings = self.encode(request)?;
        let copies = match &request.ask {
            Ask::Word { .. } | Ask::Generate { .. } => 1,
            Ask::Choice { candidates, .. } => candidates.len(),
            Ask::Classify { pairs, .. } => pairs.len(),
            Ask::LogProb { .. } => encodings.len(),
        };
        let mut places = Places::default();
        for encoding in &encodings {
            places.add(encoding);
        }
        let logit_rows = places.scored.len() + places.words.len();
        Ok(Cost {
            flops: self.glm.config().forward_flops(&Batch::pack(&encodings).layout.sequences, logit_rows),
            computed: encodings.iter().map(|e| e.input_ids.len()).sum(),
            as_padded_copies: copies * self.fit(request).max_tokens,
            truncated: encodings.iter().map(|e| e.truncated_tokens).sum(),
            num_targets: 0,
        })
    }

    fn learning_cost(&self, example: &Example) -> Result<Cost, ModelError> {
        match &example.request.ask {
            Ask::Generate { .. } => self.text_cost(example),
            _ => self.cost(&example.request),
        }
    }

    fn answer(&self, requests: &[&Request]) -> Result<Vec<Answer>, ModelError> {
        if let [Request { ask: Ask::Generate { .. }, .. }, ..] = requests {
            return self.generate_watched(requests, |_, _, _| ());
        }
        if let [Request { ask: Ask::LogProb { .. }, .. }, ..] = requests {
            return requests.iter().map(|request| self.log_prob(request)).collect();
        }
        let encodings = requests.iter().map(|r| self.encode(r)).collect::<Result<Vec<_>, _>>()?;
        let batch = Batch::pack(encodings.iter().flatten());
        let hidden = self.glm.forward(&batch, &Dropout::off())?.detach(); // [t, h]
        let mut places = Places::default();
        encodings.iter().flatten().for_each(|encoding| places.add(encoding));
        let (table, precision) = (self.glm.word_embeddings(), self.glm.precision());
        let scored = nn::embedding(&hidden, &places.scored)?;
        let scores = nn::score_tokens(&scored, table, &places.targets, precision)?;
        let words = nn::logits(&nn::embedding(&hidden, &places.words)?, table, precision)?;
        let words = words.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let classes = self.classes(requests, &nn::embedding(&hidden, &places.pooled)?)?;
        let mut reader = Reader { scores: &scores, words: &words, word: 0, classes: &classes };
        let answer = |(request, encodings): (&&Request, &Vec<Encoding>)| {
            let candidates = match &request.ask {
                Ask::Word { .. } => reader.words(&encodings[0])?,
                Ask::Choice { length_penalty, .. } => reader.choices(encodings, *length_penalty),
                Ask::Classify { pairs, num_labels, .. } => reader.classes(pairs.len() * num_labels),
                Ask::Generate { .. } | Ask::LogProb { .. } => {
                    let what =
                        "texts and scores were asked for in one batch; ask for them one after the other";
                    return Err(ModelError::Unsupported { id: request.id.clone(), what: what.into() });
                }
            };
            Ok(Answer { candidates, ..Answer::default() })
        };
        requests.iter().zip(&encodings).map(answer).collect()
    }

    fn generate(&self, request: &Request, watch: &mut dyn FnMut(usize, &str)) -> Result<Answer, ModelError> {
        let mut failed = None;
        let mut answers =
            self.generate_watched(&[request], |_, blank, tokens| match self.text(tokens, request) {
                Ok(text) => watch(blank, &text),
                Err(error) => failed = Some(error),
            })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(answers.remove(0)),
        }
    }

    fn loss(&self, examples: &[&Example], dropout: &Dropout) -> Result<Tensor, ModelError> {
        if let [Example { request: Request { ask: Ask::Generate { .. }, .. }, .. }, ..] = examples {
            return self.text_loss(examples, dropout);
        }
        let encodings = examples.iter().map(|e| self.encode(&e.request)).collect::<Result<Vec<_>, _>>()?;
        let batch = Batch::pack(encodings.iter().flatten());
        let hidden = self.glm.forward(&batch, dropout)?; // [t, h]
        let mut places = Places::default();
        encodings.iter().flatten().for_each(|encoding| places.add(encoding));
        let (scores, counts) = self.scores(examples, &encodings, &places, &hidden, dropout)?; // [c]
        let labels: Vec<usize> = examples.iter().map(|example| example.label).collect();
        let losses: Vec<Loss> = examples.iter().map(|example| example.loss).collect();
        Ok(candidate_loss(&scores, &counts, &labels, &losses)?)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

/// Where in a packed batch something is read off.
#[derive(Default)]
struct Places {
    /// Tokens before the next encoding.
    start: usize,
    /// Tokens whose successor is scored, and those successors.
    scored: Vec<u32>,
    targets: Vec<u32>,
    /// Starts of pieces at which a word is read.
    words: Vec<u32>,
    /// Pooled tokens.
    pooled: Vec<u32>,
}

impl Places {
    fn add(&mut self, encoding: &Encoding) {
        let at = |place: usize| (self.start + place) as u32;
        match &encoding.targets {
            Targets::Words(_) => self.words.push(at(encoding.prefix_length)),
            Targets::Tokens { ids, mask } => {
                let scored: Vec<usize> = (0..ids.len()).filter(|&i| mask[i]).collect();
                self.scored.extend(scored.iter().map(|&i| at(i)));
                self.targets.extend(scored.iter().map(|&i| ids[i]));
            }
            Targets::Pooled => self.pooled.push(at(match Pool::default() {
                Pool::Cls => 0,
                Pool::Start => encoding.prefix_length,
                Pool::Pad => encoding.prefix_length - 1,
            })),
        }
        self.start += encoding.input_ids.len();
    }
}

/// Tokens that are scored in each piece.
fn scored_lengths(encoding: &Encoding) -> Vec<usize> {
    let Targets::Tokens { mask, .. } = &encoding.targets else { return Vec::new() };
    let mut start = encoding.prefix_length;
    let piece = |&length: &usize| {
        start += length;
        mask[start - length..start].iter().filter(|scored| **scored).count()
    };
    encoding.pieces.iter().map(piece).collect()
}

impl Encoding {
    /// The words that are read at the start of the piece.
    fn words(&self) -> &[u32] {
        match &self.targets {
            Targets::Words(words) => words,
            _ => &[],
        }
    }
}

/// Reads scores off in the order of the requests.
struct Reader<'a> {
    scores: &'a [TokenScore],
    words: &'a Tensor,
    word: usize,
    classes: &'a [f32],
}

impl Reader<'_> {
    /// One logit a word.
    fn words(&mut self, encoding: &Encoding) -> TensorResult<Vec<CandidateScore>> {
        let logits = self.words.get(self.word)?.to_vec1::<f32>()?;
        self.word += 1;
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let score = |&word: &u32| {
            let logit = logits[word as usize];
            CandidateScore { score: logit.into(), num_tokens: 1, is_greedy: logit >= largest }
        };
        Ok(encoding.words().iter().map(score).collect())
    }

    /// One output of the head a class, or a candidate.
    fn classes(&mut self, count: usize) -> Vec<CandidateScore> {
        let (own, rest) = self.classes.split_at(count);
        self.classes = rest;
        own.iter()
            .map(|&logit| CandidateScore { score: logit.into(), num_tokens: 0, is_greedy: false })
            .collect()
    }

    /// One sum of log-probabilities a candidate, over the tokens that its encoding marks as scored.
    fn choices(&mut self, encodings: &[Encoding], length_penalty: f64) -> Vec<CandidateScore> {
        let choice = |length: usize| {
            let (own, rest) = self.scores.split_at(length);
            self.scores = rest;
            let sum: f64 = own.iter().map(|s| f64::from(s.log_prob)).sum();
            CandidateScore {
                score: sum / (length as f64).powf(length_penalty),
                num_tokens: length,
                is_greedy: own.iter().all(|s| s.is_greedy),
            }
        };
        encodings.iter().flat_map(scored_lengths).map(choice).collect()
    }
}

impl GlmModel {
    /// The log-probability of a text, a few windows at a time: memory does not grow with the text.
    fn log_prob(&self, request: &Request) -> Result<Answer, ModelError> {
        let mut total = CandidateScore { score: 0.0, num_tokens: 0, is_greedy: true };
        for encodings in window_batches(&self.encode(request)?, Encoding::len) {
            let hidden = self.glm.forward(&Batch::pack(encodings), &Dropout::off())?.detach(); // [t, h]
            let mut places = Places::default();
            for encoding in encodings {
                places.add(encoding);
            }
            let (rows, table) = (nn::embedding(&hidden, &places.scored)?, self.glm.word_embeddings());
            total.add(&nn::score_tokens(&rows, table, &places.targets, self.glm.precision())?);
        }
        Ok(Answer { candidates: vec![total], ..Answer::default() })
    }

    /// `[c]` differentiable scores of the candidates of all examples, and how many each example has. The
    /// examples are of one task, so they are all asked in the same form.
    fn scores(
        &self,
        examples: &[&Example],
        encodings: &[Vec<Encoding>],
        places: &Places,
        hidden: &Tensor,
        dropout: &Dropout,
    ) -> Result<(Tensor, Vec<usize>), ModelError> {
        let table = self.glm.word_embeddings();
        let all = || encodings.iter().flatten();
        match &examples[0].request.ask {
            Ask::Word { .. } => {
                let words: Vec<&[u32]> = all().map(Encoding::words).collect();
                let counts: Vec<usize> = words.iter().map(|w| w.len()).collect();
                let starts = places.words.iter().zip(&counts);
                let starts: Vec<u32> =
                    starts.flat_map(|(&place, &count)| std::iter::repeat_n(place, count)).collect();
                let rows = nn::embedding(hidden, &starts)?; // [c, h]
                Ok(((nn::embedding(table, &words.concat())? * rows)?.sum(1)?, counts))
            }
            Ask::Choice { length_penalty, .. } => {
                let lengths = |encodings: &Vec<Encoding>| encodings.iter().flat_map(scored_lengths).collect();
                let lengths: Vec<Vec<usize>> = encodings.iter().map(lengths).collect();
                let rows = nn::embedding(hidden, &places.scored)?;
                let losses =
                    nn::linear_cross_entropy(&rows, table, &places.targets, 0.0, self.glm.precision())?;
                let scores = candidate_scores(&losses, &lengths.concat(), *length_penalty)?;
                Ok((scores, lengths.iter().map(Vec::len).collect()))
            }
            Ask::Classify { num_labels, .. } => {
                let pooled = nn::embedding(hidden, &places.pooled)?;
                let logits = self.head(&examples[0].request)?.forward(&pooled, dropout)?; // [pairs, num_labels]
                Ok((logits.flatten_all()?, encodings.iter().map(|e| e.len() * num_labels).collect()))
            }
            Ask::LogProb { .. } => {
                let what = "whole texts are learned in pre-training (`glm-eval pretrain`), not here";
                Err(ModelError::Unsupported { id: examples[0].request.id.clone(), what: what.into() })
            }
            Ask::Generate { .. } => {
                let what = "texts and choices are learned in one batch; learn them one after the other";
                Err(ModelError::Unsupported { id: examples[0].request.id.clone(), what: what.into() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Build, Head, ModelSource};
    use crate::request::{Cut, Decoding, Edges, Part, Prompt};

    fn model() -> Box<dyn LanguageModel> {
        let source = ModelSource::open_random("glm-tiny", None).expect("it is bundled");
        let build = Build {
            seed: 1,
            head: Head::Vocabulary,
            is_trained: false,
            dropout: 0.0,
            dtype: DType::F32,
            device: Device::Cpu,
        };
        source.build(&build).expect("it can be built")
    }

    fn choice(candidates: &[&str], end_of_piece: bool) -> Request {
        let text = Part::Text { text: "the cat sat on the".into(), shortenable: true };
        let candidates = candidates.iter().map(ToString::to_string).collect();
        Request {
            id: "test".into(),
            prompt: Prompt { side_a: vec![text, Part::Blank], side_b: vec![] },
            ask: Ask::Choice { candidates, end_of_piece, length_penalty: 0.0, bidirectional: true },
            max_tokens: 64,
        }
    }

    #[test]
    fn every_token_of_a_candidate_is_scored_and_the_end_of_the_piece_when_asked() {
        let tokens = |candidate: &str| Tokenizer::builtin().encode(candidate).expect("plain text").len();
        let candidates = [" mat", " old garden wall"];
        let model = model();
        let answer =
            |end| model.answer(&[&choice(&candidates, end)]).expect("an answer").remove(0).candidates;
        for (i, (without, with)) in answer(false).iter().zip(answer(true)).enumerate() {
            assert_eq!(
                (without.num_tokens, with.num_tokens),
                (tokens(candidates[i]), tokens(candidates[i]) + 1)
            );
            assert!(with.score < without.score, "one more log-probability is added");
        }
    }

    #[test]
    fn a_text_is_learned_as_far_as_the_model_has_block_positions() {
        let request = Request {
            ask: Ask::Generate { decoding: Decoding::greedy(1200), edges: Edges::Both, cut: Cut::End },
            max_tokens: 2000,
            ..choice(&[], true)
        };
        let texts = vec![" so".repeat(1500)];
        let example = Example { texts, ..Example::of_candidates(request, 0, Loss::Generative) };
        let model = model();
        let cost = model.learning_cost(&example).expect("a cost");
        assert_eq!(cost.truncated, 1500 + 1 - 1024); // of the words and the end of the piece
        let loss = model.loss(&[&example], &Dropout::off()).expect("it has positions enough");
        assert!(loss.to_scalar::<f32>().expect("a scalar").is_finite());
    }

    #[test]
    fn a_candidate_without_tokens_is_an_error_with_and_without_the_end_of_the_piece() {
        for end in [false, true] {
            let error = model().cost(&choice(&[" mat", ""], end)).expect_err("nothing to score");
            assert!(error.to_string().contains("has no tokens"), "{error}");
        }
    }
}
