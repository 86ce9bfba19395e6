//! Recordings of Hugging Face's transformers held against a model of any family.
//!
//! A folder has the model (`config.json`, `model.safetensors`), `io.safetensors` (inputs, and what the library made of
//! them: `logits`, `loss`, sometimes more, some under a prefix such as `long.`) and `io.json` (the gradient's norm for
//! each parameter, and generated sequences).

mod bert;
mod causal;
mod generation;

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, bail};
use serde_json::Value;

use super::recording::{Recording, read_json};
use super::{Check, VerifyError, encoder_decoder, tolerance, values};
use crate::checkpoint::Checkpoint;
use crate::decoding::{Hypothesis, Row, Search};
use crate::model::bart::{self, Bart};
use crate::model::encoder_decoder::EncoderDecoder;
use crate::model::gpt2::{self, Gpt2};
use crate::model::llama::{self, Llama};
use crate::model::t5::{self, T5};
use crate::model::{Architecture, Build, Family, Head, Parameters, weights};
use crate::nn::{Gradients, Precision, Tape};

/// The recordings' tensors.
const IO: &str = "io";
/// What recorded inputs are called; everything else is an output.
const INPUTS: &[&str] = &[
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "position_ids",
    "decoder_input_ids",
    "decoder_attention_mask",
    "labels",
];

/// Does a folder hold such recordings?
pub fn is_recording(folder: &Path) -> bool {
    folder.join(format!("{IO}.safetensors")).is_file()
}

/// A network, as the recorded calls used it.
trait Recorded {
    /// What it gives for the recorded inputs.
    fn outputs(&self, io: &Recording) -> Result<Vec<Output>>;

    /// The recorded loss, differentiable.
    fn loss(&self, io: &Recording) -> Result<Tensor>;

    /// What it writes after prompts; `None` for a network that writes nothing.
    fn write(
        &self,
        prompts: &[&[u32]],
        rows: &[Row],
        search: Search,
    ) -> Result<Option<Vec<Vec<Hypothesis>>>> {
        let _ = (prompts, rows, search);
        Ok(None)
    }
}

/// One output.
struct Output {
    /// The recorded tensor that it is held against.
    name: String,
    /// Which way through the code made it, if there are several.
    way: &'static str,
    /// `[rows, width]`.
    ours: Tensor,
    /// Which rows of the recorded tensor, taken as `[rows, width]`, it has; all, if none are given.
    rows: Option<Vec<u32>>,
}

/// Checks all recordings of a folder against weights, handing each check to `report` as it is made. Returns what is
/// recorded but not checked.
///
/// # Errors
/// When the folder holds no such recording, a file is broken, or the weights do not fit.
pub fn verify(
    folder: &Path,
    checkpoint: Checkpoint,
    device: &Device,
    mut report: impl FnMut(Check),
) -> std::result::Result<Vec<String>, VerifyError> {
    let Some(io) = Recording::open(folder, IO)? else { return Err(VerifyError::Nothing(folder.into())) };
    let config_file = folder.join("config.json");
    let unreadable = |reason: String| VerifyError::Unreadable { file: config_file.clone(), reason };
    // The recordings' own configuration: it says how they were made.
    let settings =
        crate::checkpoint::read_settings(&config_file).map_err(|error| unreadable(with_cause(&error)))?;
    let family = Family::of(Some(&settings)).map_err(|error| unreadable(with_cause(&error)))?;
    let load = |architecture: &dyn Architecture, head: Head, tensors| {
        let weights = weights::fit(architecture, tensors).map_err(|error| unreadable(error.to_string()))?;
        let build = Build {
            seed: 0,
            head,
            is_trained: false,
            dropout: 0.0,
            dtype: DType::F32,
            device: device.clone(),
        };
        weights::parameters(architecture, Some(&weights), &build)
            .map_err(|error| unreadable(error.to_string()))
    };
    let (network, parameters): (Box<dyn Recorded>, Parameters) = match family {
        Family::Bert | Family::Roberta => {
            let recorded =
                bert::Call::read(family, &settings).map_err(|error| unreadable(with_cause(&error)))?;
            let parameters = load(&recorded.config, recorded.head, checkpoint.tensors)?;
            (Box::new(recorded.network(&parameters)?), parameters)
        }
        Family::T5 | Family::Bart => {
            let io_json = read_json(&folder.join(format!("{IO}.json")))?;
            let (model, parameters): (Box<dyn EncoderDecoder>, Parameters) = if family == Family::T5 {
                let config = t5::Config::resolve(&settings, &checkpoint.tensors)
                    .map_err(|error| unreadable(with_cause(&error)))?;
                let parameters = load(&config, Head::Vocabulary, checkpoint.tensors)?;
                (Box::new(T5::new(&config, Precision::F32, parameters.var_builder())?), parameters)
            } else {
                let config =
                    bart::Config::from_json(&settings).map_err(|error| unreadable(with_cause(&error)))?;
                let parameters = load(&config, Head::Vocabulary, checkpoint.tensors)?;
                (Box::new(Bart::new(&config, Precision::F32, parameters.var_builder())?), parameters)
            };
            let mut checks = encoder_decoder::check(&*model, &parameters, &io, &io_json)?;
            checks.extend(generation::check(&io_json, folder, |_, rows, search| {
                encoder_decoder::write(&*model, &io, rows, search)
            })?);
            if checks.is_empty() {
                return Err(VerifyError::Nothing(folder.into()));
            }
            checks.into_iter().for_each(report);
            return Ok(Vec::new());
        }
        Family::Gpt2 => {
            let config =
                gpt2::Config::from_json(&settings).map_err(|error| unreadable(with_cause(&error)))?;
            let parameters = load(&config, Head::Vocabulary, checkpoint.tensors)?;
            let network = Gpt2::new(&config, Precision::F32, parameters.var_builder())?;
            (Box::new(causal::Network(Box::new(network))), parameters)
        }
        Family::Llama => {
            let config =
                llama::Config::from_json(&settings).map_err(|error| unreadable(with_cause(&error)))?;
            let parameters = load(&config, Head::Vocabulary, checkpoint.tensors)?;
            let network = Llama::new(&config, Precision::F32, parameters.var_builder())?;
            (Box::new(causal::Network(Box::new(network))), parameters)
        }
        Family::Glm => {
            return Err(unreadable(format!(
                "recordings of {family} models in this layout can't be checked yet"
            )));
        }
    };
    check(&*network, &parameters, &io, folder, &mut report)
}

