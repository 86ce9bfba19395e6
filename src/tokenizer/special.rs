//! GLM's special tokens: which a vocabulary family has, which are appended to it, and where they stand in a text.
//!
//! The ids follow the wrappers of THUDM/GLM@4f61ed7, `data_utils/tokenization.py`. BERT has most tokens in its
//! vocabulary; GPT-2 has only its end of text, so the others follow behind the last piece; `RoBERTa`'s ids are those of
//! fairseq's dictionary, where GLM's names are other spellings of tokens that are there already.

use super::TokenizerError;
use super::vocabulary::Vocabulary;

/// Ids of GLM's special tokens; `pad` and `eos` are always one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Fills batches, where something has to.
    pub pad: u32,
    /// Ends a document; in GLM the same token as `pad`.
    pub eos: u32,
    /// Starts every input; `ENC` in the official code.
    pub cls: u32,
    /// Stands for a blank (of a short span, where there are task masks).
    pub mask: u32,
    /// Separates texts in the inputs of classification heads.
    pub sep: u32,
    /// Stands for what the vocabulary cannot express.
    pub unk: u32,
    /// `<|startofpiece|>`, before the text that fills a blank.
    pub sop: u32,
    /// `<|endofpiece|>`, after it.
    pub eop: u32,
    /// `[gMASK]`: a blank at the end of the text, of document length.
    pub gmask: Option<u32>,
    /// `[sMASK]`: a blank of whole sentences.
    pub smask: Option<u32>,
    /// `[dBLOCK]`: replaces input tokens of a piece in `block_mask_prob` training.
    pub dblock: Option<u32>,
}

/// Which optional tokens a vocabulary gets when it does not have them yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// `[gMASK]` and `[sMASK]`; `add_task_mask` in the official options.
    pub task_masks: bool,
    /// `[dBLOCK]`; `add_decoder_mask` in the official options.
    pub decoder_mask: bool,
}

/// Whose vocabulary it is; decides about pieces, spaces and special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `WordPiece` with BERT's normalisation.
    Bert,
    /// Byte-level BPE with GPT-2's ids.
    Gpt2,
    /// The same BPE with fairseq's ids.
    Roberta,
    /// `SentencePiece`'s Unigram with T5's special tokens; never a GLM's.
    T5,
}

/// A special token as it is written in texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub text: &'static str,
    pub id: u32,
    /// Swallows the white space before it.
    pub strips_left: bool,
}

const SOP: &str = "<|startofpiece|>";
const EOP: &str = "<|endofpiece|>";
const GMASK: &str = "[gMASK]";
const SMASK: &str = "[sMASK]";
const DBLOCK: &str = "[dBLOCK]";
const END_OF_TEXT: &str = "<|endoftext|>";

impl Family {
    /// The family in words, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bert => "BERT",
            Self::Gpt2 => "GPT-2",
            Self::Roberta => "RoBERTa",
            Self::T5 => "T5",
        }
    }

    /// Spellings of pad and end of text, start, mask, separator, unknown: in texts, and in the vocabulary.
    fn basic_tokens(self) -> [(&'static str, &'static str); 5] {
        match self {
            Self::Bert | Self::T5 => ["[PAD]", "[CLS]", "[MASK]", "[SEP]", "[UNK]"].map(|t| (t, t)),
            Self::Gpt2 => [END_OF_TEXT, "[CLS]", "[MASK]", "[SEP]", "[UNK]"].map(|t| (t, t)),
            Self::Roberta => [
                (END_OF_TEXT, "</s>"),
                ("[CLS]", "<s>"),
                ("[MASK]", "<mask>"),
                ("[SEP]", "</s>"),
                ("[UNK]", "<unk>"),
            ],
        }
    }

    /// What the vocabulary must bring along; nothing else could stand for it.
    fn required(self) -> Vec<&'static str> {
        match self {
            Self::Bert | Self::T5 => vec!["[PAD]", "[CLS]", "[MASK]", "[SEP]", "[UNK]"],
            Self::Gpt2 => vec![END_OF_TEXT],
            Self::Roberta => vec!["<s>", "</s>", "<unk>", "<mask>"],
        }
    }

    /// What is appended to a vocabulary that lacks it, in the official order.
    fn appended(self, extras: Extras) -> Vec<&'static str> {
        let mut tokens = vec![SOP, EOP];
        if self == Self::Gpt2 {
            tokens.extend(["[CLS]", "[MASK]", "[SEP]", "[UNK]"]);
        }
        if extras.task_masks {
            tokens.extend([GMASK, SMASK]);
        }
        if extras.decoder_mask {
            tokens.push(DBLOCK);
        }
        tokens
    }
}

