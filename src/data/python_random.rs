//! Python's random numbers, where a published sample depends on them: the Mersenne Twister (MT19937) of
//! `random.Random(seed)` and the shuffle drawn from it.
//!
//! Source: M. Matsumoto and T. Nishimura, "Mersenne Twister", 1998 (its reference initialisation by an array);
//! `CPython` documents `random.shuffle` as reproducible for a seed.

const N: usize = 624;
const M: usize = 397;

/// Draws what Python's `random.Random(seed)` draws.
#[derive(Clone, Debug)]
pub struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    /// The generator with this seed.
    pub fn new(seed: u32) -> Self {
        Self::from_key(&[seed])
    }

    /// The generator with a seed of several numbers, as numpy's `RandomState` takes it.
    pub fn from_key(key: &[u32]) -> Self {
        let mut state = [0_u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            let previous = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = previous.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        let mut advance = |state: &mut [u32; N], factor: u32, add: &dyn Fn(usize) -> u32| {
            let previous = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = (state[i] ^ previous.wrapping_mul(factor)).wrapping_add(add(i));
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        };
        for step in 0..N.max(key.len()) {
            let j = step % key.len().max(1);
            let add = key.get(j).copied().unwrap_or(0).wrapping_add(j as u32);
            advance(&mut state, 1_664_525, &|_| add);
        }
        for _ in 1..N {
            advance(&mut state, 1_566_083_941, &|i| (i as u32).wrapping_neg());
        }
        state[0] = 0x8000_0000;
        Self { state, next: N }
    }

    /// The next 32 bits.
    pub fn bits(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A whole number below `n`, which must be at least 1: bits are drawn until they are below it.
    pub fn below(&mut self, n: u32) -> u32 {
        let num_bits = u32::BITS - n.leading_zeros();
        loop {
            let drawn = self.bits() >> (u32::BITS - num_bits);
            if drawn < n {
                return drawn;
            }
        }
    }

    /// A number from 0 to below 1, as `random.random()` draws it.
    pub fn unit(&mut self) -> f64 {
        let (high, low) = (f64::from(self.bits() >> 5), f64::from(self.bits() >> 6));
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// Shuffles in place as `random.shuffle` does.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_0_shuffles_0_to_11_as_python_does() {
        // After the draws that precede it in the recorded stream, the order is that of CPython 3.
        let mut random = PythonRandom::new(0);
        assert_eq!(random.bits(), 3_626_764_237, "random.Random(0).getrandbits(32)");
        let mut items: Vec<u32> = (0..10).collect();
        PythonRandom::new(42).shuffle(&mut items);
        assert_eq!(items, [7, 3, 2, 8, 5, 6, 9, 4, 0, 1], "random.Random(42).shuffle(list(range(10)))");
    }
}
