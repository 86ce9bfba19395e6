//! A text with blanks, as a user writes it.

use anyhow::bail;

use crate::request::{Ask, BlankLength, Cut, Decoding, Edges, Part, Prompt, Request};
use crate::tokenizer::Tokenizer;

/// A text in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// What stands before each blank, and behind the last.
    literals: Vec<String>,
    /// The blanks.
    blanks: Vec<Part>,
}

/// How blanks are written.
const MASKS: [(&str, Part); 3] = [
    ("[MASK]", Part::Blank),
    ("[sMASK]", Part::LongBlank(BlankLength::Sentences)),
    ("[gMASK]", Part::LongBlank(BlankLength::Rest)),
];

impl Text {
    /// Parts a text at its blanks; a text without any has one at its end.
    ///
    /// # Errors
    /// When a kind of blank is not in the vocabulary.
    pub fn parse(text: &str, tokenizer: &Tokenizer) -> anyhow::Result<Self> {
        let special = tokenizer.special().ok();
        let mut parsed = Self { literals: vec![], blanks: vec![] };
        let mut rest = text;
        while let Some((at, mask, part)) =
            MASKS.iter().filter_map(|(mask, part)| Some((rest.find(mask)?, mask, part))).min_by_key(|m| m.0)
        {
            let is_known = special.is_none_or(|special| match part {
                Part::LongBlank(BlankLength::Sentences) => special.smask.is_some(),
                Part::LongBlank(BlankLength::Rest) => special.gmask.is_some(),
                _ => true,
            });
            if !is_known {
                bail!("the model's vocabulary has no {mask}; write [MASK]");
            }
            parsed.literals.push(rest[..at].to_string());
            parsed.blanks.push(part.clone());
            rest = &rest[at + mask.len()..];
        }
        if parsed.blanks.is_empty() {
            let space = if rest.ends_with(char::is_whitespace) { "" } else { " " };
            parsed.literals.push(format!("{rest}{space}"));
            parsed.blanks.push(Part::LongBlank(BlankLength::Rest));
            rest = "";
        }
        parsed.literals.push(rest.to_string());
        Ok(parsed)
    }

    /// The question. A text that ends in a blank goes on there, and keeps what is nearest to it where it is too long.
    pub fn request(&self, id: &str, decoding: &Decoding, max_tokens: usize) -> Request {
        let goes_on = self.literals.last().is_none_or(|last| last.trim().is_empty());
        let mut parts = Vec::new();
        for (literal, blank) in self.literals.iter().zip(&self.blanks) {
            parts.push(literal_part(literal));
            parts.push(blank.clone());
        }
        parts.extend(self.literals.last().map(|last| literal_part(last)));
        parts.retain(|part| !matches!(part, Part::Text { text, .. } if text.trim().is_empty()));
        let (edges, cut) = if goes_on { (Edges::Start, Cut::Start) } else { (Edges::Both, Cut::End) };
        Request {
            id: id.into(),
            prompt: Prompt { side_a: parts, side_b: vec![] },
            ask: Ask::Generate { decoding: decoding.clone(), edges, cut },
            max_tokens,
        }
    }

    /// The text with all its blanks filled.
    pub fn filled<'a>(&self, fillings: impl Iterator<Item = &'a str>) -> String {
        let mut fillings = fillings;
        let mut text = String::new();
        for (i, literal) in self.literals.iter().enumerate() {
            text.push_str(literal);
            if i < self.blanks.len() {
                text.push_str(fillings.next().unwrap_or_default());
            }
        }
        text
    }

    /// The text up to and with the last of some fillings; up to the first blank without any.
    pub fn until(&self, fillings: &[String]) -> String {
        let mut text = self.literals[0].clone();
        for (i, filling) in fillings.iter().enumerate() {
            if i > 0 {
                text.push_str(&self.literals[i]);
            }
            text.push_str(filling);
        }
        text
    }
}

fn literal_part(literal: &str) -> Part {
    // A byte-level mask token swallows the space before it.
    Part::Text { text: literal.trim_end().to_string(), shortenable: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Text {
        Text::parse(text, &Tokenizer::builtin()).expect("only [MASK]")
    }

    #[test]
    fn blanks_are_filled_where_they_stand() {
        let text = parse("the [MASK] sat on the [MASK].");
        assert_eq!(text.filled(["cat", "mat"].into_iter()), "the cat sat on the mat.");
        assert_eq!(text.until(&[]), "the ");
        assert_eq!(text.until(&["cat".into(), "ma".into()]), "the cat sat on the ma");
    }

    #[test]
    fn a_text_without_a_blank_goes_on_at_its_end() {
        let text = parse("once upon a time");
        assert_eq!(text.filled(["there was"].into_iter()), "once upon a time there was");
        let request = text.request("text", &Decoding::greedy(4), 64);
        let Ask::Generate { edges, cut, .. } = &request.ask else { panic!("texts are asked for") };
        assert_eq!((edges, cut), (&Edges::Start, &Cut::Start));
        assert_eq!(request.prompt.side_a.len(), 2);
    }

    #[test]
    fn a_blank_that_the_vocabulary_lacks_is_an_error() {
        assert!(Text::parse("so [gMASK]", &Tokenizer::builtin()).is_ok());
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nso\n")
            .expect("it can be written");
        let tokenizer = Tokenizer::open(folder.path()).expect("a BERT vocabulary");
        let error = Text::parse("so [gMASK]", &tokenizer).expect_err("it has none").to_string();
        assert_eq!(error, "the model's vocabulary has no [gMASK]; write [MASK]");
    }
}
