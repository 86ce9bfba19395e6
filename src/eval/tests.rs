//! The loop on a model that is none: what is asked, what is kept, and what becomes of failures.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, json};

use super::extent::Extent;
use super::few_shot::FewShot;
use super::finetune::SeedResult;
use super::scoring::{Scored, lines};
use super::*;
use crate::model::{Cost, LanguageModel, Parameters};
use crate::nn::Dropout;
use crate::request::{Answer, Ask, CandidateScore, Example, Likelihood, Part, Prompt, Request};
use crate::results::SampleLine;
use crate::stats::Estimate;
use crate::tasks::{Task, TaskData};

/// Which samples, by their ids.
type Ids = fn(&str) -> bool;

/// Prefers the candidate that a sum over the sample's id points at.
struct Fake {
    fails: Ids,
    is_nan: Ids,
    /// Can't be laid out.
    is_too_long: Ids,
    has_likelihoods: bool,
    asked: RefCell<Vec<Vec<Request>>>,
    stop: Option<(&'static Stop, Cell<usize>)>,
    parameters: Parameters,
}

impl Fake {
    fn new() -> Self {
        let parameters = Parameters::draw([], 0, DType::F32, &Device::Cpu).expect("no weights");
        Self {
            fails: |_| false,
            is_nan: |_| false,
            is_too_long: |_| false,
            has_likelihoods: false,
            asked: RefCell::default(),
            stop: None,
            parameters,
        }
    }

    fn largest_batch(&self) -> usize {
        self.asked.borrow().iter().map(Vec::len).max().unwrap_or(0)
    }
}

impl LanguageModel for Fake {
    fn cost(&self, request: &Request) -> Result<Cost, ModelError> {
        if (self.is_too_long)(&request.id) {
            return Err(ModelError::Unsupported { id: request.id.clone(), what: "it is too long".into() });
        }
        let computed = format!("{:?}", request.prompt).len();
        Ok(Cost { computed, as_padded_copies: 2 * computed, ..Cost::default() })
    }

    fn answer(&self, requests: &[&Request]) -> Result<Vec<Answer>, ModelError> {
        self.asked.borrow_mut().push(requests.iter().map(|&request| request.clone()).collect());
        if let Some(request) = requests.iter().find(|request| (self.fails)(&request.id)) {
            return Err(ModelError::Unsupported { id: request.id.clone(), what: "it is Monday".into() });
        }
        if let Some((stop, batches)) = &self.stop {
            batches.set(batches.get() + 1);
            if batches.get() == 2 {
                stop.ask();
            }
        }
        let answer = |request: &&Request| {
            let count = match &request.ask {
                Ask::Word { words } => words.len(),
                Ask::Choice { candidates, .. } => candidates.len(),
                Ask::Classify { pairs, num_labels, .. } => pairs.len() * num_labels,
                Ask::Generate { .. } | Ask::LogProb { .. } => 0,
            };
            let best = request.id.bytes().map(usize::from).sum::<usize>() % count;
            let is_nan = (self.is_nan)(&request.id);
            let score = |i| if is_nan { f64::NAN } else { -(i as f64 - best as f64).abs() };
            let candidate = |i| CandidateScore { score: score(i), num_tokens: 1, is_greedy: i == best };
            let likelihood = |i| Likelihood {
                log_prob: score(i),
                num_tokens: 1,
                num_bytes: 1,
                unconditional_log_prob: 0.0,
            };
            let count_of_likelihoods = if self.has_likelihoods { count } else { 0 };
            Answer {
                candidates: (0..count).map(candidate).collect(),
                likelihoods: (0..count_of_likelihoods).map(likelihood).collect(),
                ..Answer::default()
            }
        };
        Ok(requests.iter().map(answer).collect())
    }

