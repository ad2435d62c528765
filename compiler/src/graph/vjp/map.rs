//! Rules of elementwise functions.
//!
//! Requires the cotangent of the result. Ensures contributions of the arguments' types. Where the result helps (exp, tanh, sqrt, quotients) it is
//! read again instead of being computed a second time. Sums over dims that an argument lacks come first where that is the same. At ties, `min` and `max` give half to each, as PyTorch's `maximum` does.

use super::{Contributions, Tape};
use crate::op::{Inst, Map, Op, Shape, Type, Value};
use std::f64::consts::FRAC_2_SQRT_PI;

/// One contribution per argument.
pub fn vjp(tape: &mut Tape, op: Map, inst: &Inst, dy: Value, wanted: &[bool]) -> Contributions {
    if op == Map::Mul && inst.args[0] == inst.args[1] {
        return square(tape, inst, dy);
    }
    (0..inst.args.len()).map(|at| if wanted[at] { one(tape, op, inst, dy, at) } else { None }).collect()
}

/// `x * x`: both contributions in one. A cotangent that repeats one number per row (the square was summed) is doubled before it is repeated.
fn square(tape: &mut Tape, inst: &Inst, dy: Value) -> Contributions {
    let ty = tape.ty(inst.args[0]);
    let maker = tape.body.insts.iter().rev().find(|inst| inst.results.contains(&dy));
    let repeated = maker.filter(|inst| inst.op == Op::Shape(Shape::Expand)).map(|inst| inst.args[0]);
    let twice = scaled(tape, 2.0, repeated.unwrap_or(dy));
    vec![Some(tape.map_to(Map::Mul, &[twice, inst.args[0]], &ty)), None]
}

/// The contribution to argument `at`.
fn one(tape: &mut Tape, op: Map, inst: &Inst, dy: Value, at: usize) -> Option<Value> {
    let ty = tape.ty(inst.args[at]);
    match op {
        Map::Add | Map::Sub | Map::Mul | Map::Div | Map::Pow => Some(arithmetic(tape, op, inst, dy, at, &ty)),
        Map::Min | Map::Max => Some(extremum(tape, op, inst, dy, at, &ty)),
        Map::Where => choice(tape, inst, dy, at, &ty),
        Map::Neg | Map::Abs | Map::Exp | Map::Log | Map::Sin | Map::Cos | Map::Tanh | Map::Erf | Map::Sqrt | Map::Rsqrt => {
            let slope = slope(tape, op, inst);
            Some(tape.map_to(Map::Mul, &[dy, slope], &ty))
        }
        Map::RoundBf16 => Some(tape.fit(dy, &ty)),
        Map::Rem | Map::Sign | Map::Floor | Map::Int | Map::Real => None,
        Map::Lt | Map::Le | Map::Eq | Map::Ne | Map::And | Map::Or | Map::Not => None,
    }
}

/// The derivative of a function of one argument, as a factor.
fn slope(tape: &mut Tape, op: Map, inst: &Inst) -> Value {
    let (x, y) = (inst.args[0], inst.results[0]);
    match op {
        Map::Neg => tape.constant(-1.0),
        Map::Abs => tape.map(Map::Sign, &[x]),
        Map::Exp => y,
        Map::Log => {
            let one = tape.constant(1.0);
            tape.map(Map::Div, &[one, x])
        }
        Map::Sin => tape.map(Map::Cos, &[x]),
        Map::Cos => {
            let sine = tape.map(Map::Sin, &[x]);
            tape.map(Map::Neg, &[sine])
        }
        Map::Tanh => {
            let (one, square) = (tape.constant(1.0), tape.map(Map::Mul, &[y, y]));
            tape.map(Map::Sub, &[one, square])
        }
        Map::Erf => {
            let square = tape.map(Map::Mul, &[x, x]);
            let negated = tape.map(Map::Neg, &[square]);
            let bell = tape.map(Map::Exp, &[negated]);
            scaled(tape, FRAC_2_SQRT_PI, bell)
        }
        Map::Sqrt => {
            let half = tape.constant(0.5);
            tape.map(Map::Div, &[half, y])
        }
        Map::Rsqrt => {
            let square = tape.map(Map::Mul, &[y, y]);
            let cube = tape.map(Map::Mul, &[square, y]);
            scaled(tape, -0.5, cube)
        }
        other => panic!("internal error: {other:?} has no slope"),
    }
}

