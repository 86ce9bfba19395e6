//! How models other than GLM answer requests for a text, and learn from them: a prompt is read once, and one text is
//! written behind it, or over it by a decoder. In Hugging Face's form of the search.

use candle_core::{Result as TensorResult, Tensor};

use super::prompt::EncodingError;
use super::{Cost, ModelError};
use crate::decoding::{Convention, Hypothesis, Progress, Row, Search};
use crate::nn::Dropout;
use crate::request::{Answer, Ask, Decoding, Example, Filling, Request};
use crate::tokenizer::Tokenizer;

/// A request for a text, in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What is read once: the prompt.
    pub ids: Vec<u32>,
    /// What a decoder begins with, whatever the text; empty where the text follows the prompt itself.
    pub starts: Vec<u32>,
    /// Any of these ends the text.
    pub ends: Vec<u32>,
    /// Tokens cut from the prompt.
    pub truncated: usize,
}

/// A model that writes one text a request.
pub trait Writer {
    /// The request, cut so that the longest text fits.
    ///
    /// # Errors
    /// When it can't be tokenized or cut so far, or asks for other than one text.
    fn source(&self, request: &Request) -> Result<Source, ModelError>;

    /// Most tokens of a text, where the model has no positions for more.
    fn room(&self, source: &Source) -> Option<usize>;

    /// What it writes, for each source the hypotheses, best first. All sources have the same `starts`.
    ///
    /// # Errors
    /// When the computation fails.
    fn write(
        &self,
        sources: &[Source],
        rows: &[Row],
        search: Search,
        watch: &mut dyn FnMut(&Progress),
    ) -> TensorResult<Vec<Vec<Hypothesis>>>;

    /// The mean cross-entropy of all tokens of texts, each over or after its source; the texts have their ends. All
    /// sources have the same `starts`.
    ///
    /// # Errors
    /// When the computation fails.
    fn cross_entropy(
        &self,
        texts: &[(Source, Vec<u32>)],
        label_smoothing: f64,
        dropout: &Dropout,
    ) -> TensorResult<Tensor>;

    /// Operations of the matrix products where a source is read, and texts of so many tokens with it.
    fn flops(&self, source: &Source, texts: &[usize]) -> u64;

    /// Text to tokens and back.
    fn tokenizer(&self) -> &Tokenizer;
}

/// Answers requests for texts. `watch` is told of a request, and the tokens that its text will begin with, after every
/// step.
///
/// # Errors
/// When a request can't be answered by this model.
pub fn answer(
    writer: &impl Writer,
    requests: &[&Request],
    mut watch: impl FnMut(usize, &[u32]),
) -> Result<Vec<Answer>, ModelError> {
    let mut answers = Vec::with_capacity(requests.len());
    let sources = requests.iter().map(|request| writer.source(request)).collect::<Result<Vec<_>, _>>()?;
    let mut rest = sources.as_slice();
    // Side by side, as long as they are asked alike.
    for group in requests.chunk_by(|a, b| decoding(a) == decoding(b)) {
        let (own, others) = rest.split_at(group.len());
        rest = others;
        let mut group = group;
        for own in own.chunk_by(|a, b| (&a.starts, &a.ends) == (&b.starts, &b.ends)) {
            let (these, later) = group.split_at(own.len());
            group = later;
            let first = answers.len();
            answers.extend(answer_alike(writer, these, own, |row, tokens| watch(first + row, tokens))?);
        }
    }
    Ok(answers)
}

/// Answers one request, telling `watch` the text that is settled after every step.
///
/// # Errors
/// When the request can't be answered by this model.
pub fn answer_watched(
    writer: &impl Writer,
    request: &Request,
    watch: &mut dyn FnMut(usize, &str),
) -> Result<Answer, ModelError> {
    let mut failed = None;
    let mut answers =
        answer(writer, &[request], |_, tokens| match text(writer.tokenizer(), tokens, &request.id) {
            Ok(text) => watch(0, &text),
            Err(error) => failed = Some(error),
        })?;
    failed.map_or_else(|| Ok(answers.remove(0)), |error| Err(error.into()))
}

fn answer_alike(
    writer: &impl Writer,
    requests: &[&Request],
    sources: &[Source],
    mut watch: impl FnMut(usize, &[u32]),
) -> Result<Vec<Answer>, ModelError> {
    let decoding = settings(requests[0])?;
    let row = |(request, source): (&&Request, &Source)| Row {
        // As the library has it: what a causal model has read counts, a text that an encoder has read does not.
        history: if source.starts.is_empty() { source.ids.clone() } else { source.starts.clone() },
        max_new_tokens: limit(writer, source, decoding),
        seed: decoding.sampling.map_or(0, |sampling| seed(sampling.seed, &request.id, 0)),
    };
    let rows: Vec<Row> = requests.iter().zip(sources).map(row).collect();
    let search = Search { decoding, convention: Convention::HuggingFace, ends: &sources[0].ends };
    let mut read = vec![0; requests.len()]; // tokens, by all beams together
    let found = writer.write(sources, &rows, search, &mut |progress| {
        read[progress.row] += if progress.is_done { 1 } else { progress.running.len() };
        watch(progress.row, progress.settled());
    })?;
    let mut answers = Vec::with_capacity(requests.len());
    for (((request, row), hypotheses), read) in requests.iter().zip(&rows).zip(found).zip(read) {
        let best = hypotheses.into_iter().next().expect("a search finds a text");
        answers.push(Answer {
            fillings: vec![Filling {
                text: text(writer.tokenizer(), &best.tokens, &request.id)?,
                num_tokens: best.tokens.len(),
                log_prob: best.log_prob,
                is_ended: best.is_ended,
            }],
            spared_tokens: (decoding.num_beams * row.max_new_tokens).saturating_sub(read),
            ..Answer::default()
        });
    }
    Ok(answers)
}

