//! `glm-eval bench`: what it prints, what it holds against another framework, and how it fails. The other framework
//! is played by shell scripts that speak its protocol.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Two layers of width 32, which take a millisecond.
const SMALL: &str = "--shape 2x32x2x100 --batch 2 --sequence 8 --threads 1";

fn bench(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    command.arg("bench").args(words.split_whitespace()).env_remove("RAYON_NUM_THREADS");
    command
}

/// An executable that does what `script` says when it is called as Python.
fn python(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("python");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

fn json(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn number(value: &Value, key: &str) -> f64 {
    let found = key.split('.').fold(value, |value, key| &value[key]);
    found.as_f64().unwrap_or_else(|| panic!("{key} is {found} in {value}"))
}

/// The one message of a command that could not run.
fn error(mut command: Command) -> String {
    let output = command.output().expect("the program starts");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {message}");
    assert!(output.stdout.is_empty(), "{command:?}: a result beside an error");
    assert_eq!(message.matches("error: ").count(), 1, "{command:?}: {message}");
    message
}

#[test]
fn a_shape_is_measured_in_both_modes() {
    for mode in ["eval", "train"] {
        let output = bench(&format!("{SMALL} --mode {mode} --targets 0.5 --json")).output();
        let found = json(&output.expect("the program starts"));
        assert_eq!(found["mode"], mode);
        assert_eq!(found["amount"]["tokens"], 16);
        let secs = number(&found, "ours.seconds.median");
        assert!(number(&found, "ours.seconds.min") <= secs && secs <= number(&found, "ours.seconds.max"));
        assert!((number(&found, "ours.tokens_per_sec") * secs - 16.0).abs() < 1e-6);
        assert!((number(&found, "ours.samples_per_sec") * secs - 2.0).abs() < 1e-6);
        // The formula of `Config::forward_flops`: 16 tokens, 2 * (16 + 16 + 10) pairs, 8 targets.
        let forward = 2.0 * (16.0 * 12.0 * 1024.0 * 2.0 + 2.0 * 84.0 * 32.0 * 2.0 + 8.0 * 32.0 * 100.0);
        let passes = if mode == "eval" { 1.0 } else { 3.0 };
        assert!((number(&found, "amount.flops") - passes * forward).abs() < 0.5);
        let share = number(&found, "ours.flops_per_sec") / number(&found, "peak_flops_per_sec");
        assert!((number(&found, "ours.share_of_peak") - share).abs() < 1e-9);
        #[cfg(target_os = "linux")]
        assert!(number(&found, "others_busy_cores") >= 0.0);
        assert!(found.get("ratio").is_none() && found.get("theirs").is_none());
    }
}

#[test]
fn a_tasks_samples_are_answered_and_learned_from() {
    for mode in ["eval", "train"] {
        let words = "--task copa --data-dir tests/data/superglue --threads 1 --limit 3 --json --mode";
        let found = json(&bench(words).arg(mode).output().expect("the program starts"));
        assert_eq!((found["task"].as_str(), found["amount"]["samples"].as_u64()), (Some("copa"), Some(3)));
        let copies = number(&found, "amount.tokens_if_padded_copies");
        assert!(copies > number(&found, "amount.tokens"), "two candidates share a context");
        assert!(number(&found, "ours.samples_per_sec") > 0.0 && number(&found, "amount.flops") > 0.0);
    }
}

#[test]
fn a_sweep_is_printed_and_drawn() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let svg = folder.path().join("sweep.svg");
    let words = "--sweep --shape 1x16x2x50 --max-tokens 256 --threads 1 --csv --plot";
    let output = bench(words).arg(&svg).output().expect("the program starts");
    let csv = String::from_utf8(output.stdout).expect("text");
    let points: Vec<&str> = csv.lines().skip(1).map(|line| line.get(..6).unwrap_or(line)).collect();
    assert_eq!(points, ["1,128,", "1,256,"], "{csv}");
    assert!(csv.lines().all(|line| line.matches(',').count() == 8), "{csv}");
    assert!(std::fs::read_to_string(svg).expect("it was drawn").contains("1x16x2x50 eval f32"));
}

#[test]
fn two_sides_are_measured_in_turns_and_compared() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Every step takes it a second, it says; and it notes what it was told.
    let script = r#"dir=$(dirname "$0")
        [ "$1" = -c ] && [ -n "$2" ] && printf '%s' "$3" > "$dir/case"
        echo "$OMP_NUM_THREADS $MKL_NUM_THREADS" > "$dir/threads"
        echo '{"ready": {"version": "9.9", "how": "by hand"}}'
        while read steps; do echo "{\"seconds\": $steps}"; echo . >> "$dir/turns"; done
        echo '{"peak_memory_bytes": 1000000000}'"#;
    let python = python(folder.path(), script);
    let words = format!("{SMALL} --mode train --alternations 5 --against torch --json --python");
    let found = json(&bench(&words).arg(&python).output().expect("the program starts"));

    for key in ["shape", "mode", "dtype", "batch", "sequence", "threads", "machine"] {
        assert!(!found[key].is_null(), "{key}");
    }
    assert_eq!((found["alternations"].as_u64(), found["against"].as_str()), (Some(5), Some("torch")));
    for side in ["ours", "theirs"] {
        for key in ["tokens_per_sec", "flops_per_sec", "share_of_peak", "seconds.median", "seconds.max"] {
            assert!(number(&found, &format!("{side}.{key}")) > 0.0);
        }
    }
    assert_eq!(
        (found["theirs"]["version"].as_str(), number(&found, "theirs.seconds.median")),
        (Some("9.9"), 1.0)
    );
    let ratio = number(&found, "ratio");
    assert!((ratio * number(&found, "ours.seconds.median") - 1.0).abs() < 0.5, "{found}");
    assert!(number(&found, "ratio_min") <= ratio && ratio <= number(&found, "ratio_max"));
    assert_eq!(found["ratio_quartiles"].as_array().map(Vec::len), Some(2));
    let memory = number(&found, "ours.peak_memory_bytes") / 1e9;
    assert!((number(&found, "peak_memory_ratio") - memory).abs() < 1e-12);

    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it was written");
    assert_eq!(read("turns").lines().count(), 2 + 5); // two to warm up
    assert_eq!(read("threads"), "1 1\n");
    let case: Value = serde_json::from_str(&read("case")).expect("a case");
    assert_eq!((case["mode"].as_str(), case["work"]["random"]["prefix"].as_u64()), (Some("train"), Some(4)));
    assert_eq!(case["work"]["random"]["config"]["hidden_size"], 32);
}

