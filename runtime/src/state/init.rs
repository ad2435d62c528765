//! Initial weights: each element is a pure function of the run's seed, the weight's stable name and the element's global index, so any
//! sharding, thread count or order gives the same weights.

use super::normal::normal;
use super::philox::{Key, uniform};
use meshwright_plan::Init;

/// Fills `out` with the elements `start ..` of the weight `name`. Pieces may be filled in any order and by any thread.
pub fn fill(seed: u64, name: &str, init: Init, start: u64, out: &mut [f32]) {
    let key = Key::new(seed, name);
    match init {
        Init::Constant(value) => out.fill(value),
        Init::Normal(deviation) => fill_normal(key, deviation.into(), start, out),
        Init::Uniform(bound) => fill_uniform(key, bound.into(), start, out),
    }
}

/// Calls `draw` once for each block of four elements that meets the range, and places its results.
fn fill_blocks(start: u64, out: &mut [f32], draw: impl Fn(u64) -> [f32; 4]) {
    let head = (start.wrapping_neg() % 4).min(out.len() as u64) as usize;
    let (head, rest) = out.split_at_mut(head);
    if !head.is_empty() {
        let skip = (start % 4) as usize;
        head.copy_from_slice(&draw(start / 4)[skip..skip + head.len()]);
    }
    let first = start.div_ceil(4);
    let (whole, tail) = rest.as_chunks_mut::<4>();
    for (block, out) in (first..).zip(whole.iter_mut()) {
        *out = draw(block);
    }
    if !tail.is_empty() {
        tail.copy_from_slice(&draw(first + whole.len() as u64)[..tail.len()]);
    }
}

fn fill_normal(key: Key, deviation: f64, start: u64, out: &mut [f32]) {
    fill_blocks(start, out, |block| {
        let [a, b, c, d] = key.at(0, block);
        let ([p, q], [r, s]) = (normal(a, b), normal(c, d));
        [p, q, r, s].map(|x| (x * deviation) as f32)
    });
}

fn fill_uniform(key: Key, bound: f64, start: u64, out: &mut [f32]) {
    fill_blocks(start, out, |block| key.at(0, block).map(|word| ((2.0 * f64::from(uniform(word)) - 1.0) * bound) as f32));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Init; 3] = [Init::Constant(0.5), Init::Normal(0.02), Init::Uniform(0.1)];

    #[test]
    fn pieces_equal_the_whole() {
        for init in ALL {
            let mut whole = vec![0.0; 103];
            fill(5, "M.w", init, 0, &mut whole);
            for cuts in [[1, 2, 50], [4, 63, 100], [3, 3, 102]] {
                let mut pieces = vec![0.0; 103];
                let bounds = [0, cuts[0], cuts[1], cuts[2], 103];
                for pair in bounds.windows(2) {
                    fill(5, "M.w", init, pair[0] as u64, &mut pieces[pair[0]..pair[1]]);
                }
                assert_eq!(whole, pieces, "{init:?}");
            }
        }
    }

    #[test]
    fn names_and_seeds_matter() {
        let draw = |seed, name| {
            let mut out = vec![0.0; 16];
            fill(seed, name, Init::Normal(1.0), 0, &mut out);
            out
        };
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn spreads_are_as_declared() {
        let deviation = |init| {
            let mut out = vec![0.0f32; 200_000];
            fill(1, "w", init, 0, &mut out);
            (out.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / out.len() as f64).sqrt()
        };
        assert!((deviation(Init::Normal(0.02)) - 0.02).abs() < 2e-4);
        assert!((deviation(Init::Uniform(0.3)) - 0.3 / 3f64.sqrt()).abs() < 2e-3);
    }
}
