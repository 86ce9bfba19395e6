use std::path::Path;

use super::*;
use crate::results::ours::TaskRecord;
use crate::results::samples::{self, SampleLine};
use proptest::prelude::*;

const CB: &str = "results/runs/glm-tiny-random-cb";

/// The committed run of CB cut down to one seed, with other predictions, written to a folder of its own.
fn cb(folder: &Path, change: impl Fn(&mut Vec<SampleLine>)) -> Run {
    let mut run = Run::read(Path::new(CB)).unwrap();
    let task = run.record.glm_eval.tasks[0].clone();
    let mut lines = run.samples(&task, &task.runs[0]).unwrap();
    change(&mut lines);
    let logged = crate::results::Logged::new(lines.clone());
    let (task, rule) = (&mut run.record.glm_eval.tasks[0], run.record.glm_eval.selection.rule);
    task.runs.truncate(1);
    for name in task.metrics.clone() {
        let estimate = logged.estimate(metrics::find(&name).unwrap()).unwrap();
        task.runs[0].selected_mut(rule).insert(name, estimate);
    }
    task.samples.effective = lines.len();
    run.path = folder.join("results_2026-01-01T00-00-00.000000.json");
    task.runs[0].samples =
        Some(samples::write(&folder.join("samples_cb_2026-01-01T00-00-00.000000.jsonl"), lines).unwrap());
    task.summarize(rule);
    run
}

/// Makes the first `count` samples for which `right` holds wrong, or the wrong ones right.
fn flip(lines: &mut [SampleLine], right: bool, count: usize) {
    let is_right = |line: &SampleLine| {
        line.prediction == line.target.as_u64().map(|label| metrics::Prediction::Label(label as usize))
    };
    for line in lines.iter_mut().filter(|line| is_right(line) == right).take(count) {
        let label = line.target.as_u64().unwrap() as usize;
        line.prediction = Some(metrics::Prediction::Label(if right { (label + 1) % 2 } else { label }));
    }
}

/// The verdicts of accuracy and macro F1 of a run with some samples flipped.
fn judged(gate: &str, change: impl Fn(&mut Vec<SampleLine>)) -> Report {
    let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let gate =
        if gate.is_empty() { GateFile::default() } else { GateFile::parse(gate, "gate.toml").unwrap() };
    check(&cb(a.path(), |_| {}), &cb(b.path(), change), &gate, false).unwrap()
}

fn entry(keys: &str) -> String {
    format!("[[metrics]]\ntask = \"cb\"\nmetric = \"accuracy\"\n{keys}\n")
}

#[test]
fn a_run_held_against_itself_passes() {
    let run = Run::read(Path::new(CB)).unwrap();
    for seeds_as_clusters in [false, true] {
        let report = check(&run, &run, &GateFile::default(), seeds_as_clusters).unwrap();
        assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
        assert_eq!(report.metrics.len(), 2);
    }
}

#[test]
fn a_great_loss_fails_a_small_one_is_inconclusive_and_says_what_it_would_take() {
    let report = judged("", |lines| flip(lines, true, 20));
    assert_eq!(report.metrics[0].verdict, Verdict::Fail, "{report:#?}");
    let report = judged("", |lines| flip(lines, true, 3));
    let accuracy = &report.metrics[0];
    assert_eq!(accuracy.verdict, Verdict::Inconclusive, "{accuracy:#?}");
    assert!(accuracy.power.unwrap() < 0.8 && accuracy.samples_needed.unwrap() > 56);
    assert!(accuracy.reasons[0].contains("more samples would settle it"), "{:?}", accuracy.reasons);
}

#[test]
fn a_significant_gain_passes() {
    let report = judged("", |lines| flip(lines, false, 15));
    assert_eq!(report.metrics[0].verdict, Verdict::Pass, "{report:#?}");
    assert!(report.metrics[0].reasons[0].starts_with("better by"));
    let report = judged(&entry("direction = \"lower\""), |lines| flip(lines, false, 15));
    assert_eq!(report.verdict, Verdict::Fail, "where lower is better a gain is a loss");
}

#[test]
fn a_loss_below_the_smallest_that_matters_does_not_fail() {
    let great = |lines: &mut Vec<SampleLine>| flip(lines, true, 20);
    for (keys, verdict) in [
        ("min_absolute_change = 0.5", Verdict::Pass),
        ("min_relative_change = 0.9", Verdict::Pass),
        ("min_absolute_change = 0.5\nmin_relative_change = 0.1", Verdict::Fail), // each on its own
        ("min_absolute_change = 0.1", Verdict::Fail),
        ("min_absolute_change = 0.4", Verdict::Inconclusive), // 35.7 points less, but 40 are in the interval
        ("alpha = 0.000001", Verdict::Inconclusive),
        ("test = \"permutation\"", Verdict::Fail),
        ("test = \"bootstrap\"", Verdict::Fail),
    ] {
        let report = judged(&entry(keys), great);
        assert_eq!(report.verdict, verdict, "{keys}: {:#?}", report.metrics[0].reasons);
    }
}