    fn loss(&self, _: &[&Example], _: &Dropout) -> Result<Tensor, ModelError> {
        unreachable!("nothing is learned here")
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

/// Has room for so many parts of a prompt; counts how often it is asked what one costs.
struct Limited {
    fake: Fake,
    limit: usize,
    asked: Cell<u32>,
}

impl LanguageModel for Limited {
    fn cost(&self, request: &Request) -> Result<Cost, ModelError> {
        self.asked.set(self.asked.get() + 1);
        let truncated = request.prompt.side_a.len().saturating_sub(self.limit);
        Ok(Cost { truncated, ..self.fake.cost(request)? })
    }

    fn answer(&self, requests: &[&Request]) -> Result<Vec<Answer>, ModelError> {
        self.fake.answer(requests)
    }

    fn loss(&self, examples: &[&Example], dropout: &Dropout) -> Result<Tensor, ModelError> {
        self.fake.loss(examples, dropout)
    }

    fn parameters(&self) -> &Parameters {
        self.fake.parameters()
    }
}

/// Keeps the lines.
#[derive(Default)]
struct Notes(RefCell<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64, _: &str) {}
    fn end(&self) {}
    fn note(&self, line: &str) {
        self.0.borrow_mut().push(line.into());
    }
}

fn settings() -> Settings {
    Settings {
        mode: Mode::ZeroShot,
        rule: Rule::Last,
        head: Some(Head::Cloze),
        patterns: Patterns::Recipe,
        multi_token: false,
        seeds: vec![1],
        split: Split::Val,
        limit: None,
        batch_size: None,
        num_fewshot: 0,
        overrides: Map::new(),
        data_dir: None,
        wsc_candidates: vec![],
        save_every_secs: 0.0,
        log_samples: false,
        dtype: DType::F32,
        device: Device::Cpu,
    }
}

fn evaluation(name: &str) -> Evaluation {
    let task = Task::find(name).expect("a known task");
    let data = TaskData::locate(&task, Some(Path::new("tests/data/superglue"))).expect("rows are there");
    Evaluation { name: name.into(), form: task.form(), task, data, split: Split::Val }
}

/// What scoring gave.
struct Outcome {
    scored: Result<Scored, EvalError>,
    lines: Vec<SampleLine>,
    notes: Vec<String>,
    units: usize,
}

impl Outcome {
    fn scored(&self) -> &Scored {
        self.scored.as_ref().expect("it was scored")
    }

