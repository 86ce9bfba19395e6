//! Every official pattern of every `SuperGLUE` task against what the published code made of the same rows.
//!
//! The recordings and the rows are in `$GLM_EVAL_SHARED` (default `../shared`); their README says how they were made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use glm_eval::eval::training_examples;
use glm_eval::model::glm::Encoding;
use glm_eval::model::glm::encoding::Targets;
use glm_eval::request::{Ask, Part, Request};
use glm_eval::tasks::{Form, Head, Sample, Split, Task, TaskData};
use glm_eval::tokenizer::Tokenizer;
use serde_json::{Value, json};

#[expect(clippy::print_stdout, reason = "says why nothing was tested")]
/// The shared folder; `None`, with a message, where it is missing on a developer's machine.
fn shared() -> Option<PathBuf> {
    let folder =
        std::env::var_os("GLM_EVAL_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    if folder.join("golden/superglue").is_dir() {
        return Some(folder);
    }
    let message = format!("{} has no golden/superglue; set GLM_EVAL_SHARED", folder.display());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
    println!("skipped: {message}");
    None
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The rows that were recorded: the few-shot training set, and the validation set (`ReCoRD`: the few-shot one).
fn data(shared: &Path, task: &Task) -> TaskData {
    let folder = &task.data.folder;
    let few_shot = shared.join("data/fewglue").join(folder);
    let val = match folder.as_str() {
        "ReCoRD" => few_shot.join("dev32.jsonl"),
        _ => shared.join("data/superglue").join(folder).join("val.jsonl"),
    };
    let files = BTreeMap::from([(Split::Train, few_shot.join("train.jsonl")), (Split::Val, val)]);
    TaskData::from_files(task, &few_shot, files)
}

fn parts(parts: &[Part], mask: u32) -> Value {
    let part = |part: &Part| match part {
        Part::Text { text, shortenable } => json!({"text": text, "shortenable": shortenable}),
        Part::Blank | Part::LongBlank(_) => json!({"token_ids": [mask], "shortenable": false}),
    };
    parts.iter().map(part).collect()
}

/// One encoding under the names of the recordings, padded with zeros to `length`, targets as recorded.
fn recorded_form(encoding: &Encoding, length: usize, padding: u32) -> Value {
    let padded = |ids: &[u32], padding: u32| {
        let mut ids = ids.to_vec();
        ids.resize(length, padding);
        ids
    };
    let position = [padded(&encoding.positions, 0), padded(&encoding.block_positions, 0)];
    let (target, mask) = match &encoding.targets {
        Targets::Words(ids) => {
            let last = encoding.len() - 1;
            let mask: Vec<u32> = (0..encoding.len()).map(|i| u32::from(i == last)).collect();
            (json!(ids), json!(padded(&mask, 0)))
        }
        Targets::Tokens { ids, mask } => {
            let mask: Vec<u32> = mask.iter().map(|&scored| u32::from(scored)).collect();
            (json!(padded(ids, 0)), json!(padded(&mask, 0)))
        }
        Targets::Pooled => (Value::Null, Value::Null),
    };
    let text = padded(&encoding.input_ids, padding);
    json!({"text": text, "position": position, "mask": encoding.prefix_length, "target": target, "logit_mask": mask})
}

/// The recorded keys of a sample, under the names that most samples use.
fn key<'a>(sample: &'a Value, name: &str) -> &'a Value {
    let wsc = match name {
        "mask" => "attention_mask",
        "logit_mask" => "loss_mask",
        "position" => "position_id",
        other => other,
    };
    sample.get(name).or_else(|| sample.get(wsc)).unwrap_or(&Value::Null)
}

/// Compares the encodings with a recorded sample: flat for one sequence, a list for several.
fn compare_encodings(context: &str, tokenizer: &Tokenizer, request: &Request, recorded: &Value) {
    let length = recorded["kept_length"].as_u64().expect("a length") as usize;
    let encodings =
        Encoding::official(tokenizer, request).unwrap_or_else(|error| panic!("{context}: {error}"));
    let nested = recorded["text"][0].is_array();
    assert!(nested || encodings.len() == 1, "{context}: {} encodings", encodings.len());
    let padding = tokenizer.special().expect("GLM's own").eos;
    for (choice, encoding) in encodings.iter().enumerate() {
        let ours = recorded_form(encoding, length, padding);
        for name in ["text", "position", "mask", "target", "logit_mask"] {
            let theirs = key(recorded, name);
            let theirs = if nested { &theirs[choice] } else { theirs };
            assert_eq!(&ours[name], theirs, "{context}, choice {choice}: {name}");
        }
    }
    if nested {
        assert_eq!(recorded["text"].as_array().map(Vec::len), Some(encodings.len()), "{context}: choices");
    }
}

