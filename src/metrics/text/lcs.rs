//! Longest common subsequences, a word of bits at a time.
//!
//! The table `t[j][i]` of lengths for the first `j` and `i` words grows along `i` by 0 or 1 a step, so that a row of it
//! is a row of bits, and one row follows from the one before by an addition.
//!
//! Source: Hyyrö (2004), "Bit-parallel LCS-length computation revisited".

/// For each word of a text, where it stands: one bit a position.
pub(super) struct Positions {
    len: usize,
    /// Word, block of 64 positions, and the bits there that it has, in order; blocks without the word are left out.
    masks: Vec<(u32, usize, u64)>,
}

impl Positions {
    pub(super) fn new(words: &[u32]) -> Self {
        let mut places: Vec<(u32, usize)> = words.iter().copied().zip(0..).collect();
        places.sort_unstable();
        let same_block = |a: &(u32, usize), b: &(u32, usize)| (a.0, a.1 / 64) == (b.0, b.1 / 64);
        let mask = |places: &[(u32, usize)]| {
            let bits = places.iter().map(|(_, i)| 1 << (i % 64)).sum();
            (places[0].0, places[0].1 / 64, bits)
        };
        Self { len: words.len(), masks: places.chunk_by(same_block).map(mask).collect() }
    }

    /// The row of the table before any word of the other text: a bit is 0 where the length grows.
    fn first_row(&self) -> Vec<u64> {
        vec![!0; self.len.div_ceil(64)]
    }

    /// From the row before the other text's next word to the row behind it.
    fn next_row(&self, row: &mut [u64], word: u32) {
        let first = self.masks.partition_point(|(other, ..)| *other < word);
        let mut masks = self.masks[first..].iter().take_while(|(other, ..)| *other == word).peekable();
        while let Some((_, block, mask)) = masks.next() {
            // A carry runs on through blocks without the word; only such blocks are visited.
            let mut carry = add_common(&mut row[*block], *mask, false);
            let mut at = block + 1;
            while carry && at < row.len() {
                let mask = masks.next_if(|(_, block, _)| *block == at).map_or(0, |(.., mask)| *mask);
                carry = add_common(&mut row[at], mask, carry);
                at += 1;
            }
        }
    }

    /// Length of the longest common subsequence with another text.
    pub(super) fn lcs_len(&self, other: &[u32]) -> usize {
        let mut row = self.first_row();
        for word in other {
            self.next_row(&mut row, *word);
        }
        row.iter().map(|bits| bits.count_zeros() as usize).sum()
    }

    /// Marks the words (of these, `words`) of one longest common subsequence with another text. Of several, the one that
    /// `rouge-score` takes: from the ends of both texts backwards, a word of this text is passed over wherever that costs
    /// nothing.
    pub(super) fn mark_lcs(&self, words: &[u32], other: &[u32], marks: &mut [bool]) {
        let mut rows = vec![self.first_row()];
        for word in other {
            let mut row = rows[rows.len() - 1].clone();
            self.next_row(&mut row, *word);
            rows.push(row);
        }
        let (mut i, mut j) = (words.len(), other.len());
        while i > 0 && j > 0 {
            let at = i - 1;
            if words[at] == other[j - 1] {
                marks[at] = true;
                (i, j) = (i - 1, j - 1);
            } else if rows[j][at / 64] >> (at % 64) & 1 == 0 {
                j -= 1; // without this text's word it would be shorter
            } else {
                i -= 1;
            }
        }
    }
}

/// One block of a row: adds what it has in common with the mask, and says whether there is a carry.
fn add_common(bits: &mut u64, mask: u64, carry: bool) -> bool {
    let common = *bits & mask;
    let (sum, first) = bits.overflowing_add(common);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    *bits = sum | (*bits - common);
    first || second
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The table as the textbook fills it, `[i][j]`.
    fn table(a: &[u32], b: &[u32]) -> Vec<Vec<usize>> {
        let mut t = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                t[i][j] =
                    if a[i - 1] == b[j - 1] { t[i - 1][j - 1] + 1 } else { t[i - 1][j].max(t[i][j - 1]) };
            }
        }
        t
    }

    fn textbook_marks(a: &[u32], b: &[u32]) -> Vec<bool> {
        let (t, mut marks) = (table(a, b), vec![false; a.len()]);
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                marks[i - 1] = true;
                (i, j) = (i - 1, j - 1);
            } else if t[i][j - 1] > t[i - 1][j] {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        marks
    }

    proptest! {
        #[test]
        fn lengths_and_words_are_those_of_the_textbook(
            a in prop::collection::vec(0_u32..6, 0..200), b in prop::collection::vec(0_u32..6, 0..200),
        ) {
            let positions = Positions::new(&a);
            prop_assert_eq!(positions.lcs_len(&b), table(&a, &b)[a.len()][b.len()]);
            let mut marks = vec![false; a.len()];
            positions.mark_lcs(&a, &b, &mut marks);
            prop_assert_eq!(marks, textbook_marks(&a, &b));
        }
    }
}
