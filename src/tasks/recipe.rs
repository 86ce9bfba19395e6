//! The published way to fine-tune a model for a task: the `[recipe]` of its file.

use serde::{Deserialize, Serialize};

use crate::request::{Decoding, Loss};

/// The published way to fine-tune a model for a task.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The pattern's id.
    pub pattern: usize,
    /// Most tokens of a sequence, answer included.
    pub max_tokens: usize,
    /// Passes over the training set.
    pub epochs: usize,
    /// Samples of an update.
    pub batch_size: usize,
    /// What is minimised.
    pub loss: Loss,
    /// A choice's or text's log-probability is divided by its number of tokens to this power.
    pub length_penalty: f64,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Share of the updates in which the learning rate grows to it.
    pub warmup: f64,
    /// How the learning rate falls afterwards.
    pub decay: Decay,
    /// Share of the highest learning rate that it falls to.
    pub decay_to: f64,
    /// Decoupled weight decay; not for biases and layer norms.
    pub weight_decay: f64,
    /// Adam's beta 1.
    pub adam_beta1: f64,
    /// Adam's beta 2.
    pub adam_beta2: f64,
    /// Adam's epsilon.
    pub adam_eps: f64,
    /// The gradient's norm is cut to this.
    pub clip_grad: f64,
    /// Is the learning rate a share of each weight's root mean square, as Adafactor's is?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<bool>,
    /// Dropout of embeddings, attention and residual branches.
    pub dropout: f64,
    /// Share of each token's target that is spread over the vocabulary, where texts are learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f64>,
    /// A text that has not ended by then is cut there. Like what follows, of texts that are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// A text does not end before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_new_tokens: Option<usize>,
    /// No run of so many tokens appears twice in a text; 0 allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_repeat_ngram_size: Option<usize>,
    /// Texts that are pursued side by side; 1 takes the best token each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_beams: Option<usize>,
    /// Tokens that each window after the first one scores, of long texts whose probability is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Does what is read before them, or before the candidates of a choice, see itself in both directions, in models that can?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bidirectional: Option<bool>,
}

impl Recipe {
    /// The recipe with some settings of a variant.
    ///
    /// # Errors
    /// When the variant has an unknown key or a value of the wrong type.
    pub fn with(&self, variant: &toml::Table) -> Result<Self, String> {
        let mut recipe = serde_json::to_value(self).expect("a recipe is plain data");
        for (key, value) in variant {
            recipe[key] = serde_json::to_value(value).map_err(|error| error.to_string())?;
        }
        serde_json::from_value(recipe).map_err(|error| error.to_string())
    }

    /// Tokens that each window of a long text scores; half a window, unless it is said.
    pub fn stride(&self) -> usize {
        self.stride.unwrap_or(self.max_tokens / 2)
    }

    /// Does what is read before an answer see itself in both directions, in models that can?
    pub fn bidirectional(&self) -> bool {
        self.bidirectional.unwrap_or(true)
    }

    /// How texts are searched.
    pub fn decoding(&self) -> Decoding {
        Decoding {
            min_new_tokens: self.min_new_tokens.unwrap_or(0),
            no_repeat_ngram_size: self.no_repeat_ngram_size.unwrap_or(0),
            num_beams: self.num_beams.unwrap_or(1),
            length_penalty: self.length_penalty,
            ..Decoding::greedy(self.max_new_tokens.unwrap_or(0))
        }
    }
}

/// How a learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Along a line.
    Linear,
    /// Not at all.
    Constant,
}
