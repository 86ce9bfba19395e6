//! Recordings of encoder-decoder models of Hugging Face's library: logits, the loss, and the norms of its gradients.
//!
//! `io.safetensors` has `input_ids` and `decoder_input_ids` with `logits`, and `labels` with `loss`; `long.` before a name
//! marks a second case, of which every seventh row of logits is kept.

use candle_core::{DType, Result, Tensor, bail};
use serde_json::Value;

use super::recording::{Recording, integers};
use super::{Check, tolerance, values};
use crate::decoding::{Hypothesis, Row, Search};
use crate::model::Parameters;
use crate::model::continuation;
use crate::model::encoder_decoder::EncoderDecoder;
use crate::model::writing::Source;
use crate::nn::{self, Dropout, Gradients, Layout, Precision, Sequence, Tape};

/// All that is recorded. `io` is the contents of `io.json`.
pub fn check(
    model: &dyn EncoderDecoder,
    parameters: &Parameters,
    recording: &Recording,
    io: &Value,
) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (prefix, every) in [("", 1), ("long.", 7)] {
        let name = |name: &str| format!("{prefix}{name}");
        let Some(recorded) = recording.find(&name("logits")) else { continue };
        let texts = Texts::read(recording, prefix)?;
        let outputs = recording.get(&name("decoder_input_ids"))?;
        let hidden = texts.decode(model, outputs)?.detach(); // [b * s, h]
        let rows: Vec<u32> = (0..outputs.elem_count() as u32).step_by(every).collect();
        let logits = nn::logits(&nn::embedding(&hidden, &rows)?, model.head(), Precision::F32)?;
        let logits = logits.reshape(recorded.shape())?;
        let case = recording.case(if prefix.is_empty() { "batch" } else { "long" });
        checks.push(Check::tensors(&case, "logits", &logits, recorded, tolerance::LOGITS)?);
    }
    let (Some(recorded), Some(labels)) = (recording.find("loss"), recording.find("labels")) else {
        return Ok(checks);
    };
    let (tape, mut gradients) = (Tape::start(), Gradients::default());
    let loss = loss(model, recording, labels)?;
    checks.push(Check::tensors(&recording.case("batch"), "loss", &loss, recorded, tolerance::LOSS)?);
    tape.backward(&loss, &mut gradients)?;
    for (name, norm) in io["grad_l2"].as_object().into_iter().flatten() {
        let Some(ours) = parameters.get(name).and_then(|var| gradients.get(var)) else {
            bail!("{}: no gradient reaches `{name}`", recording.file.display());
        };
        let ours = values(ours)?.into_iter().map(|x| x * x).sum::<f64>().sqrt();
        let recorded = norm.as_f64().unwrap_or(f64::NAN);
        let excess = (ours - recorded).abs() - tolerance::GRADIENT_RELATIVE * recorded;
        checks.push(Check::new(&recording.case("grad_l2"), name, excess.max(0.0), tolerance::GRADIENT));
    }
    Ok(checks)
}

/// What the model writes over the recorded texts.
pub fn write(
    model: &dyn EncoderDecoder,
    recording: &Recording,
    rows: &[Row],
    search: Search,
) -> Result<Vec<Vec<Hypothesis>>> {
    let texts = Texts::read(recording, "")?;
    let (mut rest, starts) = (texts.ids.as_slice(), vec![model.start_token()]);
    let source = |&length: &usize| {
        let (ids, others) = rest.split_at(length);
        rest = others;
        Source { ids: ids.to_vec(), starts: starts.clone(), ends: search.ends.to_vec(), truncated: 0 }
    };
    let sources: Vec<Source> = texts.lengths.iter().map(source).collect();
    continuation::over_texts(model, usize::MAX, &sources, rows, search, &mut |_| ())
}

