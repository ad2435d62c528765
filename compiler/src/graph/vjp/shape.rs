//! Rules of changes of shape: each has its inverse or its transpose among the others.
//!
//! Requires the cotangent of the result. Ensures contributions of the arguments' types.

use super::index::placed;
use super::{Contributions, Tape};
use crate::op::{Dim, Element, Inst, Op, Shape, Type, Value};

/// One contribution per argument.
pub fn vjp(tape: &mut Tape, op: &Shape, inst: &Inst, dy: Value, wanted: &[bool]) -> Contributions {
    let ty = tape.ty(inst.args[0]);
    let back = match op {
        Shape::Rename { from, to } => Shape::Rename { from: *to, to: *from },
        Shape::Split { from, into } => Shape::Merge { from: into.clone(), into: *from },
        Shape::Merge { from, into } => Shape::Split { from: *into, into: from.clone() },
        Shape::Slice { from, start, into } => Shape::Pad { from: *into, start: *start, into: *from },
        Shape::Pad { from, start, into } => Shape::Slice { from: *into, start: *start, into: *from },
        Shape::Take { from, at } => return vec![Some(taken(tape, dy, *from, *at, &ty))],
        Shape::Concat { from, into } => return parts(tape, inst, dy, from, *into, wanted),
        Shape::Shift { dim, by } => Shape::Shift { dim: *dim, by: -by },
        Shape::Roll { dim, by } => {
            let size = tape.dims[*dim].size;
            Shape::Roll { dim: *dim, by: (size - by) % size }
        }
        Shape::Expand => return vec![Some(tape.fit(dy, &ty))],
    };
    vec![Some(tape.push(Op::Shape(back), &[dy], ty))]
}

/// The cotangent at one place along `dim`, zeros elsewhere; elementwise, so that several takes along one dim add up in one pass.
fn taken(tape: &mut Tape, dy: Value, dim: Dim, at: u64, ty: &Type) -> Value {
    let at = tape.push(Op::Integer(at as i64), &[], Type { element: Element::Integer, dims: Vec::new() });
    placed(tape, dim, at, dy, ty)
}

fn parts(tape: &mut Tape, inst: &Inst, dy: Value, from: &[Dim], into: Dim, wanted: &[bool]) -> Contributions {
    let mut start = 0;
    let mut found = Vec::new();
    for (at, dim) in from.iter().enumerate() {
        let ty = tape.ty(inst.args[at]);
        let slice = Shape::Slice { from: into, start, into: *dim };
        found.push(wanted[at].then(|| tape.push(Op::Shape(slice), &[dy], ty)));
        start += tape.dims[*dim].size;
    }
    found
}
