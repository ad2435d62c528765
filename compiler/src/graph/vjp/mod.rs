//! The vector-Jacobian product of every primitive: one rule each, in a file per family.
//!
//! In: an instruction and the cotangents of its results. Out: for each argument that wants one, a contribution to its cotangent, with exactly
//! the argument's type (dims and their order); the instructions that compute it are appended. Integers and truth values have no cotangent, and
//! what is constant almost everywhere (comparisons, floor, sign, positions, random numbers, `stop`) passes none.
//! Broadcasting is by name: a contribution is summed over the dims that the argument lacks.

mod attention;
mod contract;
mod index;
mod map;
mod reduce;
mod shape;
#[cfg(test)]
mod tests;

use crate::op::{Body, Dim, Dims, Element, Inst, Map, Op, Origin, Reduce, Shape, Type, Value};

/// Where rules write: the body that grows, the sizes of dims, and the origin of what is written.
pub struct Tape<'a> {
    /// Grows at its end.
    pub body: &'a mut Body,
    /// Sizes.
    pub dims: &'a Dims,
    /// Of the instruction whose rule runs.
    pub origin: Origin,
}

/// A contribution per argument; none where the argument wants none or gets none.
pub type Contributions = Vec<Option<Value>>;

/// The contributions of `inst` to the cotangents of its arguments. `cotangents` has one entry per result (none: zero), `wanted` one per argument;
/// at least one cotangent is there.
pub fn contributions(tape: &mut Tape, inst: &Inst, cotangents: &[Option<Value>], wanted: &[bool]) -> Contributions {
    match &inst.op {
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Random(_) => Vec::new(),
        Op::Stop => vec![None],
        Op::Attention(attention) => attention::vjp(tape, attention, inst, cotangents, wanted),
        Op::AttentionGrad(_) => panic!("internal error: attention has no second derivative, and nothing asks for one"),
        Op::Collective(_) => panic!("internal error: programs are differentiated before a mesh cuts them"),
        Op::Map(op) => map::vjp(tape, *op, inst, only(cotangents), wanted),
        Op::Reduce(op, over) => vec![reduce::vjp(tape, *op, over, inst, only(cotangents))],
        Op::Contract(_) => contract::vjp(tape, inst, only(cotangents), wanted),
        Op::Index(op) => index::vjp(tape, op, inst, only(cotangents)),
        Op::Shape(op) => shape::vjp(tape, op, inst, only(cotangents), wanted),
        Op::Anchor => {
            let ty = tape.ty(inst.args[0]);
            vec![Some(tape.push(Op::Anchor, &[only(cotangents)], ty))]
        }
    }
}

/// The cotangent of an instruction with one result.
fn only(cotangents: &[Option<Value>]) -> Value {
    cotangents[0].expect("a rule runs only where a result has a cotangent")
}

impl Tape<'_> {
    /// The type of a value.
    pub fn ty(&self, value: Value) -> Type {
        self.body.ty(value).clone()
    }

    /// Appends an instruction.
    pub fn push(&mut self, op: Op, args: &[Value], ty: Type) -> Value {
        self.body.push(op, args.to_vec(), ty, self.origin)
    }

    /// A real number without dims.
    pub fn constant(&mut self, number: f64) -> Value {
        self.push(Op::Const(number), &[], Type::real(Vec::new()))
    }

    /// An elementwise function; the result has all dims of the arguments.
    pub fn map(&mut self, op: Map, args: &[Value]) -> Value {
        let dims = self.joined(args);
        self.map_as(op, args, dims)
    }

    /// The same, then fitted to `ty`; if only the order of dims differs, the function itself writes in that order.
    pub fn map_to(&mut self, op: Map, args: &[Value], ty: &Type) -> Value {
        let dims = self.joined(args);
        if dims.len() == ty.dims.len() && dims.iter().all(|dim| ty.has(*dim)) {
            return self.map_as(op, args, ty.dims.clone());
        }
        let value = self.map_as(op, args, dims);
        self.fit(value, ty)
    }

    fn map_as(&mut self, op: Map, args: &[Value], dims: Vec<Dim>) -> Value {
        let element = match op {
            Map::Lt | Map::Le | Map::Eq | Map::Ne | Map::And | Map::Or | Map::Not => Element::Bool,
            _ => Element::Real,
        };
        self.push(Op::Map(op), args, Type { element, dims })
    }

    /// The value summed over dims that `ty` lacks and repeated along those that only `ty` has, in the order of `ty`.
    pub fn fit(&mut self, value: Value, ty: &Type) -> Value {
        let from = self.ty(value);
        if from.dims == ty.dims {
            return value;
        }
        let (kept, summed): (Vec<Dim>, Vec<Dim>) = from.dims.iter().partition(|dim| ty.has(**dim));
        let grows = kept.len() < ty.dims.len();
        let target = if grows { kept } else { ty.dims.clone() };
        let value = if summed.is_empty() { value } else { self.push(Op::Reduce(Reduce::Sum, summed), &[value], Type::real(target)) };
        if self.body.ty(value).dims == ty.dims { value } else { self.push(Op::Shape(Shape::Expand), &[value], ty.clone()) }
    }

    /// All dims of the arguments: those of the one with most, then what it lacks.
    fn joined(&self, args: &[Value]) -> Vec<Dim> {
        let mut dims: Vec<Dim> = Vec::new();
        for arg in args {
            let other = &self.body.ty(*arg).dims;
            if other.len() > dims.len() {
                dims = other.clone();
            }
        }
        for dim in args.iter().flat_map(|arg| &self.body.ty(*arg).dims) {
            if !dims.contains(dim) {
                dims.push(*dim);
            }
        }
        dims
    }
}
