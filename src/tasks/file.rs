//! The task file: everything about a task that can be written down without code.
//!
//! `tasks/superglue/rte.toml` is a plain one. Unknown keys are errors, so that a misspelt setting can't be
//! taken for the default.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::error::{TaskError, nearest};
use super::recipe::Recipe;
use super::template::Template;
use super::texts;
use crate::request::{BlankLength, Cut, Edges};

/// A task file, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// Name on the command line and in records.
    pub name: String,
    /// Name in tables.
    pub title: String,
    /// The suite it belongs to.
    #[serde(default)]
    pub suite: Option<String>,
    /// Scored with another task's model, and no part of its suite's average.
    #[serde(default)]
    pub diagnostic_of: Option<String>,
    /// Raised whenever a score could move.
    pub version: u32,
    /// What is asked, in a sentence.
    pub description: String,
    /// What kind of question it is.
    pub kind: Kind,
    /// The labels, in their official order and spelling; none where texts are answered.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Where the rows are and how they are read.
    pub data: DataSpec,
    /// The fields that patterns may name. Empty: the keys of the rows themselves.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldSpec>,
    /// The answers to choose from, where they are fields of the row.
    #[serde(default)]
    pub choices: Vec<Template>,
    /// The patterns, by id.
    pub patterns: Vec<PatternSpec>,
    /// The inputs of a classification head, if there is such a form.
    #[serde(default)]
    pub classifier: Option<ClassifierSpec>,
    /// How a text-to-text model is asked, if there is such a form.
    #[serde(default)]
    pub text_to_text: Option<TextToTextSpec>,
    /// What is written, and what it is scored against, where texts are answered.
    #[serde(default)]
    pub generation: Option<GenerationSpec>,
    /// The metrics; the first selects the best epoch.
    pub metrics: Vec<MetricSpec>,
    /// What the first metric is without any skill.
    pub chance: Chance,
    /// How it is fine-tuned.
    pub recipe: Recipe,
    /// Other published recipes, by what is added to the task's name: the settings in which they differ.
    #[serde(default)]
    pub variants: BTreeMap<String, toml::Table>,
    /// Where the task and this form of it come from.
    pub source: Source,
}

/// The kind of question a task asks in a cloze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Which of the label words belongs in the blank?
    Word,
    /// Which of the sample's own texts belongs in the blank?
    Choice,
    /// Which text belongs in the blank? It is written, a token at a time.
    Generate,
    /// How probable is the text?
    LogProb,
}

/// A label: a text or a number, as the official files spell it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Label {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Text(text) => f.write_str(text),
            Label::Number(number) => number.fmt(f),
        }
    }
}

/// Where the rows are and how they are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// The format of the files.
    pub reader: Reader,
    /// The Rust adapter that turns rows into samples, where this file can't say it.
    #[serde(default)]
    pub adapter: Option<String>,
    /// The folder's official name.
    pub folder: String,
    /// How to get it: a repository on the hub, with the name of the part after a colon.
    #[serde(default)]
    pub hub: Option<String>,
    /// Where its files, as `files` names them, can be downloaded.
    #[serde(default)]
    pub url: Option<String>,
    /// The key of a row's number. Without it, rows are numbered.
    #[serde(default)]
    pub id: Option<String>,
    /// The key of a row's label.
    #[serde(default = "label_key")]
    pub label: String,
    /// The key of what samples that are scored together share.
    #[serde(default)]
    pub group: Option<String>,
    /// The files of the splits.
    pub files: Files,
}

fn label_key() -> String {
    "label".into()
}

/// The format of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// One JSON object a line.
    Jsonl,
    /// A file of text, which is one row with the only field `text`.
    Text,
}

/// The files of the splits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// To learn from.
    #[serde(default)]
    pub train: Option<FileSpec>,
    /// To evaluate on.
    #[serde(default)]
    pub val: Option<FileSpec>,
    /// The unlabelled set of the leaderboard.
    #[serde(default)]
    pub test: Option<FileSpec>,
}

/// One data file, and what is known of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Its name in the folder.
    pub path: String,
    /// Rows of the complete official file.
    #[serde(default)]
    pub rows: Option<usize>,
    /// Of the complete official file, or of the known part of it (see `complete`).
    #[serde(default)]
    pub sha256: Option<String>,
    /// Is `sha256` that of the complete official file?
    #[serde(default = "yes")]
    pub complete: bool,
    /// What is to be known about the file.
    #[serde(default)]
    pub note: Option<String>,
}

fn yes() -> bool {
    true
}

/// A field: the key of a row or a field of the adapter, and what is done to its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// The key.
    pub key: String,
    /// What is done to the text, in this order.
    pub apply: Vec<Change>,
}

