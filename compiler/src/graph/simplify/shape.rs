//! Rules on shapes; all are exact.

use super::{New, Rewriter};
use crate::op::{Dim, Op, Shape, Type, Value};

impl Rewriter<'_> {
    pub(super) fn shape(&mut self, op: &Shape, args: &[Value], ty: &Type) -> Option<New> {
        let arg = args[0];
        if let Some(repeated) = self.moved_repeats(op, arg) {
            return Some(repeated);
        }
        match op {
            Shape::Expand if self.ty(arg) == ty => return Some(New::Value(arg)),
            Shape::Shift { by: 0, .. } | Shape::Roll { by: 0, .. } => return Some(New::Value(arg)),
            Shape::Slice { from, start: 0, into } if self.size(*from) == self.size(*into) => {
                return Some(New::Inst(Op::Shape(Shape::Rename { from: *from, to: *into }), args.to_vec()));
            }
            Shape::Concat { from, into } if from.len() == 1 => {
                return Some(New::Inst(Op::Shape(Shape::Rename { from: from[0], to: *into }), args.to_vec()));
            }
            Shape::Rename { .. } | Shape::Split { .. } | Shape::Merge { .. } | Shape::Slice { .. } | Shape::Pad { .. } => {}
            Shape::Take { .. } | Shape::Concat { .. } | Shape::Shift { .. } | Shape::Roll { .. } | Shape::Expand => {}
        }
        let def = self.def(arg)?;
        let Op::Shape(inner) = &def.op else { return None };
        self.twice(inner, op, def.args[0])
    }

    fn size(&self, dim: Dim) -> u64 {
        self.dims[dim].size
    }

    /// What repeats along a dim stays so, wherever the elements along it go.
    fn moved_repeats(&self, op: &Shape, arg: Value) -> Option<New> {
        let def = self.def(arg).filter(|def| def.op == Op::Shape(Shape::Expand))?;
        let from = match op {
            Shape::Rename { from, .. } | Shape::Split { from, .. } | Shape::Slice { from, .. } | Shape::Take { from, .. } => vec![*from],
            Shape::Roll { dim, .. } => vec![*dim],
            Shape::Merge { from, .. } => from.clone(),
            Shape::Pad { .. } | Shape::Concat { .. } | Shape::Shift { .. } | Shape::Expand => return None,
        };
        let x = def.args[0];
        (!from.iter().any(|dim| self.ty(x).has(*dim))).then_some(New::Value(x))
    }

    /// `outer(inner(x))`.
    fn twice(&self, inner: &Shape, outer: &Shape, x: Value) -> Option<New> {
        let shape = |op: Shape| Some(New::Inst(Op::Shape(op), vec![x]));
        match (inner, outer) {
            (Shape::Expand, Shape::Expand) => shape(Shape::Expand),
            (Shape::Rename { from, to }, Shape::Rename { from: again, to: last }) if to == again => {
                if from == last {
                    Some(New::Value(x))
                } else {
                    shape(Shape::Rename { from: *from, to: *last })
                }
            }
            (Shape::Split { from, into }, Shape::Merge { from: parts, into: whole }) if into == parts => {
                if from == whole {
                    Some(New::Value(x))
                } else {
                    shape(Shape::Rename { from: *from, to: *whole })
                }
            }
            (Shape::Merge { from, into }, Shape::Split { from: whole, into: parts }) if into == whole && from == parts => {
                Some(New::Value(x))
            }
            (Shape::Slice { from, start, into }, Shape::Slice { from: whole, start: more, into: part }) if into == whole => {
                shape(Shape::Slice { from: *from, start: start + more, into: *part })
            }
            (Shape::Slice { from, start, into }, Shape::Take { from: whole, at }) if into == whole => {
                shape(Shape::Take { from: *from, at: start + at })
            }
            (Shape::Rename { from, to }, Shape::Take { from: whole, at }) if to == whole => shape(Shape::Take { from: *from, at: *at }),
            (Shape::Pad { from, start, into }, Shape::Slice { from: whole, start: at, into: part }) if into == whole && start == at => {
                if from == part {
                    Some(New::Value(x))
                } else {
                    None
                }
            }
            (Shape::Roll { dim, by }, Shape::Roll { dim: same, by: more }) if dim == same => {
                shape(Shape::Roll { dim: *dim, by: (by + more) % self.size(*dim) })
            }
            (_, _) => None,
        }
    }
}
