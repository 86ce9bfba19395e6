//! LAMBADA's passages become questions and long texts windows, and GLM's scores are those of the published code.
//!
//! The recordings are in `$GLM_EVAL_SHARED` (default `../shared`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use glm_eval::metrics::LogProb;
use glm_eval::model::glm::{Encoding, Targets};
use glm_eval::model::{Build, Head, LanguageModel, ModelSource};
use glm_eval::request::{Answer, Ask, BlankLength, CandidateScore, Part, Prompt, Request};
use glm_eval::tasks::{Sample, Split, Task, TaskData, TaskError};
use glm_eval::tokenizer::{Extras, Tokenizer};
use serde_json::{Value, json};

/// The samples of some passages.
fn samples(passages: &[&str]) -> Result<Vec<Sample>, TaskError> {
    samples_of("lambada", passages)
}

fn samples_of(task: &str, passages: &[&str]) -> Result<Vec<Sample>, TaskError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("test.jsonl");
    let rows: Vec<String> = passages.iter().map(|text| json!({"text": text}).to_string()).collect();
    fs::write(&file, rows.join("\n")).expect("a temporary file");
    let task = Task::find(task).expect("a known task");
    let data = TaskData::from_files(&task, folder.path(), BTreeMap::from([(Split::Val, file)]));
    task.samples(&data, Split::Val, &task.form())?.collect()
}

/// The request as it is asked: the word need not end the text.
fn open(sample: &Sample) -> Request {
    let mut request = sample.request.clone();
    let Ask::Choice { end_of_piece, .. } = &mut request.ask else { panic!("a choice") };
    *end_of_piece = false;
    request
}

#[test]
fn the_word_has_its_share_of_the_perplexity() {
    let sample = samples(&["a b café"]).expect("a passage").remove(0);
    let scored = CandidateScore { score: -2.5, num_tokens: 3, is_greedy: false };
    let answer = Answer { candidates: vec![scored], ..Answer::default() };
    let expected = LogProb { log_prob: -2.5, num_tokens: 3, num_words: 1, num_bytes: 6 }; // " café"
    assert_eq!(sample.log_prob(&answer), Some(expected));
    let failed = CandidateScore { score: f64::NAN, ..scored };
    assert_eq!(sample.log_prob(&Answer { candidates: vec![failed], ..Answer::default() }), None);
}

#[test]
fn the_last_word_is_asked_for_after_all_that_comes_before_it() {
    let samples = samples(&["It rained.\n\nShe took her  umbrella", "a b "]).expect("two passages");
    let told = |sample: &Sample| {
        let [Part::Text { text, .. }, Part::LongBlank(BlankLength::Rest)] = &sample.request.prompt.side_a[..]
        else {
            panic!("a text, a blank")
        };
        let Ask::Choice { candidates, .. } = &sample.request.ask else { panic!("a choice") };
        (text.clone(), candidates.clone(), sample.label)
    };
    let expected = ("It rained.\n\nShe took her".to_owned(), vec![" umbrella".to_owned()], Some(1));
    assert_eq!(told(&samples[0]), expected);
    assert_eq!(told(&samples[1]), ("a".to_owned(), vec![" b".to_owned()], Some(1)));
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("an array").iter()
}

/// Zero-shot choices as the published code scores them, with the sum and with the mean of the tokens' log-probabilities.
#[test]
fn choices_are_scored_as_the_published_code_does() {
    let Some(shared) = shared() else { return };
    let recorded =
        fs::read_to_string(shared.join("golden/tasks/multichoice_rows.json")).expect("a recording");
    let recorded: Value = serde_json::from_str(&recorded).expect("it is JSON");
    let extras = Extras { task_masks: true, ..Extras::default() };
    let Recorded { model, tokenizer } = Recorded::open(&shared, &recorded, extras);
    let texts = |value: &Value| array(value).map(|text| text.as_str().expect("a text").to_owned()).collect();
    let items: Vec<&Value> = array(&recorded["items"]).collect();
    for (direction, bidirectional) in [("bidirectional", true), ("unidirectional", false)] {
        for (item, case) in items.iter().zip(array(&recorded["cases"][direction])) {
            for (length_penalty, scores) in case["scores_by_length_penalty"].as_object().expect("scores") {
                let request = Request {
                    id: "choice".into(),
                    prompt: question(item),
                    ask: Ask::Choice {
                        candidates: texts(&item["choices_pretokenized"]),
                        end_of_piece: false,
                        length_penalty: length_penalty.parse().expect("a number"),
                        bidirectional,
                    },
                    max_tokens: recorded["seq_length"].as_u64().expect("a length") as usize,
                };
                let encodings = Encoding::computed(&tokenizer, &request).expect("it fits");
                for (index, prefix_length) in array(&case["sample"]["mask"]).enumerate() {
                    match bidirectional {
                        true => same_context(&encodings[0], &case["sample"]["text"][index], prefix_length),
                        false => same_row(&encodings[index], &case["sample"], index),
                    }
                }
                let answer = model.answer(&[&request]).expect("an answer").remove(0);
                for (found, expected) in answer.candidates.iter().zip(array(scores)) {
                    let expected = expected.as_f64().expect("a number");
                    assert!((found.score - expected).abs() < 2e-4, "{} for {expected}", found.score);
                }
            }
        }
    }
}

