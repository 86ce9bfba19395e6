//! LAMBADA: the last word of a passage.
//!
//! Source: THUDM/GLM@4f61ed7 `tasks/language_model/dataset.py`, `LambadaDataset`, in its strict form.

use super::{Adapter, Expansion, Item, Reading, plain};
use crate::data::Row;
use crate::tasks::error::TaskError;

/// Parts a passage from its last word.
pub struct Lambada;

impl Adapter for Lambada {
    fn name(&self) -> &'static str {
        "lambada"
    }

    /// `context` is the passage without its last word and the space before it.
    fn fields(&self) -> &'static [&'static str] {
        &["context"]
    }

    fn expand(&self, row: &Row, expansion: &mut Expansion<'_>) -> Result<Vec<Item>, TaskError> {
        let passage = row.text("text")?.trim_end();
        let Some((context, word)) = passage.rsplit_once(char::is_whitespace) else {
            return Err(row.invalid(format!("the passage {passage:?} has no last word after others")).into());
        };
        let label = Some(1);
        Ok(vec![Item {
            fields: vec![("context", context.trim_end().to_owned())],
            candidates: vec![word.to_owned()],
            label,
            official_label: expansion.task.official_label(label),
            reading: Reading::Continuation,
            ..plain(row, expansion)?
        }])
    }
}
