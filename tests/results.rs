//! Run records and logged samples as files: what a reader of lm-evaluation-harness finds, what survives
//! damage, what stays private.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use glm_eval::metrics::{Outcome, Prediction, suite};
use glm_eval::request::CandidateScore;
use glm_eval::results::ours::*;
use glm_eval::results::record::{Record, RecordError, RunConfig, record_path, run_folder, samples_path};
use glm_eval::results::samples::{self, SampleLine, SampleTexts};
use glm_eval::results::time::UtcTime;
use glm_eval::stats::Estimate;
use proptest::prelude::*;
use serde_json::{Value, json};

fn estimate(value: f64) -> Estimate {
    Estimate { value, stderr: Some(0.05), n: 56 }
}

fn epoch(number: usize, accuracy: f64, macro_f1: f64) -> Epoch {
    let scores = [("accuracy", accuracy), ("macro_f1", macro_f1)];
    Epoch {
        epoch: number,
        updates: 4 * number as u64,
        train_loss: Some(0.7),
        learning_rate: Some(1e-5),
        scores: scores.map(|(name, value)| (name.to_string(), Some(estimate(value)))).into(),
        secs: Some(1.5),
    }
}

fn cb(rule: Rule) -> TaskRecord {
    let runs = vec![
        SeedRun::trained(1, vec![epoch(1, 0.75, 0.5), epoch(2, 0.5, 0.25)], "accuracy"),
        SeedRun::trained(2, vec![epoch(1, 0.25, 0.25), epoch(2, 0.25, 0.75)], "accuracy"),
    ];
    let setting = Setting { value: json!(1e-5), source: "task file".into() };
    let mut task = TaskRecord {
        name: unit_name("cb", "3", 1),
        task: "cb".into(),
        version: 1,
        task_file_sha256: "00".into(),
        suite: Some("superglue".into()),
        pattern: Some("3".into()),
        split: "val".into(),
        data: vec![DataFile { split: "val".into(), file: "val.jsonl".into(), sha256: "11".into(), rows: 56 }],
        samples: SampleCount { original: 56, effective: 56 },
        metrics: vec!["accuracy".into(), "macro_f1".into(), "f1a".into()],
        chance_level: None,
        recipe: BTreeMap::from([("learning_rate".into(), setting)]),
        notes: vec![],
        runs,
        scores: BTreeMap::new(),
        baselines: BTreeMap::new(),
        cost: Cost { tokens_computed: Some(1000), eval_secs: Some(2.0), ..Cost::default() },
    };
    task.summarize(rule);
    task
}

fn record(rule: Rule) -> Record {
    let model = Model {
        name: "some/glm-tiny".into(),
        family: Some("glm".into()),
        num_parameters: Some(1_000_000),
        weights_sha256: None,
        config_sha256: None,
        tokenizer_sha256: None,
        random_weights: Some("drawn with seed 1".into()),
    };
    let tasks = vec![cb(rule)];
    let find = |task: &str, metric: &str| {
        tasks.iter().find(|t| t.task == task).and_then(|t| t.scores.get(metric)).and_then(|s| s.selected)
    };
    let ours = GlmEval {
        schema_version: SCHEMA_VERSION,
        record_sha256: None,
        program: Program {
            version: "0.1.0".into(),
            sha256: None,
            git_hash: Some("abc".into()),
            arguments: vec!["run".into(), "cb".into()],
        },
        model,
        machine: Machine {
            device: "cpu".into(),
            device_name: None,
            dtype: "f32".into(),
            threads: Some(2),
            instructions: Some("avx512".into()),
            peak_flops_per_sec: Some(2.5e11),
        },
        mode: Mode::Finetune,
        selection: Selection { rule, split: Some("val".into()) },
        bootstrap: Bootstrap::default(),
        suite: Some(suite::average(suite::SUPERGLUE, find)),
        tasks,
        cost: Cost::default(),
    };
    let at = |secs| UtcTime::from_unix(Duration::from_millis(secs));
    Record::new(ours, RunConfig { model: "glm".into(), ..RunConfig::default() }, at(1000), at(3500))
}

