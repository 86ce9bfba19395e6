//! Metrics over as many pairs of texts as the test set of CNN/DailyMail has, of its lengths and longer:
//!
//!     cargo bench --bench text_metrics

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, SamplingMode};
use glm_eval::metrics::{Metric, Outcome, Prediction, find, measure_all};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Articles in the test set.
const PAIRS: usize = 11_490;
/// Name, and words of a reference and of a prediction. The mean of the test set's references is 55.
const LENGTHS: [(&str, usize, usize); 2] = [("55 and 60 words", 55, 60), ("400 and 400 words", 400, 400)];
/// Words of a sentence.
const SENTENCE: usize = 15;

/// English-like words, the `i`-th about `1 / i` times as frequent as the first.
fn text(rng: &mut ChaCha8Rng, num_words: usize) -> String {
    const ENDINGS: [&str; 8] = ["", "s", "ed", "ing", "ly", "ation", "er", "ness"];
    let mut text = String::new();
    for i in 0..num_words {
        let rank = 30_000_f64.powf(rng.random::<f64>()) as usize; // the logarithm of a rank is uniform
        let syllables = ["ba", "co", "di", "fu", "ler", "mon", "ta", "vi"];
        let mut rest = rank;
        while rest > 0 {
            text += syllables[rest % 8];
            rest /= 8;
        }
        text += ENDINGS[rank % 8];
        text += if i % SENTENCE == SENTENCE - 1 { ".\n" } else { " " };
    }
    text
}

fn outcomes(reference_words: usize, prediction_words: usize) -> Vec<Outcome> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut outcome = |i: usize| Outcome {
        id: i.to_string(),
        group: None,
        prediction: Prediction::Text(text(&mut rng, prediction_words)),
        label: None,
        references: vec![text(&mut rng, reference_words)],
        log_prob: None,
    };
    (0..PAIRS).map(&mut outcome).collect()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, reference_words, prediction_words) in LENGTHS {
        let outcomes = outcomes(reference_words, prediction_words);
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(5));
        let sets: [(&str, &[&str]); 3] = [
            ("rouge", &["rouge1", "rouge2", "rougeL", "rougeLsum"]),
            ("rouge, stemmed", &["rouge1_stem", "rouge2_stem", "rougeL_stem", "rougeLsum_stem"]),
            ("sacrebleu", &["sacrebleu"]),
        ];
        for (set, metrics) in sets {
            group.bench_function(format!("{set}, with intervals"), |bencher| {
                let metrics: Vec<&Metric> =
                    metrics.iter().map(|name| find(name).expect("there is such a metric")).collect();
                bencher.iter(|| black_box(measure_all(&metrics, &outcomes, 0)));
            });
        }
        group.finish();
    }
}
