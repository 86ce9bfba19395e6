//! Model families: from `config.json` to logits.
//!
//! Each family is a folder with its configuration (an [`Architecture`]), its network, and how it lays out requests in
//! tokens (a [`LanguageModel`]). What they share is here: weights, prompts, losses, and the registry of known models.

mod architecture;
pub mod bart;
pub mod bert;
pub mod causal;
pub mod config;
pub mod continuation;
pub mod encoder_decoder;
mod family;
pub mod glm;
pub mod gpt2;
mod language_model;
pub mod layers;
pub mod llama;
pub mod loss;
mod parameters;
pub mod prompt;
pub mod registry;
pub mod t5;
pub mod text_to_text;
pub mod weights;
pub mod writing;

pub use architecture::{Architecture, Build, Head, Part, Sizes};
pub use config::ConfigError;
pub use family::Family;
pub use language_model::{Cost, LanguageModel, ModelError};
pub use parameters::{Initial, Parameters};
pub use registry::{ModelSource, RegistryError};
