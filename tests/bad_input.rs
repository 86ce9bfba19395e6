//! Whatever is wrong outside, the program says so in one message (which file, which place, what was found, what to
//! do) and ends with the documented exit code. Through the binary, as a table of cases a command.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use glm_eval::checkpoint::write_safetensors;
use glm_eval::model::registry;
use serde_json::{Value, json};

const DATA: &str = "tests/data/superglue";
const WEIGHTS: &str = "tests/golden/block_v1000/weights.safetensors";
const TOKENIZER: &str = "models/glm-tiny/tokenizer.json";
const ROW: &str = r#"{"premise": "A cat sat.", "hypothesis": "A cat.", "label": "entailment", "idx": 0}"#;

/// A scratch folder; `{}` in a command is its path.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let file = self.0.path().join(file);
        fs::create_dir_all(file.parent().expect("it has a folder")).expect("a folder");
        fs::write(file, bytes).expect("a file");
    }

    /// Runs a command that must fail with `code` and a message that says everything in `says`.
    fn fails(&self, command: &str, code: i32, says: &[&str]) {
        let folder = self.0.path().display().to_string();
        let mut program = assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"));
        program
            .env("RUST_BACKTRACE", "1")
            .env_remove("GLM_EVAL_DATA")
            .env_remove("GLM_EVAL_MODELS")
            .env("XDG_CACHE_HOME", self.0.path());
        let output = program
            .args(command.split_whitespace().map(|word| word.replace("{}", &folder)))
            .timeout(Duration::from_mins(1))
            .output()
            .expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = stderr.clone() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{command}: {text}");
        for what in says {
            assert!(text.contains(what), "{command}: no {what:?} in: {text}");
        }
        assert!(!text.contains("panicked") && !text.contains("backtrace::"), "{command}: {text}");
        assert!(stderr.matches("error:").count() <= 1, "{command}: more than one message: {stderr}");
    }

    /// A model directory of the recorded weights, with a changed configuration.
    fn model(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let config = fs::read("tests/golden/block_v1000/config.json").expect("the recorded configuration");
        let mut config: Value = serde_json::from_slice(&config).expect("it is JSON");
        change(&mut config);
        self.write(&format!("{name}/config.json"), config.to_string());
        self.write(&format!("{name}/model.safetensors"), fs::read(WEIGHTS).expect("the recorded weights"));
    }
}

