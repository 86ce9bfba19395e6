//! Reading on from tokens already read.

use candle_core::{DType, Device, Result, Tensor};

use super::recording::{Recording, batch};
use super::{Check, Subject, tolerance};
use crate::model::glm::Cache;
use crate::nn::{self, Precision};

/// A reader of the recorded tokens, with its cache and the hidden states it has seen.
struct Reader<'a> {
    subject: &'a Subject<'a>,
    recording: &'a Recording,
    cache: Cache,
    at: usize,
    cached: usize,
    /// `[layer]`: `[b, tokens so far, h]`, what the official memory stores.
    states: Vec<Tensor>,
}

impl<'a> Reader<'a> {
    fn new(subject: &'a Subject<'a>, recording: &'a Recording) -> Self {
        Self { subject, recording, cache: Cache::new(), at: 0, cached: 0, states: Vec::new() }
    }

    /// Reads the next tokens; returns their logits `[b, tokens, v]`.
    fn read(&mut self, tokens: usize, mask: &Tensor) -> Result<Tensor> {
        let input_ids = self.recording.get("input_ids")?.narrow(1, self.at, tokens)?;
        let position_ids = self.recording.get("position_ids")?.narrow(2, self.at, tokens)?;
        let batch = batch(&input_ids, &position_ids, mask, self.cached)?;
        let (b, glm) = (input_ids.dim(0)?, self.subject.glm);
        let mut states = Vec::new();
        let hidden = glm.extend_watched(&batch, &mut self.cache, |xs| states.push(xs.clone()))?;
        for (layer, state) in states.into_iter().enumerate() {
            let state = state.reshape((b, tokens, ()))?;
            match self.states.get_mut(layer) {
                Some(all) => *all = Tensor::cat(&[all.clone(), state], 1)?,
                None => self.states.push(state),
            }
        }
        self.at += tokens;
        self.cached += tokens;
        nn::logits(&hidden, glm.word_embeddings(), Precision::F32)?.reshape((b, tokens, ()))
    }

    fn keep_last(&mut self, limit: usize) -> Result<()> {
        self.cache.keep_last(limit)?;
        let kept = self.cached.min(limit);
        for state in &mut self.states {
            *state = state.narrow(1, self.cached - kept, kept)?;
        }
        self.cached = kept;
        Ok(())
    }

    /// The hidden states against those recorded under `name`.
    fn check_states(&self, name: &str) -> Result<Vec<Check>> {
        let recorded = |layer: usize| self.recording.find(&format!("{name}.mem{layer}"));
        let states = self
            .states
            .iter()
            .enumerate()
            .filter_map(|(layer, state)| Some((layer, state, recorded(layer)?)));
        let case = self.recording.case(name);
        states
            .map(|(l, ours, theirs)| {
                Check::tensors(&case, &format!("mem{l}"), ours, theirs, tolerance::LOGITS)
            })
            .collect()
    }

    fn check_logits(&self, name: &str, logits: &Tensor) -> Result<Check> {
        let recorded = self.recording.get(&format!("{name}.logits"))?;
        Check::tensors(&self.recording.case(name), "logits", logits, recorded, tolerance::LOGITS)
    }
}

fn prefix(length: i64) -> Result<Tensor> {
    Tensor::new(&[length], &Device::Cpu)
}

/// Step by step, in chunks under each form of the mask, and with a bounded memory.
pub fn check(subject: &Subject, recording: &Recording) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let mut reader = Reader::new(subject, recording);
    let logits = reader.read(12, &prefix(11)?)?;
    checks.push(reader.check_logits("prefill", &logits)?);
    checks.extend(reader.check_states("prefill")?);
    let steps = (0..6).map(|_| reader.read(1, &prefix(0)?)).collect::<Result<Vec<_>>>()?;
    checks.push(reader.check_logits("steps", &Tensor::cat(&steps, 1)?)?);
    checks.extend(reader.check_states("final")?);

    let mut reader = Reader::new(subject, recording);
    let logits = reader.read(18, &prefix(11)?)?;
    checks.push(reader.check_logits("full", &logits)?);

    let matrix = recording.get("chunk.matrix")?.to_dtype(DType::I64)?;
    let sep0_4 = Tensor::new(&[0i64, 4], &Device::Cpu)?;
    for (name, mask) in [("chunk.sep0_4", &sep0_4), ("chunk.sep3", &prefix(3)?), ("chunk.matrix", &matrix)] {
        let mut reader = Reader::new(subject, recording);
        let first = reader.read(8, &prefix(8)?)?;
        if name == "chunk.sep3" {
            checks.push(reader.check_logits("chunk.prefill", &first)?);
        }
        let logits = reader.read(6, mask)?;
        checks.push(reader.check_logits(name, &logits)?);
    }

    let mut reader = Reader::new(subject, recording);
    reader.read(12, &prefix(11)?)?;
    reader.keep_last(10)?;
    checks.extend(reader.check_states("bounded10.prefill")?);
    let logits = reader.read(3, &prefix(0)?)?;
    checks.push(reader.check_logits("bounded10.next3", &logits)?);
    reader.keep_last(10)?;
    checks.extend(reader.check_states("bounded10.next3")?);
    Ok(checks)
}
