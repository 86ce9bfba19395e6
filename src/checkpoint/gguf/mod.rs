//! GGUF: one file with a model's settings, its vocabulary and its weights, most of them quantized.
//!
//! The header is read here, since candle's reader takes a file's word for more than a file of unknown origin
//! deserves (an alignment of 0 is divided by, sizes overflow); candle's blocks are what is dequantized with.
//! [`llama`] gives settings and weights the names and the layout of Hugging Face, [`vocabulary`] the tokenizer.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.

mod header;
pub mod llama;
pub mod vocabulary;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};
use candle_core::{Device, Tensor};
use serde_json::Value;

use self::header::{Header, TensorInfo};
use super::{CheckpointError, Settings, mapped};

/// The first bytes of every GGUF file.
const MAGIC: &[u8; 4] = b"GGUF";

/// A GGUF file whose header has been read and found sound.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: mapped::Mapped,
    metadata: Settings,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor in the file.
#[derive(Clone, Debug)]
struct Stored {
    dtype: GgmlDType,
    /// Slowest dimension first, as everywhere but in GGUF.
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Gguf {
    /// Reads a header and checks that all it promises is there.
    ///
    /// # Errors
    /// When the file is no GGUF, cut short, contradicts itself, or holds tensors of a type that is not supported.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let map = mapped::map(path)?;
        let broken = |problem: String| CheckpointError::malformed(path, problem);
        let header = Header::read(map.as_ref()).map_err(broken)?;
        let tensors = locate(&header, map.as_ref().len()).map_err(broken)?;
        Ok(Self { path: path.to_owned(), metadata: header.metadata, tensors, map })
    }

    /// What the file says about the model, by the format's own keys.
    pub fn metadata(&self) -> &Settings {
        &self.metadata
    }

    /// A metadata value.
    ///
    /// # Errors
    /// When it is absent.
    pub fn get(&self, key: &str) -> Result<&Value, CheckpointError> {
        self.metadata.get(key).ok_or_else(|| self.problem(format!("its metadata lacks `{key}`")))
    }

    /// A metadata value that is a list of texts.
    ///
    /// # Errors
    /// When it is absent, or something else.
    pub fn texts(&self, key: &str) -> Result<Vec<&str>, CheckpointError> {
        let texts = self.get(key)?.as_array().map(|list| list.iter().map(Value::as_str).collect());
        texts.flatten().ok_or_else(|| self.problem(format!("`{key}` in its metadata is not a list of texts")))
    }

    /// The names of the tensors.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor in f32, in CPU memory.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn tensor(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let stored =
            self.tensors.get(name).ok_or_else(|| self.problem(format!("it lacks the tensor `{name}`")))?;
        let bytes = &self.map.as_ref()[stored.bytes.clone()];
        let blocks = qtensor_from_ggml(stored.dtype, bytes, stored.shape.clone(), &Device::Cpu);
        blocks.and_then(|blocks| blocks.dequantize(&Device::Cpu)).map_err(CheckpointError::tensor(name))
    }

    fn problem(&self, problem: String) -> CheckpointError {
        CheckpointError::malformed(&self.path, problem)
    }
}

/// Is this a GGUF file, by its name?
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// Where each tensor lies in a file of so many bytes. None may reach beyond its end or into another.
fn locate(header: &Header, file_bytes: usize) -> Result<BTreeMap<String, Stored>, String> {
    let mut tensors = BTreeMap::new();
    for info in &header.tensors {
        let stored = place(info, header.data_start)?;
        if stored.bytes.end > file_bytes {
            let (name, missing) = (&info.name, stored.bytes.end - file_bytes);
            return Err(format!(
                "cut short: {missing} bytes of the tensor `{name}` are missing; download or copy it again"
            ));
        }
        if tensors.insert(info.name.clone(), stored).is_some() {
            return Err(format!("the tensor `{}` occurs twice", info.name));
        }
    }
    if tensors.is_empty() {
        return Err("it holds no tensors".into());
    }
    let mut by_place: Vec<(&String, &Stored)> = tensors.iter().collect();
    by_place.sort_by_key(|(_, stored)| (stored.bytes.start, stored.bytes.end));
    match by_place.windows(2).find(|pair| pair[1].1.bytes.start < pair[0].1.bytes.end) {
        Some(pair) => Err(format!("the tensors `{}` and `{}` overlap", pair[0].0, pair[1].0)),
        None => Ok(tensors),
    }
}

