//! Which task is fine-tuned and asked in which form.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::{EvalError, FullRecipe, Settings};
use crate::model::{Family, Head as ModelHead, ModelSource};
use crate::request::Decoding;
use crate::results::ours::{Mode, unit_name};
use crate::tasks::file::{PartSpec, PatternSpec};
use crate::tasks::{Form, Head, Kind, Split, Task, TaskData};

/// Which patterns of a task are run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patterns {
    /// The recipe's.
    #[default]
    Recipe,
    /// All there are.
    All,
    /// These.
    These(Vec<usize>),
}

impl FromStr for Patterns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let ids = text.split(',').map(|id| id.trim().parse()).collect::<Result<BTreeSet<_>, _>>();
        ids.map(|ids| Self::These(ids.into_iter().collect()))
            .map_err(|_| "expected `all` or numbers such as 0,1".into())
    }
}

/// A cap on evaluation samples: whole questions for `MultiRC`, whole queries for `ReCoRD`, pairs for AX-g.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many.
    Count(usize),
    /// This share of them.
    Share(f64),
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(count @ 1..) = text.parse::<usize>() {
            return Ok(Self::Count(count));
        }
        match text.parse::<f64>() {
            Ok(share) if share > 0.0 && share < 1.0 => Ok(Self::Share(share)),
            _ => Err("expected a number of samples, or a share between 0 and 1".into()),
        }
    }
}

impl Limit {
    /// Of so many units.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count.min(total),
            Self::Share(share) => ((total as f64 * share).ceil() as usize).clamp(1, total.max(1)),
        }
    }
}

/// Something to be scored with one model.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Its name in tables and records: the task's, and the pattern's if there are several.
    pub name: String,
    /// The task.
    pub task: Task,
    /// Its files.
    pub data: TaskData,
    /// How it is asked.
    pub form: Form,
    /// What is scored.
    pub split: Split,
}

/// One fine-tuned model a seed (or none, zero-shot), and what is scored with it.
#[derive(Clone, Debug)]
pub struct Job {
    /// The task that is learned.
    pub task: Task,
    /// Its files.
    pub data: TaskData,
    /// How it is asked.
    pub form: Form,
    /// How it is learned.
    pub recipe: FullRecipe,
    /// Scored after every epoch, to choose one: the task's own validation set.
    pub selection: Evaluation,
    /// Is the selection a result too, or does it only choose the epoch?
    pub reports_selection: bool,
    /// Scored once with the chosen epoch: diagnostics, and the unlabelled test set.
    pub afterwards: Vec<Evaluation>,
}

impl Job {
    /// What the model answers with.
    pub fn head(&self) -> ModelHead {
        let shape = self.task.head_shape(&self.form);
        shape.map_or(ModelHead::Vocabulary, |(outputs, spans)| ModelHead::Classes { outputs, spans })
    }
}

/// The jobs of a run. Diagnostics join the job of the task whose model they are scored with.
///
/// # Errors
/// When a task, a pattern or data is not there, before any work starts.
pub fn plan(tasks: &[Task], model: &ModelSource, settings: &Settings) -> Result<Vec<Job>, EvalError> {
    let mut jobs: Vec<Job> = Vec::new();
    let is_asked = |name: &str| tasks.iter().any(|task| task.name == name);
    // Without training there is no model that a diagnostic would have to wait for.
    let diagnosed = |task: &Task| task.diagnostic_of.clone().filter(|_| settings.mode != Mode::ZeroShot);
    for task in tasks {
        match &diagnosed(task) {
            None => jobs.extend(jobs_of(task, model, settings, true)?),
            Some(trained) if !is_asked(trained) => {
                if !jobs.iter().any(|job| job.task.name == *trained) {
                    jobs.extend(jobs_of(&Task::find(trained)?, model, settings, false)?);
                }
            }
            Some(_) => {}
        }
    }
    for task in tasks {
        let Some(trained) = &diagnosed(task) else { continue };
        let data = locate(task, settings)?;
        for job in jobs.iter_mut().filter(|job| job.task.name == *trained) {
            let form = Form {
                pattern: job.form.pattern,
                ..form_of(task, job.form.pattern, &job.recipe, model, settings)?
            };
            let name = job.selection.name.replacen(trained.as_str(), &task.name, 1);
            let split = if data.file(settings.split).is_ok() { settings.split } else { Split::Val };
            job.afterwards.push(Evaluation { name, task: task.clone(), data: data.clone(), form, split });
        }
    }
    Ok(jobs)
}