/// A change of a field's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Typographic quotes and the en dash become their ASCII forms.
    AsciiQuotes,
    /// White space at the end goes.
    TrimEnd,
    /// ASCII punctuation at the end goes, all of it.
    NoFinalPunctuation,
    /// The first letter becomes lower-case.
    LowercaseFirst,
    /// White space becomes single spaces, ends of lines too.
    OneLine,
    /// Lines are parted by `[SEP]`.
    LinesToSeparators,
    /// What `[SEP]` parts becomes a line each.
    SeparatorsToLines,
    /// Brackets and unknown words of Gigaword as the published code spells them.
    Gigaword,
    /// Unknown words of the Yahoo answers as the published code spells them.
    Yahoo,
    /// Lower-case words and marks between spaces, as BERT's uncased tokenizer parts them.
    BertWords,
}

impl Change {
    /// The changed text.
    pub fn apply(self, text: &str) -> String {
        match self {
            Change::AsciiQuotes => ascii_quotes(text),
            Change::TrimEnd => text.trim_end().to_owned(),
            Change::OneLine => texts::one_line(text),
            Change::LinesToSeparators => texts::lines_to_separators(text),
            Change::SeparatorsToLines => texts::separators_to_lines(text),
            Change::Gigaword => texts::gigaword(text),
            Change::Yahoo => text.replace("_UNK", texts::UNKNOWN),
            Change::BertWords => texts::bert_words(text),
            Change::NoFinalPunctuation => {
                text.trim_end_matches(|c: char| c.is_ascii_punctuation()).to_owned()
            }
            Change::LowercaseFirst => {
                let mut chars = text.chars();
                chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
            }
        }
    }
}

/// Typographic quotes and the en dash in their ASCII forms, one character for one.
pub fn ascii_quotes(text: &str) -> String {
    let ascii = |c| match c {
        '\u{201c}' | '\u{201d}' => '"',
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{2013}' => '-',
        other => other,
    };
    text.chars().map(ascii).collect()
}

impl<'de> Deserialize<'de> for FieldSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            key: String,
            #[serde(default)]
            apply: Vec<Change>,
        }
        struct FieldVisitor;
        impl<'de> Visitor<'de> for FieldVisitor {
            type Value = FieldSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key of the rows, or { key = \"…\", apply = […] }")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<FieldSpec, E> {
                Ok(FieldSpec { key: key.to_owned(), apply: Vec::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldSpec, A::Error> {
                let Table { key, apply } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(FieldSpec { key, apply })
            }
        }
        deserializer.deserialize_any(FieldVisitor)
    }
}

/// One pattern: how a sample becomes a cloze.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatternSpec {
    /// Its number in the published code.
    pub id: usize,
    /// The parts of side A. Each part is tokenized on its own.
    pub side_a: Vec<PartSpec>,
    /// The parts of side B, if it has one.
    #[serde(default)]
    pub side_b: Vec<PartSpec>,
    /// Share of the words that an adapter puts blanks in the place of, where the pattern has a text with blanks.
    #[serde(default)]
    pub masked_share: Option<f64>,
    /// The word that stands for each label, with its leading space; none for questions with choices.
    #[serde(default)]
    pub words: BTreeMap<String, String>,
}

/// A part of a pattern: `"[MASK]"`, a text with fields, or `{ shorten = "text with fields" }`; where texts are answered
/// also `"[sMASK]"`, `"[gMASK]"` and `"[TEXT WITH BLANKS]"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartSpec {
    /// The blank.
    Blank,
    /// A blank for a longer text, where the model has a token of its own for it.
    LongBlank(BlankLength),
    /// A text in which an adapter has put blanks; the text between them may be cut.
    WithBlanks,
    /// Text with fields.
    Text {
        /// The text.
        template: Template,
        /// May tokens be cut from its end?
        shortenable: bool,
    },
}

/// How the blank is written in a task file.
pub const BLANK: &str = "[MASK]";

/// How the parts are written that stand for themselves.
const SPECIAL_PARTS: [(&str, PartSpec); 4] = [
    (BLANK, PartSpec::Blank),
    ("[sMASK]", PartSpec::LongBlank(BlankLength::Sentences)),
    ("[gMASK]", PartSpec::LongBlank(BlankLength::Rest)),
    ("[TEXT WITH BLANKS]", PartSpec::WithBlanks),
];

impl PartSpec {
    /// Is it to be filled?
    pub fn is_blank(&self) -> bool {
        matches!(self, Self::Blank | Self::LongBlank(_) | Self::WithBlanks)
    }
}

impl<'de> Deserialize<'de> for PartSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            shorten: Template,
        }
        struct PartVisitor;
        impl<'de> Visitor<'de> for PartVisitor {
            type Value = PartSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"[MASK]\", a text, or { shorten = \"a text\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PartSpec, E> {
                for (name, part) in SPECIAL_PARTS {
                    if text == name {
                        return Ok(part);
                    }
                    if text.contains(name) {
                        let what = format!("the blank \"{name}\" must be a part of its own in {text:?}");
                        return Err(E::custom(what));
                    }
                }
                let template = Template::try_from(text.to_owned()).map_err(E::custom)?;
                Ok(PartSpec::Text { template, shortenable: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PartSpec, A::Error> {
                let Table { shorten } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(PartSpec::Text { template: shorten, shortenable: true })
            }
        }
        deserializer.deserialize_any(PartVisitor)
    }
}