#[test]
fn a_reader_of_the_harness_finds_its_keys() {
    let value: Value = serde_json::from_slice(&record(Rule::Best).to_bytes()).unwrap();
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "results",
            "groups",
            "group_subtasks",
            "configs",
            "versions",
            "n-shot",
            "higher_is_better",
            "n-samples",
            "config",
            "git_hash",
            "date",
            "task_hashes",
            "model_name",
            "model_name_sanitized",
            "start_time",
            "end_time",
            "total_evaluation_time_seconds",
            "glm_eval",
        ]
    );
    // Best epochs by accuracy: seed 1 epoch 1 (0.75, 0.5); seed 2 epoch 1 (0.25, 0.25). Means 0.5 and 0.375.
    let result = json!({
        "alias": "cb", "acc,none": 0.5, "acc_stderr,none": 0.05,
        "macro_f1,none": 0.375, "macro_f1_stderr,none": 0.05,
        "f1a,none": null, "f1a_stderr,none": "N/A", // both are `f1` in the harness: ours are kept apart
    });
    assert_eq!(value["results"]["cb"], result);
    assert_eq!(value["higher_is_better"]["cb"]["acc"], json!(true));
    assert_eq!(value["n-samples"]["cb"], json!({"original": 56, "effective": 56}));
    assert_eq!(value["group_subtasks"]["superglue"], json!(["cb"]));
    assert_eq!(value["model_name_sanitized"], json!("some__glm-tiny"));
    assert_eq!(value["total_evaluation_time_seconds"], json!("2.5"));
}

#[test]
fn best_last_and_the_mean_over_seeds_stand_side_by_side() {
    let value = serde_json::to_value(record(Rule::Last)).unwrap();
    let scores = &value["glm_eval"]["tasks"][0]["scores"]["accuracy"];
    assert_eq!(scores["selected"]["value"], json!(0.375)); // last epochs: (0.5 + 0.25) / 2
    assert_eq!(scores["best"]["mean"], json!(0.5));
    assert_eq!(
        scores["last"],
        json!({"mean": 0.375, "std": 0.176_776_695_296_636_9, "min": 0.25, "max": 0.5, "n": 2})
    );
}

#[test]
fn what_is_unknown_is_null_and_never_zero() {
    let value = serde_json::to_value(record(Rule::Best)).unwrap();
    assert_eq!(value["glm_eval"]["model"]["weights_sha256"], Value::Null);
    assert_eq!(value["glm_eval"]["tasks"][0]["cost"]["peak_memory_bytes"], Value::Null);
    assert_eq!(value["groups"], json!({}), "one task is no suite");
    assert_eq!(value["glm_eval"]["suite"]["average"], Value::Null);
    assert_eq!(value["glm_eval"]["suite"]["missing"].as_array().unwrap().len(), 7);
}

#[test]
fn a_record_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let record = record(Rule::Best);
    let time = UtcTime::from_unix(Duration::from_secs(0));
    let path = record_path(&run_folder(folder.path(), &record.model_name), time);
    assert!(path.ends_with("some__glm-tiny/results_1970-01-01T00-00-00.000000.json"));
    record.write(&path).unwrap();
    assert_eq!(Record::read(&path).unwrap(), record);
    assert_eq!(Record::read(&path).unwrap().to_bytes(), record.to_bytes());
}

#[test]
fn equal_runs_differ_only_in_times() {
    let mut slower = record(Rule::Best);
    slower.date += 60.0;
    slower.end_time += 99.0;
    slower.glm_eval.tasks[0].cost.eval_secs = Some(9.0);
    slower.glm_eval.tasks[0].runs[0].epochs[0].secs = None;
    assert_ne!(slower.to_bytes(), record(Rule::Best).to_bytes());
    assert_eq!(slower.without_times().to_bytes(), record(Rule::Best).without_times().to_bytes());
}

#[test]
fn an_edited_record_is_noticed_and_a_reformatted_one_or_one_without_a_digest_is_not() {
    let mut value = serde_json::to_value(record(Rule::Best)).unwrap();
    let compact = serde_json::to_vec(&value).unwrap();
    assert_eq!(read_bytes(&compact).unwrap(), record(Rule::Best));
    value["results"]["cb"]["acc,none"] = json!(0.75);
    let error = read_bytes(&serde_json::to_vec(&value).unwrap()).unwrap_err().to_string();
    assert!(error.contains("the record was changed after it was written"), "{error}");
    value["glm_eval"].as_object_mut().unwrap().remove("record_sha256");
    assert!(read_bytes(&serde_json::to_vec(&value).unwrap()).is_ok(), "older programs wrote none");
}

fn read_bytes(bytes: &[u8]) -> Result<Record, RecordError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Record::read(file.path())
}

