//! The rewrites of [`super::legalise`] for scatters and running sums.
//!
//! Requires and ensures what that pass does.

use super::legalise::Rewriter;
use crate::op::{Dim, Element, Index, Map, Op, Origin, Reduce, Type, Value};

/// `result[into = index, …] = sum of value`. If index and result share dims, the result is a sum of comparisons of `index` with positions:
/// no two tokens of different rows can meet.
pub(super) fn scatter(rewriter: &mut Rewriter<'_>, into: Dim, args: [Value; 2], ty: Type, origin: Origin) -> Value {
    let [index, value] = args;
    let mut summed: Vec<Dim> = rewriter.body.ty(index).dims.clone();
    summed.extend(rewriter.body.ty(value).dims.iter().copied());
    summed.retain(|dim| !ty.has(*dim));
    summed.dedup_by(|a, b| a == b);
    let mut seen = Vec::new();
    summed.retain(|dim| {
        !seen.contains(dim) && {
            seen.push(*dim);
            true
        }
    });
    let shares = rewriter.body.ty(index).dims.iter().any(|dim| ty.has(*dim));
    if !shares && !rewriter.body.ty(index).dims.is_empty() {
        return rewriter.push(Op::Index(Index::Scatter { into }), args.to_vec(), ty, origin);
    }
    let kept: Vec<Dim> = ty.dims.iter().copied().filter(|dim| *dim != into).collect();
    let all: Vec<Dim> = kept.into_iter().chain(summed.iter().copied()).chain([into]).collect();
    let position =
        rewriter.push(Op::Index(Index::Position(into)), Vec::new(), Type { element: Element::Integer, dims: vec![into] }, origin);
    let zero = rewriter.push(Op::Const(0.0), Vec::new(), Type::real(Vec::new()), origin);
    let mut here = rewriter.body.ty(index).dims.clone();
    here.push(into);
    let hit = rewriter.map(Map::Eq, &[index, position], Type { element: Element::Bool, dims: here }, origin);
    let spread = if summed.is_empty() { ty.clone() } else { Type::real(all) };
    let spread = rewriter.map(Map::Where, &[hit, value, zero], spread, origin);
    if summed.is_empty() { spread } else { rewriter.reduce(Reduce::Sum, &summed, spread, ty, origin) }
}

/// A running sum; from the end it is the whole sum without what comes before.
pub(super) fn cumsum(rewriter: &mut Rewriter<'_>, dim: Dim, arg: Value, ty: Type, origin: Origin, reverse: bool) -> Value {
    let from = rewriter.body.ty(arg).clone();
    let real = Type::real(from.dims.clone());
    let whole = from.element != Element::Real;
    let arg = if whole { rewriter.map(Map::Real, &[arg], real.clone(), origin) } else { arg };
    let target = if whole { real.clone() } else { ty.clone() };
    let running = rewriter.push(Op::Index(Index::Cumsum(dim)), vec![arg], target.clone(), origin);
    let result = if reverse {
        let without = Type::real(from.dims.iter().copied().filter(|other| *other != dim).collect());
        let total = rewriter.reduce(Reduce::Sum, &[dim], arg, without, origin);
        let after = rewriter.map(Map::Sub, &[total, running], target.clone(), origin);
        rewriter.map(Map::Add, &[after, arg], target, origin)
    } else {
        running
    };
    if whole { rewriter.map(Map::Int, &[result], ty, origin) } else { result }
}
