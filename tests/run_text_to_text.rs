//! T5 runs every task text to text, and its scores are the same bytes whatever batch, threads and interruptions.

use common::{Left, command, done, left};

#[path = "common/run.rs"]
mod common;

fn run(words: &str) -> (Left, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = done(command(&format!("{words} --model t5-tiny"), folder.path()));
    (left(folder.path(), "t5-tiny"), table)
}

#[test]
fn every_task_is_learned_and_scored() {
    let (left, table) = run("superglue ax_b ax_g --epochs 1 --train-limit 4 --limit 2");
    assert!(table.contains("t5-tiny"), "{table}");
    assert_eq!(left.record.glm_eval.tasks.len(), 10);
    assert_eq!(left.record.glm_eval.model.family.as_deref(), Some("t5"));
    for task in &left.record.glm_eval.tasks {
        assert!(task.runs.iter().all(|run| run.failed_samples == 0), "{}", task.name);
        assert!(task.scores[&task.metrics[0]].selected.is_some(), "{}", task.name);
        // The text is read once for all candidates.
        assert!(task.cost.tokens_computed < task.cost.tokens_if_padded_copies, "{}", task.name);
    }
}

#[test]
fn a_cloze_is_answered_between_the_sentinels() {
    let (left, _) = run("cb copa record --head cloze --mode zero-shot --patterns all");
    assert!(
        left.record.glm_eval.tasks.iter().all(|task| task.runs.iter().all(|run| run.failed_samples == 0))
    );
}

#[test]
fn nothing_depends_on_batch_size_or_threads() {
    let words = "superglue --epochs 1 --train-limit 4 --limit 3";
    let (first, _) = run(&format!("{words} -b 1 --threads 1"));
    let (other, _) = run(&format!("{words} -b 7 --threads 3"));
    first.assert_same(&other, words);
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let words = "cb copa --epochs 2 --train-limit 8 --threads 1 --model t5-tiny --save-every 0";
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    done(command(words, &whole));
    let mut child = command(&format!("{words} --resume"), &parts)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let journal = parts.join("t5-tiny/journal.jsonl");
    let has_begun = || std::fs::metadata(&journal).is_ok_and(|file| file.len() > 0);
    while !has_begun() && child.try_wait().expect("it was started").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().expect("it was started");
    child.wait().expect("it was started");
    done(command(&format!("{words} --resume -b 3"), &parts));
    left(&whole, "t5-tiny").assert_same(&left(&parts, "t5-tiny"), words);
}