/// The bytes of one tensor.
fn place(info: &TensorInfo, data_start: u64) -> Result<Stored, String> {
    let TensorInfo { name, dtype, shape, offset } = info;
    let dtype = supported(*dtype).map_err(|found| {
        format!(
            "the tensor `{name}` is of type {found}, which is not supported; \
             a model in F16, Q8_0, Q4_1 or a K-quant is (`llama-quantize` converts)"
        )
    })?;
    let (width, block) = (shape.last().copied().unwrap_or(1), dtype.block_size());
    if !width.is_multiple_of(block) {
        return Err(format!(
            "the tensor `{name}` has rows of {width} values, which are no whole blocks of {block} ({dtype:?})"
        ));
    }
    let size = mapped::count(shape).and_then(|count| (count / block).checked_mul(dtype.type_size()));
    let start = data_start.checked_add(*offset).and_then(|start| usize::try_from(start).ok());
    let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
    match start.zip(end) {
        Some((start, end)) => Ok(Stored { dtype, shape: shape.clone(), bytes: start..end }),
        None => Err(format!("the tensor `{name}` has an absurd shape or place: {shape:?} at {offset}")),
    }
}

/// The type with this number, or its name where candle has no blocks for it.
///
/// Source: ggml-org/ggml `include/ggml.h`, `enum ggml_type`.
fn supported(number: u32) -> Result<GgmlDType, String> {
    let unsupported = match number {
        0 => return Ok(GgmlDType::F32),
        1 => return Ok(GgmlDType::F16),
        2 => return Ok(GgmlDType::Q4_0),
        3 => return Ok(GgmlDType::Q4_1),
        6 => return Ok(GgmlDType::Q5_0),
        7 => return Ok(GgmlDType::Q5_1),
        8 => return Ok(GgmlDType::Q8_0),
        10 => return Ok(GgmlDType::Q2K),
        11 => return Ok(GgmlDType::Q3K),
        12 => return Ok(GgmlDType::Q4K),
        13 => return Ok(GgmlDType::Q5K),
        14 => return Ok(GgmlDType::Q6K),
        30 => return Ok(GgmlDType::BF16),
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return Err(format!("{number} (unknown)")),
    };
    Err(format!("{unsupported} ({number})"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use candle_core::quantized::{QTensor, gguf_file};
    use proptest::prelude::*;

    use super::*;

    /// The bytes of a file with these metadata and tensors.
    pub(crate) fn bytes(
        metadata: &[(&str, gguf_file::Value)],
        tensors: &[(&str, Tensor, GgmlDType)],
    ) -> Vec<u8> {
        let quantize = |tensor: &Tensor, dtype| QTensor::quantize(tensor, dtype).expect("whole blocks");
        let blocks: Vec<QTensor> =
            tensors.iter().map(|(_, tensor, dtype)| quantize(tensor, *dtype)).collect();
        let named: Vec<_> = tensors.iter().map(|(name, ..)| *name).zip(&blocks).collect();
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let mut file = Cursor::new(Vec::new());
        gguf_file::write(&mut file, &metadata, &named).expect("memory takes all writes");
        file.into_inner()
    }

    fn values(shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).expect("as many as needed")
    }

    fn file() -> Vec<u8> {
        let texts = ["a", "bc"].map(|text| gguf_file::Value::String(text.into())).to_vec();
        let metadata = [
            ("general.architecture", gguf_file::Value::String("llama".into())),
            ("x.count", gguf_file::Value::U32(7)),
            ("x.epsilon", gguf_file::Value::F32(1e-5)),
            ("x.texts", gguf_file::Value::Array(texts)),
        ];
        let tensors = [("norm", values(&[5]), GgmlDType::F32), ("w", values(&[3, 64]), GgmlDType::Q4_1)];
        bytes(&metadata, &tensors)
    }

    fn open(bytes: &[u8]) -> Result<Gguf, String> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, bytes).expect("it can be written");
        Gguf::open(&path).map_err(|error| error.to_string())
    }

    fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        let at = bytes.windows(old.len()).position(|window| window == old).expect("it is there");
        [&bytes[..at], new, &bytes[at + old.len()..]].concat()
    }

    #[test]
    fn settings_and_tensors_are_read_and_dequantized() {
        let gguf = open(&file()).expect("a sound file");
        assert_eq!(gguf.metadata()["x.count"], 7);
        assert_eq!(gguf.metadata()["x.epsilon"], 1e-5); // as written, not as the nearest f32 in 17 digits
        assert_eq!(gguf.texts("x.texts").expect("texts"), ["a", "bc"]);
        let norm = gguf.tensor("norm").expect("a tensor");
        assert_eq!(norm.to_vec1::<f32>().unwrap(), values(&[5]).to_vec1::<f32>().unwrap());
        let w = gguf.tensor("w").expect("a tensor");
        assert_eq!(w.dims(), [3, 64]);
        let error =
            (w - values(&[3, 64])).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(error > 0.0 && error < 2.0 / 15.0, "{error}"); // 4 bits: 15 steps over a range of 2
    }

    /// One block of each type, by the formulas of ggml-org/ggml `src/ggml-quants.c`, `dequantize_row_*`.
    #[test]
    fn blocks_by_hand() {
        let half = |x: f32| half::f16::from_f32(x).to_le_bytes();
        let nibbles = [0x10_u8; 16]; // the low halves (values 0 to 15) are 0, the high ones (16 to 31) 1
        let block = |dtype, bytes: Vec<u8>| {
            let blocks = qtensor_from_ggml(dtype, &bytes, vec![1, 32], &Device::Cpu).expect("one block");
            let values = blocks.dequantize(&Device::Cpu).and_then(|xs| xs.flatten_all()?.to_vec1::<f32>());
            let values = values.expect("32 values");
            (values[0], values[31])
        };
        // d·q + m
        assert_eq!(block(GgmlDType::Q4_1, [&half(0.5)[..], &half(-2.0), &nibbles].concat()), (-2.0, -1.5));
        // d·(q - 8)
        assert_eq!(block(GgmlDType::Q4_0, [&half(0.5)[..], &nibbles].concat()), (-4.0, -3.5));
        // d·q, signed bytes
        let bytes: Vec<u8> = (0..32_i8).map(|q| (q - 31) as u8).collect();
        assert_eq!(block(GgmlDType::Q8_0, [&half(0.25)[..], &bytes].concat()), (-7.75, 0.0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = file();
        let message = |bytes: &[u8]| open(bytes).expect_err("it is broken");
        assert!(message(b"GGML\x02\0\0\0").contains("not a GGUF file"), "{}", message(b"GGML\x02\0\0\0"));
        let version = [&good[..4], &9_u32.to_le_bytes()[..], &good[8..]].concat();
        assert!(message(&version).contains("version 9"), "{}", message(&version));
        let huge = [&good[..8], &u64::MAX.to_le_bytes()[..], &good[16..]].concat();
        assert!(message(&huge).contains("18446744073709551615 tensors"), "{}", message(&huge));
        let cut = &good[..good.len() - 64];
        assert!(message(cut).contains("bytes of the tensor `w` are missing"), "{}", message(cut));
        // Behind `w` come two dimensions of 8 bytes; then the type.
        let name = [&1_u64.to_le_bytes()[..], b"w"].concat();
        let at = good.windows(9).position(|window| window == name).expect("the tensor") + 9 + 4 + 16;
        let of_type = |number: u32| [&good[..at], &number.to_le_bytes()[..], &good[at + 4..]].concat();
        assert!(message(&of_type(23)).contains("`w` is of type IQ4_XS (23)"), "{}", message(&of_type(23)));
        assert!(message(&of_type(99)).contains("99 (unknown)"), "{}", message(&of_type(99)));
        let twice = replaced(&good, &[&4_u64.to_le_bytes()[..], b"norm"].concat(), &name);
        assert!(message(&twice).contains("the tensor `w` occurs twice"), "{}", message(&twice));
        let key = replaced(&good, b"x.count", b"x.texts");
        assert!(message(&key).contains("`x.texts` occurs twice"), "{}", message(&key));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_an_error() {
        let good = file();
        for length in 0..good.len() - 32 {
            assert!(open(&good[..length]).is_err(), "cut to {length} bytes of {}", good.len());
        }
    }

    proptest! {
        #[test]
        fn damage_is_never_a_panic(at in 0..file().len(), value: u8, many: bool) {
            let mut damaged = file();
            let end = if many { damaged.len().min(at + 8) } else { at + 1 };
            damaged[at..end].fill(value);
            if let Ok(gguf) = open(&damaged) {
                for name in gguf.tensor_names() {
                    let tensor = gguf.tensor(name);
                    prop_assert!(tensor.is_ok_and(|tensor| tensor.elem_count() <= 8 * damaged.len()));
                }
            }
        }
    }
}
