//! The statistics against `SciPy` and statsmodels (`scripts/record-statistics`), and simulations: false alarms stay at
//! alpha, power is as stated.

use glm_eval::stats::counts::Counts;
use glm_eval::stats::paired::{self, Paired};
use glm_eval::stats::{intervals, mean, power, sample_std};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// The recorded cases of one kind.
fn cases(kind: &str) -> Vec<Value> {
    let text = include_str!("data/statistics.json");
    let all: Value = serde_json::from_str(text).expect("the recording is JSON");
    let cases = all[kind].as_array().unwrap_or_else(|| panic!("{kind} was recorded")).clone();
    assert!(!cases.is_empty(), "{kind}");
    cases
}

fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap_or_else(|| panic!("{key} in {case}"))
}

fn count(case: &Value, key: &str) -> u64 {
    case[key].as_u64().unwrap_or_else(|| panic!("{key} in {case}"))
}

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap_or_else(|| panic!("{key} in {case}"));
    values.iter().map(|x| x.as_f64().expect("a number")).collect()
}

#[track_caller]
fn near(found: f64, expected: f64, case: &Value) {
    assert!((found - expected).abs() <= 1e-6, "{found} and not {expected}: {case}");
}

fn mean_of(totals: &[f64]) -> Option<f64> {
    (totals[1] > 0.0).then(|| totals[0] / totals[1])
}

#[expect(clippy::unnecessary_wraps, reason = "a statistic may be undefined")]
fn f1(totals: &[f64]) -> Option<f64> {
    Some(if totals[0] > 0.0 { 2.0 * totals[0] / (2.0 * totals[0] + totals[1]) } else { 0.0 })
}

#[test]
fn wilson_intervals_are_those_of_statsmodels() {
    for case in cases("wilson") {
        let (successes, n) = (count(&case, "successes") as usize, count(&case, "n") as usize);
        let interval = intervals::wilson(successes, n, number(&case, "level")).expect("there are samples");
        near(interval.low, number(&case, "low"), &case);
        near(interval.high, number(&case, "high"), &case);
    }
}

#[test]
fn mcnemar_and_holm_are_those_of_statsmodels() {
    for case in cases("mcnemar_exact") {
        near(paired::mcnemar(count(&case, "lost"), count(&case, "gained")), number(&case, "p"), &case);
    }
    for case in cases("holm") {
        for (found, expected) in paired::holm(&numbers(&case, "p")).iter().zip(numbers(&case, "corrected")) {
            near(*found, expected, &case);
        }
    }
}

#[test]
fn the_permutation_test_is_that_of_scipy_for_means_and_of_plain_enumeration_for_an_f1() {
    for case in cases("permutation") {
        let rows = |key| numbers(&case, key).into_iter().map(|x| vec![x, 1.0]).collect::<Vec<_>>();
        let paired = Paired::new(&rows("first"), &rows("second"));
        near(paired.permutation(paired::DRAWS, mean_of).expect("a value"), number(&case, "p"), &case);
    }
    for case in cases("permutation_f1") {
        let rows = |key: &str| -> Vec<Vec<f64>> {
            serde_json::from_value(case[key].clone()).expect("rows of numbers")
        };
        let paired = Paired::new(&rows("first"), &rows("second"));
        near(paired.permutation(paired::DRAWS, f1).expect("a value"), number(&case, "p"), &case);
    }
}

#[test]
fn bootstrap_intervals_are_those_of_scipy_for_the_same_draws() {
    for case in cases("intervals") {
        let (draws, level) = (numbers(&case, "draws"), number(&case, "level"));
        let jackknife: Vec<(f64, u64)> = numbers(&case, "jackknife").into_iter().map(|x| (x, 1)).collect();
        let found = [
            intervals::percentile(&draws, level).expect("draws"),
            intervals::bca(&draws, number(&case, "value"), &jackknife, level).expect("draws"),
        ];
        for (interval, key) in found.iter().zip(["percentile", "bca"]) {
            let expected = numbers(&case, key);
            near(interval.low, expected[0], &case);
            near(interval.high, expected[1], &case);
        }
    }
}

#[test]
fn the_paired_bootstrap_comes_near_the_closed_form() {
    for case in cases("bootstrap") {
        let [lost, gained, n] = ["lost", "gained", "n"].map(|key| count(&case, key) as usize);
        let paired = accuracies(n, lost, gained);
        let found = paired.bootstrap(20_000, 0.95, mean_of).and_then(|found| found.stderr).expect("a spread");
        // A standard error over 20,000 draws is itself known to 0.5 %; four of those.
        assert!((found / number(&case, "stderr") - 1.0).abs() < 0.02, "{found}: {case}");
    }
}

