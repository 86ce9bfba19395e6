//! From a row's item to a sample: the task's templates filled, in the form in which it is asked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::adapters::{Item, place};
use super::check::CANDIDATE;
use super::error::{TaskError, nearest};
use super::file::{Kind, MarkedSpec, PartSpec, PatternSpec, Side, SpanSpec, TextToTextSpec};
use super::sample::{Reading, Sample, TextSize};
use super::task::{Form, Head, Task};
use super::template::Template;
use crate::request::{Ask, Part, Prompt, Request, Span};

impl Task {
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
            if !form.bidirectional {
                // Left to right, the word is no answer to a blank but the end of the text.
                let prompt = &mut request.prompt.side_a;
                prompt.retain(|part| !part.is_blank());
                prompt.push(Part::Text { text: word.clone(), shortenable: false });
                request.ask =
                    Ask::LogProb { stride: form.stride, bidirectional: false, last_part_only: true };
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
            true => Ask::Choice {
                candidates,
                end_of_piece: true,
                length_penalty: form.length_penalty,
                bidirectional: true,
            },
            false => Ask::Choice {
                candidates: words,
                end_of_piece: true,
                length_penalty: 0.0,
                bidirectional: true,
            },
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
            let Form { stride, bidirectional, .. } = *form;
            return Ok(Ask::LogProb { stride, bidirectional, last_part_only: false });
        }
        if let Some(spec) = &self.generation {
            let decoding = form.decoding.clone().unwrap_or_else(|| self.recipe.decoding());
            return Ok(Ask::Generate { decoding, edges: spec.edges, cut: spec.cut });
        }
        if self.kind == Kind::Choice {
            let Form { length_penalty, bidirectional, .. } = *form;
            let candidates = candidates.to_vec();
            return Ok(Ask::Choice { candidates, end_of_piece: true, length_penalty, bidirectional });
        }
        let words = self.words(self.pattern(form.pattern)?);
        Ok(if form.multi_token {
            Ask::Choice { candidates: words, end_of_piece: true, length_penalty: 0.0, bidirectional: true }
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
