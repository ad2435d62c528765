//! Padded dims: parts whose last elements are none of the dim, because its size is no multiple of the ranks.
//!
//! Weights hold zeros there for ever: nothing initialises them, and their gradients are zero. What other values hold there does not matter until
//! elements meet: so it is masked where a dim is reduced or contracted, and in gradients of weights. Values are never brought elsewhere along a
//! padded dim, and nothing looks along it: [`super::ir::Cuts::unpadded`] says who wanted to.

use super::ir::{Axis, Placement};
use super::local;
use super::partition::Walk;
use super::reshard::Step;
use super::rules::Row;
use crate::op::{Dim, Element, Index, Inst, Map, Op, Origin, Reduce, Shape, Type, Value};

impl Walk<'_, '_> {
    fn is_padded(&self, dim: Dim, axes: &[Axis]) -> bool {
        self.part.cuts.is_padded(self.part.dims, self.part.mesh, dim, axes)
    }

    /// The padded dims of a value that stands at a placement.
    fn padded(&self, dims: &[Dim], placed: &Placement) -> Vec<Dim> {
        dims.iter().copied().filter(|dim| self.is_padded(*dim, placed.of(*dim))).collect()
    }

    /// Operands of a reduction or a contraction with nothing in the padding of what is summed. Weights have nothing there.
    pub(super) fn without_padding(&mut self, inst: &Inst, row: &Row, mut args: Vec<Value>) -> Vec<Value> {
        let (over, fill) = match &inst.op {
            Op::Reduce(reduce, over) => (over, neutral(*reduce)),
            Op::Contract(over) => (over, 0.0),
            _ => return args,
        };
        for (at, arg) in args.iter_mut().enumerate() {
            if self.is_weight(inst.args[at]) {
                continue;
            }
            for dim in self.padded(over, &row.args[at]) {
                *arg = self.masked(*arg, dim, &row.args[at], fill, inst.origin);
            }
        }
        args
    }

    /// A weight's gradient with zeros in all padding.
    pub(super) fn zero_padding(&mut self, mut gradient: Value, own: &Placement, origin: Origin) -> Value {
        let dims: Vec<Dim> = own.cuts.keys().copied().collect();
        for dim in self.padded(&dims, own) {
            gradient = self.masked(gradient, dim, own, 0.0, origin);
        }
        gradient
    }

    /// A value with `fill` in the padding of a dim.
    fn masked(&mut self, value: Value, dim: Dim, placed: &Placement, fill: f64, origin: Origin) -> Value {
        let (local, size) = (self.part.dim(dim, placed), self.part.dims[dim].size as i64);
        let ty = |element| Type { element, dims: vec![local] };
        let at = local::position(self, dim, placed, &ty(Element::Integer), origin);
        let end = self.body.push(Op::Integer(size), Vec::new(), Type { element: Element::Integer, dims: Vec::new() }, origin);
        let inside = self.body.push(Op::Map(Map::Lt), vec![at, end], ty(Element::Bool), origin);
        let fill = self.body.push(Op::Const(fill), Vec::new(), Type::real(Vec::new()), origin);
        let data = self.body.values[value].clone();
        let masked = self.body.push(Op::Map(Map::Where), vec![inside, value, fill], data.ty, origin);
        self.body.values[masked].name = data.name;
        masked
    }

    /// Notes a step that moves along a padded dim.
    pub(super) fn never_padded(&mut self, step: &Step, origin: Origin) {
        let dims: &[&Dim] = match step {
            Step::ReduceScatter(_, dim, _) | Step::AllGather(dim, _) | Step::Cut(dim, _) => &[dim],
            Step::AllToAll(dim, other, _) => &[dim, other],
            Step::AllReduce(..) => &[],
        };
        for dim in dims {
            self.note(**dim, origin);
        }
    }

    /// Notes an operator that looks along a padded dim, or counts its elements.
    pub(super) fn look_along(&mut self, inst: &Inst, row: &Row) {
        let along: Vec<Dim> = match &inst.op {
            Op::Shape(shape) => of_shape(shape),
            Op::Index(Index::Cumsum(dim) | Index::CumsumReverse(dim)) => vec![*dim],
            Op::Attention(of) | Op::AttentionGrad(of) => vec![of.query, of.key, of.feature],
            Op::Random(_) => self.old.ty(inst.results[0]).dims.clone(),
            _ => Vec::new(),
        };
        let cut = |dim: &Dim| row.args.iter().chain(&row.results).any(|placed| self.is_padded(*dim, placed.of(*dim)));
        let found: Vec<Dim> = along.into_iter().filter(cut).collect();
        found.into_iter().for_each(|dim| self.note(dim, inst.origin));
    }

    fn note(&mut self, dim: Dim, origin: Origin) {
        let cuts = &mut self.part.cuts;
        if cuts.has_padding(dim) && !cuts.unpadded.contains(&(dim, origin)) {
            cuts.unpadded.push((dim, origin));
        }
    }
}

/// What changes no result of a reduction.
fn neutral(reduce: Reduce) -> f64 {
    match reduce {
        Reduce::Sum => 0.0,
        Reduce::Max | Reduce::Argmax => f64::NEG_INFINITY,
        Reduce::Min => f64::INFINITY,
    }
}

/// The dims along which a shape operator looks.
fn of_shape(shape: &Shape) -> Vec<Dim> {
    match shape {
        Shape::Rename { .. } | Shape::Expand => Vec::new(),
        Shape::Split { from, .. } | Shape::Slice { from, .. } | Shape::Pad { from, .. } | Shape::Take { from, .. } => vec![*from],
        Shape::Merge { from, .. } | Shape::Concat { from, .. } => from.clone(),
        Shape::Shift { dim, .. } | Shape::Roll { dim, .. } => vec![*dim],
    }
}
