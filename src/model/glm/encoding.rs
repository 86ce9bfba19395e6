//! How a request becomes the tokens of a GLM.
//!
//! Part A is `[CLS]`, the prompt with one mask token for the blank, and the end token. A piece of part B is
//! start-of-piece and an answer. Source: THUDM/GLM@4f61ed7 `tasks/data_utils.py`, `build_input_from_ids`.

use crate::model::prompt::windows::{Window, of_text};
use crate::model::prompt::{self, EncodingError, Sides, encode, one_token};
use crate::request::{Ask, BlankLength, Edges, Part, Request};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// One sequence as the network reads it: part A (the context), then one or more pieces of part B.
///
/// A token of part A sees all of part A. A token of a piece sees part A and its own piece up to itself;
/// pieces never see each other, so one context serves all candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// `[s]`: part A, then the pieces, each beginning with start-of-piece.
    pub input_ids: Vec<u32>,
    /// `[s]`: positions in the corrupted text; a piece's tokens all have the position of their mask.
    pub positions: Vec<u32>,
    /// `[s]`: 0 in part A; 1, 2, 3, … inside a piece.
    pub block_positions: Vec<u32>,
    /// Number of tokens of part A.
    pub prefix_length: usize,
    /// Lengths of the pieces; `prefix_length` and these add up to `s`.
    pub pieces: Vec<usize>,
    /// What is read off the output.
    pub targets: Targets,
    /// Tokens that truncation removed.
    pub truncated_tokens: usize,
}

/// What is read off the output of an [`Encoding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// The logits of these ids at the start-of-piece of the only piece.
    Words(Vec<u32>),
    /// `[s]` ids that should follow each token, and `[s]` which of them are scored.
    Tokens {
        /// The id that should follow.
        ids: Vec<u32>,
        /// Whether it is scored.
        mask: Vec<bool>,
    },
    /// The pooled first token (classification head); there are no pieces.
    Pooled,
}

/// Part A of a sequence, and where its mask tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// `[s]`.
    pub ids: Vec<u32>,
    /// One position a blank, in reading order.
    pub mask_positions: Vec<u32>,
    /// Tokens that truncation removed.
    pub truncated_tokens: usize,
}

impl Context {
    /// Part A of a request for texts, cut so that one text of the longest length fits.
    ///
    /// The official code for sequence-to-sequence tasks marks no end, as its padding follows there; that for infilling
    /// marks no start either.
    ///
    /// Source: THUDM/GLM@4f61ed7 `tasks/seq2seq/dataset.py`; `generate_samples.py` for whole texts.
    pub fn new(tokenizer: &Tokenizer, request: &Request) -> Result<Self, EncodingError> {
        let Ask::Generate { decoding, edges, .. } = &request.ask else {
            unreachable!("only texts are generated")
        };
        let special = special(tokenizer, request)?;
        let sides = Sides::with_blanks(tokenizer, request, |part| vec![mask(special, part)])?;
        Self::framed(tokenizer, request, sides, decoding.max_new_tokens, *edges)
    }

    /// Part A with the edges marked, cut so that a piece of `num_piece_tokens` fits behind it.
    fn framed(
        tokenizer: &Tokenizer,
        request: &Request,
        mut sides: Sides,
        num_piece_tokens: usize,
        edges: Edges,
    ) -> Result<Self, EncodingError> {
        let special = special(tokenizer, request)?;
        let (start, end) = match edges {
            Edges::Both => (Some(special.cls), Some(special.eos)),
            Edges::Start => (Some(special.cls), None),
            Edges::Neither => (None, None),
        };
        let num_edges = usize::from(start.is_some()) + usize::from(end.is_some());
        let truncated_tokens = sides.fit(request, num_piece_tokens + num_edges)?;
        let mut ids: Vec<u32> = start.into_iter().collect();
        let mask_positions = sides.blank_starts().map(|before| (ids.len() + before) as u32).collect();
        ids.extend(sides.ids());
        ids.extend(end);
        Ok(Self { ids, mask_positions, truncated_tokens })
    }
}

