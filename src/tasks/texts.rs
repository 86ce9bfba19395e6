//! What is done to texts before a model reads them, and before texts are compared.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

/// What parts lines in a target: a token of its own in BERT's vocabulary.
const SEPARATOR: &str = "[SEP]";
/// How the published code spells a word that is not known.
pub(super) const UNKNOWN: &str = "[UNK]";

/// White space as single spaces.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines parted by `[SEP]`, as the published code writes summaries.
pub(super) fn lines_to_separators(text: &str) -> String {
    lines(text, "\n").join(&format!(" {SEPARATOR} "))
}

/// The reverse: a line for all that `[SEP]` parts.
pub(super) fn separators_to_lines(text: &str) -> String {
    text.split('\n').flat_map(|line| lines(line, SEPARATOR)).collect::<Vec<_>>().join("\n")
}

fn lines(text: &str, separator: &str) -> Vec<String> {
    text.split(separator).map(one_line).filter(|line| !line.is_empty()).collect()
}

/// Brackets and unknown words of Gigaword.
///
/// Source: THUDM/GLM@4f61ed7 `tasks/seq2seq/dataset.py`, `gigaword_detokenize`.
pub(super) fn gigaword(text: &str) -> String {
    const SPELT: [(&str, &str); 11] = [
        ("UNK", UNKNOWN),
        ("<unk>", UNKNOWN),
        ("-lrb-", "("),
        ("-rrb-", ")"),
        ("-lsb-", "["),
        ("-rsb-", "]"),
        ("-lcb-", "{"),
        ("-rcb-", "}"),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ];
    SPELT.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Words in lower case and without accents, and each mark, between single spaces; lines stay lines. So texts compare
/// alike whatever the tokenizer that wrote them. `[UNK]` stays whole.
///
/// The published code compares with texts that its tokenizer has encoded and decoded again, which comes to the same
/// where the vocabulary knows every character.
///
/// Source: google-research/bert `tokenization.py`, `BasicTokenizer`.
pub(super) fn bert_words(text: &str) -> String {
    text.split('\n').map(words_of_line).collect::<Vec<_>>().join("\n")
}

fn words_of_line(line: &str) -> String {
    let mut words = String::new();
    for word in line.split_whitespace() {
        if word == UNKNOWN {
            words.extend([" ", word]);
            continue;
        }
        let mut is_inside = false; // of a word, to which a letter belongs
        for c in word.to_lowercase().nfd().filter(|c| !is_left_out(*c)) {
            let stands_alone = is_mark(c) || is_ideograph(c);
            if stands_alone || !is_inside {
                words.push(' ');
            }
            words.push(c);
            is_inside = !stands_alone;
        }
    }
    words.trim_start().to_owned()
}

fn is_mark(c: char) -> bool {
    static MARK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\p{P}$").expect("a valid pattern"));
    c.is_ascii_punctuation() || !c.is_ascii() && MARK.is_match(c.encode_utf8(&mut [0; 4]))
}

/// Accents, and what is not seen: characters for control and format (a soft hyphen, a space without width), and the one
/// for bytes that were no text.
fn is_left_out(c: char) -> bool {
    static OUT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^[\p{Mn}\p{C}\x{FFFD}]$").expect("a valid pattern"));
    if c.is_ascii() { c.is_ascii_control() } else { OUT.is_match(c.encode_utf8(&mut [0; 4])) }
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2FA1F}' | '\u{F900}'..='\u{FAFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_berts_uncased_tokenizer() {
        assert_eq!(bert_words("It's  Zoë’s 3,000 [UNK]s"), "it ' s zoe ’ s 3 , 000 [ unk ] s");
        assert_eq!(bert_words("an [UNK] .\n“So”, 東京"), "an [UNK] .\n“ so ” , 東 京");
        assert_eq!(bert_words(""), "");
        // What is not seen parts no words; a vowel sign that takes up space (Mc) is no accent.
        assert_eq!(
            bert_words("co\u{ad}operating zero\u{200b}width\u{fffd} \u{feff}कि"),
            "cooperating zerowidth कि"
        );
    }

    #[test]
    fn lines_become_separators_and_back() {
        let lines = "Man says hello .\nHe stayed .";
        assert_eq!(lines_to_separators(lines), "Man says hello . [SEP] He stayed .");
        assert_eq!(
            separators_to_lines("man says hello . [SEP] he stayed ."),
            "man says hello .\nhe stayed ."
        );
        assert_eq!(separators_to_lines("[SEP] a [SEP] [SEP] b"), "a\nb", "an empty line is none");
    }

    #[test]
    fn gigawords_brackets_and_unknown_words_are_those_of_the_published_code() {
        let text = "the u.s. dollar -lrb- usd -rrb- fell against the UNK on friday";
        assert_eq!(gigaword(text), "the u.s. dollar ( usd ) fell against the [UNK] on friday");
    }
}
