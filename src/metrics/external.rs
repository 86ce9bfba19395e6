//! Predictions made elsewhere: lines of answers, joined with the right ones into outcomes.
//!
//! A line is `{"id" | "guid" | "idx": .., "prediction" | "label": ..}`, or one of the `SuperGLUE`
//! leaderboard's: the same with `idx` and `label`, and for `MultiRC` one line a passage with its questions
//! and answers nested. A `null` prediction is a failed sample. References are `{"id", "label"}` or
//! `{"id", "reference": .. | "references": [..]}`, with an optional `group`.

use std::collections::{BTreeMap, btree_map};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Outcome, Prediction};

/// One answer: given, or right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// Identifier of the sample.
    pub id: String,
    /// Other names under which a prediction may call the sample.
    pub aliases: Vec<String>,
    /// What it belongs to, where the file says so.
    pub group: Option<String>,
    /// A label or a text, as written.
    pub answer: Value,
    /// Does the answer stand under `prediction`?
    pub is_prediction: bool,
    /// What stands under `label` beside a prediction.
    pub label: Option<Value>,
    /// Right texts; empty where the answer is a label.
    pub references: Vec<String>,
    /// Line of the file, counted from 1.
    pub line: usize,
}

/// Answers with the file they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// The file, for messages.
    pub path: PathBuf,
    all: Vec<Given>,
    by_id: BTreeMap<String, usize>,
}

/// Answers that could not be read or joined.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum ExternalError {
    /// A line lacks something.
    #[error("{}:{line}: the line has no {lacks}", path.display())]
    Lacks { path: PathBuf, line: usize, lacks: &'static str },
    /// A sample with two answers.
    #[error("{}:{line}: `{id}` has an answer in line {first} already", path.display())]
    Duplicate { path: PathBuf, line: usize, id: String, first: usize },
    /// A label that the task doesn't have.
    #[error("{}:{line}: `{id}` has the label {found}; the task has {}", path.display(), known.join(", "))]
    Label { path: PathBuf, line: usize, id: String, found: String, known: Vec<String> },
    /// An answer to something that isn't asked.
    #[error("{}:{line}: `{id}` is none of the {samples} samples, whose ids are like `{example}`", path.display())]
    Extra { path: PathBuf, line: usize, id: String, samples: usize, example: String },
    /// An id that several samples have.
    #[error("{}:{line}: `{id}` may be `{first}` or `{second}`; use such ids", path.display())]
    Ambiguous { path: PathBuf, line: usize, id: String, first: String, second: String },
    /// A sample without an answer. It is no failed one: that has the prediction null.
    #[error("{}: {missing} of {samples} samples have no prediction, the first is `{first}`", path.display())]
    Missing { path: PathBuf, missing: usize, samples: usize, first: String },
}

impl Answers {
    /// No answers yet; the file is for messages.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), all: Vec::new(), by_id: BTreeMap::new() }
    }

    /// Adds the answers of one line: of several samples where it is the leaderboard's for a `MultiRC` passage.
    ///
    /// # Errors
    /// If the line lacks an id or an answer, or gives a sample a second one.
    pub fn push_line(&mut self, line: usize, row: &Map<String, Value>) -> Result<(), ExternalError> {
        let given = parse_row(row, line);
        let lacks = |lacks| ExternalError::Lacks { path: self.path.clone(), line, lacks };
        given.map_err(lacks)?.into_iter().try_for_each(|given| self.push(given))
    }

    /// Adds one answer.
    ///
    /// # Errors
    /// If its sample has one already.
    pub fn push(&mut self, given: Given) -> Result<(), ExternalError> {
        match self.by_id.entry(given.id.clone()) {
            btree_map::Entry::Occupied(first) => {
                let first = self.all[*first.get()].line;
                let Given { id, line, .. } = given;
                Err(ExternalError::Duplicate { path: self.path.clone(), line, id, first })
            }
            btree_map::Entry::Vacant(free) => {
                free.insert(self.all.len());
                self.all.push(given);
                Ok(())
            }
        }
    }

    /// The same answers with their texts changed, right ones and given ones alike.
    #[must_use]
    pub fn map_texts(mut self, change: impl Fn(&str) -> String) -> Self {
        for given in &mut self.all {
            if let Value::String(text) = &mut given.answer {
                *text = change(text);
            }
            given.references.iter_mut().for_each(|text| *text = change(text));
        }
        self
    }

    /// The answers of a file of references: where a line has a prediction, too, its label is the right one.
    #[must_use]
    pub fn right_ones(mut self) -> Self {
        for given in &mut self.all {
            if let Some(label) = given.label.take() {
                (given.answer, given.is_prediction) = (label, false);
            }
        }
        self
    }

    /// The answers, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Given> {
        self.all.iter()
    }

    /// Each sample by every name it goes by, where an id has precedence over other names.
    fn by_any_name(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut names: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, given) in self.all.iter().enumerate() {
            for alias in given.aliases.iter().filter(|alias| !self.by_id.contains_key(*alias)) {
                names.entry(alias).or_default().push(i);
            }
            names.entry(&given.id).or_default().push(i);
        }
        names
    }
}

