//! Random choices that are the same on every platform and in every release: `ChaCha8`'s words, reduced by multiplication.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of choices.
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number below `n`, which must be at least 1. With the small `n` of a grammar, the bias is below one in 10 million.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    /// Yes or no, as a coin falls.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// One of the items.
    pub fn one<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// `N` items, no two from the same place, in random order.
    pub fn some<T: Copy, const N: usize>(&mut self, items: &[T]) -> [T; N] {
        assert!(N <= items.len(), "a word list is too short");
        let mut places: Vec<usize> = Vec::with_capacity(N);
        while places.len() < N {
            let place = self.below(items.len());
            if !places.contains(&place) {
                places.push(place);
            }
        }
        std::array::from_fn(|i| items[places[i]])
    }

    /// Two items, in random order.
    pub fn swapped<T>(&mut self, one: T, other: T) -> (T, T) {
        if self.coin() { (one, other) } else { (other, one) }
    }

    /// Puts the items into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draws_are_those_of_every_other_machine() {
        let mut draw = Draw::new(1);
        let drawn: Vec<usize> = (0..8).map(|_| draw.below(100)).collect();
        assert_eq!(drawn, DRAWN, "ChaCha8 with the key 1, 0, 0, ...");
        let mut counts = [0; 3];
        for _ in 0..3000 {
            counts[draw.below(3)] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    const DRAWN: [usize; 8] = [62, 38, 92, 29, 39, 79, 90, 91];

    #[test]
    fn several_are_never_the_same_twice() {
        let mut draw = Draw::new(2);
        for _ in 0..100 {
            let [a, b, c] = draw.some(&["a", "b", "c"]);
            assert!(a != b && b != c && a != c);
        }
    }
}
