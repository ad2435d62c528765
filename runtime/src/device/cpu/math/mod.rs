//! Vector mathematics on tiles of f32 that lie in the first-level cache.
//!
//! Requires: tiles are contiguous; a machine-code kernel calls a routine through [`Function::routine`] with a pointer and a length.
//! Ensures: one branch-free algorithm per function ([`function`]), written once and compiled for each instruction set, with fused
//! multiply-adds, so all instruction sets give equal bits and neither tile length nor position in the tile matters.
//!
//! Error bounds, in units of the last place of the exact result (measured over all exponents by the tests):
//! exp, log, sin, cos, erf 2; tanh 6; pow 1. sin and cos hold for |x| ≤ 2⁴⁸ and give NaN beyond. Results below 2⁻¹²⁶ of exp and pow
//! are rounded twice. Infinities, NaN, zeros and subnormal arguments give what IEEE 754 recommends.

pub(super) mod function;
mod row;
#[cfg(test)]
mod tests;

use super::isa::Isa;

/// Elements per tile that kernels should pass: two such tiles and their operands fit into any first-level cache.
pub const TILE: usize = 512;

/// A routine that replaces each of `n` elements at `data` by its function value.
pub type Unary = unsafe extern "C" fn(data: *mut f32, n: usize);

/// A routine that replaces each of `n` elements at `data` by a function of it and its partner at `other` (no overlap).
pub type Binary = unsafe extern "C" fn(data: *mut f32, other: *const f32, n: usize);

/// One routine in the module it is expanded in, with the attributes of that module's instruction set.
macro_rules! routine {
    ([$(#[$attribute:meta])*] unary $name:ident) => {
        $(#[$attribute])*
        pub(super) unsafe extern "C" fn $name(data: *mut f32, n: usize) {
            // SAFETY: the caller owns `n` elements at `data`.
            let data = unsafe { std::slice::from_raw_parts_mut(data, n) };
            for x in data {
                *x = function::$name(*x);
            }
        }
    };
    ([$(#[$attribute:meta])*] binary $name:ident) => {
        $(#[$attribute])*
        pub(super) unsafe extern "C" fn $name(data: *mut f32, other: *const f32, n: usize) {
            // SAFETY: the caller owns `n` elements at `data` and shares `n` others at `other`.
            let (data, other) = unsafe { (std::slice::from_raw_parts_mut(data, n), std::slice::from_raw_parts(other, n)) };
            for (x, y) in data.iter_mut().zip(other) {
                *x = function::$name(*x, *y);
            }
        }
    };
}

/// The two routines on rows of attention scores.
macro_rules! row_routines {
    ([$(#[$attribute:meta])*]) => {
        $(#[$attribute])*
        pub(super) unsafe extern "C" fn soften(row: *mut f32, n: usize, most_and_sum: *mut [f32; 2]) {
            // SAFETY: the caller owns `n` elements at `row` and the two results.
            unsafe { *most_and_sum = row::soften(std::slice::from_raw_parts_mut(row, n)) };
        }

        $(#[$attribute])*
        pub(super) unsafe extern "C" fn soften_grad(scores: *mut f32, grads: *mut f32, n: usize, lse: f32, delta: f32) {
            // SAFETY: the caller owns `n` elements at each of the two places, which do not overlap.
            let (scores, grads) = unsafe { (std::slice::from_raw_parts_mut(scores, n), std::slice::from_raw_parts_mut(grads, n)) };
            row::soften_grad(scores, grads, lse, delta);
        }
    };
}

/// All routines, compiled for one instruction set.
macro_rules! compile_for {
    ($module:ident, $attributes:tt) => {
        mod $module {
            use super::{function, row};
            row_routines!($attributes);
            routine!($attributes unary exp);
            routine!($attributes unary log);
            routine!($attributes unary tanh);
            routine!($attributes unary sin);
            routine!($attributes unary cos);
            routine!($attributes unary erf);
            routine!($attributes binary pow);
        }
    };
}

compile_for!(portable, []);
#[cfg(target_arch = "x86_64")]
compile_for!(avx2, [#[target_feature(enable = "avx2,fma")]]);
#[cfg(target_arch = "x86_64")]
compile_for!(avx512, [#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512cd")]]);

/// A function of one argument that runs as a routine on tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// e to the x.
    Exp,
    /// Natural logarithm.
    Log,
    /// Hyperbolic tangent.
    Tanh,
    /// Sine of an angle in radians.
    Sin,
    /// Cosine of an angle in radians.
    Cos,
    /// Gauss error function.
    Erf,
}

/// Replaces a row of scores by `e^(score - most)`; gives the largest score and the sum of the row. An empty row gives -inf and 0.
pub type Soften = unsafe extern "C" fn(row: *mut f32, n: usize, most_and_sum: *mut [f32; 2]);

/// Replaces scores by probabilities `p = e^(score - lse)`, and the gradients of the probabilities by those of the scores, `p * (grad - delta)`.
pub type SoftenGrad = unsafe extern "C" fn(scores: *mut f32, grads: *mut f32, n: usize, lse: f32, delta: f32);

macro_rules! pick {
    ($isa:expr, $name:ident) => {
        match $isa {
            Isa::Portable => portable::$name,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::$name,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::$name,
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => portable::$name,
        }
    };
}

impl Function {
    /// The routine for an instruction set that this machine has.
    #[must_use]
    pub fn routine(self, isa: Isa) -> Unary {
        match self {
            Function::Exp => pick!(isa, exp),
            Function::Log => pick!(isa, log),
            Function::Tanh => pick!(isa, tanh),
            Function::Sin => pick!(isa, sin),
            Function::Cos => pick!(isa, cos),
            Function::Erf => pick!(isa, erf),
        }
    }

    /// Replaces each element by its function value, with the best instructions of this machine.
    pub fn apply(self, data: &mut [f32]) {
        // SAFETY: the slice is ours for the call, and `detect` returns only what may be executed.
        unsafe { self.routine(Isa::detect())(data.as_mut_ptr(), data.len()) }
    }
}

/// The routine for `data` to the power of `other`, for an instruction set that this machine has.
#[must_use]
pub fn power(isa: Isa) -> Binary {
    pick!(isa, pow)
}

/// The softmax routine, for an instruction set that this machine has.
#[must_use]
pub fn soften(isa: Isa) -> Soften {
    pick!(isa, soften)
}

/// The routine of the softmax's gradient, for an instruction set that this machine has.
#[must_use]
pub fn soften_grad(isa: Isa) -> SoftenGrad {
    pick!(isa, soften_grad)
}

/// The sum of products of two equally long slices, by 16 virtual lanes and the fixed tree.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    row::dot(a, b)
}