/// Appends the tokens that GLM needs and `vocabulary` lacks. Without `extras` a vocabulary that was GLM's
/// already gets no optional token; another one gets what its family's published checkpoints have.
pub(super) fn complete(
    vocabulary: &mut Vocabulary,
    extras: Option<Extras>,
) -> Result<SpecialTokens, TokenizerError> {
    let family = vocabulary.family;
    let needed = family.required();
    let missing: Vec<_> = needed.iter().copied().filter(|t| vocabulary.id(t).is_none()).collect();
    if !missing.is_empty() {
        let path = vocabulary.path.clone();
        let what = format!("a {} vocabulary for GLM", family.name());
        return Err(TokenizerError::MissingTokens { path, what, needed, missing });
    }
    let extras = extras.unwrap_or_else(|| {
        let is_glms_already = vocabulary.id(SOP).is_some();
        Extras { task_masks: family == Family::Gpt2 && !is_glms_already, decoder_mask: false }
    });
    for token in family.appended(extras) {
        if vocabulary.id(token).is_none() {
            vocabulary.append(token);
        }
    }
    let id = |token: &str| vocabulary.id(token).expect("required, or appended above");
    let [eos, cls, mask, sep, unk] = family.basic_tokens().map(|(_, piece)| id(piece));
    Ok(SpecialTokens {
        pad: eos,
        eos,
        cls,
        mask,
        sep,
        unk,
        sop: id(SOP),
        eop: id(EOP),
        gmask: vocabulary.id(GMASK),
        smask: vocabulary.id(SMASK),
        dblock: vocabulary.id(DBLOCK),
    })
}

/// The special tokens as texts spell them. Where two spellings share an id (`RoBERTa`'s end of text and separator),
/// the last one is how the id reads when decoded.
pub(super) fn commands(family: Family, special: &SpecialTokens) -> Vec<Command> {
    // Byte-level vocabularies keep the space in the word that follows it, so one before a blank has no place.
    let masks_strip = family != Family::Bert;
    let command = |text, id, strips_left| Command { text, id, strips_left };
    let [eos, cls, mask, sep, unk] = family.basic_tokens().map(|(text, _)| text);
    let mut commands = vec![
        command(eos, special.eos, false),
        command(cls, special.cls, false),
        command(mask, special.mask, masks_strip),
        command(sep, special.sep, false),
        command(unk, special.unk, false),
        command(SOP, special.sop, false),
        command(EOP, special.eop, false),
    ];
    commands.extend(special.gmask.map(|id| command(GMASK, id, masks_strip)));
    commands.extend(special.smask.map(|id| command(SMASK, id, masks_strip)));
    commands.extend(special.dblock.map(|id| command(DBLOCK, id, false)));
    commands
}

/// The special tokens of a vocabulary that is used as published, those it has.
pub(super) fn published_commands(vocabulary: &Vocabulary) -> Vec<Command> {
    let tokens: &[&str] = match vocabulary.family {
        Family::Bert => &["[PAD]", "[CLS]", "[MASK]", "[SEP]", "[UNK]"],
        Family::Gpt2 => &[END_OF_TEXT],
        Family::Roberta => &["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        Family::T5 => &["<pad>", "</s>", "<unk>"],
    };
    let command = |text: &&'static str| {
        Some(Command { text, id: vocabulary.id(text)?, strips_left: *text == "<mask>" })
    };
    tokens.iter().filter_map(command).collect()
}

/// A stretch of text, or a special token written in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stretch<'a> {
    Text(&'a str),
    Command(u32),
}

/// Cuts `text` at its special tokens. A text of nothing but white space has no stretches in any family, as in the
/// official code.
pub(super) fn split<'a>(text: &'a str, commands: &[Command]) -> Vec<Stretch<'a>> {
    let mut stretches = Vec::new();
    if trim_end(text).is_empty() {
        return stretches;
    }
    let mut start = 0; // of the text not yet handed out
    let mut from = 0; // where to look on
    while let Some(found) = text[from..].find(['[', '<']) {
        let at = from + found;
        let Some(command) = commands.iter().find(|c| text[at..].starts_with(c.text)) else {
            from = at + 1;
            continue;
        };
        let before = &text[start..at];
        let before = if command.strips_left { trim_end(before) } else { before };
        if !before.is_empty() {
            stretches.push(Stretch::Text(before));
        }
        stretches.push(Stretch::Command(command.id));
        start = at + command.text.len();
        from = start;
    }
    if start < text.len() {
        stretches.push(Stretch::Text(&text[start..]));
    }
    stretches
}

/// Cuts white space off the end, as Python defines it: with the four separators U+001C to U+001F.
fn trim_end(text: &str) -> &str {
    text.trim_end_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask_and_cls() -> Vec<Command> {
        vec![
            Command { text: "[MASK]", id: 1, strips_left: true },
            Command { text: "[CLS]", id: 2, strips_left: false },
        ]
    }

    #[test]
    fn a_mask_swallows_the_space_before_it_and_no_other() {
        let stretches = split("[CLS] a \t[MASK] b", &mask_and_cls());
        let expected = [Stretch::Command(2), Stretch::Text(" a"), Stretch::Command(1), Stretch::Text(" b")];
        assert_eq!(stretches, expected);
    }

    #[test]
    fn brackets_that_open_no_special_token_are_text() {
        let text = "é[[x] <b> [mask] [MASK";
        assert_eq!(split(text, &mask_and_cls()), [Stretch::Text(text)]);
        assert_eq!(split("[[MASK]", &mask_and_cls()), [Stretch::Text("["), Stretch::Command(1)]);
    }

    #[test]
    fn white_space_alone_is_no_text() {
        assert_eq!(split(" \n\u{1d}\u{3000}", &mask_and_cls()), []);
        assert_eq!(split("  [MASK]", &mask_and_cls()), [Stretch::Command(1)]);
    }
}
