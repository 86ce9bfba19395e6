//! `MultiRC`: which of the answers to a question about a passage are right? Each answer is a sample.
//!
//! Source: THUDM/GLM@4f61ed7 `tasks/superglue/dataset.py`, `MultiRcProcessor`.

use super::{Adapter, Blanked, Expansion, Item, plain};
use crate::data::Row;
use crate::tasks::error::TaskError;

/// One sample an answer, grouped by question.
pub struct MultiRc;

impl Adapter for MultiRc {
    fn name(&self) -> &'static str {
        "multirc"
    }

    fn fields(&self) -> &'static [&'static str] {
        &["passage", "question", "answer"]
    }

    fn expand(&self, row: &Row, expansion: &mut Expansion<'_>) -> Result<Vec<Item>, TaskError> {
        let (prefix, passage_id) = (expansion.split.guid_prefix(), row.integer("idx")?);
        let passage = row.object("passage")?;
        let text = passage.text("text")?;
        let mut items = Vec::new();
        for question in passage.objects("questions")? {
            let question_id = question.integer("idx")?;
            for answer in question.objects("answers")? {
                let label = plain(&answer, expansion)?.label;
                items.push(Item {
                    guid: format!("{prefix}-p{passage_id}-q{question_id}-a{}", answer.integer("idx")?),
                    copy: 0,
                    row: row.clone(),
                    fields: vec![
                        ("passage", text.to_owned()),
                        ("question", question.text("question")?.to_owned()),
                        ("answer", answer.text("text")?.to_owned()),
                    ],
                    candidates: Vec::new(),
                    label,
                    official_label: expansion.task.official_label(label),
                    reading: super::Reading::Best,
                    // Numbers of questions run through the whole file, but nothing promises that.
                    group: Some(format!("p{passage_id}-q{question_id}")),
                    references: Vec::new(),
                    blanked: Blanked::default(),
                });
            }
        }
        Ok(items)
    }
}
