//! How a request becomes the tokens of a BERT or RoBERTa.
//!
//! A text pair is `[CLS] a [SEP] b [SEP]` with token types 0 and 1 (BERT), or `<s> a </s></s> b </s>` (RoBERTa). A cloze
//! is one text whose blank is as many mask tokens as the answer has; candidates of one length share a sequence.
//!
//! Source: Devlin et al. 2019, section 3; Liu et al. 2019, section 3.1; Schick and Schütze 2021 for several masks.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::Config;
use crate::model::Family;
use crate::model::prompt::{self, EncodingError, Sides, one_token};
use crate::request::{Ask, Request, Span};
use crate::tokenizer::Tokenizer;

/// One sequence, and what is read off its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    /// `[s]`.
    pub input_ids: Vec<u32>,
    /// `[s]`.
    pub token_types: Vec<u32>,
    /// What is read.
    pub targets: Targets,
    /// Tokens that truncation removed.
    pub truncated_tokens: usize,
}

/// What is read off the output of an [`Encoding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Targets {
    /// The logits of these ids at a mask token.
    Words {
        /// Where the mask is.
        at: usize,
        /// One id a label.
        words: Vec<u32>,
    },
    /// The log-probabilities of candidates of one length at as many mask tokens.
    Texts {
        /// Where the first mask is.
        at: usize,
        /// Each candidate's number in the request, and its ids.
        candidates: Vec<(usize, Vec<u32>)>,
    },
    /// The first token, and the tokens of marked spans.
    Pooled {
        /// One a span.
        spans: Vec<Range<usize>>,
    },
}

/// The special tokens that surround a family's texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Specials {
    family: Family,
    first: u32,
    separator: u32,
    mask: u32,
    /// The type of the second text's tokens.
    second_type: u32,
}

impl Specials {
    /// As the vocabulary has them; `None` where it lacks one.
    pub fn find(config: &Config, tokenizer: &Tokenizer) -> Option<Self> {
        let [first, separator, mask] = tokens(config.family).map(|token| tokenizer.id(token));
        Some(Self {
            family: config.family,
            first: first?,
            separator: separator?,
            mask: mask?,
            second_type: u32::from(config.family == Family::Bert && config.type_vocab_size > 1),
        })
    }
}

/// The first token of every sequence, the separator, and the mask.
pub(super) fn tokens(family: Family) -> [&'static str; 3] {
    match family {
        Family::Roberta => ["<s>", "</s>", "<mask>"],
        _ => ["[CLS]", "[SEP]", "[MASK]"],
    }
}

impl Encoding {
    /// All sequences of a request: one a text pair, or one a number of tokens that candidates have.
    pub fn all(
        tokenizer: &Tokenizer,
        special: Specials,
        request: &Request,
    ) -> Result<Vec<Self>, EncodingError> {
        match &request.ask {
            Ask::Classify { pairs, spans, .. } => {
                let pair = |(a, b): &(String, Option<String>)| {
                    Self::pair(tokenizer, special, request, [Some(a.as_str()), b.as_deref()], spans)
                };
                pairs.iter().map(pair).collect()
            }
            Ask::Word { words } => {
                let words = words.iter().map(|word| one_token(tokenizer, request, word));
                let words = words.collect::<Result<_, _>>()?;
                Ok(vec![Self::cloze(tokenizer, special, request, 1, |at| Targets::Words { at, words })?])
            }
            Ask::Choice { candidates, .. } => {
                let mut by_length = BTreeMap::<usize, Vec<(usize, Vec<u32>)>>::new();
                let ids = prompt::candidate_ids(tokenizer, request, candidates)?;
                for (number, ids) in ids.into_iter().enumerate() {
                    by_length.entry(ids.len()).or_default().push((number, ids));
                }
                let cloze = |(num_masks, candidates)| {
                    let targets = |at| Targets::Texts { at, candidates };
                    Self::cloze(tokenizer, special, request, num_masks, targets)
                };
                by_length.into_iter().map(cloze).collect()
            }
            Ask::LogProb { .. } => Err(EncodingError::LogProb { id: request.id.clone(), family: "encoder" }),
            Ask::Generate { .. } => {
                Err(EncodingError::Generation { id: request.id.clone(), family: "encoder" })
            }
        }
    }

    /// The prompt as one text, with `num_masks` tokens for its blank.
    fn cloze(
        tokenizer: &Tokenizer,
        special: Specials,
        request: &Request,
        num_masks: usize,
        targets: impl FnOnce(usize) -> Targets,
    ) -> Result<Self, EncodingError> {
        let mut sides = Sides::new(tokenizer, request, &vec![special.mask; num_masks])?;
        let truncated_tokens = sides.fit(request, 2)?; // the first token and the separator
        let at = 1 + sides.blank_start();
        let mut input_ids = vec![special.first];
        input_ids.extend(sides.ids());
        input_ids.push(special.separator);
        let token_types = vec![0; input_ids.len()];
        Ok(Self { input_ids, token_types, targets: targets(at), truncated_tokens })
    }

