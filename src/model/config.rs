//! What configurations of all families have in common: how they can be wrong.

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A family that is not built here.
    #[error("config.json: the model_type {found} is not known; known are {known}")]
    UnknownFamily {
        /// What it says.
        found: String,
        /// What it could say.
        known: String,
    },
    /// A field is absent or of the wrong type.
    #[error("config.json is not that of a {family} model")]
    Json {
        /// The family it was read for.
        family: super::Family,
        /// The field.
        source: serde_json::Error,
    },
    /// A size no model can have.
    #[error("config.json: {0}")]
    Invalid(String),
    /// A variant that is not built here.
    #[error("config.json: `{key}` is {found}, which is not supported; {supported}")]
    Unsupported {
        /// The setting.
        key: &'static str,
        /// What it is set to.
        found: String,
        /// What it may be.
        supported: &'static str,
    },
    /// The weights do not look like a GLM's.
    #[error("the weights are no GLM's: {0}")]
    NotGlm(String),
    /// Weights do not tell the number of heads.
    #[error(
        "the weights don't tell the number of attention heads, and a width of {hidden_size} is no multiple of 64, \
         the head size of the published models; pass `--num-attention-heads N` or a config.json"
    )]
    UnknownHeads {
        /// The width.
        hidden_size: usize,
    },
    /// The configuration says one thing, the weights or the command line another.
    #[error("config.json contradicts {against}: {}; use the config.json published with the weights", .differences.join(", "))]
    Contradiction {
        /// What it was held against.
        against: &'static str,
        /// `num_layers is 4 there, 3 here`.
        differences: Vec<String>,
    },
}

/// Can a model have these sizes (name, value, largest)? The limits should be far beyond any published model: they
/// keep a damaged file from asking for absurd memory.
pub fn check_sizes(sizes: &[(&str, usize, usize)]) -> Result<(), ConfigError> {
    match sizes.iter().find(|&&(_, size, limit)| size == 0 || size > limit) {
        Some((name, found, limit)) => {
            Err(ConfigError::Invalid(format!("{name} is {found}; it must be from 1 to {limit}")))
        }
        None => Ok(()),
    }
}

/// Is the width a multiple of the heads? Their names are the file's.
pub fn check_heads(width: (&str, usize), heads: (&str, usize)) -> Result<(), ConfigError> {
    match width.1 % heads.1 {
        0 => Ok(()),
        _ => Err(ConfigError::Invalid(format!(
            "{} {} cannot be divided among {} {}",
            width.0, width.1, heads.0, heads.1
        ))),
    }
}

/// Tokens that the configuration names are in the vocabulary.
pub fn check_ids(ids: &[(&str, u32)], vocab_size: usize) -> Result<(), ConfigError> {
    match ids.iter().find(|(_, id)| *id as usize >= vocab_size) {
        Some((name, id)) => {
            Err(ConfigError::Invalid(format!("{name} is {id}, but the vocabulary has {vocab_size} tokens")))
        }
        None => Ok(()),
    }
}

/// What numbers may be: an epsilon or a standard deviation, or a probability of dropout.
pub fn check_numbers(positive: &[(&str, f64)], probabilities: &[(&str, f64)]) -> Result<(), ConfigError> {
    let bad = positive.iter().find(|(_, x)| !(x.is_finite() && *x > 0.0));
    match bad.or_else(|| probabilities.iter().find(|(_, x)| !(0.0..1.0).contains(x))) {
        Some((name, found)) => Err(ConfigError::Invalid(format!("{name} cannot be {found}"))),
        None => Ok(()),
    }
}