    fn failed(&self) -> Vec<&str> {
        let failed = |line: &&SampleLine| line.prediction == Some(crate::metrics::Prediction::None);
        self.lines.iter().filter(failed).map(|line| line.guid.as_str()).collect()
    }
}

static NEVER: Stop = Stop::new();

/// Scores an evaluation into a journal in `folder`.
fn score(folder: &Path, model: Option<&Fake>, evaluation: &Evaluation, settings: &Settings) -> Outcome {
    let source = ModelSource::open_random("glm-tiny", None).expect("it is bundled");
    let mut journal = Journal::open(folder.join("journal.jsonl")).expect("an empty folder");
    let notes = Notes::default();
    let stop = model.and_then(|model| model.stop.as_ref()).map_or(&NEVER, |(stop, _)| stop);
    let mut run = Run {
        model: &source,
        settings,
        journal: &mut journal,
        folder: folder.into(),
        start: UtcTime::now(),
        finished: vec![],
        program_sha256: String::new(),
        peak_flops_per_sec: None,
        progress: &notes,
        stop,
    };
    let extent = Extent::measure(evaluation, settings.limit).expect("the rows are right");
    let model = model.map(|model| model as &dyn LanguageModel);
    let scored = run.score(model, evaluation, extent, &FewShot::default(), "run", "label");
    let keys = scored.as_ref().map(|scored| scored.windows.clone()).unwrap_or_default();
    let lines = keys.iter().flat_map(|key| lines(&mut journal, key).expect("it is there")).collect();
    Outcome { scored, lines, notes: notes.0.into_inner(), units: journal.len() }
}

fn fresh(model: &Fake, evaluation: &Evaluation, settings: &Settings) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    score(folder.path(), Some(model), evaluation, settings)
}

#[test]
fn whatever_the_batch_size_the_samples_are_the_same_and_in_order() {
    let evaluation = evaluation("multirc");
    let all = fresh(&Fake::new(), &evaluation, &settings());
    assert_eq!(all.lines.len(), 31);
    assert!(all.lines.iter().enumerate().all(|(i, line)| line.doc_id == i));
    for batch_size in [1, 7, 64] {
        let model = Fake::new();
        let some = fresh(&model, &evaluation, &Settings { batch_size: Some(batch_size), ..settings() });
        assert_eq!(model.largest_batch(), batch_size.min(31));
        assert_eq!((some.lines, &some.scored.unwrap().scores), (all.lines.clone(), &all.scored().scores));
    }
}

#[test]
fn a_sample_that_cannot_be_answered_is_wrong_and_the_others_are_not() {
    let evaluation = evaluation("copa");
    let right = fresh(&Fake::new(), &evaluation, &settings());
    let outcome = fresh(&Fake { fails: |id| id == "dev-3", ..Fake::new() }, &evaluation, &settings());
    assert_eq!(outcome.failed(), ["dev-3"]);
    assert_eq!((outcome.scored().totals.failed, right.scored().totals.failed), (1, 0));
    let n = |outcome: &Outcome| outcome.scored().scores["accuracy"].expect("it has labels").n;
    assert_eq!((n(&outcome), n(&right)), (8, 8), "the failed sample is counted");
    for (one, other) in outcome.lines.iter().zip(&right.lines).filter(|(line, _)| line.guid != "dev-3") {
        assert_eq!(one, other);
    }
    assert_eq!(
        outcome.notes,
        ["copa: 1 of 8 samples not scored, counted as wrong; the first: dev-3: it is Monday"]
    );
}

#[test]
fn a_score_that_is_not_a_number_is_a_failure() {
    let evaluation = evaluation("copa");
    let outcome = fresh(&Fake { is_nan: |id| id == "dev-0", ..Fake::new() }, &evaluation, &settings());
    assert_eq!(outcome.failed(), ["dev-0"]);
    assert_eq!(outcome.scored().totals.failed, 1);
    assert!(outcome.lines[0].filtered_resps.iter().all(|(score, _)| score.is_none()));
}

#[test]
fn a_model_that_answers_nothing_ends_the_run_and_leaves_nothing_in_the_journal() {
    let outcome = fresh(&Fake { fails: |_| true, ..Fake::new() }, &evaluation("copa"), &settings());
    assert_eq!(outcome.scored.expect_err("no answer").to_string(), "copa: the model failed");
    assert_eq!(outcome.units, 0);
}

#[test]
fn a_run_of_one_sample_that_cannot_be_answered_is_an_error_and_no_score_of_0() {
    let model = Fake { is_too_long: |_| true, ..Fake::new() };
    let settings = Settings { limit: Some(Limit::Count(1)), ..settings() };
    let outcome = fresh(&model, &evaluation("copa"), &settings);
    let message = outcome.scored.expect_err("nothing was scored").to_string();
    assert!(message.starts_with("copa: none of its 1 samples could be scored"), "{message}");
}

#[test]
fn a_limit_takes_whole_questions_from_the_front() {
    let evaluation = evaluation("multirc");
    let all = fresh(&Fake::new(), &evaluation, &settings());
    let groups = |lines: &[SampleLine]| {
        let mut groups: Vec<_> = lines.iter().map(|line| line.group.clone()).collect();
        groups.dedup();
        groups.len()
    };
    assert_eq!(groups(&all.lines), 9);
    for (limit, questions) in [("2", 2), ("100", 9), ("0.5", 5), ("0.001", 1)] {
        let limit = Some(limit.parse().expect("a limit"));
        let some = fresh(&Fake::new(), &evaluation, &Settings { limit, ..settings() });
        assert_eq!(groups(&some.lines), questions);
        assert_eq!(some.lines, all.lines[..some.lines.len()]);
        let next = all.lines.get(some.lines.len()).map(|line| &line.group);
        assert_ne!(next, some.lines.last().map(|line| &line.group), "the last question is whole");
    }
}

/// BoolQ with 300 rows, in a file of the folder.
fn many_rows(folder: &Path) -> Evaluation {
    let file = folder.join("val.jsonl");
    let row = |i: usize| {
        let passage = "a ".repeat(1 + i * 7 % 20);
        json!({"passage": passage, "question": "is it", "label": i.is_multiple_of(3), "idx": i}).to_string()
    };
    std::fs::write(&file, (0..300).map(row).collect::<Vec<_>>().join("\n")).expect("a temporary file");
    let task = Task::find("boolq").expect("a known task");
    let data = TaskData::from_files(&task, folder, BTreeMap::from([(Split::Val, file)]));
    Evaluation { name: "boolq".into(), form: task.form(), task, data, split: Split::Val }
}

/// The window of a sample of [`many_rows`].
fn window(id: &str) -> usize {
    id.rsplit('-').next().and_then(|number| number.parse::<usize>().ok()).expect("a number") / 128
}

#[test]
fn a_window_without_any_answer_leaves_the_other_ways_to_rank_their_scores() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let evaluation = many_rows(folder.path());
    let model = |is_too_long| Fake { is_too_long, has_likelihoods: true, ..Fake::new() };
    let all: &[(Ids, usize)] = &[
        (|_| false, 0),
        (|id| window(id) == 0, 128),
        (|id| window(id) == 1, 128),
        (|id| window(id) == 2, 44),
    ];
    for (number, (is_too_long, failed)) in all.iter().enumerate() {
        let journal = folder.path().join(number.to_string());
        let outcome = score(&journal, Some(&model(*is_too_long)), &evaluation, &settings());
        let scored = outcome.scored();
        assert_eq!((scored.normalized.len(), scored.totals.failed), (4, *failed));
        assert_eq!(scored.normalized["raw"], scored.scores, "the fake's scores are its log-probabilities");
    }
}

#[test]
fn a_large_split_is_scored_in_windows_and_read_back_without_a_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let evaluation = many_rows(folder.path());
    let model = Fake::new();
    let first = score(folder.path(), Some(&model), &evaluation, &settings());
    assert_eq!((first.scored().windows.len(), first.lines.len()), (3, 300));
    assert!(first.lines.iter().enumerate().all(|(i, line)| line.doc_id == i));
    assert!(model.largest_batch() > 1 && model.largest_batch() < 128, "batches are bounded by tokens");
    let again = score(folder.path(), None, &evaluation, &settings());
    assert_eq!(again.lines, first.lines);
    assert_eq!(again.scored().scores, first.scored().scores);
    let lacking = score(&folder.path().join("elsewhere"), None, &evaluation, &settings());
    assert!(lacking.scored.is_err(), "without a model there is only what the journal has");
}