    /// One or two texts for a head. Where they are too long, tokens go from the end of the longer one.
    fn pair(
        tokenizer: &Tokenizer,
        special: Specials,
        request: &Request,
        texts: [Option<&str>; 2],
        spans: &[Span],
    ) -> Result<Self, EncodingError> {
        let mut found = [Tokens::default(), Tokens::default()];
        for (index, (text, found)) in texts.iter().zip(&mut found).enumerate() {
            let Some(text) = text else { continue };
            *found = Tokens::new(tokenizer, request, text, spans.iter().filter(|span| span.text == index))?;
        }
        let between: &[u32] = match (texts[1], special.family) {
            (None, _) => &[],
            (Some(_), Family::Roberta) => &[special.separator; 2],
            (Some(_), _) => &[special.separator],
        };
        let mut truncated_tokens = 0;
        while found[0].ids.len() + found[1].ids.len() + between.len() + 2 > request.max_tokens {
            let longer = usize::from(found[1].ids.len() > found[0].ids.len());
            if found[longer].ids.pop().is_none() {
                let (id, max_tokens) = (request.id.clone(), request.max_tokens);
                return Err(EncodingError::TooLong {
                    id,
                    missing: between.len() + 2 - max_tokens,
                    max_tokens,
                });
            }
            truncated_tokens += 1;
        }
        let [a, b] = &found;
        let starts = [1, 1 + a.ids.len() + between.len()];
        let input_ids = [&[special.first], a.ids.as_slice(), between, &b.ids, &[special.separator]].concat();
        let first_of_second = if texts[1].is_some() { starts[1] } else { input_ids.len() };
        let token_types = (0..input_ids.len())
            .map(|place| if place < first_of_second { 0 } else { special.second_type })
            .collect();
        // In the order in which they were asked for.
        let mut of_text = found.iter().map(|tokens| tokens.spans.iter()).collect::<Vec<_>>();
        let place = |span: &Span| {
            let tokens = of_text[span.text].next().cloned().unwrap_or_default();
            if tokens.is_empty() || tokens.end > found[span.text].ids.len() {
                return Err(EncodingError::SpanCut {
                    id: request.id.clone(),
                    max_tokens: request.max_tokens,
                });
            }
            Ok(tokens.start + starts[span.text]..tokens.end + starts[span.text])
        };
        let spans = spans.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self { input_ids, token_types, targets: Targets::Pooled { spans }, truncated_tokens })
    }
}

/// A text in tokens, and the tokens of its spans.
#[derive(Clone, Debug, Default)]
struct Tokens {
    ids: Vec<u32>,
    spans: Vec<Range<usize>>,
}

