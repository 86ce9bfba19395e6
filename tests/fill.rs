//! `glm-eval fill` as a user runs it, on the bundled model with random weights.

use std::fs;

use assert_cmd::Command;
use serde_json::Value;

fn fill_with(model: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    command.arg("fill").args(["--device", "cpu", "--model", model]);
    command
}

fn fill() -> Command {
    fill_with("glm-tiny-random")
}

fn output(command: &mut Command) -> (String, String) {
    let done = command.assert().success();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
    (text(&done.get_output().stdout), text(&done.get_output().stderr))
}

fn error(arguments: &[&str]) -> String {
    let failed = fill().args(arguments).assert().code(2);
    String::from_utf8(failed.get_output().stderr.clone()).expect("it is text")
}

const TEXTS: &str = "the [MASK] sat on the [MASK] .\nonce upon a time\n\n[sMASK] so they left . [gMASK]\n\
                     it was [MASK] , and then the rain came down on all of the houses by the river\n";

#[test]
fn every_blank_is_filled_in_its_place() {
    let (json, notes) =
        output(fill().args(["The cat [MASK] the mat [MASK].", "--max-new-tokens", "5", "--json"]));
    let line: Value = serde_json::from_str(&json).expect("one object");
    let piece = |i: usize| line["fillings"][i]["text"].as_str().expect("a text").to_string();
    assert_eq!(line["text"], format!("The cat {} the mat {}.", piece(0), piece(1)));
    for i in 0..2 {
        let filling = &line["fillings"][i];
        assert!(filling["num_tokens"].as_u64().expect("a number") <= 5);
        assert!(filling["log_prob"].as_f64().expect("a number") < 0.0);
    }
    assert!(notes.contains("glm-tiny-random: weights drawn at random"), "{notes}");
    if line["fillings"][1]["is_ended"] == false {
        assert!(notes.contains("did not end within 5 tokens"), "{notes}");
    }
    let (text, _) = output(fill().args(["The cat [MASK] the mat [MASK].", "--max-new-tokens", "5"]));
    assert_eq!(text.trim_end(), line["text"]);
}

#[test]
fn a_text_without_a_blank_goes_on_at_its_end() {
    let (text, _) = output(fill().args(["once upon a time", "--max-new-tokens", "4"]));
    assert!(text.starts_with("once upon a time "), "{text}");
}

#[test]
fn batch_size_and_threads_change_no_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("texts.txt");
    fs::write(&file, TEXTS).expect("it can be written");
    for decoding in [
        &["--beams", "3", "--length-penalty", "0.7", "--no-repeat-ngram", "2"][..],
        &["--temperature", "0.9", "--top-p", "0.95", "--top-k", "40", "--seed", "7"],
    ] {
        let run = |batch: &str, threads: &str| {
            let mut command = fill();
            command.arg("--file").arg(&file).args(decoding);
            command.args(["--max-new-tokens", "6", "--json", "--batch-size", batch, "--threads", threads]);
            output(&mut command).0
        };
        let alone = run("1", "1");
        assert_eq!(alone.lines().count(), 4, "an empty line is no text: {alone}");
        assert_eq!(alone, run("4", "1"));
        assert_eq!(alone, run("3", "2"));
    }
}

#[test]
fn texts_come_from_a_pipe_too_and_a_seed_draws_others() {
    let drawn = |seed: &str| {
        let mut command = fill();
        command
            .args(["--temperature", "1", "--max-new-tokens", "6", "--seed", seed])
            .write_stdin("so [MASK]\n");
        output(&mut command).0
    };
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
}

#[test]
fn a_text_that_is_too_long_keeps_what_is_next_to_its_blank_and_says_what_was_cut() {
    // Each word is a token.
    let words = [vec!["word"; 1500], vec!["river"; 1500]].concat();
    let filled = |words: &[&str]| {
        let mut command = fill();
        command.args(["--max-new-tokens", "4", "--json"]).write_stdin(words.join(" "));
        let (json, notes) = output(&mut command);
        (serde_json::from_str::<Value>(&json).expect("one object"), notes)
    };
    let (line, notes) = filled(&words);
    let cut = line["truncated_tokens"].as_u64().expect("a number") as usize;
    assert!(cut > 0);
    let (end, _) = filled(&words[cut..]);
    assert_eq!((&end["fillings"], &end["truncated_tokens"]), (&line["fillings"], &0.into()));
    assert!(
        notes.contains(&format!("1 texts were too long for the model; {cut} tokens were cut")),
        "{notes}"
    );
}

#[test]
fn options_that_make_no_sense_are_errors() {
    for (arguments, message) in [
        (&["a [MASK]", "--beams", "0"][..], "expected a whole number above 0"),
        (&["a [MASK]", "--temperature", "0"], "temperature must be above 0"),
        (&["a [MASK]", "--top-p", "1.5"], "top_p must be above 0 and at most 1"),
        (&["a [MASK]", "--beams", "2", "--temperature", "1"], "exclude each other"),
        (
            &["a [MASK]", "--min-length", "9", "--max-new-tokens", "3"],
            "min_new_tokens is above max_new_tokens",
        ),
        (&["a [MASK]", "--seed", "3"], "--seed changes nothing"),
        (&["--file", "absent.txt"], "absent.txt"),
    ] {
        let error = error(arguments);
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
    let absent = fill_with("absent").arg("a [MASK]").assert().code(2);
    assert!(String::from_utf8_lossy(&absent.get_output().stderr).contains("no model `absent`"));
    let nothing = fill().write_stdin("\n").assert().code(2);
    assert!(String::from_utf8_lossy(&nothing.get_output().stderr).contains("stdin has no text"));
}

#[test]
fn the_default_model_needs_no_files_and_is_called_random_only_where_it_is() {
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
        command.current_dir(elsewhere.path()).env_remove("GLM_EVAL_MODELS");
        command
    };
    for (model, is_random) in [("glm-tiny", false), ("glm-tiny-random", true)] {
        let (_, notes) =
            output(program().args(["fill", "the [MASK] .", "--max-new-tokens", "1", "-m", model]));
        assert_eq!(notes.contains(&format!("{model}: weights drawn at random")), is_random, "{notes}");
    }
}

#[test]
fn a_folder_of_records_does_not_hide_the_bundled_model_of_its_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("glm-tiny")).expect("a folder");
    let mut command = fill_with("glm-tiny");
    output(command.current_dir(folder.path()).args(["the [MASK] .", "--max-new-tokens", "1"]));
}

#[test]
fn glm_tiny_leaves_no_blank_empty_unless_it_may() {
    let fillings = |words: &[&str]| {
        let mut command = fill_with("glm-tiny");
        command.args(["The [MASK] sat on the [MASK] and looked at the moon.", "--json"]).args(words);
        let line: Value = serde_json::from_str(&output(&mut command).0).expect("one object");
        line["fillings"].as_array().expect("a list").iter().map(|f| f["text"] == "").collect::<Vec<_>>()
    };
    assert_eq!(fillings(&[]), [false, false]);
    assert_eq!(fillings(&["--min-length", "0"]), [true, true], "of these weights");
}
