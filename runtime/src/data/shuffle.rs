//! Which row comes when: a permutation computed entry by entry, so that shuffling needs no memory and any position can be resumed.
//!
//! A Feistel network over Philox permutes the numbers below a power of four; entries beyond the length are walked on from until one
//! falls inside (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002), which keeps it a permutation.

use crate::state::Key;

const ROUNDS: u32 = 6;

/// A permutation of `0 .. len`, chosen by a key and a number (the epoch).
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    key: Key,
    epoch: u64,
    len: u64,
    half: u32,
}

impl Permutation {
    /// The permutation; `len` must not be 0.
    pub fn new(key: Key, epoch: u64, len: u64) -> Permutation {
        let bits = u64::BITS - (len - 1).leading_zeros();
        Permutation { key, epoch, len, half: bits.div_ceil(2).max(1) }
    }

    /// Where entry `index` (below the length) goes.
    pub fn at(&self, index: u64) -> u64 {
        let mut value = self.scramble(index);
        while value >= self.len {
            value = self.scramble(value);
        }
        value
    }

    fn scramble(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half, value & mask);
        for round in 0..ROUNDS {
            let word = self.key.block([right as u32, round, self.epoch as u32, (self.epoch >> 32) as u32])[0];
            (left, right) = (right, left ^ (u64::from(word) & mask));
        }
        left << self.half | right
    }
}

/// How far a run is in its data; everything that is needed to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// How often all rows have been seen.
    pub epoch: u64,
    /// The next row within the epoch.
    pub index: u64,
}

impl Position {
    /// The position of the row number `row` of a run, with so many rows in an epoch.
    pub fn of(row: u64, rows: u64) -> Position {
        Position { epoch: row / rows, index: row % rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_once() {
        for len in [1, 2, 3, 4, 5, 15, 16, 17, 100, 1000, 4097] {
            for epoch in 0..3 {
                let permutation = Permutation::new(Key::new(1, "test"), epoch, len);
                let mut seen: Vec<u64> = (0..len).map(|i| permutation.at(i)).collect();
                if len == 1000 {
                    let fixed = seen.iter().enumerate().filter(|(i, value)| *i as u64 == **value).count();
                    assert!(fixed < 10, "{fixed} entries stay in place");
                }
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..len), "{len}");
            }
        }
    }

    #[test]
    fn epochs_and_keys_differ() {
        let list = |seed, epoch| {
            let permutation = Permutation::new(Key::new(seed, "test"), epoch, 64);
            (0..64).map(|i| permutation.at(i)).collect::<Vec<_>>()
        };
        assert_eq!(list(1, 0), list(1, 0));
        assert_ne!(list(1, 0), list(1, 1));
        assert_ne!(list(1, 0), list(2, 0));
    }

    #[test]
    fn neighbours_are_torn_apart() {
        let permutation = Permutation::new(Key::new(3, "test"), 0, 10_000);
        let steps: f64 = (1..10_000).map(|i| permutation.at(i).abs_diff(permutation.at(i - 1)) as f64).sum::<f64>() / 9999.0;
        // Two uniform draws from 0 .. n differ by n/3 on average.
        assert!((steps - 3333.0).abs() < 150.0, "{steps}");
    }
}