/// The answers of one line, or what it lacks.
fn parse_row(row: &Map<String, Value>, line: usize) -> Result<Vec<Given>, &'static str> {
    let questions = row.get("passage").and_then(|passage| passage.get("questions"));
    if let Some(questions) = questions.and_then(Value::as_array) {
        return parse_passage(row, questions, line);
    }
    let id = ["id", "guid", "idx"].iter().find_map(|key| row.get(*key)).ok_or("`id`, `guid` or `idx`")?;
    let (id, mut group) = parse_id(id).ok_or("`id`, `guid` or `idx` that is a text or a number")?;
    group = row.get("group").and_then(plain).or(group);
    let right = ["references", "reference"].iter().find_map(|key| row.get(*key));
    let references: Option<Vec<String>> = match right {
        None => Some(Vec::new()),
        Some(Value::Array(texts)) => texts.iter().map(plain).collect(),
        Some(text) => plain(text).map(|text| vec![text]),
    };
    let references = references.filter(|texts| right.is_none() || !texts.is_empty());
    let references = references.ok_or("`reference` that is a text or a list of texts, at least one")?;
    let answer = ["prediction", "label"].iter().find_map(|key| row.get(*key)).cloned();
    let answer = answer.or(right.map(|_| Value::Null));
    let answer = answer.ok_or("`prediction`, `label`, `reference` or `references`")?;
    let is_prediction = row.contains_key("prediction") && right.is_none();
    let label = row.get("label").filter(|_| is_prediction).cloned();
    Ok(vec![Given { id, aliases: Vec::new(), group, answer, is_prediction, label, references, line }])
}

/// A line of `MultiRC`: a passage, its questions, their answers.
fn parse_passage(
    row: &Map<String, Value>,
    questions: &[Value],
    line: usize,
) -> Result<Vec<Given>, &'static str> {
    let lacks = "`idx` of a passage, question or answer";
    let index = |value: &Value| value.get("idx").and_then(plain).ok_or(lacks);
    let passage = row.get("idx").and_then(plain).ok_or(lacks)?;
    let mut all = Vec::new();
    for question in questions {
        let group = format!("p{passage}-q{}", index(question)?);
        for answer in question.get("answers").and_then(Value::as_array).ok_or("`answers` of a question")? {
            let id = format!("{group}-a{}", index(answer)?);
            let label = answer.get("label").cloned().ok_or("`label` of an answer")?;
            all.push(Given { id, group: Some(group.clone()), answer: label, line, ..Given::default() });
        }
    }
    Ok(all)
}

