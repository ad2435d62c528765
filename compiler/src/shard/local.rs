//! Instructions over local dims: dims replaced, positions and lookups shifted to where a rank stands.
//!
//! Requires operands at the placements of the instruction's row. Ensures results at its placements.

use super::ir::{Axis, Placement};
use super::partition::Walk;
use super::ring;
use super::rules::Row;
use crate::op::{Attention, Cut, Dim, Element, Index, Inst, Map, Op, Origin, Random, Shape, Type, Value};

/// Appends the local form of an instruction; gives its results.
pub(super) fn inst(walk: &mut Walk<'_, '_>, inst: &Inst, row: &Row, args: Vec<Value>) -> Vec<Value> {
    let types: Vec<Type> = inst.results.iter().zip(&row.results).map(|(value, placed)| walk.part.ty(walk.old.ty(*value), placed)).collect();
    match &inst.op {
        Op::Index(Index::Position(dim)) => vec![position(walk, *dim, &row.results[0], &types[0], inst.origin)],
        Op::Index(Index::Gather { over }) if !row.args[0].of(*over).is_empty() => {
            vec![gather(walk, *over, row, args, &types[0], inst.origin)]
        }
        Op::Index(Index::Scatter { into }) if !row.results[0].of(*into).is_empty() => {
            let index = shifted(walk, args[0], *into, &row.results[0], inst.origin);
            let into = walk.part.dim(*into, &row.results[0]);
            vec![walk.body.push(Op::Index(Index::Scatter { into }), vec![index, args[1]], types[0].clone(), inst.origin)]
        }
        Op::Random(Random::Uniform { site, .. }) => {
            let cuts = cuts(walk, row, inst.results[0]);
            let op = Op::Random(Random::Uniform { site: site.clone(), cuts });
            walk.body.push_many(op, args, types, inst.origin)
        }
        Op::Attention(of) | Op::AttentionGrad(of) if !row.args[1].of(of.key).is_empty() => {
            ring::inst(walk, of, row, &args, types, inst.origin)
        }
        op => {
            let op = local(walk, op, row);
            walk.body.push_many(op, args, types, inst.origin)
        }
    }
}

/// The operator with local dims.
fn local(walk: &mut Walk<'_, '_>, op: &Op, row: &Row) -> Op {
    let mut arg = |dim: &Dim| walk.part.dim(*dim, &row.args[0]);
    match op {
        Op::Reduce(reduce, over) => Op::Reduce(*reduce, over.iter().map(arg).collect()),
        Op::Contract(over) => Op::Contract(over.iter().map(arg).collect()),
        Op::Index(Index::Gather { over }) => Op::Index(Index::Gather { over: arg(over) }),
        Op::Index(Index::Cumsum(dim)) => Op::Index(Index::Cumsum(arg(dim))),
        Op::Index(Index::CumsumReverse(dim)) => Op::Index(Index::CumsumReverse(arg(dim))),
        Op::Shape(of) => Op::Shape(shape(walk, of, row)),
        Op::Attention(of) => Op::Attention(attention(walk, of, row)),
        Op::AttentionGrad(of) => Op::AttentionGrad(attention(walk, of, row)),
        Op::Index(Index::Position(_) | Index::Scatter { .. } | Index::Coordinate(_)) => op.clone(),
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Anchor | Op::Stop => op.clone(),
        Op::Random(_) | Op::Collective(_) => op.clone(),
    }
}

fn shape(walk: &mut Walk<'_, '_>, shape: &Shape, row: &Row) -> Shape {
    let mut arg = |dim: &Dim| walk.part.dim(*dim, &row.args[0]);
    match shape {
        Shape::Rename { from, to } => Shape::Rename { from: arg(from), to: walk.part.dim(*to, &row.results[0]) },
        Shape::Split { from, into } => {
            let from = arg(from);
            Shape::Split { from, into: into.iter().map(|dim| walk.part.dim(*dim, &row.results[0])).collect() }
        }
        Shape::Merge { from, into } => {
            let from = from.iter().map(arg).collect();
            Shape::Merge { from, into: walk.part.dim(*into, &row.results[0]) }
        }
        Shape::Slice { .. } | Shape::Pad { .. } | Shape::Take { .. } | Shape::Concat { .. } => shape.clone(),
        Shape::Shift { .. } | Shape::Roll { .. } | Shape::Expand => shape.clone(),
    }
}

fn cuts(walk: &mut Walk<'_, '_>, row: &Row, result: Value) -> Vec<Cut> {
    let placed = &row.results[0];
    let dims = walk.old.ty(result).dims.clone();
    let cut = dims.into_iter().filter(|dim| !placed.of(*dim).is_empty());
    let of = |dim: Dim| Cut {
        dim: walk.part.dim(dim, placed),
        axes: walk.part.mesh.names(placed.of(dim)),
        parts: walk.part.mesh.size(placed.of(dim)),
        balanced: walk.part.cuts.has_balanced(dim),
    };
    cut.map(of).collect()
}