fn jobs_of(
    task: &Task,
    model: &ModelSource,
    settings: &Settings,
    reported: bool,
) -> Result<Vec<Job>, EvalError> {
    check_texts(task, model, settings)?;
    let data = locate(task, settings)?;
    let recipe =
        FullRecipe::resolve(task, model.architecture.family(), model.recipe.as_deref(), &settings.overrides)?;
    let patterns: Vec<usize> = match &settings.patterns {
        Patterns::Recipe => vec![own_pattern(model.architecture.family(), task, &recipe)?],
        Patterns::All => task.patterns.iter().map(|pattern| pattern.id).collect(),
        Patterns::These(ids) => ids.clone(),
    };
    let splits = match (settings.mode, settings.split) {
        (Mode::ZeroShot, split) => vec![split],
        (Mode::FewShot, split) => vec![Split::Train, split],
        (Mode::Finetune, split) => vec![Split::Train, Split::Val, split],
    };
    for split in splits {
        data.file(split)?; // a missing file is known before any work starts
    }
    let job = |&pattern: &usize| {
        let form = form_of(task, pattern, &recipe, model, settings)?;
        let name = unit_name(&task.name, &pattern.to_string(), patterns.len());
        let evaluation = |split| Evaluation {
            name: name.clone(),
            task: task.clone(),
            data: data.clone(),
            form: form.clone(),
            split,
        };
        let is_trained = settings.mode == Mode::Finetune;
        let selection_split = if is_trained { Split::Val } else { settings.split };
        let afterwards =
            if selection_split == settings.split { vec![] } else { vec![evaluation(settings.split)] };
        let job = Job {
            task: task.clone(),
            data: data.clone(),
            form: form.clone(),
            recipe: recipe.clone(),
            selection: evaluation(selection_split),
            reports_selection: reported && afterwards.is_empty(),
            afterwards: if reported { afterwards } else { vec![] },
        };
        // A missing head is known before any work starts.
        model.drawn_parts(job.head(), is_trained).map_err(|source| EvalError::model(&name, source))?;
        Ok(job)
    };
    patterns.iter().map(job).collect()
}

/// Can the model be asked for texts, or for the probability of one, where the task asks that?
fn check_texts(task: &Task, model: &ModelSource, settings: &Settings) -> Result<(), EvalError> {
    let family = model.architecture.family();
    if task.kind == Kind::LogProb || !task.recipe.bidirectional() {
        let reason = if !family.reads_left_to_right() {
            let able = Family::ALL.into_iter().filter(|f| f.reads_left_to_right()).map(Family::name);
            format!(
                "which a {family} model does not say; use one of another family: {}",
                able.collect::<Vec<_>>().join(", ")
            )
        } else if settings.mode == Mode::ZeroShot {
            return Ok(());
        } else {
            "of a model as it is; use `--mode zero-shot`".into()
        };
        return Err(EvalError::Impossible(format!("{} asks how probable a text is, {reason}", task.name)));
    }
    if task.kind != Kind::Generate {
        return Ok(());
    }
    if !family.writes() {
        let able: Vec<&str> = Family::ALL.into_iter().filter(|f| f.writes()).map(Family::name).collect();
        return Err(EvalError::Impossible(format!(
            "{} is answered with texts, which a {family} model does not write here; use one of another family: {}",
            task.name,
            able.join(", ")
        )));
    }
    let has_several = task.generation.as_ref().is_some_and(|spec| spec.target.is_none());
    if has_several && family != Family::Glm {
        return Err(EvalError::Impossible(format!(
            "{} has several blanks in one text, which a {family} model does not fill here; use a GLM",
            task.name
        )));
    }
    if settings.mode == Mode::FewShot {
        return Err(EvalError::Impossible(format!(
            "{} is answered with texts, and examples in the prompt are for tasks with candidates only; use `--mode \
             finetune` or `--mode zero-shot`",
            task.name
        )));
    }
    Ok(())
}