/// The mean loss over the labels that are none of the ignored ones.
fn loss(model: &dyn EncoderDecoder, recording: &Recording, labels: &Tensor) -> Result<Tensor> {
    let hidden = Texts::read(recording, "")?.decode(model, recording.get("decoder_input_ids")?)?;
    let labels = labels.flatten_all()?.to_vec1::<i64>()?;
    let learned = labels.iter().enumerate().filter(|(_, label)| **label >= 0);
    let (rows, targets): (Vec<u32>, Vec<u32>) =
        learned.map(|(row, &label)| (row as u32, label as u32)).unzip();
    let rows = nn::embedding(&hidden, &rows)?;
    nn::linear_cross_entropy(&rows, model.head(), &targets, 0.0, Precision::F32)?.mean(0)
}

/// The recorded inputs of the encoder, without their padding.
struct Texts {
    ids: Vec<u32>,
    lengths: Vec<usize>,
}

impl Texts {
    fn read(recording: &Recording, prefix: &str) -> Result<Self> {
        let ids = recording.get(&format!("{prefix}input_ids"))?;
        let (b, s) = ids.dims2()?;
        let mask = match recording.find(&format!("{prefix}attention_mask")) {
            Some(mask) => integers(mask)?,
            None => vec![1; b * s],
        };
        let ids = integers(ids)?;
        let mut texts = Self { ids: Vec::new(), lengths: Vec::new() };
        for (ids, mask) in ids.chunks(s.max(1)).zip(mask.chunks(s.max(1))) {
            let len = mask.iter().take_while(|&&seen| seen != 0).count();
            if mask[len..].contains(&1) {
                bail!("{}: texts are padded on the left or inside", recording.file.display());
            }
            texts.ids.extend(&ids[..len]);
            texts.lengths.push(len);
        }
        Ok(texts)
    }

    /// `[b * s, h]` hidden states of outputs `[b, s]`.
    fn decode(&self, model: &dyn EncoderDecoder, outputs: &Tensor) -> Result<Tensor> {
        let (b, s) = outputs.dims2()?;
        let off = Dropout::off();
        let sight = model.look(&model.encode(&self.ids, &self.lengths, &off)?)?;
        let layout = Layout::new(vec![Sequence::prefix_lm(s, 0); b]);
        let own: Vec<usize> = (0..b).collect();
        let hidden = model.decode((&sight, &own), (&integers(outputs)?, &layout), None, &off)?;
        hidden.to_dtype(DType::F32)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use candle_core::Device;

    use super::*;
    use crate::checkpoint;
    use crate::model::bart::{self, Bart};
    use crate::model::t5::{self, T5};
    use crate::model::{Architecture, weights};
    use crate::verify::recording::read_json;

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn t5_and_bart_are_those_of_the_recordings() {
        let shared =
            std::env::var_os("GLM_EVAL_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
        for name in ["t5_v1_0", "t5_v1_1", "bart"] {
            let folder = shared.join("golden/hf").join(name);
            if !folder.is_dir() {
                assert!(std::env::var_os("CI").is_none(), "{} is not there", folder.display());
                eprintln!("skipped: {} is not there; set GLM_EVAL_SHARED", folder.display());
                return;
            }
            let read = checkpoint::read(&folder).expect(name);
            let settings = read.config.expect("a config.json");
            let family: Box<dyn Architecture> = match name {
                "bart" => Box::new(bart::Config::from_json(&settings).expect(name)),
                _ => Box::new(t5::Config::resolve(&settings, &read.tensors).expect(name)),
            };
            let weights = weights::fit(&*family, read.tensors.clone()).expect(name);
            let parameters = Parameters::load(&weights, DType::F32, &Device::Cpu).expect(name);
            let vb = parameters.var_builder();
            let model: Box<dyn EncoderDecoder> = if name == "bart" {
                let config = bart::Config::from_json(&settings).expect(name);
                Box::new(Bart::new(&config, Precision::F32, vb).expect(name))
            } else {
                let config = t5::Config::resolve(&settings, &read.tensors).expect(name);
                Box::new(T5::new(&config, Precision::F32, vb).expect(name))
            };
            let recording = Recording::open(&folder, "io").expect(name).expect("it is recorded");
            let io = read_json(&folder.join("io.json")).expect(name);
            let checks = check(&*model, &parameters, &recording, &io).expect(name);
            assert!(checks.len() > 40, "{name}: {} checks", checks.len());
            for check in checks {
                assert!(check.pass, "{name}: {check:?}");
            }
        }
    }
}