#[test]
fn a_side_that_fails_is_told_in_one_message() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let message = |script: &str| {
        let python = python(folder.path(), script);
        let mut command = bench(&format!("{SMALL} --against torch --python"));
        command.arg(python);
        error(command)
    };
    let told = message(r#"echo '{"missing": "torch"}'"#);
    assert!(told.contains("python has no module `torch`; install it with `"), "{told}");
    assert!(told.trim_end().ends_with("python -m pip install torch`"), "{told}");
    let told = message("seq 20 >&2; echo 'RuntimeError: out of memory' >&2; exit 3");
    assert!(told.contains("the PyTorch script ended early (exit status: 3); its last words:\n"), "{told}");
    assert!(told.contains("  20\n  RuntimeError: out of memory\n") && !told.contains("  10\n"), "{told}");
    let told = message("echo Hello; sleep 5");
    assert!(told.contains(r#"answered "Hello", where a line of JSON was expected"#), "{told}");
    let told = message(r#"echo '{"ready": {}}'; read steps; echo '{"seconds": 0}'; sleep 5"#);
    assert!(told.contains(r#"where "seconds" above 0 was expected"#), "{told}");
    let told = message(r#"echo '{"ready": {}}'; read steps"#);
    assert!(told.contains("ended early (exit status: 0); it said nothing on stderr"), "{told}");

    let mut command = bench(&format!("{SMALL} --against torch --python"));
    command.arg(folder.path().join("none"));
    let told = error(command);
    assert!(told.contains("none can't be started; `--python` names a Python 3 that has PyTorch"), "{told}");
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "no program").expect("a file");
    let mut command = bench(&format!("{SMALL} --against torch --python"));
    command.arg(plain);
    assert!(error(command).contains("plain can't be started"));
}

#[test]
fn a_case_that_makes_no_sense_is_told_in_one_message() {
    for (words, told) in [
        ("--shape glm-bsae", "there is no shape `glm-bsae`; did you mean `glm-base`?"),
        ("--shape 2x33x2", "hidden_size 33 cannot be divided"),
        ("--batch 0", "--batch 0: there is nothing to compute"),
        ("--sequence 0", "--sequence 0: there is nothing to compute"),
        ("--shape glm-base --sequence 1025", "a sequence has at most 1024 tokens"),
        ("--targets 0", "--targets 0: a share of tokens is above 0"),
        ("--rounds 4", "--rounds 4: a median needs at least 5"),
        ("--threads 0", "--threads 0: from 1 to 1024 can be used"),
        ("--mode evaluate", "invalid value 'evaluate'"),
        ("--dtype f64", "invalid value 'f64'"),
        ("--against tensorflow --python python3", "invalid value 'tensorflow'"),
        ("--against torch", "--python"),
        ("--serve {", "--serve takes a case"),
        ("--task coppa", "did you mean `copa`?"),
        ("--task copa --data-dir tests/data/none", "tests/data/none"),
        ("--task copa --data-dir tests/data/superglue --model none", "there is no model `none`"),
        ("--task copa --data-dir tests/data/superglue --limit 0", "--limit 0: there is nothing to compute"),
        ("--task copa --shape glm-base", "cannot be used with"),
        ("--sweep --max-tokens 100", "--max-tokens 100: the smallest step of a sweep has 128 tokens"),
        ("--plot sweep.svg", "--sweep"),
    ] {
        let message = error(bench(words));
        assert!(message.contains(told), "{words}: {message}");
    }
}

#[test]
fn an_interrupt_ends_both_sides() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let python = python(folder.path(), r#"echo $$ > "$(dirname "$0")/pid"; exec sleep 60"#);
    let mut command = bench(&format!("{SMALL} --against torch --python"));
    let child = command.arg(python).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let pid = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let text = std::fs::read_to_string(folder.path().join("pid")).ok()?;
        text.ends_with('\n').then(|| text.trim().to_owned())
    });
    let pid = pid.expect("the other side was started");
    let kill = |signal: &str, pid: &str| {
        let mut command = Command::new("kill");
        command.args([signal, pid]).stderr(Stdio::null()).status().expect("there is a kill").success()
    };
    assert!(kill("-INT", &child.id().to_string()));
    let asked = Instant::now();
    let output = child.wait_with_output().expect("it was started");
    assert!(asked.elapsed() < Duration::from_secs(10), "it ended after {:?}", asked.elapsed());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: interrupted; nothing was measured\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(!kill("-0", &pid), "the other side is still there");
}
