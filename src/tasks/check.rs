//! What a task file's types don't say: names that must exist, one blank a pattern, numbers within bounds.

use std::collections::BTreeSet;

use super::adapters;
use super::error::nearest;
use super::file::{Kind, PartSpec, Side, TaskFile};
use super::recipe::Recipe;
use super::template::Template;
use crate::metrics;

/// The name that stands for a candidate's text in the inputs of a classification head.
pub(super) const CANDIDATE: &str = "candidate";

/// Something wrong in a task file, and a text that stands at its place.
pub(super) struct Problem {
    pub(super) place: String,
    pub(super) what: String,
    pub(super) near: Option<String>,
}

/// The line on which a text first stands; 1 if nowhere.
pub(super) fn line_of(text: &str, place: &str) -> usize {
    text.find(place).map_or(1, |at| text[..at].matches('\n').count() + 1)
}

/// What the types don't say: names that must exist, patterns with one blank each, words for each label.
pub(super) fn check(file: &TaskFile) -> Result<(), Problem> {
    let problem = |place: &str, what: String| Err(Problem { place: place.to_owned(), what, near: None });
    let mut known: BTreeSet<&str> = file.fields.keys().map(String::as_str).collect();
    if let Some(name) = &file.data.adapter {
        match adapters::find(name) {
            Ok(adapter) => known.extend(adapter.fields()),
            Err(near) => {
                let what = format!("there is no adapter `{name}`");
                return Err(Problem { place: "adapter".into(), what, near });
            }
        }
    }
    let plain = file.fields.is_empty() && file.data.adapter.is_none();
    let known_field = |template: &Template, with_candidate: bool| {
        for name in template.fields() {
            let is_known = plain || known.contains(name) || with_candidate && name == CANDIDATE;
            if !is_known {
                let (known, near) = (known.iter().copied(), nearest(name, known.iter().copied()));
                let what =
                    format!("there is no field `{name}`; there are {}", known.collect::<Vec<_>>().join(", "));
                return Err(Problem { place: format!("{{{name}}}"), what, near });
            }
        }
        Ok(())
    };
    if file.name.is_empty() || file.name.contains(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c)) {
        return problem(
            "name",
            format!("the name {:?} should have only letters, digits, `_` and `-`", file.name),
        );
    }
    match (file.kind, file.labels.len()) {
        (Kind::Word | Kind::Choice, 0 | 1) => {
            return problem("labels", "a task needs at least two labels".into());
        }
        (Kind::Generate | Kind::LogProb, 1..) => {
            let what = "a task that is answered with texts or log-probabilities has no labels";
            return problem("labels", what.into());
        }
        _ => {}
    }
    if file.metrics.is_empty() {
        return problem("metrics", "a task needs at least one metric".into());
    }
    check_metrics(file)?;
    if file.kind == Kind::Choice && file.choices.is_empty() && file.data.adapter.is_none() {
        return problem(
            "kind",
            "a task of kind \"choice\" needs `choices`, or an adapter that gives them".into(),
        );
    }
    check_patterns(file, |template| known_field(template, false))?;
    check_generation(file, |template| known_field(template, false))?;
    check_text_to_text(file, |template| known_field(template, false))?;
    check_recipe(file)?;
    check_windows(file)?;
    file.choices.iter().try_for_each(|template| known_field(template, false))?;
    if let Some(classifier) = &file.classifier {
        let texts = std::iter::once(&classifier.text_a).chain(&classifier.text_b);
        texts
            .chain(&classifier.candidates)
            .try_for_each(|t| known_field(t, classifier.for_each_candidate))?;
        if let Some(marked) = &classifier.marked {
            if classifier.for_each_candidate {
                let what = "words are marked in a single pair of texts, not in one a candidate";
                return problem("marked", what.into());
            }
            let texts = std::iter::once(&marked.text_a).chain(&marked.text_b);
            texts.into_iter().try_for_each(|template| known_field(template, false))?;
            for name in marked.spans.iter().flat_map(|span| [&span.start, &span.end]) {
                let template = Template::try_from(format!("{{{name}}}"));
                let template = template.map_err(|what| Problem { place: name.clone(), what, near: None })?;
                known_field(&template, false)?;
            }
            if marked.text_b.is_none() && marked.spans.iter().any(|span| span.text == Side::B) {
                return problem("marked", "a span is in text \"b\", which isn't there".into());
            }
        }
    }
    Ok(())
}

