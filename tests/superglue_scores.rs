//! Scores of real rows: as the published code recorded them, and the same however candidates are grouped.
//!
//! The recordings and the rows are in `$GLM_EVAL_SHARED` (default `../shared`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use glm_eval::model::glm::Encoding;
use glm_eval::model::{Build, Head, LanguageModel, ModelSource};
use glm_eval::request::{Answer, Ask, Request};
use glm_eval::tasks::{Form, Sample, Split, Task, TaskData};
use serde_json::Value;

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

fn build(source: &ModelSource) -> Box<dyn LanguageModel> {
    let build = Build {
        seed: 1,
        head: Head::Vocabulary,
        is_trained: false,
        dropout: 0.0,
        dtype: DType::F32,
        device: Device::Cpu,
    };
    source.build(&build).expect("the weights fit")
}

/// The first samples of a file of rows.
fn samples(task: &Task, file: &Path, form: &Form, count: usize) -> Vec<Sample> {
    let files = BTreeMap::from([(Split::Val, file.to_path_buf())]);
    let data = TaskData::from_files(task, file.parent().expect("a folder"), files);
    let samples = task.samples(&data, Split::Val, form).expect("the file is there");
    samples.take(count).map(|sample| sample.expect("the rows are right")).collect()
}

#[test]
fn scores_are_those_of_the_published_code() {
    let Some(shared) = shared() else { return };
    let recorded = std::fs::read_to_string(shared.join("golden/tasks/superglue_scores.json"));
    let recorded: Value = serde_json::from_str(&recorded.expect("a recording")).expect("it is JSON");
    let weights = shared.join("golden").join(recorded["model"].as_str().expect("a model"));
    let tokenizer = shared.join("tokenizers/bert-base-uncased");
    let source = ModelSource::open(weights.to_str().expect("UTF-8"), Some(&tokenizer)).expect("a model");
    let model = build(&source);
    let mut compared = 0;
    for (name, case) in recorded["cases"].as_object().expect("cases") {
        let task = Task::find(name).expect("a known task");
        let form = Form {
            pattern: case["pattern_id"].as_u64().expect("a number") as usize,
            max_tokens: case["max_seq_length"].as_u64().expect("a number") as usize,
            multi_token: case["multi_token"].as_bool().expect("a flag"),
            ..task.form()
        };
        let rows = case["rows"].as_array().expect("rows");
        let file = shared.join("data/superglue").join(&task.data.folder).join("val.jsonl");
        let samples = samples(&task, &file, &form, rows.len());
        let requests: Vec<&Request> = samples.iter().map(|sample| &sample.request).collect();
        let answers = model.answer(&requests).expect("it answers");
        for ((row, sample), answer) in rows.iter().zip(&samples).zip(&answers) {
            assert_eq!(row["guid"], sample.guid.as_str(), "{name}");
            let scores = row["scores"].as_array().expect("scores");
            assert_eq!(scores.len(), answer.candidates.len(), "{name} {}", sample.guid);
            for (theirs, ours) in scores.iter().zip(&answer.candidates) {
                let theirs = theirs.as_f64().expect("a number");
                let difference = (theirs - ours.score).abs();
                assert!(difference < 2e-4, "{name} {}: {theirs}, here {}", sample.guid, ours.score);
            }
            let prediction = sample.predict(answer).expect("no score is NaN");
            let theirs = &row["prediction"];
            let theirs = theirs.as_str().map_or_else(|| theirs.to_string(), String::from);
            assert_eq!(theirs, prediction.to_string(), "{name} {}", sample.guid);
            compared += 1;
        }
    }
    assert!(compared >= 48, "only {compared} samples were compared");
}

/// The request with one of its candidates alone.
fn alone(request: &Request, candidate: usize) -> Request {
    let Ask::Choice { candidates, end_of_piece, length_penalty, bidirectional } = &request.ask else {
        panic!("{} has no candidates", request.id)
    };
    let ask = Ask::Choice {
        candidates: vec![candidates[candidate].clone()],
        end_of_piece: *end_of_piece,
        length_penalty: *length_penalty,
        bidirectional: *bidirectional,
    };
    Request { ask, ..request.clone() }
}

/// Holds one pass over all candidates against a pass for each, and a batch against its samples alone.
fn one_pass_is_one_each(task: &str, file: &Path, pattern: usize, count: usize) {
    let source = ModelSource::open_random("glm-tiny", None).expect("it is bundled");
    let model = build(&source);
    let task = Task::find(task).expect("a known task");
    // Where the prompt must be cut, the published code leaves more of it to shorter candidates.
    let form = Form { pattern, max_tokens: 512, ..task.form() };
    let samples = samples(&task, file, &form, count);
    let whole = |request: &&Request| model.cost(request).is_ok_and(|cost| cost.truncated == 0);
    let requests: Vec<&Request> = samples.iter().map(|sample| &sample.request).filter(whole).collect();
    assert!(requests.len() > count / 2, "{}: {} of {count} fit", task.name, requests.len());
    let together = model.answer(&requests).expect("it answers");
    for (&request, answer) in requests.iter().zip(&together) {
        let itself: Vec<Answer> = model.answer(&[request]).expect("it answers");
        assert_eq!(itself, std::slice::from_ref(answer), "{}: others in the batch", request.id);
        let official = Encoding::official(&source.tokenizer, request).expect("an encoding");
        for (i, one_pass) in answer.candidates.iter().enumerate() {
            let request = alone(request, i);
            let encoding = Encoding::shared_context(&source.tokenizer, &request).expect("an encoding");
            assert_eq!(encoding, official[i], "{}: candidate {i}", request.id);
            let single = model.answer(&[&request]).expect("it answers").remove(0).candidates[0];
            let difference = (single.score - one_pass.score).abs();
            assert!(difference < 1e-5 * single.score.abs().max(1.0), "{}: candidate {i}", request.id);
            assert_eq!(single.num_tokens, one_pass.num_tokens);
            assert_eq!(single.is_greedy, one_pass.is_greedy);
        }
    }
}

#[test]
fn one_pass_over_copas_choices_scores_them_as_one_pass_each() {
    let Some(shared) = shared() else { return };
    one_pass_is_one_each("copa", &shared.join("data/superglue/COPA/val.jsonl"), 0, 12);
}

#[test]
fn one_pass_over_wscs_candidates_scores_them_as_one_pass_each() {
    let Some(shared) = shared() else { return };
    one_pass_is_one_each("wsc", &shared.join("data/wsc_extra/wscr_test.jsonl"), 2, 12);
}

#[test]
fn one_pass_over_records_entities_scores_them_as_one_pass_each() {
    let Some(shared) = shared() else { return };
    one_pass_is_one_each("record", &shared.join("data/superglue/ReCoRD/val.jsonl"), 0, 6);
}