fn candidates(request: &Request) -> Option<&Vec<String>> {
    match &request.ask {
        Ask::Choice { candidates, .. } => Some(candidates),
        _ => None,
    }
}

/// A shared context must hold exactly what the official sequences hold, where these agree on the context.
fn compare_shared_context(context: &str, tokenizer: &Tokenizer, request: &Request) {
    let official = Encoding::official(tokenizer, request).expect("compared before");
    let shared = Encoding::shared_context(tokenizer, request).expect("there is one where there is the other");
    let prefix = |encoding: &Encoding| encoding.input_ids[..encoding.prefix_length].to_vec();
    let common = official.iter().map(|e| e.prefix_length).min().expect("at least one");
    assert_eq!(shared.prefix_length, common, "{context}: the shortest context is shared");
    if official.iter().any(|encoding| prefix(encoding) != prefix(&official[0])) {
        return;
    }
    assert_eq!(prefix(&shared), prefix(&official[0]), "{context}");
    let mut start = shared.prefix_length;
    for (piece, encoding) in shared.pieces.iter().zip(&official) {
        let range = start..start + piece;
        assert_eq!(shared.input_ids[range.clone()], encoding.input_ids[common..], "{context}");
        assert_eq!(shared.positions[range.clone()], encoding.positions[common..], "{context}");
        assert_eq!(shared.block_positions[range.clone()], encoding.block_positions[common..], "{context}");
        start = range.end;
    }
    assert_eq!(start, shared.len(), "{context}");
}

fn first(task: &Task, data: &TaskData, split: Split, form: &Form, count: usize) -> Vec<Sample> {
    let samples = task.samples(data, split, form).unwrap_or_else(|error| panic!("{error}"));
    samples.take(count).collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}"))
}

/// What a section of a recording changes about the form.
#[derive(Clone, Copy, PartialEq)]
enum Section {
    Official,
    MultiToken,
}

/// Compares a recorded section (a list of patterns) with ours; returns the number of compared samples.
fn compare_section(
    task: &Task,
    data: &TaskData,
    tokenizer: &Tokenizer,
    patterns: &Value,
    section: Section,
) -> usize {
    let mut compared = 0;
    for pattern in patterns.as_array().expect("a list of patterns") {
        let id = pattern["pattern_id"].as_u64().expect("an id") as usize;
        let form = Form {
            pattern: id,
            max_tokens: pattern["max_seq_length"].as_u64().expect("a length") as usize,
            multi_token: section == Section::MultiToken,
            ..task.form()
        };
        assert_eq!(pattern["labels"], json!(task.label_values), "{}", task.name);
        let spec = task.pattern(id).unwrap_or_else(|error| panic!("{error}"));
        for (label, words) in pattern["verbalizers"].as_object().expect("verbalizers") {
            assert_eq!(
                spec.words.get(label).map(String::as_str),
                words[0].as_str(),
                "{}, pattern {id}",
                task.name
            );
        }
        for (split, name) in [(Split::Train, "train"), (Split::Val, "dev")] {
            let recorded = &pattern["splits"][name];
            let examples = recorded["first"].as_array().expect("examples");
            if compared == 0 || split == Split::Train {
                let all = task.samples(data, split, &form).expect("opened before").count();
                assert_eq!(Some(all as u64), recorded["num_examples"].as_u64(), "{} {name}", task.name);
            }
            for (ours, theirs) in first(task, data, split, &form, examples.len()).iter().zip(examples) {
                let context = format!("{}, pattern {id}, {name}, {}", task.name, ours.guid);
                assert_eq!(theirs["guid"], ours.guid, "{context}");
                assert_eq!(theirs["sample"]["uid"], ours.guid, "{context}");
                assert_eq!(theirs["label"], ours.official_label, "{context}");
                let mask = tokenizer.special().expect("GLM's own").mask;
                assert_eq!(theirs["parts_a"], parts(&ours.request.prompt.side_a, mask), "{context}");
                assert_eq!(theirs["parts_b"], parts(&ours.request.prompt.side_b, mask), "{context}");
                let answers = theirs.get("answers").cloned();
                assert_eq!(answers, candidates(&ours.request).map(|ours| json!(ours)), "{context}");
                compare_encodings(&context, tokenizer, &ours.request, &theirs["sample"]);
                compare_shared_context(&context, tokenizer, &ours.request);
                compared += 1;
            }
        }
    }
    compared
}

