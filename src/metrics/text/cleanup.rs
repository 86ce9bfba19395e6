//! What the official GLM code does to texts before it scores them.
//!
//! Source: THUDM/GLM@4f61ed7 `tasks/seq2seq/evaluate.py`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::words::{is_space, split};

/// The forms of the official clean-up of summaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanUp {
    /// Words are put together again in the Penn Treebank's way. With a BERT tokenizer this one is used for every task.
    CnnDm,
    /// Gigaword with another tokenizer: the unknown word is spelt as in the data.
    Gigaword,
    /// Other tasks with another tokenizer: words stay as they are.
    CnnDmOriginal,
}

/// What parts sentences in the official data, besides the newline.
const SEPARATOR: &str = "[SEP]";
/// Predicted sentences of so many words or fewer are dropped.
const SHORT: usize = 4;
/// A predicted sentence is dropped if a larger share of its words was in earlier ones.
const REPEATED: f64 = 0.7;

impl CleanUp {
    /// A reference's sentences, a line each.
    pub fn reference(self, text: &str) -> String {
        self.sentences(text).join("\n")
    }

    /// A prediction's sentences, a line each, without short and repeated ones. (The official code also has a rule that
    /// drops a sentence whose F1 with an earlier one is above 1, which never is.)
    pub fn prediction(self, text: &str) -> String {
        let mut sentences = self.sentences(text);
        sentences.retain(|sentence| split(sentence).count() > SHORT);
        let mut seen = BTreeSet::new();
        sentences.retain(|sentence| {
            let words: BTreeSet<String> = split(&sentence.to_lowercase()).map(str::to_owned).collect();
            let repeated = words.intersection(&seen).count() as f64 / words.len() as f64;
            seen.extend(words);
            repeated <= REPEATED
        });
        sentences.join("\n")
    }

    fn sentences(self, text: &str) -> Vec<String> {
        let sentences = text.trim_matches(is_space).split('\n').flat_map(|line| line.split(SEPARATOR));
        sentences.map(|sentence| self.words(sentence)).collect()
    }

    /// The words of a sentence in the form of the references.
    pub fn words(self, sentence: &str) -> String {
        match self {
            Self::CnnDm => penn(sentence),
            Self::Gigaword => sentence.replace("[UNK]", "UNK"),
            Self::CnnDmOriginal => sentence.to_owned(),
        }
    }
}

/// ASCII punctuation, in Python's order: the official code asks whether a word is a part of it.
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// Puts words together that a tokenizer took apart, and names quotes as the Penn Treebank does: `do n ' t` becomes
/// `do  n't` (with the official code's second space), `3 , 000` becomes `3,000`, `" a "` becomes ``` `` a '' ```.
fn penn(text: &str) -> String {
    let input: Vec<&str> = split(text).collect();
    let mut output: Vec<String> = Vec::new();
    let (mut in_quotes, mut in_single_quotes, mut after_dash) = (false, false, false);
    let mut i = 0;
    while i < input.len() {
        let word = input[i];
        let at = |ahead: usize| input.get(i + ahead).copied().unwrap_or_default();
        let was_after_dash = std::mem::take(&mut after_dash);
        let last = output.last_mut();
        let (taken, new) = match (word, last) {
            ("\"", _) => {
                in_quotes = !in_quotes;
                (1, Some(if in_quotes { "``" } else { "''" }.to_owned()))
            }
            ("'", Some(last)) if last.ends_with('n') && at(1) == "t" => {
                last.pop();
                (2, Some("n't".to_owned()))
            }
            ("'", _) if matches!(at(1), "s" | "d" | "ll") => (2, Some(format!("'{}", at(1)))),
            ("'", _) => {
                in_single_quotes = !in_single_quotes;
                (1, Some(if in_single_quotes { "`" } else { "'" }.to_owned()))
            }
            (".", _) if at(1) == "." && at(2) == "." => (3, Some("...".to_owned())),
            (",", Some(last)) if i + 1 < input.len() && is_count(last) && is_count(at(1)) => {
                last.extend([",", at(1)]);
                (2, None)
            }
            (".", Some(last)) if is_digits(last) && is_digits(at(1)) => {
                last.extend([".", at(1)]);
                (2, None)
            }
            (".", Some(last)) if is_letter(last) && is_letter(at(1)) && at(2) == "." => {
                // The official code looks for further pairs one word too far ahead.
                let mut end = i + 3;
                while end + 2 < input.len() && is_letter(input[end + 1]) && input[end + 2] == "." {
                    end += 2;
                }
                last.extend(input[i..end].iter().copied());
                (end - i, None)
            }
            ("-", _) if at(1) == "-" => (2, Some("--".to_owned())),
            ("-", Some(last))
                if i + 1 < input.len() && !PUNCTUATION.contains(last.as_str()) && !is_punctuated(at(1)) =>
            {
                last.push('-');
                after_dash = true;
                (1, None)
            }
            ("-", _) => (1, Some("-".to_owned())),
            (_, Some(last)) if was_after_dash && !is_punctuated(word) => {
                last.push_str(word);
                (1, None)
            }
            _ => (1, Some(word.to_owned())),
        };
        output.extend(new);
        i += taken;
    }
    output.join(" ")
}

