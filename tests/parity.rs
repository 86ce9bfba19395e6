//! `glm-eval verify` on recordings of the official code: those in `tests/golden`, and larger ones in
//! `$GLM_EVAL_SHARED/golden/glm` (default `../shared`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

fn verify(folder: &Path) -> assert_cmd::assert::Assert {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    command.arg("verify").arg(folder).args(["--device", "cpu", "--json"]).assert()
}

/// Every comparison, as printed; the run must have ended with `code`.
fn checks(folder: &Path, code: i32) -> Vec<Value> {
    let done = verify(folder).code(code);
    let text = String::from_utf8(done.get_output().stdout.clone()).expect("it is text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn failed(checks: &[Value]) -> usize {
    checks.iter().filter(|check| check["pass"] == false).count()
}

/// A folder of the larger recordings of the official code.
fn shared(name: &str) -> Option<PathBuf> {
    golden(&format!("glm/{name}"))
}

/// A folder of recordings; `None`, with a message, where they are not.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn golden(name: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("GLM_EVAL_SHARED").map_or(default, PathBuf::from);
    let found = shared.join("golden").join(name);
    if found.is_dir() {
        return Some(found);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing in CI", found.display());
    eprintln!("skipped: {} is not there; set GLM_EVAL_SHARED", found.display());
    None
}

/// A copy of a folder of `tests/golden`, which may be damaged.
fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(Path::new(GOLDEN).join(name)).expect("recordings are in tests/golden") {
        let file = entry.expect("a readable folder").path();
        fs::copy(&file, copy.path().join(file.file_name().expect("a file"))).expect("a temporary file");
    }
    copy
}

#[test]
fn the_recordings_beside_the_tests_pass() {
    for (name, kinds) in [
        ("block_v1000", &["forward", "loss_grad", "cloze", "lr_schedule"][..]),
        ("noblock_v1000", &["forward", "lr_schedule"]),
    ] {
        let checks = checks(&Path::new(GOLDEN).join(name), 0);
        for kind in kinds {
            let of_kind = |check: &&Value| check["case"].as_str().is_some_and(|case| case.starts_with(kind));
            assert!(checks.iter().any(|check| of_kind(&check)), "{name}: nothing was checked of {kind}");
        }
    }
}

#[test]
fn the_shared_recordings_pass() {
    for name in ["block_v1000", "noblock_v1000", "block_v30592"] {
        let Some(folder) = shared(name) else { continue };
        let checks = checks(&folder, 0);
        assert!(!checks.is_empty(), "{name}");
        if name != "block_v1000" {
            continue;
        }
        // Texts token for token, beam scores, and the state after every step.
        for (kind, cases) in [("generation_seq2seq", 36), ("generation_blank", 5), ("generation_sampler", 6)]
        {
            let of_kind = |check: &&Value| check["case"].as_str().is_some_and(|case| case.starts_with(kind));
            let named = checks.iter().filter(of_kind).filter_map(|check| check["case"].as_str());
            assert_eq!(named.collect::<BTreeSet<_>>().len(), cases, "{kind}");
        }
    }
}

#[test]
fn the_recordings_of_other_families_pass() {
    for name in ["bert_mlm", "bert_cls", "roberta_mlm", "t5_v1_0", "t5_v1_1", "bart"] {
        let Some(folder) = golden(&format!("hf/{name}")) else { continue };
        let checks = checks(&folder, 0);
        let has = |what: &str| {
            checks.iter().any(|check| check["what"].as_str().is_some_and(|w| w.starts_with(what)))
        };
        assert!(has("logits") && has("loss"), "{name}: {checks:?}");
        let gradients = checks.iter().filter(|check| check["case"] == "io/grad_l2").count();
        assert!(gradients > 40, "{name}: {gradients} gradients");
    }
}

#[test]
fn recorded_searches_of_other_families_are_found_again() {
    for name in ["t5_v1_0", "t5_v1_1", "bart", "gpt2"] {
        let Some(folder) = golden(&format!("hf/{name}")) else { continue };
        let checks = checks(&folder, 0);
        let texts =
            checks.iter().filter(|check| check["case"].as_str().expect("a case").contains("generation."));
        assert_eq!(texts.count(), 6 + 3, "{name}: texts of six searches, scores of the three with beams");
        assert_eq!(failed(&checks), 0, "{name}: {checks:?}");
    }
}

#[test]
fn a_variant_that_is_not_built_is_an_error_and_no_pass() {
    let Some(folder) = golden("hf/bert_mlm") else { return };
    for (key, value, says) in [
        ("hidden_act", "\"quick_gelu\"", "hidden_act"),
        ("position_embedding_type", "\"relative_key\"", "position_embedding_type"),
        ("model_type", "\"albert\"", "albert"),
        ("num_hidden_layers", "1", "unexpected"),
        ("hidden_size", "30", "num_attention_heads"),
        ("architectures", "[\"BertForTokenClassification\"]", "BertForTokenClassification"),
    ] {
        let copy = tempfile::tempdir().expect("a temporary folder");
        for file in ["io.safetensors", "io.json", "model.safetensors", "config.json"] {
            fs::copy(folder.join(file), copy.path().join(file)).expect("a temporary file");
        }
        let file = copy.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
        config[key] = serde_json::from_str(value).expect("JSON");
        // The copy keeps the permissions of the recordings, which may be read-only.
        fs::remove_file(&file).expect("it was copied");
        fs::write(&file, config.to_string()).expect("a temporary file");
        let failed = verify(copy.path()).code(2);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(message.contains(says), "{key}: {message}");
    }
}

#[test]
fn one_changed_weight_is_found() {
    let copy = copy("noblock_v1000");
    let file = copy.path().join("weights.safetensors");
    let mut bytes = fs::read(&file).expect("weights");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let index: Value = serde_json::from_slice(&bytes[8..8 + header]).expect("an index");
    let place = &index["transformer.layers.1.attention.dense.weight"]["data_offsets"][0];
    let at = 8 + header + place.as_u64().expect("the weight is there") as usize;
    let weight = f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) + 0.5;
    bytes[at..at + 4].copy_from_slice(&weight.to_le_bytes());
    fs::write(&file, bytes).expect("a temporary file");
    let checks = checks(copy.path(), 1);
    assert!(failed(&checks) > 0, "{checks:?}");
}

#[test]
fn what_cannot_be_checked_is_an_error_and_no_pass() {
    let copy = copy("noblock_v1000");
    let error = |folder: &Path| {
        let failed = verify(folder).code(2);
        String::from_utf8(failed.get_output().stderr.clone()).expect("it is text")
    };
    let cases = copy.path().join("forward.json");
    fs::remove_file(&cases).expect("it was copied");
    assert!(error(copy.path()).contains("forward.json: missing, though forward.safetensors is there"));
    fs::write(&cases, "{}").expect("a temporary file");
    assert!(error(copy.path()).contains("forward.json: it lists no cases"));
    fs::write(&cases, r#"{"n99": {}}"#).expect("a temporary file");
    assert!(error(copy.path()).contains("no tensor `n99.input_ids`"));
    fs::remove_file(copy.path().join("forward.safetensors")).expect("it was copied");
    assert!(error(copy.path()).contains("forward.safetensors: missing, though forward.json is there"));
    fs::remove_file(cases).expect("it was written");
    assert!(error(copy.path()).contains("no recordings found"));
    fs::remove_file(copy.path().join("weights.safetensors")).expect("it was copied");
    assert!(error(copy.path()).contains("no checkpoint found"));
    assert!(error(&copy.path().join("absent")).contains("absent"));
}