#[test]
fn broken_rows() {
    let scratch = Scratch::new();
    let label = ROW.replace("entailment", "entailmnt");
    let wrong_type = ROW.replace("\"A cat.\"", "[1]");
    let cases: [(&str, Vec<u8>, &[&str]); 10] = [
        ("cut", format!("{ROW}\n{}", &ROW[..30]).into(), &["RTE/val.jsonl:2:", "cut short"]),
        ("empty", vec![], &["RTE/val.jsonl: the file is empty"]),
        (
            "latin1",
            [ROW.as_bytes(), b"\n{\"premise\": \"caf\xe9\"}"].concat(),
            &["val.jsonl:2: not UTF-8 at byte"],
        ),
        (
            "schema",
            br#"{"sentence1": "a", "idx": 0, "label": "entailment"}"#.to_vec(),
            &["val.jsonl:1:", "`sentence1`"],
        ),
        ("list", b"[1, 2]".to_vec(), &["val.jsonl:1: expected a JSON object, found a list"]),
        ("type", wrong_type.into(), &["val.jsonl:1: `hypothesis` should be a text, found a list"]),
        ("label", label.into(), &["val.jsonl:1:", "\"entailmnt\"", "did you mean `entailment`?"]),
        (
            "syntax",
            format!("{ROW}\n{{'a': 1}}").into(),
            &["val.jsonl:2:2: not valid JSON: key must be a string"],
        ),
        ("deep", vec![b'['; 100_000], &["val.jsonl:1:128: not valid JSON: recursion limit"]),
        ("zeros", vec![0; 10], &["val.jsonl:1:1: not valid JSON"]),
    ];
    for (name, bytes, says) in cases {
        scratch.write(&format!("{name}/RTE/val.jsonl"), bytes);
        scratch.fails(&format!("show rte --index 0.. --data-dir {{}}/{name}"), 2, says);
        scratch.fails(&format!("run rte --mode zero-shot -o {{}}/out --data-dir {{}}/{name}"), 2, says);
        scratch.fails(&format!("validate --data-dir {{}}/{name}"), 2, says);
    }
    scratch.write("unlabelled/RTE/val.jsonl", ROW);
    scratch.write("unlabelled/RTE/train.jsonl", format!("{ROW}\n{}", ROW.replace("\"label\"", "\"lbl\"")));
    for command in ["run rte -o {}/out", "validate rte"] {
        let says = &["RTE/train.jsonl:2: the row has no label"];
        scratch.fails(&format!("{command} --data-dir {{}}/unlabelled"), 2, says);
    }
    scratch.write("unlabelled/RTE/train.jsonl", ROW);
    scratch.write("unlabelled/RTE/val.jsonl", format!("{ROW}\n{}", ROW.replace("\"label\"", "\"lbl\"")));
    for command in ["run rte --mode zero-shot -o {}/out", "validate rte"] {
        let says = &["RTE/val.jsonl:2: the row has no label"];
        scratch.fails(&format!("{command} --data-dir {{}}/unlabelled"), 2, says);
    }
    scratch.fails("validate --data-dir {}/none", 2, &["--data-dir", "/none: there is no such folder"]);
    scratch.fails("validate rte --data-dir {}/empty/RTE/..", 2, &["the file is empty"]);
    scratch.fails("validate copa --data-dir {}/empty", 2, &["no data for `COPA`"]);
    let huge = fs::File::create(scratch.0.path().join("empty/RTE/val.jsonl")).expect("a file");
    huge.set_len(65 << 20).expect("a hole, which reads as zeros");
    scratch.fails("show rte --data-dir {}/empty", 2, &["val.jsonl:1: the line is longer than"]);
}

#[test]
fn rows_that_contradict_themselves() {
    let scratch = Scratch::new();
    for (folder, row, says) in [
        (
            "COPA",
            json!({"premise": "A.", "choice1": "a", "choice2": "b", "question": "why", "label": 0, "idx": 0}),
            "\"cause\" or \"effect\", found \"why\"",
        ),
        (
            "MultiRC",
            json!({"idx": 0, "passage": {"text": "a", "questions": [{"question": "q", "idx": 0, "answers": [{"text": "x", "idx": 0, "label": 5}]}]}}),
            "the label 5 is none of `0`, `1`",
        ),
        (
            "WSC",
            json!({"text": "a b c", "idx": 0, "label": true, "target": {"span1_index": 0, "span1_text": "a", "span2_index": 9, "span2_text": "z"}}),
            "which has only 3",
        ),
        (
            "ReCoRD",
            json!({"source": "x", "idx": 0, "passage": {"text": "abc", "entities": [{"start": 5, "end": 900}]}, "qas": [{"query": "q", "answers": [], "idx": 0}]}),
            "lies outside the passage of 3 characters",
        ),
    ] {
        scratch.write(&format!("{folder}/val.jsonl"), row.to_string());
        let place = format!("{folder}/val.jsonl:1: ");
        scratch.fails(&format!("show {} --data-dir {{}}", folder.to_lowercase()), 2, &[&place, says]);
    }
}

#[test]
fn data_that_is_not_there() {
    let scratch = Scratch::new();
    let way_out = ["GLM_EVAL_DATA (not set)", "(the cache)", "https://", "RTE.zip", "--data-dir"];
    // Only showing and running have the mini suite in its place; and a diagnostic has no place there.
    scratch.fails("bench --task rte", 2, &way_out);
    scratch.fails("run rte ax_b --mode zero-shot", 2, &way_out);
    scratch.fails(
        "run superglue-mini --split test --mode zero-shot",
        2,
        &["record_mini: there is no test file"],
    );
    scratch.fails("run superglue --data-dir {}/none", 2, &["no data for `ReCoRD`", "/none (--data-dir)"]);
    scratch.fails("score rte --predictions Cargo.toml", 2, &["Cargo.toml:1:2: not valid JSON"]);
    scratch.fails("show rte --data-dir {}/none", 2, &["/none (--data-dir)"]);
    scratch.write("RTE/val.jsonl", ROW);
    scratch.fails("run rte --epochs 1 --data-dir {}", 2, &["rte: there is no train file in"]);
    scratch.fails("show rte --split test --data-dir {}", 2, &["rte: there is no test file in"]);
}