#[test]
fn students_and_welchs_tests_are_those_of_scipy() {
    for case in cases("students") {
        let (difference, stderr) = (number(&case, "difference"), number(&case, "stderr"));
        near(
            paired::t_test(difference, stderr, number(&case, "freedom")).expect("a spread"),
            number(&case, "p"),
            &case,
        );
    }
    for case in cases("satterthwaite") {
        let seeds = ["first", "second"].map(|key| numbers(&case, key));
        let part =
            |xs: &[f64]| (sample_std(xs).expect("seeds") / (xs.len() as f64).sqrt(), xs.len() as f64 - 1.0);
        let (stderr, freedom) = paired::combine(&[part(&seeds[0]), part(&seeds[1])]);
        let difference = mean(&seeds[1]).expect("seeds") - mean(&seeds[0]).expect("seeds");
        near(freedom, number(&case, "freedom"), &case);
        near(paired::t_test(difference, stderr, freedom).expect("a spread"), number(&case, "p"), &case);
    }
}

#[test]
fn power_is_that_of_statsmodels_and_of_plain_enumeration() {
    for case in cases("power_mcnemar") {
        let [noise, loss, alpha] = ["noise", "loss", "alpha"].map(|key| number(&case, key));
        near(power::mcnemar_power(count(&case, "n"), noise, loss, alpha), number(&case, "power"), &case);
    }
    for case in cases("power_difference") {
        let [loss, stderr, alpha] = ["loss", "stderr", "alpha"].map(|key| number(&case, key));
        near(power::difference_power(loss, stderr, f64::INFINITY, alpha), number(&case, "power"), &case);
    }
}

/// Two runs over `n` samples, half of which are right in both.
fn accuracies(n: usize, lost: usize, gained: usize) -> Paired {
    let right = |is: bool| vec![f64::from(u8::from(is)), 1.0];
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for i in 0..n {
        let (a, b) = match i {
            i if i < lost => (true, false),
            i if i < lost + gained => (false, true),
            i => (i % 2 == 0, i % 2 == 0),
        };
        first.push(right(a));
        second.push(right(b));
    }
    Paired::new(&first, &second)
}

/// A share over many experiments must not be above `stated` by more than chance (three standard errors).
fn at_most(share: f64, stated: f64, experiments: usize) -> bool {
    share <= stated + 3.0 * (stated * (1.0 - stated) / experiments as f64).sqrt()
}

/// Macro F1 of three labels: hits, misses and occurrences of each.
fn macro_f1(totals: &[f64]) -> Option<f64> {
    let occurring = totals.chunks(3).filter(|label| label[2] > 0.0);
    mean(&occurring.map(|label| f1(label).unwrap_or(0.0)).collect::<Vec<_>>())
}

fn macro_row(label: usize, said: usize) -> Vec<f64> {
    let mut row = vec![0.0; 9];
    row[3 * label] = f64::from(u8::from(label == said));
    for (index, miss) in [(label, label != said), (said, label != said)] {
        row[3 * index + 1] = f64::from(u8::from(miss));
        row[3 * index + 2] += 1.0;
    }
    row
}

/// Two runs of a task of the size of CB, equally good: each says the right label with probability 0.7, and both agree
/// with probability 0.8 beyond that.
fn equally_good(rng: &mut ChaCha8Rng) -> (Paired, [u64; 2], Paired) {
    let mut rows: [[Vec<Vec<f64>>; 2]; 2] = Default::default();
    let mut changed = [0, 0];
    for sample in 0..56 {
        let label = if sample < 28 { 0 } else { 1 + usize::from(sample > 50) };
        let mut say = || if rng.random_bool(0.7) { label } else { rng.random_range(0..3) };
        let shared = say();
        let mut said = [shared, shared];
        for said in &mut said {
            if rng.random_bool(0.2) {
                *said = if rng.random_bool(0.7) { label } else { rng.random_range(0..3) };
            }
        }
        let right = said.map(|said| said == label);
        changed[0] += u64::from(right[0] && !right[1]);
        changed[1] += u64::from(!right[0] && right[1]);
        for run in 0..2 {
            rows[0][run].push(vec![f64::from(u8::from(right[run])), 1.0]);
            rows[1][run].push(macro_row(label, said[run]));
        }
    }
    let [accuracy, f1] = rows.map(|[first, second]| Paired::new(&first, &second));
    (accuracy, changed, f1)
}

#[test]
fn false_alarms_stay_at_alpha_with_as_few_samples_as_cb_has() {
    const EXPERIMENTS: usize = 1500;
    const ALPHA: f64 = 0.05;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut alarms = [0; 4];
    for _ in 0..EXPERIMENTS {
        let (accuracy, [lost, gained], f1) = equally_good(&mut rng);
        let by_bootstrap = f1.bootstrap(500, 0.95, macro_f1).expect("a value").bootstrap_p;
        let p = [
            paired::mcnemar(lost, gained),
            accuracy.permutation(500, mean_of).expect("a value"),
            f1.permutation(500, macro_f1).expect("a value"),
            by_bootstrap,
        ];
        alarms.iter_mut().zip(p).for_each(|(alarms, p)| *alarms += usize::from(p <= ALPHA));
    }
    let shares = alarms.map(|alarms| alarms as f64 / EXPERIMENTS as f64);
    // The first three are exact; the bootstrap's own p-value is approximate, and raises the most.
    for share in &shares {
        assert!(at_most(*share, ALPHA, EXPERIMENTS), "{shares:?}");
    }
    assert!(shares[3] > shares[2], "{shares:?}");
}

