//! Recorded searches of Hugging Face's library: greedy and with beams, from `io.json`.
//!
//! A sequence is a prompt (of a decoder: the token that it begins with) and what was written after it, up to the end
//! token; what comes behind that is padding.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::decoding::{Convention, Hypothesis, Row, Search};
use crate::request::Decoding;
use crate::verify::{Check, largest, tolerance};

/// A search with its settings.
#[derive(Deserialize)]
struct Case {
    settings: Settings,
    sequences: Vec<Vec<u32>>,
    sequences_scores: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct Settings {
    max_new_tokens: usize,
    num_beams: usize,
    #[serde(default)]
    min_new_tokens: usize,
    #[serde(default)]
    no_repeat_ngram_size: usize,
    /// The library's default.
    #[serde(default = "one")]
    length_penalty: f64,
    #[serde(default)]
    early_stopping: bool,
}

fn one() -> f64 {
    1.0
}

impl Settings {
    fn decoding(&self) -> Decoding {
        Decoding {
            min_new_tokens: self.min_new_tokens,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            num_beams: self.num_beams,
            length_penalty: self.length_penalty,
            early_stopping: self.early_stopping,
            ..Decoding::greedy(self.max_new_tokens)
        }
    }
}

/// All recorded searches against what `write` finds after prompts; none where none is recorded. `json` is the contents
/// of `file`.
pub fn check(
    json: &Value,
    file: &Path,
    write: impl Fn(&[&[u32]], &[Row], Search) -> Result<Vec<Vec<Hypothesis>>>,
) -> Result<Vec<Check>> {
    let Some(recorded) = json.get("generation") else { return Ok(Vec::new()) };
    let cases: BTreeMap<String, Case> = match serde_json::from_value(recorded.clone()) {
        Ok(cases) => cases,
        Err(error) => bail!("{}: generation: {error}", file.display()),
    };
    let Some(end) = json["eos_used_for_generation"].as_u64() else {
        bail!("{}: `eos_used_for_generation` is missing, the token that ends a text", file.display());
    };
    let ends = [end as u32];
    // Some search reached its limit; the others may have stopped earlier.
    let prompt_length = |case: &Case| {
        case.sequences.iter().map(|all| all.len().saturating_sub(case.settings.max_new_tokens)).max()
    };
    let len = cases.values().filter_map(prompt_length).max().unwrap_or(0);
    let mut checks = Vec::new();
    for (name, case) in &cases {
        if len == 0 || case.sequences.iter().any(|all| all.len() < len) {
            bail!("{}: generation.{name}: a sequence is shorter than its prompt", file.display());
        }
        let (prompts, written): (Vec<&[u32]>, Vec<&[u32]>) =
            case.sequences.iter().map(|all| all.split_at(len)).unzip();
        let row = |prompt: &&[u32]| Row {
            history: prompt.to_vec(),
            max_new_tokens: case.settings.max_new_tokens,
            seed: 0,
        };
        let rows: Vec<Row> = prompts.iter().map(row).collect();
        let decoding = case.settings.decoding();
        let search = Search { decoding: &decoding, convention: Convention::HuggingFace, ends: &ends };
        let found = write(&prompts, &rows, search)?;
        let best: Vec<&Hypothesis> = found.iter().filter_map(|hypotheses| hypotheses.first()).collect();
        let text = |tokens: &&[u32]| tokens.iter().take_while(|id| !ends.contains(id)).copied().collect();
        let recorded: Vec<Vec<u32>> = written.iter().map(text).collect();
        let ours: Vec<Vec<u32>> = best.iter().map(|hypothesis| hypothesis.tokens.clone()).collect();
        let case_name = format!("io/generation.{name}");
        checks.push(Check::same(&case_name, "texts", &ours, &recorded));
        if let Some(scores) = &case.sequences_scores {
            let differences = best.iter().zip(scores).map(|(ours, score)| (ours.score - score).abs());
            checks.push(Check::new(&case_name, "scores", largest(differences), tolerance::BEAM_SCORE));
        }
    }
    Ok(checks)
}
