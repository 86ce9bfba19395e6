//! How a T5 answers requests and learns from examples.
//!
//! The text of a request is encoded once, and every candidate is decoded against it in the same pass: the encoder never
//! sees an answer, and answers do not see each other, so this is exact, in evaluation and in training.

use candle_core::{Result as TensorResult, Tensor};

use super::encoding::{Tokens, source};
use super::{Config, Encoding, T5};
use crate::model::encoder_decoder::EncoderDecoder;
use crate::model::loss::{candidate_loss, candidate_scores};
use crate::model::text_to_text::TextToText;
use crate::model::writing::{self, Source};
use crate::model::{Cost, LanguageModel, ModelError, Parameters};
use crate::nn::{self, Dropout, Layout, Precision, Sequence};
use crate::request::{Answer, Ask, CandidateScore, Example, Loss, Request};
use crate::tokenizer::Tokenizer;

/// A T5 with its tokenizer.
pub struct T5Model {
    t5: T5,
    parameters: Parameters,
    tokenizer: Tokenizer,
    tokens: Tokens,
}

impl T5Model {
    /// Builds the network over weights.
    ///
    /// # Errors
    /// When a weight is missing or has another shape, or the tokenizer lacks a token.
    pub fn new(
        config: &Config,
        parameters: Parameters,
        tokenizer: Tokenizer,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let tokens = Tokens::of(&tokenizer, config)?;
        Ok(Self { t5: T5::new(config, precision, parameters.var_builder())?, parameters, tokenizer, tokens })
    }

    fn encode(&self, request: &Request) -> Result<Encoding, ModelError> {
        Encoding::new(&self.tokenizer, self.tokens, request)
    }

    /// `[m, h]`: the decoder's hidden states before each scored token.
    fn hidden(&self, batch: &Batch, dropout: &Dropout) -> TensorResult<Tensor> {
        let sight = self.t5.look(&self.t5.encode(&batch.text, &batch.lengths, dropout)?)?;
        let texts: Vec<usize> = (0..batch.lengths.len()).collect();
        let hidden = self.t5.decode((&sight, &texts), (&batch.pieces, &batch.layout), None, dropout)?; // [t, h]
        nn::embedding(&hidden, &batch.scored)
    }
}