fn locate(task: &Task, settings: &Settings) -> Result<TaskData, EvalError> {
    let mut data = TaskData::locate(task, settings.data_dir.as_deref())?;
    if task.name == "wsc" {
        data.extra_train.clone_from(&settings.wsc_candidates);
    }
    Ok(data)
}

/// What a family answers a task with where nothing is asked for: its published form, as far as the task has it.
fn own_head(family: Family, task: &Task, mode: Mode) -> Head {
    let has_classifier = task.classifier.is_some();
    match family {
        // A head that is not trained knows nothing.
        Family::Bert | Family::Roberta if has_classifier && mode == Mode::Finetune => Head::Classifier,
        Family::Bart if has_classifier => Head::Classifier,
        Family::T5 | Family::Bart if task.text_to_text.is_some() => Head::TextToText,
        _ => Head::Cloze,
    }
}

/// Can the model answer so, in this mode?
fn check_head(head: Head, task: &Task, model: &ModelSource, mode: Mode) -> Result<(), EvalError> {
    let (family, task_name) = (model.architecture.family(), &task.name);
    let problem = match head {
        Head::TextToText if !matches!(family, Family::T5 | Family::Bart) => {
            format!("--head text-to-text: {} is no text-to-text model; T5 and BART are", model.name)
        }
        Head::TextToText if mode == Mode::FewShot => format!(
            "{task_name} is asked text to text, where a prompt has no blank that examples could show filled; use \
             `--head cloze` or `--mode zero-shot`"
        ),
        Head::Classifier if matches!(family, Family::T5 | Family::Gpt2 | Family::Llama) => {
            format!("--head classifier: {family} models have no classification head here; use `--head cloze`")
        }
        Head::Classifier if mode != Mode::Finetune => format!(
            "{task_name} is answered by a classification head, which must be trained: use `--mode finetune`"
        ),
        // It writes whole texts, and scores none.
        Head::Cloze | Head::TextToText
            if family == Family::Bart && !(head == Head::TextToText && task.is_written()) =>
        {
            format!(
                "{task_name}: a BART fills no blanks and scores no candidates; use `--head classifier`, or another family"
            )
        }
        _ => return Ok(()),
    };
    Err(EvalError::Impossible(problem))
}

/// The recipe's pattern; of a task that is answered with texts, for a model that only goes on where a text ends, the
/// first one with the blank there.
fn own_pattern(family: Family, task: &Task, recipe: &FullRecipe) -> Result<usize, EvalError> {
    if !(task.is_written() && family.is_causal()) {
        return Ok(recipe.recipe.pattern);
    }
    let ends_in_blank = |pattern: &&PatternSpec| {
        let last = pattern.side_a.iter().chain(&pattern.side_b).next_back();
        last.is_some_and(PartSpec::is_blank)
    };
    task.patterns.iter().find(ends_in_blank).map(|pattern| pattern.id).ok_or_else(|| {
        EvalError::Impossible(format!(
            "{} has no pattern with its blank at the end, where a {family} model could go on; use a GLM",
            task.name
        ))
    })
}

/// The form in which a task is asked: one-token words as such where they are one token, else as texts.
fn form_of(
    task: &Task,
    pattern: usize,
    recipe: &FullRecipe,
    model: &ModelSource,
    settings: &Settings,
) -> Result<Form, EvalError> {
    let spec = task.pattern(pattern)?;
    let needs_texts = task.kind == Kind::Word
        && task
            .needs_multi_token(spec, &model.tokenizer)
            .map_err(|e| EvalError::Impossible(e.to_string()))?;
    let decoding = task.decoding(&recipe.recipe);
    if let Some(problem) = decoding.as_ref().and_then(Decoding::problem) {
        return Err(EvalError::Recipe(format!("{}: {problem}", task.name)));
    }
    let head = settings.head.unwrap_or_else(|| own_head(model.architecture.family(), task, settings.mode));
    check_head(head, task, model, settings.mode)?;
    Ok(Form {
        pattern,
        head,
        marks: model.architecture.family().reads_marks(),
        prefix: model.architecture.family().reads_prefixes(),
        multi_token: settings.multi_token || needs_texts,
        max_tokens: recipe.recipe.max_tokens,
        loss: recipe.recipe.loss,
        length_penalty: recipe.recipe.length_penalty,
        decoding,
        stride: recipe.recipe.stride(),
        bidirectional: recipe.recipe.bidirectional(),
    })
}