#[test]
fn names_that_nothing_has() {
    let scratch = Scratch::new();
    for (command, says) in [
        ("show rtee", &["no task `rtee`", "did you mean `rte`?", "glm-eval ls tasks"][..]),
        ("run superglu", &["did you mean `superglue`?"]),
        ("show superglue", &["is a suite", "record, copa"]),
        ("run", &["no task was named", "glm-eval ls"]),
        ("show no.toml", &["no.toml: can't be read"]),
        ("show rte --pattern 9", &["rte: there is no pattern 9; it has `0`"]),
        ("show rte --index 99", &["there is no sample 99; the val set has 8"]),
        ("show rte --index 5..5", &["the range holds no sample"]),
        ("show rte --guid dev-99", &["no val sample has the id dev-99"]),
        ("show rte --model glm-tinny", &["no model `glm-tinny`", "did you mean `glm-tiny`?"]),
        (
            "run rte --model glm-base",
            &["weights of `glm-base` are not here; download", "GLM_EVAL_MODELS (not set)"],
        ),
        ("run rte --model bert-base-uncased", &["huggingface.co/google-bert/bert-base-uncased"]),
        ("show rte --model bert-tiny", &["`bert-tiny` is a bert model", "as a GLM reads them only"]),
        ("run rte --model berd-tiny", &["did you mean `bert-tiny`?"]),
        ("run rte --model qwerty", &["`glm-tiny`", "are bundled", "glm-eval ls models"]),
        ("run rte --patterns 9", &["there is no pattern 9"]),
        ("run rte --limitt 3", &["unexpected argument '--limitt'", "--limit"]),
        ("run rte --epochs 0", &["--epochs 0", "zero-shot"]),
        ("run rte --seeds 1,2,1", &["--seeds: 1 stands there twice"]),
        ("run rte --learning-rate nan", &["--learning-rate", "it is not a number"]),
        ("run rte --mode few-shot -f 18446744073709551615", &["--num-fewshot", "from 1 to 1000"]),
        ("run rte --head text-to-text", &["glm-tiny is no text-to-text model"]),
        ("fill hello --beams 18446744073709551615", &["num_beams must be from 1 to 1000"]),
        ("fill hello --max-new-tokens 5000", &["--max-new-tokens 5000: glm-tiny has 1024 positions"]),
        ("run rte --device gpu", &["expected auto, cpu or cuda:N"]),
        ("ls task", &["'tasks'"]),
        ("validate {}/none", &["/none: can't be read"]),
        ("validate rtee", &["did you mean `rte`?"]),
        ("verify {}/none", &["/none: no checkpoint found"]),
        ("convert {}/none {}/model", &["/none: no checkpoint found"]),
        ("score rte --predictions {}/none", &["/none: can't be read"]),
    ] {
        let data = if command.contains("rte") && !command.contains("rtee") {
            " --data-dir tests/data/superglue"
        } else {
            ""
        };
        scratch.fails(&format!("{command}{data}"), 2, says);
    }
}