fn scaled(tape: &mut Tape, factor: f64, value: Value) -> Value {
    let factor = tape.constant(factor);
    tape.map(Map::Mul, &[value, factor])
}

fn arithmetic(tape: &mut Tape, op: Map, inst: &Inst, dy: Value, at: usize, ty: &Type) -> Value {
    let (a, b, y) = (inst.args[0], inst.args[1], inst.results[0]);
    match (op, at) {
        (Map::Add, _) | (Map::Sub, 0) => tape.fit(dy, ty),
        (Map::Sub, _) => {
            let part = tape.fit(dy, ty);
            tape.map_to(Map::Neg, &[part], ty)
        }
        (Map::Mul, 0) => tape.map_to(Map::Mul, &[dy, b], ty),
        (Map::Mul, _) => tape.map_to(Map::Mul, &[dy, a], ty),
        (Map::Div, 0) => tape.map_to(Map::Div, &[dy, b], ty),
        (Map::Div, _) => {
            let product = tape.map_to(Map::Mul, &[dy, y], ty);
            let share = tape.map_to(Map::Div, &[product, b], ty);
            tape.map_to(Map::Neg, &[share], ty)
        }
        (Map::Pow, 0) => {
            let slope = power_slope(tape, a, b);
            tape.map_to(Map::Mul, &[dy, slope], ty)
        }
        (Map::Pow, _) => exponent(tape, a, y, dy, ty),
        (other, _) => panic!("internal error: {other:?} is not arithmetic"),
    }
}

/// `b * a^(b - 1)`; with a constant exponent no power that is 0 or 1 is taken.
fn power_slope(tape: &mut Tape, a: Value, b: Value) -> Value {
    let number = tape.body.insts.iter().find(|inst| inst.results[0] == b).and_then(|inst| match inst.op {
        Op::Const(number) => Some(number),
        _ => None,
    });
    if number == Some(1.0) {
        return tape.constant(1.0);
    }
    if number == Some(2.0) {
        return scaled(tape, 2.0, a);
    }
    let less = match number {
        Some(number) => tape.constant(number - 1.0),
        None => {
            let one = tape.constant(1.0);
            tape.map(Map::Sub, &[b, one])
        }
    };
    let power = tape.map(Map::Pow, &[a, less]);
    tape.map(Map::Mul, &[power, b])
}

/// `y * log(a)`, and 0 where `a` is 0 (the limit from above, for positive exponents).
fn exponent(tape: &mut Tape, a: Value, y: Value, dy: Value, ty: &Type) -> Value {
    let zero = tape.constant(0.0);
    let log = tape.map(Map::Log, &[a]);
    let slope = tape.map(Map::Mul, &[y, log]);
    let flat = tape.map(Map::Eq, &[a, zero]);
    let slope = tape.map(Map::Where, &[flat, zero, slope]);
    tape.map_to(Map::Mul, &[dy, slope], ty)
}

fn extremum(tape: &mut Tape, op: Map, inst: &Inst, dy: Value, at: usize, ty: &Type) -> Value {
    let (this, other) = (inst.args[at], inst.args[1 - at]);
    let wins = if op == Map::Max { [other, this] } else { [this, other] };
    let wins = tape.map(Map::Lt, &wins);
    let ties = tape.map(Map::Eq, &[this, other]);
    let (half, zero) = (scaled(tape, 0.5, dy), tape.constant(0.0));
    let otherwise = tape.map(Map::Where, &[ties, half, zero]);
    tape.map_to(Map::Where, &[wins, dy, otherwise], ty)
}

fn choice(tape: &mut Tape, inst: &Inst, dy: Value, at: usize, ty: &Type) -> Option<Value> {
    let condition = inst.args[0];
    let zero = tape.constant(0.0);
    match at {
        0 => None,
        1 => Some(tape.map_to(Map::Where, &[condition, dy, zero], ty)),
        _ => Some(tape.map_to(Map::Where, &[condition, zero, dy], ty)),
    }
}