impl Encoding {
    /// The sequences that are computed: [one for all candidates](Self::shared_context), but one for each window, text pair or
    /// candidate behind a prompt that is read left to right.
    ///
    /// # Errors
    /// When the request can't be tokenized, or not cut so far that it fits.
    pub fn computed(tokenizer: &Tokenizer, request: &Request) -> Result<Vec<Self>, EncodingError> {
        match &request.ask {
            Ask::Classify { .. } | Ask::LogProb { .. } | Ask::Choice { bidirectional: false, .. } => {
                Self::official(tokenizer, request)
            }
            Ask::Word { .. } | Ask::Choice { .. } | Ask::Generate { .. } => {
                Ok(vec![Self::shared_context(tokenizer, request)?])
            }
        }
    }

    /// One sequence a candidate, each with its own copy of the context, as the published code lays them out
    /// (without padding). For one-token questions that is one sequence; for a classification head, one a text pair.
    ///
    /// A long candidate leaves less room for its context than a short one.
    pub fn official(tokenizer: &Tokenizer, request: &Request) -> Result<Vec<Self>, EncodingError> {
        match &request.ask {
            Ask::Word { .. } | Ask::Generate { .. } => Ok(vec![Self::shared_context(tokenizer, request)?]),
            Ask::LogProb { .. } => Self::windows(tokenizer, request),
            Ask::Choice { bidirectional: false, .. } => Self::left_to_right(tokenizer, request),
            Ask::Choice { .. } => {
                let sides = token_sides(tokenizer, request)?;
                let candidates = candidate_ids(tokenizer, request)?;
                let encode = |ids: &Vec<u32>| {
                    let context = context(tokenizer, request, sides.clone(), ids.len())?;
                    Ok(with_pieces(special(tokenizer, request)?, context, std::slice::from_ref(ids)))
                };
                candidates.iter().map(encode).collect()
            }
            Ask::Classify { pairs, .. } => {
                pairs.iter().map(|(a, b)| classify(tokenizer, request, a, b.as_deref())).collect()
            }
        }
    }

    /// One sequence a window of a text, which is read as the answer to a long blank.
    ///
    /// What comes before the scored tokens is part A where it may see itself in both directions. Else part A is the
    /// window's first token alone, as it is in the first window in any case; that token can't be scored then.
    ///
    /// Source: THUDM/GLM@4f61ed7 `tasks/language_model/dataset.py`, `LMDataset`; `LambadaDataset` for the end of a text.
    pub fn windows(tokenizer: &Tokenizer, request: &Request) -> Result<Vec<Self>, EncodingError> {
        let Ask::LogProb { bidirectional, last_part_only, .. } = request.ask else {
            unreachable!("only a text has windows")
        };
        let special = special(tokenizer, request)?;
        let (ids, windows) = of_text(tokenizer, request)?;
        let encode = |Window { tokens, first_scored }: Window| {
            let is_known = bidirectional && tokens.start > 0;
            let piece_start = if is_known { first_scored } else { tokens.start + 1 };
            let mut context = vec![special.cls];
            context.extend(&ids[tokens.start..piece_start]);
            let mask_position = context.len() as u32;
            context.push(special.gmask.unwrap_or(special.mask));
            context.extend(last_part_only.then_some(special.eos)); // as LAMBADA's questions have it
            let truncated_tokens = if last_part_only { tokens.start } else { 0 };
            let context = Context { ids: context, mask_positions: vec![mask_position], truncated_tokens };
            let mut encoding = with_pieces(special, context, &[ids[piece_start..tokens.end].to_vec()]);
            if let Targets::Tokens { mask, .. } = &mut encoding.targets {
                let unscored = first_scored.saturating_sub(piece_start);
                mask[encoding.prefix_length..][..unscored].fill(false);
            }
            encoding
        };
        Ok(windows.into_iter().map(encode).collect())
    }

