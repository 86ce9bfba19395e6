//! A task: a checked task file, from which samples are made.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::adapters::{self, Adapter};
use super::check::{check, line_of};
use super::error::{TaskError, nearest};
use super::file::{
    Chance, ClassifierSpec, DataSpec, FieldSpec, FileSpec, GenerationSpec, Kind, Label, MetricSpec,
    PatternSpec, Source, TaskFile, TextToTextSpec,
};
use super::located::TaskData;
use super::recipe::Recipe;
use super::sample::{Reading, Sample, Split};
use super::stream::Samples;
use super::template::Template;
use super::{FILES, SUITES, mini, names};
use crate::data::RowFile;
use crate::data::locate::sha256_bytes;
use crate::request::{Ask, Decoding, Example, Loss};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// What the samples are asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// A blank to fill.
    Cloze,
    /// A classification head over text pairs.
    Classifier,
    /// A text that is answered with another.
    TextToText,
}

/// The form in which a task is asked.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct Form {
    /// The pattern's id.
    pub pattern: usize,
    /// A blank or a classification head.
    pub head: Head,
    /// Does the classification head read marked words, where the task has them?
    pub marks: bool,
    /// Does a text to be answered with another begin with the task's prefix, where the task has one?
    pub prefix: bool,
    /// Are one-token words asked as texts, with the end of the piece?
    pub multi_token: bool,
    /// Most tokens of a sequence, answer included.
    pub max_tokens: usize,
    /// How examples are learned from.
    pub loss: Loss,
    /// A choice's log-probability is divided by its number of tokens to this power.
    pub length_penalty: f64,
    /// How texts are searched, where the task is answered with texts.
    pub decoding: Option<Decoding>,
    /// Tokens that each window of a long text scores, where its probability is asked.
    pub stride: usize,
    /// Does what is read before a candidate or a window's scored tokens see itself in both directions, in models that can?
    pub bidirectional: bool,
}

/// A task that can be run.
#[derive(Clone)]
pub struct Task {
    /// Name on the command line and in records.
    pub name: String,
    /// Name in tables.
    pub title: String,
    /// The suite it belongs to.
    pub suite: Option<String>,
    /// The task with whose model it is scored, for a diagnostic.
    pub diagnostic_of: Option<String>,
    /// Raised whenever a score could move.
    pub version: u32,
    /// What is asked, in a sentence.
    pub description: String,
    /// What kind of question it is.
    pub kind: Kind,
    /// The labels' names, in their official order.
    pub labels: Vec<String>,
    /// The labels as the official files spell them.
    pub label_values: Vec<Label>,
    /// Where the rows are and how they are read.
    pub data: DataSpec,
    /// The patterns.
    pub patterns: Vec<PatternSpec>,
    /// The inputs of a classification head, if there is such a form.
    pub classifier: Option<ClassifierSpec>,
    /// How a text-to-text model is asked, if there is such a form.
    pub text_to_text: Option<TextToTextSpec>,
    /// What is written, and what it is scored against, where texts are answered.
    pub generation: Option<GenerationSpec>,
    /// The metrics; the first selects.
    pub metrics: Vec<MetricSpec>,
    /// What the first metric is without any skill.
    pub chance: Chance,
    /// The published fine-tuning.
    pub recipe: Recipe,
    /// Other published recipes, by what is added to the task's name.
    pub variants: BTreeMap<String, toml::Table>,
    /// Where the task and this form of it come from.
    pub source: Source,
    /// SHA-256 of the task file.
    pub sha256: String,
    /// The task file, or its name inside the binary.
    pub file: String,
    pub(super) fields: BTreeMap<String, FieldSpec>,
    pub(super) choices: Vec<Template>,
    adapter: Option<&'static dyn Adapter>,
    /// The rows, for a task of `superglue-mini`.
    pub(super) mini: Option<&'static crate::data::mini::Set>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("name", &self.name).field("file", &self.file).finish_non_exhaustive()
    }
}

