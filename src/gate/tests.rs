use std::path::Path;

use super::*;
use crate::compare::{Settings, Test, compare};
use crate::metrics::LogProb;
use crate::results::ours::{Mode, TaskRecord};
use crate::results::samples::{self, SampleLine};
use proptest::prelude::*;

const CB: &str = "results/runs/glm-tiny-random-cb";

/// The committed run of CB cut down to one seed, with other predictions, written to a folder of its own. Samples with a
/// log-probability have a perplexity, too.
fn cb(folder: &Path, change: impl Fn(&mut Vec<SampleLine>)) -> Run {
    let mut run = Run::read(Path::new(CB)).unwrap();
    let task = run.record.glm_eval.tasks[0].clone();
    let mut lines = run.samples(&task, &task.runs[0]).unwrap();
    change(&mut lines);
    let logged = crate::results::Logged::new(lines.clone());
    let (task, rule) = (&mut run.record.glm_eval.tasks[0], run.record.glm_eval.selection.rule);
    task.runs.truncate(1);
    if lines[0].log_prob.is_some() {
        task.metrics.push("word_perplexity".into());
    }
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

/// What is done to the samples of a run.
type Change = dyn Fn(&mut Vec<SampleLine>);

/// Leaves so many samples, in so many passages, all of them right or wrong.
fn passages(lines: &mut Vec<SampleLine>, samples: usize, passages: usize, right: bool) {
    lines.truncate(samples);
    flip(lines, !right, samples);
    for (i, line) in lines.iter_mut().enumerate() {
        line.group = Some(format!("p{}-q{i}", i % passages));
    }
}

/// Leaves so many samples, each a text of ten words with this perplexity.
fn texts(lines: &mut Vec<SampleLine>, samples: usize, perplexity: f64) {
    lines.truncate(samples);
    for line in lines {
        let log_prob = -10.0 * perplexity.ln();
        line.log_prob = Some(LogProb { log_prob, num_tokens: 10, num_words: 10, num_bytes: 50 });
    }
}

/// The verdict of two runs, without the baseline's samples where they are not `kept`.
fn between(gate: &str, [before, after]: [&Change; 2], kept: bool) -> Result<Report, CheckError> {
    let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (baseline, run) = (cb(a.path(), before), cb(b.path(), after));
    if !kept {
        std::fs::remove_file(a.path().join("samples_cb_2026-01-01T00-00-00.000000.jsonl")).unwrap();
    }
    check(&baseline, &run, &GateFile::parse(gate, "gate.toml").unwrap(), false)
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
fn what_no_test_could_have_seen_does_not_pass() {
    // Five passages, all right and then all wrong: p = 2 / 2^5, which six would have halved.
    let five = |right| move |lines: &mut Vec<SampleLine>| passages(lines, 20, 5, right);
    let judged = between(&entry(""), [&five(true), &five(false)], true).unwrap().metrics.remove(0);
    let (p, power) = (judged.change.as_ref().unwrap().p.unwrap(), judged.power);
    assert!((p - 0.0625).abs() < 1e-12 && power == Some(0.0), "{judged:#?}");
    assert_eq!((judged.verdict, judged.samples_needed), (Verdict::Inconclusive, Some(24)), "{judged:#?}");
    // Six reach it; of two entries that share alpha they don't.
    let six = |right| move |lines: &mut Vec<SampleLine>| passages(lines, 24, 6, right);
    let verdict = |gate: &str| between(gate, [&six(true), &six(false)], true).unwrap().verdict;
    assert_eq!(verdict(&entry("")), Verdict::Fail);
    assert_eq!(verdict(&entry("").repeat(2)), Verdict::Inconclusive);
    // One passage, and one text.
    let one = |right| move |lines: &mut Vec<SampleLine>| passages(lines, 20, 1, right);
    let text = |perplexity| move |lines: &mut Vec<SampleLine>| texts(lines, 1, perplexity);
    let perplexity = entry("").replace("accuracy", "word_perplexity");
    for (gate, runs) in [
        (entry(""), [&one(true) as &Change, &one(false)]),
        (entry("test = \"bootstrap\""), [&one(true), &one(false)]),
        (perplexity, [&text(136.0), &text(8410.0)]),
    ] {
        let judged = between(&gate, runs, true).unwrap().metrics.remove(0);
        assert_eq!((judged.verdict, judged.power), (Verdict::Inconclusive, None), "{judged:#?}");
        assert!(judged.change.as_ref().unwrap().interval.is_none() && judged.interval.is_none());
        assert!(judged.reasons[0].starts_with("worse by "), "{:?}", judged.reasons);
    }
    // A threshold is beyond chance where none is allowed for.
    for (keys, verdict) in
        [("threshold = 500", Verdict::Inconclusive), ("threshold = 500\nalpha = 1", Verdict::Fail)]
    {
        let gate = entry(keys).replace("accuracy", "word_perplexity");
        assert_eq!(between(&gate, [&text(136.0), &text(8410.0)], true).unwrap().verdict, verdict, "{keys}");
    }
}

#[test]
fn a_loss_of_everything_fails_without_the_baselines_samples_unless_there_are_too_few() {
    let all = |samples, right| move |lines: &mut Vec<SampleLine>| passages(lines, samples, samples, right);
    for (samples, verdict) in [(20, Verdict::Fail), (2, Verdict::Inconclusive)] {
        let runs = [&all(samples, true) as &Change, &all(samples, false)];
        let report = between(&entry(""), runs, false).unwrap();
        assert_eq!(report.verdict, verdict, "{report:#?}");
        assert!(report.metrics[0].power.is_some_and(|power| power < 0.8));
    }
}

#[test]
fn seeds_are_drawn_without_the_baselines_samples_and_other_tests_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::read(Path::new(CB)).unwrap();
    let mut baseline = run.clone();
    baseline.path = folder.path().join("results_2026-11-23T22-38-06.560719.json");
    let seeds = GateFile::parse(&entry("test = \"seeds\""), "x").unwrap();
    for (gate, by_seeds) in [(&GateFile::default(), true), (&seeds, false)] {
        let report = check(&baseline, &run, gate, by_seeds).unwrap();
        let change = report.metrics[0].change.as_ref().unwrap();
        assert_eq!((change.test, change.seeds, change.p), (Test::Seeds, [5, 5], Some(1.0)), "{report:#?}");
    }
    let gate = GateFile::parse(&entry("test = \"mcnemar\""), "x").unwrap();
    let message = check(&baseline, &run, &gate, false).unwrap_err().to_string();
    assert!(message.contains("the `test` that the gate names needs the baseline's samples"), "{message}");
    baseline.record.glm_eval.tasks[0].runs.truncate(1);
    let message = check(&baseline, &run, &GateFile::default(), true).unwrap_err().to_string();
    assert!(message.contains("needs two seeds in each run or more, found 1 and 5"), "{message}");
}

#[test]
fn runs_that_did_not_do_the_same_are_said_to_differ_in_it() {
    let baseline = Run::read(Path::new(CB)).unwrap();
    let mut run = baseline.clone();
    run.record.glm_eval.mode = Mode::ZeroShot;
    run.record.glm_eval.tasks[0].pattern = Some("other".into());
    let notes = check(&baseline, &run, &GateFile::default(), false).unwrap().notes;
    assert!(notes[0].contains("zero-shot") && !notes[0].contains("ZeroShot"), "{notes:?}");
    assert_eq!(notes[1], "cb: the runs differ in pattern");
}

#[test]
fn small_differences_of_perplexities_are_seen_in_all_outputs() {
    let gate = entry("threshold = 1.2").replace("accuracy", "word_perplexity");
    let text = |perplexity| move |lines: &mut Vec<SampleLine>| texts(lines, 20, perplexity);
    let report = between(&gate, [&text(1.1), &text(1.21)], true).unwrap();
    let markdown = output::markdown(&report);
    assert!(markdown.contains("| 1.100 | 1.210 |"), "{markdown}");
    assert!(report.metrics[0].reasons[0].starts_with("1.210 is above the threshold 1.200"), "{report:#?}");
}

#[test]
fn a_value_that_the_second_run_lacks_is_lost() {
    let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let first = cb(a.path(), |lines| texts(lines, 20, 2.0));
    let second = cb(b.path(), |lines| {
        texts(lines, 20, 2.0);
        lines.iter_mut().skip(1).for_each(|line| line.log_prob = None);
    });
    let comparison = compare(&first, &second, Settings::default()).unwrap();
    assert_eq!(
        (comparison.lost.as_slice(), comparison.rows.len()),
        (&["cb word_perplexity".to_owned()][..], 2)
    );
    let note = format!("cb: word_perplexity has no value in {}", second.path.display());
    assert_eq!(comparison.notes, [note]);
    assert!(compare(&second, &first, Settings::default()).unwrap().lost.is_empty());
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
