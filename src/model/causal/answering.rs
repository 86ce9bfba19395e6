//! How a causal model answers requests and learns from examples.

use candle_core::{Result as TensorResult, Tensor};

use super::encoding::{continuation_bytes, source};
use super::{Batch, Encoding, Marks, Network};
use crate::decoding::{Hypothesis, Progress, Row, Search};
use crate::model::continuation::after_prompts;
use crate::model::language_model::window_batches;
use crate::model::loss::{candidate_loss, candidate_scores};
use crate::model::writing::{self, Source, Writer};
use crate::model::{Cost, LanguageModel, ModelError, Parameters};
use crate::nn::{self, Dropout, Sequence, TokenScore};
use crate::request::{Answer, Ask, CandidateScore, Example, Likelihood, Loss, Request};
use crate::tokenizer::Tokenizer;

/// A causal network with its tokenizer.
pub struct CausalModel<N> {
    network: N,
    marks: Marks,
    parameters: Parameters,
    tokenizer: Tokenizer,
}

impl<N: Network> CausalModel<N> {
    /// Puts the parts together; `parameters` are those that the network was built over.
    pub fn new(network: N, marks: Marks, parameters: Parameters, tokenizer: Tokenizer) -> Self {
        Self { network, marks, parameters, tokenizer }
    }

    /// What is asked for, as far as the model has positions.
    fn encode(&self, request: &Request) -> Result<Encoding, ModelError> {
        let max_tokens = request.max_tokens.min(self.network.max_positions());
        let request = Request { max_tokens, ..request.clone() };
        Ok(Encoding::of_candidates(&self.tokenizer, self.marks, &request)?)
    }

    /// The windows of a text, as far as the model has positions.
    fn windows(&self, request: &Request) -> Result<Vec<Encoding>, ModelError> {
        let max_tokens = request.max_tokens.min(self.network.max_positions());
        let request = Request { max_tokens, ..request.clone() };
        Ok(Encoding::windows(&self.tokenizer, self.marks, &request)?)
    }

    /// The log-probability of a text, a few windows at a time: memory does not grow with the text.
    fn log_prob(&self, request: &Request) -> Result<Answer, ModelError> {
        let mut total = CandidateScore { score: 0.0, num_tokens: 0, is_greedy: true };
        for encodings in window_batches(&self.windows(request)?, Encoding::num_read) {
            total.add(&self.score(&encodings.iter().collect::<Vec<_>>())?);
        }
        Ok(Answer { candidates: vec![total], ..Answer::default() })
    }

    /// What reading some encodings of a request takes.
    fn reading_cost(&self, request: &Request, encodings: &[&Encoding]) -> Cost {
        let sequences = Batch::pack(encodings.iter().copied()).layout.sequences;
        let logit_rows = encodings.iter().map(|encoding| encoding.num_scored()).sum();
        let max_tokens = request.max_tokens.min(self.network.max_positions());
        let copies: usize = encodings.iter().map(|encoding| encoding.continuations.len()).sum();
        Cost {
            computed: encodings.iter().map(|encoding| encoding.num_read()).sum(),
            as_padded_copies: copies * max_tokens,
            truncated: encodings.iter().map(|encoding| encoding.truncated_tokens).sum(),
            flops: self.network.forward_flops(&sequences, logit_rows),
            num_targets: 0,
        }
    }

    /// Scores of all continuations' tokens, one encoding's after the other's.
    fn score(&self, encodings: &[&Encoding]) -> Result<Vec<TokenScore>, ModelError> {
        let hidden = self.network.forward(&Batch::pack(encodings.iter().copied()), &Dropout::off())?.detach(); // [t, h]
        let places = Places::of(encodings);
        let rows = nn::embedding(&hidden, &places.rows)?;
        let table = self.network.output_embeddings();
        Ok(nn::score_tokens(&rows, table, &places.targets, self.network.precision())?)
    }
}

impl<N: Network> LanguageModel for CausalModel<N> {
    fn cost(&self, request: &Request) -> Result<Cost, ModelError> {
        if let Ask::Generate { .. } = request.ask {
            return writing::cost(self, request);
        }
        if let Ask::LogProb { .. } = request.ask {
            let windows = self.windows(request)?;
            return Ok(self.reading_cost(request, &windows.iter().collect::<Vec<_>>()));
        }
        let encoding = self.encode(request)?;
        Ok(self.reading_cost(request, &[&encoding, &encoding.unconditional(self.marks)]))
    }

    fn learning_cost(&self, example: &Example) -> Result<Cost, ModelError> {
        match &example.request.ask {
            Ask::Generate { .. } => writing::learning_cost(self, example),
            // Learned from is what follows the prompt alone.
            _ => Ok(self.reading_cost(&example.request, &[&self.encode(&example.request)?])),
        }
    }

