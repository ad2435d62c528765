//! Elementwise functions, in f64.
//!
//! Requires arguments that the function takes; integers come as whole numbers. Ensures the meaning that `meshwright_plan::kernel::Map` states.

use super::tensor::{Nest, Tensor};
use crate::op::{Dims, Element, Map, Type};

/// Applies `op` at every point of `ty`.
pub fn run(op: Map, args: &[&Tensor], ty: &Type, dims: &Dims) -> Tensor {
    let real = args.iter().any(|arg| arg.element == Element::Real);
    let mut data = Vec::new();
    let mut values = vec![0.0; args.len()];
    Nest::new(ty.dims.clone(), dims).run(args, |at| {
        for (value, (arg, offset)) in values.iter_mut().zip(args.iter().zip(at)) {
            *value = arg.data[*offset];
        }
        data.push(apply(op, &values, real));
    });
    Tensor::new(ty, dims, data)
}

/// One element; `real` says whether arguments are real numbers, not integers.
pub fn apply(op: Map, x: &[f64], real: bool) -> f64 {
    match op {
        Map::Add => x[0] + x[1],
        Map::Sub => x[0] - x[1],
        Map::Mul => x[0] * x[1],
        Map::Div if real => x[0] / x[1],
        Map::Div => (x[0] / x[1]).trunc(),
        Map::Rem => x[0] - x[1] * (x[0] / x[1]).floor(),
        Map::Pow => x[0].powf(x[1]),
        Map::Min => choose(x[0] < x[1] || x[0].is_nan(), x),
        Map::Max => choose(x[0] > x[1] || x[0].is_nan(), x),
        Map::Neg => -x[0],
        Map::Abs => x[0].abs(),
        Map::Sign => sign(x[0]),
        Map::Floor => x[0].floor(),
        Map::Exp => x[0].exp(),
        Map::Log => x[0].ln(),
        Map::Sin => x[0].sin(),
        Map::Cos => x[0].cos(),
        Map::Tanh => x[0].tanh(),
        Map::Erf => erf(x[0]),
        Map::Sqrt => x[0].sqrt(),
        Map::Rsqrt => 1.0 / x[0].sqrt(),
        Map::Lt => truth(x[0] < x[1]),
        Map::Le => truth(x[0] <= x[1]),
        Map::Eq => truth(x[0] == x[1]),
        Map::Ne => truth(x[0] != x[1]),
        Map::And => truth(x[0] != 0.0 && x[1] != 0.0),
        Map::Or => truth(x[0] != 0.0 || x[1] != 0.0),
        Map::Not => truth(x[0] == 0.0),
        Map::Where => choose(x[0] != 0.0, &x[1..]),
        Map::Real => x[0],
        Map::Int => x[0].trunc(),
        Map::RoundBf16 => round_bf16(x[0]),
    }
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// The first of two if the condition holds, else the second.
fn choose(first: bool, x: &[f64]) -> f64 {
    if first { x[0] } else { x[1] }
}

fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

/// The nearest bf16 of an f32, ties to even.
pub fn round_bf16(x: f64) -> f64 {
    let bits = (x as f32).to_bits();
    if x.is_nan() {
        return x;
    }
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000;
    f64::from(f32::from_bits(rounded))
}

/// The error function: `2/√π e^(-x²) Σ 2ⁿ x^(2n+1) / (2n+1)!!`, whose terms are all of one sign (Abramowitz and Stegun 7.1.6).
pub fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let mut term = x;
    let mut sum = x;
    let mut odd = 1.0;
    while term.abs() > sum.abs() * 1e-17 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}
