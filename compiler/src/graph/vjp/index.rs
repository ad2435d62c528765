//! Rules of positions and lookups: gather and scatter are each other's gradient, and so are the two running sums.
//!
//! Requires the cotangent of the result. Ensures a contribution to the real argument only. A lookup of one entry per row (each dim of the index is
//! one of the table: the target's logit) has an elementwise gradient, which later stages fuse with its neighbours.

use super::{Contributions, Tape};
use crate::op::{Dim, Element, Index, Inst, Map, Op, Type, Value};

/// One contribution per argument.
pub fn vjp(tape: &mut Tape, op: &Index, inst: &Inst, dy: Value) -> Contributions {
    match op {
        Index::Position(_) | Index::Coordinate(_) => Vec::new(),
        Index::Gather { over } => {
            let (table, index) = (tape.ty(inst.args[0]), inst.args[1]);
            let one_per_row = tape.body.ty(index).dims.iter().all(|dim| table.has(*dim) && dim != over);
            let scatter = Op::Index(Index::Scatter { into: *over });
            let part = if one_per_row { placed(tape, *over, index, dy, &table) } else { tape.push(scatter, &[index, dy], table) };
            vec![Some(part), None]
        }
        Index::Scatter { into } => vec![None, Some(gathered(tape, *into, inst, dy))],
        Index::Cumsum(dim) => vec![Some(same(tape, Index::CumsumReverse(*dim), inst, dy))],
        Index::CumsumReverse(dim) => vec![Some(same(tape, Index::Cumsum(*dim), inst, dy))],
    }
}

/// The cotangent where the position along `dim` is `index`, zeros elsewhere.
pub(super) fn placed(tape: &mut Tape, dim: Dim, index: Value, dy: Value, ty: &Type) -> Value {
    let here = tape.push(Op::Index(Index::Position(dim)), &[], Type { element: Element::Integer, dims: vec![dim] });
    let hit = tape.map(Map::Eq, &[here, index]);
    let zero = tape.constant(0.0);
    tape.map_to(Map::Where, &[hit, dy, zero], ty)
}

fn same(tape: &mut Tape, op: Index, inst: &Inst, dy: Value) -> Value {
    let ty = tape.ty(inst.args[0]);
    tape.push(Op::Index(op), &[dy], ty)
}

/// Looks the value's cotangent up; a value that lacks dims of the index went to several places.
fn gathered(tape: &mut Tape, over: Dim, inst: &Inst, dy: Value) -> Value {
    let (index, value) = (tape.ty(inst.args[0]), tape.ty(inst.args[1]));
    let mut dims = value.dims.clone();
    dims.extend(index.dims.iter().copied().filter(|dim| !value.has(*dim)));
    let found = tape.push(Op::Index(Index::Gather { over }), &[dy, inst.args[0]], Type::real(dims));
    tape.fit(found, &value)
}
