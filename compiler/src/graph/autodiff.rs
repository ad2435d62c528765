//! Reverse-mode differentiation of a body (Griewank and Walther 2008): from cotangents of some values to cotangents of its inputs.
//!
//! Requires a body in order. Ensures that instructions are only appended, that each cotangent has its value's type, and that only values on a
//! path from an active input are visited. The contributions to one cotangent are added pairwise, left to right, in the order in which the reverse
//! sweep meets them (last use first): one chain of additions that later stages can turn into accumulation.

use super::vjp::{Tape, contributions};
use crate::op::{Body, Dims, Element, Map, Op, Origin, Reduce, Value};
use cranelift_entity::SecondaryMap;

/// The values of a body that depend on one of `inputs` through operators that pass a gradient.
pub fn active(body: &Body, inputs: &[Value]) -> SecondaryMap<Value, bool> {
    let mut active = SecondaryMap::new();
    for input in inputs {
        active[*input] = body.ty(*input).element == Element::Real;
    }
    for inst in &body.insts {
        if passes(&inst.op) && inst.args.iter().any(|arg| active[*arg]) {
            for result in &inst.results {
                active[*result] = body.ty(*result).element == Element::Real;
            }
        }
    }
    active
}

/// Whether an operator passes any gradient to its real arguments.
fn passes(op: &Op) -> bool {
    match op {
        Op::Stop | Op::Map(Map::Floor | Map::Sign | Map::Int) | Op::Reduce(Reduce::Argmax, _) => false,
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Random(_) => false,
        Op::Map(_) | Op::Reduce(..) | Op::Contract(_) | Op::Index(_) | Op::Shape(_) => true,
        Op::Attention(_) | Op::AttentionGrad(_) | Op::Anchor | Op::Collective(_) => true,
    }
}

/// Cotangents of values while they are collected.
struct Sweep {
    parts: SecondaryMap<Value, Vec<(Value, Origin)>>,
}

impl Sweep {
    /// The sum of what has arrived for `value`.
    fn total(&mut self, body: &mut Body, value: Value) -> Option<Value> {
        let parts = std::mem::take(&mut self.parts[value]);
        let ty = body.ty(value).clone();
        let total = parts.into_iter().reduce(|(sum, _), (part, origin)| {
            let sum = body.push(Op::Map(Map::Add), vec![sum, part], ty.clone(), origin);
            (sum, origin)
        });
        total.map(|(sum, _)| sum)
    }
}

/// Appends the reverse sweep. `seeds` are values and their cotangents (of equal type); the answer has the cotangent of each of `inputs` that gets one.
pub fn reverse(
    body: &mut Body,
    dims: &Dims,
    active: &SecondaryMap<Value, bool>,
    seeds: &[(Value, Value, Origin)],
    inputs: &[Value],
) -> Vec<Option<Value>> {
    let mut sweep = Sweep { parts: SecondaryMap::new() };
    for (value, cotangent, origin) in seeds {
        if active[*value] {
            sweep.parts[*value].push((*cotangent, *origin));
        }
    }
    for at in (0..body.insts.len()).rev() {
        let inst = body.insts[at].clone();
        let wanted: Vec<bool> = inst.args.iter().map(|arg| active[*arg]).collect();
        if !passes(&inst.op) || !wanted.contains(&true) {
            continue;
        }
        let cotangents: Vec<Option<Value>> = inst.results.iter().map(|result| sweep.total(body, *result)).collect();
        if cotangents.iter().all(Option::is_none) {
            continue;
        }
        let mut tape = Tape { body, dims, origin: inst.origin };
        let found = contributions(&mut tape, &inst, &cotangents, &wanted);
        for (at, part) in found.into_iter().enumerate() {
            if let Some(part) = part.filter(|_| wanted[at]) {
                sweep.parts[inst.args[at]].push((part, inst.origin));
            }
        }
    }
    inputs.iter().map(|input| if active[*input] { sweep.total(body, *input) } else { None }).collect()
}