/// Compares all that was recorded of a task with the BERT vocabulary.
fn compare_task(name: &str) {
    let Some(shared) = shared() else { return };
    let task = Task::find(name).expect("a known task");
    let data = data(&shared, &task);
    let tokenizer = Tokenizer::open(&shared.join("tokenizers/bert-base-uncased")).expect("a tokenizer");
    let recorded = read(&shared.join(format!("golden/superglue/{name}.json")));
    assert_eq!(recorded["official_patterns"].as_array().map(Vec::len), Some(task.patterns.len()), "{name}");
    let mut compared = 0;
    for section in ["official_patterns", "short_seq_64", "loss_func_generative", "loss_func_mix"] {
        if let Some(patterns) = recorded.get(section) {
            compared += compare_section(&task, &data, &tokenizer, patterns, Section::Official);
        }
    }
    if let Some(patterns) = recorded.get("multi_token_flag") {
        compared += compare_section(&task, &data, &tokenizer, patterns, Section::MultiToken);
    }
    assert!(compared >= 14, "{name}: only {compared} samples were compared");

    let classified = &recorded["classifier_encoding"];
    for (split, key) in [(Split::Train, "glm_train"), (Split::Val, "glm_dev")] {
        let Some(examples) = classified[key].as_array() else { continue };
        let max_tokens = examples[0]["padded_length"].as_u64().expect("a length") as usize;
        let form = Form { head: Head::Classifier, max_tokens, ..task.form() };
        for theirs in examples {
            let guid = theirs["guid"].as_str().expect("an id");
            let ours = task.samples(&data, split, &form).expect("there is a classifier form");
            let ours = ours.map(|sample| sample.expect("a sample")).find(|sample| sample.guid == guid);
            let ours = ours.unwrap_or_else(|| panic!("{name}: no {guid}"));
            compare_encodings(&format!("{name}, classifier, {guid}"), &tokenizer, &ours.request, theirs);
        }
    }
}

#[test]
fn boolq_is_laid_out_as_published() {
    compare_task("boolq");
}

#[test]
fn cb_is_laid_out_as_published() {
    compare_task("cb");
}

#[test]
fn copa_is_laid_out_as_published() {
    compare_task("copa");
}

#[test]
fn multirc_is_laid_out_as_published() {
    compare_task("multirc");
}

#[test]
fn record_is_laid_out_as_published() {
    compare_task("record");
}

#[test]
fn rte_is_laid_out_as_published() {
    compare_task("rte");
}

#[test]
fn wic_is_laid_out_as_published() {
    compare_task("wic");
}

#[test]
fn wsc_is_laid_out_as_published() {
    compare_task("wsc");
}

#[test]
fn the_gpt2_vocabulary_gives_the_published_tokens() {
    let Some(shared) = shared() else { return };
    let tokenizer = Tokenizer::open(&shared.join("tokenizers/gpt2")).expect("a tokenizer");
    let recorded = read(&shared.join("golden/superglue/gpt2_vocab_rows.json"));
    for (name, recorded) in recorded.as_object().expect("tasks") {
        let task = Task::find(name).expect("a known task");
        let data = data(&shared, &task);
        let compared = compare_section(&task, &data, &tokenizer, &recorded["patterns"], Section::Official);
        assert!(compared >= 4 * task.patterns.len(), "{name}: only {compared} samples were compared");
    }
}

