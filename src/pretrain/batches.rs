//! Batches of examples. Each is a function of the seed and its number alone, so that a run can go on at any of them,
//! and several processes can share them out.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::objective::{Documents, Example, Objective, Rows};

/// Which part of each batch is made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub rank: u64,
    /// Processes that share the batches.
    pub world_size: u64,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self { rank: 0, world_size: 1 };
}

/// How long rows are at most: short at first, then longer at a steady rate until they are whole.
///
/// Source: the idea of Li et al. 2022 ("sequence length warmup"), and of Devlin et al. 2019, who began with rows of 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthWarmup {
    /// Most tokens of the first rows.
    pub first: usize,
    /// Most tokens of whole rows.
    pub whole: usize,
    /// Batches until rows are whole.
    pub batches: u64,
}

impl LengthWarmup {
    /// All rows are whole.
    pub const NONE: Self = Self { first: usize::MAX, whole: usize::MAX, batches: 0 };

    /// Most tokens of a row of the batch with a number; `None` for whole rows.
    fn length(&self, number: u64) -> Option<usize> {
        let growth = self.whole as f64 / self.first as f64;
        let length = || (self.first as f64 * growth.powf(number as f64 / self.batches as f64)) as usize;
        (number < self.batches).then(length)
    }
}

/// Each row in parts of about equal length, of at most `length` tokens, that have a start token each.
fn cut(rows: &[Vec<u32>], length: usize) -> Vec<Vec<u32>> {
    let mut short = Vec::new();
    for row in rows {
        let (start, text) = row.split_at(1);
        let num_parts = text.len().div_ceil(length - 1).max(1);
        let parts = (0..num_parts).map(|i| i * text.len() / num_parts..(i + 1) * text.len() / num_parts);
        short.extend(parts.map(|part| [start, &text[part]].concat()));
    }
    short
}

/// Rows and what is made of them.
pub struct Batches<'a, D> {
    /// Where rows come from.
    pub rows: Rows<D>,
    /// How long they are at most.
    pub warmup: LengthWarmup,
    /// What is made of them.
    pub objective: &'a dyn Objective,
    /// Of all draws.
    pub seed: u64,
    /// Rows of a batch, here.
    pub batch_size: usize,
    /// Which part.
    pub shard: Shard,
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The numbers of its rows, among all rows of a run.
    pub rows: Range<u64>,
    /// Tokens of the rows, before blanks were made.
    pub num_row_tokens: u64,
    /// Rows, or parts of them, that made no example.
    pub num_skipped: u64,
    /// What is learned from.
    pub examples: Vec<Example>,
}

impl Batch {
    /// Tokens that the network reads.
    pub fn num_tokens(&self) -> usize {
        self.examples.iter().map(Example::len).sum()
    }

    /// Tokens that it predicts.
    pub fn num_targets(&self) -> usize {
        self.examples.iter().map(Example::num_targets).sum()
    }

    /// Its examples in parts of at most so many tokens, or of one example.
    pub fn parts(&self, tokens_per_part: usize) -> Vec<&[Example]> {
        let (mut parts, mut start, mut tokens) = (Vec::new(), 0, 0);
        for (i, example) in self.examples.iter().enumerate() {
            if tokens > 0 && tokens + example.len() > tokens_per_part {
                parts.push(&self.examples[start..i]);
                (start, tokens) = (i, 0);
            }
            tokens += example.len();
        }
        if start < self.examples.len() {
            parts.push(&self.examples[start..]);
        }
        parts
    }
}

/// A batch in which there is nothing to learn is drawn anew, so often at most.
const MOST_DRAWS: u64 = 100;

