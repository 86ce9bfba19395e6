//! How a BERT or RoBERTa answers requests and learns from examples: by a classification head over text pairs, or by the
//! masked-language-model head at the blank of a cloze.

use candle_core::{DType, Device, Result as TensorResult, Tensor};

use super::encoding::{Encoding, Specials, Targets, tokens};
use super::{Batch, Bert, ClassHead, Config, MaskedLmHead};
use crate::model::loss::{candidate_loss, candidate_scores};
use crate::model::{Build, Cost, Head, LanguageModel, ModelError, Parameters};
use crate::nn::{self, Dropout, Precision};
use crate::request::{Answer, Ask, CandidateScore, Example, Loss, Request};
use crate::tokenizer::Tokenizer;

/// An encoder with its tokenizer and one head.
pub struct BertModel {
    bert: Bert,
    head: Heads,
    parameters: Parameters,
    tokenizer: Tokenizer,
    special: Specials,
    precision: Precision,
}

enum Heads {
    MaskedLm(MaskedLmHead),
    Classes(ClassHead),
}

impl BertModel {
    /// Builds the network over weights.
    ///
    /// # Errors
    /// When a weight is missing or of another shape, or the tokenizer lacks a special token.
    pub fn new(
        config: &Config,
        parameters: Parameters,
        tokenizer: Tokenizer,
        build: &Build,
    ) -> Result<Self, ModelError> {
        let lacks = |token: &&'static str| tokenizer.id(token).is_none();
        let special = Specials::find(config, &tokenizer).ok_or_else(|| ModelError::Tokenizer {
            vocabulary: tokenizer.describe(),
            token: tokens(config.family).iter().copied().find(lacks).unwrap_or_default(),
            family: config.family,
        })?;
        let precision = Precision::of(build.dtype, &build.device).1;
        let vb = parameters.var_builder();
        let head = match build.head {
            Head::Vocabulary => Heads::MaskedLm(MaskedLmHead::new(config, precision, vb.clone())?),
            Head::Classes { outputs, spans } => {
                Heads::Classes(ClassHead::new(config, outputs, spans, vb.clone())?)
            }
        };
        Ok(Self { bert: Bert::new(config, precision, vb)?, head, parameters, tokenizer, special, precision })
    }

    /// A request's sequences, as far as the model has positions.
    fn encode(&self, request: &Request) -> Result<Vec<Encoding>, ModelError> {
        let max_tokens = request.max_tokens.min(self.bert.config().max_tokens());
        let request = Request { max_tokens, ..request.clone() };
        Ok(Encoding::all(&self.tokenizer, self.special, &request)?)
    }

    fn class_head(&self, id: &str) -> Result<&ClassHead, ModelError> {
        match &self.head {
            Heads::Classes(head) => Ok(head),
            Heads::MaskedLm(_) => Err(unsupported(
                id,
                "the model was built to fill blanks, without a classification head; ask by cloze, or fine-tune one",
            )),
        }
    }

    fn masked_lm_head(&self, id: &str) -> Result<&MaskedLmHead, ModelError> {
        match &self.head {
            Heads::MaskedLm(head) => Ok(head),
            Heads::Classes(_) => {
                Err(unsupported(id, "the model was built with a classification head, which fills no blanks"))
            }
        }
    }

    /// `[inputs, outputs]` of the classification head.
    fn classes(
        &self,
        id: &str,
        places: &Places,
        hidden: &Tensor,
        dropout: &Dropout,
    ) -> Result<Tensor, ModelError> {
        let first = nn::embedding(hidden, &places.pooled)?; // [b, h]
        let spans = match places.spans.is_empty() {
            true => None,
            false => Some(means(hidden, &places.spans)?.reshape((places.pooled.len(), ()))?), // [b, spans * h]
        };
        Ok(self.class_head(id)?.forward(&first, spans.as_ref(), dropout)?)
    }
}

fn unsupported(id: &str, what: &str) -> ModelError {
    ModelError::Unsupported { id: id.into(), what: what.into() }
}

