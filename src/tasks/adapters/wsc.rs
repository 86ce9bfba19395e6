//! WSC: does the pronoun refer to the marked noun phrase?
//!
//! As a cloze, the blank asks what the pronoun refers to. Without other candidates the answer is "True" when
//! the model would write exactly the noun phrase; with candidates, when the noun phrase scores best. Only rows
//! whose answer is true can be learned from. Source: THUDM/GLM@4f61ed7 `tasks/superglue/{dataset,pvp}.py`,
//! `WscProcessor` and `WscPVP`.

use super::{Adapter, Blanked, Expansion, Item, Reading, plain};
use crate::data::Row;
use crate::tasks::error::TaskError;
use crate::tasks::file::ascii_quotes;
use crate::tasks::sample::Split;
use crate::tasks::task::Head;

/// Wrong candidates of a training sample; a row with more becomes several samples.
const MAX_WRONG: usize = 9;

/// Reads official rows, official rows with `candidates: [{"text": …}]`, and WSCR rows
/// (`{text, pronoun, candidates, answer}`), whose right answer is known and whose other candidate is wrong.
pub struct Wsc;

impl Adapter for Wsc {
    fn name(&self) -> &'static str {
        "wsc"
    }

    /// `text` has the pronoun between asterisks; `span` is the noun phrase in question. `sentence` has no asterisks, and
    /// the others say which of its characters are the noun phrase and the pronoun.
    fn fields(&self) -> &'static [&'static str] {
        &["text", "pronoun", "span", "sentence", "span_start", "span_end", "pronoun_start", "pronoun_end"]
    }

    fn expand(&self, row: &Row, expansion: &mut Expansion<'_>) -> Result<Vec<Item>, TaskError> {
        let learning = expansion.split == Split::Train && expansion.head != Head::Classifier;
        let (mut item, span, wrong) =
            if row.get("pronoun").is_some() { wscr(row, expansion)? } else { official(row, expansion)? };
        if learning && item.label != Some(1) {
            return Ok(Vec::new());
        }
        item.fields.push(("span", span.clone()));
        item.reading = match (expansion.head, wrong.is_some()) {
            (Head::Classifier, _) => Reading::Best,
            (Head::Cloze | Head::TextToText, true) => Reading::FirstIsBest,
            (Head::Cloze | Head::TextToText, false) => Reading::Greedy,
        };
        let with = |item: Item, wrong: &[String], copy| Item {
            candidates: std::iter::once(span.clone()).chain(wrong.iter().cloned()).collect(),
            copy,
            ..item
        };
        let wrong = wrong.unwrap_or_default();
        if !learning || wrong.len() <= MAX_WRONG {
            return Ok(vec![with(item, &wrong, 0)]);
        }
        // The last group is filled up from the front.
        let fill = |group: &[String]| group.iter().chain(&wrong).take(MAX_WRONG).cloned().collect::<Vec<_>>();
        let groups = wrong.chunks(MAX_WRONG).map(fill).enumerate();
        Ok(groups.map(|(copy, group)| with(item.clone(), &group, copy)).collect())
    }
}

/// An item, its noun phrase, and the wrong candidates if the row has some.
type Parsed = (Item, String, Option<Vec<String>>);

/// An official row. Its word numbers are off by one in some rows.
fn official(row: &Row, expansion: &Expansion<'_>) -> Result<Parsed, TaskError> {
    let mut item = plain(row, expansion)?;
    let target = row.object("target")?;
    let (span, pronoun) = (target.text("span1_text")?, target.text("span2_text")?);
    let text = ascii_quotes(row.text("text")?);
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let index = target.index("span2_index")?;
    let is_pronoun = |&index: &usize| words.get(index) == Some(&pronoun);
    let near = [Some(index), index.checked_sub(1), Some(index + 1)];
    let index = if let Some(index) = near.into_iter().flatten().find(is_pronoun) {
        index
    } else {
        // Something may stick to the pronoun, which then becomes a word of its own.
        let Some(rest) = words.get(index).and_then(|word| word.strip_prefix(pronoun)) else {
            let found = match words.get(index) {
                Some(word) => format!("which is {word:?}"),
                None => format!("which has only {}", words.len()),
            };
            let what =
                format!("the pronoun {pronoun:?} should be word {index} (from 0) of the text, {found}");
            return Err(row.invalid(what).into());
        };
        words[index] = pronoun;
        words.insert(index + 1, rest);
        index
    };
    item.fields = vec![("text", marked(&words, index)), ("pronoun", pronoun.to_owned())];
    item.fields.extend(places(
        row,
        &words,
        index,
        pronoun,
        span,
        target.index("span1_index").ok(),
        expansion,
    )?);
    let mut wrong = None;
    if row.get("candidates").is_some() {
        let mut texts: Vec<String> = Vec::new();
        for candidate in row.objects("candidates")? {
            let text = candidate.text("text")?;
            if !texts.iter().any(|known| known == text) {
                texts.push(text.to_owned());
            }
        }
        wrong = Some(texts);
    }
    Ok((item, span.to_owned(), wrong))
}

