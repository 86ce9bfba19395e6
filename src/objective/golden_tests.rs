//! Blanks and rows against recordings of the official code, in `$GLM_EVAL_SHARED/golden/blocks` (default
//! `../shared`). With Python's and numpy's random numbers ours must be the same, token for token; with our own, their
//! statistics must agree.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::blank_infilling::sample_spans;
use super::*;
use crate::data::python_random::PythonRandom;
use crate::tokenizer::{Extras, Tokenizer};

impl Draws for PythonRandom {
    fn below(&mut self, n: usize) -> usize {
        Self::below(self, n as u32) as usize
    }

    fn unit(&mut self) -> f64 {
        Self::unit(self)
    }
}

/// numpy's `RandomState`: the same generator, another way to draw whole numbers.
struct Numpy(PythonRandom);

impl Numpy {
    /// The generator that the official data set makes for a row.
    fn of_row(index: u32) -> Self {
        let mut random = PythonRandom::new(index);
        let mut word = || loop {
            let (low, high) = (random.bits(), random.bits()); // 33 bits are drawn until the first is 0
            if high >> 31 == 0 {
                return low;
            }
        };
        Self(PythonRandom::from_key(&std::array::from_fn::<u32, 16, _>(|_| word())))
    }
}

impl Draws for Numpy {
    fn below(&mut self, n: usize) -> usize {
        let last = n as u32 - 1;
        let mask = u32::MAX.checked_shr(last.leading_zeros()).unwrap_or(0);
        loop {
            let drawn = if last == 0 { 0 } else { self.0.bits() & mask };
            if drawn <= last {
                return drawn as usize;
            }
        }
    }

    fn unit(&mut self) -> f64 {
        self.0.unit()
    }
}

/// A recording; `None`, with a message, where it is not.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn recording(name: &str) -> Option<Value> {
    let file = shared().join("golden/blocks").join(name);
    if !file.is_file() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing in CI", file.display());
        eprintln!("skipped: {} is not there; set GLM_EVAL_SHARED", file.display());
        return None;
    }
    let text = std::fs::read_to_string(file).expect("a recording is readable");
    Some(serde_json::from_str(&text).expect("a recording is JSON"))
}

fn shared() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("GLM_EVAL_SHARED").map_or(default, PathBuf::from)
}

/// The vocabulary of the recordings.
fn vocabulary() -> Arc<Vocabulary> {
    let extras = Extras { task_masks: true, decoder_mask: true };
    let tokenizer = Tokenizer::open_with(&shared().join("tokenizers/bert-base-uncased"), extras);
    Arc::new(Vocabulary::new(&tokenizer.expect("it is beside the recordings")).expect("GLM's"))
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("a list").iter();
    ids.map(|id| id.as_u64().expect("a number") as u32).collect()
}

fn rows_of(value: &Value) -> Vec<Vec<u32>> {
    value.as_array().expect("a list").iter().map(ids).collect()
}

/// The options that a recording names.
fn options(config: &Value) -> BlankOptions {
    serde_json::from_value(config.clone()).expect("official options")
}

/// The first `len` numbers, if only padding follows.
fn unpadded(values: &[u32], len: usize) -> &[u32] {
    let (values, padding) = values.split_at(len);
    assert!(padding.iter().all(|&id| id == 0), "more than padding behind {len} tokens");
    values
}

#[test]
fn verbatim_cases_come_out_identical_from_the_same_draws() {
    let Some(recording) = recording("verbatim.json") else { return };
    let vocabulary = vocabulary();
    let mut compared = 0;
    for (name, case) in recording.as_object().expect("cases by name") {
        if case["calls"][0].get("error").is_some() {
            continue; // the official code fails on these; ours is tested below
        }
        let max_length = case["max_seq_length"].as_u64().expect("a length") as usize;
        let options = options(&case["config"]);
        // Tokens are hidden by another generator there; here they would be drawn after everything else.
        let drawn = BlankOptions { block_mask_prob: 0.0, ..options.clone() };
        let objective = BlankInfilling::new(drawn, vocabulary.clone(), max_length).expect("all tokens");
        for call in case["calls"].as_array().expect("a list") {
            let inputs = call["inputs"].as_array().expect("a list").iter();
            let rows: Vec<Vec<u32>> = inputs.map(|input| ids(&input["text"])).collect();
            let mut draws = PythonRandom::new(call["seed"].as_u64().expect("a seed") as u32);
            let examples = objective.examples(&rows, &mut draws);
            let (tokens, targets) = (rows_of(&call["tokens"]), rows_of(&call["targets"]));
            let (masks, prefixes) = (rows_of(&call["loss_mask"]), ids(&call["attention_mask"]));
            assert_eq!(examples.len(), tokens.len(), "{name}");
            for (i, example) in examples.iter().enumerate() {
                let (len, place) = (example.len(), format!("{name}, seed {}, row {i}", call["seed"]));
                let mut expected = unpadded(&tokens[i], len).to_vec();
                if options.block_mask_prob > 0.0 {
                    let dblock = vocabulary.special.dblock.expect("it was asked for");
                    for (expected, own) in expected.iter_mut().zip(&example.input_ids) {
                        *expected = if *expected == dblock { *own } else { *expected };
                    }
                }
                assert_eq!(example.input_ids, expected, "{place}: tokens");
                assert_eq!(example.targets, unpadded(&targets[i], len), "{place}: targets");
                let mask: Vec<u32> = example.loss_mask.iter().map(|&counts| u32::from(counts)).collect();
                assert_eq!(mask, unpadded(&masks[i], len), "{place}: loss mask");
                let [positions, block_positions] = &rows_of(&call["position_id"][i])[..] else {
                    panic!("{place}: two rows of positions")
                };
                assert_eq!(example.positions, unpadded(positions, len), "{place}: positions");
                assert_eq!(
                    example.block_positions,
                    unpadded(block_positions, len),
                    "{place}: block positions"
                );
                assert_eq!(example.prefix_length, prefixes[i] as usize, "{place}: prefix length");
                compared += 1;
            }
        }
    }
    assert!(compared > 256, "{compared} rows were compared");
}