/// One blank a pattern, fields that are known, a word for each label.
fn check_patterns(
    file: &TaskFile,
    known_field: impl Fn(&Template) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let problem = |place: &str, what: String| Err(Problem { place: place.to_owned(), what, near: None });
    let labels: Vec<String> = file.labels.iter().map(ToString::to_string).collect();
    let mut ids = BTreeSet::new();
    for pattern in &file.patterns {
        let place = format!("id = {}", pattern.id);
        if !ids.insert(pattern.id) {
            return problem(&place, format!("pattern {} is there twice", pattern.id));
        }
        let parts = pattern.side_a.iter().chain(&pattern.side_b);
        let is_blank = |part: &&PartSpec| match file.kind {
            Kind::Generate => part.is_blank(),
            Kind::Choice => part.is_blank() && **part != PartSpec::WithBlanks,
            Kind::Word | Kind::LogProb => **part == PartSpec::Blank,
        };
        let blanks = parts.clone().filter(is_blank).count();
        if file.kind == Kind::LogProb {
            if parts.clone().any(PartSpec::is_blank) {
                let what = "it has a blank, and here the probability of a whole text is asked";
                return problem(&place, format!("pattern {}: {what}", pattern.id));
            }
        } else if blanks != 1 {
            return problem(
                &place,
                format!("pattern {} has {blanks} blanks (\"[MASK]\") instead of one", pattern.id),
            );
        }
        let with_blanks = parts.clone().any(|part| *part == PartSpec::WithBlanks);
        if with_blanks != pattern.masked_share.is_some_and(|share| share > 0.0 && share < 1.0) {
            let what = "a pattern has `masked_share`, a number between 0 and 1, with a \"[TEXT WITH BLANKS]\", \
                        and neither without the other";
            return problem(&place, what.into());
        }
        for part in parts {
            if let PartSpec::Text { template, .. } = part {
                known_field(template)?;
            }
        }
        for label in pattern.words.keys() {
            if !labels.contains(label) {
                let near = nearest(label, labels.iter().map(String::as_str));
                return Err(Problem { place, what: format!("there is no label `{label}`"), near });
            }
        }
        if let Some((label, _)) = pattern.words.iter().find(|(_, word)| word.trim().is_empty()) {
            return problem(
                &place,
                format!("pattern {}: the word for the label `{label}` is empty", pattern.id),
            );
        }
        let missing = labels.iter().find(|label| !pattern.words.contains_key(*label));
        if let (Kind::Word, Some(label)) = (file.kind, missing) {
            return problem(&place, format!("pattern {} has no word for the label `{label}`", pattern.id));
        }
    }
    Ok(())
}

/// Metrics that the task's answers can be measured by.
fn check_metrics(file: &TaskFile) -> Result<(), Problem> {
    for metric in &file.metrics {
        let what = match metrics::find(&metric.name) {
            Err(error) => error.to_string(), // with the nearest name, and all there are
            Ok(found) if found.needs_wordnet() => format!(
                "{} needs WordNet, which a run hasn't got: name meteor_nltk_no_synonyms here, and score the texts that the \
                 run logs with `glm-eval score --metrics {0} --wordnet DIR`",
                found.name
            ),
            Ok(found) if file.kind == Kind::Generate && !found.reads_texts => {
                format!("{} compares labels, and here texts are answered", found.name)
            }
            Ok(found) if file.kind == Kind::LogProb && !found.reads_log_probs() => {
                format!("{} compares answers, and here a text's probability is asked", found.name)
            }
            Ok(_) => continue,
        };
        return Err(Problem { place: format!("{:?}", metric.name), what, near: None });
    }
    Ok(())
}

/// A text to write and to score, where there are to be texts, and lengths to write it with.
fn check_generation(
    file: &TaskFile,
    known_field: impl Fn(&Template) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let problem =
        |place: &str, what: &str| Err(Problem { place: place.to_owned(), what: what.to_owned(), near: None });
    let Some(spec) = file.generation.as_ref().filter(|_| file.kind == Kind::Generate) else {
        return match (file.kind == Kind::Generate, &file.generation) {
            (true, None) => problem("kind", "a task of kind \"generate\" needs a [generation] table"),
            (false, Some(_)) => {
                problem("[generation]", "only a task of kind \"generate\" has a [generation] table")
            }
            _ => Ok(()),
        };
    };
    std::iter::once(&spec.reference).chain(&spec.target).try_for_each(known_field)?;
    let with_blanks = file
        .patterns
        .iter()
        .flat_map(|p| p.side_a.iter().chain(&p.side_b))
        .any(|p| *p == PartSpec::WithBlanks);
    if spec.target.is_none() != with_blanks {
        let what = "the [generation] table has a `target`, except with \"[TEXT WITH BLANKS]\", whose blanks have their own";
        return problem("[generation]", what);
    }
    if with_blanks && file.data.adapter.is_none() {
        return problem("[TEXT WITH BLANKS]", "only an adapter puts blanks in a text");
    }
    match file.recipe.decoding().problem() {
        Some(what) => problem("[recipe]", &what),
        None if file.recipe.max_tokens <= file.recipe.max_new_tokens.unwrap_or(0) => {
            problem("max_tokens =", "max_tokens, source and text together, should be above max_new_tokens")
        }
        None => Ok(()),
    }
}

