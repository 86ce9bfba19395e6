//! From the tensors of a checkpoint to the weights of a model, in one way for all families.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::architecture::{Architecture, Build, Head, Part};
use super::{ModelError, Parameters};
use crate::checkpoint::{self, CheckpointError};
use crate::nn::Precision;

/// A checkpoint's tensors under the published names, held against what the family needs: the body must be there,
/// heads may be.
///
/// # Errors
/// When anything is missing from the body, of another shape, or belongs to neither body nor head; all are listed.
pub fn fit(
    architecture: &dyn Architecture,
    tensors: BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let mut tensors = architecture.rename(tensors)?;
    tensors.retain(|name, _| !architecture.is_unneeded(name));
    let heads = [Head::Vocabulary, Head::Classes { outputs: 1, spans: 0 }];
    let of_heads: BTreeSet<String> = heads
        .into_iter()
        .flat_map(|head| architecture.head(head))
        .flat_map(|part| part.weights)
        .map(|(name, _)| name)
        .collect();
    let body: Vec<_> = architecture.body();
    let is_body = |name: &str| !of_heads.contains(name) || body.iter().any(|(known, _)| known == name);
    let found = tensors.iter().filter(|(name, _)| is_body(name));
    let found = found.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    checkpoint::check_weights(&body, &found)?;
    Ok(tensors)
}

/// Number of weights of the body and of the head it was pre-trained with.
pub fn num_parameters(architecture: &dyn Architecture) -> usize {
    let head = architecture.head(Head::Vocabulary).into_iter().flat_map(|part| part.weights);
    architecture.body().into_iter().chain(head).map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// How a part of a head fares with a checkpoint.
enum State {
    /// It can be loaded.
    There,
    /// It is absent, or its last layer is of other outputs: it has to be drawn.
    Absent,
}

/// Is the part in the checkpoint?
///
/// # Errors
/// When only some of its weights are.
fn state(part: &Part, tensors: &BTreeMap<String, Tensor>) -> Result<State, CheckpointError> {
    let shapes: Vec<Option<&[usize]>> =
        part.weights.iter().map(|(name, _)| tensors.get(name).map(Tensor::dims)).collect();
    if shapes.iter().zip(&part.weights).all(|(found, (_, shape))| *found == Some(shape)) {
        return Ok(State::There);
    }
    if shapes.iter().any(Option::is_none) && shapes.iter().any(Option::is_some) {
        let names: BTreeSet<&str> = part.weights.iter().map(|(name, _)| name.as_str()).collect();
        let found = tensors.iter().filter(|(name, _)| names.contains(name.as_str()));
        let found = found.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        checkpoint::check_weights(&part.weights, &found)?;
    }
    Ok(State::Absent)
}

/// The parts of a head that have to be drawn: those that the checkpoint lacks, or all, without one.
///
/// # Errors
/// When a checkpoint lacks a part and it is not going to be trained, or has half of one.
pub fn drawn(
    architecture: &dyn Architecture,
    tensors: Option<&BTreeMap<String, Tensor>>,
    head: Head,
    is_trained: bool,
) -> Result<Vec<Part>, ModelError> {
    let parts = architecture.head(head);
    let Some(tensors) = tensors else { return Ok(parts) };
    let mut drawn = Vec::new();
    for part in parts {
        match state(&part, tensors).map_err(Box::new)? {
            State::There => {}
            State::Absent if is_trained => drawn.push(part),
            State::Absent => {
                let weights =
                    part.weights.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(ModelError::MissingHead { part: part.name, weights });
            }
        }
    }
    Ok(drawn)
}

/// The weights of a body with a head: those of the checkpoint, and drawn ones for the parts of the head that it
/// lacks. Without a checkpoint all are drawn.
///
/// # Errors
/// When a part of the head is neither there nor going to be trained.
pub fn parameters(
    architecture: &dyn Architecture,
    tensors: Option<&BTreeMap<String, Tensor>>,
    build: &Build,
) -> Result<Parameters, ModelError> {
    let dtype = Precision::of(build.dtype, &build.device).0;
    let draw = |weights: Vec<(String, Vec<usize>)>| {
        let weights = weights.into_iter().map(|(name, shape)| {
            let initial = architecture.initial(&name);
            (name, shape, initial)
        });
        Parameters::draw(weights, build.seed, dtype, &build.device)
    };
    let parts = architecture.head(build.head);
    let Some(tensors) = tensors else {
        let head = parts.into_iter().flat_map(|part| part.weights);
        return Ok(draw(architecture.body().into_iter().chain(head).collect())?);
    };
    let drawn = drawn(architecture, Some(tensors), build.head, build.is_trained)?;
    let loaded = parts.iter().filter(|part| !drawn.contains(part)).flat_map(|part| part.weights.clone());
    let loaded = architecture.body().into_iter().chain(loaded).filter_map(|(name, _)| {
        let tensor = tensors.get(&name)?.clone();
        Some((name, tensor))
    });
    let mut parameters = Parameters::load(&loaded.collect(), dtype, &build.device)?;
    parameters.extend(draw(drawn.into_iter().flat_map(|part| part.weights).collect())?);
    Ok(parameters)
}

/// Gives tensors other names.
///
/// # Errors
/// When two of them get the same.
pub fn rename(
    tensors: BTreeMap<String, Tensor>,
    published: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let mut renamed = BTreeMap::new();
    for (old, tensor) in tensors {
        let name = published(&old);
        if renamed.insert(name.clone(), tensor).is_some() {
            return Err(CheckpointError::TwoNames { name, other: old });
        }
    }
    Ok(renamed)
}

/// Removes the copy of a tied weight that some checkpoints have.
///
/// # Errors
/// When the copy differs from the original: then they are not tied.
pub fn tie(
    tensors: &mut BTreeMap<String, Tensor>,
    original: &str,
    copy: &str,
) -> Result<(), CheckpointError> {
    let Some(found) = tensors.remove(copy) else { return Ok(()) };
    let Some(kept) = tensors.get(original) else {
        tensors.insert(original.to_owned(), found);
        return Ok(());
    };
    let same = || -> candle_core::Result<bool> {
        let bytes =
            |tensor: &Tensor| tensor.flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>();
        let (a, b) = (bytes(kept)?, bytes(&found)?);
        Ok(a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()))
    };
    let failed = |source| CheckpointError::Tensor { name: copy.to_owned(), source };
    match same().map_err(failed)? {
        true => Ok(()),
        false => Err(CheckpointError::NotTied { original: original.to_owned(), copy: copy.to_owned() }),
    }
}
