//! The model families, told apart by `config.json`.

use std::fmt;

use super::config::ConfigError;
use crate::checkpoint::Settings;

/// A model family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Autoregressive blank infilling (Du et al. 2022).
    Glm,
    /// A masked language model (Devlin et al. 2019).
    Bert,
    /// BERT trained longer, over byte-level BPE (Liu et al. 2019).
    Roberta,
    /// An encoder and a decoder, text to text (Raffel et al. 2020).
    T5,
    /// A denoising encoder and decoder (Lewis et al. 2020).
    Bart,
    /// A causal language model (Radford et al. 2019).
    Gpt2,
    /// A causal language model with rotary positions (Touvron et al. 2023).
    Llama,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Glm, Self::Bert, Self::Roberta, Self::T5, Self::Bart, Self::Gpt2, Self::Llama];

    /// Its `model_type` in a `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glm => "glm",
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::T5 => "t5",
            Self::Bart => "bart",
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
        }
    }

    /// Does it give a text a probability, word after word?
    pub fn reads_left_to_right(self) -> bool {
        matches!(self, Self::Glm | Self::Gpt2 | Self::Llama)
    }

    /// Does its published recipe for classification read marked words besides the pooled token?
    pub fn reads_marks(self) -> bool {
        matches!(self, Self::Bert | Self::Roberta)
    }

    /// Can it write texts?
    pub fn writes(self) -> bool {
        !matches!(self, Self::Bert | Self::Roberta)
    }

    /// Does it read left to right only, so that it writes at the end of a prompt?
    pub fn is_causal(self) -> bool {
        matches!(self, Self::Gpt2 | Self::Llama)
    }

    /// Is it told what to do by words before the text (`summarize:`)?
    pub fn reads_prefixes(self) -> bool {
        matches!(self, Self::T5)
    }

    /// The family that a `config.json` names by its `model_type`. One that names none, and none there at all, are a
    /// GLM's: the official code writes no such file.
    ///
    /// # Errors
    /// When the type is none of [`Family::ALL`].
    pub fn of(config: Option<&Settings>) -> Result<Self, ConfigError> {
        let Some(found) = config.and_then(|config| config.get("model_type")) else { return Ok(Self::Glm) };
        let known = |family: &Self| found.as_str() == Some(family.name());
        Self::ALL.into_iter().find(known).ok_or_else(|| ConfigError::UnknownFamily {
            found: found.to_string(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_model_type_decides_and_an_unknown_one_is_named_with_the_known_ones() {
        let of = |config: serde_json::Value| Family::of(config.as_object());
        assert_eq!(of(json!({"model_type": "roberta"})).unwrap(), Family::Roberta);
        assert_eq!(of(json!({"num_layers": 2})).unwrap(), Family::Glm);
        let message = of(json!({"model_type": "deberta"})).unwrap_err().to_string();
        assert!(message.contains("\"deberta\"") && message.contains("bert, roberta"), "{message}");
        assert!(of(json!({"model_type": 3})).is_err());
    }
}
