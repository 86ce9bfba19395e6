//! `glm-eval verify`.
#![allow(clippy::doc_markdown, reason = "help texts show backticks")]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use candle_core::DType;

use super::device::DeviceArg;
use crate::checkpoint::{self, Checkpoint};
use crate::model::Parameters;
use crate::model::glm::Config;
use crate::verify::{Check, hf, verify};

/// Hold recordings of the official code, or of Hugging Face's transformers, against a model: one line a case.
///
/// Exits with 1 when a case is above its tolerance.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  glm-eval verify recordings/block_v1000
  glm-eval verify recordings/block_v1000 --model my-converted-copy --json")]
pub struct Verify {
    /// Folder with config.json, weights, and recordings (forward.safetensors, loss_grad.safetensors, …)
    recordings: PathBuf,
    /// Another copy of the weights to check in place of those beside the recordings
    #[arg(short, long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where to compute: auto, cpu, or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceArg,
    /// One JSON object a line: case, what, max_abs_diff, tolerance, pass
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        let device = self.device.open()?;
        let mut out = std::io::stdout().lock();
        let (mut cases, mut failed) = (0, 0);
        let mut written = Ok(());
        let report = |check: Check| {
            cases += 1;
            failed += usize::from(!check.pass);
            if written.is_ok() {
                written = self.print(&mut out, &check);
            }
        };
        if hf::is_recording(&self.recordings) {
            let checkpoint = checkpoint::read(self.model.as_ref().unwrap_or(&self.recordings))?;
            for name in hf::verify(&self.recordings, checkpoint, &device, report)? {
                tracing::warn!("{name}: this program does not check such recordings yet");
            }
        } else {
            let (config, checkpoint) = self.subject()?;
            let parameters = Parameters::load(&checkpoint.tensors, DType::F32, &device)?;
            verify(&self.recordings, &config, &parameters, report)?;
        }
        super::unless_closed(written)?;
        if !self.json {
            let _ = writeln!(out, "{} of {cases} comparisons within tolerance", cases - failed);
        }
        Ok(ExitCode::from(u8::from(failed > 0)))
    }

    /// The sizes that the recordings were made with, and the weights to check.
    fn subject(&self) -> anyhow::Result<(Config, Checkpoint)> {
        let Some(model) = &self.model else {
            let checkpoint = checkpoint::read(&self.recordings)?;
            let config = Config::resolve(checkpoint.config.as_ref(), &checkpoint.tensors, None)?;
            return Ok((config, checkpoint));
        };
        let checkpoint = checkpoint::read(model)?;
        let file = self.recordings.join("config.json");
        if !file.is_file() {
            let config = Config::resolve(checkpoint.config.as_ref(), &checkpoint.tensors, None)?;
            return Ok((config, checkpoint));
        }
        let config = Config::from_json(&checkpoint::read_settings(&file)?)?;
        checkpoint::check_weights(&config.parameters(), &checkpoint.tensors)
            .with_context(|| format!("{} does not fit the recordings", model.display()))?;
        // The number of heads leaves no trace in the weights, so a conversion may have had to guess it.
        let own = checkpoint.config.as_ref().map(Config::from_json).transpose()?;
        if let Some(own) = own.filter(|own| own.num_attention_heads != config.num_attention_heads) {
            tracing::warn!(
                "{}: its config.json has {} attention heads, the recordings were made with {}, which are used",
                model.display(),
                own.num_attention_heads,
                config.num_attention_heads
            );
        }
        Ok((config, checkpoint))
    }

    fn print(&self, out: &mut impl Write, check: &Check) -> std::io::Result<()> {
        if self.json {
            return writeln!(out, "{}", serde_json::to_string(check)?);
        }
        let verdict = if check.pass { "ok  " } else { "FAIL" };
        let diff = check.max_abs_diff.map_or("NaN".into(), |d| format!("{d:.1e}"));
        writeln!(out, "{verdict} {diff:>8} of {:.0e}  {} {}", check.tolerance, check.case, check.what)
    }
}
