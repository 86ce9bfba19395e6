//! Where texts begin and end.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::model::config::ConfigError;
use crate::model::{Family, ModelError};
use crate::tokenizer::Tokenizer;

/// The tokens at the ends of a text, under the names of the published `config.json` files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Begins a text.
    #[serde(default)]
    pub bos_token_id: Option<u32>,
    /// Ends a text; the first, where there are several.
    #[serde(default, deserialize_with = "first")]
    pub eos_token_id: Option<u32>,
    /// Did every text begin with the former in training? Then every prompt does.
    #[serde(default)]
    pub add_bos_token: bool,
}

/// A number, a list of numbers, or nothing.
fn first<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let found = match Value::deserialize(deserializer)? {
        Value::Array(list) => list.into_iter().next().unwrap_or_default(),
        found => found,
    };
    serde_json::from_value(found).map_err(serde::de::Error::custom)
}

impl Ends {
    /// Are the tokens in the vocabulary?
    pub fn check(&self, vocab_size: usize) -> Result<(), ConfigError> {
        let ids = [("bos_token_id", self.bos_token_id), ("eos_token_id", self.eos_token_id)];
        match ids.iter().find(|(_, id)| id.is_some_and(|id| id as usize >= vocab_size)) {
            Some((name, Some(id))) => {
                Err(ConfigError::Invalid(format!("{name} is {id}, but the last token is {}", vocab_size - 1)))
            }
            _ => Ok(()),
        }
    }

    /// The tokens to use. One stands for the other where only one is known, and GPT-2's end of text for both.
    ///
    /// # Errors
    /// When there is neither.
    pub fn resolve(&self, tokenizer: &Tokenizer, family: Family) -> Result<Marks, ModelError> {
        const END_OF_TEXT: &str = "<|endoftext|>";
        let known = self.bos_token_id.or(self.eos_token_id).or_else(|| tokenizer.id(END_OF_TEXT));
        let known = known.ok_or_else(|| ModelError::Tokenizer {
            vocabulary: tokenizer.describe(),
            token: END_OF_TEXT,
            family,
        })?;
        Ok(Marks {
            start: known,
            end: self.eos_token_id.unwrap_or(known),
            begins_every_text: self.add_bos_token,
        })
    }
}

/// The tokens at the ends of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// What the first token of a text is predicted from, where nothing else comes before it.
    pub start: u32,
    /// What follows the last token.
    pub end: u32,
    /// Does `start` stand before every prompt, and not only before an empty one?
    pub begins_every_text: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_end_may_be_a_list_or_absent() {
        let of = |json: Value| serde_json::from_value::<Ends>(json).map(|ends| ends.eos_token_id);
        assert_eq!(of(json!({"eos_token_id": [7, 8]})).unwrap(), Some(7));
        assert_eq!(of(json!({"eos_token_id": 7})).unwrap(), Some(7));
        assert_eq!(of(json!({"eos_token_id": null})).unwrap(), None);
        assert_eq!(of(json!({})).unwrap(), None);
        assert!(of(json!({"eos_token_id": "x"})).is_err());
    }

    #[test]
    fn one_end_stands_for_the_other() {
        let tokenizer = Tokenizer::builtin();
        let ends = Ends { eos_token_id: Some(3), ..Ends::default() };
        let marks = ends.resolve(&tokenizer, Family::Gpt2).expect("an end is known");
        assert_eq!((marks.start, marks.end), (3, 3));
        let error = Ends::default().resolve(&tokenizer, Family::Gpt2).expect_err("no end is known");
        assert!(error.to_string().contains("lacks <|endoftext|>, which a gpt2 model needs"), "{error}");
    }
}
