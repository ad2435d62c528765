//! The rule of contractions: the cotangent of one operand is the contraction of the result's cotangent with the other operand, over the dims
//! that only the other has.
//!
//! Requires the cotangent of the result. Ensures contributions in the operands' own layouts, so that they can be added up in place.

use super::{Contributions, Tape};
use crate::op::{Dim, Inst, Map, Op, Value};

/// One contribution per operand.
pub fn vjp(tape: &mut Tape, inst: &Inst, dy: Value, wanted: &[bool]) -> Contributions {
    let (a, b) = (inst.args[0], inst.args[1]);
    let first = wanted[0].then(|| operand(tape, dy, a, b));
    let second = wanted[1].then(|| operand(tape, dy, b, a));
    vec![first, second]
}

fn operand(tape: &mut Tape, dy: Value, this: Value, other: Value) -> Value {
    let ty = tape.ty(this);
    let over: Vec<Dim> = tape.body.ty(other).dims.iter().copied().filter(|dim| !ty.has(*dim)).collect();
    if over.is_empty() {
        return tape.map_to(Map::Mul, &[dy, other], &ty);
    }
    tape.push(Op::Contract(over), &[dy, other], ty)
}
