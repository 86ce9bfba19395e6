//! Who sees whom in a packed batch.

use std::ops::Range;

/// What the tokens of one sequence may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// A prefix, then pieces, whose tokens see the prefix and their own piece up to themselves. Pieces do not
    /// see each other. This is GLM's form (part A and the pieces of part B), and that of several
    /// continuations of one text.
    Pieces {
        /// Tokens of the prefix.
        prefix: usize,
        /// Is the prefix read left to right, as causal models do? Otherwise its tokens see each other.
        is_causal: bool,
        /// Tokens of each piece.
        pieces: Vec<usize>,
    },
    /// Any 0/1 matrix, for recordings and for padding that is to be reproduced. A token that may see nothing
    /// attends to every key alike, as in the official code.
    Matrix {
        /// `[queries, keys]`, row after row; keys are the cached tokens, then the sequence's own.
        visible: Vec<bool>,
        /// Keys in each row.
        keys: usize,
    },
    /// The keys are those of another sequence (an encoder's output), and every query sees all of them.
    Cross {
        /// Tokens of this sequence.
        queries: usize,
        /// Tokens of the other.
        keys: usize,
    },
}

/// One sequence of a packed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Keys from earlier calls, in front of the sequence's own; all of them visible under [`Visibility::Pieces`].
    pub cached: usize,
    /// Who sees whom.
    pub visibility: Visibility,
}

impl Sequence {
    /// A prefix whose tokens see each other and pieces after it, nothing cached.
    pub fn pieces(prefix: usize, pieces: Vec<usize>) -> Self {
        Self { cached: 0, visibility: Visibility::Pieces { prefix, is_causal: false, pieces } }
    }

    /// A prefix that is read left to right and its continuations, nothing cached.
    pub fn causal(prefix: usize, continuations: Vec<usize>) -> Self {
        Self { cached: 0, visibility: Visibility::Pieces { prefix, is_causal: true, pieces: continuations } }
    }

    /// `queries` tokens over the `keys` of another sequence.
    pub fn cross(queries: usize, keys: usize) -> Self {
        Self { cached: 0, visibility: Visibility::Cross { queries, keys } }
    }

    /// `len` tokens of which the first `prefix` are fully visible and the rest is read left to right.
    pub fn prefix_lm(len: usize, prefix: usize) -> Self {
        let prefix = prefix.min(len);
        let rest = len - prefix;
        Self::pieces(prefix, if rest == 0 { vec![] } else { vec![rest] })
    }

    /// Tokens of this sequence in the batch: its queries.
    pub fn len(&self) -> usize {
        match &self.visibility {
            Visibility::Pieces { prefix, pieces, .. } => prefix + pieces.iter().sum::<usize>(),
            Visibility::Matrix { visible, keys } => visible.len() / keys.max(&1),
            Visibility::Cross { queries, .. } => *queries,
        }
    }

    /// No tokens at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cached keys and the sequence's own; those of the other sequence under [`Visibility::Cross`].
    pub fn num_keys(&self) -> usize {
        match self.visibility {
            Visibility::Cross { keys, .. } => self.cached + keys,
            _ => self.cached + self.len(),
        }
    }

    /// Pairs of a query and a key that it sees.
    pub fn visible_pairs(&self) -> u64 {
        let pairs = match &self.visibility {
            Visibility::Pieces { prefix, is_causal, pieces } => {
                let left_to_right = |len: &usize, before: usize| len * before + len * (len + 1) / 2;
                let context = self.cached + prefix;
                let of_prefix = match is_causal {
                    true => left_to_right(prefix, self.cached),
                    false => prefix * context,
                };
                of_prefix + pieces.iter().map(|len| left_to_right(len, context)).sum::<usize>()
            }
            Visibility::Cross { queries, keys } => queries * keys,
            Visibility::Matrix { visible, .. } => visible.iter().filter(|&&seen| seen).count(),
        };
        pairs as u64
    }

    /// The queries in blocks that share their keys.
    pub(super) fn blocks(&self) -> Vec<Block> {
        // Tokens that all see the same keys.
        let together = |rows: Range<usize>, shared: usize| {
            split(rows, |rows| Block { first: self.cached + rows.start, rows, shared, own: None })
        };
        let Visibility::Pieces { prefix, is_causal, pieces } = &self.visibility else {
            return together(0..self.len(), self.num_keys());
        };
        // Tokens `from..to`, each of which sees the first `shared` keys and, from `from` on, those up to itself.
        let left_to_right = |from: usize, to: usize, shared: usize| {
            split(from..to, |rows| {
                let own = self.cached + from..self.cached + rows.end;
                Block { first: shared + rows.start - from, rows, shared, own: Some(own) }
            })
        };
        let context = self.cached + prefix;
        let mut blocks = match is_causal {
            true => left_to_right(0, *prefix, self.cached),
            false => together(0..*prefix, context),
        };
        let mut start = *prefix;
        for &len in pieces {
            blocks.extend(left_to_right(start, start + len, context));
            start += len;
        }
        blocks
    }
}

/// Queries of one block: bounds the memory of attention to this many rows of scores.
const ROWS_PER_BLOCK: usize = 64;

