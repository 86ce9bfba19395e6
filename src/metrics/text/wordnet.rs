//! The part of `WordNet` that METEOR needs: which words share a meaning with a word.
//!
//! Format: `wndb(5WN)`, `WordNet` 3.0. Base forms are looked up as NLTK 3.10 does (`morphy`, all that are found).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A part of speech: the suffix of its files, and how endings change to those of base forms.
struct Part {
    suffix: &'static str,
    endings: &'static [(&'static str, &'static str)],
}

const PARTS: [Part; 4] = [
    Part {
        suffix: "noun",
        endings: &[
            ("s", ""),
            ("ses", "s"),
            ("ves", "f"),
            ("xes", "x"),
            ("zes", "z"),
            ("ches", "ch"),
            ("shes", "sh"),
            ("men", "man"),
            ("ies", "y"),
        ],
    },
    Part {
        suffix: "verb",
        endings: &[
            ("s", ""),
            ("ies", "y"),
            ("es", "e"),
            ("es", ""),
            ("ed", "e"),
            ("ed", ""),
            ("ing", "e"),
            ("ing", ""),
        ],
    },
    Part { suffix: "adj", endings: &[("er", ""), ("est", ""), ("er", "e"), ("est", "e")] },
    Part { suffix: "adv", endings: &[] },
];

/// Words and their meanings.
#[derive(Debug)]
pub struct WordNet {
    parts: Vec<Meanings>,
}

/// The words of one part of speech.
#[derive(Debug)]
struct Meanings {
    endings: &'static [(&'static str, &'static str)],
    /// Where the sets of synonyms of a base form stand in `data`.
    index: HashMap<String, Vec<usize>>,
    /// Base forms that no rule gives.
    exceptions: HashMap<String, Vec<String>>,
    /// The text of the file: a line a set of synonyms.
    data: String,
}

/// A folder that isn't `WordNet`'s.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum WordNetError {
    /// A file can't be read, or isn't there.
    #[error("{}: can't be read; the folder should be WordNet's `dict`, with index.*, data.* and *.exc for noun, verb, adj and adv", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A line that isn't as the format says.
    #[error("{}:{line}: {what}; is the file whole?", path.display())]
    Malformed { path: PathBuf, line: usize, what: String },
}

impl WordNet {
    /// Reads `WordNet`'s database folder.
    pub fn open(folder: &Path) -> Result<Self, WordNetError> {
        let parts = PARTS.iter().map(|part| Meanings::open(folder, part)).collect::<Result<_, _>>()?;
        Ok(Self { parts })
    }

    /// The words that share a meaning with a lower-case word or one of its base forms, in `WordNet`'s spelling, without
    /// those of several words.
    pub fn synonyms(&self, word: &str) -> Vec<&str> {
        let sets = self.parts.iter().flat_map(|part| {
            part.base_forms(word)
                .into_iter()
                .flat_map(|form| part.index[&form].iter().map(|at| part.words(*at)))
        });
        sets.flatten().filter(|synonym| !synonym.contains('_')).collect()
    }
}

impl Meanings {
    fn open(folder: &Path, part: &Part) -> Result<Self, WordNetError> {
        let read = |name: String| {
            let path = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((path, text)),
                Err(source) => Err(WordNetError::Unreadable { path, source }),
            }
        };
        let (_, data) = read(format!("data.{}", part.suffix))?;
        let (path, index) = read(format!("index.{}", part.suffix))?;
        let (_, exceptions) = read(format!("{}.exc", part.suffix))?;
        let mut meanings =
            Self { endings: part.endings, index: HashMap::new(), exceptions: HashMap::new(), data };
        // The lines of the licence begin with a space.
        for (i, line) in index.lines().enumerate().filter(|(_, line)| !line.starts_with(' ')) {
            let malformed = |what: &str| {
                let (path, line) = (path.clone(), i + 1);
                WordNetError::Malformed { path, line, what: what.to_owned() }
            };
            let (word, offsets) = index_line(line).ok_or_else(|| malformed("not a line of an index"))?;
            if let Some(at) = offsets.iter().find(|at| !meanings.has_set(**at)) {
                return Err(malformed(&format!("there is no entry at {at} of data.{}", part.suffix)));
            }
            meanings.index.insert(word.to_owned(), offsets);
        }
        if meanings.index.is_empty() && !meanings.data.trim().is_empty() {
            let what = format!("there is no word for the entries of data.{}", part.suffix);
            return Err(WordNetError::Malformed { path, line: 1, what });
        }
        for line in exceptions.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            if let Some(word) = words.next() {
                meanings.exceptions.insert(word, words.collect());
            }
        }
        Ok(meanings)
    }

    /// The forms of a word that are in the index: itself, and those that the exceptions or else the rules give.
    fn base_forms(&self, word: &str) -> Vec<String> {
        let mut forms = vec![word.to_owned()];
        if let Some(exceptions) = self.exceptions.get(word) {
            forms.extend(exceptions.iter().cloned());
        } else {
            let ended = |(old, new): &(&str, &str)| Some(format!("{}{new}", word.strip_suffix(old)?));
            forms.extend(self.endings.iter().filter_map(ended));
        }
        forms.retain(|form| self.index.contains_key(form));
        forms
    }

    /// Does a set of synonyms begin at this byte?
    fn has_set(&self, at: usize) -> bool {
        let line = self.data.get(at..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        line.get(..8).and_then(|offset| offset.parse().ok()) == Some(at) && set_words(line).is_some()
    }

    fn words(&self, at: usize) -> impl Iterator<Item = &str> {
        let line = self.data[at..].lines().next().unwrap_or_default();
        set_words(line).into_iter().flatten()
    }
}