/// The rows of `with_candidates_mix` have made-up candidates: row `i` has as many as were recorded.
#[test]
fn wsc_with_candidates_is_laid_out_as_published() {
    let Some(shared) = shared() else { return };
    let task = Task::find("wsc").expect("a known task");
    let tokenizer = Tokenizer::open(&shared.join("tokenizers/bert-base-uncased")).expect("a tokenizer");
    let recorded = read(&shared.join("golden/superglue/wsc.json"));
    let pattern = &recorded["with_candidates_mix"][0];
    let plain = data(&shared, &task);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut files = BTreeMap::new();
    for (split, name) in [(Split::Train, "train"), (Split::Val, "dev")] {
        let file = folder.path().join(format!("{name}.jsonl"));
        let mut rows = String::new();
        for line in fs::read_to_string(plain.file(split).expect("a file")).expect("rows").lines() {
            let mut row: Value = serde_json::from_str(line).expect("a row");
            let guid = format!("{name}-{}", row["idx"]);
            let examples = pattern["splits"][name]["first"].as_array().expect("examples");
            let same = examples.iter().filter(|example| example["guid"] == guid);
            let mut texts: Vec<&str> = Vec::new();
            for answer in
                same.flat_map(|example| example["answers"].as_array().expect("answers").iter().skip(1))
            {
                let text = answer.as_str().expect("a text").trim();
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            row["candidates"] = texts.iter().map(|text| json!({"text": text})).collect();
            rows.push_str(&row.to_string());
            rows.push('\n');
        }
        fs::write(&file, rows).expect("a temporary file");
        files.insert(split, file);
    }
    let data = TaskData::from_files(&task, folder.path(), files);
    let form = Form { pattern: 2, max_tokens: 128, ..task.form() };
    for (split, name) in [(Split::Train, "train"), (Split::Val, "dev")] {
        let examples = pattern["splits"][name]["first"].as_array().expect("examples");
        let ours = first(&task, &data, split, &form, examples.len());
        assert_eq!(ours.len(), examples.len());
        for (ours, theirs) in ours.iter().zip(examples) {
            let context = format!("wsc with candidates, {}", ours.guid);
            assert_eq!(theirs["guid"], ours.guid, "{context}");
            assert_eq!(theirs["answers"], json!(candidates(&ours.request)), "{context}");
            assert!(matches!(ours.request.ask, Ask::Choice { length_penalty: 1.0, .. }), "{context}");
            compare_encodings(&context, &tokenizer, &ours.request, &theirs["sample"]);
        }
    }
    let examples = training_examples(&task, &data, &form, None).expect("a training set");
    assert!(examples.map(|example| example.expect("an example")).all(|example| example.label == 0));
}

#[test]
fn the_rows_of_the_recorded_scores_have_the_same_tokens() {
    let Some(shared) = shared() else { return };
    let tokenizer = Tokenizer::open(&shared.join("tokenizers/bert-base-uncased")).expect("a tokenizer");
    let recorded = read(&shared.join("golden/tasks/superglue_scores.json"));
    for (name, case) in recorded["cases"].as_object().expect("cases") {
        let task = Task::find(name).expect("a known task");
        let form = Form {
            pattern: case["pattern_id"].as_u64().expect("an id") as usize,
            max_tokens: case["max_seq_length"].as_u64().expect("a length") as usize,
            multi_token: case["multi_token"].as_bool().expect("a flag"),
            ..task.form()
        };
        let rows = case["rows"].as_array().expect("rows");
        let ours = first(&task, &data(&shared, &task), Split::Val, &form, rows.len());
        for (ours, theirs) in ours.iter().zip(rows) {
            assert_eq!(theirs["guid"], ours.guid, "{name}");
            assert_eq!(
                theirs["label"].as_u64(),
                ours.label.map(|label| label as u64),
                "{name}, {}",
                ours.guid
            );
            for (choice, encoding) in
                Encoding::official(&tokenizer, &ours.request).expect("an encoding").iter().enumerate()
            {
                let text = &theirs["text"];
                let text = if text[0].is_array() { &text[choice] } else { text };
                let text = text.as_array().expect("ids");
                assert!(
                    text.starts_with(&encoding.input_ids.iter().map(|&id| json!(id)).collect::<Vec<_>>())
                );
            }
        }
    }
}

#[test]
fn python_shuffles_are_the_recorded_ones() {
    use glm_eval::data::python_random::PythonRandom;
    let Some(shared) = shared() else { return };
    let recorded = read(&shared.join("golden/blocks/random_streams.json"));
    for stream in recorded["python_random"].as_array().expect("streams") {
        let Ok(seed) = u32::try_from(stream["seed"].as_u64().expect("a seed")) else { continue };
        let mut random = PythonRandom::new(seed);
        for drawn in stream["random"].as_array().expect("draws") {
            // As `random()` makes 53 bits from two draws.
            let (a, b) = (random.bits() >> 5, random.bits() >> 6);
            let ours = (f64::from(a) * 67_108_864.0 + f64::from(b)) / 9_007_199_254_740_992.0;
            assert_eq!(drawn.as_f64(), Some(ours));
        }
    }
}