/// What answering takes at most: texts may end early.
///
/// # Errors
/// When the request can't be answered by this model.
pub fn cost(writer: &impl Writer, request: &Request) -> Result<Cost, ModelError> {
    let (decoding, source) = (settings(request)?, writer.source(request)?);
    let limit = limit(writer, &source, decoding);
    let (read, written) = (source.ids.len() + source.starts.len(), decoding.num_beams * limit);
    let room = request.max_tokens.saturating_sub(decoding.max_new_tokens);
    Ok(Cost {
        computed: read + written,
        as_padded_copies: room.max(read) + written,
        truncated: source.truncated,
        flops: writer.flops(&source, &vec![limit; decoding.num_beams]),
        num_targets: 0,
    })
}

/// What reading an example with its right text takes.
///
/// # Errors
/// Those of [`loss`].
pub fn learning_cost(writer: &impl Writer, example: &Example) -> Result<Cost, ModelError> {
    let (source, text) = learned(writer, example)?;
    Ok(Cost {
        computed: source.ids.len() + source.starts.len() + text.len(),
        as_padded_copies: example.request.max_tokens,
        truncated: source.truncated,
        flops: writer.flops(&source, &[text.len()]),
        num_targets: text.len(),
    })
}

/// The mean cross-entropy of all tokens of the right texts, their ends included.
///
/// # Errors
/// When a request can't be laid out, or the computation fails.
pub fn loss(writer: &impl Writer, examples: &[&Example], dropout: &Dropout) -> Result<Tensor, ModelError> {
    let texts = examples.iter().map(|example| learned(writer, example)).collect::<Result<Vec<_>, _>>()?;
    Ok(writer.cross_entropy(&texts, examples[0].label_smoothing, dropout)?)
}

/// An example's source and its right text, cut at the longest length, its end included. What is cut of the text counts
/// with what is cut of the source.
fn learned(writer: &impl Writer, example: &Example) -> Result<(Source, Vec<u32>), ModelError> {
    let request = &example.request;
    let (decoding, mut source) = (settings(request)?, writer.source(request)?);
    let [right] = example.texts.as_slice() else { return Err(several(request, example.texts.len())) };
    let mut text = super::prompt::encode(writer.tokenizer(), request, right)?;
    text.extend(source.ends.first());
    let limit = limit(writer, &source, decoding);
    source.truncated += text.len().saturating_sub(limit);
    text.truncate(limit);
    Ok((source, text))
}

fn several(request: &Request, num_blanks: usize) -> ModelError {
    let what = format!("the prompt has {num_blanks} blanks, and this model fills one; use a GLM");
    ModelError::Unsupported { id: request.id.clone(), what }
}

fn limit(writer: &impl Writer, source: &Source, decoding: &Decoding) -> usize {
    let room = writer.room(source).unwrap_or(usize::MAX);
    decoding.max_new_tokens.min(room).max(1)
}

/// The settings of a search.
///
/// # Errors
/// When no text is asked for, or they make no sense.
pub fn settings(request: &Request) -> Result<&Decoding, ModelError> {
    let unsupported = |what: String| ModelError::Unsupported { id: request.id.clone(), what };
    let decoding = decoding(request).ok_or_else(|| unsupported("no text is asked for".into()))?;
    decoding.problem().map_or(Ok(decoding), |problem| Err(unsupported(problem)))
}

/// How a request's texts are searched, if it asks for texts.
pub fn decoding(request: &Request) -> Option<&Decoding> {
    match &request.ask {
        Ask::Generate { decoding, .. } => Some(decoding),
        _ => None,
    }
}

/// The text of some tokens, without surrounding space; `id` is the request's.
///
/// # Errors
/// When the tokens are no text.
pub fn text(tokenizer: &Tokenizer, tokens: &[u32], id: &str) -> Result<String, EncodingError> {
    let text =
        tokenizer.decode(tokens).map_err(|source| EncodingError::Tokenizer { id: id.to_owned(), source })?;
    Ok(text.trim().to_string())
}

