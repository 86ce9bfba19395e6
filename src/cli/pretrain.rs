//! `glm-eval pretrain`: pre-training with any objective.

mod show;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use candle_core::Device;

use super::above_zero;
use super::device::{self, DeviceArg};
use super::progress::Bars;
use crate::data::corpus;
use crate::eval::{Progress as _, Stop};
use crate::machine;
use crate::objective::{Corpus, Tokens};
use crate::pretrain::{About, Config, NumberFormat, Parts, Pretraining, train_tokenizer};
use crate::results::atomic;
use crate::tokenizer::Tokenizer;

/// Pre-train a model on your own text, as a configuration says: a small GLM, unless another is given.
///
/// Leaves a model directory with a README, a log of every update and the loss curve. A run that was killed or
/// interrupted goes on where it stopped when the same command is given again, and ends in the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  glm-eval pretrain --corpus my-texts/ -o my-glm
  glm-eval pretrain --config pretrain.toml --corpus 'a/*.jsonl.zst' --corpus b.txt --updates 200 -o try
  glm-eval pretrain --corpus my-texts/ --dry-run --samples 2000 --json
  glm-eval pretrain --config pretrain.toml --corpus my-texts/ --train-tokenizer my-tokenizer.json")]
pub struct Pretrain {
    /// The configuration (TOML) [default: that of glm-tiny]; every key is explained in docs/pretraining.md
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Text to learn from: a file (.jsonl, .txt, also .zst, .parquet), a folder or a pattern, in place of the configuration's; repeatable
    #[arg(long, value_name = "PATH")]
    corpus: Vec<PathBuf>,
    /// Share of the documents to measure on, in place of `corpus.held_out`
    #[arg(long, value_name = "SHARE")]
    held_out: Option<f64>,
    /// Folder that relative paths of the configuration start from [default: `$GLM_EVAL_SHARED`, else this folder; without
    /// `--config` also ../shared]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of the tokenized corpus [default: `~/.cache/glm-eval`, or `$XDG_CACHE_HOME/glm-eval`]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Model directory to write
    #[arg(short = 'o', long, visible_alias = "out", default_value = "pretrained", value_name = "DIR")]
    output_path: PathBuf,
    /// In place of `training.updates`
    #[arg(long, value_name = "N", value_parser = above_zero::<u64>)]
    updates: Option<u64>,
    /// In place of `training.batch_size`
    #[arg(short = 'b', long, value_name = "N", value_parser = above_zero::<usize>)]
    batch_size: Option<usize>,
    /// In place of `training.learning_rate`
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// In place of `seed`
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// In place of `training.dtype`: bf16 rounds the factors of matrix products
    #[arg(long, value_enum)]
    dtype: Option<NumberFormat>,
    /// Where to compute: auto, cpu, or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceArg,
    /// Threads [default: `$RAYON_NUM_THREADS`, else one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Train a vocabulary as the configuration's `[tokenizer]` says, write it to a file (tokenizer.json), and stop
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    train_tokenizer: Option<PathBuf>,
    /// Begin anew where a run stopped, and remove its checkpoints and model; to go on, leave it out
    #[arg(long)]
    start_over: bool,
    /// Print what would be done and some examples, and stop
    #[arg(long)]
    dry_run: bool,
    /// For `--dry-run`: how many examples, past the run's last update where it has fewer
    #[arg(long, default_value_t = 3, value_name = "N", requires = "dry_run")]
    samples: usize,
    /// For `--dry-run`: print the examples as JSON, one a line
    #[arg(long, requires = "dry_run")]
    json: bool,
}

static STOP: Stop = Stop::new();

