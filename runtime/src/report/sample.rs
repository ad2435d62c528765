//! Draws tokens from logits: temperature and top-k, seeded.
//!
//! Ensures: the same seed, place and logits give the same token, on every machine; ties go to the smaller id.

use crate::error::Error;
use crate::state::Key;

/// How to draw.
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f32,
    top: Option<usize>,
    key: Key,
    order: Vec<u32>,
}

impl Sampler {
    /// `temperature` 0 always takes the most likely token; `top`: only so many of the most likely tokens count.
    pub fn new(temperature: f32, top: Option<usize>, seed: u64) -> Result<Sampler, Error> {
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(Error::Temperature { value: temperature });
        }
        if top == Some(0) {
            return Err(Error::TopK);
        }
        Ok(Sampler { temperature, top, key: Key::new(seed, "sample"), order: Vec::new() })
    }

    /// Draws the token number `place` of the text. Ids that have no text are kept out by a shorter slice.
    pub fn draw(&mut self, place: u64, logits: &[f32]) -> Result<u32, Error> {
        self.rank(logits);
        let Some(&best) = self.order.first() else { return Err(Error::Logits { entries: logits.len() }) };
        if self.temperature == 0.0 {
            return Ok(best);
        }
        let largest = f64::from(logits[best as usize]);
        let weight = |id: u32| ((f64::from(logits[id as usize]) - largest) / f64::from(self.temperature)).exp();
        let total: f64 = self.order.iter().map(|&id| weight(id)).sum();
        let [low, high, _, _] = self.key.at(0, place);
        let mut left = (u64::from(high) << 32 | u64::from(low)) as f64 / 18_446_744_073_709_551_616.0 * total;
        for &id in &self.order {
            left -= weight(id);
            if left < 0.0 {
                return Ok(id);
            }
        }
        // Rounding left a rest beyond the last one.
        Ok(best)
    }

    /// Sets `order` to the ids that count: finite logits, the top ones, the most likely first.
    fn rank(&mut self, logits: &[f32]) {
        self.order.clear();
        self.order.extend((0..logits.len() as u32).filter(|&id| logits[id as usize].is_finite()));
        let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let keep = if self.temperature == 0.0 { 1 } else { self.top.unwrap_or(usize::MAX) };
        if keep < self.order.len() {
            self.order.select_nth_unstable_by(keep - 1, better);
            self.order.truncate(keep);
        }
        self.order.sort_unstable_by(better);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(temperature: f32, top: Option<usize>, logits: &[f32]) -> Vec<f64> {
        let mut sampler = Sampler::new(temperature, top, 1).unwrap();
        let mut counts = vec![0.0; logits.len()];
        (0..20_000).for_each(|place| counts[sampler.draw(place, logits).unwrap() as usize] += 1.0 / 20_000.0);
        counts
    }

    #[test]
    fn frequencies_are_the_distribution() {
        let logits = [0.0f32, 1.0, 2.0, f32::NEG_INFINITY];
        for temperature in [0.5f32, 1.0, 2.0] {
            let weights: Vec<f64> = logits.iter().map(|x| f64::from(x / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (count, weight) in counts(temperature, None, &logits).iter().zip(&weights) {
                assert!((count - weight / total).abs() < 0.01, "{count} against {}", weight / total);
            }
        }
    }

    #[test]
    fn top_k_and_greedy() {
        let found = counts(1.0, Some(2), &[0.5, 1.0, 1.0, 1.0]);
        assert!(found[0] == 0.0 && found[3] == 0.0 && (found[1] - 0.5).abs() < 0.02, "{found:?}");
        assert_eq!(counts(1.0, Some(9), &[1.0, 1.0]).iter().filter(|count| **count > 0.4).count(), 2);
        assert_eq!(Sampler::new(0.0, None, 1).unwrap().draw(0, &[1.0, 3.0, 3.0]), Ok(1));
    }

    #[test]
    fn seeds_matter_and_nonsense_is_refused() {
        let text = |seed| {
            let mut sampler = Sampler::new(1.0, None, seed).unwrap();
            (0..50).map(|place| sampler.draw(place, &[0.0; 64]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        assert_eq!(Sampler::new(f32::NAN, None, 1).unwrap_err().code(), "sample::temperature");
        assert_eq!(Sampler::new(1.0, Some(0), 1).unwrap_err().code(), "sample::top_k");
        assert_eq!(Sampler::new(1.0, None, 1).unwrap().draw(0, &[f32::NAN; 3]).unwrap_err().code(), "sample::logits");
    }
}
