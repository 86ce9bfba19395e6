//! `glm-eval convert`: any readable checkpoint to a model directory.
#![allow(clippy::doc_markdown, reason = "PyTorch and DeepSpeed are names, and help texts show backticks")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use candle_core::{DType, Tensor};

use crate::checkpoint::{self, Checkpoint, Layout, Settings};
use crate::model::glm::Config;

const EXAMPLES: &str = "\
Examples:
  An official checkpoint, whatever its number of model-parallel ranks:
    glm-eval convert blocklm-base-blank models/glm-base --tokenizer bert-base-uncased
  A folder from the Hugging Face hub, halved:
    glm-eval convert glm-10b models/glm-10b --dtype f16
  Weights that came without a config.json:
    glm-eval convert mp_rank_00_model_states.pt model --num-attention-heads 16
  The weights alone:
    glm-eval convert pytorch_model.bin model.safetensors --format safetensors";

/// Convert any readable checkpoint to a model directory.
///
/// Reads official GLM checkpoints (Megatron and DeepSpeed, any number of model-parallel ranks), folders of the
/// Hugging Face hub (safetensors or PyTorch, sharded or not) and single weight files. PyTorch files are parsed
/// as data: no code in them is run.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Convert {
    /// Checkpoint to read: a folder or a weight file
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Model directory (or safetensors file) to write
    #[arg(value_name = "DST")]
    destination: PathBuf,
    /// Use this config.json in place of the one beside the weights
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Number of attention heads, which weights don't tell; without a config.json, heads of 64 are assumed
    #[arg(long, value_name = "N")]
    num_attention_heads: Option<usize>,
    /// Put this tokenizer.json (or the one in this folder) beside the weights
    #[arg(long, value_name = "DIR|FILE")]
    tokenizer: Option<PathBuf>,
    /// Type of the weights written
    #[arg(long, value_enum, default_value_t = WeightType::Keep)]
    dtype: WeightType,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::ModelDir)]
    format: Format,
    /// Replace an earlier model at DST
    #[arg(long)]
    force: bool,
}

/// Types that weights can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum WeightType {
    /// As they are
    Keep,
    /// Single precision
    F32,
    /// Half precision
    F16,
    /// Half precision with the range of single precision
    Bf16,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// config.json, model.safetensors, README.md, and the source's tokenizer.json and recipe.toml
    ModelDir,
    /// The weights alone, in one file
    Safetensors,
}