/// A recorded question; the blank is at its end where it has none.
fn question(item: &Value) -> Prompt {
    let question = item["inputs_pretokenized"].as_str().expect("a text");
    let text = |text: &str| Part::Text { text: text.into(), shortenable: true };
    let parts = match question.split_once("[MASK]") {
        Some((before, after)) => vec![text(before), Part::Blank, text(after)],
        None => vec![text(question), Part::Blank],
    };
    Prompt { side_a: parts, side_b: vec![] }
}

/// Holds part A against the recorded one of a candidate.
fn same_context(encoding: &Encoding, row: &Value, prefix_length: &Value) {
    assert_eq!(json!(encoding.prefix_length), *prefix_length);
    let recorded: Vec<&Value> = array(row).take(encoding.prefix_length).collect();
    assert_eq!(json!(encoding.input_ids[..encoding.prefix_length]), json!(recorded));
}

/// Holds a sequence against the recorded one of a candidate: tokens, positions, part A and what is scored.
fn same_row(encoding: &Encoding, sample: &Value, index: usize) {
    let recorded = |row: &Value| -> Vec<u32> {
        let numbers = array(row).map(|number| number.as_u64().expect("a number") as u32);
        numbers.take(encoding.len()).collect()
    };
    assert_eq!(encoding.input_ids, recorded(&sample["text"][index]));
    assert_eq!(encoding.positions, recorded(&sample["position"][index][0]));
    assert_eq!(encoding.block_positions, recorded(&sample["position"][index][1]));
    assert_eq!(json!(encoding.prefix_length), sample["mask"][index]);
    let Targets::Tokens { ids, mask } = &encoding.targets else { panic!("tokens") };
    assert_eq!(
        mask.iter().map(|&scored| scored.into()).collect::<Vec<u32>>(),
        recorded(&sample["logit_mask"][index])
    );
    let targets = recorded(&sample["target"][index]);
    assert!((0..mask.len()).all(|i| !mask[i] || ids[i] == targets[i]));
}

#[test]
fn a_passage_of_one_word_is_an_error_with_its_place() {
    let error = samples(&["two words", "one"]).expect_err("there is no last word").to_string();
    assert!(error.ends_with("test.jsonl:2: the passage \"one\" has no last word after others"), "{error}");
}

/// The shared folder; `None`, with a message, where it is missing on a developer's machine.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn shared() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("GLM_EVAL_SHARED").map_or(default, PathBuf::from);
    if folder.join("golden/tasks").is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing in CI", folder.display());
    eprintln!("skipped: {} has no golden/tasks; set GLM_EVAL_SHARED", folder.display());
    None
}

/// The model of a recording.
struct Recorded {
    model: Box<dyn LanguageModel>,
    tokenizer: Tokenizer,
}

impl Recorded {
    fn open(shared: &Path, recorded: &Value, extras: Extras) -> Self {
        let weights = shared.join("golden").join(recorded["model"].as_str().expect("a model"));
        let tokenizer = shared.join("tokenizers/bert-base-uncased");
        let mut source =
            ModelSource::open(weights.to_str().expect("UTF-8"), Some(&tokenizer)).expect("a model");
        source.tokenizer = Tokenizer::open_with(&tokenizer, extras).expect("BERT's vocabulary");
        let (dtype, device) = (DType::F32, Device::Cpu);
        let build = Build { seed: 1, head: Head::Vocabulary, is_trained: false, dropout: 0.0, dtype, device };
        let model = source.build(&build).expect("the weights fit");
        Self { model, tokenizer: source.tokenizer }
    }
}

