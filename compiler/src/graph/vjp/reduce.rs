//! Rules of reductions.
//!
//! Requires the cotangent of the result. Ensures a contribution of the argument's type. The gradient of a maximum is shared evenly among ties,
//! as PyTorch's `amax` does.

use super::Tape;
use crate::op::{Dim, Inst, Map, Op, Reduce, Type, Value};

/// The contribution to the argument.
pub fn vjp(tape: &mut Tape, op: Reduce, over: &[Dim], inst: &Inst, dy: Value) -> Option<Value> {
    let ty = tape.ty(inst.args[0]);
    match op {
        Reduce::Sum => Some(tape.fit(dy, &ty)),
        Reduce::Max | Reduce::Min => Some(extremum(tape, over, inst, dy, &ty)),
        Reduce::Argmax => None,
    }
}

fn extremum(tape: &mut Tape, over: &[Dim], inst: &Inst, dy: Value, ty: &Type) -> Value {
    let (x, y) = (inst.args[0], inst.results[0]);
    let (one, zero) = (tape.constant(1.0), tape.constant(0.0));
    let hit = tape.map(Map::Eq, &[x, y]);
    let ones = tape.map(Map::Where, &[hit, one, zero]);
    let row = tape.ty(y);
    let count = tape.push(Op::Reduce(Reduce::Sum, over.to_vec()), &[ones], row);
    let share = tape.map(Map::Div, &[dy, count]);
    tape.map_to(Map::Where, &[hit, share, zero], ty)
}
