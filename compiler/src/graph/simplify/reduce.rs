//! Rules on reductions.

use super::{New, Rewriter};
use crate::op::{Dim, Element, Map, Op, Reduce, Shape, Type, Value};

impl Rewriter<'_> {
    pub(super) fn reduce(&mut self, op: Reduce, over: &[Dim], arg: Value, ty: &Type) -> Option<New> {
        if over.is_empty() {
            return Some(New::Value(arg));
        }
        let def = self.def(arg)?;
        match &def.op {
            // Only if nobody else needs the inner one: otherwise that would be more work.
            Op::Reduce(inner, more) if *inner == op && op != Reduce::Argmax && self.uses[arg] <= 1 => {
                Some(New::Inst(Op::Reduce(op, [more, over].concat()), def.args.clone()))
            }
            Op::Shape(Shape::Expand) if op != Reduce::Argmax => self.reduce_repeated(op, over, def.args[0], ty),
            Op::Reduce(..) | Op::Shape(_) | Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Contract(_) => None,
            Op::Index(_) | Op::Random(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Anchor | Op::Stop | Op::Collective(_) => None,
        }
    }

    /// A reduction of `x`, repeated: repeated dims are a factor to a sum and nothing to a maximum.
    fn reduce_repeated(&mut self, op: Reduce, over: &[Dim], x: Value, ty: &Type) -> Option<New> {
        let (own, repeated): (Vec<Dim>, Vec<Dim>) = over.iter().partition(|dim| self.ty(x).has(**dim));
        if repeated.is_empty() {
            return None;
        }
        let rest = Type { element: ty.element, dims: self.ty(x).dims.iter().copied().filter(|dim| !over.contains(dim)).collect() };
        let reduced = if own.is_empty() { x } else { self.make(Op::Reduce(op, own), vec![x], rest) };
        let times: f64 = repeated.iter().map(|dim| self.dims[*dim].size as f64).product();
        match op {
            Reduce::Sum if ty.element == Element::Real => {
                let times = self.number(times, Element::Real)?;
                let dims = self.ty(reduced).dims.clone();
                Some(New::Value(self.make(Op::Map(Map::Mul), vec![reduced, times], Type::real(dims))))
            }
            Reduce::Max | Reduce::Min => Some(New::Value(reduced)),
            Reduce::Sum | Reduce::Argmax => None,
        }
    }
}