impl Tokens {
    /// A text cut at the borders of its spans, each piece tokenized on its own, so that no token is half inside. The
    /// space before a span goes with it, as byte-level vocabularies have it. A span may lie in another.
    fn new<'a>(
        tokenizer: &Tokenizer,
        request: &Request,
        text: &str,
        spans: impl Iterator<Item = &'a Span>,
    ) -> Result<Self, EncodingError> {
        let cut = |span: &Span| match (text.get(..span.bytes.start), text.get(span.bytes.clone())) {
            (Some(before), Some(_)) => Ok(before.trim_end().len()..span.bytes.end),
            _ => Err(EncodingError::SpanOutside {
                id: request.id.clone(),
                start: span.bytes.start,
                end: span.bytes.end,
                length: text.len(),
            }),
        };
        let spans = spans.map(cut).collect::<Result<Vec<_>, _>>()?;
        let mut borders: Vec<usize> = spans.iter().flat_map(|span| [span.start, span.end]).collect();
        borders.extend([0, text.len()]);
        borders.sort_unstable();
        borders.dedup();
        let (mut ids, mut token_at) = (Vec::new(), HashMap::from([(0, 0)]));
        for piece in borders.windows(2) {
            ids.extend(prompt::encode(tokenizer, request, &text[piece[0]..piece[1]])?);
            token_at.insert(piece[1], ids.len());
        }
        let spans = spans.iter().map(|span| token_at[&span.start]..token_at[&span.end]).collect();
        Ok(Self { ids, spans })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bert::published;
    use crate::request::{Part, Prompt};

    fn special(tokenizer: &Tokenizer) -> Specials {
        Specials { family: Family::Bert, first: id(tokenizer, "[CLS]"), ..roberta(tokenizer) }
    }

    /// RoBERTa's layout with BERT's words.
    fn roberta(tokenizer: &Tokenizer) -> Specials {
        let [first, separator, mask] = ["[CLS]", "[SEP]", "[MASK]"].map(|token| id(tokenizer, token));
        Specials { family: Family::Roberta, first, separator, mask, second_type: 1 }
    }

    fn id(tokenizer: &Tokenizer, token: &str) -> u32 {
        tokenizer.id(token).expect("it is there")
    }

    fn request(ask: Ask, max_tokens: usize) -> Request {
        let text = |text: &str| Part::Text { text: text.into(), shortenable: true };
        let prompt = Prompt { side_a: vec![text("it is"), Part::Blank, text(".")], side_b: vec![] };
        Request { id: "dev-0".into(), prompt, ask, max_tokens }
    }

    fn classify(a: &str, b: Option<&str>, spans: Vec<Span>) -> Ask {
        Ask::Classify { pairs: vec![(a.into(), b.map(Into::into))], spans, num_labels: 2 }
    }

    fn words(tokenizer: &Tokenizer, encoding: &Encoding) -> String {
        tokenizer.decode(&encoding.input_ids).expect("ids of the vocabulary")
    }

    #[test]
    fn pairs_are_laid_out_as_each_family_was_trained() {
        let tokenizer = Tokenizer::builtin_published();
        let request = request(classify("it is so", Some("is it"), vec![]), 64);
        let bert = &Encoding::all(&tokenizer, special(&tokenizer), &request).unwrap()[0];
        assert_eq!(words(&tokenizer, bert), "[CLS] it is so [SEP] is it [SEP]");
        assert_eq!(bert.token_types, [0, 0, 0, 0, 0, 1, 1, 1]);
        let roberta = &Encoding::all(&tokenizer, roberta(&tokenizer), &request).unwrap()[0];
        assert_eq!(words(&tokenizer, roberta), "[CLS] it is so [SEP] [SEP] is it [SEP]");
    }

    #[test]
    fn the_longer_text_is_cut_first() {
        let tokenizer = Tokenizer::builtin_published();
        let request = request(classify("it is so and it is so", Some("is it"), vec![]), 9);
        let encoding = &Encoding::all(&tokenizer, special(&tokenizer), &request).unwrap()[0];
        assert_eq!(words(&tokenizer, encoding), "[CLS] it is so and [SEP] is it [SEP]");
        assert_eq!(encoding.truncated_tokens, 3);
    }

    #[test]
    fn a_span_is_found_in_its_text_and_in_another_span_and_must_not_be_cut() {
        let tokenizer = Tokenizer::builtin_published();
        let spans = [(1, 3..5), (0, 6..8), (0, 3..8)].map(|(text, bytes)| Span { text, bytes }).to_vec();
        let ask = || classify("it is so and", Some("it is"), spans.clone());
        let encoding = &Encoding::all(&tokenizer, special(&tokenizer), &request(ask(), 64)).unwrap()[0];
        let Targets::Pooled { spans } = &encoding.targets else { panic!("a pair is pooled") };
        let texts: Vec<String> =
            spans.iter().map(|span| tokenizer.decode(&encoding.input_ids[span.clone()]).unwrap()).collect();
        assert_eq!(texts, ["is", "so", "is so"]);
        let error = Encoding::all(&tokenizer, special(&tokenizer), &request(ask(), 7)).unwrap_err();
        assert!(error.to_string().contains("a marked span"), "{error}");
    }

    #[test]
    fn candidates_of_one_length_share_a_sequence_with_as_many_masks() {
        let tokenizer = Tokenizer::builtin_published();
        let candidates = ["so", "it is", "and"].map(String::from).to_vec();
        let ask = Ask::Choice { candidates, end_of_piece: true, length_penalty: 0.0, bidirectional: true };
        let encodings = Encoding::all(&tokenizer, special(&tokenizer), &request(ask, 64)).unwrap();
        let texts: Vec<String> = encodings.iter().map(|encoding| words(&tokenizer, encoding)).collect();
        assert_eq!(texts, ["[CLS] it is [MASK] . [SEP]", "[CLS] it is [MASK] [MASK] . [SEP]"]);
        let Targets::Texts { at, candidates } = &encodings[0].targets else { panic!("texts") };
        let numbers: Vec<usize> = candidates.iter().map(|(number, _)| *number).collect();
        assert_eq!((*at, numbers), (3, vec![0, 2]));
    }

    #[test]
    fn the_bundled_model_has_the_tokens_that_its_family_needs() {
        let tiny = published().find(|known| known.name == "bert-tiny").expect("it is listed");
        let tokenizer = Tokenizer::builtin_published();
        assert!(tokens(tiny.architecture.family()).iter().all(|token| tokenizer.id(token).is_some()));
    }
}
