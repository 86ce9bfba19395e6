//! `glm-eval fill`.
#![allow(clippy::doc_markdown, reason = "help texts show backticks")]

mod blanks;

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use candle_core::DType;
use serde_json::json;

use self::blanks::Text;
use super::above_zero;
use super::device::DeviceArg;
use crate::model::{Build, Head, LanguageModel, ModelSource};
use crate::request::{Answer, Decoding, Request, Sampling};

/// Fill the blanks of texts, left to right, or continue a text without blanks.
///
/// Blanks are written [MASK]; where the vocabulary has them, [sMASK] is a blank of whole sentences and [gMASK] one for
/// all that follows. Without a text or a file, texts are read from stdin, one a line; each gives one line. On a terminal
/// a text is shown as it comes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  glm-eval fill \"The capital of France is [MASK].\" --model my-glm
  glm-eval fill \"Once upon a time\" --model my-glm --max-new-tokens 100 --temperature 0.9 --top-p 0.95 --seed 7
  glm-eval fill --file prompts.txt --model my-glm --beams 5 --length-penalty 0.7 --no-repeat-ngram 3 --json")]
pub struct Fill {
    /// The text, with blanks or without
    text: Option<String>,
    /// Read texts from a file, one a line, blank lines left out (`-` for stdin)
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// A bundled model's name, or the folder or file of a checkpoint
    #[arg(short, long, default_value = "glm-tiny", value_name = "NAME|DIR")]
    model: String,
    /// Vocabulary, where the checkpoint has none beside it
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Tokens after which a blank is cut
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = above_zero::<usize>)]
    max_new_tokens: usize,
    /// Texts pursued side by side; 1 takes the most probable token each time
    #[arg(long, visible_alias = "num-beams", default_value_t = 1, value_name = "N", value_parser = above_zero::<usize>)]
    beams: usize,
    /// Divides a finished text's log-probability by its length to this power: above 0 favours long texts
    #[arg(long, default_value_t = 0.0, value_name = "P", allow_negative_numbers = true)]
    length_penalty: f64,
    /// A blank does not end before so many tokens; 0 allows an empty one, which no pre-training has
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_length: usize,
    /// No run of so many tokens appears twice in a blank; 0 allows it
    #[arg(long, visible_alias = "no-repeat-ngram-size", default_value_t = 0, value_name = "N")]
    no_repeat_ngram: usize,
    /// Stop beam search at as many finished texts as there are beams
    #[arg(long)]
    early_stopping: bool,
    /// Draw each token, among the K most probable ones
    #[arg(long, value_name = "K", value_parser = above_zero::<usize>)]
    top_k: Option<usize>,
    /// Draw each token, among the most probable ones that together have this probability
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Draw each token, with logits divided by this: small values favour probable tokens
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Seed of the draws: the same seed gives the same texts [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Texts filled side by side; changes none of them
    #[arg(short, long, default_value_t = 8, value_name = "N", value_parser = above_zero::<usize>)]
    batch_size: usize,
    /// One JSON object a text: text, fillings (text, num_tokens, log_prob, is_ended), truncated_tokens
    #[arg(long)]
    json: bool,
    /// Where to compute: auto, cpu, or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceArg,
    /// Threads [default: `$RAYON_NUM_THREADS`, else one a core]; changes no text
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// What a user should know of all texts together.
#[derive(Default)]
struct Counts {
    texts_cut: usize,
    tokens_cut: usize,
    blanks: usize,
    never_ended: usize,
}

impl Fill {
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        super::device::on_threads(self.threads, || self.exec_on_threads())
    }

    fn exec_on_threads(&self) -> anyhow::Result<ExitCode> {
        let decoding = self.decoding()?;
        let lines = self.lines()?;
        let source = ModelSource::open(&self.model, self.tokenizer.as_deref())?;
        let texts = lines
            .iter()
            .map(|(id, line)| Text::parse(line, &source.tokenizer).with_context(|| id.clone()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(note) = source.random_weights() {
            tracing::warn!("{}: weights {note}", source.name);
        }
        let model = source.build(&Build {
            seed: self.seed.unwrap_or(1),
            head: Head::Vocabulary,
            is_trained: false,
            dropout: 0.0,
            dtype: DType::F32,
            device: self.device.open()?,
        })?;
        let max_positions = source.architecture.sizes().max_positions.unwrap_or(1 << 20);
        if self.max_new_tokens >= max_positions {
            let (name, most) = (&source.name, max_positions - 1);
            bail!(
                "--max-new-tokens {}: {name} has {max_positions} positions; ask for at most {most}",
                self.max_new_tokens
            );
        }
        // As long as the model can read: what does not fit is cut, and counted.
        let max_tokens = max_positions + self.max_new_tokens;
        let request = |((id, _), text): (&(String, String), &Text)| text.request(id, &decoding, max_tokens);
        let requests: Vec<Request> = lines.iter().zip(&texts).map(request).collect();
        let mut out = std::io::stdout().lock();
        let is_shown = out.is_terminal() && !self.json;
        let mut counts = Counts::default();
        for (texts, requests) in texts.chunks(self.batch_size).zip(requests.chunks(self.batch_size)) {
            if is_shown {
                for (text, request) in texts.iter().zip(requests) {
                    let answer = show(&mut out, &*model, text, request)?;
                    counts.add(&answer, model.cost(request)?.truncated);
                }
                continue;
            }
            let answers = model.answer(&requests.iter().collect::<Vec<_>>())?;
            for ((text, request), answer) in texts.iter().zip(requests).zip(answers) {
                let truncated_tokens = model.cost(request)?.truncated;
                let filled = text.filled(answer.fillings.iter().map(|filling| filling.text.as_str()));
                if self.json {
                    let fillings = &answer.fillings;
                    let line =
                        json!({"text": filled, "fillings": fillings, "truncated_tokens": truncated_tokens});
                    writeln!(out, "{line}")?;
                } else {
                    writeln!(out, "{filled}")?;
                }
                counts.add(&answer, truncated_tokens);
            }
        }
        counts.tell(self.max_new_tokens);
        Ok(ExitCode::SUCCESS)
    }

    fn decoding(&self) -> anyhow::Result<Decoding> {
        let is_drawn = self.top_k.is_some() || self.top_p.is_some() || self.temperature.is_some();
        if self.seed.is_some() && !is_drawn {
            bail!("--seed changes nothing unless tokens are drawn; add --temperature, --top-p or --top-k");
        }
        let sampling = is_drawn.then(|| Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            seed: self.seed.unwrap_or(1),
        });
        let decoding = Decoding {
            max_new_tokens: self.max_new_tokens,
            min_new_tokens: self.min_length,
            no_repeat_ngram_size: self.no_repeat_ngram,
            num_beams: self.beams,
            length_penalty: self.length_penalty,
            early_stopping: self.early_stopping,
            top_k: self.top_k.unwrap_or(0),
            sampling,
        };
        match decoding.problem() {
            Some(problem) => bail!(problem),
            None => Ok(decoding),
        }
    }

    /// The texts, each with what to call it in messages.
    fn lines(&self) -> anyhow::Result<Vec<(String, String)>> {
        if let Some(text) = &self.text {
            return Ok(vec![("text".into(), text.clone())]);
        }
        let mut bytes = Vec::new();
        let name = if let Some(file) = self.file.as_deref().filter(|file| file.as_os_str() != "-") {
            bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            file.display().to_string()
        } else {
            let mut stdin = std::io::stdin();
            if self.file.is_none() && stdin.is_terminal() {
                bail!("no text was given; write it in quotes, name a file with --file, or pipe it in");
            }
            stdin.read_to_end(&mut bytes).context("reading stdin")?;
            "stdin".into()
        };
        let all = match std::str::from_utf8(&bytes) {
            Ok(all) => all.trim_start_matches('\u{feff}'), // which some editors put first
            Err(error) => {
                let line = bytes[..error.valid_up_to()].split(|&byte| byte == b'\n').count();
                bail!("{name}:{line}: not UTF-8; convert the texts to UTF-8");
            }
        };
        let lines = all.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let lines: Vec<_> = lines.map(|(i, line)| (format!("{name}:{}", i + 1), line.to_string())).collect();
        if lines.is_empty() {
            bail!("{name} has no text");
        }
        Ok(lines)
    }
}

impl Counts {
    fn add(&mut self, answer: &Answer, truncated_tokens: usize) {
        self.texts_cut += usize::from(truncated_tokens > 0);
        self.tokens_cut += truncated_tokens;
        self.blanks += answer.fillings.len();
        self.never_ended += answer.fillings.iter().filter(|filling| !filling.is_ended).count();
    }

    fn tell(&self, limit: usize) {
        let mut notes = Vec::new();
        if self.tokens_cut > 0 {
            let Self { texts_cut, tokens_cut, .. } = self;
            notes
                .push(format!("{texts_cut} texts were too long for the model; {tokens_cut} tokens were cut"));
        }
        if self.never_ended > 0 {
            let Self { blanks, never_ended, .. } = self;
            notes.push(format!(
                "{never_ended} of {blanks} blanks did not end within {limit} tokens and were cut there \
                 (--max-new-tokens)"
            ));
        }
        super::notes(&notes);
    }
}

/// Fills one text and shows it as it comes.
fn show(
    out: &mut impl Write,
    model: &dyn LanguageModel,
    text: &Text,
    request: &Request,
) -> anyhow::Result<Answer> {
    let mut shown = String::new();
    let mut found: Vec<String> = Vec::new();
    let mut failed = Ok(());
    let mut write = |all: &str| -> std::io::Result<()> {
        // Half of a character, decoded, is not what the whole will begin with.
        if let Some(new) = all.trim_end_matches(char::REPLACEMENT_CHARACTER).strip_prefix(shown.as_str()) {
            write!(out, "{new}")?;
            out.flush()?;
            shown.push_str(new);
        }
        Ok(())
    };
    write(&text.until(&[]))?;
    let answer = model.generate(request, &mut |blank, piece| {
        found.resize(blank + 1, String::new());
        found[blank] = piece.to_string();
        if failed.is_ok() {
            failed = write(&text.until(&found));
        }
    })?;
    failed?;
    write(&text.filled(answer.fillings.iter().map(|filling| filling.text.as_str())))?;
    writeln!(out)?;
    Ok(answer)
}