#[test]
fn recorded_rows_are_cut_from_the_documents_by_the_same_draws() {
    let Some(recording) = recording("row_sampling.json") else { return };
    let documents = rows_of(&recording["documents"]);
    for (key, across_documents) in [("sample_across_doc", true), ("single_document", false)] {
        let rows = Rows::new(documents.clone(), vocabulary(), 96, across_documents).expect("documents");
        for row in recording[key].as_array().expect("a list") {
            let index = row["index"].as_u64().expect("a number") as u32;
            assert_eq!(rows.draw(&mut Numpy::of_row(index)), ids(&row["text"]), "{key} {index}");
            if let Some(mask) = row.get("loss_mask") {
                // Only start tokens are left out; the objectives know that without being told.
                let starts = ids(&row["text"]).iter().map(|&id| u32::from(id != 101)).collect::<Vec<_>>();
                assert_eq!(starts, ids(mask));
            }
        }
    }
}

/// Draws of ours for one recorded draw: what differs is then the recording's own error more than ours, and four standard
/// errors hold over hundreds of comparisons.
const OURS_FOR_ONE: usize = 10;

/// Does something that happened so often in our draws happen as often in the `num_draws` recorded ones, within four standard
/// errors of the difference? Both counts vary.
fn assert_as_often(ours: f64, theirs: f64, num_draws: f64, what: &str) {
    let our_draws = OURS_FOR_ONE as f64 * num_draws;
    let p = (ours + theirs) / (our_draws + num_draws);
    let error = (p * (1.0 - p) * (1.0 / our_draws + 1.0 / num_draws)).sqrt();
    let difference = (ours / our_draws - theirs / num_draws).abs();
    assert!(difference <= 4.0 * error, "{what}: {ours} of {our_draws} and {theirs} of {num_draws}");
}

fn spans_of(value: &Value) -> Vec<Range<usize>> {
    let span = |span: &Value| {
        let ends = ids(span);
        ends[0] as usize..ends[1] as usize
    };
    value.as_array().expect("a list").iter().map(span).collect()
}

#[test]
fn spans_are_placed_as_recorded() {
    let Some(recording) = recording("span_placement.json") else { return };
    for case in recording.as_array().expect("a list") {
        let lengths: Vec<usize> = ids(&case["span_lengths"]).iter().map(|&n| n as usize).collect();
        let (offset, total) = (case["offset"].as_u64().expect("a number"), case["total_length"].as_u64());
        let range = offset as usize..(offset + total.expect("a number")) as usize;
        let seeds = ids(&case["first_10_seeds"]);
        for (seed, expected) in seeds.into_iter().zip(case["first_10"].as_array().expect("a list")) {
            let spans = sample_spans(&lengths, range.clone(), &mut PythonRandom::new(seed));
            assert_eq!(spans, spans_of(expected), "seed {seed}");
        }
        // Ours: of the layouts that were counted there, each is as frequent here.
        let num_draws = case["draws"].as_f64().expect("a number");
        let mut draws = ChaCha8Rng::seed_from_u64(1);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..OURS_FOR_ONE * num_draws as usize {
            let spans = sample_spans(&lengths, range.clone(), &mut draws);
            let spans: Vec<_> = spans.iter().map(|span| format!("({}, {})", span.start, span.end)).collect();
            *counts.entry(format!("[{}]", spans.join(", "))).or_insert(0.0) += 1.0;
        }
        for (layout, count) in case["counts"].as_object().expect("counts by layout") {
            let theirs = count.as_f64().expect("a number");
            let ours = counts.get(layout).copied().unwrap_or(0.0);
            assert_as_often(ours, theirs, num_draws, layout);
        }
    }
}