/// Digits and commas, or nothing.
fn is_count(word: &str) -> bool {
    word.chars().all(|c| is_digit(c) || c == ',')
}

fn is_digits(word: &str) -> bool {
    !word.is_empty() && word.chars().all(is_digit)
}

fn is_letter(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|c| LETTER.is_match(c.encode_utf8(&mut [0; 4]))) && chars.next().is_none()
}

/// Does it begin with ASCII punctuation?
fn is_punctuated(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_punctuation())
}

static LETTER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\p{L}"));
/// Digits of all scripts, raised and lowered ones too, as Python's `str.isdigit`.
static DIGIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\p{Nd}²³¹⁰⁴-⁹₀-₉]"));

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is valid")
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || !c.is_ascii() && DIGIT.is_match(c.encode_utf8(&mut [0; 4]))
}

static SQUAD: LazyLock<[(Regex, &str); 7]> = LazyLock::new(|| {
    [
        (r"\ba \. m \.\b", "a.m."),
        (r"\ba \. m\b", "a.m"),
        (r"\bp \. m \.\b", "p.m."),
        (r"\bp \. m\b", "p.m"),
        (r"\b' s\b", "'s"),
        (r"\bu \. s \.\b", "u.s."),
        (r"\bu \. s\b", "u.s"),
    ]
    .map(|(text, by)| (pattern(text), by))
});

/// Generated answers to `SQuAD` in the form of the references: numbers, dashes and abbreviations are put together.
pub fn squad(text: &str) -> String {
    let text = text.replace(" - ", "-").replace(" \u{2013} ", "\u{2013}");
    let text = SQUAD.iter().fold(text, |text, (pattern, by)| pattern.replace_all(&text, *by).into_owned());
    let mut output: Vec<String> = Vec::new();
    let mut words = split(&text).peekable();
    while let Some(word) = words.next() {
        let joins = matches!(word, "," | "." | ":")
            && output.last().is_some_and(|last| last.ends_with(is_digit))
            && words
                .peek()
                .is_some_and(|next| next.starts_with(is_digit) && (word != "," || next.chars().count() <= 3));
        match (output.last_mut(), joins) {
            (Some(last), true) => {
                last.push_str(word);
                last.extend(words.next());
            }
            _ => output.push(word.to_owned()),
        }
    }
    output.join(" ")
}

/// A text whose blanks were filled, in the form of the references.
pub fn blanks(text: &str) -> String {
    let rules = [
        ("` `", "``"),
        ("' '", "''"),
        ("n ' t", "n't"),
        ("' s", "'s"),
        ("' m", "'m"),
        ("' re", "'re"),
        (". . .", "..."),
        (" . .", " .."),
        ("- -", "--"),
        ("u . s .", "u.s."),
        ("u . k .", "u.k."),
        ("e . g .", "e.g."),
    ];
    rules.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}
