//! Autoregressive blank infilling, GLM's objective.
//!
//! Spans of a row are replaced by one mask token each: that is part A, whose tokens see each other. Part B has the spans
//! in random order, each after a start-of-piece, read left to right; its tokens predict the next one and, at last, an
//! end-of-piece. All tokens of a piece have the position of their mask, and count on inside of the piece.
//!
//! One of three kinds of blanks is drawn for each batch: short spans of tokens, whole sentences, or one long blank (most
//! of a document).
//!
//! Source: Du et al. 2022, section 2.1; THUDM/GLM@4f61ed7 `blocklm_utils.py`, `ConstructBlockStrategy`, draw for draw:
//! the same generator gives the same examples. One thing differs: there, a row whose blanks do not all fit is dropped
//! without a word; here it gets those that fit.

use std::ops::Range;
use std::sync::Arc;

use super::vocabulary::VocabularyError;
use super::{BlankOptions, Draws, Example, Objective, Vocabulary, shuffle};

/// What the blanks of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Short,
    Sentence,
    Document,
}

/// Makes examples of blank infilling.
pub struct BlankInfilling {
    options: BlankOptions,
    vocabulary: Arc<Vocabulary>,
    max_length: usize,
    /// Of the lengths 1, 2, ..., each with those before it.
    cumulative_weights: Vec<f64>,
}

impl BlankInfilling {
    /// For rows of at most `max_length` tokens.
    ///
    /// # Errors
    /// When the vocabulary lacks a token that the options need.
    pub fn new(
        options: BlankOptions,
        vocabulary: Arc<Vocabulary>,
        max_length: usize,
    ) -> Result<Self, VocabularyError> {
        let special = &vocabulary.special;
        let has_document = options.bert_prob + options.gap_sentence_prob < 1.0;
        let needed = [
            (
                "[sMASK]",
                special.smask,
                "blanks of sentences",
                "task_mask",
                options.task_mask && options.gap_sentence_prob > 0.0,
            ),
            ("[gMASK]", special.gmask, "long blanks", "task_mask", options.task_mask && has_document),
            (
                "[dBLOCK]",
                special.dblock,
                "hidden tokens in pieces",
                "block_mask_prob",
                options.block_mask_prob > 0.0,
            ),
        ];
        if let Some((token, _, what, option, _)) =
            needed.into_iter().find(|(_, id, _, _, is_needed)| *is_needed && id.is_none())
        {
            return Err(VocabularyError { token, what, option });
        }
        let (mut weight, mut sum) = (1.0, 0.0);
        let cumulative_weights = (1..options.max_block_length).map(|length| {
            weight *= options.average_block_length / length as f64; // Poisson, but for a constant factor
            sum += weight;
            sum
        });
        Ok(Self { cumulative_weights: cumulative_weights.collect(), options, vocabulary, max_length })
    }

    /// Ids that the sentinel variant needs beyond the tokenizer's, with so many tokens in a row.
    pub fn num_sentinels(&self) -> usize {
        if self.options.sentinel_token { 2 * (self.max_length / 2) } else { 0 }
    }

    /// A length of a short blank.
    fn length(&self, draws: &mut dyn Draws) -> usize {
        let sum = self.cumulative_weights.last().copied().unwrap_or(0.0);
        let drawn = draws.unit() * sum;
        1 + self
            .cumulative_weights
            .partition_point(|&weight| weight <= drawn)
            .min(self.cumulative_weights.len() - 1)
    }

    /// Short blanks in a row, in no order.
    fn short_spans(&self, row: &[u32], is_single: bool, draws: &mut dyn Draws) -> Vec<Range<usize>> {
        let mut lengths = Vec::new();
        let mut sum = 0;
        let wanted = ((self.options.bert_ratio * row.len() as f64) as usize).max(1);
        while sum < wanted && !(is_single && sum > 0) {
            lengths.push(self.length(draws));
            sum += lengths[lengths.len() - 1];
        }
        shuffle(&mut lengths, draws);
        shuffle(&mut lengths, draws);
        self.place(row, &lengths, draws)
    }

