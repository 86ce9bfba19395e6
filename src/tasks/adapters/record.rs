//! `ReCoRD`: which of a news article's entities belongs in the blank of a statement about it?
//!
//! Source: THUDM/GLM@4f61ed7 `tasks/superglue/{dataset,pvp}.py`, `RecordProcessor` and `RecordPVP`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Adapter, Blanked, Expansion, Item, Reading};
use crate::data::Row;
use crate::tasks::error::TaskError;
use crate::tasks::file::ascii_quotes;
use crate::tasks::sample::Split;

/// Wrong entities that a training sample has at most.
const MAX_WRONG: usize = 9;

/// The blank in a query.
const PLACEHOLDER: &str = "@placeholder";

/// Evaluates each query with all entities; learns from one sample a right answer, with at most nine wrong
/// entities. Entities are unique texts, sorted.
pub struct Record;

impl Adapter for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    /// `plain_passage` has its summary points as sentences, `entities` is the list of all; `query` is the whole statement,
    /// `query_start` and `query_end` what is before and after its blank.
    fn fields(&self) -> &'static [&'static str] {
        &["passage", "plain_passage", "query", "query_start", "query_end", "entities"]
    }

    fn sorted_by_candidates(&self) -> bool {
        true
    }

    fn expand(&self, row: &Row, expansion: &mut Expansion<'_>) -> Result<Vec<Item>, TaskError> {
        let passage = row.object("passage")?;
        let text = ascii_quotes(passage.text("text")?);
        let entities = entities(&passage, &text)?;
        let row_id = row.integer("idx")?;
        // As in the GPT-3 paper, summary points are a list.
        let plain_passage = as_sentences(&text);
        let text = text.replace("@highlight\n", "- ");
        let mut items = Vec::new();
        for question in row.objects("qas")? {
            let query = ascii_quotes(question.text("query")?);
            let Some((start, end)) =
                query.split_once(PLACEHOLDER).filter(|(_, end)| !end.contains(PLACEHOLDER))
            else {
                let what = format!("the query should have one {PLACEHOLDER}: {query:?}");
                return Err(row.invalid(what).into());
            };
            let fields = vec![
                ("passage", text.clone()),
                ("plain_passage", plain_passage.clone()),
                ("entities", entities.join(", ")),
                ("query", query.clone()),
                ("query_start", start.trim_end().to_owned()),
                ("query_end", end.to_owned()),
            ];
            let answers = answers(&question)?;
            let query_id = question.integer("idx")?;
            let guid = format!("{}-p{row_id}-q{query_id}", expansion.split.guid_prefix());
            let item = |guid, candidates, label, official_label: &str, references| Item {
                guid,
                copy: 0,
                row: row.clone(),
                fields: fields.clone(),
                candidates,
                label,
                official_label: Value::from(official_label),
                reading: Reading::Best,
                group: Some(format!("p{row_id}-q{query_id}")),
                references,
                blanked: Blanked::default(),
            };
            if expansion.split == Split::Train {
                let wrong: Vec<_> =
                    entities.iter().filter(|entity| !answers.contains(entity)).cloned().collect();
                for (index, answer) in answers.iter().enumerate() {
                    let mut candidates = vec![answer.clone()];
                    if wrong.len() > MAX_WRONG {
                        candidates.extend(expansion.shuffles.take(&wrong, MAX_WRONG));
                    } else {
                        candidates.extend(wrong.iter().cloned());
                    }
                    let references = vec![answer.clone()];
                    items.push(item(format!("{guid}-a{index}"), candidates, Some(0), "0", references));
                }
            } else {
                let label = entities.iter().position(|entity| answers.contains(entity));
                items.push(item(guid, entities.clone(), label, "1", answers));
            }
        }
        Ok(items)
    }
}

/// The passage with its summary points as sentences: a full stop comes before one where nothing else ends what is there.
///
/// Source: google-research/text-to-text-transfer-transformer@0068fa7 `t5/data/preprocessors.py`, `record`.
fn as_sentences(text: &str) -> String {
    let mut points = text.split("\n@highlight\n");
    let mut plain = points.next().unwrap_or_default().to_owned();
    for point in points {
        plain.push_str(if plain.ends_with(['.', '?', '!', '"', '\'']) { " " } else { ". " });
        plain.push_str(point);
    }
    plain
}

/// The texts of the entities, each once, sorted. Their places count characters, the last one included.
fn entities(passage: &Row, text: &str) -> Result<Vec<String>, TaskError> {
    let starts: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
    let mut entities = BTreeSet::new();
    for entity in passage.objects("entities")? {
        let (start, end) = (entity.index("start")?, entity.index("end")?);
        let span = starts.get(start).zip(starts.get(end.saturating_add(1))).filter(|(a, b)| a <= b);
        let Some((&from, &to)) = span else {
            let length = starts.len() - 1;
            let what =
                format!("the entity at {start} to {end} lies outside the passage of {length} characters");
            return Err(passage.invalid(what).into());
        };
        entities.insert(text[from..to].to_owned());
    }
    // Bytes of UTF-8 sort as code points do.
    Ok(entities.into_iter().collect())
}

/// The texts of the right answers, each once, in the order of the file. The published code goes through a set here,
/// so that its order changes from run to run.
fn answers(question: &Row) -> Result<Vec<String>, TaskError> {
    let mut answers = Vec::new();
    if question.get("answers").is_some() {
        for answer in question.objects("answers")? {
            let text = ascii_quotes(answer.text("text")?);
            if !answers.contains(&text) {
                answers.push(text);
            }
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_points_become_sentences() {
        let text = "He came.\n@highlight\nHe saw\n@highlight\nHe \"won\"\n@highlight\nThe end";
        assert_eq!(as_sentences(text), "He came. He saw. He \"won\" The end");
        assert_eq!(as_sentences("One"), "One");
    }
}