/// Queries may be cut: then they start where this rank's part does. Where keys are cut, too, [`ring`] says whose they are.
pub(super) fn attention(walk: &mut Walk<'_, '_>, attention: &Attention, row: &Row) -> Attention {
    let queries = row.args[0].of(attention.query).to_vec();
    let (query, key) = (walk.part.dim(attention.query, &row.args[0]), walk.part.dim(attention.key, &row.args[1]));
    let balanced = walk.part.cuts.is_balanced(query);
    let run = walk.part.dims[query].size / if balanced { 2 } else { 1 };
    let first_query = (!queries.is_empty()).then(|| walk.part.coordinate(&queries, run));
    Attention { query, key, first_query, balanced, ..attention.clone() }
}

/// The number of this rank's first element along a dim.
fn first(walk: &mut Walk<'_, '_>, dim: Dim, placed: &Placement, origin: Origin) -> Value {
    let local = walk.part.dim(dim, placed);
    let at = walk.part.coordinate(placed.of(dim), walk.part.dims[local].size);
    let ty = Type { element: Element::Integer, dims: Vec::new() };
    walk.body.push(Op::Index(Index::Coordinate(at)), Vec::new(), ty, origin)
}

pub(super) fn position(walk: &mut Walk<'_, '_>, dim: Dim, placed: &Placement, ty: &Type, origin: Origin) -> Value {
    let local = walk.part.dim(dim, placed);
    let here = walk.body.push(Op::Index(Index::Position(local)), Vec::new(), ty.clone(), origin);
    if placed.of(dim).is_empty() {
        return here;
    }
    if walk.part.cuts.has_balanced(dim) {
        return walk.positions(dim, placed, here, origin);
    }
    let first = first(walk, dim, placed, origin);
    walk.body.push(Op::Map(Map::Add), vec![here, first], ty.clone(), origin)
}

/// An index as it counts in this rank's part of a dim; outside of that for what others have.
fn shifted(walk: &mut Walk<'_, '_>, index: Value, dim: Dim, placed: &Placement, origin: Origin) -> Value {
    let first = first(walk, dim, placed, origin);
    let ty = Type { element: Element::Integer, dims: walk.body.ty(index).dims.clone() };
    walk.body.push(Op::Map(Map::Sub), vec![index, first], ty, origin)
}

/// A lookup in this rank's part of a table; zero for what others have.
fn gather(walk: &mut Walk<'_, '_>, over: Dim, row: &Row, args: Vec<Value>, ty: &Type, origin: Origin) -> Value {
    let at = shifted(walk, args[1], over, &row.args[0], origin);
    let over = walk.part.dim(over, &row.args[0]);
    let size = walk.part.dims[over].size as i64;
    let dims = walk.body.ty(at).dims.clone();
    let mut integer =
        |number: i64| walk.body.push(Op::Integer(number), Vec::new(), Type { element: Element::Integer, dims: Vec::new() }, origin);
    let (zero, last) = (integer(0), integer(size - 1));
    let mut map = |op: Map, args: [Value; 2], element: Element| {
        walk.body.push(Op::Map(op), args.to_vec(), Type { element, dims: dims.clone() }, origin)
    };
    let (from, to) = (map(Map::Le, [zero, at], Element::Bool), map(Map::Le, [at, last], Element::Bool));
    let inside = map(Map::And, [from, to], Element::Bool);
    let low = map(Map::Max, [at, zero], Element::Integer);
    let index = map(Map::Min, [low, last], Element::Integer);
    let found = walk.body.push(Op::Index(Index::Gather { over }), vec![args[0], index], ty.clone(), origin);
    let nothing = walk.body.push(Op::Const(0.0), Vec::new(), Type { element: Element::Real, dims: Vec::new() }, origin);
    walk.body.push(Op::Map(Map::Where), vec![inside, found, nothing], ty.clone(), origin)
}

/// This rank's part of a dim that it has whole (or a larger part of): the dim is split into everyone's parts, and its own is looked up.
pub(super) fn cut(
    walk: &mut Walk<'_, '_>,
    dim: Dim,
    axes: &[Axis],
    (before, after): (&Placement, &Placement),
    value: Value,
    local: Value,
    origin: Origin,
) -> Value {
    let local = walk.by_rank(dim, before, axes, local, origin);
    let (from, part) = (walk.gathered(dim, before, axes), walk.part.dim(dim, after));
    let over = walk.part.cuts.parts(walk.part.dims, walk.part.mesh, axes);
    let mut apart = walk.body.ty(local).clone();
    if let Some(at) = apart.dims.iter().position(|own| *own == from) {
        apart.dims.splice(at..=at, [over, part]);
    }
    let all = walk.body.push(Op::Shape(Shape::Split { from, into: vec![over, part] }), vec![local], apart, origin);
    let own = Op::Index(Index::Coordinate(walk.part.coordinate(axes, 1)));
    let own = walk.body.push(own, Vec::new(), Type { element: Element::Integer, dims: Vec::new() }, origin);
    let ty = walk.part.ty(walk.old.ty(value), after);
    walk.body.push(Op::Index(Index::Gather { over }), vec![all, own], ty, origin)
}