#[test]
fn glm_scores_passages_as_the_published_code_does() {
    let Some(shared) = shared() else { return };
    let recorded = fs::read_to_string(shared.join("golden/tasks/language_model.json")).expect("a recording");
    let recorded: Value = serde_json::from_str(&recorded).expect("it is JSON");
    let case = &recorded["cases"]["lambada_strict_bi"];
    let window = case["settings"]["seq_length"].as_u64().expect("a length") as usize;
    let passages: Vec<&str> =
        recorded["raw"]["lambada"].as_array().expect("texts").iter().filter_map(Value::as_str).collect();
    let Recorded { model, .. } = Recorded::open(&shared, &recorded, Extras::default());
    let mut num_cut = 0;
    for (index, sample) in samples(&passages).expect("the recorded passages").iter().enumerate() {
        // Longer passages are cut at their start.
        let request = Request { max_tokens: window, ..open(sample) };
        num_cut += usize::from(model.cost(&request).expect("it fits").truncated > 0);
        let scores = &case["per_row"][index];
        let answer = model.answer(&[&request]).expect("an answer").remove(0).candidates.remove(0);
        let loss = scores["loss_sum"].as_f64().expect("a loss");
        assert!((answer.score + loss).abs() < 2e-4, "{index}: {} for {loss}", -answer.score);
        assert_eq!(answer.num_tokens as u64, scores["loss_tokens"], "{index}");
        let wanted = case["answer_tokens"][index].as_array().expect("tokens");
        let is_greedy = scores["argmax_at_scored"].as_array() == Some(wanted);
        assert_eq!(answer.is_greedy, is_greedy, "{index}");
    }
    assert_eq!(num_cut, 1, "one recorded passage is longer than the window");
}