    /// Puts blanks of these lengths into the documents of a row: into each as many as its share, the rest into the
    /// longest.
    fn place(&self, row: &[u32], lengths: &[usize], draws: &mut dyn Draws) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        let mut lengths = lengths;
        let documents = self.documents(row);
        let last = documents.len() - 1;
        for (index, document) in documents.into_iter().enumerate() {
            // Between two blanks of the longest there must be room for a token.
            let (room, between) = match index == last {
                true => (document.len(), 1),
                false => ((document.len() as f64 * self.options.bert_ratio) as usize, 0),
            };
            let (mut count, mut sum) = (0, 0);
            // With a `bert_ratio` near 1, many short blanks would leave no token between two of them.
            while count < lengths.len()
                && sum + lengths[count] + between * count <= room
                && sum + lengths[count] + count <= document.len()
            {
                sum += lengths[count];
                count += 1;
            }
            let (here, rest) = lengths.split_at(count);
            spans.extend(sample_spans(here, document, draws));
            lengths = rest;
        }
        spans
    }

    /// Where the documents of a row are, without `[CLS]` and end tokens, the shortest first; of one that does not end
    /// in the row, the last token is left out.
    fn documents(&self, row: &[u32]) -> Vec<Range<usize>> {
        let special = &self.vocabulary.special;
        let is_end = |&i: &usize| row[i] == special.eos;
        let mut starts = vec![0];
        starts.extend((0..row.len()).filter(is_end).map(|i| i + 1));
        let mut end = row.len();
        let mut documents = Vec::new();
        for &start in starts.iter().rev() {
            let text = start + usize::from(row.get(start) == Some(&special.cls));
            let text_end = if end == row.len() { end.saturating_sub(1) } else { end };
            documents.push(text..text_end.max(text));
            end = start.saturating_sub(1);
        }
        documents.sort_by_key(ExactSizeIterator::len);
        documents
    }

    /// Sentences of a row, shuffled, until there are enough of them.
    fn sentences(&self, row: &[u32], draws: &mut dyn Draws) -> Vec<Range<usize>> {
        let mut sentences = Vec::new();
        let mut start = 1;
        for (i, &id) in row.iter().enumerate() {
            if self.vocabulary.ends_blank(id) {
                if start < i + 1 {
                    sentences.push(start..i + 1);
                }
                start = i + 1;
            } else if id == self.vocabulary.special.eos {
                start = i + 1;
            }
        }
        if start < row.len() {
            sentences.push(start..row.len());
        }
        shuffle(&mut sentences, draws);
        let wanted = (self.options.gap_sentence_ratio * row.len() as f64) as usize;
        let mut sum = 0;
        let is_needed = |sentence: &Range<usize>| {
            let is_needed = sum == 0 || sum < wanted;
            sum += sentence.len();
            is_needed
        };
        sentences.into_iter().take_while(is_needed).collect()
    }

    /// One long blank: the end of the row, or anywhere in it.
    fn document(&self, row: &[u32], longest: usize, draws: &mut dyn Draws) -> Example {
        let length = longest.min(row.len() - 2);
        let first_end = row.iter().position(|&id| id == self.vocabulary.special.eos);
        let has_several = first_end.is_some_and(|end| end != row.len() - 1);
        if has_several || draws.unit() < self.options.gpt_infill_prob {
            return self.prefix_form(row, row.len() - length);
        }
        let start = 1 + draws.below(row.len() - length - 1);
        let blank = start..start + length;
        self.example(row, Vec::from([blank]), Kind::Document, draws)
    }

    /// The row up to `division`, a mask, and the rest as one piece, which ends with the row's own last token.
    fn prefix_form(&self, row: &[u32], division: usize) -> Example {
        let special = &self.vocabulary.special;
        let (context, rest) = row.split_at(division);
        let mask = self.mask(Kind::Document, 0);
        let prefix = |id: u32| [context, &[mask, id]].concat();
        let positions = (0..=division).chain(std::iter::repeat_n(division, rest.len()));
        let block_positions = std::iter::repeat_n(0, division + 1).chain(
            (1..=rest.len()).map(|place| if self.options.block_position_encoding { place } else { 1 }),
        );
        Example {
            input_ids: [&prefix(special.sop)[..], &rest[..rest.len() - 1]].concat(),
            targets: [context, &[mask], rest].concat(),
            // The start token of a further document is given, not predicted.
            loss_mask: std::iter::repeat_n(false, division + 1)
                .chain(rest.iter().map(|&id| id != special.cls))
                .collect(),
            positions: positions.map(|position| position as u32).collect(),
            block_positions: block_positions.map(|position| position as u32).collect(),
            prefix_length: division + 1,
        }
    }

    /// A row with these blanks.
    fn example(
        &self,
        row: &[u32],
        mut spans: Vec<Range<usize>>,
        kind: Kind,
        draws: &mut dyn Draws,
    ) -> Example {
        let blanked: usize = spans.iter().map(ExactSizeIterator::len).sum();
        let last = row.len() - blanked + spans.len() - 1; // position of the last token of part A
        let shift = match self.options.random_position && last < self.max_length - 1 {
            true => draws.below(self.max_length - last),
            false => 0,
        };
        match self.options.shuffle_blocks {
            true => shuffle(&mut spans, draws),
            false => spans.sort_by_key(|span| span.start),
        }
        self.build(row, &spans, kind, shift)
    }

    /// Part A and the pieces of these blanks, in the order given.
    fn build(&self, row: &[u32], spans: &[Range<usize>], kind: Kind, shift: usize) -> Example {
        let special = &self.vocabulary.special;
        let mut in_text: Vec<(usize, &Range<usize>)> = spans.iter().enumerate().collect();
        in_text.sort_by_key(|(_, span)| span.start);
        let mut input_ids = Vec::with_capacity(row.len() + 2 * spans.len());
        let mut mask_positions = vec![0; spans.len()];
        let mut from = 0;
        for (index, span) in in_text {
            input_ids.extend(&row[from..span.start]);
            mask_positions[index] = (input_ids.len() + shift) as u32;
            input_ids.push(self.mask(kind, index));
            from = span.end;
        }
        input_ids.extend(&row[from..]);
        let prefix_length = input_ids.len();
        let mut example = Example {
            targets: input_ids.clone(),
            loss_mask: vec![false; prefix_length],
            positions: (0..prefix_length).map(|i| (i + shift) as u32).collect(),
            block_positions: vec![0; prefix_length],
            input_ids,
            prefix_length,
        };
        for (index, span) in spans.iter().enumerate() {
            let len = span.len() + 1;
            example.input_ids.push(self.start_of_piece(index));
            example.input_ids.extend(&row[span.clone()]);
            example.targets.extend(&row[span.clone()]);
            example.targets.push(special.eop);
            example.loss_mask.extend(std::iter::repeat_n(true, len));
            let position =
                if self.options.sentinel_token { self.max_length as u32 } else { mask_positions[index] };
            example.positions.extend(std::iter::repeat_n(position, len));
            let place = |place: usize| if self.options.block_position_encoding { place as u32 } else { 1 };
            example.block_positions.extend((1..=len).map(place));
        }
        example
    }

    /// The mask of the `index`-th blank.
    fn mask(&self, kind: Kind, index: usize) -> u32 {
        let special = &self.vocabulary.special;
        let task_mask = match kind {
            Kind::Short => None,
            Kind::Sentence => special.smask,
            Kind::Document => special.gmask,
        };
        match task_mask.filter(|_| self.options.task_mask) {
            Some(mask) => mask,
            None if self.options.sentinel_token && index > 0 => self.sentinel(index),
            None => special.mask,
        }
    }

    fn start_of_piece(&self, index: usize) -> u32 {
        match self.options.sentinel_token && index > 0 {
            true => self.sentinel(index) + 1,
            false => self.vocabulary.special.sop,
        }
    }

    fn sentinel(&self, index: usize) -> u32 {
        (self.vocabulary.num_tokens + 2 * (index - 1)) as u32
    }

    /// Shorter rows, cut near the ends of sentences; several of each.
    fn shorten(&self, rows: &[Vec<u32>], draws: &mut dyn Draws) -> Vec<Vec<u32>> {
        let special = &self.vocabulary.special;
        let target = 32 + draws.below(self.max_length - 1 - 32);
        let num_parts = (self.max_length - 1) / target;
        let ends = |id: u32| self.vocabulary.ends_blank(id) || id == special.eos;
        let mut short = Vec::new();
        for text in rows.iter().map(|row| &row[1..]) {
            for _ in 0..num_parts {
                let part = if target >= text.len() {
                    text
                } else {
                    let mut start = draws.below(text.len() - target);
                    while start > 0 && (text[start] == special.eos || !ends(text[start - 1])) {
                        start -= 1;
                    }
                    let whole = (start + 1..=start + target).rev().find(|&end| ends(text[end - 1]));
                    let end = whole.filter(|end| end - start >= target / 2).unwrap_or(start + target);
                    &text[start..end]
                };
                short.push([&[special.cls], part].concat());
            }
        }
        short
    }

    /// Examples of rows that are as long as they are to be.
    fn with_blanks(&self, rows: Vec<Vec<u32>>, draws: &mut dyn Draws) -> Vec<Example> {
        let rows: Vec<Vec<u32>> = rows.into_iter().filter(|row| row.len() >= SHORTEST_ROW).collect();
        let is_single = draws.unit() < self.options.single_span_prob;
        let mode = if is_single { 0.0 } else { draws.unit() };
        let BlankOptions { bert_prob, gap_sentence_prob, .. } = self.options;
        let with_spans = |(row, spans): (&Vec<u32>, Vec<Range<usize>>), kind, draws: &mut dyn Draws| {
            (!spans.is_empty()).then(|| self.example(row, spans, kind, draws))
        };
        let mut examples: Vec<Example> = Vec::with_capacity(rows.len());
        if mode < bert_prob {
            for row in &rows {
                let spans = self.short_spans(row, is_single, draws);
                examples.extend(with_spans((row, spans), Kind::Short, draws));
            }
            self.hide_tokens(&mut examples, draws);
        } else if mode < bert_prob + gap_sentence_prob {
            for row in &rows {
                let spans = self.sentences(row, draws);
                examples.extend(with_spans((row, spans), Kind::Sentence, draws));
            }
        } else if let (Some(shortest), Some(longest)) =
            (rows.iter().map(Vec::len).min(), rows.iter().map(Vec::len).max())
        {
            let most = longest - 2;
            let least = ((self.options.gpt_min_ratio * shortest as f64) as usize).clamp(1, most);
            let length = least + draws.below(most - least + 1);
            examples.extend(rows.iter().map(|row| self.document(row, length, draws)));
        }
        examples
    }

    /// Hides tokens that the network reads in pieces; what it should predict stays.
    fn hide_tokens(&self, examples: &mut [Example], draws: &mut dyn Draws) {
        let special = &self.vocabulary.special;
        let Some(hidden) = special.dblock.filter(|_| self.options.block_mask_prob > 0.0) else { return };
        let is_start = |id: u32| id == special.sop || id as usize >= self.vocabulary.num_tokens;
        for example in examples {
            for id in &mut example.input_ids[example.prefix_length..] {
                if !is_start(*id) && draws.unit() < self.options.block_mask_prob {
                    *id = hidden;
                }
            }
        }
    }
}