#[test]
fn a_record_of_another_schema_says_which_program_reads_it() {
    let mut value = serde_json::to_value(record(Rule::Best)).unwrap();
    for (version, way_out) in [(99, "use a newer program"), (0, "use the program it was written with")] {
        value["glm_eval"]["schema_version"] = json!(version);
        let error = read_bytes(&serde_json::to_vec(&value).unwrap()).unwrap_err().to_string();
        assert!(error.contains(&format!("schema {version}")) && error.contains(way_out), "{error}");
    }
    assert!(matches!(read_bytes(b"{\"results\": {}}"), Err(RecordError::NotOurs { .. })));
    assert!(matches!(read_bytes(b"results"), Err(RecordError::Malformed { .. })));
    assert!(matches!(Record::read(Path::new("/no/such/record.json")), Err(RecordError::Io { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_record_cut_anywhere_is_an_error(share in 0.0..1.0_f64) {
        let bytes = record(Rule::Best).to_bytes();
        let cut = ((bytes.len() - 2) as f64 * share) as usize; // without the closing brace and newline
        prop_assert!(read_bytes(&bytes[..cut]).is_err());
        let is_cut_short = matches!(read_bytes(&bytes[..bytes.len() - 2]), Err(RecordError::CutShort { .. }));
        prop_assert!(is_cut_short);
    }
}

fn line(prediction: Prediction, label: Option<usize>, log_samples: bool) -> SampleLine {
    let references = if label.is_some() { vec![] } else { vec!["secret answer".to_string()] };
    let (id, group) = ("val-0".into(), Some("q0".into()));
    let outcome = Outcome { id, group, prediction, label, references, log_prob: None };
    let candidate = |score| CandidateScore { score, num_tokens: 1, is_greedy: false };
    let metrics = [if label.is_some() { "accuracy" } else { "record_em" }.to_string()];
    let texts = SampleTexts {
        doc: json!({"passage": "secret passage"}),
        arguments: json!("secret prompt"),
        target: "secret answer".into(),
    };
    let candidates = [candidate(-0.1), candidate(f64::NEG_INFINITY)];
    SampleLine::new(0, &outcome, &candidates, &metrics, &texts, log_samples)
}

#[test]
fn a_sample_has_the_keys_of_the_harness_and_its_own_score() {
    let value = serde_json::to_value(line(Prediction::Label(1), Some(1), true)).unwrap();
    for key in [
        "doc_id",
        "doc",
        "target",
        "arguments",
        "resps",
        "filtered_resps",
        "filter",
        "metrics",
        "doc_hash",
        "prompt_hash",
        "target_hash",
        "guid",
        "prediction",
    ] {
        assert!(value.get(key).is_some(), "{key}");
    }
    assert_eq!((&value["metrics"], &value["acc"]), (&json!(["acc"]), &json!(1.0)));
    assert_eq!(value["resps"], json!([[[-0.1, false]], [[null, false]]])); // minus infinity is no number in JSON
}

#[test]
fn without_log_samples_no_text_of_a_data_set_is_written() {
    for label in [Some(1), None] {
        let text = Prediction::Text("secret answer".into());
        let private = line(if label.is_some() { Prediction::Label(1) } else { text.clone() }, label, false);
        let bytes = serde_json::to_string(&private).unwrap();
        assert!(!bytes.contains("secret"), "{bytes}");
        assert_eq!(private.outcome().is_some(), label.is_some(), "labels can be scored again, texts not");
    }
}

#[test]
fn samples_are_read_back_and_scored_again_and_equal_samples_give_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        line(Prediction::Label(1), Some(1), true),
        line(Prediction::None, Some(1), false),
        line(Prediction::Text("Secret answer!".into()), None, true),
    ];
    let paths =
        [1, 2].map(|secs| samples_path(folder.path(), "cb", UtcTime::from_unix(Duration::from_secs(secs))));
    for path in &paths {
        samples::write(path, lines.clone()).unwrap();
    }
    assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
    let back: Vec<SampleLine> = samples::read(&paths[0]).unwrap().map(Result::unwrap).collect();
    assert_eq!(back, lines);
    assert_eq!(back[1].outcome().unwrap().prediction, Prediction::None);
    assert_eq!(back[2].scores["em"], json!(1.0));
}

#[test]
fn a_cut_line_of_samples_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.jsonl");
    samples::write(
        &path,
        [line(Prediction::Label(1), Some(1), false), line(Prediction::Label(0), Some(1), false)],
    )
    .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let error = samples::read(&path).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("line 2 is not a sample, or is cut short"), "{error}");
}

#[test]
fn records_of_earlier_versions_are_read_and_lack_only_what_was_not_measured_then() {
    let runs = concat!(env!("CARGO_MANIFEST_DIR"), "/results/runs");
    let folders = std::fs::read_dir(runs).expect("records are kept there").flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    let files: Vec<_> = files.map(|file| file.path()).filter(|file| is_record(file)).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let record = Record::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(record.glm_eval.cost.tokens_computed.is_some_and(|tokens| tokens > 0), "{}", file.display());
    }
}

fn is_record(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("results_"))
}
