//! exp and tanh as operations of a wide loop, so that a chain around them stays in registers.
//!
//! Requires: nothing. Ensures: the bits of the routines on tiles: the algorithms and constants of [`function`], operation by operation.

use super::{Compare, Loop, Two, Value};
use crate::device::cpu::math::function;

impl Loop {
    /// Horner's rule: the sum of `coefficients[i] · x^i`.
    fn polynomial(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let [lower @ .., highest] = coefficients else { unreachable!("a polynomial has coefficients") };
        let highest = self.constant(*highest);
        lower.iter().rev().fold(highest, |sum, coefficient| {
            let coefficient = self.constant(*coefficient);
            self.fused(sum, x, coefficient)
        })
    }

    /// e^x. The routine multiplies by two factors of 2^n, of which the first product is exact; one scaling rounds the same way.
    pub(crate) fn exp(&mut self, x: Value) -> Value {
        let [least, most] = function::EXP_RANGE.map(|bound| self.constant(bound));
        let x = self.two(Two::Min, most, x);
        let x = self.two(Two::Max, least, x);
        let (scale, round) = (self.constant(std::f32::consts::LOG2_E), self.constant(function::ROUND));
        let shifted = self.fused(x, scale, round);
        let whole = self.two(Two::Sub, shifted, round);
        let (high, low) = (self.constant(function::LN2_HIGH), self.constant(function::LN2_LOW));
        let r = self.fused_from(x, whole, high);
        let r = self.fused_from(r, whole, low);
        let tail = self.polynomial(r, &function::EXP_TAIL);
        let square = self.two(Two::Mul, r, r);
        let value = self.fused(square, tail, r);
        let one = self.constant(1.0);
        let value = self.two(Two::Add, value, one);
        self.two(Two::Scale, value, whole)
    }

    pub(crate) fn tanh(&mut self, x: Value) -> Value {
        let (size_bits, end, one) = (self.bits(i32::MAX as u32), self.constant(function::TANH_END), self.constant(1.0));
        let size = self.two(Two::And, x, size_bits);
        let beyond = self.compare(true, Compare::Lt, end, size);
        let size = self.two(Two::Min, end, size);
        let z = self.two(Two::Mul, size, size);
        let above = self.polynomial(z, &function::TANH_ABOVE);
        let below = self.polynomial(z, &function::TANH_BELOW);
        let above = self.two(Two::Mul, size, above);
        let value = self.quotient(above, below);
        let value = self.two(Two::Min, one, value);
        let value = self.choose(beyond, one, value);
        self.choose(size_bits, value, x)
    }

    /// a / b as the routines compute it.
    fn quotient(&mut self, a: Value, b: Value) -> Value {
        let (magic, one) = (self.bits(function::RECIPROCAL), self.constant(1.0));
        let guess = self.two(Two::SubInt, magic, b);
        let miss = self.fused_from(one, b, guess);
        let step = self.fused(miss, miss, miss);
        let guess = self.fused(guess, step, guess);
        let miss = self.fused_from(one, b, guess);
        let guess = self.fused(guess, miss, guess);
        let ratio = self.two(Two::Mul, a, guess);
        let rest = self.fused_from(a, b, ratio);
        self.fused(rest, guess, ratio)
    }
}
