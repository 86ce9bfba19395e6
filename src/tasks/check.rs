//! What a task file's types don't say: names that must exist, one blank a pattern, numbers within bounds.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use super::adapters;
use super::error::nearest;
use super::file::{Kind, PartSpec, PatternSpec, Side, TaskFile};
use super::recipe::Recipe;
use super::template::Template;
use crate::metrics;

/// The name that stands for a candidate's text in the inputs of a classification head.
pub(super) const CANDIDATE: &str = "candidate";

/// Something wrong in a task file, and where: the keys down to it, as in `patterns.0.words`.
pub(super) struct Problem {
    pub(super) place: String,
    pub(super) what: String,
    pub(super) near: Option<String>,
}

/// The line of a key or an element of a list; of what holds it, where it isn't written.
pub(super) fn line_of(text: &str, place: &str) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 1 };
    let root = DeValue::Table(table.into_inner());
    let (mut start, mut value) = (0, &root);
    for part in place.split('.') {
        let found = match value {
            DeValue::Table(table) => table.get_key_value(part).map(|(key, value)| (key.span(), value)),
            DeValue::Array(values) => part
                .parse()
                .ok()
                .and_then(|index: usize| values.get(index))
                .map(|value| (value.span(), value)),
            _ => None,
        };
        let Some((span, inner)) = found else { break };
        (start, value) = (span.start, inner.get_ref());
    }
    text[..start].matches('\n').count() + 1
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
                return Err(Problem { place: "data.adapter".into(), what, near });
            }
        }
    }
    let plain = file.fields.is_empty() && file.data.adapter.is_none();
    let known_field = |place: &str, template: &Template, with_candidate: bool| {
        for name in template.fields() {
            let is_known = plain || known.contains(name) || with_candidate && name == CANDIDATE;
            if !is_known {
                let (known, near) = (known.iter().copied(), nearest(name, known.iter().copied()));
                let what =
                    format!("there is no field `{name}`; there are {}", known.collect::<Vec<_>>().join(", "));
                return Err(Problem { place: place.into(), what, near });
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
    let labels: Vec<String> = file.labels.iter().map(ToString::to_string).collect();
    if let Some((i, label)) = labels.iter().enumerate().find(|(i, label)| labels[..*i].contains(label)) {
        return problem(&format!("labels.{i}"), format!("the label `{label}` is there twice"));
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
    let plain_field = |place: &str, template: &Template| known_field(place, template, false);
    check_patterns(file, plain_field)?;
    check_generation(file, plain_field)?;
    check_text_to_text(file, plain_field)?;
    check_recipe(file)?;
    check_windows(file)?;
    for (i, template) in file.choices.iter().enumerate() {
        plain_field(&format!("choices.{i}"), template)?;
    }
    check_classifier(file, known_field)
}

/// Fields that are known, and marked words in a text that is there.
fn check_classifier(
    file: &TaskFile,
    known_field: impl Fn(&str, &Template, bool) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let Some(classifier) = &file.classifier else { return Ok(()) };
    let problem =
        |place: &str, what: &str| Err(Problem { place: place.into(), what: what.into(), near: None });
    let texts = [("text_a", Some(&classifier.text_a)), ("text_b", classifier.text_b.as_ref())];
    let candidates = classifier.candidates.iter().map(|template| ("candidates", Some(template)));
    for (key, template) in texts.into_iter().chain(candidates) {
        if let Some(template) = template {
            known_field(&format!("classifier.{key}"), template, classifier.for_each_candidate)?;
        }
    }
    let Some(marked) = &classifier.marked else { return Ok(()) };
    if classifier.for_each_candidate {
        let what = "words are marked in a single pair of texts, not in one a candidate";
        return problem("classifier.marked", what);
    }
    for (key, template) in [("text_a", Some(&marked.text_a)), ("text_b", marked.text_b.as_ref())] {
        if let Some(template) = template {
            known_field(&format!("classifier.marked.{key}"), template, false)?;
        }
    }
    for (i, span) in marked.spans.iter().enumerate() {
        let place = format!("classifier.marked.spans.{i}");
        for name in [&span.start, &span.end] {
            let template = Template::try_from(format!("{{{name}}}"));
            let template = template.map_err(|what| Problem { place: place.clone(), what, near: None })?;
            known_field(&place, &template, false)?;
        }
        if marked.text_b.is_none() && span.text == Side::B {
            return problem(&place, "a span is in text \"b\", which isn't there");
        }
    }
    Ok(())
}

/// One blank a pattern, fields that are known, a word for each label.
fn check_patterns(
    file: &TaskFile,
    known_field: impl Fn(&str, &Template) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let problem = |place: &str, what: String| Err(Problem { place: place.to_owned(), what, near: None });
    let labels: Vec<String> = file.labels.iter().map(ToString::to_string).collect();
    let mut ids = BTreeSet::new();
    for (i, pattern) in file.patterns.iter().enumerate() {
        let place = format!("patterns.{i}.id");
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
        for (side, parts) in [("side_a", &pattern.side_a), ("side_b", &pattern.side_b)] {
            for (j, part) in parts.iter().enumerate() {
                if let PartSpec::Text { template, .. } = part {
                    known_field(&format!("patterns.{i}.{side}.{j}"), template)?;
                }
            }
        }
        let may_have_none = file.kind != Kind::Word;
        let about = format!("pattern {}", pattern.id);
        check_words(&pattern.words, &labels, may_have_none, &format!("patterns.{i}"), &about)?;
    }
    Ok(())
}

/// A word for each label, which is not another's.
fn check_words(
    words: &BTreeMap<String, String>,
    labels: &[String],
    may_have_none: bool,
    table: &str,
    about: &str,
) -> Result<(), Problem> {
    let problem = |place: String, what: String| Err(Problem { place, what, near: None });
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (label, word) in words {
        let place = format!("{table}.words.{label}");
        if !labels.contains(label) {
            let near = nearest(label, labels.iter().map(String::as_str));
            return Err(Problem { place, what: format!("{about}: there is no label `{label}`"), near });
        }
        if word.trim().is_empty() {
            return problem(place, format!("{about}: the word for the label `{label}` is empty"));
        }
        if let Some(other) = seen.insert(word.trim(), label) {
            return problem(place, format!("{about}: the labels `{other}` and `{label}` have the same word"));
        }
    }
    match labels.iter().find(|label| !words.contains_key(*label)) {
        Some(label) if !may_have_none => {
            problem(format!("{table}.words"), format!("{about} has no word for the label `{label}`"))
        }
        _ => Ok(()),
    }
}

/// Metrics that the task's answers can be measured by.
fn check_metrics(file: &TaskFile) -> Result<(), Problem> {
    for (i, metric) in file.metrics.iter().enumerate() {
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
        return Err(Problem { place: format!("metrics.{i}.name"), what, near: None });
    }
    Ok(())
}

/// A text to write and to score, where there are to be texts, and lengths to write it with.
fn check_generation(
    file: &TaskFile,
    known_field: impl Fn(&str, &Template) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let problem =
        |place: &str, what: &str| Err(Problem { place: place.to_owned(), what: what.to_owned(), near: None });
    let Some(spec) = file.generation.as_ref().filter(|_| file.kind == Kind::Generate) else {
        return match (file.kind == Kind::Generate, &file.generation) {
            (true, None) => problem("kind", "a task of kind \"generate\" needs a [generation] table"),
            (false, Some(_)) => {
                problem("generation", "only a task of kind \"generate\" has a [generation] table")
            }
            _ => Ok(()),
        };
    };
    known_field("generation.reference", &spec.reference)?;
    if let Some(target) = &spec.target {
        known_field("generation.target", target)?;
    }
    let has_blanks = |pattern: &PatternSpec| {
        pattern.side_a.iter().chain(&pattern.side_b).any(|p| *p == PartSpec::WithBlanks)
    };
    let with_blanks = file.patterns.iter().position(has_blanks);
    if spec.target.is_none() != with_blanks.is_some() {
        let what = "the [generation] table has a `target`, except with \"[TEXT WITH BLANKS]\", whose blanks have their own";
        return problem("generation", what);
    }
    if let Some(i) = with_blanks.filter(|_| file.data.adapter.is_none()) {
        return problem(&format!("patterns.{i}.side_a"), "only an adapter puts blanks in a text");
    }
    match file.recipe.decoding().problem() {
        Some(what) => problem("recipe", &what),
        None if file.recipe.max_tokens <= file.recipe.max_new_tokens.unwrap_or(0) => problem(
            "recipe.max_tokens",
            "max_tokens, source and text together, should be above max_new_tokens",
        ),
        None => Ok(()),
    }
}

/// Windows that leave no token out.
fn check_windows(file: &TaskFile) -> Result<(), Problem> {
    let recipe = &file.recipe;
    let (place, what) = match file.kind {
        Kind::LogProb if !(1..recipe.max_tokens).contains(&recipe.stride()) => {
            ("recipe.stride", "stride should be at least 1 and below max_tokens, or tokens are left out")
        }
        Kind::Word | Kind::Choice | Kind::Generate if recipe.stride.is_some() => {
            ("recipe.stride", "stride is for tasks of kind \"log_prob\"")
        }
        Kind::Word | Kind::Generate if recipe.bidirectional.is_some() => {
            ("recipe.bidirectional", "bidirectional is for tasks of kind \"log_prob\" or \"choice\"")
        }
        _ => return Ok(()),
    };
    Err(Problem { place: place.into(), what: what.into(), near: None })
}

/// No blank, fields that are known, a word for each label or for none.
fn check_text_to_text(
    file: &TaskFile,
    known_field: impl Fn(&str, &Template) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let Some(spec) = &file.text_to_text else { return Ok(()) };
    let problem = |place: String, what: &str| Err(Problem { place, what: what.into(), near: None });
    for (i, part) in spec.input.iter().enumerate() {
        let place = format!("text_to_text.input.{i}");
        match part {
            PartSpec::Text { template, .. } => known_field(&place, template)?,
            _ => return problem(place, "text to text has no blank: the answer is a whole text"),
        }
    }
    if spec.input.is_empty() {
        return problem("text_to_text.input".into(), "the input has no parts");
    }
    let labels: Vec<String> = file.labels.iter().map(ToString::to_string).collect();
    let may_have_none = file.kind != Kind::Word && spec.words.is_empty();
    check_words(&spec.words, &labels, may_have_none, "text_to_text", "text_to_text")
}

/// A pattern that is there, and numbers that can be learned with.
fn check_recipe(file: &TaskFile) -> Result<(), Problem> {
    let problem = |place: &str, what: String| Err(Problem { place: place.to_owned(), what, near: None });
    if !file.patterns.iter().any(|pattern| pattern.id == file.recipe.pattern) {
        let what = format!("the recipe's pattern {} isn't there", file.recipe.pattern);
        return problem("recipe.pattern", what);
    }
    if let Some((key, what)) = recipe_problem(&file.recipe) {
        return problem(&format!("recipe.{key}"), what);
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
    let betas = [("adam_beta1", recipe.adam_beta1), ("adam_beta2", recipe.adam_beta2)];
    if let Some((key, value)) = betas.into_iter().find(|(_, value)| !(0.0..1.0).contains(value)) {
        return Some((key, format!("the recipe's {key} should be at least 0 and below 1, not {value}")));
    }
    // A norm of 0 cuts nothing.
    let sizes = [("weight_decay", recipe.weight_decay), ("clip_grad", recipe.clip_grad)];
    if let Some((key, value)) = sizes.into_iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite())) {
        return Some((key, format!("the recipe's {key} should be at least 0, not {value}")));
    }
    let steps = [("learning_rate", recipe.learning_rate), ("adam_eps", recipe.adam_eps)];
    if let Some((key, value)) = steps.into_iter().find(|(_, value)| !(*value > 0.0 && value.is_finite())) {
        return Some((key, format!("the recipe's {key} should be above 0, not {value}")));
    }
    let penalty = recipe.length_penalty;
    let what =
        || ("length_penalty", format!("the recipe's length_penalty should be a number, not {penalty}"));
    (!penalty.is_finite()).then(what)
}
