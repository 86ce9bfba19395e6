//! A run that is killed, interrupted or out of disk goes on where it stopped and ends in the same bytes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{DATA, TEXTS, command, command_on, done, left, write_bart};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[path = "common/run.rs"]
mod common;

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// A state is kept after every epoch, so that going on from one is tested too.
const KEEP_STATES: &str = "--save-every 0 --threads 1";

/// Runs `words` once whole and once killed `kills` times, resumed with the `resume` settings; returns how often a
/// kill hit the program at work.
fn killed_is_whole(words: &str, resume: &[&str], kills: usize, seed: u64) -> usize {
    killed_model_is_whole("glm-tiny", DATA, words, resume, kills, seed)
}

fn has_record(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().starts_with("results_"))
}

/// `model` is a name or a folder.
fn killed_model_is_whole(
    model: &str,
    data: &str,
    words: &str,
    resume: &[&str],
    kills: usize,
    seed: u64,
) -> usize {
    let words = &format!("{words} --model {model}");
    let command = |words: &str, out: &Path| command_on(Path::new(data), words, out);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = folder.path().join("whole/out");
    let begin = Instant::now();
    done(command(&format!("{words} {KEEP_STATES}"), &whole));
    let longest = begin.elapsed();
    let out = folder.path().join("killed/out");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut hits = 0;
    let mut is_done = false;
    let name = model.rsplit('/').next().unwrap_or(model);
    for kill in 0..kills {
        let settings = resume[kill % resume.len()];
        let mut child = start(command(&format!("{words} {KEEP_STATES} --resume {settings}"), &out));
        std::thread::sleep(longest.mul_f64(rng.random_range(0.02..0.7)));
        child.kill().expect("it was started");
        child.wait().expect("it was started");
        // Its journal goes last: a run that was killed after that has nothing to go on with.
        is_done = has_record(&out.join(name)) && !out.join(name).join("journal.jsonl").exists();
        if is_done {
            break;
        }
        hits += 1;
    }
    if !is_done {
        done(command(&format!("{words} {KEEP_STATES} --resume"), &out));
    }
    left(&whole, name).assert_same(&left(&out, name), words);
    hits
}

#[test]
fn a_killed_run_with_seeds_and_a_diagnostic_ends_in_the_same_bytes() {
    let words = "cb rte ax_b --seeds 1,2 --epochs 3 --select best --train-limit 8 --learning-rate 1e-3";
    assert!(killed_is_whole(words, &["", "-b 3"], 4, 1) > 0);
}

#[test]
fn a_killed_run_with_a_test_split_ends_in_the_same_bytes() {
    let words = "copa wsc --epochs 3 --select best --split test --train-limit 8 --learning-rate 1e-3";
    assert!(killed_is_whole(words, &["-b 1", ""], 4, 2) > 0);
}

#[test]
fn a_killed_run_of_any_family_ends_in_the_same_bytes() {
    let words = "cb copa --epochs 2 --select best --train-limit 8 --learning-rate 1e-3";
    let bart = tempfile::tempdir().expect("a temporary folder");
    let bart = bart.path().join("bart");
    write_bart(&bart);
    let bart = bart.to_str().expect("UTF-8");
    for (seed, model) in ["bert-tiny", "t5-tiny", "gpt-tiny", bart].into_iter().enumerate() {
        let kills = killed_model_is_whole(model, DATA, words, &["", "-b 3"], 2, seed as u64);
        assert!(kills > 0, "{model}");
    }
}

#[test]
fn a_killed_run_that_writes_texts_ends_in_the_same_bytes() {
    let words = "gigaword squad_qg --epochs 2 --select best --train-limit 3 --limit 2 --log-samples";
    for (seed, model) in ["glm-tiny", "t5-tiny", "gpt-tiny"].into_iter().enumerate() {
        let kills = killed_model_is_whole(model, TEXTS, words, &["", "-b 1"], 2, seed as u64);
        assert!(kills > 0, "{model}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("an entry");
        let to = to.join(name);
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a file");
        }
    }
}

#[test]
fn a_run_of_another_split_or_of_more_patterns_takes_nothing_from_the_one_that_it_resumes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [data, out] = ["data", "out"].map(|name| folder.path().join(name));
    // It ends after the first task, as rows of the second can't be read.
    copy(Path::new(DATA), &data);
    std::fs::write(data.join("RTE/val.jsonl"), "{}\n").expect("a file");
    let mut first = command_on(&data, "cb rte --mode zero-shot --patterns 0", &out);
    assert_eq!(first.output().expect("the program starts").status.code(), Some(2));
    for words in ["cb --mode zero-shot --patterns 0 --split test", "cb --mode zero-shot --patterns all"] {
        let [resumed, whole] = ["resumed", "whole"].map(|name| folder.path().join(name));
        copy(&out, &resumed);
        done(command(&format!("{words} --resume"), &resumed));
        let aside = resumed.join("glm-tiny/journal.jsonl.old");
        std::fs::remove_file(aside).expect("what was not used is kept");
        done(command(words, &whole));
        left(&resumed, "glm-tiny").assert_same(&left(&whole, "glm-tiny"), words);
        for folder in [resumed, whole] {
            std::fs::remove_dir_all(folder).expect("it was made");
        }
    }
}