impl LanguageModel for T5Model {
    fn cost(&self, request: &Request) -> Result<Cost, ModelError> {
        if let Ask::Generate { .. } = request.ask {
            return writing::cost(self, request);
        }
        let encoding = self.encode(request)?;
        let batch = Batch::pack([&encoding]);
        Ok(Cost {
            computed: batch.text.len() + batch.pieces.len(),
            as_padded_copies: encoding.answers.len() * request.max_tokens,
            truncated: encoding.truncated,
            flops: self.t5.forward_flops(&batch.lengths, &batch.layout, batch.scored.len()),
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
        let encodings = requests.iter().map(|request| self.encode(request)).collect::<Result<Vec<_>, _>>()?;
        let batch = Batch::pack(&encodings);
        let hidden = self.hidden(&batch, &Dropout::off())?.detach();
        let scores = nn::score_tokens(&hidden, self.t5.lm_head(), &batch.targets, self.t5.precision())?;
        let mut rest = scores.as_slice();
        let answer = |(request, encoding): (&&Request, &Encoding)| {
            let score = |answer: &Vec<u32>| {
                let (own, others) = rest.split_at(answer.len());
                rest = others;
                let sum: f64 = own.iter().map(|score| f64::from(score.log_prob)).sum();
                CandidateScore {
                    score: sum / (own.len() as f64).powf(length_penalty(request)),
                    num_tokens: own.len(),
                    is_greedy: own.iter().all(|score| score.is_greedy),
                }
            };
            Answer { candidates: encoding.answers.iter().map(score).collect(), ..Answer::default() }
        };
        Ok(requests.iter().zip(&encodings).map(answer).collect())
    }

    fn generate(&self, request: &Request, watch: &mut dyn FnMut(usize, &str)) -> Result<Answer, ModelError> {
        writing::answer_watched(self, request, watch)
    }

    fn loss(&self, examples: &[&Example], dropout: &Dropout) -> Result<Tensor, ModelError> {
        if let [Example { request: Request { ask: Ask::Generate { .. }, .. }, .. }, ..] = examples {
            return writing::loss(self, examples, dropout);
        }
        let encodings = examples.iter().map(|e| self.encode(&e.request)).collect::<Result<Vec<_>, _>>()?;
        let batch = Batch::pack(&encodings);
        let hidden = self.hidden(&batch, dropout)?;
        let (head, precision) = (self.t5.lm_head(), self.t5.precision());
        let losses = nn::linear_cross_entropy(&hidden, head, &batch.targets, 0.0, precision)?; // [m]
        let lengths: Vec<usize> = encodings.iter().flat_map(|e| &e.answers).map(Vec::len).collect();
        // The examples are of one task, so that they are asked alike.
        let scores = candidate_scores(&losses, &lengths, length_penalty(&examples[0].request))?;
        let counts: Vec<usize> = encodings.iter().map(|encoding| encoding.answers.len()).collect();
        let labels: Vec<usize> = examples.iter().map(|example| example.label).collect();
        let losses: Vec<Loss> = examples.iter().map(|example| example.loss).collect();
        Ok(candidate_loss(&scores, &counts, &labels, &losses)?)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

impl TextToText for T5Model {
    fn network(&self) -> &dyn EncoderDecoder {
        &self.t5
    }

    fn source(&self, request: &Request) -> Result<Source, ModelError> {
        source(&self.tokenizer, self.tokens, request, writing::settings(request)?.max_new_tokens)
    }

    /// Positions are relative: there is always one more.
    fn room(&self, _source: &Source) -> Option<usize> {
        None
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// The power of a candidate's length that its score is divided by.
fn length_penalty(request: &Request) -> f64 {
    match request.ask {
        Ask::Choice { length_penalty, .. } => length_penalty,
        _ => 0.0,
    }
}

/// Requests as the network reads them, packed without padding.
#[derive(Default)]
struct Batch {
    /// The encoder's tokens, and how many each text has.
    text: Vec<u32>,
    lengths: Vec<usize>,
    /// The decoder's tokens: for each text a sequence of pieces, one a candidate.
    pieces: Vec<u32>,
    layout: Layout,
    /// Places of the decoder at which a token is scored, and that token.
    scored: Vec<u32>,
    targets: Vec<u32>,
}

impl Batch {
    fn pack<'a>(encodings: impl IntoIterator<Item = &'a Encoding>) -> Self {
        let mut batch = Self::default();
        for encoding in encodings {
            batch.text.extend(&encoding.text);
            batch.lengths.push(encoding.text.len());
            let mut lengths = Vec::with_capacity(encoding.answers.len());
            for (piece, answer) in encoding.pieces().zip(&encoding.answers) {
                let first = (batch.pieces.len() + encoding.before.len() - 1) as u32;
                batch.scored.extend(first..first + answer.len() as u32);
                batch.targets.extend(answer);
                lengths.push(piece.len());
                batch.pieces.extend(piece);
            }
            batch.layout.sequences.push(Sequence::pieces(0, lengths));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::{Build, Head, ModelSource};
    use crate::request::{Part, Prompt};

    fn model() -> Box<dyn LanguageModel> {
        let source = ModelSource::open_random("t5-tiny", None).expect("it is bundled");
        let (dtype, device) = (DType::F32, Device::Cpu);
        let build = Build { seed: 1, head: Head::Vocabulary, is_trained: true, dropout: 0.0, dtype, device };
        source.build(&build).expect("it can be built")
    }

    fn text(text: &str) -> Part {
        Part::Text { text: text.into(), shortenable: true }
    }

    fn request(parts: Vec<Part>, candidates: &[&str]) -> Request {
        let candidates = candidates.iter().map(ToString::to_string).collect();
        Request {
            id: "dev-0".into(),
            prompt: Prompt { side_a: parts, side_b: vec![] },
            ask: Ask::Choice { candidates, end_of_piece: true, length_penalty: 0.0, bidirectional: true },
            max_tokens: 64,
        }
    }

    /// Text to text, and a cloze; answers of different lengths.
    fn requests() -> [Request; 2] {
        let candidates = [" entailment", " not_entailment at all", " no"];
        let question = "rte sentence1: the cat sat on the mat sentence2: it lay";
        [
            request(vec![text(question)], &candidates),
            request(vec![text("the cat sat on the"), Part::Blank, text(".")], &candidates),
        ]
    }

    fn scores(model: &dyn LanguageModel, request: &Request) -> Vec<f64> {
        let answers = model.answer(&[request]).expect("an answer");
        answers[0].candidates.iter().map(|candidate| candidate.score).collect()
    }

    /// Each candidate in a request of its own.
    fn separately(model: &dyn LanguageModel, request: &Request) -> Vec<f64> {
        let Ask::Choice { candidates, .. } = &request.ask else { unreachable!("a choice") };
        let alone = |candidate: &String| Request {
            ask: Ask::Choice {
                candidates: vec![candidate.clone()],
                end_of_piece: true,
                length_penalty: 0.0,
                bidirectional: true,
            },
            ..request.clone()
        };
        candidates.iter().flat_map(|candidate| scores(model, &alone(candidate))).collect()
    }

    #[test]
    fn one_pass_scores_every_candidate_as_it_scores_alone() {
        let model = model();
        for request in requests() {
            let (together, alone) = (scores(&*model, &request), separately(&*model, &request));
            assert_eq!(together.len(), 3);
            assert!(
                together.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5),
                "{together:?}, {alone:?}"
            );
        }
    }

    #[test]
    fn one_pass_learns_from_the_scores_of_candidates_alone() {
        let model = model();
        for request in requests() {
            let alone = separately(&*model, &request);
            let normaliser = alone.iter().map(|score| score.exp()).sum::<f64>().ln();
            for (loss, expected) in
                [(Loss::CrossEntropy, normaliser - alone[1]), (Loss::Generative, -alone[1])]
            {
                let example = Example::of_candidates(request.clone(), 1, loss);
                let found = model.loss(&[&example], &Dropout::off()).expect("a loss");
                let found = f64::from(found.to_scalar::<f32>().expect("a scalar"));
                assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found}, not {expected}");
            }
        }
    }

    #[test]
    fn an_answer_is_the_same_bytes_whatever_its_batch() {
        let model = model();
        let [first, second] = requests();
        let both = model.answer(&[&first, &second]).expect("answers");
        assert_eq!(both[1], model.answer(&[&second]).expect("an answer")[0]);
        assert_eq!(both[0], model.answer(&[&second, &first, &second]).expect("answers")[1]);
    }

    #[test]
    fn the_text_is_read_once_and_each_answer_behind_its_start() {
        let model = model();
        let [text_to_text, cloze] = requests();
        let tokens = |text: &str| Tokenizer::builtin_published().encode(text).expect("plain text").len();
        let text = tokens("rte sentence1: the cat sat on the mat sentence2: it lay") + 1; // and the end
        let answers = [" entailment", " not_entailment at all", " no"].map(|answer| tokens(answer) + 1);
        let answers: usize = answers.iter().sum(); // the start and the answer without its last token
        assert_eq!(model.cost(&text_to_text).expect("a cost").computed, text + answers);
        // In a cloze the blank is one token of the text, and one before each answer.
        let text = tokens("the cat sat on the") + 1 + tokens(".") + 1;
        assert_eq!(model.cost(&cloze).expect("a cost").computed, text + answers + 3);
    }

    #[test]
    fn a_classification_head_and_an_empty_answer_are_refused() {
        let model = model();
        let [request, _] = requests();
        let classify = Ask::Classify { pairs: vec![("a".into(), None)], spans: vec![], num_labels: 2 };
        let error = model.cost(&Request { ask: classify, ..request.clone() }).expect_err("no head");
        assert!(error.to_string().contains("dev-0: a T5 has no classification head"), "{error}");
        let empty = Ask::Choice {
            candidates: vec![" ".into()],
            end_of_piece: true,
            length_penalty: 0.0,
            bidirectional: true,
        };
        let error = model.cost(&Request { ask: empty, ..request }).expect_err("nothing to score");
        assert!(error.to_string().contains("has no tokens"), "{error}");
    }

    #[test]
    fn a_tokenizer_with_another_end_of_text_is_refused() {
        let config = Config { eos_token_id: 1, ..Config::named().next().expect("t5-tiny").1 };
        let error = Tokens::of(&Tokenizer::builtin_published(), &config).expect_err("[SEP] is not token 1");
        assert!(error.to_string().contains("use the tokenizer published with the weights"), "{error}");
    }
}
