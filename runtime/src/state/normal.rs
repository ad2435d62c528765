//! Standard normal numbers by Box and Muller ("A note on the generation of random normal deviates", 1958), in f64.
//!
//! The logarithm, sine and cosine are our own series: only sums, products, quotients and roots, which IEEE 754 rounds the same way
//! everywhere, so a seed gives the same bits on every machine, whatever its mathematics library. Errors are below 4e-15.

use std::f64::consts::{FRAC_PI_2, LN_2};

/// Two independent standard normal numbers from two words; at most 6.7 in magnitude.
#[inline]
pub fn normal(a: u32, b: u32) -> [f64; 2] {
    let radius = (-2.0 * ln_fraction(a)).sqrt();
    let [cos, sin] = turn(b);
    [radius * cos, radius * sin]
}

/// ln((a + 1) / 2³²), which is at most 0.
#[inline]
fn ln_fraction(a: u32) -> f64 {
    let bits = (f64::from(a) + 1.0).to_bits();
    // The value is mantissa · 2^exponent with a mantissa in [1, 2); above √2 it is halved, so that its logarithm is near 0.
    let mantissa = f64::from_bits(bits & 0x000F_FFFF_FFFF_FFFF | 1023 << 52);
    let high = mantissa > std::f64::consts::SQRT_2;
    let (mantissa, exponent) = (if high { 0.5 * mantissa } else { mantissa }, (bits >> 52) as i32 - 1023 + i32::from(high));
    // ln m = 2 artanh s = 2 (s + s³/3 + s⁵/5 + …), |s| ≤ 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0].iter().fold(1.0 / 21.0, |sum, n| sum * square + 1.0 / n);
    f64::from(exponent - 32) * LN_2 + 2.0 * s * (1.0 + square * series)
}

/// Cosine and sine of 2π·b / 2³².
#[inline]
fn turn(b: u32) -> [f64; 2] {
    // The nearest quarter of the circle, and what is left: an eighth at most, either way.
    let quarter = b.wrapping_add(1 << 29) >> 30;
    let rest = b.wrapping_sub(quarter << 30) as i32;
    let t = f64::from(rest) * (FRAC_PI_2 / 1_073_741_824.0);
    let square = t * t;
    // 1 - t²/2 (1 - t²/12 (1 - …)) and t (1 - t²/6 (1 - t²/20 (1 - …))), to t¹⁶ and t¹⁷.
    let cos = [210.0, 156.0, 110.0, 72.0, 42.0, 20.0, 6.0];
    let sin = cos.iter().fold(1.0 - square * (1.0 / 272.0), |sum, n| 1.0 - sum * square * (1.0 / n)) * t;
    let cos =
        [182.0, 132.0, 90.0, 56.0, 30.0, 12.0, 2.0].iter().fold(1.0 - square * (1.0 / 240.0), |sum, n| 1.0 - sum * square * (1.0 / n));
    let (x, y) = if quarter & 1 == 0 { (cos, sin) } else { (-sin, cos) };
    if quarter & 2 == 0 { [x, y] } else { [-x, -y] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Key;

    fn words() -> impl Iterator<Item = u32> {
        let edges = [0, 1, 2, u32::MAX, u32::MAX - 1, 1 << 29, (1 << 29) - 1, 1 << 30, 3 << 29, 1 << 31, (1 << 31) - 1];
        edges.into_iter().chain((0..20_000).map(|i| Key::new(1, "words").at(0, i)[0]))
    }

    #[test]
    fn series_agree_with_the_library() {
        for word in words() {
            let expected = ((f64::from(word) + 1.0) / 4_294_967_296.0).ln();
            assert!((ln_fraction(word) - expected).abs() <= 4e-15 * expected.abs(), "{word}");
            let angle = std::f64::consts::TAU * (f64::from(word) / 4_294_967_296.0);
            let [cos, sin] = turn(word);
            assert!((cos - angle.cos()).abs() < 4e-15 && (sin - angle.sin()).abs() < 4e-15, "{word}");
        }
        assert_eq!((ln_fraction(u32::MAX), turn(0), turn(1 << 30)[1]), (0.0, [1.0, 0.0], 1.0));
    }

    /// Bits must not move: who trains again with an old seed gets the old weights.
    #[test]
    fn bits_stay() {
        let draws = normal(0x1234_5678, 0x9ABC_DEF0).map(|x| x as f32);
        assert_eq!(draws, [-1.8217535, -1.402939], "{draws:?}");
    }

    #[test]
    fn the_moments_are_normal() {
        let key = Key::new(7, "moments");
        let pair = |i| {
            let [a, b, c, d] = key.at(0, i);
            [normal(a, b), normal(c, d)]
        };
        let draws: Vec<f64> = (0..50_000).flat_map(pair).flatten().collect();
        let mean = |power: i32| draws.iter().map(|x| x.powi(power)).sum::<f64>() / draws.len() as f64;
        assert!(mean(1).abs() < 0.01 && (mean(2) - 1.0).abs() < 0.01, "{} {}", mean(1), mean(2));
        assert!(mean(3).abs() < 0.03 && (mean(4) - 3.0).abs() < 0.06, "{} {}", mean(3), mean(4));
    }
}
