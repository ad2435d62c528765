//! The functions of one element, without branches, so that a loop over them becomes vector code on every instruction set.
//!
//! Requires: nothing. Ensures: the bounds that the module above states. Every product that meets a sum is a fused multiply-add written out,
//! because the bits must not depend on what a compiler contracts;
//! integer sums wrap, because a check for overflow is a branch. The polynomials are minimax fits of our own over the named intervals,
//! their coefficients rounded to f32 one after the other.

use std::f32::consts::LOG2_E;

/// Adding and subtracting it rounds to an integer, which then stands in the low bits of the sum (for |x| < 2²²).
pub(in crate::device::cpu) const ROUND: f32 = 12_582_912.0;
/// The same for f64 (|x| < 2⁵¹).
const ROUND64: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts; the product of an exponent and the first one is exact.
pub(in crate::device::cpu) const LN2_HIGH: f32 = 0.693_115_23;
pub(in crate::device::cpu) const LN2_LOW: f32 = 3.194_618_3e-5;
/// π/2 in two parts.
const HALF_PI_HIGH: f64 = std::f64::consts::FRAC_PI_2;
const HALF_PI_LOW: f64 = 6.123_233_995_736_766e-17;
/// Beyond this angle the reduction to a quarter turn loses its accuracy.
const LARGEST_ANGLE: f32 = 281_474_976_710_656.0;

/// Beyond these exponents e^x is infinite, or zero.
pub(in crate::device::cpu) const EXP_RANGE: [f32; 2] = [-104.0, 89.0];
/// (e^r - 1 - r) / r².
pub(in crate::device::cpu) const EXP_TAIL: [f32; 5] = [4.999_999_4e-1, 1.666_652e-1, 4.166_824e-2, 8.368_824e-3, 1.382_317_9e-3];
/// Beyond it tanh rounds to 1.
pub(in crate::device::cpu) const TANH_END: f32 = 9.0;
/// The numerator of tanh x / x in powers of x².
pub(in crate::device::cpu) const TANH_ABOVE: [f32; 6] =
    [1.0, 1.368_090_7e-1, 3.869_567_3e-3, 2.803_226_2e-5, 3.064_388_6e-8, -1.224_646_6e-11];
/// Its denominator.
pub(in crate::device::cpu) const TANH_BELOW: [f32; 5] = [1.0, 4.701_424e-1, 2.725_038_5e-2, 3.940_809e-4, 1.289_089e-6];
/// A number's bits subtracted from these approximate its reciprocal to 12 %.
pub(in crate::device::cpu) const RECIPROCAL: u32 = 0x7ef3_11c3;

/// Horner's rule: the sum of `coefficients[i] · x^i`.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        sum = sum.mul_add(x, coefficients[i]);
    }
    sum
}

/// The same in f64.
#[inline(always)]
fn polynomial64<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    let mut sum = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        sum = sum.mul_add(x, coefficients[i]);
    }
    sum
}

/// 2 to the n for -126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// e^x = 2^n · e^r with |r| ≤ ln 2 / 2.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Written so that NaN passes both comparisons.
    let x = if x > EXP_RANGE[1] { EXP_RANGE[1] } else { x };
    let x = if x < EXP_RANGE[0] { EXP_RANGE[0] } else { x };
    let shifted = x.mul_add(LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let r = whole.mul_add(-LN2_LOW, whole.mul_add(-LN2_HIGH, x));
    let tail = polynomial(r, EXP_TAIL);
    let value = (r * r).mul_add(tail, r) + 1.0;
    // Two factors, since 2^n itself may overflow or be subnormal where the result is neither.
    let half = n >> 1;
    value * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// log x = e · ln 2 + log(1 + f) with √½ ≤ 1 + f < √2.
#[inline(always)]
pub(super) fn log(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let extra = if subnormal { -23.0 } else { 0.0 };
    let bits = scaled.to_bits() as i32;
    let exponent = bits.wrapping_sub(0x3f35_04f3) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(exponent << 23) as u32) - 1.0;
    let e = exponent as f32 + extra;
    let tail = polynomial(
        f,
        [3.333_333e-1, -2.500_082_3e-1, 2.000_123_7e-1, -1.662_331_4e-1, 1.420_172_6e-1, -1.316_067_1e-1, 1.276_115_9e-1, -7.632_017e-2],
    );
    let square = f * f;
    let small = square.mul_add(f * tail, e.mul_add(LN2_LOW, -0.5 * square));
    let value = e.mul_add(LN2_HIGH, f + small);
    let value = if x == f32::INFINITY { f32::INFINITY } else { value };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    // Negative numbers and NaN.
    if x >= 0.0 { value } else { f32::NAN }
}