impl Task {
    /// A known task by its name (in any spelling of case, `-` and `_`), or one of its variants (`gigaword_paper`), or a
    /// task file by its path.
    pub fn find(name_or_path: &str) -> Result<Self, TaskError> {
        let plain = |name: &str| name.to_lowercase().replace('-', "_");
        if let Some((_, path, text)) = FILES.iter().find(|(name, ..)| *name == plain(name_or_path)) {
            return Self::parse(text, path);
        }
        if let Some(task) = mini::find(&plain(name_or_path)) {
            return task;
        }
        for (base, path, text) in FILES {
            let rest = plain(name_or_path).strip_prefix(base).map(str::to_owned);
            if let Some(variant) = rest.as_deref().and_then(|rest| rest.strip_prefix('_'))
                && let Some(task) = Self::parse(text, path)?.variant(variant)
            {
                return Ok(task);
            }
        }
        let path = Path::new(name_or_path);
        if path.extension().is_some_and(|extension| extension == "toml") || path.is_file() {
            return Self::open(path);
        }
        if let Some((name, tasks)) = SUITES.iter().find(|(name, _)| name.eq_ignore_ascii_case(name_or_path)) {
            return Err(TaskError::IsSuite { name: (*name).to_owned(), tasks });
        }
        let near =
            nearest(name_or_path, names().chain(mini::names()).chain(SUITES.iter().map(|(name, _)| *name)));
        Err(TaskError::UnknownTask { name: name_or_path.to_owned(), near })
    }

    /// The task with another of its published recipes.
    fn variant(self, name: &str) -> Option<Self> {
        let recipe = self.recipe.with(self.variants.get(name)?).expect("the task file was checked");
        Some(Self {
            name: format!("{}_{name}", self.name),
            title: format!("{} ({name})", self.title),
            recipe,
            variants: BTreeMap::new(),
            ..self
        })
    }