/// An id, and the group it implies: some copies of the data spell out `MultiRC`'s and `ReCoRD`'s as objects.
fn parse_id(id: &Value) -> Option<(String, Option<String>)> {
    let part = |key| id.get(key).and_then(plain);
    match (part("paragraph"), part("question"), part("answer"), part("passage"), part("query")) {
        (Some(p), Some(q), Some(a), ..) => Some((format!("p{p}-q{q}-a{a}"), Some(format!("p{p}-q{q}")))),
        (.., Some(p), Some(q)) => Some((format!("p{p}-q{q}"), None)),
        _ => plain(id).map(|id| (id, None)),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Index of a label as files spell it: by its name in any case, as a truth value, or by its index.
fn label_index(answer: &Value, labels: &[String]) -> Option<usize> {
    let named = |name: &str| labels.iter().position(|label| label.eq_ignore_ascii_case(name));
    match answer {
        Value::Bool(truth) => named(if *truth { "true" } else { "false" }),
        Value::String(name) => named(name.trim()),
        Value::Number(number) => named(&number.to_string())
            .or_else(|| number.as_u64().map(|i| i as usize).filter(|&i| i < labels.len())),
        _ => None,
    }
}

/// Joins predictions with the right answers, in the order of these, by their ids.
///
/// `labels` are the task's, in its order; none for a task scored against texts.
///
/// # Errors
/// If the two are not about the same samples, or a label isn't one of the task's.
pub fn join(
    predictions: &Answers,
    references: &Answers,
    labels: &[String],
) -> Result<Vec<Outcome>, ExternalError> {
    let given = meet(predictions, references)?;
    references
        .iter()
        .zip(given)
        .map(|(reference, given)| {
            let prediction = prediction(given, labels).map_err(|wrong| wrong.in_file(predictions, given))?;
            if reference.is_prediction {
                return Err(Wrong::Reference.in_file(references, reference));
            }
            let label = match &reference.answer {
                Value::Null => None,
                _ if labels.is_empty() => None,
                _ => Some(label(reference, labels).map_err(|wrong| wrong.in_file(references, reference))?),
            };
            let mut texts = reference.references.clone();
            if labels.is_empty() && texts.is_empty() {
                // One right text, under `label`. A task's own data may have none.
                texts.extend(plain(&reference.answer));
                if texts.is_empty() && reference.line > 0 {
                    return Err(Wrong::NoText.in_file(references, reference));
                }
            }
            let group = reference.group.clone().or_else(|| given.group.clone());
            let id = reference.id.clone();
            Ok(Outcome { id, group, prediction, label, references: texts, log_prob: None })
        })
        .collect()
}

/// The prediction for each of the references.
fn meet<'a>(predictions: &'a Answers, references: &Answers) -> Result<Vec<&'a Given>, ExternalError> {
    let names = references.by_any_name();
    let (samples, path) = (references.all.len(), || predictions.path.clone());
    let mut met: Vec<Option<&Given>> = vec![None; samples];
    for given in predictions.iter() {
        let (id, line) = (given.id.clone(), given.line);
        let at = match names.get(given.id.as_str()).map(Vec::as_slice) {
            Some([one]) => *one,
            Some([first, second, ..]) => {
                let [first, second] = [first, second].map(|&i| references.all[i].id.clone());
                return Err(ExternalError::Ambiguous { path: path(), line, id, first, second });
            }
            _ => {
                let example = references.all.first().map(|given| given.id.clone()).unwrap_or_default();
                return Err(ExternalError::Extra { path: path(), line, id, samples, example });
            }
        };
        if let Some(first) = met[at].replace(given) {
            return Err(ExternalError::Duplicate { path: path(), line, id, first: first.line });
        }
    }
    let missing = met.iter().filter(|given| given.is_none()).count();
    met.iter().copied().collect::<Option<Vec<_>>>().ok_or_else(|| {
        let first = met.iter().zip(references.iter()).find(|(given, _)| given.is_none());
        let first = first.map(|(_, reference)| reference.id.clone()).unwrap_or_default();
        ExternalError::Missing { path: path(), missing, samples, first }
    })
}

/// What an answer should have been.
enum Wrong<'a> {
    Text,
    NoText,
    Reference,
    Label(&'a [String]),
}

impl Wrong<'_> {
    fn in_file(self, file: &Answers, given: &Given) -> ExternalError {
        let (path, line) = (file.path.clone(), given.line);
        match self {
            Self::Text => ExternalError::Lacks { path, line, lacks: "`prediction` that is a text" },
            Self::NoText => ExternalError::Lacks { path, line, lacks: "right text: it is null" },
            Self::Reference => ExternalError::Lacks {
                path,
                line,
                lacks: "right answer: `reference`, `references` or `label`",
            },
            Self::Label(labels) => {
                let (found, known) = (given.answer.to_string(), labels.to_vec());
                ExternalError::Label { path, line, id: given.id.clone(), found, known }
            }
        }
    }
}

