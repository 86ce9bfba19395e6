//! Safetensors files: a JSON header, then the numbers.
//!
//! The `safetensors` crate checks lengths, offsets and coverage; what it lets pass, a name that occurs twice, is
//! checked here.
//!
//! Format: <https://github.com/huggingface/safetensors>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use candle_core::{DType, Tensor};
use safetensors::SafeTensors;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{CheckpointError, mapped};

/// Reads all tensors of a file, in their stored type.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    parse(path, mapped::map(path)?.as_ref())
}

/// All tensors in the bytes of a file; `path` is what errors call it.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let broken = |source| CheckpointError::Safetensors { path: path.to_owned(), source };
    let file = SafeTensors::deserialize(bytes).map_err(broken)?;
    check_names(path, bytes)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let dtype =
            DType::try_from(view.dtype()).ok().filter(|dtype| is_supported(*dtype)).ok_or_else(|| {
                let problem =
                    format!("`{name}` has elements of type {}, which are not supported", view.dtype());
                CheckpointError::malformed(path, problem)
            })?;
        tensors.insert(name.to_owned(), mapped::tensor(path, name, view.data(), dtype, view.shape())?);
    }
    if tensors.is_empty() {
        return Err(CheckpointError::malformed(path, "it holds no tensors"));
    }
    Ok(tensors)
}

/// The types that can be computed with or converted; candle's others are names only.
fn is_supported(dtype: DType) -> bool {
    use DType::{BF16, F16, F32, F64, I16, I32, I64, U8, U32};
    matches!(dtype, BF16 | F16 | F32 | F64 | I16 | I32 | I64 | U8 | U32)
}

/// `bytes` have a valid header, but a JSON reader keeps the last of two equal names and drops the first.
fn check_names(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let length = bytes.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length) as usize);
    let mut header = serde_json::Deserializer::from_slice(&bytes[8..8 + length]);
    header.deserialize_map(DistinctKeys).map_err(CheckpointError::json(path))
}

/// Accepts an object whose keys all differ.
struct DistinctKeys;

impl<'de> Visitor<'de> for DistinctKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with distinct names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format!("the name `{twice}` occurs twice")));
            }
        }
        Ok(())
    }
}