#[test]
fn false_alarms_stay_at_alpha_where_answers_of_a_passage_change_together() {
    const EXPERIMENTS: usize = 600;
    const ALPHA: f64 = 0.05;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut alarms = [0; 2];
    for _ in 0..EXPERIMENTS {
        // 30 passages of 6 answers: in half of them one run, whichever, gets 4 answers wrong that the other gets right.
        let (mut passages, mut answers) = ([vec![], vec![]], [vec![], vec![]]);
        for _ in 0..30 {
            let wrong = if rng.random_bool(0.5) { Some(rng.random_range(0..2)) } else { None };
            for run in 0..2 {
                let right = if wrong == Some(run) { 2 } else { 6 };
                passages[run].push(vec![right as f64, 6.0]);
                answers[run].extend((0..6).map(|i| vec![f64::from(u8::from(i < right)), 1.0]));
            }
        }
        for (alarms, [first, second]) in alarms.iter_mut().zip([passages, answers]) {
            let p = Paired::new(&first, &second).permutation(300, mean_of).expect("a value");
            *alarms += usize::from(paired::rejects(p, ALPHA));
        }
    }
    let [by_passage, by_answer] = alarms.map(|alarms| alarms as f64 / EXPERIMENTS as f64);
    assert!(at_most(by_passage, ALPHA, EXPERIMENTS), "{by_passage}");
    assert!(by_answer > 4.0 * ALPHA, "as if answers were independent, alarms would be many: {by_answer}");
}

#[test]
fn false_alarms_of_runs_with_seeds_stay_at_alpha() {
    const EXPERIMENTS: usize = 2000;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut alarms = 0;
    for _ in 0..EXPERIMENTS {
        let mut normal = || (0..12).map(|_| rng.random_range(-0.5..0.5)).sum::<f64>();
        // Samples give an error of 0.01 to the difference; each seed moves its run by 0.02.
        let samples = 0.01 * normal();
        let mut seeds = || -> Vec<f64> { (0..3).map(|_| 0.7 + 0.02 * normal()).collect() };
        let (first, second) = (seeds(), seeds());
        let part = |xs: &[f64]| (sample_std(xs).expect("seeds") / 3.0_f64.sqrt(), 2.0);
        let (stderr, freedom) = paired::combine(&[(0.01, 200.0), part(&first), part(&second)]);
        let difference = mean(&second).expect("seeds") + samples - mean(&first).expect("seeds");
        alarms += usize::from(paired::t_test(difference, stderr, freedom).expect("a spread") <= 0.05);
    }
    let share = alarms as f64 / EXPERIMENTS as f64;
    assert!(at_most(share, 0.05, EXPERIMENTS), "{share}");
}

#[test]
fn power_is_as_stated() {
    const EXPERIMENTS: usize = 4000;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for (n, noise, loss) in [(56, 0.05, 0.15), (277, 0.1, 0.05), (638, 0.1, 0.04)] {
        let found = (0..EXPERIMENTS).filter(|_| {
            let (mut lost, mut gained) = (0, 0);
            for _ in 0..n {
                let x: f64 = rng.random();
                lost += u64::from(x < noise / 2.0 + loss);
                gained += u64::from(x > 1.0 - noise / 2.0);
            }
            lost > gained && paired::mcnemar(lost, gained) <= 0.05
        });
        let share = found.count() as f64 / EXPERIMENTS as f64;
        let stated = power::mcnemar_power(n, noise, loss, 0.05);
        let stderr = (stated * (1.0 - stated) / EXPERIMENTS as f64).sqrt();
        assert!((share - stated).abs() < 3.5 * stderr, "{n} samples: {share} and not {stated}");
    }
}

#[test]
fn a_bootstrap_interval_of_an_f1_holds_the_truth_as_often_as_it_says() {
    const EXPERIMENTS: usize = 600;
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    // Hits 0.3, misses 0.2: F1 = 0.6 / 0.8 = 0.75.
    let held = (0..EXPERIMENTS).filter(|_| {
        let rows = (0..200).map(|_| match rng.random::<f64>() {
            x if x < 0.3 => vec![1.0, 0.0],
            x if x < 0.5 => vec![0.0, 1.0],
            _ => vec![0.0, 0.0],
        });
        let interval = intervals::bootstrap_interval(&Counts::new(rows), 500, 1, 0.9, f1).expect("a value");
        (interval.low..=interval.high).contains(&0.75)
    });
    let share = held.count() as f64 / EXPERIMENTS as f64;
    // 0.9 with a standard error of 0.012; 500 draws cost about another hundredth.
    assert!((0.85..0.95).contains(&share), "{share}");
}