    /// Opens a task file.
    pub fn open(path: &Path) -> Result<Self, TaskError> {
        let bytes = std::fs::read(path)
            .map_err(|source| TaskError::Unreadable { file: path.to_path_buf(), source })?;
        let file = path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.split(|&byte| byte == b'\n').count();
            TaskError::NotUtf8 { file: file.clone(), line }
        })?;
        Self::parse(&text, &file)
    }

    /// Reads and checks a task file; `file` names it in errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, TaskError> {
        let parsed = TaskFile::parse(text, file)?;
        check(&parsed).map_err(|problem| TaskError::Malformed {
            file: file.to_owned(),
            line: line_of(text, &problem.place),
            what: problem.what,
            near: problem.near,
        })?;
        let adapter = parsed.data.adapter.as_deref().and_then(|name| adapters::find(name).ok());
        Ok(Self {
            name: parsed.name,
            title: parsed.title,
            suite: parsed.suite,
            diagnostic_of: parsed.diagnostic_of,
            version: parsed.version,
            description: parsed.description,
            kind: parsed.kind,
            labels: parsed.labels.iter().map(ToString::to_string).collect(),
            label_values: parsed.labels,
            data: parsed.data,
            patterns: parsed.patterns,
            classifier: parsed.classifier,
            text_to_text: parsed.text_to_text,
            generation: parsed.generation,
            metrics: parsed.metrics,
            chance: parsed.chance,
            recipe: parsed.recipe,
            variants: parsed.variants,
            source: parsed.source,
            sha256: sha256_bytes(text.as_bytes()),
            file: file.to_owned(),
            fields: parsed.fields,
            choices: parsed.choices,
            adapter,
            mini: None,
        })
    }

    /// The published form: the recipe's pattern, length and loss, as a cloze.
    pub fn form(&self) -> Form {
        Form {
            pattern: self.recipe.pattern,
            head: Head::Cloze,
            marks: false,
            prefix: true,
            multi_token: false,
            max_tokens: self.recipe.max_tokens,
            loss: self.recipe.loss,
            length_penalty: self.recipe.length_penalty,
            decoding: self.decoding(&self.recipe),
            stride: self.recipe.stride(),
            bidirectional: self.recipe.bidirectional(),
        }
    }

    /// Are there rows to learn it from, its own or those of the task that it diagnoses?
    pub fn can_be_learned(&self) -> bool {
        self.file_spec(Split::Train).is_some() || self.diagnostic_of.is_some()
    }

    /// Is it answered with texts?
    pub fn is_written(&self) -> bool {
        self.kind == Kind::Generate
    }

    /// How texts are searched by a recipe, where the task is answered with texts.
    pub fn decoding(&self, recipe: &Recipe) -> Option<Decoding> {
        (self.kind == Kind::Generate).then(|| recipe.decoding())
    }

    /// A text in the form in which it is compared.
    pub fn scored_text(&self, text: String) -> String {
        let changes = self.generation.iter().flat_map(|spec| &spec.scored_as);
        changes.fold(text, |text, change| change.apply(&text))
    }

    /// A pattern by its id.
    pub fn pattern(&self, id: usize) -> Result<&PatternSpec, TaskError> {
        self.patterns.iter().find(|pattern| pattern.id == id).ok_or_else(|| TaskError::UnknownPattern {
            task: self.name.clone(),
            pattern: id,
            known: self.patterns.iter().map(|pattern| pattern.id.to_string()).collect(),
        })
    }

    /// The words of a pattern, in the order of the labels; none for questions with choices.
    pub fn words(&self, pattern: &PatternSpec) -> Vec<String> {
        self.labels.iter().filter_map(|label| pattern.words.get(label).cloned()).collect()
    }

    /// Has one of a pattern's words more than one token, so that it must be asked with `multi_token`?
    pub fn needs_multi_token(
        &self,
        pattern: &PatternSpec,
        tokenizer: &Tokenizer,
    ) -> Result<bool, TokenizerError> {
        for word in pattern.words.values() {
            if tokenizer.encode(word)?.len() != 1 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The label as the official files spell it; null where there is none.
    pub fn official_label(&self, label: Option<usize>) -> Value {
        match label.and_then(|label| self.label_values.get(label)) {
            Some(Label::Text(text)) => Value::from(text.as_str()),
            Some(Label::Number(number)) => Value::from(*number),
            None => Value::Null,
        }
    }

    /// The task file's entry for a split.
    pub fn file_spec(&self, split: Split) -> Option<&FileSpec> {
        let files = &self.data.files;
        match split {
            Split::Train => files.train.as_ref(),
            Split::Val => files.val.as_ref(),
            Split::Test => files.test.as_ref(),
        }
    }

    /// The samples of a split, in the official order after the official expansion, as a stream.
    ///
    /// For training that means: `COPA`'s swapped copies, `ReCoRD`'s one sample a right answer, only WSC's true rows.
    pub fn samples(&self, data: &TaskData, split: Split, form: &Form) -> Result<Samples<'_>, TaskError> {
        let mut files = vec![data.rows(split)?.clone()];
        if split == Split::Train {
            files.extend(data.extra_train.iter().cloned().map(RowFile::OnDisk));
        }
        self.pattern(form.pattern)?;
        let missing = match form.head {
            Head::Classifier if self.classifier.is_none() => {
                Some("the task file has no [classifier], so there is no form for a classification head")
            }
            Head::TextToText if self.text_to_text.is_none() => {
                Some("the task file has no [text_to_text], so there is no form for a text-to-text model")
            }
            _ => None,
        };
        if let Some(what) = missing {
            return Err(TaskError::Unsupported { task: self.name.clone(), what: what.to_owned() });
        }
        Samples::open(self, files, split, form.clone())
    }

    /// How often training goes over the rows: twice for `COPA`, the second time with its choices swapped.
    pub fn training_passes(&self) -> usize {
        self.adapter.map_or(1, |adapter| adapter.passes(Split::Train))
    }

    /// A sample as an example, learned by a loss of the recipe; what has no wrong candidates has one loss only.
    pub fn example(&self, sample: Sample, loss: Loss) -> Result<Example, TaskError> {
        if sample.is_written() {
            let label_smoothing = self.recipe.label_smoothing.unwrap_or(0.0);
            let example = Example::of_candidates(sample.request, 0, Loss::Generative);
            return Ok(Example { texts: sample.targets, label_smoothing, ..example });
        }
        let label = sample.label.ok_or_else(|| TaskError::Unlabelled { place: sample.guid.clone() })?;
        // WSC learns from true rows only, where the noun phrase, the first candidate, is right.
        let label = if sample.reading == Reading::Best { label } else { 0 };
        let loss = match (&sample.request.ask, sample.reading) {
            (Ask::Classify { .. }, _) => Loss::CrossEntropy, // the published losses are those of the cloze
            (_, Reading::Greedy | Reading::Continuation) => Loss::Generative,
            (_, _) => loss,
        };
        Ok(Example::of_candidates(sample.request, label, loss))
    }

    /// Its names in recipes, the more special last: its suite's and its own; those of the task that it is made after come
    /// first.
    pub fn recipe_names(&self) -> Vec<&str> {
        let after = self.mini.map_or([None; 2], |set| [Some("superglue"), Some(set.task)]);
        let own = [self.suite.as_deref(), Some(self.name.as_str())];
        after.into_iter().chain(own).flatten().collect()
    }

    /// The adapter, if the task has one.
    pub(super) fn adapter(&self) -> Option<&'static dyn Adapter> {
        self.adapter
    }

    /// Outputs and marked spans of a classification head in this form; `None` in another form.
    pub fn head_shape(&self, form: &Form) -> Option<(usize, usize)> {
        let spec = self.classifier.as_ref().filter(|_| form.head == Head::Classifier)?;
        let spans = spec.marked.as_ref().filter(|_| form.marks).map_or(0, |marked| marked.spans.len());
        Some((if spec.for_each_candidate { 1 } else { self.labels.len() }, spans))
    }
}