    /// One sequence a candidate that is nothing but the answer to one long blank: the prompt, of which nothing is scored, and
    /// the candidate. A blank at the prompt's end is left out; elsewhere it stays, as a mask token.
    ///
    /// The prompt is cut so that the longest candidate fits.
    ///
    /// Held to the rows and scores recorded of the published multiple-choice code (`tests/lambada.rs`).
    fn left_to_right(tokenizer: &Tokenizer, request: &Request) -> Result<Vec<Self>, EncodingError> {
        let special = special(tokenizer, request)?;
        let candidates = candidate_ids(tokenizer, request)?;
        let longest = candidates.iter().map(Vec::len).max().unwrap_or(0);
        let mut sides = token_sides(tokenizer, request)?.without_blank_at_end();
        let truncated_tokens = sides.fit(request, longest + 2)?;
        let prompt: Vec<u32> = sides.ids().collect();
        let encode = |candidate: Vec<u32>| {
            let ids = vec![special.cls, special.gmask.unwrap_or(special.mask)];
            let context = Context { ids, mask_positions: vec![1], truncated_tokens };
            let mut encoding = with_pieces(special, context, &[[prompt.as_slice(), &candidate].concat()]);
            if let Targets::Tokens { mask, .. } = &mut encoding.targets {
                mask[encoding.prefix_length..][..prompt.len()].fill(false);
            }
            encoding
        };
        Ok(candidates.into_iter().map(encode).collect())
    }

    /// One sequence with the context once and every candidate as a piece: what the model really computes.
    ///
    /// A piece sees the context and itself only, so each candidate scores as it does on its own. The context is
    /// cut so that the longest candidate fits. It differs from [`official`](Self::official) only where truncation
    /// is needed and candidates differ in length: there the published code keeps a few more tokens of the context
    /// for the shorter candidates, so that candidates are compared on different evidence.
    pub fn shared_context(tokenizer: &Tokenizer, request: &Request) -> Result<Self, EncodingError> {
        match &request.ask {
            Ask::Word { words } => {
                let word = |word: &String| one_token(tokenizer, request, word);
                let words = words.iter().map(word).collect::<Result<_, _>>()?;
                let context = context(tokenizer, request, token_sides(tokenizer, request)?, 1)?;
                // The piece is start-of-piece alone; the word itself is only read off the output.
                let encoding = with_pieces(special(tokenizer, request)?, context, &[vec![0]]);
                Ok(Self { targets: Targets::Words(words), ..encoding })
            }
            Ask::Choice { .. } => {
                let candidates = candidate_ids(tokenizer, request)?;
                let longest = candidates.iter().map(Vec::len).max().unwrap_or(0);
                let context = context(tokenizer, request, token_sides(tokenizer, request)?, longest)?;
                Ok(with_pieces(special(tokenizer, request)?, context, &candidates))
            }
            Ask::Classify { pairs, .. } => match pairs.as_slice() {
                [(a, b)] => classify(tokenizer, request, a, b.as_deref()),
                _ => Err(EncodingError::Inputs {
                    id: request.id.clone(),
                    found: pairs.len(),
                    expected: "a single text pair",
                }),
            },
            Ask::LogProb { .. } => match Self::windows(tokenizer, request)?.as_slice() {
                [one] => Ok(one.clone()),
                several => Err(EncodingError::Inputs {
                    id: request.id.clone(),
                    found: several.len(),
                    expected: "a text of one window",
                }),
            },
            Ask::Generate { .. } => {
                // What is read before the first token is found: start-of-piece of the first blank.
                let context = Context::new(tokenizer, request)?;
                let encoding = with_pieces(special(tokenizer, request)?, context, &[vec![0]]);
                let mask = vec![false; encoding.len()];
                Ok(Self { targets: Targets::Tokens { ids: vec![0; mask.len()], mask }, ..encoding })
            }
        }
    }