/// `scripts/kill-campaign` runs it.
#[test]
#[ignore = "takes minutes; run by scripts/kill-campaign"]
#[expect(clippy::print_stderr, reason = "it reports to whom runs it")]
fn campaign() {
    let kills: usize = std::env::var("GLM_EVAL_KILLS").map_or(100, |kills| kills.parse().expect("a number"));
    let runs = [
        "cb rte ax_b ax_g --seeds 1,2 --epochs 3 --select best --train-limit 8",
        "copa wsc --epochs 4 --select best --split test --train-limit 8 --log-samples",
        "boolq wic multirc record --epochs 2 --train-limit 4",
        "superglue --mode zero-shot --patterns all",
        "cb --patterns all --epochs 1 --train-limit 8 --head classifier",
    ];
    let (mut hits, mut round) = (0, 0);
    while hits < kills {
        let words = runs[round % runs.len()];
        hits += killed_is_whole(words, &["", "-b 1", "-b 5"], 6.min(kills - hits), round as u64);
        round += 1;
        eprintln!("{hits} kills in {round} runs: all ended in the bytes of a whole run");
    }
}

/// Waits until the journal has some lines.
fn wait_for_lines(journal: &Path, lines: usize) {
    for _ in 0..600 {
        if std::fs::read_to_string(journal).is_ok_and(|text| text.lines().count() >= lines) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{} did not get {lines} lines", journal.display());
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_says_so_once_keeps_its_journal_and_others_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out");
    let words = "cb --seeds 1,2,3,4 --epochs 3 --train-limit 8 --threads 1";
    let child = start(command(words, &out));
    let journal = out.join("glm-tiny/journal.jsonl");
    wait_for_lines(&journal, 3);

    let second = command(&format!("{words} --resume"), &out).output().expect("the program starts");
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{message}");
    let said = format!("another run is writing here (process {}, since ", child.id());
    assert!(message.lines().last().is_some_and(|line| line.contains(&said)), "{message}");

    let asked = Instant::now();
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.expect("there is a kill").success());
    let output = child.wait_with_output().expect("it was started");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(asked.elapsed() < Duration::from_secs(10), "it ended after {:?}", asked.elapsed());
    let errors: Vec<&str> = message.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(
        errors,
        ["error: interrupted; what is finished is kept, `--resume` goes on from there"],
        "{message}"
    );
    assert!(journal.is_file());

    done(command(&format!("{words} --resume"), &out));
    let whole = folder.path().join("whole/out");
    done(command(words, &whole));
    left(&whole, "glm-tiny").assert_same(&left(&out, "glm-tiny"), "interrupted");
}

#[test]
fn a_run_begun_anew_takes_nothing_from_the_one_that_was_killed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let words = "cb --epochs 3 --train-limit 8 --save-every 0 --learning-rate 1e-3";
    let (whole, out) = (folder.path().join("whole/out"), folder.path().join("again/out"));
    let mut child = start(command(words, &out));
    let states = || {
        let files = std::fs::read_dir(out.join("glm-tiny")).into_iter().flatten().flatten();
        files.filter(|file| file.file_name().to_string_lossy().starts_with("state_")).count()
    };
    while states() == 0 && child.try_wait().expect("it was started").is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it was started");
    child.wait().expect("it was started");
    if states() == 0 {
        return; // the kill came too late
    }
    done(command(words, &out)); // without --resume
    let aside = out.join("glm-tiny/journal.jsonl.old");
    assert!(aside.is_file(), "the unfinished run was set aside");
    std::fs::remove_file(aside).expect("it is there");
    done(command(words, &whole));
    left(&whole, "glm-tiny").assert_same(&left(&out, "glm-tiny"), "begun anew");
}

/// The one message of a run that could not be made, and that made nothing.
fn error(words: &str, out: &Path) -> String {
    let output = command(words, out).output().expect("the program starts");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty(), "a result beside an error");
    let errors: Vec<&str> = message.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{message}");
    errors[0].to_string()
}

#[test]
fn a_folder_that_cannot_be_written_to_is_known_before_any_work() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("a-file");
    std::fs::write(&file, "mine").expect("a temporary file");
    let begin = Instant::now();
    let message = error("superglue --epochs 50", &file);
    assert!(message.contains("cannot write to this folder; nothing was started"), "{message}");
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(std::fs::read_to_string(&file).expect("it is still there"), "mine");
    #[cfg(target_os = "linux")]
    for out in ["/dev/full", "/proc/none"] {
        let message = error("cb --epochs 50", Path::new(out));
        assert!(message.contains("cannot write to this folder"), "{message}");
    }
}
