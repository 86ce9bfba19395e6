//! What a run leaves: a model directory, with a README that says how it came about, and the loss curve.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};

use super::log::{self, Line};
use super::network::to_settings;
use super::{Config, Position, PretrainError, Pretraining, plot};
use crate::checkpoint;
use crate::results::atomic;

/// What the README says of the circumstances.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The command, without folders of this machine.
    pub command: String,
    /// The processor or GPU.
    pub machine: Option<String>,
    /// Threads of the computation.
    pub threads: usize,
    /// The commit of the program.
    pub git_hash: Option<String>,
}

/// What a run writes when it has ended. One that was killed before its first checkpoint has left a log and none of these.
const OF_A_MODEL: [&str; 4] = ["model.safetensors", "config.json", "README.md", "loss.svg"];

impl Pretraining<'_> {
    /// A run that begins replaces nothing, and puts no model beside weights of another.
    pub(super) fn check_free(&self) -> Result<(), PretrainError> {
        match self.of_another_model().into_iter().next() {
            Some(file) => Err(PretrainError::Taken(file)),
            None if checkpoint::is_there(&self.folder) => Err(PretrainError::OtherModel(self.folder.clone())),
            None => Ok(()),
        }
    }

    /// Files that a run would replace. A tokenizer that is this run's own stays: the configuration may name it there.
    fn of_another_model(&self) -> Vec<PathBuf> {
        let there = |name: &str| Some(self.folder.join(name)).filter(|file| file.exists());
        let is_other = |file: &PathBuf| {
            std::fs::read(file).map_or(true, |bytes| bytes != self.tokenizer.to_json().as_bytes())
        };
        OF_A_MODEL.into_iter().filter_map(there).chain(there("tokenizer.json").filter(is_other)).collect()
    }

    /// Removes an earlier run's model, so that it isn't taken for that of the next one.
    pub(super) fn remove_model(&self) -> Result<(), PretrainError> {
        self.of_another_model().iter().try_for_each(|file| remove(file))
    }

    /// Writes the model directory's files, each whole or not at all; the weights last but for the README. `peak` is the
    /// machine's, in floating-point operations a second, as it was measured before training.
    pub(super) fn write_model(&self, position: Position, peak: Option<f64>) -> Result<(), PretrainError> {
        let file = |name: &str| self.folder.join(name);
        let lines = log::lines(&self.log_file())?;
        let name = self.folder.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy());
        atomic::write(&file("loss.svg"), plot::loss_curve(&lines, &name).as_bytes())?;
        let architecture = self.network.architecture();
        let mut json = serde_json::to_vec_pretty(&to_settings(architecture)).expect("numbers and texts");
        json.push(b'\n');
        atomic::write(&file("config.json"), &json)?;
        atomic::write(&file("tokenizer.json"), self.tokenizer.to_json().as_bytes())?;
        let config = toml::to_string(&self.shown_config()).expect("it was read from TOML");
        let told = file("pretrain.toml");
        let is_own = self.config_file.as_deref().is_some_and(|file| is_same(&told, file));
        if !self.is_told_by(&told) && !is_own {
            atomic::write(&told, config.as_bytes())?;
        }
        let format = self.config.output.weights;
        let mut weights = std::collections::BTreeMap::new();
        for (weight, var) in self.network.parameters().iter() {
            let published = architecture.published(weight, var.as_tensor());
            let stored = published
                .and_then(|published| rounded(&published, format.dtype()))
                .map_err(PretrainError::Tensor)?;
            let stored = stored.ok_or_else(|| PretrainError::TooLarge {
                weight: weight.into(),
                format: format.dtype().as_str(),
            })?;
            weights.insert(weight.to_string(), stored);
        }
        checkpoint::write_safetensors(&file("model.safetensors"), &weights)
            .map_err(PretrainError::Weights)?;
        atomic::write(&file("README.md"), self.readme(&name, position, peak, &lines, &config).as_bytes())?;
        Ok(())
    }

    /// Does a file say what the run was told, wherever its corpus lies? It may have comments of whoever wrote it.
    fn is_told_by(&self, file: &Path) -> bool {
        let mut shown = self.shown_config();
        Config::read(file).is_ok_and(|mut config| {
            config.corpus.files.clone_from(&shown.corpus.files);
            config.model.tokenizer.clone_from(&shown.model.tokenizer);
            shown.tokenizer.clone_from(&config.tokenizer); // no run looks at it
            config == shown
        })
    }

    fn readme(
        &self,
        name: &str,
        position: Position,
        peak: Option<f64>,
        lines: &[Line],
        config: &str,
    ) -> String {
        let mut text = String::new();
        let mut row = |what: &str, value: String| {
            writeln!(text, "| {what} | {value} |").expect("a string takes any text");
        };
        let parameters = self.network.parameters().num_elements();
        row("parameters", format!("{:.1} million", parameters as f64 / 1e6));
        row("objective", self.config.objective.name().replace('_', " "));
        let millions = |tokens: u64| format!("{:.2} million", tokens as f64 / 1e6);
        row("tokens of text", millions(position.row_tokens));
        row("tokens that the network read", millions(position.tokens));
        row("tokens that it predicted", millions(position.targets));
        row("updates", position.updates.to_string());
        if position.skipped_rows > 0 {
            row("rows too short to learn from", position.skipped_rows.to_string());
        }
        let speed = position.tokens as f64 / position.secs.max(1e-9);
        row(
            "time",
            format!(
                "{:.2} hours, {speed:.0} tokens/s, measuring and saving included",
                position.secs / 3600.0
            ),
        );
        let shares: Vec<f64> = lines.iter().filter_map(|line| line.share_of_peak).collect();
        if let (Some(middle), Some(peak)) = (median(shares), peak) {
            let (percent, tera) = (100.0 * middle, peak / 1e12);
            row(
                "share of the machine's peak",
                format!(
                    "{percent:.0} % (median over the updates) of {tera:.2} TFLOP/s, the fastest matrix product"
                ),
            );
        }
        let machine = self.about.machine.clone().unwrap_or_else(|| "unknown".into());
        row("machine", format!("{machine}, {} threads", self.about.threads));
        let held_out = lines.iter().rev().find_map(|line| line.held_out_loss);
        if let Some(loss) = held_out {
            row("held-out loss", format!("{loss:.4} nats a predicted token, perplexity {:.2}", loss.exp()));
        }
        if let Some(commit) = &self.about.git_hash {
            row("commit of the program", format!("`{commit}`"));
        }
        row("sha256 of the tokenizer", format!("`{}`", self.tokenizer.sha256()));
        let files = self.tokens.sources.iter().map(|source| {
            format!("| `{}` | {:.1} MB | `{}` |\n", source.name, source.bytes as f64 / 1e6, source.sha256)
        });
        let held_out_tokens =
            self.tokens.held_out.as_ref().map_or(0, crate::objective::Documents::num_tokens);
        let train_tokens = crate::objective::Documents::num_tokens(&self.tokens.train);
        format!(
            "# {name}\n\nPre-trained by\n\n```bash\n{}\n```\n\n| | |\n|---|---|\n{text}\n![Loss over tokens](loss.svg)\n\n\
             The numbers behind the curve are in `train_log.csv`.\n\n## Corpus\n\n| file | size | sha256 |\n|---|---|---|\n{}\n\
             {:.2} million tokens to learn from, {:.2} million held out (by document). No text of the corpus is in this folder.\n\n\
             ## Configuration\n\n```toml\n{config}```\n",
            self.about.command,
            files.collect::<Vec<_>>().concat(),
            train_tokens as f64 / 1e6,
            held_out_tokens as f64 / 1e6,
        )
    }
}

/// Do both paths lead to one file?
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Removes a file.
pub(super) fn remove(file: &Path) -> Result<(), PretrainError> {
    let failed = |source| PretrainError::Remove { file: file.into(), source };
    std::fs::remove_file(file).map_err(failed)
}

/// A weight in the number format that ships; `None` where one of its values is beyond it.
fn rounded(weight: &Tensor, dtype: DType) -> candle_core::Result<Option<Tensor>> {
    let rounded = weight.detach().to_device(&candle_core::Device::Cpu)?.to_dtype(dtype)?;
    let values = rounded.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.iter().all(|value| value.is_finite()).then_some(rounded))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_value_beyond_the_format_is_not_rounded_to_infinity() -> candle_core::Result<()> {
        let weight = |value: f32| Tensor::new(&[1.0, value], &Device::Cpu);
        assert!(rounded(&weight(60_000.0)?, DType::F16)?.is_some());
        assert!(rounded(&weight(70_000.0)?, DType::F16)?.is_none());
        assert!(rounded(&weight(70_000.0)?, DType::BF16)?.is_some());
        Ok(())
    }
}