    fn answer(&self, requests: &[&Request]) -> Result<Vec<Answer>, ModelError> {
        if let [Request { ask: Ask::Generate { .. }, .. }, ..] = requests {
            return writing::answer(self, requests, |_, _| ());
        }
        if let [Request { ask: Ask::LogProb { .. }, .. }, ..] = requests {
            return requests.iter().map(|request| self.log_prob(request)).collect();
        }
        let encodings = requests.iter().map(|r| self.encode(r)).collect::<Result<Vec<_>, _>>()?;
        let alone: Vec<Encoding> = encodings.iter().map(|e| e.unconditional(self.marks)).collect();
        let scores = self.score(&encodings.iter().chain(&alone).collect::<Vec<_>>())?;
        let num_scored: usize = encodings.iter().map(Encoding::num_scored).sum();
        let (mut scores, mut alone) = scores.split_at(num_scored);
        let answer = |(request, encoding): (&&Request, &Encoding)| {
            let length_penalty = match request.ask {
                Ask::Choice { length_penalty, .. } => length_penalty,
                _ => 0.0,
            };
            let (mut candidates, mut likelihoods) = (Vec::new(), Vec::new());
            for (continuation, num_bytes) in encoding.continuations.iter().zip(continuation_bytes(request)) {
                let num_tokens = continuation.len();
                let own = take(&mut scores, num_tokens);
                let likelihood = Likelihood {
                    log_prob: sum(own),
                    num_tokens,
                    num_bytes,
                    unconditional_log_prob: sum(take(&mut alone, num_tokens)),
                };
                candidates.push(CandidateScore {
                    score: likelihood.log_prob / (num_tokens as f64).powf(length_penalty),
                    num_tokens,
                    is_greedy: own.iter().all(|token| token.is_greedy),
                });
                likelihoods.push(likelihood);
            }
            Answer { candidates, likelihoods, ..Answer::default() }
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
        let hidden = self.network.forward(&Batch::pack(&encodings), dropout)?; // [t, h]
        let places = Places::of(&encodings.iter().collect::<Vec<_>>());
        let rows = nn::embedding(&hidden, &places.rows)?; // [m, h]
        let (table, precision) = (self.network.output_embeddings(), self.network.precision());
        let losses = nn::linear_cross_entropy(&rows, table, &places.targets, 0.0, precision)?; // [m]
        let lengths: Vec<usize> =
            encodings.iter().flat_map(|e| e.continuations.iter().map(Vec::len)).collect();
        // The examples are of one task, so they are all asked in the same form.
        let length_penalty = match examples[0].request.ask {
            Ask::Choice { length_penalty, .. } => length_penalty,
            _ => 0.0,
        };
        let scores = candidate_scores(&losses, &lengths, length_penalty)?; // [c]
        let counts: Vec<usize> = encodings.iter().map(|e| e.continuations.len()).collect();
        let labels: Vec<usize> = examples.iter().map(|example| example.label).collect();
        let kinds: Vec<Loss> = examples.iter().map(|example| example.loss).collect();
        Ok(candidate_loss(&scores, &counts, &labels, &kinds)?)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

impl<N: Network> Writer for CausalModel<N> {
    fn source(&self, request: &Request) -> Result<Source, ModelError> {
        let max_tokens = request.max_tokens.min(self.network.max_positions());
        let request = Request { max_tokens, ..request.clone() };
        source(&self.tokenizer, self.marks, &request, writing::settings(&request)?.max_new_tokens)
    }

    fn room(&self, source: &Source) -> Option<usize> {
        Some(self.network.max_positions().saturating_sub(source.ids.len()))
    }

    fn write(
        &self,
        sources: &[Source],
        rows: &[Row],
        search: Search,
        watch: &mut dyn FnMut(&Progress),
    ) -> TensorResult<Vec<Vec<Hypothesis>>> {
        let prompts: Vec<&[u32]> = sources.iter().map(|source| source.ids.as_slice()).collect();
        after_prompts(&self.network, self.tokenizer.num_tokens(), &prompts, rows, search, watch)
    }

    fn cross_entropy(
        &self,
        texts: &[(Source, Vec<u32>)],
        label_smoothing: f64,
        dropout: &Dropout,
    ) -> TensorResult<Tensor> {
        let encode = |(source, text): &(Source, Vec<u32>)| Encoding {
            prefix: source.ids.clone(),
            continuations: vec![text.clone()],
            truncated_tokens: source.truncated,
        };
        let encodings: Vec<Encoding> = texts.iter().map(encode).collect();
        let hidden = self.network.forward(&Batch::pack(&encodings), dropout)?; // [t, h]
        let places = Places::of(&encodings.iter().collect::<Vec<_>>());
        let rows = nn::embedding(&hidden, &places.rows)?; // [m, h]
        let (table, precision) = (self.network.output_embeddings(), self.network.precision());
        nn::mean_linear_cross_entropy(&rows, table, &places.targets, label_smoothing, precision)
    }

    fn flops(&self, source: &Source, texts: &[usize]) -> u64 {
        let read = texts.iter().map(|text| text - 1).collect();
        let sequence = Sequence::causal(source.ids.len(), read);
        self.network.forward_flops(&[sequence], texts.iter().sum())
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// Cuts the first `count` scores off.
fn take<'a>(scores: &mut &'a [TokenScore], count: usize) -> &'a [TokenScore] {
    let (own, rest) = scores.split_at(count);
    *scores = rest;
    own
}

fn sum(scores: &[TokenScore]) -> f64 {
    scores.iter().map(|token| f64::from(token.log_prob)).sum()
}

/// Where in a packed batch tokens are scored.
struct Places {
    /// Tokens whose successor is scored.
    rows: Vec<u32>,
    /// Those successors.
    targets: Vec<u32>,
}

impl Places {
    fn of(encodings: &[&Encoding]) -> Self {
        let mut places = Self { rows: Vec::new(), targets: Vec::new() };
        let mut start = 0;
        for Encoding { prefix, continuations, .. } in encodings {
            let last_of_prefix = (start + prefix.len() - 1) as u32;
            start += prefix.len();
            for continuation in continuations {
                let read = continuation.len() - 1;
                places.rows.push(last_of_prefix);
                places.rows.extend(start as u32..(start + read) as u32);
                places.targets.extend(continuation);
                start += read;
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::{Build, Head, ModelSource};
    use crate::nn::{Gradients, Tape};
    use crate::request::{Part, Prompt};

    fn model(is_trained: bool) -> Box<dyn LanguageModel> {
        let source = ModelSource::open_random("gpt-tiny", None).expect("it is known");
        let (dtype, device) = (DType::F32, Device::Cpu);
        let build = Build { seed: 1, head: Head::Vocabulary, is_trained, dropout: 0.0, dtype, device };
        source.build(&build).expect("it can be built")
    }

    fn choice(before: &str, candidates: &[&str], after: &str) -> Request {
        let text = |text: &str| Part::Text { text: text.into(), shortenable: true };
        let candidates = candidates.iter().map(ToString::to_string).collect();
        Request {
            id: "test".into(),
            prompt: Prompt { side_a: vec![text(before), Part::Blank, text(after)], side_b: vec![] },
            ask: Ask::Choice { candidates, end_of_piece: false, length_penalty: 0.0, bidirectional: true },
            max_tokens: 64,
        }
    }

    const CANDIDATES: [&str; 3] = [" mat", " old garden wall", " cow and the pig"];

    #[test]
    fn one_pass_over_a_shared_prefix_equals_separate_passes() {
        let model = model(false);
        let answer = |candidates: &[&str]| {
            let request = choice("the cat sat on the", candidates, " and looked at us .");
            model.answer(&[&request]).expect("an answer").remove(0)
        };
        let together = answer(&CANDIDATES);
        for (i, candidate) in CANDIDATES.iter().enumerate() {
            let alone = answer(&[candidate]);
            assert!((together.candidates[i].score - alone.candidates[0].score).abs() < 1e-5);
            assert_eq!(together.candidates[i].num_tokens, alone.candidates[0].num_tokens);
            let unconditional = |answer: &Answer, i: usize| answer.likelihoods[i].unconditional_log_prob;
            assert!((unconditional(&together, i) - unconditional(&alone, 0)).abs() < 1e-5);
        }
    }

    #[test]
    fn a_shared_prefix_gives_the_loss_and_the_gradients_of_separate_passes() {
        let model = model(true);
        let gradients = |requests: &[(&[&str], usize)]| {
            let (tape, mut gradients) = (Tape::start(), Gradients::default());
            let examples: Vec<Example> = requests
                .iter()
                .map(|(candidates, label)| {
                    let request = choice("the cat sat on the", candidates, " .");
                    Example::of_candidates(request, *label, Loss::Generative)
                })
                .collect();
            let loss = model.loss(&examples.iter().collect::<Vec<_>>(), &Dropout::off()).expect("a loss");
            tape.backward(&loss, &mut gradients).expect("gradients");
            let table = model.parameters().get("transformer.wte.weight").expect("a weight");
            let gradient =
                gradients.get(table).expect("a gradient").flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (loss.to_scalar::<f32>().expect("a scalar"), gradient)
        };
        // The generative loss is that of the right candidate alone, so the others change nothing but the layout.
        let (shared, of_shared) = gradients(&[(&CANDIDATES, 1)]);
        let (alone, of_alone) = gradients(&[(&CANDIDATES[1..2], 0)]);
        assert!((shared - alone).abs() < 1e-5);
        let worst = of_shared.iter().zip(&of_alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{worst}");
        assert!(of_alone.iter().any(|&x| x.abs() > 1e-3));
    }

    #[test]
    fn continuations_of_nothing_are_counted_where_they_are_scored_and_not_where_they_are_learned() {
        let model = model(true);
        let request = choice("the cat sat on the", &CANDIDATES, "");
        let tokens = |text: &str| Tokenizer::builtin_published().encode(text).expect("plain text").len();
        // Of each continuation, all but the last token is read.
        let continuations: usize = CANDIDATES.iter().map(|text| tokens(text) - 1).sum();
        let example = Example::of_candidates(request.clone(), 0, Loss::CrossEntropy);
        let (scored, learned) = (model.cost(&request).expect("it fits"), model.learning_cost(&example));
        let learned = learned.expect("it fits");
        assert_eq!(learned.computed, 1 + tokens("the cat sat on the") + continuations); // a start, and the prompt
        assert_eq!(scored.computed, learned.computed + 1 + continuations);
        assert_eq!(scored.as_padded_copies, 2 * learned.as_padded_copies);
        assert!(learned.flops < scored.flops);
    }

    #[test]
    fn scores_follow_from_the_likelihoods() {
        let request = choice("the cat sat on the", &CANDIDATES, "");
        let answer = model(false).answer(&[&request]).expect("an answer").remove(0);
        for (score, likelihood) in answer.candidates.iter().zip(&answer.likelihoods) {
            assert_eq!(score.score.to_bits(), likelihood.log_prob.to_bits());
            assert_eq!(score.num_tokens, likelihood.num_tokens);
            assert!(likelihood.log_prob < 0.0 && likelihood.unconditional_log_prob < 0.0);
        }
        assert_eq!(answer.likelihoods.iter().map(|l| l.num_bytes).collect::<Vec<_>>(), [4, 16, 16]);
    }

    #[test]
    fn a_classification_head_is_refused_before_any_work() {
        let source = ModelSource::open_random("gpt-tiny", None).expect("it is known");
        let head = Head::Classes { outputs: 2, spans: 0 };
        let (dtype, device) = (DType::F32, Device::Cpu);
        let build = Build { seed: 1, head, is_trained: true, dropout: 0.0, dtype, device };
        let error = source.build(&build).err().expect("it has none").to_string();
        assert!(error.contains("gpt2 models: they have no classification head here"), "{error}");
    }

    #[test]
    fn a_text_in_windows_has_the_probability_of_its_tokens_each_after_those_before_it() {
        let model = model(false);
        let words = "one two three four five six seven eight nine ten";
        let text = |stride: usize, max_tokens: usize| {
            let part = Part::Text { text: words.into(), shortenable: false };
            let prompt = Prompt { side_a: vec![part], side_b: vec![] };
            let request = Request {
                id: "test".into(),
                prompt,
                ask: Ask::LogProb { stride, bidirectional: true, last_part_only: false },
                max_tokens,
            };
            model.answer(&[&request]).expect("an answer").remove(0).candidates.remove(0)
        };
        // One window: the words after the first, as a continuation of it.
        let whole = text(1, 64);
        let rest = format!(" {}", words.split_once(' ').expect("words").1);
        let continued = model.answer(&[&choice("one", &[&rest], "")]).expect("an answer").remove(0);
        assert!((whole.score - continued.candidates[0].score).abs() < 1e-4);
        // Windows of seven tokens that go on by two score each token once.
        let windowed = text(2, 8);
        assert_eq!(windowed.num_tokens, whole.num_tokens);
        assert!((windowed.score - whole.score).abs() > 1e-3, "less is read before a token");
    }

    #[test]
    fn an_answer_is_the_same_bytes_whatever_its_batch() {
        let model = model(false);
        let other = choice("one two three four five six", &[" a b c", " d"], " e");
        for before in ["", "it is", "the cat sat on the mat and looked at the old garden wall"] {
            let mine = choice(before, &CANDIDATES, " .");
            let alone = model.answer(&[&mine]).expect("an answer").remove(0);
            let among = model.answer(&[&other, &mine, &other]).expect("answers").remove(1);
            assert_eq!(alone, among);
        }
    }
}
