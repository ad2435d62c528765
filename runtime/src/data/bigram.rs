//! The byte-bigram model: the yardstick printed beside the validation loss of byte-level runs.
//!
//! Interpolated with single bytes by Witten and Bell's rule ("The zero-frequency problem", IEEE Trans. Inf. Theory 1991), which has no
//! parameter to tune: after a byte that was seen n times with d different successors, p(b) = (count(b) + d·p₁(b)) / (n + d).

use super::stream::Stream;

/// Mean −ln p of the bytes of `validation` (from the second on) under the bigram model of `train`, in nats a byte. Tokens must be below
/// 256; `None` if `validation` has fewer than two.
pub fn bigram_nats(train: &Stream, validation: &Stream) -> Option<f64> {
    let model = Bigram::new(train);
    let (mut sum, mut previous) = (0.0, None);
    validation.visit(0, validation.len() as usize, |byte| {
        if let Some(before) = previous {
            sum -= model.probability(before, byte as usize).ln();
        }
        previous = Some(byte as usize);
    });
    let pairs = validation.len().checked_sub(1).filter(|pairs| *pairs > 0)?;
    Some(sum / pairs as f64)
}

struct Bigram {
    pairs: Vec<[u64; 256]>,
    single: [f64; 256],
    seen: Vec<(f64, f64)>,
}

impl Bigram {
    fn new(train: &Stream) -> Bigram {
        let mut pairs = vec![[0u64; 256]; 256];
        let mut counts = [0u64; 256];
        let mut previous = None;
        train.visit(0, train.len() as usize, |byte| {
            counts[byte as usize] += 1;
            if let Some(before) = previous.replace(byte as usize) {
                pairs[before][byte as usize] += 1;
            }
        });
        let single = counts.map(|count| (count as f64 + 1.0) / (train.len() as f64 + 256.0));
        let seen =
            pairs.iter().map(|row| (row.iter().sum::<u64>() as f64, row.iter().filter(|count| **count > 0).count() as f64)).collect();
        Bigram { pairs, single, seen }
    }

    fn probability(&self, before: usize, byte: usize) -> f64 {
        let (count, different) = self.seen[before];
        if count == 0.0 {
            return self.single[byte];
        }
        (self.pairs[before][byte] as f64 + different * self.single[byte]) / (count + different)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Store;
    use super::*;
    use std::sync::Arc;

    fn stream(bytes: &[u8]) -> Stream {
        Stream::new([Arc::new(Store::Bytes(bytes.to_vec()))])
    }

    #[test]
    fn probabilities_sum_to_one() {
        let model = Bigram::new(&stream(b"abracadabra, said the cat"));
        for before in [b'a', b'c', b'z'] {
            let sum: f64 = (0..256).map(|byte| model.probability(before.into(), byte)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
    }

    #[test]
    fn certain_text_costs_little_and_noise_costs_all() {
        let regular = stream(&b"ab".repeat(5000));
        assert!(bigram_nats(&regular, &stream(&b"ab".repeat(100))).unwrap() < 0.001);
        let noise: Vec<u8> = (0..200_000u64).map(|i| crate::state::philox::mix(i) as u8).collect();
        let nats = bigram_nats(&stream(&noise), &stream(&noise[..5000])).unwrap();
        assert!((nats - 256f64.ln()).abs() < 0.3, "{nats}");
        assert_eq!(bigram_nats(&regular, &stream(b"a")), None);
    }

    /// By hand: after "aab" the byte a was followed once by a and once by b (n = 2, d = 2); p₁(a) = 3/259, p₁(b) = 2/259.
    #[test]
    fn by_hand() {
        let model = Bigram::new(&stream(b"aab"));
        let expected = (1.0 + 2.0 * 2.0 / 259.0) / 4.0;
        assert!((model.probability(b'a'.into(), b'b'.into()) - expected).abs() < 1e-15);
    }
}