#[test]
fn a_run_that_is_stopped_ends_after_the_batch_and_keeps_no_half_window() {
    static STOP: Stop = Stop::new();
    let model = Fake { stop: Some((&STOP, Cell::new(0))), ..Fake::new() };
    let outcome = fresh(&model, &evaluation("copa"), &Settings { batch_size: Some(1), ..settings() });
    assert!(matches!(outcome.scored, Err(EvalError::Interrupted)));
    assert_eq!((model.asked.borrow().len(), outcome.units), (2, 0));
}

#[test]
fn as_many_examples_as_fit_are_found_without_trying_each_number() {
    let evaluation = evaluation("copa");
    let few_shot = FewShot::draw(&evaluation, 1000, 1).expect("rows to draw from");
    let request = Request {
        id: "dev-0".into(),
        prompt: Prompt::default(),
        ask: Ask::Word { words: vec![] },
        max_tokens: 512,
    };
    let asked = |limit: usize| {
        let model = Limited { fake: Fake::new(), limit, asked: Cell::new(0) };
        let (longer, count) = few_shot.prepend(&model, request.clone(), "dev-0");
        assert_eq!(longer.prompt.side_a.len(), count);
        (count, model.asked.get())
    };
    let (all, _) = asked(usize::MAX);
    assert!(all > 8, "{all}");
    for limit in 0..=all {
        let (count, tries) = asked(limit);
        assert_eq!(count, limit);
        assert!(tries <= 3 + all.ilog2(), "{tries}");
    }
}

#[test]
fn an_example_of_wsc_is_solved_with_the_noun_phrase_and_not_with_a_wrong_candidate() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("candidates.jsonl");
    let row = json!({"text": "Al hid Bo's hat so he ran.", "pronoun": "he", "candidates": ["Al", "Bo"], "answer": "Bo"});
    std::fs::write(&file, format!("{row}\n")).expect("a temporary file");
    let mut evaluation = evaluation("wsc");
    let rows = BTreeMap::from([(Split::Train, file)]);
    evaluation.data = TaskData::from_files(&evaluation.task, folder.path(), rows);
    let request = Request {
        id: "dev-0".into(),
        prompt: Prompt::default(),
        ask: Ask::Word { words: vec![] },
        max_tokens: 512,
    };
    let few_shot = FewShot::draw(&evaluation, 1, 1).expect("one row");
    let (request, count) = few_shot.prepend(&Fake::new(), request, "dev-0");
    let Some(Part::Text { text, .. }) = request.prompt.side_a.first() else { panic!("an example") };
    assert!(count == 1 && text.contains("Answer: Bo"), "{text}");
}

#[test]
fn without_training_choices_end_open_but_exact_generation_must_end() {
    let ends = |task: &str, mode| {
        let model = Fake::new();
        fresh(&model, &evaluation(task), &Settings { mode, ..settings() });
        let asked = model.asked.borrow();
        match &asked[0][0].ask {
            Ask::Choice { end_of_piece, .. } => *end_of_piece,
            other => panic!("{other:?}"),
        }
    };
    assert!(!ends("copa", Mode::ZeroShot));
    assert!(ends("copa", Mode::Finetune));
    assert!(ends("wsc", Mode::ZeroShot), "WSC without candidates is read by exact generation");
}

#[test]
fn the_rule_says_which_epoch_counts() {
    let epoch = |accuracy: Option<f64>| {
        let estimate = accuracy.map(|value| Estimate { value, stderr: None, n: 4 });
        let scores = BTreeMap::from([("accuracy".to_string(), estimate)]);
        (None, Scored { scores, ..Scored::default() })
    };
    let extent = Extent::measure(&evaluation("copa"), None).expect("the rows are right");
    let chosen = |accuracies: &[Option<f64>], rule| {
        let epochs = accuracies.iter().map(|&accuracy| epoch(accuracy)).collect();
        SeedResult { seed: 1, epochs, extent, afterwards: vec![] }.chosen(rule, "accuracy")
    };
    let accuracies = [Some(0.25), Some(0.75), None, Some(0.75), Some(0.5)];
    assert_eq!(chosen(&accuracies, Rule::Best), 1, "the first of the best");
    assert_eq!(chosen(&accuracies, Rule::Last), 4);
    assert_eq!(chosen(&[None, None], Rule::Best), 1, "without a value the last, as the record says");
}