/// The seed of one blank, which depends on nothing but the request's own name. Source: FNV-1a.
pub fn seed(seed: u64, id: &str, blank: usize) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(id.bytes()).chain((blank as u64).to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::{Build, Head, LanguageModel, ModelSource};
    use crate::request::{BlankLength, Cut, Edges, Loss, Part, Prompt};

    /// A T5, whose prompt has no blank, and a GPT-2, whose prompt ends in one.
    const MODELS: [&str; 2] = ["t5-tiny", "gpt-tiny"];

    fn model(name: &str) -> Box<dyn LanguageModel> {
        let source = ModelSource::open_random(name, None).expect("it is known");
        let (dtype, device) = (DType::F32, Device::Cpu);
        let build = Build { seed: 1, head: Head::Vocabulary, is_trained: true, dropout: 0.0, dtype, device };
        source.build(&build).expect("it can be built")
    }

    fn part(text: &str) -> Part {
        Part::Text { text: text.into(), shortenable: true }
    }

    fn request(name: &str, text: &str, decoding: Decoding) -> Request {
        let end = (name == "gpt-tiny").then_some(Part::LongBlank(BlankLength::Rest));
        Request {
            id: text.into(),
            prompt: Prompt { side_a: [part(text)].into_iter().chain(end).collect(), side_b: vec![] },
            ask: Ask::Generate { decoding, edges: Edges::Start, cut: Cut::End },
            max_tokens: 64,
        }
    }

    fn beams() -> Decoding {
        Decoding { num_beams: 3, length_penalty: 0.7, no_repeat_ngram_size: 2, ..Decoding::greedy(6) }
    }

    #[test]
    fn a_text_is_learned_by_the_probability_that_it_has_as_a_candidate() {
        for name in MODELS {
            let model = model(name);
            let written = request(name, "the cat sat on", Decoding::greedy(20));
            let candidates = vec![" an old garden wall".to_owned()];
            let ask = Ask::Choice {
                candidates: candidates.clone(),
                end_of_piece: true,
                length_penalty: 1.0,
                bidirectional: true,
            };
            let chosen = Request { ask, ..written.clone() };
            let score = model.answer(&[&chosen]).expect("an answer").remove(0).candidates[0];
            let example =
                Example { texts: candidates, ..Example::of_candidates(written, 0, Loss::Generative) };
            let loss = model.loss(&[&example, &example], &Dropout::off()).expect("a loss");
            let loss = f64::from(loss.to_scalar::<f32>().expect("a scalar"));
            assert!((loss + score.score).abs() < 1e-5, "{name}: {loss} for {}", -score.score);
        }
    }

    #[test]
    fn a_text_is_cut_at_its_longest_length_before_it_is_learned() {
        for name in MODELS {
            let model = model(name);
            let example = |text: &str, limit: usize| {
                let request = request(name, "the cat sat on", Decoding::greedy(limit));
                Example { texts: vec![text.into()], ..Example::of_candidates(request, 0, Loss::Generative) }
            };
            let cost = |limit: usize| model.learning_cost(&example(" a b c d", limit)).expect("a cost");
            let (whole, cut) = (cost(20), cost(3));
            assert_eq!(whole.computed - cut.computed, 2, "{name}: 4 words and an end, or 3 words");
            assert_eq!((whole.truncated, cut.truncated), (0, 2), "{name}");
        }
    }

    #[test]
    fn texts_depend_on_nothing_but_their_request() {
        for name in MODELS {
            let model = model(name);
            let requests = [
                request(name, "the cat sat on the mat and looked at the", Decoding::greedy(5)),
                request(name, "one", Decoding::greedy(5)),
                request(name, "one two three", beams()),
                request(name, "four", beams()),
            ];
            let together = model.answer(&requests.iter().collect::<Vec<_>>()).expect("answers");
            for (request, among) in requests.iter().zip(&together) {
                let alone = model.answer(&[request]).expect("an answer").remove(0);
                assert_eq!(alone, *among, "{name}");
                assert_eq!(alone.fillings.len(), 1);
                let most = model.cost(request).expect("a cost").computed;
                assert!(alone.spared_tokens < most, "{name}");
            }
        }
    }

    #[test]
    fn what_is_watched_grows_into_the_text() {
        for name in MODELS {
            let mut seen: Vec<String> = Vec::new();
            let request = request(name, "the cat sat on", beams());
            let answer = model(name).generate(&request, &mut |blank, text| {
                assert_eq!(blank, 0);
                seen.push(text.to_owned());
            });
            assert!(seen.windows(2).all(|pair| pair[1].starts_with(&pair[0])), "{name}: {seen:?}");
            assert_eq!(seen.last(), Some(&answer.expect("an answer").fillings[0].text), "{name}");
        }
    }

    #[test]
    fn prompts_that_a_family_has_no_form_for_are_refused() {
        let mut middle = request("gpt-tiny", "the cat", Decoding::greedy(3));
        middle.prompt.side_a.push(part(" sat"));
        let error = model("gpt-tiny").cost(&middle).expect_err("something follows the blank").to_string();
        assert!(error.contains("put it at the end"), "{error}");
        let mut two = request("t5-tiny", "the cat", Decoding::greedy(3));
        two.prompt.side_a.extend([Part::Blank, part(" sat"), Part::Blank]);
        let error = model("t5-tiny").cost(&two).expect_err("two blanks").to_string();
        assert!(error.contains("the prompt has 2 blanks"), "{error}");
    }
}
