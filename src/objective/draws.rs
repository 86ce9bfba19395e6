//! Random draws, from whichever generator: ours, or in tests that of the official code.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// What the objectives draw.
pub trait Draws {
    /// A whole number below `n`, which is at least 1; all are equally likely.
    fn below(&mut self, n: usize) -> usize;

    /// A number from 0 to below 1.
    fn unit(&mut self) -> f64;
}

impl Draws for ChaCha8Rng {
    fn below(&mut self, n: usize) -> usize {
        // As `u64`, so that 32-bit machines draw the same.
        self.random_range(0..n as u64) as usize
    }

    fn unit(&mut self) -> f64 {
        self.random()
    }
}

/// Shuffles in place, from the last item on.
pub fn shuffle<T>(items: &mut [T], draws: &mut dyn Draws) {
    for i in (1..items.len()).rev() {
        items.swap(i, draws.below(i + 1));
    }
}
