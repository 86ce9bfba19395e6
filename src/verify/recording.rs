//! A recording's tensors, and the official batch format.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Result, Tensor, bail};
use serde_json::Value;

use super::VerifyError;
use crate::model::glm::Batch;
use crate::nn::{Sequence, Visibility};

/// The tensors of `NAME.safetensors`.
pub struct Recording {
    pub name: String,
    pub file: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Recording {
    /// `None` when the folder has no such recording.
    ///
    /// # Errors
    /// When it can't be read, or when only its other half, `NAME.json`, is there.
    pub fn open(folder: &Path, name: &str) -> std::result::Result<Option<Self>, VerifyError> {
        let file = folder.join(format!("{name}.safetensors"));
        if !file.is_file() {
            let half = folder.join(format!("{name}.json"));
            return if half.is_file() { Err(missing(file, &half)) } else { Ok(None) };
        }
        let broken = |reason: String| VerifyError::Unreadable { file: file.clone(), reason };
        let tensors =
            candle_core::safetensors::load(&file, &Device::Cpu).map_err(|e| broken(e.to_string()))?;
        Ok(Some(Self { name: name.into(), file, tensors }))
    }

    /// A recorded tensor.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        let Some(tensor) = self.tensors.get(name) else {
            bail!("{}: no tensor `{name}`", self.file.display());
        };
        Ok(tensor)
    }

    /// A recorded tensor that may be absent.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The cases that the recording's other half, `NAME.json`, lists, in order.
    ///
    /// # Errors
    /// When that can't be read, or lists none.
    pub fn cases(&self) -> Result<Vec<String>> {
        let half = self.file.with_extension("json");
        if !half.is_file() {
            return Err(candle_core::Error::wrap(missing(half, &self.file)));
        }
        let listed = read_json(&half).map_err(candle_core::Error::wrap)?;
        match listed.as_object() {
            Some(cases) if !cases.is_empty() => Ok(cases.keys().cloned().collect()),
            _ => bail!("{}: it lists no cases", half.display()),
        }
    }

    /// Integers of a recorded tensor, flat.
    pub fn integers(&self, name: &str) -> Result<Vec<u32>> {
        integers(self.get(name)?)
    }

    /// The name of a check of this recording.
    pub fn case(&self, case: &str) -> String {
        format!("{}/{case}", self.name)
    }
}

/// A file that is not there, though another says that it should be.
pub fn missing(file: PathBuf, other: &Path) -> VerifyError {
    let other = other.file_name().unwrap_or_default().display();
    VerifyError::Unreadable { file, reason: format!("missing, though {other} is there; fetch both") }
}

/// Reads a JSON file.
pub fn read_json(file: &Path) -> std::result::Result<Value, VerifyError> {
    let broken = |reason: String| VerifyError::Unreadable { file: file.into(), reason };
    let text = std::fs::read_to_string(file).map_err(|e| broken(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| broken(e.to_string()))
}

/// Integers of a tensor, flat.
pub fn integers(tensor: &Tensor) -> Result<Vec<u32>> {
    let values = tensor.flatten_all()?.to_vec1::<i64>()?;
    values.into_iter().map(|v| u32::try_from(v).map_err(candle_core::Error::wrap)).collect()
}

/// A rectangular batch in the official format.
///
/// # Shapes
/// - `input_ids`: `[b, s]`; `position_ids`: `[b, 2, s]`, or `[b, s]` without block positions
/// - `attention_mask`: one prefix length, or one a row, or a 0/1 matrix `[b or 1, 1, s, s + cached]`
/// - `cached`: tokens of each row that are in the cache
pub fn batch(
    input_ids: &Tensor,
    position_ids: &Tensor,
    attention_mask: &Tensor,
    cached: usize,
) -> Result<Batch> {
    let (b, s) = input_ids.dims2()?;
    let positions = integers(position_ids)?;
    if b * s == 0 || ![b * s, 2 * b * s].contains(&positions.len()) {
        bail!("recorded ids of shape [{b}, {s}] have {} positions", positions.len());
    }
    let per_row = positions.len() / b; // s, or 2 s
    let rows = positions.chunks(per_row);
    let block_positions = |row: &[u32]| if per_row == s { vec![0; s] } else { row[s..].to_vec() };
    let mask = integers(attention_mask)?;
    // One prefix length, or one a row, or a matrix of `s` rows of at least all keys, for one row or for each.
    let matrix = [s, b * s].iter().any(|rows| mask.len() % rows == 0 && mask.len() / rows >= s + cached);
    if mask.len() != 1 && mask.len() != b && !matrix {
        bail!("recorded ids of shape [{b}, {s}] have a mask of {} elements", mask.len());
    }
    Ok(Batch {
        ids: integers(input_ids)?,
        positions: rows.clone().flat_map(|row| row[..s].to_vec()).collect(),
        block_positions: rows.flat_map(block_positions).collect(),
        layout: crate::nn::Layout::new((0..b).map(|row| sequence(row, b, s, cached, &mask)).collect()),
    })
}

/// The meaning of a mask is decided by its number of elements, as in the official code.
fn sequence(row: usize, b: usize, s: usize, cached: usize, mask: &[u32]) -> Sequence {
    let prefix = |length: u32| Sequence { cached, ..Sequence::prefix_lm(s, length as usize) };
    match mask.len() {
        1 => prefix(mask[0]),
        n if n == b => prefix(mask[row]),
        n => {
            let keys = s + cached;
            let one = if n == s * keys { mask } else { &mask[row * n / b..(row + 1) * n / b] };
            let width = one.len() / s; // the last `keys` columns count
            let visible = one.chunks(width).flat_map(|r| &r[width - keys..]).map(|&v| v == 1).collect();
            Sequence { cached, visibility: Visibility::Matrix { visible, keys } }
        }
    }
}