impl LanguageModel for BertModel {
    fn cost(&self, request: &Request) -> Result<Cost, ModelError> {
        let encodings = self.encode(request)?;
        let (mut places, mut copies) = (Places::default(), 0);
        for encoding in &encodings {
            places.add(encoding);
            copies += match &encoding.targets {
                Targets::Texts { candidates, .. } => candidates.len(),
                Targets::Words { .. } | Targets::Pooled { .. } => 1,
            };
        }
        let lengths: Vec<usize> = encodings.iter().map(|e| e.input_ids.len()).collect();
        let config = self.bert.config();
        Ok(Cost {
            computed: lengths.iter().sum(),
            as_padded_copies: copies * request.max_tokens.min(config.max_tokens()),
            truncated: encodings.iter().map(|e| e.truncated_tokens).sum(),
            flops: config.forward_flops(&lengths, places.words.len() + places.scored.len()),
            num_targets: 0,
        })
    }

    fn answer(&self, requests: &[&Request]) -> Result<Vec<Answer>, ModelError> {
        let Some(id) = requests.first().map(|request| request.id.as_str()) else { return Ok(vec![]) };
        let encodings = requests.iter().map(|r| self.encode(r)).collect::<Result<Vec<_>, _>>()?;
        let batch = Batch::pack(self.bert.config(), encodings.iter().flatten());
        let hidden = self.bert.forward(&batch, &Dropout::off())?.detach(); // [t, h]
        let mut places = Places::default();
        encodings.iter().flatten().for_each(|encoding| places.add(encoding));
        let (mut words, mut scores, mut classes) =
            (Vec::new(), Vec::new().into_iter(), Vec::new().into_iter());
        if !places.words.is_empty() || !places.scored.is_empty() {
            let head = self.masked_lm_head(id)?;
            let rows = head.transform(&nn::embedding(&hidden, &places.words)?)?;
            let logits = nn::logits(&rows, head.output(), self.precision)?; // [words, v]
            words = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
            let rows = head.transform(&nn::embedding(&hidden, &places.scored)?)?;
            scores = nn::score_tokens(&rows, head.output(), &places.targets, self.precision)?.into_iter();
        }
        if !places.pooled.is_empty() {
            let logits = self.classes(id, &places, &hidden, &Dropout::off())?;
            classes = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?.into_iter();
        }
        let mut words = words.into_iter();
        let answer = |(request, encodings): (&&Request, &Vec<Encoding>)| {
            let mut found: Vec<(usize, CandidateScore)> = Vec::new();
            for encoding in encodings {
                match (&encoding.targets, &request.ask) {
                    (Targets::Words { words: ids, .. }, _) => {
                        let logits = words.next().unwrap_or_default();
                        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        found.extend(ids.iter().map(|&id| logits[id as usize]).enumerate().map(
                            |(number, logit)| {
                                let score = logit.into();
                                (number, CandidateScore { score, num_tokens: 1, is_greedy: logit >= largest })
                            },
                        ));
                    }
                    (Targets::Texts { candidates, .. }, Ask::Choice { length_penalty, .. }) => {
                        for (number, ids) in candidates {
                            let own: Vec<_> = scores.by_ref().take(ids.len()).collect();
                            let sum: f64 = own.iter().map(|s| f64::from(s.log_prob)).sum();
                            let score = CandidateScore {
                                score: sum / (ids.len() as f64).powf(*length_penalty),
                                num_tokens: ids.len(),
                                is_greedy: own.iter().all(|s| s.is_greedy),
                            };
                            found.push((*number, score));
                        }
                    }
                    (_, Ask::Classify { num_labels, .. }) => {
                        let class = |logit: f32| CandidateScore {
                            score: logit.into(),
                            num_tokens: 0,
                            is_greedy: false,
                        };
                        let start = found.len();
                        let own = classes.by_ref().take(*num_labels).map(class);
                        found.extend(own.enumerate().map(|(number, score)| (start + number, score)));
                    }
                    (Targets::Texts { .. } | Targets::Pooled { .. }, _) => {
                        unreachable!("an encoding reads what its request asks")
                    }
                }
            }
            found.sort_by_key(|(number, _)| *number);
            let candidates = found.into_iter().map(|(_, score)| score).collect();
            Answer { candidates, ..Answer::default() }
        };
        Ok(requests.iter().zip(&encodings).map(answer).collect())
    }

