//! The rewrite of [`super::legalise`] for attention's gradient.
//!
//! Requires and ensures what that pass does: keys and values have all dims that either of them shares with queries.

use super::legalise::Rewriter;
use crate::op::{Attention, Dim, Op, Origin, Reduce, Type, Value};

/// Keys or values that lack a shared dim are repeated along it, and their cotangents summed over it.
pub(super) fn gradient(rewriter: &mut Rewriter<'_>, attention: &Attention, args: &[Value], types: &[Type], origin: Origin) -> Vec<Value> {
    let dims = |rewriter: &Rewriter<'_>, at: usize| rewriter.body.ty(args[at]).dims.clone();
    let (q, k, v) = (dims(rewriter, 0), dims(rewriter, 1), dims(rewriter, 2));
    let around = |dim: &Dim| *dim != attention.query && *dim != attention.feature && (k.contains(dim) || v.contains(dim));
    let shared: Vec<Dim> = q.iter().copied().filter(around).collect();
    let (mut wide, mut results) = (args.to_vec(), types.to_vec());
    for at in [1, 2] {
        let missing: Vec<Dim> = shared.iter().copied().filter(|dim| !types[at].has(*dim)).collect();
        let own = &rewriter.body.ty(args[at]).dims;
        if !missing.is_empty() {
            let all = Type { element: rewriter.body.ty(args[at]).element, dims: missing.iter().chain(own).copied().collect() };
            wide[at] = rewriter.copy(args[at], all, origin);
            results[at].dims = missing.into_iter().chain(types[at].dims.iter().copied()).collect();
        }
    }
    let op = Op::AttentionGrad(attention.clone());
    let grads = rewriter.push_many(op, wide, results.clone(), origin);
    let narrow = |(at, grad): (usize, Value)| {
        let over: Vec<Dim> = results[at].dims.iter().copied().filter(|dim| !types[at].has(*dim)).collect();
        if over.is_empty() { grad } else { rewriter.reduce(Reduce::Sum, &over, grad, types[at].clone(), origin) }
    };
    grads.into_iter().enumerate().map(narrow).collect()
}
