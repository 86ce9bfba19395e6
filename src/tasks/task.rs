//! A task: a checked task file, from which samples are made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::adapters::{self, Adapter, Item, place};
use super::check::{CANDIDATE, check, line_of};
use super::error::{TaskError, nearest};
use super::file::{
    Chance, ClassifierSpec, DataSpec, FieldSpec, FileSpec, GenerationSpec, Kind, Label, MarkedSpec,
    MetricSpec, PartSpec, PatternSpec, Recipe, Side, Source, SpanSpec, TaskFile, TextToTextSpec,
};
use super::located::TaskData;
use super::sample::{Reading, Sample, Split, TextSize};
use super::stream::Samples;
use super::template::Template;
use super::{FILES, SUITES, mini, names};
use crate::data::RowFile;
use crate::data::locate::sha256_bytes;
use crate::request::{Ask, Decoding, Example, Loss, Part, Prompt, Request, Span};
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
    /// The stride of a long text's windows, and whether they are read in both directions, where its probability is asked.
    pub windows: (usize, bool),
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
    fields: BTreeMap<String, FieldSpec>,
    choices: Vec<Template>,
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
            windows: self.recipe.windows(),
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

    /// The training samples as examples with their answers.
    pub fn training_examples(
        &self,
        data: &TaskData,
        form: &Form,
    ) -> Result<impl Iterator<Item = Result<Example, TaskError>> + use<'_>, TaskError> {
        let samples = self.samples(data, Split::Train, form)?;
        let loss = form.loss;
        Ok(samples.map(move |sample| sample.and_then(|sample| self.example(sample, loss))))
    }

    /// A sample as an example, learned by a loss of the recipe; what has no wrong candidates has one loss only.
    pub fn example(&self, sample: Sample, loss: Loss) -> Result<Example, TaskError> {
        if sample.is_written() {
            let label_smoothing = self.recipe.label_smoothing.unwrap_or(0.0);
            let example = Example::of_candidates(sample.request, 0, Loss::Generative);
            return Ok(Example { texts: sample.targets, label_smoothing, ..example });
        }
        let label = sample
            .label
            .ok_or_else(|| TaskError::Unlabelled { task: self.name.clone(), guid: sample.guid.clone() })?;
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

    /// Turns an item into a sample.
    pub(super) fn sample(&self, item: Item, doc_id: usize, form: &Form) -> Result<Sample, TaskError> {
        let doc = item.row.object.clone();
        // Other forms may answer with labels, although the cloze has candidates (WSC by a head, COPA text to text).
        let answers_itself = match form.head {
            Head::Cloze => true,
            Head::Classifier => self.classifier.as_ref().is_some_and(|spec| spec.for_each_candidate),
            Head::TextToText => self.text_to_text.as_ref().is_some_and(|spec| spec.words.is_empty()),
        };
        let has_own = self.kind == Kind::Choice && answers_itself;
        let candidates = if has_own { self.candidates(&item)? } else { Vec::new() };
        let mut request = Request {
            id: if item.copy == 0 { item.guid.clone() } else { format!("{}/{}", item.guid, item.copy) },
            prompt: match form.head {
                Head::Cloze => {
                    let PatternSpec { side_a, side_b, .. } = self.pattern(form.pattern)?;
                    Prompt { side_a: self.parts(side_a, &item)?, side_b: self.parts(side_b, &item)? }
                }
                Head::Classifier => Prompt::default(),
                Head::TextToText => {
                    let TextToTextSpec { prefix, input, .. } = self.text_to_text();
                    let prefix = prefix.iter().filter(|_| form.prefix);
                    let prefix = prefix.map(|text| Part::Text { text: text.clone(), shortenable: false });
                    Prompt { side_a: prefix.chain(self.parts(input, &item)?).collect(), side_b: Vec::new() }
                }
            },
            ask: match form.head {
                Head::Cloze => self.cloze(&candidates, form)?,
                Head::Classifier => self.classify(&item, form)?,
                Head::TextToText => self.texts(candidates.clone(), form)?,
            },
            max_tokens: form.max_tokens,
        };
        let own =
            |label: usize| item.references.is_empty().then(|| self.labels.get(label).cloned()).flatten();
        let mut references = match item.label.and_then(own) {
            Some(name) => vec![name],
            None => item.references.clone(),
        };
        let (mut reading, mut targets) = (item.reading, Vec::new());
        if let Some(spec) = &self.generation {
            references = vec![self.scored_text(self.fill(&spec.reference, &item)?)];
            (reading, targets) = match &spec.target {
                Some(target) => (Reading::Text, vec![self.fill(target, &item)?]),
                None => (Reading::WholeText, item.blanked.targets.clone()),
            };
        }
        let mut text_size = None;
        if self.kind == Kind::LogProb {
            (reading, text_size) = (Reading::LogProb, Some(TextSize::of(&request.prompt, &item.fields)));
        } else if let (Reading::Continuation, [word]) = (reading, candidates.as_slice()) {
            text_size = Some(TextSize::of_text(word));
            if let (stride, false) = form.windows {
                // Left to right, the word is no answer to a blank but the end of the text.
                let prompt = &mut request.prompt.side_a;
                prompt.retain(|part| !part.is_blank());
                prompt.push(Part::Text { text: word.clone(), shortenable: false });
                request.ask = Ask::LogProb { stride, bidirectional: false, last_part_only: true };
            }
        }
        let candidates = candidates.iter().map(|candidate| candidate.trim_start().to_owned()).collect();
        let Item { guid, label, official_label, group, .. } = item;
        Ok(Sample {
            guid,
            doc_id,
            doc,
            request,
            label,
            official_label,
            reading,
            candidates,
            group,
            references,
            targets,
            text_size,
        })
    }

    /// The parts of a prompt, with the item's fields.
    fn parts(&self, parts: &[PartSpec], item: &Item) -> Result<Vec<Part>, TaskError> {
        let mut filled = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                PartSpec::Blank => filled.push(Part::Blank),
                PartSpec::LongBlank(length) => filled.push(Part::LongBlank(*length)),
                PartSpec::WithBlanks => filled.extend(with_blanks(&item.blanked.literals)),
                PartSpec::Text { template, shortenable } => {
                    filled.push(Part::Text { text: self.fill(template, item)?, shortenable: *shortenable });
                }
            }
        }
        Ok(filled)
    }

    fn text_to_text(&self) -> &TextToTextSpec {
        self.text_to_text.as_ref().expect("`samples` has checked that there is one")
    }

    /// Whole texts to answer with, to their end: what stands for the labels, or the sample's own candidates.
    fn texts(&self, candidates: Vec<String>, form: &Form) -> Result<Ask, TaskError> {
        if self.kind == Kind::Generate {
            return self.cloze(&candidates, form);
        }
        let words = &self.text_to_text().words;
        let words: Vec<String> =
            self.labels.iter().filter_map(|label| Some(format!(" {}", words.get(label)?.trim()))).collect();
        Ok(match words.is_empty() {
            true => Ask::Choice { candidates, end_of_piece: true, length_penalty: form.length_penalty },
            false => Ask::Choice { candidates: words, end_of_piece: true, length_penalty: 0.0 },
        })
    }

    /// The sample's own candidates, with their leading space.
    fn candidates(&self, item: &Item) -> Result<Vec<String>, TaskError> {
        let candidates: Vec<String> = if item.candidates.is_empty() {
            self.choices.iter().map(|choice| self.fill(choice, item)).collect::<Result<_, _>>()?
        } else {
            item.candidates.iter().map(|candidate| format!(" {candidate}")).collect()
        };
        if candidates.is_empty() {
            return Err(item.row.invalid("the row has no candidates to choose from").into());
        }
        Ok(candidates)
    }

    fn cloze(&self, candidates: &[String], form: &Form) -> Result<Ask, TaskError> {
        if self.kind == Kind::LogProb {
            let (stride, bidirectional) = form.windows;
            return Ok(Ask::LogProb { stride, bidirectional, last_part_only: false });
        }
        if let Some(spec) = &self.generation {
            let decoding = form.decoding.clone().unwrap_or_else(|| self.recipe.decoding());
            return Ok(Ask::Generate { decoding, edges: spec.edges, cut: spec.cut });
        }
        if self.kind == Kind::Choice {
            let length_penalty = form.length_penalty;
            return Ok(Ask::Choice { candidates: candidates.to_vec(), end_of_piece: true, length_penalty });
        }
        let words = self.words(self.pattern(form.pattern)?);
        Ok(if form.multi_token {
            Ask::Choice { candidates: words, end_of_piece: true, length_penalty: 0.0 }
        } else {
            Ask::Word { words }
        })
    }

    fn classify(&self, item: &Item, form: &Form) -> Result<Ask, TaskError> {
        let spec = self.classifier.as_ref().expect("`samples` has checked that there is one");
        if let Some(marked) = spec.marked.as_ref().filter(|_| form.marks) {
            return self.classify_marked(marked, item);
        }
        let pair = |candidate: Option<&str>| {
            let fill = |template: &Template| self.fill_with(template, item, candidate);
            Ok((fill(&spec.text_a)?, spec.text_b.as_ref().map(fill).transpose()?))
        };
        if !spec.for_each_candidate {
            let (pairs, num_labels) = (vec![pair(None)?], self.labels.len());
            return Ok(Ask::Classify { pairs, spans: vec![], num_labels });
        }
        let own = spec
            .candidates
            .iter()
            .map(|template| self.fill(template, item))
            .collect::<Result<Vec<_>, _>>()?;
        let candidates = if own.is_empty() { &item.candidates } else { &own };
        if candidates.is_empty() {
            return Err(item.row.invalid("the row has no candidates to choose from").into());
        }
        let pairs =
            candidates.iter().map(|candidate| pair(Some(candidate))).collect::<Result<_, TaskError>>()?;
        Ok(Ask::Classify { pairs, spans: vec![], num_labels: 1 })
    }

    fn classify_marked(&self, spec: &MarkedSpec, item: &Item) -> Result<Ask, TaskError> {
        let a = self.fill(&spec.text_a, item)?;
        let b = spec.text_b.as_ref().map(|template| self.fill(template, item)).transpose()?;
        let span = |span: &SpanSpec| {
            let text = match span.text {
                Side::A => a.as_str(),
                Side::B => b.as_deref().unwrap_or_default(),
            };
            let starts: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
            let byte = |name: &str| {
                let place = self.field(name, item)?;
                let byte = place.parse().ok().and_then(|place: usize| starts.get(place).copied());
                byte.ok_or_else(|| {
                    let characters = starts.len() - 1;
                    let what = format!("`{name}` is {place}, no place in a text of {characters} characters");
                    TaskError::from(item.row.invalid(what))
                })
            };
            let bytes = byte(&span.start)?..byte(&span.end)?;
            match bytes.is_empty() {
                true => {
                    let what = format!("nothing is between `{}` and `{}`", span.start, span.end);
                    Err(TaskError::from(item.row.invalid(what)))
                }
                false => Ok(Span { text: usize::from(span.text == Side::B), bytes }),
            }
        };
        let spans = spec.spans.iter().map(span).collect::<Result<_, _>>()?;
        Ok(Ask::Classify { pairs: vec![(a, b)], spans, num_labels: self.labels.len() })
    }

    /// Outputs and marked spans of a classification head in this form; `None` in another form.
    pub fn head_shape(&self, form: &Form) -> Option<(usize, usize)> {
        let spec = self.classifier.as_ref().filter(|_| form.head == Head::Classifier)?;
        let spans = spec.marked.as_ref().filter(|_| form.marks).map_or(0, |marked| marked.spans.len());
        Some((if spec.for_each_candidate { 1 } else { self.labels.len() }, spans))
    }

    fn fill(&self, template: &Template, item: &Item) -> Result<String, TaskError> {
        self.fill_with(template, item, None)
    }

    fn fill_with(
        &self,
        template: &Template,
        item: &Item,
        candidate: Option<&str>,
    ) -> Result<String, TaskError> {
        template.fill(|name| match candidate.filter(|_| name == CANDIDATE) {
            Some(candidate) => Ok(candidate.to_owned()),
            None => self.field(name, item),
        })
    }

    /// A field's text, with the changes that the task file asks for.
    fn field(&self, name: &str, item: &Item) -> Result<String, TaskError> {
        let spec = self.fields.get(name);
        let key = spec.map_or(name, |spec| spec.key.as_str());
        let text = if let Some((_, text)) = item.fields.iter().find(|(field, _)| *field == key) {
            text.clone()
        } else if spec.is_none() && item.row.get(key).is_none() {
            let keys = item.row.object.keys().map(String::as_str);
            let adapted = item.fields.iter().map(|(field, _)| *field);
            let known: BTreeSet<_> = keys.chain(adapted).collect();
            return Err(TaskError::UnknownField {
                place: place(&item.row),
                field: name.to_owned(),
                near: nearest(name, known.iter().copied()),
                known: known.into_iter().map(str::to_owned).collect(),
            });
        } else {
            match item.row.value(key)? {
                Value::Number(number) => number.to_string(),
                _ => item.row.text(key)?.to_owned(),
            }
        };
        let changes = spec.into_iter().flat_map(|spec| &spec.apply);
        Ok(changes.fold(text, |text, change| change.apply(&text)))
    }
}

/// The parts of a text with a blank between any two of its literals, which may be cut.
fn with_blanks(literals: &[String]) -> Vec<Part> {
    let mut parts = Vec::with_capacity(2 * literals.len());
    for (place, literal) in literals.iter().enumerate() {
        if place > 0 {
            parts.push(Part::Blank);
        }
        if !literal.is_empty() {
            parts.push(Part::Text { text: literal.clone(), shortenable: true });
        }
    }
    parts
}