#[test]
fn broken_task_files() {
    let scratch = Scratch::new();
    let right = fs::read_to_string("tasks/superglue/rte.toml").expect("a task file");
    let changed = |from: &str, to: &str| right.replacen(from, to, 1).into_bytes();
    for (name, bytes, says) in [
        (
            "key",
            changed("title =", "titel ="),
            &["key.toml:4: unknown field `titel`", "did you mean `title`?"][..],
        ),
        ("metric", changed("\"accuracy\"", "\"acuracy\""), &["metric.toml:", "did you mean `accuracy`?"]),
        ("field", changed("{premise}", "{premis}"), &["no field `premis`", "did you mean `premise`?"]),
        ("type", changed("version = 1", "version = \"one\""), &["type.toml:6: invalid type"]),
        ("word", changed("\" Yes\"", "\"\""), &["the word for the label `entailment` is empty"]),
        ("blank", changed("\"[MASK]\", ", ""), &["pattern 0 has 0 blanks"]),
        ("pattern", changed("pattern = 0", "pattern = 7"), &["the recipe's pattern 7 isn't there"]),
        (
            "adapter",
            changed("id = \"idx\"", "adapter = \"coppa\""),
            &["no adapter `coppa`; did you mean `copa`?"],
        ),
        ("cut", right.as_bytes()[..right.len() / 2].to_vec(), &["cut.toml:"]),
        ("empty", vec![], &["empty.toml:1: missing field"]),
        ("latin1", b"# caf\n# caf\xe9".to_vec(), &["latin1.toml:2: not UTF-8"]),
    ] {
        let file = format!("{name}/{name}.toml");
        scratch.write(&file, bytes);
        scratch.fails(&format!("validate {{}}/{file}"), 2, says);
        scratch.fails(&format!("validate {{}}/{name}"), 2, says);
        scratch.fails(&format!("run {{}}/{file} --data-dir {DATA}"), 2, says);
        scratch.fails(&format!("show {{}}/{file} --data-dir {DATA}"), 2, says);
    }
    scratch.write("none/readme.md", "");
    scratch.fails("validate {}/none", 2, &["holds no .toml file"]);
}

#[test]
fn broken_predictions() {
    let scratch = Scratch::new();
    let all = |prediction: &str| -> String {
        let line =
            |i: usize| json!({"guid": format!("dev-{i}"), "prediction": prediction}).to_string() + "\n";
        (0..8).map(line).collect()
    };
    for (name, text, says) in [
        ("label", all("entailmnt"), "entailmnt"),
        (
            "few",
            all("entailment").lines().take(3).collect::<Vec<_>>().join("\n"),
            "5 of 8 samples have no prediction",
        ),
        ("twice", all("entailment").repeat(2), ":9: `dev-0` has an answer in line 1 already"),
        (
            "stray",
            all("entailment") + r#"{"guid": "dev-88", "prediction": "entailment"}"#,
            ":9: `dev-88` is none of the 8 samples",
        ),
        ("nameless", r#"{"name": "dev-0"}"#.into(), ":1: the line has no `id`"),
        ("empty", String::new(), "the file is empty"),
        ("csv", "guid,prediction\n".into(), ":1:1: not valid JSON"),
    ] {
        scratch.write(&format!("{name}.jsonl"), text);
        let command = format!("score rte --predictions {{}}/{name}.jsonl --data-dir {DATA}");
        scratch.fails(&command, 2, &[&format!("{name}.jsonl"), says]);
    }
}

/// A `PyTorch` archive with this pickle.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut zip = zip::ZipWriter::new(&mut bytes);
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, contents) in [("archive/data.pkl", pickle), ("archive/version", b"3\n")] {
        zip.start_file(name, options).expect("a file in the archive");
        zip.write_all(contents).expect("it is in memory");
    }
    zip.finish().expect("it is in memory");
    bytes.into_inner()
}