    /// A request for texts with its blanks filled, to learn from: each piece sees the context and the pieces before it.
    ///
    /// A text is cut at the longest length, its end of piece included.
    ///
    /// # Errors
    /// When there is not one text a blank, beside those of [`shared_context`](Self::shared_context).
    ///
    /// Source: THUDM/GLM@4f61ed7 `tasks/seq2seq/dataset.py`.
    pub fn filled(tokenizer: &Tokenizer, request: &Request, texts: &[String]) -> Result<Self, EncodingError> {
        let Ask::Generate { decoding, .. } = &request.ask else { unreachable!("only texts are generated") };
        let special = special(tokenizer, request)?;
        let context = Context::new(tokenizer, request)?;
        if texts.len() != context.mask_positions.len() {
            let (id, blanks) = (request.id.clone(), context.mask_positions.len());
            return Err(EncodingError::Texts { id, texts: texts.len(), blanks });
        }
        let prefix_length = context.ids.len();
        let mut encoding = Self {
            positions: (0..prefix_length as u32).collect(),
            block_positions: vec![0; prefix_length],
            prefix_length,
            pieces: vec![],
            targets: Targets::Pooled,
            truncated_tokens: context.truncated_tokens,
            input_ids: context.ids,
        };
        let mut target_ids = vec![0; prefix_length];
        for (text, &position) in texts.iter().zip(&context.mask_positions) {
            let mut piece = encode(tokenizer, request, text)?;
            piece.push(special.eop);
            encoding.truncated_tokens += piece.len().saturating_sub(decoding.max_new_tokens);
            piece.truncate(decoding.max_new_tokens);
            encoding.input_ids.push(special.sop);
            encoding.input_ids.extend(&piece[..piece.len() - 1]);
            encoding.positions.resize(encoding.input_ids.len(), position);
            encoding.block_positions.extend(1..=piece.len() as u32);
            target_ids.extend(piece);
        }
        let mask = (0..encoding.len()).map(|i| i >= prefix_length).collect();
        encoding.pieces.push(encoding.len() - prefix_length); // one chain, left to right
        Ok(Self { targets: Targets::Tokens { ids: target_ids, mask }, ..encoding })
    }

    /// Number of tokens `s`.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// Is there no token at all?
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }
}

/// The scored tokens of each candidate.
fn candidate_ids(tokenizer: &Tokenizer, request: &Request) -> Result<Vec<Vec<u32>>, EncodingError> {
    let Ask::Choice { candidates, end_of_piece, .. } = &request.ask else {
        unreachable!("only choices have candidates")
    };
    let mut ids = prompt::candidate_ids(tokenizer, request, candidates)?;
    if *end_of_piece {
        let eop = special(tokenizer, request)?.eop;
        for ids in &mut ids {
            ids.push(eop);
        }
    }
    Ok(ids)
}

/// The prompt's sides, with one mask token for the blank.
fn token_sides(tokenizer: &Tokenizer, request: &Request) -> Result<Sides, EncodingError> {
    let special = special(tokenizer, request)?;
    Sides::with_blanks(tokenizer, request, |part| vec![mask(special, part)])?.with_one_blank(request)
}

/// The token of a blank: one of its own for a longer text, where the vocabulary has it.
fn mask(special: &SpecialTokens, blank: &Part) -> u32 {
    match blank {
        Part::LongBlank(BlankLength::Sentences) => special.smask.unwrap_or(special.mask),
        Part::LongBlank(BlankLength::Rest) => special.gmask.unwrap_or(special.mask),
        _ => special.mask,
    }
}

/// Part A, cut so that a piece of `num_piece_tokens` fits behind it.
fn context(
    tokenizer: &Tokenizer,
    request: &Request,
    sides: Sides,
    num_piece_tokens: usize,
) -> Result<Context, EncodingError> {
    Context::framed(tokenizer, request, sides, num_piece_tokens, Edges::Both)
}

fn special<'a>(tokenizer: &'a Tokenizer, request: &Request) -> Result<&'a SpecialTokens, EncodingError> {
    tokenizer.special().map_err(|source| EncodingError::Tokenizer { id: request.id.clone(), source })
}