/// Long blanks need a token before and after them.
const SHORTEST_ROW: usize = 3;
/// Rows that are cut into shorter ones have at least so many tokens.
const SHORTEST_TO_CUT: usize = 34;

impl Objective for BlankInfilling {
    fn examples(&self, rows: &[Vec<u32>], draws: &mut dyn Draws) -> Vec<Example> {
        let is_cut = draws.unit() < self.options.short_seq_prob && self.max_length >= SHORTEST_TO_CUT;
        let rows = if is_cut { self.shorten(rows, draws) } else { rows.to_vec() };
        self.with_blanks(rows, draws)
    }

    fn examples_of_parts(&self, parts: &[Vec<u32>], draws: &mut dyn Draws) -> Vec<Example> {
        draws.unit(); // what decides it elsewhere: the draws after it stay the same
        self.with_blanks(parts.to_vec(), draws)
    }
}

/// Places blanks of these lengths in a range, in this order, with at least one token between two of them.
///
/// Source: THUDM/GLM@4f61ed7 `blocklm_utils.py`, `sample_spans`. Not every layout is equally likely.
pub(super) fn sample_spans(
    lengths: &[usize],
    range: Range<usize>,
    draws: &mut dyn Draws,
) -> Vec<Range<usize>> {
    if lengths.is_empty() {
        return Vec::new();
    }
    let taken = lengths.iter().sum::<usize>() + lengths.len() - 1;
    let mut places: Vec<usize> = lengths.iter().map(|_| draws.below(range.len() - taken + 1)).collect();
    places.sort_unstable();
    let mut offset = range.start;
    let span = |(place, &length): (usize, &usize)| {
        let start = offset + place;
        offset += length + 1;
        start..start + length
    };
    places.into_iter().zip(lengths).map(span).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::tokenizer::Tokenizer;

    fn objective(options: BlankOptions) -> BlankInfilling {
        let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
        BlankInfilling::new(options, vocabulary, 64).expect("the bundled vocabulary has all tokens")
    }

    fn one(objective: &BlankInfilling, row: &[u32], seed: u64) -> Vec<Example> {
        objective.examples(&[row.to_vec()], &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn parts_a_and_b_by_hand() {
        // [CLS] a b c d e . [PAD] with blanks over "b c" and "e", in reverse order.
        let objective = objective(BlankOptions::default());
        let special = objective.vocabulary.special.clone();
        let row = [special.cls, 101, 102, 103, 104, 105, 106, special.eos];
        let example = objective.build(&row, &[5..6, 2..4], Kind::Short, 0);
        let (mask, sop, eop) = (special.mask, special.sop, special.eop);
        let part_a = [special.cls, 101, mask, 104, mask, 106, special.eos];
        assert_eq!(example.input_ids, [&part_a[..], &[sop, 105, sop, 102, 103]].concat());
        assert_eq!(example.targets[7..], [105, eop, 102, 103, eop]);
        assert_eq!(example.positions, [0, 1, 2, 3, 4, 5, 6, 4, 4, 2, 2, 2]);
        assert_eq!(example.block_positions, [0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 3]);
        assert_eq!((example.prefix_length, example.num_targets()), (7, 5));
    }

    #[test]
    fn a_sentinel_tells_which_blank_a_piece_fills() {
        let objective = objective(BlankOptions { sentinel_token: true, ..BlankOptions::default() });
        let special = objective.vocabulary.special.clone();
        let row = [special.cls, 101, 102, 103, 104, 105];
        let example = objective.build(&row, &[3..4, 1..2], Kind::Short, 0);
        assert_eq!(example.input_ids[..6], [special.cls, 8192, 102, special.mask, 104, 105]);
        assert_eq!(example.input_ids[6..], [special.sop, 103, 8193, 101]);
        assert_eq!(example.positions[6..], [64; 4]); // the row's length: the mask's place is not given away
        assert_eq!(objective.num_sentinels(), 64);
    }

    #[test]
    fn rows_shorter_than_a_blank_get_a_shorter_one_or_none() {
        let special = Tokenizer::builtin().special().unwrap().clone();
        for name in BlankOptions::names() {
            let objective = objective(BlankOptions::named(name).expect("a listed name"));
            for seed in 0..200 {
                for row in [&[special.cls][..], &[special.cls, 100], &[special.cls, 100, special.eos]] {
                    for example in one(&objective, row, seed) {
                        assert!(example.num_targets() > 0, "{name} {row:?}: {example:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn long_blanks_work_where_the_official_code_fails() {
        // Without block positions, and with blanks of the whole row.
        let options = BlankOptions {
            bert_prob: 0.0,
            block_position_encoding: false,
            gpt_min_ratio: 1.0,
            ..BlankOptions::default()
        };
        let (objective, cls) = (objective(options), Tokenizer::builtin().special().unwrap().cls);
        let row: Vec<u32> = std::iter::once(cls).chain(100..120).collect();
        for seed in 0..20 {
            let example = one(&objective, &row, seed).remove(0);
            assert!(example.num_targets() >= 19, "all but [CLS] and a token: {example:?}");
            assert!(example.block_positions[example.prefix_length..].iter().all(|&place| place == 1));
        }
    }

    #[test]
    fn any_share_of_short_blanks_finds_room_in_short_documents() {
        let special = Tokenizer::builtin().special().unwrap().clone();
        let document = |length: usize| std::iter::repeat_n(100, length).chain([special.eos]);
        let row: Vec<u32> = std::iter::once(special.cls).chain((5..10).flat_map(document)).collect();
        for tenths in 1..=10 {
            let options = BlankOptions {
                bert_ratio: f64::from(tenths) / 10.0,
                average_block_length: 1.0,
                ..BlankOptions::default()
            };
            let objective = objective(options);
            for seed in 0..100 {
                assert!(one(&objective, &row, seed).iter().all(|example| example.num_targets() > 0));
            }
        }
    }

    #[test]
    fn a_missing_token_is_named_with_the_option_that_needs_it() {
        let mut vocabulary = Vocabulary::new(&Tokenizer::builtin()).unwrap();
        vocabulary.special.gmask = None;
        let options = BlankOptions::named("glm-doc").expect("a listed name");
        let error = BlankInfilling::new(options, Arc::new(vocabulary), 64).err().expect("it is missing");
        let message = error.to_string();
        assert!(message.contains("[gMASK] for long blanks") && message.contains("task_mask"), "{message}");
    }

    proptest! {
        /// Filling the blanks of part A with the pieces gives the row back.
        #[test]
        fn pieces_fill_the_blanks(
            text in proptest::collection::vec(0u32..60, 2..62),
            mix in 0usize..5,
            seed in any::<u64>(),
        ) {
            let name = BlankOptions::names().nth(mix).expect("five mixes");
            let options = BlankOptions { block_mask_prob: 0.0, short_seq_prob: 0.0, ..BlankOptions::named(name).unwrap() };
            let objective = objective(options);
            let special = objective.vocabulary.special.clone();
            // Every tenth id is a full stop or an end of text, so that there are sentences and documents.
            let stop = Tokenizer::builtin().encode(".").unwrap()[0];
            let id = |&id: &u32| match id { 0..4 => stop, 4..6 => special.eos, id => 100 + id };
            let row: Vec<u32> = std::iter::once(special.cls).chain(text.iter().map(id)).collect();
            for example in one(&objective, &row, seed) {
                let masks = [Some(special.mask), special.smask, special.gmask];
                let mut pieces = std::collections::BTreeMap::new();
                for i in example.prefix_length..example.len() {
                    let piece: &mut Vec<u32> = pieces.entry(example.positions[i]).or_default();
                    piece.push(example.targets[i]);
                }
                let mut filled = Vec::new();
                for (position, &id) in (0..).zip(&example.input_ids[..example.prefix_length]) {
                    match pieces.get(&position) {
                        Some(piece) => {
                            prop_assert!(masks.contains(&Some(id)));
                            filled.extend(piece.iter().filter(|&&id| id != special.eop));
                        }
                        None => filled.push(id),
                    }
                }
                prop_assert_eq!(&filled, &row);
                prop_assert!(example.num_targets() > 0);
            }
        }
    }
}