/// Mean, variance and number, from a sample or as recorded.
#[derive(Clone, Copy, Debug)]
struct Moments {
    mean: f64,
    var: f64,
    n: f64,
}

impl Moments {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        Self { mean, var: values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n, n }
    }

    fn recorded(value: &Value) -> Self {
        let number = |key: &str| value[key].as_f64().expect("a number");
        Self { mean: number("mean"), var: number("var"), n: number("n") }
    }

    /// Means within four standard errors, of which at most `independent` values of each side tell apart.
    fn assert_agrees(self, theirs: Self, independent: f64, what: &str) {
        let error = |m: Self| m.var / m.n.min(independent);
        let allowed = 4.0 * (error(self) + error(theirs)).sqrt() + 1e-9;
        assert!(
            (self.mean - theirs.mean).abs() <= allowed,
            "{what}: {self:?} and {theirs:?}, {allowed} allowed"
        );
    }
}

#[test]
fn each_position_of_a_recorded_row_is_masked_as_often() {
    let Some(recording) = recording("position_marginals.json") else { return };
    let row = ids(&recording["row"]);
    for (run, config) in [
        ("bert_short_spans", BlankOptions::default()),
        ("sentence", BlankOptions { bert_prob: 0.0, gap_sentence_prob: 1.0, ..BlankOptions::default() }),
        (
            "document_never_prefix",
            BlankOptions { bert_prob: 0.0, gpt_infill_prob: 0.0, ..BlankOptions::default() },
        ),
    ] {
        let recorded = &recording["runs"][run];
        let theirs = ids(&recorded["times_each_position_was_masked"]);
        let num_draws = recorded["draws"].as_u64().expect("a number") as usize;
        let objective = BlankInfilling::new(config, vocabulary(), 256).expect("all tokens");
        let mut draws = ChaCha8Rng::seed_from_u64(3);
        let mut ours = vec![0u32; row.len()];
        let mut fractions = Vec::new();
        for _ in 0..OURS_FOR_ONE * num_draws {
            let example = objective.examples(std::slice::from_ref(&row), &mut draws).remove(0);
            let masked = masked_places(&example, vocabulary_mask());
            fractions.push(masked.len() as f64 / row.len() as f64);
            for place in masked {
                ours[place] += 1;
            }
        }
        let n = num_draws as f64;
        for (place, (&ours, &theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_as_often(f64::from(ours), f64::from(theirs), n, &format!("{run}, place {place}"));
        }
        let number = |key: &str| recorded[key].as_f64().expect("a number");
        let theirs = Moments { mean: number("masked_fraction_mean"), var: number("masked_fraction_var"), n };
        Moments::of(fractions).assert_agrees(theirs, f64::INFINITY, run);
    }
}

fn vocabulary_mask() -> u32 {
    103
}

/// Places of the row that are blanked out in an example.
fn masked_places(example: &Example, mask: u32) -> Vec<usize> {
    let prefix = &example.input_ids[..example.prefix_length];
    // A piece has its mask's position; its length is that of the span, and one.
    let mut lengths = std::collections::BTreeMap::new();
    for &position in &example.positions[example.prefix_length..] {
        *lengths.entry(position as usize).or_insert(0) += 1;
    }
    let (mut places, mut place) = (Vec::new(), 0);
    for (position, &id) in prefix.iter().enumerate() {
        match lengths.get(&position).filter(|_| id == mask) {
            Some(len) => {
                places.extend(place..place + len - 1);
                place += len - 1;
            }
            None => place += 1,
        }
    }
    places
}

/// Rows of passages like those behind the statistics; the passages that were used are not recorded.
fn passages(max_length: usize, across_documents: bool) -> Vec<Vec<u32>> {
    let tokenizer =
        Tokenizer::open(&shared().join("tokenizers/bert-base-uncased")).expect("BERT's vocabulary");
    let rows = crate::data::Jsonl::open(&shared().join("data/superglue/BoolQ/val.jsonl")).expect("the data");
    let text =
        |row: crate::data::Row| tokenizer.encode(row.text("passage").expect("a text")).expect("tokens");
    let documents: Vec<Vec<u32>> = rows.take(1000).map(|row| text(row.expect("a row"))).collect();
    let rows = Rows::new(documents, vocabulary(), max_length, across_documents).expect("documents");
    let mut draws = ChaCha8Rng::seed_from_u64(4);
    (0..600).map(|_| rows.draw(&mut draws)).collect()
}

#[test]
fn statistics_of_our_own_sampling_agree_with_the_official_ones() {
    let Some(recording) = recording("statistics.json") else { return };
    let pool = passages(512, true);
    // Texts differ, so that rows tell no more than the 600 they were drawn from.
    let num_rows = pool.len() as f64;
    let theirs = Moments::recorded(&recording["bert_short_spans|L512|multi"]["rows_pool_len"]);
    Moments::of(pool.iter().map(|row| row.len() as f64)).assert_agrees(theirs, num_rows, "lengths of rows");
    for (case, mode) in [
        ("bert_short_spans|L512|multi", "bert"),
        ("sentence|L512|multi", "sentence"),
        ("document_min0.5|L512|multi", "gpt"),
        ("mix_10b|L512|multi", "bert"),
        ("single_span|L256|single", "bert"),
        ("avg_block_length_8|L256|single", "bert"),
    ] {
        let (recorded, of_mode) = (&recording[case], &recording[case]["per_mode"][mode]);
        let options = options(&recorded["config"]);
        let objective = BlankInfilling::new(options.clone(), vocabulary(), 512).expect("all tokens");
        let mut draws = ChaCha8Rng::seed_from_u64(6);
        let num_calls = recorded["calls"].as_u64().expect("a number") as usize;
        let mut examples = Vec::new();
        let mut modes = 0;
        for call in 0..num_calls {
            let batch: Vec<Vec<u32>> = (0..4).map(|i| pool[(call * 4 + i) % pool.len()].clone()).collect();
            let made = objective.examples(&batch, &mut draws);
            if kind(&made[0], &options) == mode {
                modes += 1;
                examples.extend(made);
            }
        }
        let share = |count: f64| Moments { mean: count / num_calls as f64, var: 0.25, n: num_calls as f64 };
        let theirs = recorded["modes"][mode].as_f64().expect("a number");
        share(f64::from(modes)).assert_agrees(
            share(theirs),
            f64::INFINITY,
            &format!("{case}: share of {mode}"),
        );

        let own = |value: fn(&Example) -> f64| Moments::of(examples.iter().map(value));
        if case.contains("L512") && !case.starts_with("mix") {
            let loss_tokens = Moments::recorded(&of_mode["loss_tokens"]);
            own(|e| e.num_targets() as f64).assert_agrees(loss_tokens, num_rows, &format!("{case}: targets"));
            let prefix = Moments::recorded(&of_mode["sep"]);
            own(|e| e.prefix_length as f64).assert_agrees(prefix, num_rows, &format!("{case}: prefix"));
        }
        if mode == "gpt" {
            let share = |n: f64, of: f64| Moments { mean: n / of, var: 0.25, n: of };
            let is_prefix_form = |e: &&Example| !e.targets[e.prefix_length..].contains(&30523);
            let ours = share(examples.iter().filter(is_prefix_form).count() as f64, examples.len() as f64);
            let rows = of_mode["rows"].as_f64().expect("a number");
            let theirs = share(of_mode["rows_of_prefix_form"].as_f64().expect("a number"), rows);
            ours.assert_agrees(theirs, num_rows, &format!("{case}: share of the prefix form"));
            continue;
        }
        let lengths = examples.iter().flat_map(piece_lengths).map(|len| len as f64);
        let theirs = Moments::recorded(&of_mode["span_length"]);
        // Lengths of short blanks depend on no text, but sentences do.
        let independent = if mode == "sentence" { num_rows } else { f64::INFINITY };
        Moments::of(lengths).assert_agrees(theirs, independent, &format!("{case}: lengths of spans"));
        let touching = examples.iter().map(touching_pairs).sum::<usize>();
        match mode {
            "sentence" => assert!(touching > 0, "sentences may touch"),
            _ => assert_eq!(touching, 0, "{case}: short blanks never touch"),
        }
    }
}

/// Which kind of blanks an example has, by its masks.
fn kind(example: &Example, options: &BlankOptions) -> &'static str {
    let prefix = &example.input_ids[..example.prefix_length];
    match () {
        () if !options.task_mask || prefix.contains(&103) => "bert",
        () if prefix.contains(&30525) => "sentence",
        () => "gpt",
    }
}

fn piece_lengths(example: &Example) -> Vec<usize> {
    let starts = (example.prefix_length..example.len()).filter(|&i| example.block_positions[i] == 1);
    let starts: Vec<usize> = starts.chain([example.len()]).collect();
    starts.windows(2).map(|pair| pair[1] - pair[0] - 1).collect()
}

fn touching_pairs(example: &Example) -> usize {
    let prefix = &example.input_ids[..example.prefix_length];
    prefix.windows(2).filter(|pair| pair[0] == pair[1] && [103, 30525].contains(&pair[0])).count()
}
