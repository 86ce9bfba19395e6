//! `WikiText`: its tokens put together to text again.
//!
//! Source: THUDM/GLM@4f61ed7 `tasks/language_model/detokenizer.py`, `wikitext_detokenizer` (Megatron-LM's).

use std::sync::LazyLock;

use regex::Regex;

use super::{Adapter, Expansion, Item, plain};
use crate::data::Row;
use crate::tasks::error::TaskError;

/// Gives `detokenized`, the text that is read. Words and bytes are those of the file's own text, in which every end of a
/// line is a word, as the published code counts.
pub struct WikiText;

impl Adapter for WikiText {
    fn name(&self) -> &'static str {
        "wikitext"
    }

    fn fields(&self) -> &'static [&'static str] {
        &["detokenized", "num_words", "num_bytes"]
    }

    fn expand(&self, row: &Row, expansion: &mut Expansion<'_>) -> Result<Vec<Item>, TaskError> {
        let text = row.text("text")?;
        Ok(vec![Item {
            fields: vec![
                ("detokenized", detokenized(text)),
                ("num_words", text.trim().split(' ').count().to_string()),
                ("num_bytes", text.len().to_string()),
            ],
            ..plain(row, expansion)?
        }])
    }
}

/// What is replaced by what, in this order, before brackets and quotes close up.
const MARKS: [(&str, &str); 10] = [
    ("s '", "s'"),
    (" @-@ ", "-"),
    (" @,@ ", ","),
    (" @.@ ", "."),
    (" : ", ": "),
    (" ; ", "; "),
    (" . ", ". "),
    (" ! ", "! "),
    (" ? ", "? "),
    (" , ", ", "),
];

/// Pairs of marks that lose the space inside of them, an apostrophe being taken for a quote.
static PAIRS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let pair = |(pattern, replacement)| (Regex::new(pattern).expect("it is well-formed"), replacement);
    [
        (r"\(\s*([^)]*?)\s*\)", "($1)"),
        (r"\[\s*([^\]]*?)\s*\]", "[$1]"),
        (r"\{\s*([^}]*?)\s*\}", "{$1}"),
        (r#""\s*([^"]*?)\s*""#, "\"$1\""),
        (r"'\s*([^']*?)\s*'", "'$1'"),
    ]
    .map(pair)
    .into()
});

/// What is replaced at last.
const REST: [(&str, &str); 8] = [
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" ° ", "°"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
];

fn detokenized(text: &str) -> String {
    let replace = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    let text = MARKS.iter().fold(text.to_owned(), replace);
    let text = PAIRS.iter().fold(text, |text, (pattern, to)| pattern.replace_all(&text, *to).into_owned());
    REST.iter().fold(text, replace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_become_text_with_the_published_codes_faults() {
        let one = " = Title = \n \n It had 1 @,@ 000 fans , and ( so they said ) a ' big ' wheel : red \n";
        assert_eq!(
            detokenized(one),
            " = Title =\n\nIt had 1,000 fans, and (so they said) a 'big' wheel: red\n"
        );
        // An apostrophe opens a quote that the next one closes.
        assert_eq!(detokenized("the city 's walls and the king 's"), "the city's walls and the king's");
    }
}
