//! Philox 4x32-10, the counter-based generator behind all random numbers of a run (Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011).
//!
//! A number is a pure function of the run's seed, a name, and a counter made of indices, so it does not depend on threads, ranks,
//! microbatches or the order of drawing. Neighbouring names and seeds give unrelated keys.

const MULTIPLY: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The key of one named stream of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u32; 2]);

impl Key {
    /// The key of a name under a seed.
    pub fn new(seed: u64, name: &str) -> Key {
        let hash = mix(mix(seed) ^ hash(name.as_bytes()));
        Key([hash as u32, (hash >> 32) as u32])
    }

    /// Four random words at a counter.
    pub fn block(self, counter: [u32; 4]) -> [u32; 4] {
        philox(counter, self.0)
    }

    /// Four random words at a pair of 64-bit indices.
    pub fn at(self, high: u64, low: u64) -> [u32; 4] {
        self.block([low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32])
    }
}

/// Ten rounds of Philox 4x32.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(MULTIPLY[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLY[1]) * u64::from(counter[2]);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// A uniform number in [0, 1) from the upper 24 bits of a word; exact in f32.
pub fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// FNV-1a over bytes: stable over versions and machines, for keys and file splits, not for security.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// Spreads every bit of `x` over all bits of the result, one to one (the finaliser of SplitMix64).
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published known answers of Random123 for philox4x32 with ten rounds.
    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn keys_differ_by_seed_and_name() {
        let key = Key::new(1, "Gpt.table");
        assert_eq!(key, Key::new(1, "Gpt.table"));
        assert_ne!(key, Key::new(2, "Gpt.table"));
        assert_ne!(key, Key::new(1, "Gpt.tablf"));
    }

    #[test]
    fn uniform_stays_below_one() {
        assert_eq!(uniform(0), 0.0);
        assert!(uniform(u32::MAX) < 1.0);
    }
}