    fn loss(&self, examples: &[&Example], dropout: &Dropout) -> Result<Tensor, ModelError> {
        let encodings = examples.iter().map(|e| self.encode(&e.request)).collect::<Result<Vec<_>, _>>()?;
        let batch = Batch::pack(self.bert.config(), encodings.iter().flatten());
        let hidden = self.bert.forward(&batch, dropout)?; // [t, h]
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

impl BertModel {
    /// `[c]` differentiable scores of the candidates of all examples, and how many each example has. The examples are of
    /// one task, so they are all asked in the same form.
    fn scores(
        &self,
        examples: &[&Example],
        encodings: &[Vec<Encoding>],
        places: &Places,
        hidden: &Tensor,
        dropout: &Dropout,
    ) -> Result<(Tensor, Vec<usize>), ModelError> {
        let request = &examples[0].request;
        match &request.ask {
            Ask::Word { words } => {
                let head = self.masked_lm_head(&request.id)?;
                let rows = head.transform(&nn::embedding(hidden, &places.words)?)?; // [b, h]
                let ids: Vec<u32> = encodings.iter().flatten().flat_map(Encoding::words).copied().collect();
                let of_row: Vec<u32> = (0..ids.len()).map(|word| (word / words.len()) as u32).collect();
                let layer = head.output();
                let products =
                    (nn::embedding(layer.weight, &ids)? * nn::embedding(&rows, &of_row)?)?.sum(1)?; // [c]
                let scores = match layer.bias {
                    Some(bias) => (products + bias.index_select(&Tensor::new(ids, bias.device())?, 0)?)?,
                    None => products,
                };
                Ok((scores, vec![words.len(); examples.len()]))
            }
            Ask::Choice { length_penalty, .. } => {
                let head = self.masked_lm_head(&request.id)?;
                let rows = head.transform(&nn::embedding(hidden, &places.scored)?)?;
                let losses =
                    nn::linear_cross_entropy(&rows, head.output(), &places.targets, 0.0, self.precision)?;
                let texts: Vec<(usize, usize)> =
                    encodings.iter().flat_map(|e| e.iter().flat_map(Encoding::lengths)).collect();
                let lengths: Vec<usize> = texts.iter().map(|(_, length)| *length).collect();
                let scores = candidate_scores(&losses, &lengths, *length_penalty)?; // [c], by length
                let counts: Vec<usize> =
                    encodings.iter().map(|e| e.iter().flat_map(Encoding::lengths).count()).collect();
                // Back to the order of each request.
                let mut order = vec![0u32; texts.len()];
                let mut start = 0;
                for count in &counts {
                    for place in start..start + count {
                        order[start + texts[place].0] = place as u32;
                    }
                    start += count;
                }
                let order = Tensor::from_vec(order, texts.len(), scores.device())?;
                Ok((scores.index_select(&order, 0)?, counts))
            }
            Ask::Classify { num_labels, .. } => {
                let logits = self.classes(&request.id, places, hidden, dropout)?; // [inputs, num_labels]
                Ok((logits.flatten_all()?, encodings.iter().map(|e| e.len() * num_labels).collect()))
            }
            Ask::Generate { .. } | Ask::LogProb { .. } => {
                unreachable!("it was refused when it was to be encoded")
            }
        }
    }
}

impl Encoding {
    /// The words whose logits are read.
    fn words(&self) -> &[u32] {
        match &self.targets {
            Targets::Words { words, .. } => words,
            _ => &[],
        }
    }

    /// Number and length of each candidate.
    fn lengths(&self) -> impl Iterator<Item = (usize, usize)> {
        let candidates: &[(usize, Vec<u32>)] = match &self.targets {
            Targets::Texts { candidates, .. } => candidates,
            _ => &[],
        };
        candidates.iter().map(|(number, ids)| (*number, ids.len()))
    }
}

/// Where in a packed batch something is read off.
#[derive(Default)]
struct Places {
    /// Tokens before the next encoding.
    start: usize,
    /// Masks at which words are read.
    words: Vec<u32>,
    /// Masks at which candidates' tokens are scored, and those tokens.
    scored: Vec<u32>,
    targets: Vec<u32>,
    /// First tokens.
    pooled: Vec<u32>,
    /// Tokens of each marked span.
    spans: Vec<Vec<u32>>,
}

impl Places {
    fn add(&mut self, encoding: &Encoding) {
        let at = |place: usize| (self.start + place) as u32;
        match &encoding.targets {
            Targets::Words { at: mask, .. } => self.words.push(at(*mask)),
            Targets::Texts { at: mask, candidates } => {
                for (_, ids) in candidates {
                    self.scored.extend((0..ids.len()).map(|i| at(mask + i)));
                    self.targets.extend(ids);
                }
            }
            Targets::Pooled { spans } => {
                self.pooled.push(at(0));
                self.spans.extend(spans.iter().map(|span| span.clone().map(at).collect::<Vec<_>>()));
            }
        }
        self.start += encoding.input_ids.len();
    }
}

/// `[n, h]`: the mean of the rows of each of `n` spans.
fn means(hidden: &Tensor, spans: &[Vec<u32>]) -> TensorResult<Tensor> {
    let ((t, h), longest) = (hidden.dims2()?, spans.iter().map(Vec::len).max().unwrap_or(0));
    let padded = Tensor::cat(&[hidden.clone(), Tensor::zeros((1, h), hidden.dtype(), hidden.device())?], 0)?;
    let rows = spans.iter().flat_map(|span| {
        let padding = std::iter::repeat_n(t as u32, longest - span.len());
        span.iter().copied().chain(padding)
    });
    let rows = nn::embedding(&padded, &rows.collect::<Vec<_>>())?.reshape((spans.len(), longest, h))?;
    let factors: Vec<f32> = spans.iter().map(|span| 1.0 / span.len() as f32).collect();
    let factors = Tensor::from_vec(factors, (spans.len(), 1), hidden.device())?.to_dtype(hidden.dtype())?;
    rows.sum(1)?.broadcast_mul(&factors)
}

impl Config {
    /// Floating-point operations of the matrix products of a forward pass over sequences of these lengths, a
    /// multiplication and an addition counting as two. A layer has `4 h² + 2 h · intermediate` weights in its
    /// projections, and a score and a part of a context for each pair of tokens; each row of logits takes the head's
    /// `h²` and `h · v`. Norms, activations, softmax, embeddings and classification heads are not counted.
    pub fn forward_flops(&self, lengths: &[usize], logit_rows: usize) -> u64 {
        let [h, wide, v, layers] =
            [self.hidden_size, self.intermediate_size, self.vocab_size, self.num_hidden_layers]
                .map(|n| n as u64);
        let tokens: u64 = lengths.iter().map(|&s| s as u64).sum();
        let pairs: u64 = lengths.iter().map(|&s| (s * s) as u64).sum();
        let of_layers = layers * (tokens * (4 * h * h + 2 * h * wide) + 2 * pairs * h);
        2 * (of_layers + logit_rows as u64 * h * (h + v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelSource;
    use crate::request::{Part, Prompt, Span};

    fn model(head: Head) -> Box<dyn LanguageModel> {
        let source = ModelSource::open_random("bert-tiny", None).expect("it is bundled");
        let device = Device::Cpu;
        let build = Build { seed: 1, head, is_trained: true, dropout: 0.0, dtype: DType::F32, device };
        source.build(&build).expect("it can be built")
    }

    fn request(ask: Ask) -> Request {
        let text = |text: &str| Part::Text { text: text.into(), shortenable: true };
        let prompt =
            Prompt { side_a: vec![text("the cat sat on the"), Part::Blank, text(".")], side_b: vec![] };
        Request { id: "test".into(), prompt, ask, max_tokens: 64 }
    }

    fn choice(candidates: &[&str]) -> Request {
        let candidates = candidates.iter().map(ToString::to_string).collect();
        request(Ask::Choice { candidates, end_of_piece: true, length_penalty: 0.0, bidirectional: true })
    }

    fn classify() -> Request {
        let pairs = vec![("the cat sat".into(), Some("on the mat".into()))];
        let spans = vec![Span { text: 0, bytes: 4..7 }, Span { text: 1, bytes: 7..10 }];
        request(Ask::Classify { pairs, spans, num_labels: 3 })
    }

    #[test]
    fn candidates_of_several_lengths_are_answered_in_their_order() {
        let model = model(Head::Vocabulary);
        let together =
            model.answer(&[&choice(&[" garden wall", " mat", " old wall"])]).expect("an answer").remove(0);
        let alone =
            |text: &str| model.answer(&[&choice(&[text])]).expect("an answer").remove(0).candidates[0];
        let expected = [" garden wall", " mat", " old wall"].map(alone);
        assert_eq!(together.candidates, expected);
    }

    #[test]
    fn one_request_is_answered_the_same_in_any_batch() {
        let (vocabulary, classes) = (model(Head::Vocabulary), model(Head::Classes { outputs: 3, spans: 2 }));
        let word = request(Ask::Word { words: vec![" it".into(), " is".into()] });
        for (model, requests) in [
            (&vocabulary, vec![choice(&[" mat", " old wall"]), word]),
            (&classes, vec![classify(), classify()]),
        ] {
            let together = model.answer(&requests.iter().collect::<Vec<_>>()).expect("answers");
            for (request, answer) in requests.iter().zip(together) {
                assert_eq!(model.answer(&[request]).expect("an answer"), [answer]);
            }
        }
    }

    /// The loss is made of the same scores as the answers, by other code.
    #[test]
    fn the_loss_of_an_example_is_that_of_its_answer() {
        let forms = [
            (Head::Vocabulary, choice(&[" old wall", " mat", " garden wall"])),
            (Head::Vocabulary, request(Ask::Word { words: vec![" it".into(), " is".into()] })),
            (Head::Classes { outputs: 3, spans: 2 }, classify()),
        ];
        for (head, request) in forms {
            let model = model(head);
            let answer = model.answer(&[&request]).expect("an answer").remove(0);
            let scores: Vec<f64> = answer.candidates.iter().map(|c| c.score).collect();
            let normaliser = scores.iter().map(|score| score.exp()).sum::<f64>().ln();
            let example = Example::of_candidates(request, 1, Loss::CrossEntropy);
            let loss = model.loss(&[&example, &example], &Dropout::off()).expect("a loss");
            let loss = f64::from(loss.to_scalar::<f32>().expect("a scalar"));
            assert!((loss - (normaliser - scores[1])).abs() < 1e-4, "{loss} and {scores:?}");
        }
    }

    #[test]
    fn a_head_that_was_not_asked_for_is_named() {
        let error = model(Head::Vocabulary).answer(&[&classify()]).expect_err("no head").to_string();
        assert!(error.contains("without a classification head"), "{error}");
        let classes = model(Head::Classes { outputs: 3, spans: 0 });
        let error = classes.answer(&[&choice(&[" mat"])]).expect_err("no head").to_string();
        assert!(error.contains("fills no blanks"), "{error}");
    }

    #[test]
    fn flops_by_hand() {
        let config = Config {
            vocab_size: 100,
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 2,
            ..super::super::architecture::tiny()
        };
        // Layers: 2 · (5 tokens · (4 · 64 + 2 · 128) + 2 · (9 + 4) pairs · 8) = 5536; logits: 3 · 8 · 108 = 2592.
        assert_eq!(config.forward_flops(&[3, 2], 3), 2 * (5536 + 2592));
    }
}
