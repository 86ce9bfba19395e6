//! The header of a GGUF file: counts, metadata, and the place of each tensor.
//!
//! Nothing is allocated for a number that a file merely states: every item is read before the next is asked for,
//! and the numbers of items are bounded.

use serde_json::{Number, Value};

use super::{MAGIC, Settings};

/// Elements of all lists together. The largest vocabularies need about a million (tokens, types, merges).
const MAX_ELEMENTS: u64 = 1 << 22;
/// Tensors, and metadata entries. The largest published models have a few thousand.
const MAX_ENTRIES: u64 = 1 << 16;
/// Dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;
/// Where tensors begin, unless `general.alignment` says otherwise.
const ALIGNMENT: u64 = 32;

/// What a header says.
pub struct Header {
    pub metadata: Settings,
    pub tensors: Vec<TensorInfo>,
    /// Where tensor data begins in the file.
    pub data_start: u64,
}

/// What a header says of a tensor.
pub struct TensorInfo {
    pub name: String,
    /// The number of its type.
    pub dtype: u32,
    /// Slowest dimension first.
    pub shape: Vec<usize>,
    /// From the start of the tensor data.
    pub offset: u64,
}

impl Header {
    /// # Errors
    /// What is wrong, for a message that names the file.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = Reader { bytes, at: 0, elements: 0 };
        if reader.take(4, "its first bytes")? != MAGIC {
            return Err("not a GGUF file: it does not begin with `GGUF`".into());
        }
        match reader.u32("the version")? {
            2 | 3 => {}
            version if version.swap_bytes() <= 3 => {
                return Err("a big-endian GGUF file; little-endian ones are read".into());
            }
            version => return Err(format!("GGUF version {version}; versions 2 and 3 are read")),
        }
        let num_tensors = reader.u64("the number of tensors")?;
        let num_entries = reader.u64("the number of metadata entries")?;
        if num_tensors > MAX_ENTRIES || num_entries > MAX_ENTRIES {
            return Err(format!(
                "it claims {num_tensors} tensors and {num_entries} metadata entries; at most {MAX_ENTRIES} are read"
            ));
        }
        let mut metadata = Settings::new();
        for _ in 0..num_entries {
            let key = reader.text("a metadata key")?;
            let kind = reader.u32(&key)?;
            let value = reader.value(kind, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(format!("the metadata key `{key}` occurs twice"));
            }
        }
        let tensors = (0..num_tensors).map(|_| reader.tensor()).collect::<Result<_, _>>()?;
        let alignment = metadata.get("general.alignment").map_or(Some(ALIGNMENT), Value::as_u64);
        let Some(alignment) = alignment.filter(|n| n.is_power_of_two() && *n <= 1 << 20) else {
            return Err(format!(
                "general.alignment is {}; it must be a power of 2",
                metadata["general.alignment"]
            ));
        };
        Ok(Self { metadata, tensors, data_start: (reader.at as u64).next_multiple_of(alignment) })
    }
}

/// A place in the file, and the list elements read so far.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    elements: u64,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(count).ok().and_then(|count| rest.get(..count)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(format!(
                "cut short at byte {}, where {count} bytes of {what} should be; download or copy it again",
                self.at
            )),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let taken = self.take(N as u64, what)?;
        Ok(*taken.first_chunk().expect("as many as were asked for"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &str) -> Result<String, String> {
        let length = self.u64(what)?;
        let bytes = self.take(length, what)?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| format!("{what} at byte {} is no UTF-8", self.at))?;
        Ok(text.to_owned())
    }

    /// A metadata value of the type with this number; `key` is for messages.
    fn value(&mut self, kind: u32, key: &str) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::from(self.array::<1>(key)?[0]),
            1 => Value::from(i8::from_le_bytes(self.array(key)?)),
            2 => Value::from(u16::from_le_bytes(self.array(key)?)),
            3 => Value::from(i16::from_le_bytes(self.array(key)?)),
            4 => Value::from(self.u32(key)?),
            5 => Value::from(i32::from_le_bytes(self.array(key)?)),
            // By its shortest decimal form: 1e-5 was meant, not 9.999999747378752e-6.
            6 => number(f32::from_le_bytes(self.array(key)?).to_string().parse().unwrap_or(f64::NAN), key)?,
            7 => match self.array::<1>(key)? {
                [0] => Value::from(false),
                [1] => Value::from(true),
                [other] => return Err(format!("`{key}` is neither true nor false, but {other}")),
            },
            8 => Value::from(self.text(key)?),
            9 => self.list(key)?,
            10 => Value::from(self.u64(key)?),
            11 => Value::from(i64::from_le_bytes(self.array(key)?)),
            12 => number(f64::from_le_bytes(self.array(key)?), key)?,
            _ => return Err(format!("`{key}` has a value of the unknown type {kind}")),
        })
    }

    fn list(&mut self, key: &str) -> Result<Value, String> {
        let kind = self.u32(key)?;
        if kind == 9 {
            return Err(format!("`{key}` is a list of lists, which no model needs"));
        }
        let length = self.u64(key)?;
        self.elements = self.elements.saturating_add(length);
        if self.elements > MAX_ELEMENTS {
            return Err(format!("`{key}` is a list of {length}; at most {MAX_ELEMENTS} elements are read"));
        }
        (0..length).map(|_| self.value(kind, key)).collect::<Result<Vec<_>, _>>().map(Value::Array)
    }

    fn tensor(&mut self) -> Result<TensorInfo, String> {
        let name = self.text("a tensor's name")?;
        let dimensions = self.u32(&name)?;
        if dimensions > MAX_DIMENSIONS {
            return Err(format!(
                "the tensor `{name}` has {dimensions} dimensions; at most {MAX_DIMENSIONS} are read"
            ));
        }
        let sizes = (0..dimensions).map(|_| self.u64(&name)).collect::<Result<Vec<_>, _>>()?;
        let shape: Option<Vec<usize>> = sizes.iter().rev().map(|&size| usize::try_from(size).ok()).collect();
        let shape = shape.ok_or_else(|| format!("the tensor `{name}` has an absurd shape: {sizes:?}"))?;
        Ok(TensorInfo { dtype: self.u32(&name)?, offset: self.u64(&name)?, name, shape })
    }
}

/// JSON has no infinity and no NaN, and no setting is either.
fn number(x: f64, key: &str) -> Result<Value, String> {
    Number::from_f64(x).map(Value::Number).ok_or_else(|| format!("`{key}` is {x}, which is no number"))
}
