//! Arithmetic on compile-time numbers.
//!
//! Requires operands that are numbers. Ensures one table of functions for sizes, settings and bodies.

use meshwright_grammar::tree::BinaryOp;

/// What an operator gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// A number.
    Number(f64),
    /// A truth value.
    Bool(bool),
    /// The operator does not take two numbers.
    NotNumbers,
}

/// An operator between two numbers.
pub(crate) fn binary(op: BinaryOp, left: f64, right: f64) -> Outcome {
    match op {
        BinaryOp::Add => Outcome::Number(left + right),
        BinaryOp::Subtract => Outcome::Number(left - right),
        BinaryOp::Multiply => Outcome::Number(left * right),
        BinaryOp::Divide => Outcome::Number(left / right),
        BinaryOp::Power => Outcome::Number(left.powf(right)),
        BinaryOp::Equal => Outcome::Bool(left == right),
        BinaryOp::NotEqual => Outcome::Bool(left != right),
        BinaryOp::Less => Outcome::Bool(left < right),
        BinaryOp::LessEqual => Outcome::Bool(left <= right),
        BinaryOp::Greater => Outcome::Bool(left > right),
        BinaryOp::GreaterEqual => Outcome::Bool(left >= right),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Contract => Outcome::NotNumbers,
    }
}

/// Functions of compile-time numbers, and how many arguments each takes.
pub(crate) const FUNCTIONS: &[(&str, usize)] = &[
    ("abs", 1),
    ("sign", 1),
    ("floor", 1),
    ("ceil", 1),
    ("round", 1),
    ("exp", 1),
    ("log", 1),
    ("sin", 1),
    ("cos", 1),
    ("tanh", 1),
    ("sqrt", 1),
    ("rsqrt", 1),
    ("min", 2),
    ("max", 2),
    ("mod", 2),
    ("clamp", 3),
];

/// A function of numbers; none if there is no such function or it takes another number of arguments.
pub(crate) fn call(name: &str, args: &[f64]) -> Option<f64> {
    Some(match (name, args) {
        ("abs", [x]) => x.abs(),
        ("sign", [x]) => match x {
            x if *x > 0.0 => 1.0,
            x if *x < 0.0 => -1.0,
            _ => 0.0,
        },
        ("floor", [x]) => x.floor(),
        ("ceil", [x]) => x.ceil(),
        ("round", [x]) => x.round_ties_even(),
        ("exp", [x]) => x.exp(),
        ("log", [x]) => x.ln(),
        ("sin", [x]) => x.sin(),
        ("cos", [x]) => x.cos(),
        ("tanh", [x]) => x.tanh(),
        ("sqrt", [x]) => x.sqrt(),
        ("rsqrt", [x]) => 1.0 / x.sqrt(),
        ("min", [a, b]) => a.min(*b),
        ("max", [a, b]) => a.max(*b),
        ("mod", [a, b]) => a - b * (a / b).floor(),
        ("clamp", [x, low, high]) => x.max(*low).min(*high),
        _ => return None,
    })
}

/// A number as a person writes it.
pub(crate) fn spell(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4;
    match value.abs() {
        size if value == value.trunc() && size < 1e15 => format!("{value:.0}"),
        size if (1e-3..1e15).contains(&size) => format!("{rounded}"),
        _ => format!("{value:e}"),
    }
}