/// a / b for 2⁻¹⁰⁰ < b < 2¹⁰⁰, to about one unit of the last place: hardware divides wide vectors slowly.
///
/// After the subtraction of bits a step of third order, one of second order and a correction follow.
#[inline(always)]
fn quotient(a: f32, b: f32) -> f32 {
    let guess = f32::from_bits(RECIPROCAL.wrapping_sub(b.to_bits()));
    let miss = (-b).mul_add(guess, 1.0);
    let guess = guess.mul_add(miss.mul_add(miss, miss), guess);
    let guess = guess.mul_add((-b).mul_add(guess, 1.0), guess);
    let ratio = a * guess;
    (-b).mul_add(ratio, a).mul_add(guess, ratio)
}

/// x · P(x²) / Q(x²) up to 9, beyond which the result rounds to 1.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let size = if size > TANH_END { TANH_END } else { size };
    let z = size * size;
    let above = polynomial(z, TANH_ABOVE);
    let below = polynomial(z, TANH_BELOW);
    let value = quotient(size * above, below);
    let value = if value > 1.0 || x.abs() > TANH_END { 1.0 } else { value };
    value.copysign(x)
}

/// x · P(x²) near zero, 1 − e^(−Q(|x|)) elsewhere, where Q = −log erfc.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let size = x.abs();
    let z = x * x;
    let tail = polynomial(z, [1.283_791_5e-1, -3.761_249_8e-1, 1.128_182_7e-1, -2.676_623_1e-2, 4.991_762e-3, -5.980_214e-4]);
    let near = tail.mul_add(x, x).copysign(x);
    let bounded = if size > 4.0 { 4.0 } else { size };
    let exponent = polynomial(
        bounded,
        [
            -1.605_439_9e-4,
            1.129_435,
            6.335_413_5e-1,
            1.080_15e-1,
            -2.489_787_2e-2,
            4.054_908_6e-3,
            -3.971_803_2e-4,
            1.440_017e-5,
            5.147_392e-7,
        ],
    );
    let far = (1.0 - exp(-exponent)).copysign(x);
    if size < 0.925 { near } else { far }
}

/// The angle less the nearest number of quarter turns, and that number's last two bits.
///
/// The first product's difference is exact: both sides are multiples of 2⁻⁵² and it is below one.
#[inline(always)]
fn quarter(x: f32) -> (f32, u32) {
    let wide = f64::from(x);
    let shifted = wide.mul_add(std::f64::consts::FRAC_2_PI, ROUND64);
    let turns = shifted - ROUND64;
    let rest = turns.mul_add(-HALF_PI_LOW, turns.mul_add(-HALF_PI_HIGH, wide));
    let rest = if x.abs() <= LARGEST_ANGLE { rest } else { f64::NAN };
    (rest as f32, shifted.to_bits() as u32)
}

/// Sine or cosine of `rest`, with a sign, by the number of quarter turns.
#[inline(always)]
fn wave(rest: f32, turns: u32) -> f32 {
    let z = rest * rest;
    let odd = (z * polynomial(z, [-1.666_666_7e-1, 8.333_379e-3, -1.985_306_7e-4, 2.832_628e-6])).mul_add(rest, rest).copysign(rest);
    let even = (z * z).mul_add(polynomial(z, [4.166_664_6e-2, -1.388_731_1e-3, 2.443_255_7e-5]), z.mul_add(-0.5, 1.0));
    let value = if turns & 1 == 0 { odd } else { even };
    f32::from_bits(value.to_bits() ^ ((turns & 2) << 30))
}