impl<D: Documents> Batches<'_, D> {
    /// The batch with a number, from 0. Where all of `MOST_DRAWS` had nothing to learn from, it has no targets.
    pub fn get(&self, number: u64) -> Batch {
        let mut batch = self.draw(number, 0);
        for again in 1..MOST_DRAWS {
            if batch.num_targets() > 0 {
                break;
            }
            batch = self.draw(number, again);
        }
        batch
    }

    /// The batch with a number, drawn for the first time or again.
    fn draw(&self, number: u64, again: u64) -> Batch {
        // Streams of one generator never meet: even ones draw rows, odd ones blanks.
        let seed = self.seed.wrapping_add(again << 32);
        let stream = |stream: u64| {
            let mut draws = ChaCha8Rng::seed_from_u64(seed);
            draws.set_stream(stream);
            draws
        };
        let shard = number * self.shard.world_size + self.shard.rank;
        let first = shard * self.batch_size as u64;
        let numbers = first..first + self.batch_size as u64;
        let mut rows: Vec<Vec<u32>> =
            numbers.clone().map(|row| self.rows.draw(&mut stream(2 * row))).collect();
        let num_row_tokens = rows.iter().map(Vec::len).sum::<usize>() as u64;
        let blanks = &mut stream(2 * shard + 1);
        let examples = match self.warmup.length(number) {
            None => self.objective.examples(&rows, blanks),
            Some(length) => {
                rows = cut(&rows, length);
                self.objective.examples_of_parts(&rows, blanks)
            }
        };
        let num_skipped = rows.len().saturating_sub(examples.len()) as u64;
        Batch { rows: numbers, num_row_tokens, num_skipped, examples }
    }

    /// Hands the batches of `numbers` to `consume`, which takes them from the receiver; they are made beside it, on a
    /// thread of their own.
    pub fn beside<T>(&self, numbers: Range<u64>, consume: impl FnOnce(&Receiver<Batch>) -> T) -> T {
        const AHEAD: usize = 4;
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(AHEAD);
            scope.spawn(move || {
                for number in numbers {
                    if sender.send(self.get(number)).is_err() {
                        return; // nobody wants more
                    }
                }
            });
            let consumed = consume(&receiver);
            drop(receiver);
            consumed
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::objective::{BlankInfilling, BlankOptions, CausalLm, Draws, Vocabulary};
    use crate::tokenizer::Tokenizer;

    fn objective() -> BlankInfilling {
        let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
        BlankInfilling::new(BlankOptions::named("glm-doc").unwrap(), vocabulary, 64).unwrap()
    }

    fn batches(objective: &dyn Objective, batch_size: usize, shard: Shard) -> Batches<'_, Vec<Vec<u32>>> {
        let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
        let documents: Vec<Vec<u32>> = (1..40).map(|n| (100..100 + 5 * n).collect()).collect();
        let rows = Rows::new(documents, vocabulary, 64, true).unwrap();
        Batches { rows, warmup: LengthWarmup::NONE, objective, seed: 7, batch_size, shard }
    }

    #[test]
    fn a_batch_is_the_same_whatever_came_before_it_and_on_another_thread() {
        let objective = objective();
        let batches = batches(&objective, 8, Shard::WHOLE);
        let tenth = batches.get(10);
        assert_eq!(batches.beside(8..20, |receiver| receiver.iter().nth(2)), Some(tenth.clone()));
        assert_ne!(batches.get(11).examples, tenth.examples);
    }

    /// Makes an example of a row where a coin says so.
    struct Rare;

    impl Objective for Rare {
        fn examples(&self, rows: &[Vec<u32>], draws: &mut dyn Draws) -> Vec<Example> {
            let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
            let all = CausalLm::new(vocabulary).examples(rows, draws);
            all.into_iter().filter(|_| draws.unit() < 0.2).collect()
        }
    }

    #[test]
    fn a_batch_without_anything_to_learn_from_is_drawn_anew() {
        let batches = batches(&Rare, 2, Shard::WHOLE);
        let empty = (0..50).filter(|&number| batches.draw(number, 0).num_targets() == 0).count();
        assert!((20..45).contains(&empty), "{empty}"); // 0.64 of them
        for number in 0..50 {
            let (first, batch) = (batches.draw(number, 0), batches.get(number));
            assert!(batch.num_targets() > 0);
            assert_eq!(batch.num_skipped, 2 - batch.examples.len() as u64);
            assert_eq!(batch == first, first.num_targets() > 0);
        }
    }

    #[test]
    fn rows_that_grow_are_not_cut_a_second_time() {
        let vocabulary = Arc::new(Vocabulary::new(&Tokenizer::builtin()).unwrap());
        let options = BlankOptions { short_seq_prob: 1.0, ..BlankOptions::named("glm-doc").unwrap() };
        let objective = BlankInfilling::new(options, vocabulary, 512).unwrap();
        let warmup = LengthWarmup { first: 8, whole: 64, batches: 20 };
        let growing = Batches { warmup, ..batches(&objective, 8, Shard::WHOLE) };
        let read = |number: u64| growing.get(number).num_tokens() as u64;
        // A blank adds a mask, and the start of its piece.
        assert!((0..20).all(|number| read(number) < 2 * growing.get(number).num_row_tokens));
    }

    #[test]
    fn rows_double_at_a_steady_rate_until_they_are_whole() {
        let warmup = LengthWarmup { first: 32, whole: 512, batches: 400 };
        let lengths = [0, 50, 100, 200, 300, 399, 400].map(|number| warmup.length(number));
        assert_eq!(lengths, [Some(32), Some(45), Some(64), Some(128), Some(256), Some(508), None]);
        assert_eq!(LengthWarmup::NONE.length(0), None);
    }

    #[test]
    fn short_rows_hold_the_text_of_the_long_ones_in_order() {
        let row: Vec<u32> = std::iter::once(2).chain(100..130).collect();
        let rows = cut(&[row.clone(), vec![2]], 9);
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [8, 9, 8, 9, 1]);
        assert!(rows.iter().all(|row| row[0] == 2));
        assert_eq!(rows.iter().flat_map(|row| &row[1..]).copied().collect::<Vec<_>>(), row[1..]);

        let objective = objective();
        let whole = batches(&objective, 8, Shard::WHOLE);
        let warmup = LengthWarmup { first: 8, whole: 64, batches: 2 };
        let growing = Batches { warmup, ..batches(&objective, 8, Shard::WHOLE) };
        assert!(growing.get(1).examples.len() > 8);
        assert_eq!(growing.get(1).num_row_tokens, whole.get(1).num_row_tokens);
        assert_eq!(growing.get(2), whole.get(2));
    }

    #[test]
    fn two_processes_with_half_a_batch_each_draw_the_rows_of_one_with_the_whole() {
        let objective = objective();
        let rows = |batches: &Batches<'_, Vec<Vec<u32>>>, number: u64| batches.get(number).rows;
        let whole = batches(&objective, 8, Shard::WHOLE);
        let halves = [0, 1].map(|rank| batches(&objective, 4, Shard { rank, world_size: 2 }));
        for number in 0..5 {
            let [first, second] = [rows(&halves[0], number), rows(&halves[1], number)];
            assert_eq!(rows(&whole, number), first.start..second.end);
            assert_eq!(first.end, second.start);
        }
        let tokens = |batches: &Batches<'_, Vec<Vec<u32>>>| batches.get(3).num_row_tokens;
        assert_eq!(tokens(&whole), tokens(&halves[0]) + tokens(&halves[1]));
    }

    #[test]
    fn parts_are_bounded_and_lose_nothing() {
        let objective = objective();
        let batch = batches(&objective, 16, Shard::WHOLE).get(0);
        for most in [1, 100, 200, 1 << 20] {
            let parts = batch.parts(most);
            assert_eq!(parts.concat(), batch.examples);
            let tokens = |part: &&[Example]| part.iter().map(Example::len).sum::<usize>();
            assert!(parts.iter().all(|part| part.len() == 1 || tokens(part) <= most));
        }
    }
}
