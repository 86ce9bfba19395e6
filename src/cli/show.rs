//! `glm-eval show`.

use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::model::glm::Encoding;
use crate::model::glm::encoding::Targets;
use crate::model::registry;
use crate::request::{Ask, BlankLength, Part};
use crate::tasks::{Form, Head, Sample, Split, Task, TaskData};
use crate::tokenizer::Tokenizer;

/// Show what a model really sees: prompt parts, tokens, positions and answers.
///
/// Samples are counted in the official order, after the official expansion (MultiRC by answers, ReCoRD by queries).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  glm-eval show rte --data-dir data/superglue
  glm-eval show copa --split train --index 40..50 --json
  glm-eval show record --guid dev-p3-q5 --layout official --model my-glm")]
pub struct Show {
    /// A task's name, or a task file
    task: String,
    /// The pattern's number [default: the published recipe's]
    #[arg(long)]
    pattern: Option<usize>,
    /// Which part of the data set
    #[arg(long, value_enum, default_value_t = SplitArg::Val)]
    split: SplitArg,
    /// Which samples, as A..B (B left out), A.. or A [default: 0..1]
    #[arg(long, value_name = "RANGE", value_parser = parse_range)]
    index: Option<Range<usize>>,
    /// One sample by its id, such as dev-0
    #[arg(long, conflicts_with = "index")]
    guid: Option<String>,
    /// A folder that holds the task's folder, directly or one level down, or is that folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A folder with a tokenizer's files [default: the built-in tokenizer]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// A bundled model's name or a model directory, whose tokenizer is used
    #[arg(short, long, value_name = "NAME|DIR", conflicts_with = "tokenizer")]
    model: Option<String>,
    /// Most tokens of a sequence, answer included [default: the published recipe's]
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,
    /// Ask one-token words as texts, with the end of the piece
    #[arg(long)]
    multi_token: bool,
    /// A blank to fill, or a classification head
    #[arg(long, value_enum, default_value_t = HeadArg::Cloze)]
    head: HeadArg,
    /// One context for all candidates, as our models compute it, or a sequence a candidate, as published
    #[arg(long, value_enum, default_value_t = Layout::Shared)]
    layout: Layout,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitArg {
    Train,
    #[value(alias = "dev", alias = "validation")]
    Val,
    Test,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HeadArg {
    Cloze,
    Classifier,
    #[value(alias = "text_to_text")]
    TextToText,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Layout {
    Shared,
    Official,
}

/// `A..B` without B, `A..`, or `A` alone.
fn parse_range(text: &str) -> Result<Range<usize>, String> {
    let number =
        |text: &str| text.trim().parse::<usize>().map_err(|_| format!("{text:?} is no sample number"));
    let range = match text.split_once("..") {
        None => number(text).map(|a| a..a.saturating_add(1))?,
        Some((a, "")) => number(a)?..usize::MAX,
        Some(("", b)) => 0..number(b)?,
        Some((a, b)) => number(a)?..number(b)?,
    };
    if range.is_empty() { Err("the range holds no sample".to_owned()) } else { Ok(range) }
}

impl Show {
    /// Prints the samples that were asked for; fails when there is none.
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        self.show(&mut out)?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let task = super::or_mini(vec![Task::find(&self.task)?], self.data_dir.as_deref())?.remove(0);
        let tokenizer = match (&self.tokenizer, &self.model) {
            (Some(folder), _) => Tokenizer::open(folder)?,
            (None, Some(model)) => registry::glm_tokenizer_of(model)?,
            (None, None) => Tokenizer::builtin(),
        };
        let form = self.form(&task, &tokenizer)?;
        let data = TaskData::locate(&task, self.data_dir.as_deref())?;
        let split = match self.split {
            SplitArg::Train => Split::Train,
            SplitArg::Val => Split::Val,
            SplitArg::Test => Split::Test,
        };
        let mut samples = task.samples(&data, split, &form)?;
        if let Some(guid) = &self.guid {
            // An error ends the search as a find does.
            let found = samples.find(|sample| sample.as_ref().map_or(true, |sample| sample.guid == *guid));
            let Some(sample) = found.transpose()? else {
                bail!("{}: no {split} sample has the id {guid}", task.name)
            };
            return self.print(out, &task, &tokenizer, &form, split, &sample);
        }
        let range = self.index.clone().unwrap_or(0..1);
        let mut printed = 0;
        for sample in samples.skip(range.start).take(range.len()) {
            self.print(out, &task, &tokenizer, &form, split, &sample?)?;
            printed += 1;
        }
        if printed == 0 {
            let count = task.samples(&data, split, &form)?.count();
            bail!("{}: there is no sample {}; the {split} set has {count}", task.name, range.start);
        }
        Ok(())
    }

    fn form(&self, task: &Task, tokenizer: &Tokenizer) -> anyhow::Result<Form> {
        let published = task.form();
        let id = self.pattern.unwrap_or(published.pattern);
        // Words that are several tokens for this tokenizer can only be asked as texts.
        let multi_token = self.multi_token || task.needs_multi_token(task.pattern(id)?, tokenizer)?;
        let head = match self.head {
            HeadArg::Cloze => Head::Cloze,
            HeadArg::Classifier => Head::Classifier,
            HeadArg::TextToText => Head::TextToText,
        };
        let max_tokens = self.max_length.unwrap_or(published.max_tokens);
        Ok(Form { pattern: id, head, multi_token, max_tokens, ..published })
    }

    fn print(
        &self,
        out: &mut impl Write,
        task: &Task,
        tokenizer: &Tokenizer,
        form: &Form,
        split: Split,
        sample: &Sample,
    ) -> anyhow::Result<()> {
        let encodings = if form.head == Head::TextToText {
            vec![] // the layouts in tokens are GLM's, which is not asked so
        } else {
            match self.layout {
                Layout::Shared => Encoding::computed(tokenizer, &sample.request)?,
                Layout::Official => Encoding::official(tokenizer, &sample.request)?,
            }
        };
        let view = View { task, tokenizer, form, split, sample, encodings: &encodings };
        if self.json { view.write_json(out) } else { view.write_text(out) }
    }
}

/// One sample, ready to be written.
struct View<'a> {
    task: &'a Task,
    tokenizer: &'a Tokenizer,
    form: &'a Form,
    split: Split,
    sample: &'a Sample,
    encodings: &'a [Encoding],
}

impl View<'_> {
    fn write_json(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("task", json!(self.task.name));
        put("pattern", json!(self.form.pattern));
        put("split", json!(self.split.name()));
        put("index", json!(self.sample.doc_id));
        put("guid", json!(self.sample.guid));
        put("label", self.sample.official_label.clone());
        put("parts_a", self.parts_json(&self.sample.request.prompt.side_a));
        put("parts_b", self.parts_json(&self.sample.request.prompt.side_b));
        match &self.sample.request.ask {
            Ask::Choice { candidates, .. } => put("answers", json!(candidates)),
            Ask::Classify { pairs, .. } => put("texts", json!(pairs)),
            Ask::Generate { decoding, .. } => {
                put("targets", json!(self.sample.targets));
                put("references", json!(self.sample.references));
                put("decoding", json!(decoding))
            }
            Ask::LogProb { stride, bidirectional, last_part_only } => put(
                "windows",
                json!({"stride": stride, "bidirectional": bidirectional, "last_part_only": last_part_only}),
            ),
            Ask::Word { .. } => None,
        };
        put("encodings", self.encodings.iter().map(encoding_json).collect());
        // Some readers take these for ends of lines; they can only stand inside texts.
        let line = serde_json::to_string(&object)?;
        let line =
            line.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
        Ok(writeln!(out, "{line}")?)
    }