/// Windows that leave no token out.
fn check_windows(file: &TaskFile) -> Result<(), Problem> {
    let recipe = &file.recipe;
    let (place, what) = match file.kind {
        Kind::LogProb if !(1..recipe.max_tokens).contains(&recipe.stride()) => {
            ("stride =", "stride should be at least 1 and below max_tokens, or tokens are left out")
        }
        Kind::Word | Kind::Choice | Kind::Generate if recipe.stride.is_some() => {
            ("stride =", "stride is for tasks of kind \"log_prob\"")
        }
        Kind::Word | Kind::Generate if recipe.bidirectional.is_some() => {
            ("bidirectional =", "bidirectional is for tasks of kind \"log_prob\" or \"choice\"")
        }
        _ => return Ok(()),
    };
    Err(Problem { place: place.into(), what: what.into(), near: None })
}

/// No blank, fields that are known, a word for each label or for none.
fn check_text_to_text(
    file: &TaskFile,
    known_field: impl Fn(&Template) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let Some(spec) = &file.text_to_text else { return Ok(()) };
    let problem = |what: String, near| Err(Problem { place: "[text_to_text]".into(), what, near });
    for part in &spec.input {
        match part {
            PartSpec::Text { template, .. } => known_field(template)?,
            _ => return problem("text to text has no blank: the answer is a whole text".into(), None),
        }
    }
    if spec.input.is_empty() {
        return problem("the input has no parts".into(), None);
    }
    let labels: Vec<String> = file.labels.iter().map(ToString::to_string).collect();
    if let Some(label) = spec.words.keys().find(|label| !labels.contains(*label)) {
        let near = nearest(label, labels.iter().map(String::as_str));
        return problem(format!("text_to_text: there is no label `{label}`"), near);
    }
    if let Some((label, _)) = spec.words.iter().find(|(_, word)| word.trim().is_empty()) {
        return problem(format!("text_to_text: the word for the label `{label}` is empty"), None);
    }
    let may_have_none = file.kind != Kind::Word && spec.words.is_empty();
    match labels.iter().find(|label| !spec.words.contains_key(*label)) {
        Some(label) if !may_have_none => {
            problem(format!("text_to_text has no word for the label `{label}`"), None)
        }
        _ => Ok(()),
    }
}

/// A pattern that is there, and numbers that can be learned with.
fn check_recipe(file: &TaskFile) -> Result<(), Problem> {
    let problem = |place: &str, what: String| Err(Problem { place: place.to_owned(), what, near: None });
    if !file.patterns.iter().any(|pattern| pattern.id == file.recipe.pattern) {
        let what = format!("the recipe's pattern {} isn't there", file.recipe.pattern);
        return problem("[recipe]", what);
    }
    if let Some((key, what)) = recipe_problem(&file.recipe) {
        return problem(&format!("{key} ="), what);
    }
    for (name, settings) in &file.variants {
        let recipe = file.recipe.with(settings);
        let what = recipe.map_or_else(Some, |recipe| recipe_problem(&recipe).map(|(_, what)| what));
        if let Some(what) = what {
            return problem(&format!("variants.{name}"), format!("variant {name}: {what}"));
        }
    }
    Ok(())
}

/// A number in a recipe that can't be learned with: its key, and what is wrong.
pub fn recipe_problem(recipe: &Recipe) -> Option<(&'static str, String)> {
    let counts =
        [("max_tokens", recipe.max_tokens), ("epochs", recipe.epochs), ("batch_size", recipe.batch_size)];
    if let Some((key, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
        return Some((key, format!("the recipe's {key} is 0")));
    }
    let shares = [
        ("warmup", recipe.warmup),
        ("decay_to", recipe.decay_to),
        ("dropout", recipe.dropout),
        ("label_smoothing", recipe.label_smoothing.unwrap_or(0.0)),
    ];
    if let Some((key, value)) = shares.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
        return Some((key, format!("the recipe's {key} should be within 0 and 1, not {value}")));
    }
    let rate = recipe.learning_rate;
    let is_rate = rate > 0.0 && rate.is_finite();
    (!is_rate).then(|| ("learning_rate", format!("the recipe's learning_rate should be above 0, not {rate}")))
}