#[test]
fn a_threshold_fails_only_beyond_chance_and_stands_on_its_own() {
    // Seed 1 has 38 of 56 right (0.679); the Wilson interval ends at 0.786.
    for (keys, verdict) in [
        ("threshold = 0.6", Verdict::Pass),
        ("threshold = 0.7", Verdict::Inconclusive),
        ("threshold = 0.8", Verdict::Fail),
        ("threshold = 0.6\ndirection = \"lower\"", Verdict::Inconclusive),
        ("threshold = 0.8\nmin_absolute_change = 0.5", Verdict::Fail),
        ("threshold = 0.7\nalpha = 1", Verdict::Fail), // chance is not let off
    ] {
        let report = judged(&entry(keys), |_| {});
        assert_eq!(report.verdict, verdict, "{keys}: {:#?}", report.metrics[0]);
    }
    let twice = format!("{}{}", entry("threshold = 0.6"), entry("threshold = 0.8"));
    let verdicts: Vec<Verdict> = judged(&twice, |_| {}).metrics.iter().map(|m| m.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Fail], "each entry counts");
}

#[test]
fn missing_metrics_and_samples_fail() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let baseline = cb(folders[0].path(), |_| {});
    let fails = |run: &Run, says: &str| {
        let report = check(&baseline, run, &GateFile::default(), false).unwrap();
        assert_eq!(report.verdict, Verdict::Fail);
        assert!(report.metrics.iter().any(|m| m.reasons[0].contains(says)), "{says}: {report:#?}");
    };
    fails(&cb(folders[1].path(), |lines| drop(lines.pop())), "1 of the baseline's 56 samples are missing");
    let mut run = cb(folders[2].path(), |_| {});
    let task: &mut TaskRecord = &mut run.record.glm_eval.tasks[0];
    task.scores.get_mut("macro_f1").unwrap().selected = None;
    fails(&run, "the run has no value of macro_f1");
    run.record.glm_eval.tasks[0].name = "other".into();
    fails(&run, "the run has no task cb");
    let whole = cb(folders[1].path(), |_| {});
    let samples =
        whole.samples_path(&whole.record.glm_eval.tasks[0], &whole.record.glm_eval.tasks[0].runs[0]);
    std::fs::remove_file(samples.unwrap()).unwrap();
    fails(&whole, "its samples are missing");
}

#[test]
fn a_baseline_without_samples_is_compared_by_its_numbers() {
    let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (baseline, run) = (cb(a.path(), |_| {}), cb(b.path(), |lines| flip(lines, true, 1)));
    std::fs::remove_file(a.path().join("samples_cb_2026-01-01T00-00-00.000000.jsonl")).unwrap();
    let report = check(&baseline, &run, &GateFile::default(), false).unwrap();
    assert_eq!(report.verdict, Verdict::Inconclusive, "{report:#?}");
    assert!(report.notes[0].contains("the baseline's samples are missing"), "{:?}", report.notes);
}

#[test]
fn other_data_and_unknown_names_are_errors_and_no_verdict() {
    let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (baseline, mut run) = (cb(a.path(), |_| {}), cb(b.path(), |_| {}));
    let gate = |metric: &str| GateFile::parse(&entry("").replace("accuracy", metric), "x").unwrap();
    for (metric, near) in [("acuracy", "cb accuracy"), ("acc", "cb accuracy"), ("f1", "cb macro_f1")] {
        let message = check(&baseline, &run, &gate(metric), false).unwrap_err().to_string();
        assert!(message.contains(&format!("did you mean `{near}`?")), "{message}");
    }
    run.record.glm_eval.tasks[0].data[1].sha256 = "00".repeat(32);
    run.record.glm_eval.tasks[0].version += 1;
    let message = check(&baseline, &run, &GateFile::default(), false).unwrap_err().to_string();
    assert!(
        message.contains("different data") && message.contains("version 1 of the task in one, 2"),
        "{message}"
    );
}

#[test]
fn the_outputs_say_the_same_and_survive_hostile_names() {
    let mut report = judged("", |lines| flip(lines, true, 20));
    report.metrics[0].task = "c<b>&\"\u{1}|".into();
    let xml = output::junit(&report, true);
    assert!(
        xml.contains(
            "classname=\"glm-eval.c&lt;b&gt;&amp;&quot;?|\" name=\"accuracy\"><failure type=\"fail\""
        )
    );
    assert!(output::markdown(&report).contains("| c<b>&\"\u{1}\\| | accuracy | 67.9 |"));
    let benchmarks = output::benchmarks(&report);
    assert_eq!(benchmarks[1]["name"], "cb/macro_f1");
    assert_eq!(benchmarks[0]["value"], output::metrics(&report)["c<b>&\"\u{1}|.accuracy"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn with_56_samples_one_changed_sample_never_fails(sample in 0_usize..56, said in 0_usize..3) {
        let report = judged("", |lines| lines[sample].prediction = Some(metrics::Prediction::Label(said)));
        prop_assert!(report.verdict < Verdict::Fail, "{report:#?}");
    }
}