fn prediction<'a>(given: &Given, labels: &'a [String]) -> Result<Prediction, Wrong<'a>> {
    match &given.answer {
        Value::Null if !given.references.is_empty() => Err(Wrong::Text), // a line of references
        Value::Null => Ok(Prediction::None),
        answer if labels.is_empty() => plain(answer).map(Prediction::Text).ok_or(Wrong::Text),
        _ => label(given, labels).map(Prediction::Label),
    }
}

fn label<'a>(given: &Given, labels: &'a [String]) -> Result<usize, Wrong<'a>> {
    label_index(&given.answer, labels).ok_or(Wrong::Label(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Answers, String> {
        let mut answers = Answers::new(Path::new("answers.jsonl"));
        for (i, row) in text.lines().enumerate().filter(|(_, row)| !row.is_empty()) {
            let row: Map<String, Value> = serde_json::from_str(row).unwrap();
            answers.push_line(i + 1, &row).map_err(|error| error.to_string())?;
        }
        Ok(answers)
    }

    fn file(text: &str) -> Answers {
        parse(text).unwrap()
    }

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn joined(predictions: &str, references: &str, names: &[&str]) -> Result<Vec<Outcome>, String> {
        join(&file(predictions), &file(references), &labels(names)).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_understood_however_a_file_spells_them() {
        let known = labels(&["false", "true"]);
        for (spelling, index) in
            [("true", 1), ("false", 0), ("\"True\"", 1), ("\"FALSE\"", 0), ("0", 0), ("1", 1)]
        {
            let value = serde_json::from_str(spelling).unwrap();
            assert_eq!(label_index(&value, &known), Some(index), "{spelling}");
        }
        assert_eq!(label_index(&serde_json::json!(2), &known), None);
    }

    #[test]
    fn predictions_meet_their_references_by_id_in_any_order() {
        let predictions = "{\"guid\":\"b\",\"prediction\":\"yes\"}\n{\"guid\":\"a\",\"prediction\":null}\n";
        let references =
            "{\"id\":\"a\",\"label\":\"no\"}\n\n{\"id\":\"b\",\"label\":\"yes\",\"group\":\"g\"}\n";
        let outcomes = joined(predictions, references, &["no", "yes"]).unwrap();
        assert_eq!(outcomes[0].prediction, Prediction::None);
        assert_eq!((outcomes[1].prediction.clone(), outcomes[1].label), (Prediction::Label(1), Some(1)));
        assert_eq!(outcomes[1].group.as_deref(), Some("g"));
    }

    #[test]
    fn a_leaderboard_passage_becomes_one_answer_each_grouped_by_question() {
        let line = r#"{"idx":7,"passage":{"questions":[{"idx":2,"answers":[{"idx":4,"label":1},{"idx":5,"label":0}]}]}}"#;
        let spelt = "{\"idx\":{\"paragraph\":7,\"question\":2,\"answer\":4},\"label\":1}\n\
                     {\"idx\":{\"paragraph\":7,\"question\":2,\"answer\":5},\"label\":1}";
        let outcomes = joined(line, spelt, &["0", "1"]).unwrap();
        assert_eq!(outcomes[1].id, "p7-q2-a5");
        assert_eq!(outcomes[1].group.as_deref(), Some("p7-q2"));
        assert_eq!((outcomes[1].prediction.clone(), outcomes[1].label), (Prediction::Label(0), Some(1)));
    }

    #[test]
    fn texts_are_joined_with_their_references() {
        let references = "{\"idx\":0,\"references\":[\"x\",\"y\"]}";
        let outcomes = joined("{\"idx\":0,\"label\":\"x\"}", references, &[]).unwrap();
        assert_eq!(outcomes[0].prediction, Prediction::Text("x".into()));
        assert_eq!(outcomes[0].references, ["x", "y"]);
    }

    #[test]
    fn files_that_change_places_are_told() {
        let (prediction, reference) = (r#"{"id":1,"prediction":"x"}"#, r#"{"id":1,"reference":"y"}"#);
        let error = |predictions, references| joined(predictions, references, &[]).unwrap_err();
        let expected = "answers.jsonl:1: the line has no `prediction` that is a text";
        assert_eq!(error(reference, prediction), expected);
        assert_eq!(error(reference, reference), expected);
        assert_eq!(
            error(prediction, prediction),
            "answers.jsonl:1: the line has no right answer: `reference`, `references` or `label`"
        );
        assert!(joined(prediction, reference, &[]).is_ok());
        let failed = joined(r#"{"id":1,"prediction":null}"#, reference, &[]).unwrap();
        assert_eq!(failed[0].prediction, Prediction::None);
    }

    #[test]
    fn files_about_different_samples_name_the_first_that_differs() {
        let (one, two) = ("{\"id\":1,\"label\":0}", "{\"id\":1,\"label\":0}\n{\"id\":2,\"label\":0}");
        let error = joined(one, two, &["0"]).unwrap_err();
        assert_eq!(error, "answers.jsonl: 1 of 2 samples have no prediction, the first is `2`");
        let error = joined(two, one, &["0"]).unwrap_err();
        assert_eq!(error, "answers.jsonl:2: `2` is none of the 1 samples, whose ids are like `1`");
    }

    #[test]
    fn a_sample_is_known_by_each_of_its_names_and_answered_once() {
        let named = |id: &str, aliases: &[&str]| Given {
            id: id.into(),
            aliases: labels(aliases),
            answer: Value::from(0),
            ..Given::default()
        };
        let mut references = Answers::new(Path::new("val.jsonl"));
        references.push(named("dev-p3-q7", &["p3-q7", "7"])).unwrap();
        references.push(named("dev-p4-q8", &["p4-q8", "8", "9"])).unwrap();
        references.push(named("dev-p4-q9", &["p4-q9", "9"])).unwrap();
        let join = |predictions: &str| join(&file(predictions), &references, &labels(&["0"]));
        let (spelt, plain) = (r#"{"idx":{"passage":3,"query":7},"label":0}"#, r#"{"idx":"8","label":0}"#);
        let third = r#"{"guid":"dev-p4-q9","label":0}"#;
        let outcomes = join(&format!("{third}\n{spelt}\n{plain}")).unwrap();
        let ids: Vec<&str> = outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
        assert_eq!(ids, ["dev-p3-q7", "dev-p4-q8", "dev-p4-q9"]);
        let error = |predictions: String| join(&predictions).unwrap_err().to_string();
        assert_eq!(
            error(format!("{spelt}\n{{\"idx\":7,\"label\":0}}")),
            "answers.jsonl:2: `7` has an answer in line 1 already"
        );
        assert_eq!(
            error(r#"{"idx":9,"label":0}"#.into()),
            "answers.jsonl:1: `9` may be `dev-p4-q8` or `dev-p4-q9`; use such ids"
        );
    }

    #[test]
    fn a_label_the_task_does_not_have_is_an_error_that_lists_those_it_has() {
        let error = joined("{\"id\":1,\"label\":\"maybe\"}", "{\"id\":1,\"label\":\"no\"}", &["no", "yes"])
            .unwrap_err();
        assert_eq!(error, "answers.jsonl:1: `1` has the label \"maybe\"; the task has no, yes");
    }

    #[test]
    fn bad_lines_are_named() {
        let error = |text| parse(text).unwrap_err();
        assert_eq!(
            error("{\"id\":1,\"label\":0}\n{\"id\":1,\"label\":1}"),
            "answers.jsonl:2: `1` has an answer in line 1 already"
        );
        assert_eq!(error("{\"label\":1}"), "answers.jsonl:1: the line has no `id`, `guid` or `idx`");
        assert_eq!(
            error("\n{\"id\":1}"),
            "answers.jsonl:2: the line has no `prediction`, `label`, `reference` or `references`"
        );
        assert_eq!(
            error("{\"id\":1,\"references\":[]}"),
            "answers.jsonl:1: the line has no `reference` that is a text or a list of texts, at least one"
        );
    }
}