/// The inputs of a classification head.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierSpec {
    /// The first text.
    pub text_a: Template,
    /// The second text, if there is one.
    #[serde(default)]
    pub text_b: Option<Template>,
    /// One text pair a candidate, which the texts name as `{candidate}`, instead of one a sample.
    #[serde(default)]
    pub for_each_candidate: bool,
    /// The candidates, where they aren't the ones of the cloze.
    #[serde(default)]
    pub candidates: Vec<Template>,
    /// The texts for a head that reads marked words too, where the question is about some.
    #[serde(default)]
    pub marked: Option<MarkedSpec>,
}

/// Texts with marked words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkedSpec {
    /// The first text.
    pub text_a: Template,
    /// The second text, if there is one.
    #[serde(default)]
    pub text_b: Option<Template>,
    /// The words that the question is about.
    pub spans: Vec<SpanSpec>,
}

/// Where a marked stretch of a text is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanSpec {
    /// The text that it is in.
    pub text: Side,
    /// The field with the number of its first character, from 0.
    pub start: String,
    /// The field with the number of the character behind its last.
    pub end: String,
}

/// One of the two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// How a text-to-text model (T5) is asked: a text to read, and the text to answer with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextToTextSpec {
    /// What comes before the text, for models that are told the task by such a prefix.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The parts of the text, without a blank. Each part is tokenized on its own.
    pub input: Vec<PartSpec>,
    /// What stands for each label; without them, the sample's own candidates are answered.
    #[serde(default)]
    pub words: BTreeMap<String, String>,
}

/// What is written into the blanks, and what it is scored against.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationSpec {
    /// The text of the only blank, to learn from; none where an adapter gives a text a blank.
    #[serde(default)]
    pub target: Option<Template>,
    /// The right text, to score against.
    pub reference: Template,
    /// What is done to answers and right texts before they are compared, in this order.
    #[serde(default)]
    pub scored_as: Vec<Change>,
    /// Which edges of the prompt are those of a whole text.
    pub edges: Edges,
    /// Where a source that is too long is cut.
    pub cut: Cut,
}

/// A metric of a task.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MetricSpec {
    /// Its name, as `glm-eval ls metrics` lists it.
    pub name: String,
}

/// What the first metric is without any skill, on the validation set.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// Always the same answer, the best of those.
    pub majority: Option<f64>,
    /// Answers drawn with equal probability.
    pub random: Option<f64>,
}

/// Where a task and this form of it come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The paper that introduces the task.
    pub paper: String,
    /// The page or file of the protocol that is followed.
    pub protocol: String,
    /// What a reader of a score should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl TaskFile {
    /// Reads a task file; `file` names it in errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, TaskError> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().map_or(text, |span| text.get(..span.start).unwrap_or(text));
            let (line, near) = (before.matches('\n').count() + 1, near_key(error.message()));
            TaskError::Malformed { file: file.to_owned(), line, what: error.message().to_owned(), near }
        })
    }
}

/// The known key or value nearest to the unknown one, from a message such as
/// "unknown field `metric`, expected one of `name`, `metrics`".
fn near_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown ").then(|| quoted.next()).flatten()?;
    nearest(unknown, quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_those_of_the_published_code() {
        assert_eq!(Change::AsciiQuotes.apply("“a” ‘b’ – —"), "\"a\" 'b' - —");
        assert_eq!(Change::NoFinalPunctuation.apply("He left (again).\""), "He left (again");
        assert_eq!(Change::LowercaseFirst.apply("The Sun"), "the Sun");
        assert_eq!(Change::LowercaseFirst.apply(""), "");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
        let text = "name = \"x\"\ntitle = \"X\"\n\nlabel = [\"a\"]\n";
        let error = TaskFile::parse(text, "x.toml").expect_err("`label` isn't `labels`").to_string();
        assert!(error.starts_with("x.toml:4: unknown field `label`, expected one of"), "{error}");
        assert!(error.ends_with("did you mean `labels`?"), "{error}");
    }

    #[test]
    fn a_part_is_a_blank_or_text_or_text_that_may_be_cut() {
        #[derive(Deserialize)]
        struct Side {
            side: Vec<PartSpec>,
        }
        let side = |text: &str| toml::from_str::<Side>(&format!("side = {text}")).map(|side| side.side);
        let parts = side(r#"["[MASK]", ", {a}", { shorten = "{b}" }]"#).expect("three parts");
        assert_eq!(parts[0], PartSpec::Blank);
        assert!(matches!(&parts[1], PartSpec::Text { shortenable: false, .. }));
        assert!(matches!(&parts[2], PartSpec::Text { shortenable: true, .. }));
        for broken in [r#"["a [MASK]"]"#, r#"["{a"]"#, r#"[{ shortn = "{a}" }]"#, "[3]"] {
            assert!(side(broken).is_err(), "{broken}");
        }
    }
}