#[test]
fn left_to_right_the_last_word_is_the_end_of_its_passage_as_in_the_published_code() {
    let Some(shared) = shared() else { return };
    let recorded = fs::read_to_string(shared.join("golden/tasks/language_model.json")).expect("a recording");
    let recorded: Value = serde_json::from_str(&recorded).expect("it is JSON");
    let case = &recorded["cases"]["lambada_strict_uni"];
    let passages: Vec<&str> =
        recorded["raw"]["lambada_uni"].as_array().expect("texts").iter().filter_map(Value::as_str).collect();
    let Recorded { model, tokenizer } = Recorded::open(&shared, &recorded, Extras::default());
    let rows = case["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), passages.len());
    for ((sample, row), scores) in samples_of("lambada_uni", &passages)
        .expect("the recorded passages")
        .iter()
        .zip(rows)
        .zip(case["per_row"].as_array().expect("scores"))
    {
        let encoding = Encoding::windows(&tokenizer, &sample.request).expect("it fits").remove(0);
        let ids = |key: &str| -> Vec<Value> {
            row[key].as_array().expect("numbers").iter().take(encoding.len()).cloned().collect()
        };
        let values = |numbers: &[u32]| numbers.iter().map(|&number| json!(number)).collect::<Vec<_>>();
        assert_eq!(values(&encoding.input_ids), ids("text"));
        assert_eq!(json!(encoding.prefix_length), row["attention_mask"]);
        let Targets::Tokens { mask, .. } = &encoding.targets else { panic!("tokens") };
        assert_eq!(mask.iter().map(|&scored| json!(u32::from(scored))).collect::<Vec<_>>(), ids("loss_mask"));
        let whole = row["position_id"].as_array().expect("two kinds");
        for (own, recorded) in [&encoding.positions, &encoding.block_positions].into_iter().zip(whole) {
            assert_eq!(values(own), recorded.as_array().expect("positions")[..own.len()]);
        }
        let answer = model.answer(&[&sample.request]).expect("an answer").remove(0);
        let loss = scores["loss_sum"].as_f64().expect("a loss");
        assert!(
            (answer.candidates[0].score + loss).abs() < 2e-4,
            "{} for {loss}",
            -answer.candidates[0].score
        );
        assert_eq!(json!(answer.candidates[0].num_tokens), scores["loss_tokens"]);
        assert_eq!(sample.predict(&answer), Some(usize::from(answer.candidates[0].is_greedy)));
        assert_eq!(sample.log_prob(&answer).expect("a probability").num_words, 1);
    }
}

/// A text as a request, cut into windows as a recorded case has them.
fn whole_text(text: &str, settings: &Value) -> Request {
    let number = |key: &str| settings[key].as_u64().expect("a number") as usize;
    let bidirectional = !settings["unidirectional"].as_bool().expect("a truth value");
    Request {
        id: "text".into(),
        prompt: Prompt { side_a: vec![Part::Text { text: text.into(), shortenable: false }], side_b: vec![] },
        ask: Ask::LogProb { stride: number("overlapping_eval"), bidirectional, last_part_only: false },
        max_tokens: number("seq_length"),
    }
}

#[test]
fn windows_of_long_texts_and_their_scores_are_those_of_the_published_code() {
    let Some(shared) = shared() else { return };
    let recorded = fs::read_to_string(shared.join("golden/tasks/language_model.json")).expect("a recording");
    let recorded: Value = serde_json::from_str(&recorded).expect("it is JSON");
    let lines: Vec<&str> = recorded["raw"]["lm_txt"].as_str().expect("a text").lines().collect();
    let models = [false, true]
        .map(|task_masks| Recorded::open(&shared, &recorded, Extras { task_masks, ..Extras::default() }));
    let mut compared = 0;
    for (name, case) in recorded["cases"].as_object().expect("cases") {
        let is_text = name.starts_with("lm_") || name.starts_with("wikitext_");
        if !is_text {
            continue;
        }
        // Only where the vocabulary has [gMASK] is it the blank.
        let model = &models[usize::from(case["settings"]["task_mask"] == true)];
        let texts = match name.starts_with("wikitext_") {
            true => vec![recorded["raw"]["wikitext_detokenized"].as_str().expect("a text")],
            false => lines.iter().copied().filter(|line| !line.is_empty()).collect(),
        };
        let rows = case["rows"].as_array().expect("rows");
        let (mut row, mut total, mut num_tokens) = (0, 0.0, 0);
        for text in &texts {
            let request = whole_text(text, &case["settings"]);
            for encoding in Encoding::windows(&model.tokenizer, &request).expect("windows") {
                let recorded = &rows[row];
                let ids = |key: &str| -> Vec<u32> {
                    let ids = recorded[key].as_array().expect("numbers").iter();
                    ids.map(|id| id.as_u64().expect("a number") as u32).take(encoding.len()).collect()
                };
                assert_eq!(encoding.input_ids, ids("text"), "{name} {row}");
                assert_eq!(json!(encoding.prefix_length), recorded["attention_mask"], "{name} {row}");
                let Targets::Tokens { ids: targets, mask } = &encoding.targets else { panic!("tokens") };
                assert_eq!(
                    mask.iter().map(|&scored| u32::from(scored)).collect::<Vec<_>>(),
                    ids("loss_mask")
                );
                let wanted = ids("target");
                assert!((0..mask.len()).all(|i| !mask[i] || targets[i] == wanted[i]), "{name} {row}");
                for (which, own) in [&encoding.positions, &encoding.block_positions].into_iter().enumerate() {
                    let own: Vec<Value> = own.iter().map(|&position| json!(position)).collect();
                    let whole = recorded["position_id"][which].as_array().expect("positions");
                    assert_eq!(own, whole[..own.len()], "{name} {row}");
                }
                row += 1;
            }
            let answer = model.model.answer(&[&request]).expect("an answer").remove(0).candidates.remove(0);
            total -= answer.score;
            num_tokens += answer.num_tokens;
        }
        assert_eq!(row, rows.len(), "{name}");
        let expected = case["total"].as_f64().expect("a number");
        assert!((total - expected).abs() < 1e-4 * expected.abs(), "{name}: {total} for {expected}");
        let scored: u64 =
            case["per_row"].as_array().expect("rows").iter().filter_map(|r| r["loss_tokens"].as_u64()).sum();
        assert_eq!(num_tokens as u64, scored, "{name}");
        // The published averages take one token off for all texts together, and one word.
        let count = |key: &str| case[key].as_f64().expect("a number") - 1.0;
        let (tokens, words) = (count("num_tokenized_tokens"), count("num_original_tokens"));
        for (score, per) in [("ppl", tokens), ("adjusted ppl", words)] {
            let expected = case["scores"][score].as_f64().expect("a score");
            assert!(((total / per).exp() / expected - 1.0).abs() < 1e-2, "{name}: {score}");
        }
        compared += 1;
    }
    assert_eq!(compared, 9);
}

#[test]
fn the_wikitext_files_tokens_are_put_together_as_the_published_code_does() {
    let Some(shared) = shared() else { return };
    let recorded = fs::read_to_string(shared.join("golden/tasks/language_model.json")).expect("a recording");
    let recorded: Value = serde_json::from_str(&recorded).expect("it is JSON");
    let raw = recorded["raw"]["wikitext_raw"].as_str().expect("a text");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("test.tokens");
    fs::write(&file, raw).expect("a temporary file");
    for (name, bidirectional) in [("wikitext103", true), ("wikitext103_uni", false)] {
        let task = Task::find(name).expect("a known task");
        let data = TaskData::from_files(&task, folder.path(), BTreeMap::from([(Split::Val, file.clone())]));
        let samples = task.samples(&data, Split::Val, &task.form()).expect("a file");
        let samples: Vec<Sample> = samples.collect::<Result<_, _>>().expect("a row");
        let [Sample { request, text_size: Some(size), .. }] = &samples[..] else { panic!("one text") };
        let [Part::Text { text, .. }] = &request.prompt.side_a[..] else { panic!("a text") };
        assert_eq!(text, recorded["raw"]["wikitext_detokenized"].as_str().expect("a text"));
        assert_eq!(request.ask, Ask::LogProb { stride: 256, bidirectional, last_part_only: false });
        assert_eq!(json!(size.num_words), recorded["cases"]["wikitext_bi"]["num_original_tokens"]);
        assert_eq!(size.num_bytes, raw.len() as u64);
    }
}