#[test]
fn broken_and_hostile_checkpoints() {
    let scratch = Scratch::new();
    let right = fs::read(WEIGHTS).expect("the recorded weights");
    let header =
        usize::try_from(u64::from_le_bytes(*right.first_chunk().expect("a length"))).expect("a length");
    let lying = |from: &str, to: &str| {
        let text =
            std::str::from_utf8(&right[8..8 + header]).expect("the header is text").replacen(from, to, 1);
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &right[8 + header..]].concat()
    };
    let hostile = b"\x80\x02cposix\nsystem\nX\x09\0\0\0touch pwn\x85R.";
    let zip = archive(hostile);
    for (file, bytes, says) in [
        ("cut.safetensors", right[..right.len() / 2].to_vec(), "cut short"),
        ("long.safetensors", [&(1u64 << 62).to_le_bytes()[..], b"{}"].concat(), "header too large"),
        (
            "offsets.safetensors",
            lying("\"data_offsets\":[0,", "\"data_offsets\":[4,"),
            "offsets.safetensors: ",
        ),
        (
            "shape.safetensors",
            lying("\"shape\":[", "\"shape\":[1099511627776,1099511627776,"),
            "shape.safetensors: ",
        ),
        ("type.safetensors", lying("\"F32\"", "\"Q99\""), "Q99"),
        ("page.safetensors", b"<!DOCTYPE html>".to_vec(), "page.safetensors: "),
        ("empty.pt", vec![], "the file is empty"),
        ("text.pt", b"hello".to_vec(), "not a PyTorch file"),
        (
            "hostile.pt",
            zip.clone(),
            "names `posix.system`, which a checkpoint's weights don't need; nothing was run",
        ),
        ("raw.pt", hostile.to_vec(), "raw.pt: "),
        ("opcode.pt", archive(b"\x80\x02\xff."), "opcode.pt: cannot read it as data"),
        ("stack.pt", archive(b"\x80\x02tttt."), "stack.pt: cannot read it as data"),
        ("cut.pt", zip[..zip.len() - 30].to_vec(), "not a whole PyTorch archive"),
    ] {
        scratch.write(file, bytes);
        scratch.fails(&format!("convert {{}}/{file} {{}}/model"), 2, &[file, says]);
        scratch.fails(&format!("run rte --data-dir {DATA} --model {{}}/{file}"), 2, &[file, says]);
        scratch.fails(&format!("verify tests/golden/block_v1000 --model {{}}/{file}"), 2, &[file, says]);
    }
    assert!(!Path::new("pwn").exists() && !scratch.0.path().join("model").exists());
}

#[test]
fn models_that_do_not_fit_together() {
    let scratch = Scratch::new();
    scratch.model("layers", |c| c["num_layers"] = json!(9));
    scratch.model("heads", |c| c["num_attention_heads"] = json!(5));
    scratch.model("huge", |c| c["num_layers"] = json!(1_000_000_000_000u64));
    scratch.model("negative", |c| c["num_layers"] = json!(-1));
    scratch.model("text", |c| c["hidden_size"] = json!("64"));
    for (name, says) in [
        ("layers", "num_layers is 9 there, 3 here"),
        ("heads", "cannot be divided among num_attention_heads 5"),
        ("huge", "it must be from 1 to"),
        ("negative", "config.json is not that of a glm model"),
        ("text", "config.json is not that of a glm model"),
    ] {
        scratch.fails(&format!("run rte --data-dir {DATA} --model {{}}/{name}"), 2, &[name, says]);
        scratch.fails(&format!("convert {{}}/{name} {{}}/model"), 2, &[name, says]);
    }
    scratch.model("right", |_| ());
    let run = format!("run rte --data-dir {DATA} --model {{}}/right");
    scratch.fails(&run, 2, &["no vocabulary found", "tokenizer.json", "--tokenizer DIR"]);
    scratch.fails(
        &format!("{run} --tokenizer {TOKENIZER}"),
        2,
        &["does not fit the model", "needs 8192 rows, but has 1000"],
    );
    scratch.fails("convert {}/right {}/right", 2, &["it exists; pass `--force`"]);
    scratch.write("file", "");
    scratch.fails("convert {}/right {}/file", 2, &["a model directory is a folder"]);
    scratch.fails("convert {}/right {}/file/model", 2, &["file/model", "cannot"]);
    scratch.fails("verify {}/right", 2, &["no recordings found; expected files such as forward.safetensors"]);
    scratch.write("right/tokenizer.json", "{\"version\": ");
    scratch.fails(&run, 2, &["not a valid tokenizer.json", "line 1"]);
    scratch.fails(&format!("run rte --mode zero-shot -L 1 -o {{}}/file --data-dir {DATA}"), 2, &["/file"]);
}

