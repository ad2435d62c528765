//! The rewrites of [`super::legalise`] for scatters, lookups, rolls and running sums.
//!
//! Requires and ensures what that pass does.

use super::facts::is_cheap;
use super::legalise::Rewriter;
use crate::op::{Dim, Element, Index, Map, Op, Origin, Reduce, Shape, Type, Value};

/// `result[into = index, …] = sum of value`. Where nothing is summed, or the index is one number, the result is a choice by comparison of the
/// index with positions; else its segments are summed.
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
    let rows = rewriter.body.ty(index).dims.iter().any(|dim| !ty.has(*dim));
    if rows {
        return segments(rewriter, into, args, ty, origin);
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

/// A scatter of whole segments: what it keeps beside the index's dims is made one dim of the value and of the result, by copies if need be.
fn segments(rewriter: &mut Rewriter<'_>, into: Dim, [index, value]: [Value; 2], ty: Type, origin: Origin) -> Value {
    let batch: Vec<Dim> = rewriter.body.ty(index).dims.iter().copied().filter(|dim| ty.has(*dim)).collect();
    let kept: Vec<Dim> = ty.dims.iter().copied().filter(|dim| *dim != into && !batch.contains(dim)).collect();
    let view = rewriter.view(value);
    let long: Vec<Dim> = kept.iter().copied().filter(|dim| rewriter.dims[*dim].size > 1).collect();
    let chained = long.windows(2).all(|pair| view.stride(pair[0]) == view.stride(pair[1]) * rewriter.dims[pair[1]].size);
    let value = if chained {
        value
    } else {
        let rest = rewriter.body.ty(value).dims.iter().copied().filter(|dim| !kept.contains(dim));
        let layout = Type { element: rewriter.body.ty(value).element, dims: rest.chain(kept.iter().copied()).collect() };
        rewriter.copy(value, layout, origin)
    };
    let whole = Type::real(batch.iter().copied().chain([into]).chain(kept.iter().copied()).collect());
    let apart = kept.len() > 1 && !ty.dims.windows(kept.len()).any(|dims| dims == kept);
    let op = Op::Index(Index::Scatter { into });
    if apart {
        let sum = rewriter.push(op, vec![index, value], whole, origin);
        rewriter.copy(sum, ty, origin)
    } else {
        rewriter.push(op, vec![index, value], ty, origin)
    }
}

/// A roll. That of a cheap function of one large argument is the function of rolls, so that its result need not be in memory.
pub(super) fn roll(rewriter: &mut Rewriter<'_>, dim: Dim, by: u64, arg: Value, ty: Type, origin: Origin) -> Value {
    rolled(rewriter, dim, by, arg, &ty, origin, 4)
        .unwrap_or_else(|| rewriter.push(Op::Shape(Shape::Roll { dim, by }), vec![arg], ty, origin))
}

fn rolled(rewriter: &mut Rewriter<'_>, dim: Dim, by: u64, arg: Value, ty: &Type, origin: Origin, depth: u32) -> Option<Value> {
    let inst = rewriter.def(arg)?.clone();
    match &inst.op {
        Op::Index(Index::Position(own)) if *own == dim && !rewriter.is_batch(dim) => {
            let [by, size] = [by, rewriter.dims[dim].size].map(|number| {
                rewriter.push(Op::Integer(number as i64), Vec::new(), Type { element: Element::Integer, dims: Vec::new() }, origin)
            });
            let sum = rewriter.map(Map::Add, &[arg, by], ty.clone(), origin);
            Some(rewriter.map(Map::Rem, &[sum, size], ty.clone(), origin))
        }
        Op::Map(op) if depth > 0 && is_cheap(*op) && one_is_large(rewriter, &inst.args, ty) => {
            let args: Vec<Value> = inst
                .args
                .iter()
                .map(|arg| {
                    let own = rewriter.body.ty(*arg).clone();
                    if !own.has(dim) || rewriter.view(*arg).stride(dim) == 0 {
                        return *arg;
                    }
                    let deeper = rolled(rewriter, dim, by, *arg, &own, origin, depth - 1);
                    deeper.unwrap_or_else(|| rewriter.push(Op::Shape(Shape::Roll { dim, by }), vec![*arg], own, origin))
                })
                .collect();
            Some(rewriter.map(*op, &args, ty.clone(), inst.origin))
        }
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Reduce(..) | Op::Contract(_) | Op::Index(_) | Op::Shape(_) => None,
        Op::Random(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Anchor | Op::Stop | Op::Collective(_) => None,
    }
}

/// Whether all arguments but one are small beside the result.
fn one_is_large(rewriter: &Rewriter<'_>, args: &[Value], ty: &Type) -> bool {
    let mut large: Vec<Value> =
        args.iter().copied().filter(|arg| rewriter.body.ty(*arg).elements(rewriter.dims) * 8 > ty.elements(rewriter.dims)).collect();
    large.sort_unstable();
    large.dedup();
    large.len() <= 1
}

/// How many functions a lookup goes through at most.
const DEPTH: u32 = 8;

/// A lookup. Looking up arguments instead of results spares the table: only what is looked up is computed.
pub(super) fn gather(rewriter: &mut Rewriter<'_>, over: Dim, args: [Value; 2], ty: Type, origin: Origin) -> Value {
    let few = |rewriter: &Rewriter<'_>, table: Value| ty.elements(rewriter.dims) * 2 <= rewriter.body.ty(table).elements(rewriter.dims);
    if few(rewriter, args[0])
        && let Some(found) = through(rewriter, over, args, &ty, DEPTH)
    {
        return found;
    }
    rewriter.push(Op::Index(Index::Gather { over }), args.to_vec(), ty, origin)
}

/// The function that made the table, of lookups in its arguments; none if it was not made by one.
fn through(rewriter: &mut Rewriter<'_>, over: Dim, [table, index]: [Value; 2], ty: &Type, depth: u32) -> Option<Value> {
    let inst = rewriter.def(table)?.clone();
    let Op::Map(op) = inst.op else { return None };
    let mut args = Vec::new();
    for arg in inst.args {
        let own = rewriter.body.ty(arg).clone();
        if !own.has(over) {
            args.push(arg);
            continue;
        }
        let dims = ty.dims.iter().copied().filter(|dim| own.has(*dim) || rewriter.body.ty(index).has(*dim)).collect();
        let part = Type { element: own.element, dims };
        let deeper = if depth > 0 { through(rewriter, over, [arg, index], &part, depth - 1) } else { None };
        args.push(deeper.unwrap_or_else(|| rewriter.push(Op::Index(Index::Gather { over }), vec![arg, index], part, inst.origin)));
    }
    Some(rewriter.map(op, &args, ty.clone(), inst.origin))
}

/// A running sum; from the end it is the whole sum without what comes before.
pub(super) fn cumsum(rewriter: &mut Rewriter<'_>, dim: Dim, arg: Value, ty: Type, origin: Origin, reverse: bool) -> Value {
    let from = rewriter.body.ty(arg).clone();
    let real = Type::real(from.dims.clone());
    let whole = !from.element.is_real();
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
