//! The options of `glm-eval run`, and what they mean.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use candle_core::DType;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::cli::device::{self, DeviceArg};
use crate::eval::{Limit, Patterns, Settings};
use crate::model::ModelSource;
use crate::nn::Precision;
use crate::results::ours::{Mode, Rule};
use crate::tasks::{Head, Split, Task};

/// Options of a run.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct RunArgs {
    /// Tasks, suites or task files
    #[arg(value_name = "TASK|SUITE|FILE.toml")]
    positional: Vec<String>,
    /// Tasks, suites or task files, beside the positional ones
    #[arg(short = 't', long = "tasks", value_delimiter = ',', value_name = "LIST")]
    tasks: Vec<String>,
    /// A bundled model's name, or the folder or file of a checkpoint; `NAME-random` is the same with random weights; repeatable
    #[arg(short = 'm', long, default_value = "glm-tiny", value_name = "NAME|DIR")]
    model: Vec<String>,
    /// Vocabulary, where the checkpoint has none beside it
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// How the model meets the tasks [default: finetune; zero-shot where there is nothing to learn from]
    #[arg(long, value_enum)]
    mode: Option<ModeArg>,
    /// What answers [default: what the model's family was published with, as far as the task has it]
    #[arg(long, value_enum)]
    head: Option<HeadArg>,
    /// Folder that holds the tasks' folders, directly or one level down [default: `$GLM_EVAL_DATA`, then the cache]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Patterns: `all`, or numbers such as 0,1 [default: the recipe's]
    #[arg(long, value_name = "LIST")]
    patterns: Option<Patterns>,
    /// Score one-token words as texts too, with the end of the piece
    #[arg(long)]
    multi_token: bool,
    /// One run of every task a seed
    #[arg(long, visible_alias = "seeds", value_delimiter = ',', default_value = "1", value_name = "LIST")]
    seed: Vec<u64>,
    /// Which epoch's score counts; every epoch's is recorded
    #[arg(long, value_enum, default_value_t = SelectArg::Last)]
    select: SelectArg,
    /// What is scored; `test` writes predictions in the leaderboard's form
    #[arg(long, value_enum, default_value_t = SplitArg::Val)]
    split: SplitArg,
    /// Passes over the training set [default: the recipe's]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Highest learning rate [default: the recipe's]
    #[arg(long, value_name = "RATE", value_parser = finite)]
    learning_rate: Option<f64>,
    /// Examples of an update [default: the recipe's]
    #[arg(long, value_name = "N")]
    train_batch_size: Option<usize>,
    /// Most tokens of a sequence [default: the recipe's]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Texts pursued side by side, where texts are written; 1 takes the best token each time [default: the recipe's]
    #[arg(long, value_name = "N")]
    num_beams: Option<usize>,
    /// Evaluation samples: a number, or a share such as 0.1. Whole questions for MultiRC, whole queries
    /// for ReCoRD
    #[arg(short = 'L', long, value_name = "N|0.x")]
    limit: Option<Limit>,
    /// Training rows; whole questions for MultiRC, whole queries for ReCoRD. COPA's are learned twice each, choices
    /// swapped the second time
    #[arg(long, value_name = "N")]
    train_limit: Option<usize>,
    /// Evaluation samples a batch, or `auto`; changes no score
    #[arg(short = 'b', long, default_value = "auto", value_name = "N|auto")]
    batch_size: BatchSize,
    /// Examples in the prompt, for `--mode few-shot`; of tasks that are asked with a blank
    #[arg(short = 'f', long, default_value_t = 4, value_name = "K")]
    num_fewshot: usize,
    /// More training rows for WSC, with candidates (files or folders of .jsonl)
    #[arg(long, value_name = "PATH")]
    wsc_candidates: Vec<PathBuf>,
    /// Where to compute: auto, cpu, or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceArg,
    /// Number format of weights and computation. On the CPU, bf16 rounds what is multiplied and keeps all else in
    /// f32; it needs a processor with AVX512-BF16
    #[arg(long, value_enum, default_value_t = DTypeArg::F32)]
    dtype: DTypeArg,
    /// Threads [default: `$RAYON_NUM_THREADS`, else one a core]; changes no score
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Folder for records and samples
    #[arg(short = 'o', long, visible_alias = "out", default_value = "output", value_name = "DIR")]
    pub output_path: PathBuf,
    /// Write the texts of samples too (they are the data set's; mind its licence)
    #[arg(short = 's', long)]
    log_samples: bool,
    /// Go on with the unfinished run in the output folder
    #[arg(long)]
    pub resume: bool,
    /// After an epoch, keep a state to resume training from when so many seconds have passed since the last;
    /// changes no score
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS", hide_short_help = true)]
    save_every: f64,
    /// Never use the network (it is not used anyway: nothing is fetched yet)
    #[arg(long)]
    offline: bool,
    /// Print what would be done, and stop
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Finetune,
    #[value(alias = "zero_shot")]
    ZeroShot,
    #[value(alias = "few_shot")]
    FewShot,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HeadArg {
    /// A blank to fill
    Cloze,
    /// A classification head over text pairs
    Classifier,
    /// A text that is answered with another
    #[value(alias = "text_to_text")]
    TextToText,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SelectArg {
    /// The epoch that is best on the validation set, as the official code does
    Best,
    /// The last epoch
    Last,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitArg {
    Val,
    Test,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DTypeArg {
    F32,
    Bf16,
    F16,
}

/// A number of samples, or as many as fill a batch with tokens.
#[derive(Clone, Copy, Debug)]
struct BatchSize(Option<usize>);

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "auto" => Ok(Self(None)),
            Ok(size) if size > 0 => Ok(Self(Some(size))),
            _ => Err("expected `auto`, or a number above 0".into()),
        }
    }
}