fn check(
    network: &dyn Recorded,
    parameters: &Parameters,
    io: &Recording,
    folder: &Path,
    report: &mut impl FnMut(Check),
) -> std::result::Result<Vec<String>, VerifyError> {
    let mut checked: Vec<String> = Vec::new();
    for Output { name, way, ours, rows } in network.outputs(io)? {
        let recorded = io.get(&name)?;
        let width = recorded.dims().last().copied().unwrap_or(1);
        let mut recorded = recorded.reshape(((), width))?;
        if let Some(rows) = rows {
            recorded = recorded.index_select(&Tensor::new(rows, recorded.device())?, 0)?;
        }
        let what = if way.is_empty() { name.clone() } else { format!("{name} ({way})") };
        report(Check::tensors(&io.case("forward"), &what, &ours, &recorded, tolerance::LOGITS)?);
        checked.push(name);
    }
    let file = folder.join(format!("{IO}.json"));
    let json = read_json(&file)?;
    if let Some(recorded) = io.find("loss") {
        let (tape, mut gradients) = (Tape::start(), Gradients::default());
        let loss = network.loss(io)?;
        report(Check::tensors(&io.case("loss"), "loss", &loss, recorded, tolerance::LOSS)?);
        checked.push("loss".into());
        tape.backward(&loss, &mut gradients)?;
        for (name, recorded) in json["grad_l2"].as_object().into_iter().flatten() {
            report(gradient_norm(name, recorded, parameters, &gradients, &file)?);
        }
    }
    if checked.is_empty() {
        return Err(VerifyError::Nothing(folder.into()));
    }
    let is_input = |name: &str| INPUTS.contains(&name.rsplit('.').next().unwrap_or(name));
    let names =
        io.names().into_iter().filter(|name| !is_input(name) && !checked.iter().any(|seen| seen == name));
    let written = generation::check(&json, &file, |prompts, rows, search| {
        let written = network.write(prompts, rows, search)?;
        written.ok_or_else(|| candle_core::Error::msg("texts are recorded of a network that writes none"))
    });
    written?.into_iter().for_each(report);
    Ok(names.map(|name| format!("{IO}.safetensors: {name}")).collect())
}

/// A gradient's norm, of which 0.1 % is allowed on top of the tolerance: the excess is compared.
fn gradient_norm(
    name: &str,
    recorded: &Value,
    parameters: &Parameters,
    gradients: &Gradients,
    file: &Path,
) -> Result<Check> {
    let Some(recorded) = recorded.as_f64() else {
        bail!("{}: the gradient's norm for `{name}` is no number", file.display());
    };
    let Some(ours) = parameters.get(name).and_then(|var| gradients.get(var)) else {
        bail!("{}: no gradient reaches `{name}`", file.display());
    };
    let norm = values(ours)?.iter().map(|x| x * x).sum::<f64>().sqrt();
    let excess = (norm - recorded).abs() - tolerance::GRADIENT_RELATIVE * recorded;
    let excess = if excess.is_nan() { excess } else { excess.max(0.0) };
    Ok(Check::new("io/grad_l2", name, excess, tolerance::GRADIENT))
}

/// An error and its causes in one line.
fn with_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