    fn parts_json(&self, parts: &[Part]) -> Value {
        let mask = self.tokenizer.special().map(|special| special.mask).ok();
        let part = |part: &Part| match part {
            Part::Text { text, shortenable } => json!({"text": text, "shortenable": shortenable}),
            Part::Blank | Part::LongBlank(_) => json!({"token_ids": [mask], "shortenable": false}),
        };
        parts.iter().map(part).collect()
    }

    fn write_text(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let Self { task, form, split, sample, .. } = self;
        let how = match (form.head, form.multi_token) {
            (Head::Classifier, _) => "classification head".to_owned(),
            (Head::TextToText, _) => "text to text".to_owned(),
            (Head::Cloze, false) => format!("pattern {}", form.pattern),
            (Head::Cloze, true) => format!("pattern {}, words as texts", form.pattern),
        };
        writeln!(out, "{} {split} {}  {}  ({how})", task.title, sample.doc_id, sample.guid)?;
        let label = match &sample.official_label {
            Value::Null => "(unlabelled)".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if sample.is_written() {
            for (i, text) in sample.targets.iter().enumerate() {
                entry(out, if i == 0 { "texts" } else { "" }, &format!("{text:?}"))?;
            }
            sample.references.iter().try_for_each(|text| entry(out, "compared", &format!("{text:?}")))?;
        } else {
            entry(out, "label", &label)?;
        }
        let prompt = &sample.request.prompt;
        for (name, side) in [("side A", &prompt.side_a), ("side B", &prompt.side_b)] {
            for (i, part) in side.iter().enumerate() {
                let name = if i == 0 { name } else { "" };
                match part {
                    Part::Text { text, shortenable: false } => entry(out, name, &format!("{text:?}"))?,
                    Part::Text { text, shortenable: true } => {
                        entry(out, name, &format!("{text:?} (may be cut)"))?;
                    }
                    Part::Blank => entry(out, name, "[MASK]")?,
                    Part::LongBlank(BlankLength::Sentences) => entry(out, name, "[sMASK]")?,
                    Part::LongBlank(BlankLength::Rest) => entry(out, name, "[gMASK]")?,
                }
            }
        }
        match &sample.request.ask {
            Ask::Word { words } => {
                for (i, (label, word)) in task.labels.iter().zip(words).enumerate() {
                    entry(out, if i == 0 { "words" } else { "" }, &format!("{label} = {word:?}"))?;
                }
            }
            Ask::Choice { candidates, bidirectional, .. } => {
                if !bidirectional {
                    entry(out, "prompt", "read left to right, as the answers are")?;
                }
                for (i, candidate) in candidates.iter().enumerate() {
                    entry(out, if i == 0 { "answers" } else { "" }, &format!("{i} = {candidate:?}"))?;
                }
            }
            Ask::Classify { pairs, .. } => {
                for (a, b) in pairs {
                    entry(out, "text A", &format!("{a:?}"))?;
                    b.iter().try_for_each(|b| entry(out, "text B", &format!("{b:?}")))?;
                }
            }
            Ask::LogProb { stride, bidirectional, last_part_only } => {
                let sight = if *bidirectional {
                    "what is read before sees itself in both directions"
                } else {
                    "left to right"
                };
                let windows = match last_part_only {
                    true => format!("one, of which the last part is scored; {sight}"),
                    false => format!("each goes on by {stride}; {sight}"),
                };
                entry(out, "windows", &windows)?;
            }
            Ask::Generate { decoding, .. } => {
                entry(out, "decoding", &serde_json::to_string(decoding)?)?;
            }
        }
        for encoding in self.encodings {
            self.write_encoding(out, encoding)?;
        }
        Ok(writeln!(out)?)
    }

    fn write_encoding(&self, out: &mut impl Write, encoding: &Encoding) -> anyhow::Result<()> {
        let (s, prefix) = (encoding.len(), encoding.prefix_length);
        let cut = match encoding.truncated_tokens {
            0 => String::new(),
            n => format!("; {n} cut away"),
        };
        entry(out, "tokens", &format!("{s}: {prefix} of context, pieces of {:?}{cut}", encoding.pieces))?;
        entry(out, "context", &self.decode(&encoding.input_ids[..prefix])?)?;
        entry(out, "ids", &numbers(&encoding.input_ids[..prefix]))?;
        let mut start = prefix;
        for &length in &encoding.pieces {
            let range = start..start + length;
            let ids = &encoding.input_ids[range.clone()];
            entry(out, "piece", &self.decode(ids)?)?;
            entry(out, "ids", &numbers(ids))?;
            let position = encoding.positions[start];
            let blocks = numbers(&encoding.block_positions[range.clone()]);
            entry(out, "positions", &format!("{position} (the blank); in the piece {blocks}"))?;
            if let Targets::Tokens { ids, .. } = &encoding.targets {
                let ids = &ids[range.clone()];
                entry(out, "targets", &format!("{} = {}", numbers(ids), self.decode(ids)?))?;
            }
            start = range.end;
        }
        if let Targets::Words(ids) = &encoding.targets {
            entry(out, "targets", &format!("{} = {}", numbers(ids), self.decode(ids)?))?;
        }
        Ok(())
    }

    fn decode(&self, ids: &[u32]) -> anyhow::Result<String> {
        Ok(self.tokenizer.decode(ids)?)
    }
}

fn encoding_json(encoding: &Encoding) -> Value {
    let mut object = json!({
        "input_ids": encoding.input_ids,
        "positions": encoding.positions,
        "block_positions": encoding.block_positions,
        "prefix_length": encoding.prefix_length,
        "pieces": encoding.pieces,
        "truncated_tokens": encoding.truncated_tokens,
    });
    match &encoding.targets {
        Targets::Words(ids) => object["targets"] = json!(ids),
        Targets::Tokens { ids, mask } => {
            object["targets"] = json!(ids);
            object["target_mask"] = mask.iter().map(|&scored| u8::from(scored)).collect();
        }
        Targets::Pooled => {}
    }
    object
}

fn numbers(ids: &[u32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Columns of a line, and the one at which the text of an entry begins.
const WIDTH: usize = 80;
const INDENT: usize = 12;

/// A name and its text, wrapped.
fn entry(out: &mut impl Write, name: &str, text: &str) -> io::Result<()> {
    for (i, line) in wrap(text, WIDTH - INDENT).iter().enumerate() {
        writeln!(out, "  {:<10}{line}", if i == 0 { name } else { "" })?;
    }
    Ok(())
}

/// Lines of at most `width` characters, broken at spaces, or anywhere in longer words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() <= width {
            lines.last_mut().expect("never empty").push(' ');
            used += 1;
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        while word.len() > width {
            lines.last_mut().expect("never empty").extend(word.drain(..width));
            lines.push(String::new());
        }
        used += word.len();
        lines.last_mut().expect("never empty").extend(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_leaves_out_its_end() {
        assert_eq!(parse_range("40..50"), Ok(40..50));
        assert_eq!(parse_range("7"), Ok(7..8));
        assert_eq!(parse_range("7.."), Ok(7..usize::MAX));
        assert_eq!(parse_range("..3"), Ok(0..3));
        for broken in ["", "a", "3..3", "5..2", "1..x", "-1"] {
            assert!(parse_range(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn lines_are_broken_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("ab cd efg", 5), ["ab cd", "efg"]);
        assert_eq!(wrap("ab cdefghijklm n", 5), ["ab", "cdefg", "hijkl", "m n"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
