//! Relative positions as a learned bias of attention scores.

use candle_core::{Result, Tensor, bail};

use super::cpu::simd;
use super::layout::{Block, Sequence};

/// How distances between tokens are put into buckets: one a distance when near, then logarithmically wider ones.
///
/// Source: Raffel et al. 2020, section 2.1; huggingface/transformers `modeling_t5.py`, `_relative_position_bucket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// Buckets in all.
    pub num: usize,
    /// All distances from here on share the last bucket.
    pub max_distance: usize,
    /// Do keys after the query have buckets of their own (half of them)? Otherwise they count as distance 0.
    pub bidirectional: bool,
}

impl Buckets {
    /// Buckets of one direction.
    fn of_one_direction(self) -> usize {
        if self.bidirectional { self.num / 2 } else { self.num }
    }

    /// Is there a bucket for distance 0, and one beyond, and do distances grow?
    ///
    /// # Errors
    /// When not: such sizes are not those of a model.
    pub fn check(self) -> Result<()> {
        let exact = self.of_one_direction() / 2;
        if exact == 0 || self.max_distance <= exact {
            bail!(
                "{} relative-attention buckets do not fit a largest distance of {}",
                self.num,
                self.max_distance
            );
        }
        Ok(())
    }

    /// The bucket of a key that stands `distance` tokens after the query (before it, where negative).
    fn of(self, distance: i64) -> usize {
        let buckets = self.of_one_direction();
        let (first, distance) = match self.bidirectional {
            true => (if distance > 0 { buckets } else { 0 }, distance.unsigned_abs() as usize),
            false => (0, (-distance).max(0) as usize),
        };
        let exact = buckets / 2;
        if distance < exact {
            return first + distance;
        }
        // In f32 and in this order, as published: a distance on the border of two buckets falls into the same one.
        let octaves =
            (distance as f32 / exact as f32).ln() / (self.max_distance as f64 / exact as f64).ln() as f32;
        let bucket = exact + (octaves * (buckets - exact) as f32) as usize;
        first + bucket.min(buckets - 1)
    }
}

/// What is added to the scores of each head, by the bucket of the distance from query to key.
#[derive(Clone, Debug)]
pub struct RelativeBias {
    /// `[buckets, n]`
    pub table: Tensor,
    /// From a distance to a row of the table.
    pub buckets: Buckets,
}

impl RelativeBias {
    /// Does the table have a row a bucket and a column a head?
    pub(super) fn check(&self, num_heads: usize) -> Result<()> {
        self.buckets.check()?;
        match self.table.dims2()? {
            (rows, columns) if (rows, columns) == (self.buckets.num, num_heads) => Ok(()),
            found => bail!("a bias of {found:?} for {} buckets and {num_heads} heads", self.buckets.num),
        }
    }

    /// `[n, s, keys]` biases of a sequence, of candle's ops.
    pub(super) fn composed(&self, sequence: &Sequence) -> Result<Tensor> {
        let (s, keys, n) = (sequence.len(), sequence.num_keys(), self.table.dim(1)?);
        let mut buckets = vec![0u32; s * keys];
        for block in sequence.blocks() {
            for row in 0..block.rows.len() {
                for column in 0..block.columns() {
                    let distance = column as i64 - block.position(row) as i64;
                    let key = block.key(column);
                    buckets[(block.rows.start + row) * keys + key] = self.buckets.of(distance) as u32;
                }
            }
        }
        let buckets = Tensor::from_vec(buckets, s * keys, self.table.device())?;
        self.table.index_select(&buckets, 0)?.reshape((s, keys, n))?.permute((2, 0, 1))
    }
}

/// The biases of all heads by distance, so that those of a query's keys lie side by side.
pub(super) struct ByDistance {
    /// The distance of the first value, negated.
    back: usize,
    /// The bucket of each distance.
    buckets: Vec<usize>,
    /// `[n, distances]`
    values: Vec<f32>,
}

impl ByDistance {
    /// From the values of a `[buckets, n]` table, for all distances within these sequences.
    pub fn new(table: &[f32], buckets: Buckets, sequences: &[Sequence]) -> Self {
        let blocks = || sequences.iter().flat_map(Sequence::blocks);
        let last = |block: &Block| block.position(block.rows.len().saturating_sub(1));
        let back = blocks().map(|block| last(&block)).max().unwrap_or(0);
        let columns = blocks().map(|block| block.columns()).max().unwrap_or(0);
        let of_distance: Vec<usize> =
            (0..back + columns).map(|i| buckets.of(i as i64 - back as i64)).collect();
        let n = table.len() / buckets.num;
        let values =
            (0..n).flat_map(|head| of_distance.iter().map(move |bucket| table[bucket * n + head])).collect();
        Self { back, buckets: of_distance, values }
    }

    /// Adds the biases of a head to the scores of a block's row.
    pub fn add_to(&self, scores: &mut [f32], head: usize, position: usize) {
        let values = &self.values[head * self.buckets.len()..][..self.buckets.len()];
        simd::add_assign(scores, &values[self.back - position..][..scores.len()]);
    }

    /// Room for the gradient of a head's values.
    pub fn gradient(&self) -> Vec<f32> {
        vec![0.0; self.buckets.len()]
    }

    /// Adds the gradient of a row's scores.
    pub fn add_gradient(&self, gradient: &mut [f32], scores: &[f32], position: usize) {
        simd::add_assign(&mut gradient[self.back - position..][..scores.len()], scores);
    }

    /// Adds up the gradients of the distances in each bucket.
    pub fn fold(&self, gradient: &[f32], buckets: &mut [f32]) {
        buckets.fill(0.0);
        for (&bucket, gradient) in self.buckets.iter().zip(gradient) {
            buckets[bucket] += gradient;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the published function, for distances of 0, 1, 7, 8, 15, 16, 31, 32, 64, 127, 128 and 1000 in both directions.
    #[test]
    fn buckets_are_the_published_ones() {
        let distances = [0, 1, 7, 8, 15, 16, 31, 32, 64, 127, 128, 1000];
        let encoder = Buckets { num: 32, max_distance: 128, bidirectional: true };
        let decoder = Buckets { bidirectional: false, ..encoder };
        let of = |buckets: Buckets, sign: i64| distances.map(|distance| buckets.of(sign * distance));
        assert_eq!(of(encoder, -1), [0, 1, 7, 8, 9, 10, 11, 12, 14, 15, 15, 15]);
        assert_eq!(of(encoder, 1), [0, 17, 23, 24, 25, 26, 27, 28, 30, 31, 31, 31]);
        assert_eq!(of(decoder, -1), [0, 1, 7, 8, 15, 16, 21, 21, 26, 31, 31, 31]);
        assert_eq!(of(decoder, 1), [0; 12]);
    }

    #[test]
    fn sizes_that_leave_no_room_are_refused() {
        for (num, max_distance) in [(2, 128), (32, 8), (0, 0)] {
            assert!(Buckets { num, max_distance, bidirectional: true }.check().is_err());
        }
    }
}