impl Convert {
    /// Reads, checks, writes, and says on one line what was done.
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        self.check_destination()?;
        let (source, destination) = (self.source.display(), self.destination.display());
        let read = checkpoint::read(&self.source)?;
        let config = self.settings(&read).with_context(|| format!("cannot convert {source}"))?;
        let tokenizer = self.tokenizer(&read)?;
        let tensors = self.dtype.apply(&read.tensors).context("cannot change the type of the weights")?;
        let kept = self.dtype == WeightType::Keep;
        let sha256 = if kept { read.sha256.clone() } else { checkpoint::sha256(&tensors) };
        let written = match self.format {
            Format::Safetensors => checkpoint::write_safetensors(&self.destination, &tensors),
            Format::ModelDir => {
                let readme = readme(&self.source, &self.destination, &read, &tensors, &sha256);
                let mut others = vec![("README.md", readme.into_bytes())];
                others.extend(tokenizer.map(|bytes| ("tokenizer.json", bytes)));
                if let Some(file) = &read.recipe {
                    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
                    others.push((checkpoint::RECIPE, bytes));
                }
                checkpoint::write_model_dir(&self.destination, &config, &tensors, &others)
            }
        };
        written.with_context(|| format!("cannot write {destination}"))?;
        writeln!(
            std::io::stdout(),
            "read {source} ({}; {}; sha256 {}), wrote {destination} ({}; sha256 {sha256})",
            read.layout,
            describe(&read.tensors),
            read.sha256,
            describe(&tensors),
        )?;
        Ok(ExitCode::SUCCESS)
    }

    /// Before hours of reading: may the destination be written at all?
    fn check_destination(&self) -> anyhow::Result<()> {
        let destination = &self.destination;
        let misplaced = match self.format {
            Format::ModelDir if destination.is_file() => Some("a file, but a model directory is a folder"),
            Format::Safetensors if destination.is_dir() => Some("a folder, but safetensors is one file"),
            _ => None,
        };
        if let Some(problem) = misplaced {
            bail!("{}: {problem}; choose another destination", destination.display());
        }
        let free = match self.format {
            Format::ModelDir => checkpoint::is_empty_dir(destination),
            Format::Safetensors => !destination.exists(),
        };
        ensure!(free || self.force, "{}: it exists; pass `--force` to replace it", destination.display());
        Ok(())
    }

    /// The `config.json` to write; a GLM's is held against its weights.
    fn settings(&self, read: &Checkpoint) -> anyhow::Result<Settings> {
        let given = self.config.as_deref().map(checkpoint::read_settings).transpose()?;
        let settings = given.or_else(|| read.config.clone());
        if !read.tensors.contains_key("word_embeddings.weight") {
            // Another family: its names and sizes are its own business, and are checked when it is loaded.
            return match settings {
                Some(settings) => Ok(settings),
                None if self.format == Format::Safetensors => Ok(Settings::new()),
                None => {
                    bail!("not a GLM, and there is no config.json to say what it is; pass `--config FILE`")
                }
            };
        }
        let ranks = if let Layout::Megatron { ranks } = read.layout { ranks } else { 1 };
        let is_assumed = settings.is_none() && self.num_attention_heads.is_none();
        let heads = if is_assumed { assumed_heads(read, ranks) } else { self.num_attention_heads };
        let config = Config::resolve(settings.as_ref(), &read.tensors, heads)?;
        checkpoint::check_weights(&config.parameters(), &read.tensors)?;
        let found = config.num_attention_heads;
        if found % ranks != 0 {
            bail!(
                "{found} heads cannot have been split over {ranks} ranks; pass another `--num-attention-heads`"
            );
        }
        if is_assumed && self.format == Format::ModelDir {
            note(&format!(
                "the weights don't tell the number of attention heads: {found} are assumed, of {} each; \
                 if that is wrong, so is everything the model says: pass `--num-attention-heads N`",
                config.hidden_size / found
            ));
        }
        let mut settings = settings.unwrap_or_default();
        let known = serde_json::to_value(config)?;
        settings.extend(known.as_object().cloned().unwrap_or_default());
        settings.entry("model_type").or_insert("glm".into());
        // Names of Python classes and of the type as it was: neither holds for what is written.
        for stale in ["auto_map", "torch_dtype", "dtype"] {
            settings.shift_remove(stale);
        }
        Ok(settings)
    }

    /// The bytes of `tokenizer.json`: from the option, else from beside the weights.
    fn tokenizer(&self, read: &Checkpoint) -> anyhow::Result<Option<Vec<u8>>> {
        let file = match &self.tokenizer {
            Some(path) if path.is_dir() => Some(path.join("tokenizer.json")),
            Some(path) => Some(path.clone()),
            None => read.tokenizer.clone(),
        };
        let Some(file) = file else {
            if self.format == Format::ModelDir {
                note("no tokenizer.json beside the weights; pass `--tokenizer` to add one");
            }
            return Ok(None);
        };
        let place = file.display();
        let bytes = fs::read(&file).with_context(|| format!("{place}: cannot read the tokenizer"))?;
        serde_json::from_slice::<serde::de::IgnoredAny>(&bytes)
            .with_context(|| format!("{place}: not a tokenizer.json"))?;
        Ok(Some(bytes))
    }
}

impl WeightType {
    /// Changes the type of floating-point weights; ids and masks keep theirs.
    fn apply(self, tensors: &BTreeMap<String, Tensor>) -> candle_core::Result<BTreeMap<String, Tensor>> {
        let dtype = match self {
            Self::Keep => return Ok(tensors.clone()),
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        };
        let convert = |tensor: &Tensor| {
            if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { Ok(tensor.clone()) }
        };
        tensors.iter().map(|(name, tensor)| Ok((name.clone(), convert(tensor)?))).collect()
    }
}

/// `41 tensors, 222400 parameters, f32`.
fn describe(tensors: &BTreeMap<String, Tensor>) -> String {
    let parameters: usize = tensors.values().map(Tensor::elem_count).sum();
    let mut types: Vec<&str> = tensors.values().map(|tensor| tensor.dtype().as_str()).collect();
    types.sort_unstable();
    types.dedup();
    format!("{} tensors, {parameters} parameters, {}", tensors.len(), types.join(" and "))
}

/// Provenance, without paths of the machine it was made on.
fn readme(
    source: &Path,
    destination: &Path,
    read: &Checkpoint,
    tensors: &BTreeMap<String, Tensor>,
    sha256: &str,
) -> String {
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let files: Vec<String> = read.files.iter().map(|file| format!("`{}`", name(file))).collect();
    format!(
        "# {}\n\nConverted by glm-eval {} from `{}` ({}: {}).\n\n\
         | | weights | sha256 of the weights |\n|---|---|---|\n\
         | read | {} | `{}` |\n| written | {} | `{sha256}` |\n",
        name(destination),
        env!("CARGO_PKG_VERSION"),
        name(source),
        read.layout,
        files.join(", "),
        describe(&read.tensors),
        read.sha256,
        describe(tensors),
    )
}

fn note(text: &str) {
    super::message(&format!("note: {text}"));
}

/// Heads of 64 as in all published models, or as many as the ranks if these rule that out. `None` leaves it to
/// the weights, which is an error where heads of 64 do not divide the width.
fn assumed_heads(read: &Checkpoint, ranks: usize) -> Option<usize> {
    let width = read.tensors["word_embeddings.weight"].dims().last().copied()?;
    (width.is_multiple_of(64) && !(width / 64).is_multiple_of(ranks) && width.is_multiple_of(ranks))
        .then_some(ranks)
}
