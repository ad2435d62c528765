//! Rules of positions and lookups: gather and scatter are each other's gradient, and so are the two running sums.
//!
//! Requires the cotangent of the result. Ensures a contribution to the real argument only.

use super::{Contributions, Tape};
use crate::op::{Index, Inst, Op, Type, Value};

/// One contribution per argument.
pub fn vjp(tape: &mut Tape, op: &Index, inst: &Inst, dy: Value) -> Contributions {
    match op {
        Index::Position(_) => Vec::new(),
        Index::Gather { over } => {
            let (table, index) = (tape.ty(inst.args[0]), inst.args[1]);
            vec![Some(tape.push(Op::Index(Index::Scatter { into: *over }), &[index, dy], table)), None]
        }
        Index::Scatter { into } => vec![None, Some(gathered(tape, *into, inst, dy))],
        Index::Cumsum(dim) => vec![Some(same(tape, Index::CumsumReverse(*dim), inst, dy))],
        Index::CumsumReverse(dim) => vec![Some(same(tape, Index::Cumsum(*dim), inst, dy))],
    }
}

fn same(tape: &mut Tape, op: Index, inst: &Inst, dy: Value) -> Value {
    let ty = tape.ty(inst.args[0]);
    tape.push(Op::Index(op), &[dy], ty)
}

/// Looks the value's cotangent up; a value that lacks dims of the index went to several places.
fn gathered(tape: &mut Tape, over: crate::op::Dim, inst: &Inst, dy: Value) -> Value {
    let (index, value) = (tape.ty(inst.args[0]), tape.ty(inst.args[1]));
    let mut dims = value.dims.clone();
    dims.extend(index.dims.iter().copied().filter(|dim| !value.has(*dim)));
    let found = tape.push(Op::Index(Index::Gather { over }), &[dy, inst.args[0]], Type::real(dims));
    tape.fit(found, &value)
}