/// The context, and behind it for each answer start-of-piece and all but the answer's last token: that one
/// is only predicted.
fn with_pieces(special: &SpecialTokens, context: Context, answers: &[Vec<u32>]) -> Encoding {
    let prefix_length = context.ids.len();
    let mut input_ids = context.ids;
    let mut positions: Vec<u32> = (0..prefix_length as u32).collect();
    let mut block_positions = vec![0; prefix_length];
    let mut target_ids = vec![0; prefix_length];
    for answer in answers {
        input_ids.push(special.sop);
        input_ids.extend(&answer[..answer.len() - 1]);
        positions.resize(input_ids.len(), context.mask_positions[0]);
        block_positions.extend(1..=answer.len() as u32);
        target_ids.extend(answer);
    }
    let mask = (0..input_ids.len()).map(|i| i >= prefix_length).collect();
    Encoding {
        input_ids,
        positions,
        block_positions,
        prefix_length,
        pieces: answers.iter().map(Vec::len).collect(),
        targets: Targets::Tokens { ids: target_ids, mask },
        truncated_tokens: context.truncated_tokens,
    }
}

/// The text pair for a classification head: `[CLS] a [SEP] b` and the end token; cut from the end.
fn classify(
    tokenizer: &Tokenizer,
    request: &Request,
    a: &str,
    b: Option<&str>,
) -> Result<Encoding, EncodingError> {
    let special = special(tokenizer, request)?;
    let mut input_ids = vec![special.cls];
    input_ids.extend(encode(tokenizer, request, a)?);
    if let Some(b) = b {
        input_ids.push(special.sep);
        input_ids.extend(encode(tokenizer, request, b)?);
    }
    let truncated_tokens = (input_ids.len() + 1).saturating_sub(request.max_tokens);
    if request.max_tokens < 2 {
        let (id, max_tokens) = (request.id.clone(), request.max_tokens);
        return Err(EncodingError::TooLong { id, missing: 2 - max_tokens, max_tokens });
    }
    input_ids.truncate(request.max_tokens - 1);
    input_ids.push(special.eos);
    let s = input_ids.len();
    Ok(Encoding {
        input_ids,
        positions: (0..s as u32).collect(),
        block_positions: vec![0; s],
        prefix_length: s,
        pieces: Vec::new(),
        targets: Targets::Pooled,
        truncated_tokens,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::{Part, Prompt};

    fn text(text: &str, shortenable: bool) -> Part {
        Part::Text { text: text.to_owned(), shortenable }
    }

    fn request(side_a: Vec<Part>, ask: Ask, max_tokens: usize) -> Request {
        Request { id: "dev-0".into(), prompt: Prompt { side_a, side_b: Vec::new() }, ask, max_tokens }
    }

    fn choice(candidates: &[&str]) -> Ask {
        let candidates = candidates.iter().map(ToString::to_string).collect();
        Ask::Choice { candidates, end_of_piece: true, length_penalty: 0.0, bidirectional: true }
    }

    /// The context "[CLS] it is [MASK] . end" with pieces for two answers, by hand.
    #[test]
    fn pieces_follow_the_context_at_the_position_of_the_blank() {
        let tokenizer = Tokenizer::builtin();
        let special = tokenizer.special().expect("GLM's own").clone();
        let parts = vec![text("it is", false), Part::Blank, text(".", false)];
        let request = request(parts, choice(&[" a", " a b"]), 64);
        let encoding = Encoding::shared_context(&tokenizer, &request).expect("it fits");
        let ids = |text: &str| tokenizer.encode(text).expect("it is plain text");
        let mut context = vec![special.cls];
        context.extend(ids("it is"));
        let blank = context.len() as u32;
        context.push(special.mask);
        context.extend(ids("."));
        context.push(special.eos);
        assert_eq!(encoding.input_ids[..encoding.prefix_length], context);
        let (a, b) = (ids(" a"), ids(" a b"));
        assert_eq!(encoding.pieces, [a.len() + 1, b.len() + 1]);
        let pieces = [&[special.sop], a.as_slice(), &[special.sop], b.as_slice()].concat();
        assert_eq!(encoding.input_ids[encoding.prefix_length..], pieces);
        assert!(encoding.positions[encoding.prefix_length..].iter().all(|&position| position == blank));
        let blocks: Vec<u32> = (1..=a.len() as u32 + 1).chain(1..=b.len() as u32 + 1).collect();
        assert_eq!(encoding.block_positions[encoding.prefix_length..], blocks);
        let Targets::Tokens { ids, mask } = &encoding.targets else { panic!("a choice has tokens") };
        let targets = [a.as_slice(), &[special.eop], b.as_slice(), &[special.eop]].concat();
        assert_eq!(ids[encoding.prefix_length..], targets);
        assert_eq!(mask.iter().filter(|&&scored| scored).count(), targets.len());
    }

    #[test]
    fn what_cannot_be_encoded_is_an_error_with_the_way_out() {
        let tokenizer = Tokenizer::builtin();
        let error = |parts: Vec<Part>, ask: Ask, max_tokens: usize| {
            let request = request(parts, ask, max_tokens);
            Encoding::shared_context(&tokenizer, &request).expect_err("it can't be encoded").to_string()
        };
        let blank = || vec![text("it is so", false), Part::Blank];
        let long = error(blank(), choice(&[" a"]), 4);
        assert!(
            long.contains("tokens too long for 4") && long.contains("raise the maximum length"),
            "{long}"
        );
        let none = error(vec![text("it is", true)], choice(&[" a"]), 64);
        assert_eq!(none, "dev-0: the prompt has 0 blanks; this question needs exactly one");
        let two = error(vec![Part::Blank, Part::Blank], choice(&[" a"]), 64);
        assert_eq!(two, "dev-0: the prompt has 2 blanks; this question needs exactly one");
        let word = error(blank(), Ask::Word { words: vec![" one two".into()] }, 64);
        assert!(word.contains("must be one; ask with --multi-token instead"), "{word}");
        let empty = Ask::Choice {
            candidates: vec![String::new()],
            end_of_piece: false,
            length_penalty: 0.0,
            bidirectional: true,
        };
        assert_eq!(error(blank(), empty, 64), "dev-0: the candidate \"\" has no tokens");
        assert!(error(blank(), choice(&[]), 64).contains("at least one candidate"));
    }

    proptest! {
        #[test]
        fn no_candidate_reads_more_than_the_limit_and_all_share_one_context(
            context in "[a-z ]{0,60}",
            candidates in proptest::collection::vec("[a-z]{1,8}( [a-z]{1,8}){0,3}", 1..5),
            max_tokens in 40..80usize,
        ) {
            let tokenizer = Tokenizer::builtin();
            let candidates: Vec<&str> = candidates.iter().map(String::as_str).collect();
            let parts = vec![text(&context, true), Part::Blank];
            let request = request(parts, choice(&candidates), max_tokens);
            let official = Encoding::official(&tokenizer, &request).expect("the context may be cut");
            let shared = Encoding::shared_context(&tokenizer, &request).expect("the context may be cut");
            let longest = shared.pieces.iter().max().expect("at least one");
            prop_assert!(shared.prefix_length + longest <= max_tokens);
            prop_assert_eq!(shared.prefix_length + shared.pieces.iter().sum::<usize>(), shared.len());
            for (piece, alone) in shared.pieces.iter().zip(&official) {
                prop_assert!(alone.len() <= max_tokens);
                prop_assert_eq!(&[*piece], alone.pieces.as_slice());
                prop_assert!(alone.prefix_length >= shared.prefix_length);
            }
            let shortest = official.iter().min_by_key(|encoding| encoding.prefix_length).expect("at least one");
            prop_assert_eq!(&shared.input_ids[..shared.prefix_length], &shortest.input_ids[..shortest.prefix_length]);
        }
    }
}