fn split(rows: Range<usize>, block: impl Fn(Range<usize>) -> Block) -> Vec<Block> {
    rows.clone()
        .step_by(ROWS_PER_BLOCK)
        .map(|start| block(start..rows.end.min(start + ROWS_PER_BLOCK)))
        .collect()
}

/// Some queries of a sequence, and the keys they see: the first `shared` ones, and of `own` those up to the
/// query itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub rows: Range<usize>,
    /// The first query's position: every piece goes on where the context ends, so a column is its key's position.
    first: usize,
    pub shared: usize,
    pub own: Option<Range<usize>>,
}

impl Block {
    /// Columns of the block's scores: the shared keys, then the own ones.
    pub fn columns(&self) -> usize {
        self.shared + self.own.as_ref().map_or(0, ExactSizeIterator::len)
    }

    /// How many of the columns, from the first, the block's `row`-th query sees.
    pub fn visible_columns(&self, row: usize) -> usize {
        match &self.own {
            None => self.shared,
            Some(_) => self.columns() - (self.rows.len() - 1 - row),
        }
    }

    /// The position of the block's `row`-th query.
    pub fn position(&self, row: usize) -> usize {
        self.first + row
    }

    /// Which of the sequence's keys a column is.
    pub fn key(&self, column: usize) -> usize {
        match &self.own {
            Some(own) if column >= self.shared => own.start + column - self.shared,
            _ => column,
        }
    }
}

/// The sequences of a packed batch, in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    /// One after the other, without padding.
    pub sequences: Vec<Sequence>,
}

impl Layout {
    /// A batch of these sequences.
    pub fn new(sequences: Vec<Sequence>) -> Self {
        Self { sequences }
    }

    /// Tokens in the batch.
    pub fn num_tokens(&self) -> usize {
        self.sequences.iter().map(Sequence::len).sum()
    }

    /// Keys in the batch, cached ones included.
    pub fn num_keys(&self) -> usize {
        self.sequences.iter().map(Sequence::num_keys).sum()
    }

    /// Where each sequence's queries, and its keys, begin.
    pub(super) fn starts(&self) -> Vec<(usize, usize)> {
        let mut at = (0, 0);
        let next = |sequence: &Sequence| {
            let start = at;
            at = (at.0 + sequence.len(), at.1 + sequence.num_keys());
            start
        };
        self.sequences.iter().map(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_sees_the_prefix_and_itself_up_to_the_token() {
        let sequence = Sequence::pieces(3, vec![2, 1]);
        let [context, first, second] = &sequence.blocks()[..] else { panic!("three blocks") };
        assert_eq!((context.columns(), context.visible_columns(0)), (3, 3));
        assert_eq!(first.own, Some(3..5));
        assert_eq!((first.visible_columns(0), first.visible_columns(1)), (4, 5));
        assert_eq!(second.own, Some(5..6));
        assert_eq!(second.visible_columns(0), 4);
    }

    #[test]
    fn a_token_of_a_causal_prefix_sees_what_is_cached_and_the_prefix_up_to_itself() {
        let sequence = Sequence { cached: 5, ..Sequence::causal(3, vec![2]) };
        let [prefix, piece] = &sequence.blocks()[..] else { panic!("two blocks") };
        assert_eq!((prefix.shared, prefix.own.clone()), (5, Some(5..8)));
        assert_eq!([0, 1, 2].map(|row| prefix.visible_columns(row)), [6, 7, 8]);
        assert_eq!((piece.shared, piece.own.clone()), (8, Some(8..10)));
    }

    #[test]
    fn a_long_piece_is_cut_into_blocks_that_reach_back_to_its_start() {
        let blocks = Sequence::prefix_lm(200, 10).blocks();
        let last = blocks.last().expect("there are blocks");
        assert_eq!((last.rows.clone(), last.own.clone()), (138..200, Some(10..200))); // 10 + 2 * 64 = 138
        let rows: usize = blocks.iter().map(|b| b.rows.len()).sum();
        assert_eq!(rows, 200);
    }

    #[test]
    fn every_piece_goes_on_where_the_context_ends() {
        let blocks = Sequence { cached: 4, ..Sequence::pieces(3, vec![2, 70]) }.blocks();
        let positions: Vec<usize> = blocks.iter().map(|block| block.position(0)).collect();
        assert_eq!(positions, [4, 7, 7, 7 + 64]);
        // The second piece's first key is the tenth of the sequence (4 cached, 3, 2), at position 7.
        assert_eq!((blocks[2].key(6), blocks[2].key(7)), (6, 9));
    }

    #[test]
    fn all_keys_of_another_sequence_are_seen() {
        let sequence = Sequence::cross(70, 5);
        let blocks = sequence.blocks();
        assert_eq!((sequence.len(), sequence.num_keys(), blocks.len()), (70, 5, 2));
        assert!(blocks.iter().all(|block| (block.columns(), block.visible_columns(0)) == (5, 5)));
    }

    #[test]
    fn cached_keys_come_first() {
        let sequence = Sequence { cached: 5, ..Sequence::prefix_lm(2, 0) };
        let blocks = sequence.blocks();
        assert_eq!((blocks[0].shared, blocks[0].own.clone()), (5, Some(5..7)));
        assert_eq!(sequence.num_keys(), 7);
    }
}