impl RunArgs {
    /// All tasks asked for, in order.
    pub fn task_names(&self) -> impl Iterator<Item = &str> {
        self.positional.iter().chain(&self.tasks).map(String::as_str)
    }

    /// The folder of data that was named.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// The models, each read once.
    pub fn models(&self) -> anyhow::Result<Vec<ModelSource>> {
        let open = |name: &String| Ok(ModelSource::open(name, self.tokenizer.as_deref())?);
        let models = self.model.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
        for (i, model) in models.iter().enumerate() {
            if models[..i].iter().any(|other| other.name == model.name) {
                bail!(
                    "two models are called `{}`, so their records would be mixed up; rename one folder",
                    model.name
                );
            }
        }
        Ok(models)
    }

    /// What the user decided.
    pub fn settings(&self, tasks: &[Task]) -> anyhow::Result<Settings> {
        let device = self.device.open()?;
        let dtype = match self.dtype {
            DTypeArg::F32 => DType::F32,
            DTypeArg::Bf16 => DType::BF16,
            DTypeArg::F16 => DType::F16,
        };
        device::check_dtype(dtype, &device)?;
        let mode = match self.mode {
            Some(ModeArg::Finetune) => Mode::Finetune,
            Some(ModeArg::FewShot) => Mode::FewShot,
            None if tasks.iter().any(Task::can_be_learned) => Mode::Finetune,
            Some(ModeArg::ZeroShot) | None => Mode::ZeroShot,
        };
        if mode == Mode::Finetune && Precision::of(dtype, &device).0 != DType::F32 {
            bail!("fine-tuning on a GPU needs `--dtype f32`: updates are lost in half precision");
        }
        let head = self.head.map(|head| match head {
            HeadArg::Cloze => Head::Cloze,
            HeadArg::Classifier => Head::Classifier,
            HeadArg::TextToText => Head::TextToText,
        });
        if head == Some(Head::Classifier) && mode != Mode::Finetune {
            bail!("a classification head must be trained: use `--mode finetune`");
        }
        if let Some(seed) = self.seed.iter().enumerate().find(|(i, seed)| self.seed[..*i].contains(seed)) {
            bail!("--seeds: {} stands there twice; the same seed gives the same scores", seed.1);
        }
        if mode == Mode::FewShot && !(1..=1000).contains(&self.num_fewshot) {
            bail!(
                "--num-fewshot {}: from 1 to 1000, or `--mode zero-shot` without examples",
                self.num_fewshot
            );
        }
        if self.epochs == Some(0) {
            bail!("--epochs 0: to score a model as it is, use `--mode zero-shot`");
        }
        Ok(Settings {
            mode,
            rule: match self.select {
                SelectArg::Best => Rule::Best,
                SelectArg::Last => Rule::Last,
            },
            head,
            patterns: self.patterns.clone().unwrap_or_default(),
            multi_token: self.multi_token,
            seeds: self.seed.clone(),
            split: match self.split {
                SplitArg::Val => Split::Val,
                SplitArg::Test => Split::Test,
            },
            limit: self.limit,
            batch_size: self.batch_size.0,
            num_fewshot: if mode == Mode::FewShot { self.num_fewshot } else { 0 },
            overrides: self.overrides(),
            data_dir: self.data_dir.clone(),
            wsc_candidates: wsc_files(&self.wsc_candidates)?,
            save_every_secs: self.save_every,
            log_samples: self.log_samples,
            dtype,
            device,
        })
    }

    /// The recipe settings that were given, under the recipe's names.
    fn overrides(&self) -> Map<String, Value> {
        let given = [
            ("epochs", self.epochs.map(|n| json!(n))),
            ("learning_rate", self.learning_rate.map(|rate| json!(rate))),
            ("batch_size", self.train_batch_size.map(|n| json!(n))),
            ("max_tokens", self.max_length.map(|n| json!(n))),
            ("num_beams", self.num_beams.map(|n| json!(n))),
            ("train_limit", self.train_limit.map(|n| json!(n))),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
    }
}

fn finite(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "it is not a number".into())
}

/// The files among paths, and the `.jsonl` files in the folders among them, in name order.
fn wsc_files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_file() {
            files.push(path.clone());
            continue;
        }
        let entries =
            std::fs::read_dir(path).with_context(|| format!("--wsc-candidates {}", path.display()))?;
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        found.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
        if found.is_empty() {
            bail!("--wsc-candidates {}: there is no .jsonl file in it", path.display());
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}
