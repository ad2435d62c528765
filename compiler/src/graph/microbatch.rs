//! Cuts the batch into microbatches: dims get the sizes of one, and sums over the batch are scaled so that the mean over microbatches is exact.
//!
//! Requires a typed model. Ensures that every dim made from the batch dim has the size of one microbatch. A sum over such a dim is, in one
//! microbatch, the share of the whole sum; times the number of microbatches it is an estimate whose mean over them is exact, for all that
//! is linear in it. What is neither a sum nor within samples is refused.

use super::error;
use crate::model::ir::Model;
use crate::op::{Body, Dim, Dims, Index, Inst, Map, Op, Origins, Reduce, Shape, Type};
use meshwright_grammar::Diagnostic;
use std::collections::BTreeSet;

/// Cuts `model` in place; says what does not divide or cannot be cut.
pub fn cut(model: &mut Model) -> Result<(), Vec<Diagnostic>> {
    let count = model.settings.train.microbatches;
    if count <= 1 {
        return Ok(());
    }
    let (batch, parts) = (model.batch, batch_dims(model));
    let mut errors = divide(&mut model.dims, &parts, count);
    for function in model.functions.values_mut() {
        let refused = function.body.insts.iter().filter_map(|inst| refusal(inst, &function.body, batch, &parts));
        errors.extend(refused.map(|(what, dim, inst)| error::batch_cut(what, &model.dims[dim].name, count, span_of(&model.origins, inst))));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for function in model.functions.values_mut() {
        scale(&mut function.body, &parts, count);
    }
    Ok(())
}

fn span_of(origins: &Origins, inst: &Inst) -> Option<meshwright_grammar::Span> {
    origins.get(inst.origin).and_then(|origin| origin.span)
}

/// The batch dim and all that other names, splits and merges make of it. Of a split, the outermost part is cut.
fn batch_dims(model: &Model) -> BTreeSet<Dim> {
    let mut parts = BTreeSet::from([model.batch]);
    loop {
        let before = parts.len();
        for inst in model.functions.values().flat_map(|function| &function.body.insts) {
            match &inst.op {
                Op::Shape(Shape::Rename { from, to }) => extend(&mut parts, from, to),
                Op::Shape(Shape::Split { from, into }) => extend(&mut parts, from, &into[0]),
                Op::Shape(Shape::Merge { from, into }) => from.iter().for_each(|from| extend(&mut parts, from, into)),
                _ => {}
            }
        }
        if parts.len() == before {
            return parts;
        }
    }
}

fn extend(parts: &mut BTreeSet<Dim>, from: &Dim, to: &Dim) {
    if parts.contains(from) {
        parts.insert(*to);
    }
}

fn divide(dims: &mut Dims, parts: &BTreeSet<Dim>, count: u64) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for dim in parts {
        let data = &mut dims[*dim];
        if data.size.is_multiple_of(count) {
            data.size /= count;
        } else {
            errors.push(error::microbatches(&data.name, data.size, count, data.span));
        }
    }
    errors
}

/// What `inst` does along a part of the batch that cannot be done in microbatches.
fn refusal<'a>(inst: &'a Inst, body: &Body, batch: Dim, parts: &BTreeSet<Dim>) -> Option<(&'static str, Dim, &'a Inst)> {
    let is_part = |dim: &Dim| parts.contains(dim).then_some(*dim);
    let inner = |dims: &[Dim]| dims.iter().find_map(|dim| is_part(dim).filter(|dim| *dim != batch));
    let found = match &inst.op {
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Anchor | Op::Stop | Op::Collective(_) => None,
        Op::Reduce(Reduce::Sum, _) | Op::Contract(_) => None,
        Op::Reduce(Reduce::Max | Reduce::Min | Reduce::Argmax, over) => {
            over.iter().find_map(is_part).map(|dim| ("a maximum or minimum", dim))
        }
        Op::Index(Index::Coordinate(_)) => None,
        Op::Index(Index::Position(dim)) => is_part(dim).filter(|dim| *dim != batch).map(|dim| ("counting positions", dim)),
        Op::Index(Index::Gather { over: dim } | Index::Scatter { into: dim }) => is_part(dim).map(|dim| ("a lookup", dim)),
        Op::Index(Index::Cumsum(dim) | Index::CumsumReverse(dim)) => is_part(dim).map(|dim| ("a running sum", dim)),
        Op::Shape(shape) => return along(shape, parts).map(|(what, dim)| (what, dim, inst)),
        Op::Random(_) => inner(&body.ty(inst.results[0]).dims).map(|dim| ("counting random numbers", dim)),
        Op::Attention(attention) | Op::AttentionGrad(attention) => {
            [attention.query, attention.key, attention.feature].iter().find_map(is_part).map(|dim| ("attention", dim))
        }
    };
    found.map(|(what, dim)| (what, dim, inst))
}

fn along(shape: &Shape, parts: &BTreeSet<Dim>) -> Option<(&'static str, Dim)> {
    let (what, dims): (_, Vec<Dim>) = match shape {
        Shape::Rename { .. } | Shape::Split { .. } | Shape::Expand => return None,
        // A merge keeps samples together in order only if the cut dim is the outermost one.
        Shape::Merge { from, .. } => ("a merge with the batch inside", from[1..].to_vec()),
        Shape::Slice { from, into, .. } | Shape::Pad { from, into, .. } => ("a slice or padding", vec![*from, *into]),
        Shape::Take { from, .. } => ("taking one element", vec![*from]),
        Shape::Concat { from, into } => ("a concatenation", from.iter().chain([into]).copied().collect()),
        Shape::Shift { dim, .. } | Shape::Roll { dim, .. } => ("a shift", vec![*dim]),
    };
    dims.into_iter().find(|dim| parts.contains(dim)).map(|dim| (what, dim))
}

/// Multiplies every sum over a part of the batch by `count`.
fn scale(body: &mut Body, parts: &BTreeSet<Dim>, count: u64) {
    let insts = std::mem::take(&mut body.insts);
    for mut inst in insts {
        if !sums_over(&inst, body, parts) {
            body.insts.push(inst);
            continue;
        }
        let (result, origin) = (inst.results[0], inst.origin);
        let data = body.values[result].clone();
        let part = body.values.push(data);
        inst.results = vec![part];
        body.insts.push(inst);
        let factor = body.push(Op::Const(count as f64), Vec::new(), Type::real(Vec::new()), origin);
        body.insts.push(Inst { op: Op::Map(Map::Mul), args: vec![part, factor], results: vec![result], origin });
    }
}

fn sums_over(inst: &Inst, body: &Body, parts: &BTreeSet<Dim>) -> bool {
    match &inst.op {
        Op::Reduce(Reduce::Sum, over) | Op::Contract(over) => over.iter().any(|dim| parts.contains(dim)),
        Op::Index(Index::Scatter { .. }) => {
            let result = body.ty(inst.results[0]);
            body.ty(inst.args[0]).dims.iter().any(|dim| parts.contains(dim) && !result.has(*dim))
        }
        _ => false,
    }
}