/// A WSCR row: the right answer is the noun phrase, and the answer to the task's question is true.
fn wscr(row: &Row, expansion: &Expansion<'_>) -> Result<Parsed, TaskError> {
    let (pronoun, answer) = (row.text("pronoun")?, row.text("answer")?);
    let text = ascii_quotes(row.text("text")?);
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let bare = |word: &str| word.trim_matches(|c: char| c.is_ascii_punctuation()) == pronoun;
    // The pronoun comes after both noun phrases: the last one that reads so.
    let Some(index) = words.iter().rposition(|word| bare(word)) else {
        return Err(row.invalid(format!("the pronoun {pronoun:?} isn't a word of the text")).into());
    };
    if let Some(rest) = words[index].strip_prefix(pronoun).filter(|rest| !rest.is_empty()) {
        words[index] = pronoun;
        words.insert(index + 1, rest);
    }
    let is_wrong = |candidate: &&str| *candidate != answer;
    let texts = row.list("candidates")?.iter().filter_map(|candidate| candidate.as_str());
    let wrong = texts.filter(is_wrong).map(str::to_owned).collect();
    let mut fields = vec![("text", marked(&words, index)), ("pronoun", pronoun.to_owned())];
    fields.extend(places(row, &words, index, pronoun, answer, None, expansion)?);
    let item = Item {
        guid: format!("{}-wscr-{}", expansion.split.guid_prefix(), expansion.row_index),
        copy: 0,
        row: row.clone(),
        fields,
        candidates: Vec::new(),
        label: Some(1),
        official_label: expansion.task.official_label(Some(1)),
        reading: Reading::FirstIsBest,
        group: None,
        references: Vec::new(),
        blanked: Blanked::default(),
    };
    Ok((item, answer.to_owned(), Some(wrong)))
}

/// A field and its text.
type Field = (&'static str, String);

/// The sentence, and the places in it of the noun phrase and the pronoun, for a classification head. The noun phrase is
/// where the row says, or else where it stands in the text nearest to there.
fn places(
    row: &Row,
    words: &[&str],
    pronoun_index: usize,
    pronoun: &str,
    span: &str,
    span_index: Option<usize>,
    expansion: &Expansion<'_>,
) -> Result<Vec<Field>, TaskError> {
    if expansion.head != Head::Classifier {
        return Ok(Vec::new());
    }
    let sentence = words.join(" ");
    // Places in characters, without regard to case.
    let lower =
        |text: &str| text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect::<Vec<char>>();
    let text = lower(&sentence);
    let word_start =
        |index: usize| words.iter().take(index).map(|word| word.chars().count() + 1).sum::<usize>();
    let expected = span_index.map_or(0, word_start);
    let find = |phrase: &[char]| {
        let found = (0..text.len()).filter(|&at| !phrase.is_empty() && text[at..].starts_with(phrase));
        // Rather not inside of a word.
        let is_inside = |at: usize| at > 0 && text[at - 1].is_alphanumeric();
        found.min_by_key(|&at| (is_inside(at), at.abs_diff(expected))).map(|at| at..at + phrase.len())
    };
    // A few phrases of the test set are not in the text as a whole ("Kamenev and Zinoviev"): their first words are.
    let phrase: Vec<&str> = span.split_whitespace().collect();
    let shorter = (1..=phrase.len()).rev().map(|count| phrase[..count].join(" "));
    let place = shorter.map(|phrase| lower(phrase.trim_end_matches(|c: char| c.is_ascii_punctuation())));
    let Some(place) = place.into_iter().find_map(|phrase| find(&phrase)) else {
        return Err(row.invalid(format!("the noun phrase {span:?} isn't in the text {sentence:?}")).into());
    };
    let pronoun_start = word_start(pronoun_index);
    let places = [
        ("span_start", place.start),
        ("span_end", place.end),
        ("pronoun_start", pronoun_start),
        ("pronoun_end", pronoun_start + pronoun.chars().count()),
    ];
    let places = places.map(|(name, place)| (name, place.to_string()));
    Ok(std::iter::once(("sentence", sentence)).chain(places).collect())
}

fn marked(words: &[&str], index: usize) -> String {
    let mark = |(i, word): (usize, &&str)| if i == index { format!("*{word}*") } else { (*word).to_owned() };
    words.iter().enumerate().map(mark).collect::<Vec<_>>().join(" ")
}