/// Sine; the sign of a zero is kept.
#[inline(always)]
pub(super) fn sin(x: f32) -> f32 {
    let (rest, turns) = quarter(x);
    wave(rest, turns)
}

/// Cosine, as the sine of one quarter turn more.
#[inline(always)]
pub(super) fn cos(x: f32) -> f32 {
    let (rest, turns) = quarter(x);
    wave(rest, turns.wrapping_add(1))
}

/// The binary logarithm of a positive finite number in f64, with an error below 2⁻³⁶ relative to it: 2·atanh((m − 1) / (m + 1)) / ln 2.
#[inline(always)]
fn log2_wide(x: f32) -> f64 {
    let bits = f64::from(x).to_bits() as i64;
    let exponent = bits.wrapping_sub(0x3fe6_a09e_667f_3bcd) >> 52;
    let m = f64::from_bits(bits.wrapping_sub(exponent << 52) as u64);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = polynomial64(z, [1.0, 1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0]);
    // The exponent is below 2¹¹, so the trick with the rounding constant converts it exactly.
    let e = f64::from_bits(exponent.wrapping_add(ROUND64.to_bits() as i64) as u64) - ROUND64;
    (s * series).mul_add(2.0 * std::f64::consts::LOG2_E, e)
}

/// 2^x in f64 for |x| ≤ 1000.
#[inline(always)]
fn exp2_wide(x: f64) -> f64 {
    let shifted = x + ROUND64;
    let r = x - (shifted - ROUND64);
    let n = (shifted.to_bits() as i64).wrapping_sub(ROUND64.to_bits() as i64);
    let value = polynomial64(
        r,
        [
            1.000_000_000_000_012_7,
            0.693_147_180_559_870_9,
            0.240_226_506_956_496_64,
            0.055_504_108_668_688_15,
            0.009_618_129_192_064_959,
            0.001_333_355_761_723_434_8,
            0.000_154_034_349_495_403_2,
            1.525_298_503_765_357_4e-5,
            1.325_940_531_497_281_7e-6,
            1.015_030_111_161_162e-7,
        ],
    );
    value * f64::from_bits((n.wrapping_add(1023) << 52) as u64)
}

/// x^y through f64 logarithm and exponential; negative bases with integer exponents as in IEEE 754.
#[inline(always)]
pub(super) fn pow(x: f32, y: f32) -> f32 {
    let size = x.abs();
    let ordinary = if size > 0.0 && size < f32::INFINITY { size } else { 1.0 };
    let exponent = f64::from(y) * log2_wide(ordinary);
    let exponent = if exponent > 1000.0 { 1000.0 } else { exponent };
    let exponent = if exponent < -1000.0 { -1000.0 } else { exponent };
    let finite = exp2_wide(exponent) as f32;
    // Zero and infinity: the power is zero or infinite by the sign of y.
    let grows = (size == 0.0) == (y < 0.0);
    let extreme = if grows { f32::INFINITY } else { 0.0 };
    let value = if size == 0.0 || size == f32::INFINITY { extreme } else { finite };
    let half = 0.5 * y;
    let integer = y.trunc() == y;
    let odd = integer && half.trunc() != half;
    let negative = x.to_bits() >> 31 == 1;
    let value = if negative && odd { -value } else { value };
    let value = if x < 0.0 && size < f32::INFINITY && !integer { f32::NAN } else { value };
    let value = if x.is_nan() || y.is_nan() { f32::NAN } else { value };
    let one = y == 0.0 || x == 1.0 || (x == -1.0 && y.abs() == f32::INFINITY);
    if one { 1.0 } else { value }
}