impl Pretrain {
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        device::on_threads(self.threads, || self.exec_on_threads())
    }

    fn exec_on_threads(&self) -> anyhow::Result<ExitCode> {
        let config = self.resolved()?;
        if let Some(file) = &self.train_tokenizer {
            config.check().context(self.config_name())?;
            let tokenizer =
                train_tokenizer(&self.corpus_files(&config)?, &config.corpus.text_field, &config.tokenizer)?;
            atomic::write(file, tokenizer.to_json().as_bytes())?;
            let mut out = std::io::stdout().lock();
            writeln!(
                out,
                "{}: {} tokens, sha256 {}",
                file.display(),
                tokenizer.num_tokens(),
                tokenizer.sha256()
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        let device = self.device.open()?;
        device::check_dtype(config.training.dtype.dtype(), &device)?;
        if !device.is_cpu() && config.training.dtype != NumberFormat::F32 {
            bail!("--dtype bf16: on a GPU weights would be rounded at every update; use f32 there");
        }
        let tokenizer = match &config.model.tokenizer {
            Some(path) => Tokenizer::open(&self.in_data_dir(path))?,
            None => Tokenizer::builtin(),
        };
        let parts = Parts::new(&config, &tokenizer, &device).context(self.config_name())?;
        ctrlc::set_handler(|| {
            // Asked twice, it ends at once: the last checkpoint is there anyway.
            if STOP.is_asked() {
                std::process::exit(i32::from(super::COULD_NOT_RUN));
            }
            STOP.ask();
        })?;
        let bars = Bars::new();
        let tokens = self.tokens(&config, &tokenizer, &bars)?;
        let mut out = std::io::stdout().lock();
        if self.dry_run {
            show::dry_run(&mut out, &config, &tokenizer, &tokens, &parts, self.samples, self.json)?;
            return Ok(ExitCode::SUCCESS);
        }
        let pretraining = Pretraining {
            config,
            tokenizer,
            tokens,
            network: parts.network,
            objective: parts.objective,
            config_file: self.config.clone(),
            folder: self.output_path.clone(),
            about: about(&device),
            device,
            progress: &bars,
            stop: &STOP,
        };
        pretraining.run(self.start_over)?;
        writeln!(out, "{}", self.output_path.display())?;
        Ok(ExitCode::SUCCESS)
    }

    /// The configuration with what the command line says instead.
    fn resolved(&self) -> anyhow::Result<Config> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::builtin()), Config::read)?;
        if !self.corpus.is_empty() {
            config.corpus.files.clone_from(&self.corpus);
        }
        config.corpus.held_out = self.held_out.unwrap_or(config.corpus.held_out);
        let training = &mut config.training;
        training.updates = self.updates.unwrap_or(training.updates);
        training.batch_size = self.batch_size.unwrap_or(training.batch_size);
        training.learning_rate = self.learning_rate.unwrap_or(training.learning_rate);
        training.dtype = self.dtype.unwrap_or(training.dtype);
        config.seed = self.seed.unwrap_or(config.seed);
        Ok(config)
    }

    /// What to call the configuration in messages.
    fn config_name(&self) -> String {
        self.config
            .as_ref()
            .map_or_else(|| "the built-in configuration".into(), |file| file.display().to_string())
    }

    fn corpus_files(&self, config: &Config) -> anyhow::Result<Vec<PathBuf>> {
        let files = config.corpus.files.iter().map(|path| match self.corpus.is_empty() {
            true => self.in_data_dir(path),
            false => path.clone(), // as the user typed it
        });
        let found = corpus::files(&files.collect::<Vec<_>>());
        if self.config.is_none() && self.corpus.is_empty() {
            return found
                .context("glm-tiny's corpus does not come with the program; give text with `--corpus`");
        }
        Ok(found?)
    }

    fn tokens(&self, config: &Config, tokenizer: &Tokenizer, bars: &Bars) -> anyhow::Result<Tokens> {
        let corpus = Corpus {
            files: self.corpus_files(config)?,
            text_field: config.corpus.text_field.clone(),
            held_out: config.corpus.held_out,
        };
        Ok(corpus.tokens(tokenizer, &self.cache_dir()?, &|| STOP.is_asked(), &|line| bars.note(line))?)
    }

    /// A path of the configuration.
    fn in_data_dir(&self, path: &Path) -> PathBuf {
        let shared = || std::env::var_os("GLM_EVAL_SHARED").map(PathBuf::from);
        let beside =
            || Some(PathBuf::from("../shared")).filter(|folder| self.config.is_none() && folder.is_dir());
        match self.data_dir.clone().or_else(shared).or_else(beside) {
            Some(folder) => folder.join(path),
            None => path.into(),
        }
    }

    fn cache_dir(&self) -> anyhow::Result<PathBuf> {
        let from = |variable| std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = || from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
        let folder = self.cache_dir.clone().or_else(|| Some(cache()?.join("glm-eval")));
        folder.context("there is no home folder for the tokenized corpus; name one with `--cache-dir`")
    }
}

fn about(device: &Device) -> About {
    let machine = if device.is_cpu() { machine::cpu_model() } else { Some(device::name(device)) };
    // The program's name, not where it lies.
    let words = super::arguments_without_folders();
    let quoted = |word: &String| match word.contains([' ', '*', '?', '\'']) {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    About {
        command: words.iter().map(quoted).collect::<Vec<_>>().join(" "),
        machine,
        threads: rayon::current_num_threads(),
        git_hash: option_env!("GLM_EVAL_GIT_HASH").map(String::from),
    }
}