/// A word and its offsets from `lemma pos synset_cnt p_cnt [ptr_symbol...] sense_cnt tagsense_cnt synset_offset...`.
fn index_line(line: &str) -> Option<(&str, Vec<usize>)> {
    let mut fields = line.split_whitespace();
    let word = fields.next()?;
    let num_sets: usize = fields.nth(1)?.parse().ok()?;
    let num_pointers: usize = fields.next()?.parse().ok()?;
    let offsets: Option<Vec<usize>> = fields.skip(num_pointers + 2).map(|field| field.parse().ok()).collect();
    offsets.filter(|offsets| offsets.len() == num_sets).map(|offsets| (word, offsets))
}

/// The words of `synset_offset lex_filenum ss_type w_cnt word lex_id [word lex_id...] ...`; an adjective may carry a
/// marker, as in `ready(p)`.
fn set_words(line: &str) -> Option<impl Iterator<Item = &str>> {
    let mut fields = line.split_whitespace().skip(3);
    let num_words = usize::from_str_radix(fields.next()?, 16).ok()?;
    let words: Vec<&str> = fields.step_by(2).take(num_words).collect();
    let bare = |word: &'_ str| word.find('(').filter(|_| word.ends_with(')')).unwrap_or(word.len());
    (words.len() == num_words).then(|| words.into_iter().map(move |word| &word[..bare(word)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with two sets of nouns and one of adjectives.
    fn folder(index_of_nouns: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let nouns = "00000000 05 n 02 mouse 0 computer_mouse 0 001 @ 00000000 n 0000 | a device\n\
                     00000075 05 n 02 mouse 1 Rodent 0 000 | an animal\n";
        let files = [
            ("data.noun", nouns),
            ("index.noun", index_of_nouns),
            ("noun.exc", "mice mouse\n"),
            ("data.verb", ""),
            ("index.verb", ""),
            ("verb.exc", ""),
            ("data.adj", "00000000 00 s 02 fine 0 ready(p) 0 000 | well\n"),
            ("index.adj", "  1 the licence\nfine a 1 0 1 0 00000000  \n"),
            ("adj.exc", ""),
            ("data.adv", ""),
            ("index.adv", ""),
            ("adv.exc", ""),
        ];
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn synonyms_are_those_of_all_base_forms_but_not_of_several_words() {
        let wordnet = WordNet::open(folder("mouse n 2 1 @ 2 0 00000000 00000075\n").path()).unwrap();
        assert_eq!(wordnet.synonyms("mice"), ["mouse", "mouse", "Rodent"]);
        assert_eq!(wordnet.synonyms("mouses"), ["mouse", "mouse", "Rodent"]);
        assert_eq!(wordnet.synonyms("finer"), ["fine", "ready"]);
        assert!(wordnet.synonyms("rat").is_empty());
    }

    #[test]
    fn a_broken_folder_is_named_with_file_and_line() {
        let error = |index: &str| {
            let folder = folder(index);
            let message = WordNet::open(folder.path()).unwrap_err().to_string();
            message.replace(&format!("{}/", folder.path().display()), "")
        };
        let line = "mouse n 2 1 @ 2 0 00000000 00000075\n";
        assert_eq!(
            error(&format!("{line}rat n 2\n")),
            "index.noun:2: not a line of an index; is the file whole?"
        );
        assert_eq!(
            error("mouse n 1 0 1 0 00000074\n"),
            "index.noun:1: there is no entry at 74 of data.noun; is the file whole?"
        );
        let empty = tempfile::tempdir().unwrap();
        let message = WordNet::open(empty.path()).unwrap_err().to_string();
        assert!(
            message.contains("data.noun: can't be read; the folder should be WordNet's `dict`"),
            "{message}"
        );
    }
}