/// A BERT without heads whose weights are 0, with a changed configuration.
fn bert(scratch: &Scratch, name: &str, change: impl FnOnce(&mut Value)) {
    let mut config = json!({"model_type": "bert", "vocab_size": 8192, "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "hidden_act": "gelu", "max_position_embeddings": 64});
    let architecture = registry::architecture(config.as_object(), &BTreeMap::new()).expect("a configuration");
    let zeros = |shape: Vec<usize>| Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("zeros");
    let weights = architecture.body().into_iter().map(|(name, shape)| (name, zeros(shape))).collect();
    let folder = scratch.0.path().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    write_safetensors(&folder.join("model.safetensors"), &weights).expect("weights");
    change(&mut config);
    scratch.write(&format!("{name}/config.json"), config.to_string());
    scratch.write(&format!("{name}/tokenizer.json"), fs::read(TOKENIZER).expect("the bundled vocabulary"));
}

#[test]
fn models_of_other_families_that_do_not_fit_together() {
    let scratch = Scratch::new();
    let run = |name: &str| format!("run rte --data-dir {DATA} --limit 1 -o {{}}/out --model {{}}/{name}");
    for (key, value, says) in [
        ("model_type", json!("deberta-v2"), &["deberta-v2", "known are glm, bert"][..]),
        ("hidden_act", json!("silu"), &["`hidden_act` is \"silu\", which is not supported; gelu"]),
        ("is_decoder", json!(true), &["is_decoder"]),
        ("num_hidden_layers", json!(2), &["missing", "encoder.layer.1.attention.self.query.weight"]),
        ("num_hidden_layers", json!("two"), &["config.json is not that of a bert model"]),
        ("hidden_size", json!(10), &["of another shape", "[8192, 8] found, [8192, 10] expected"]),
        ("hidden_size", json!(9), &["hidden_size 9 cannot be divided among num_attention_heads 2"]),
        ("pad_token_id", json!(7), &["has [PAD] as 0, the model's config.json as 7"]),
    ] {
        bert(&scratch, "changed", |config| config[key] = value);
        scratch.fails(&run("changed"), 2, says);
    }
    bert(&scratch, "whole", |_| ());
    // Nothing has trained its heads, and nothing would.
    let zero_shot = format!("{} --mode zero-shot", run("whole"));
    scratch.fails(&zero_shot, 2, &["lacks the masked-language-model head (cls.predictions.", "fine-tune"]);
    scratch.write("whole/tokenizer.json", "");
    fs::remove_file(scratch.0.path().join("whole/tokenizer.json")).expect("it was written");
    scratch.write("words/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nplay\n");
    let with = |tokenizer: &str| format!("{} --tokenizer {{}}/{tokenizer}", run("whole"));
    scratch.fails(&with("words"), 2, &["is not that of a model with 8192 rows"]);
    scratch.write("gpt2/vocab.json", r#"{"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}"#);
    scratch.write("gpt2/merges.txt", "#version: 0.2\na b\n");
    scratch.fails(&with("gpt2"), 2, &["[CLS]", "gpt2"]);
}

#[test]
fn a_prompt_that_cannot_be_cut_to_the_length_is_named() {
    let scratch = Scratch::new();
    scratch.fails(
        &format!("show rte --max-length 3 --data-dir {DATA}"),
        2,
        &["dev-0: the prompt is", "too long for 3"],
    );
}

#[test]
fn a_run_that_could_score_no_sample_leaves_no_record() {
    let scratch = Scratch::new();
    let says = ["rte: none of its 8 samples could be scored", "raise `--max-length`"];
    scratch.fails(
        &format!("run rte --mode zero-shot --max-length 3 --data-dir {DATA} -o {{}}/out"),
        2,
        &says,
    );
    let left = fs::read_dir(scratch.0.path().join("out/glm-tiny")).expect("the run's folder").flatten();
    assert!(left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().starts_with("results_")));
}

#[test]
fn weights_that_are_no_numbers_fail_the_check_and_stay_valid_json() {
    let scratch = Scratch::new();
    scratch.model("nan", |_| ());
    let mut bytes = fs::read(WEIGHTS).expect("the recorded weights");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    scratch.write("nan/model.safetensors", bytes);
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"))
        .args(["verify", "tests/golden/block_v1000", "--json", "--model"])
        .arg(scratch.0.path().join("nan"))
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let mut failed = 0;
    for line in String::from_utf8(output.stdout).expect("text").lines() {
        let check: Value = serde_json::from_str(line).expect("valid JSON");
        let keys: Vec<&str> = check.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["case", "what", "max_abs_diff", "tolerance", "pass"]);
        assert!(!check["max_abs_diff"].is_null() || check["pass"] == false, "{check}");
        failed += usize::from(check["max_abs_diff"].is_null());
    }
    assert!(failed > 0);
}
