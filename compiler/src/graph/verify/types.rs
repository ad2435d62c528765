//! The typing rule of every primitive.
//!
//! Requires types of arguments and results. Ensures that what passes has the meaning that `op::kind` states: dims as sets (layout is free), elements
//! by kind (any integer will do where an index is looked up).

use crate::op::{Attention, Collective, Dim, Dims, Element, Exchange, Index, Map, Op, Reduce, Shape, Type};
use std::collections::BTreeSet;

type Checked = Result<(), String>;
type Set = BTreeSet<Dim>;

/// Checks one instruction; the error says what does not fit.
pub fn check(op: &Op, args: &[&Type], results: &[&Type], dims: &Dims) -> Checked {
    for ty in args.iter().chain(results) {
        need(set(ty).len() == ty.dims.len(), "a type has a dim twice")?;
    }
    if let Op::Attention(attention) | Op::AttentionGrad(attention) = op {
        return attention_types(attention, matches!(op, Op::Attention(_)), args, results);
    }
    need(results.len() == 1, "it has one result")?;
    let result = results[0];
    match op {
        Op::Const(_) | Op::Scalar(_) => need(args.is_empty() && *result == Type::real(Vec::new()), "it is a real number without dims"),
        Op::Integer(_) => need(args.is_empty() && result.dims.is_empty() && is_integer(result), "it is an integer without dims"),
        Op::Map(map) => of_map(*map, args, result),
        Op::Reduce(reduce, over) => of_reduce(*reduce, over, args, result),
        Op::Contract(over) => of_contract(over, args, result),
        Op::Index(index) => of_index(index, args, result),
        Op::Shape(shape) => of_shape(shape, args, result, dims),
        Op::Random(_) => need(args.is_empty() && is_real(result), "it is real and has no arguments"),
        Op::Anchor | Op::Stop => need(args.len() == 1 && args[0].same_set(result), "it is the identity"),
        Op::Collective(collective) => of_collective(collective, args, result),
        Op::Attention(_) | Op::AttentionGrad(_) => Ok(()),
    }
}

/// The argument's dims, some of them replaced; values that are reduced are real.
fn of_collective(collective: &Collective, args: &[&Type], result: &Type) -> Checked {
    need(args.len() == 1 && args[0].element == result.element, "one argument, of the result's element")?;
    let (replaced, reduces): (Vec<(Dim, Dim)>, bool) = match collective.exchange {
        Exchange::AllGather { part, whole } => (vec![(part, whole)], false),
        Exchange::ReduceScatter { whole, part, .. } => (vec![(whole, part)], true),
        Exchange::AllReduce { .. } => (Vec::new(), true),
        Exchange::Permute { .. } => (Vec::new(), false),
        Exchange::AllToAll { part, whole, cut, into } => (vec![(part, whole), (cut, into)], false),
    };
    need(!reduces || is_real(result), "only real numbers are reduced")?;
    need(replaced.iter().all(|(from, _)| args[0].has(*from)), "the argument has the dims that are exchanged")?;
    let new = |dim: &Dim| replaced.iter().find(|(from, _)| from == dim).map_or(*dim, |(_, to)| *to);
    need(args[0].dims.iter().map(new).collect::<Set>() == set(result), "the result has the argument's dims, exchanged")
}

fn need(condition: bool, message: &str) -> Checked {
    if condition { Ok(()) } else { Err(message.to_string()) }
}

fn set(ty: &Type) -> Set {
    ty.dims.iter().copied().collect()
}

fn is_real(ty: &Type) -> bool {
    ty.element == Element::Real
}

fn is_bool(ty: &Type) -> bool {
    ty.element == Element::Bool
}

fn is_integer(ty: &Type) -> bool {
    matches!(ty.element, Element::Integer | Element::Index(_))
}

fn of_map(map: Map, args: &[&Type], result: &Type) -> Checked {
    need(args.iter().all(|arg| set(arg).is_subset(&set(result))), "an argument has a dim that the result lacks")?;
    let all = |kind: fn(&Type) -> bool| args.iter().all(|arg| kind(arg));
    let same = (all(is_real) && is_real(result)) || (all(is_integer) && is_integer(result));
    let (count, fits) = match map {
        Map::Add | Map::Sub | Map::Mul | Map::Div | Map::Min | Map::Max | Map::Pow => (2, same),
        Map::Rem => (2, all(is_integer) && is_integer(result)),
        Map::Neg | Map::Abs | Map::Sign => (1, same),
        Map::Floor | Map::Exp | Map::Log | Map::Sin | Map::Cos | Map::Tanh | Map::Erf | Map::Sqrt | Map::Rsqrt | Map::RoundBf16 => {
            (1, all(is_real) && is_real(result))
        }
        Map::Lt | Map::Le | Map::Eq | Map::Ne => (2, (all(is_real) || all(is_integer) || all(is_bool)) && is_bool(result)),
        Map::And | Map::Or => (2, all(is_bool) && is_bool(result)),
        Map::Not => (1, all(is_bool) && is_bool(result)),
        Map::Where => {
            let kind = |kind: fn(&Type) -> bool| args[1..].iter().all(|arg| kind(arg)) && kind(result);
            (3, args.len() == 3 && is_bool(args[0]) && (kind(is_real) || kind(is_integer) || kind(is_bool)))
        }
        Map::Real => (1, !all(is_real) && is_real(result)),
        Map::Int => (1, is_integer(result)),
    };
    need(args.len() == count && fits, "elements do not fit")
}

fn of_reduce(reduce: Reduce, over: &[Dim], args: &[&Type], result: &Type) -> Checked {
    need(args.len() == 1 && over.iter().all(|dim| args[0].has(*dim)), "the argument has the dims that it goes over")?;
    let left: Set = set(args[0]).into_iter().filter(|dim| !over.contains(dim)).collect();
    need(left == set(result), "the result has the other dims")?;
    match reduce {
        Reduce::Argmax => need(over.len() == 1 && is_integer(result), "argmax gives an index of one dim"),
        Reduce::Sum | Reduce::Max | Reduce::Min => need(args[0].element == result.element && !is_bool(result), "the element stays"),
    }
}

fn of_contract(over: &[Dim], args: &[&Type], result: &Type) -> Checked {
    need(args.len() == 2 && args.iter().all(|arg| is_real(arg)) && is_real(result), "two real operands")?;
    need(
        !over.is_empty() && over.iter().all(|dim| args[0].has(*dim) && args[1].has(*dim)),
        "both operands have the dims that it goes over",
    )?;
    let left: Set = set(args[0]).union(&set(args[1])).copied().filter(|dim| !over.contains(dim)).collect();
    need(left == set(result), "the result has the operands' other dims")
}

fn of_index(index: &Index, args: &[&Type], result: &Type) -> Checked {
    let without = |ty: &Type, dim: Dim| set(ty).into_iter().filter(|own| *own != dim).collect::<Set>();
    match index {
        Index::Coordinate(_) => need(args.is_empty() && is_integer(result) && result.dims.is_empty(), "an integer without dims"),
        Index::Position(dim) => need(args.is_empty() && is_integer(result) && result.dims == [*dim], "an integer along the dim"),
        Index::Gather { over } => {
            need(args.len() == 2 && is_integer(args[1]) && args[0].has(*over), "a table that has the dim, and integers")?;
            let dims: Set = without(args[0], *over).union(&set(args[1])).copied().collect();
            need(dims == set(result) && args[0].element == result.element, "the result has the dims of table and index")
        }
        Index::Scatter { into } => {
            need(args.len() == 2 && is_integer(args[0]) && is_real(args[1]) && is_real(result), "integers and real values")?;
            let all: Set = set(args[0]).union(&set(args[1])).copied().collect();
            let left: Set = all.into_iter().filter(|dim| !args[0].has(*dim) || result.has(*dim)).collect();
            need(result.has(*into) && left == without(result, *into), "the result has the value's dims and the new one")
        }
        Index::Cumsum(dim) | Index::CumsumReverse(dim) => {
            need(args.len() == 1 && args[0].has(*dim) && args[0].same_set(result), "the same type")
        }
    }
}

fn of_shape(shape: &Shape, args: &[&Type], result: &Type, dims: &Dims) -> Checked {
    need(!args.is_empty() && args.iter().all(|arg| arg.element == result.element), "the element stays")?;
    let size = |dim: &Dim| dims[*dim].size;
    let total = |dims: &[Dim]| dims.iter().map(size).product::<u64>();
    let swaps = |arg: &Type, from: &[Dim], into: &[Dim]| {
        let left: Set = set(arg).into_iter().filter(|dim| !from.contains(dim)).chain(into.iter().copied()).collect();
        need(from.iter().all(|dim| arg.has(*dim)) && left == set(result), "the result has the new dims in place of the old ones")
    };
    if !matches!(shape, Shape::Concat { .. }) {
        need(args.len() == 1, "it has one argument")?;
    }
    match shape {
        Shape::Rename { from, to } => need(size(from) == size(to), "sizes differ").and(swaps(args[0], &[*from], &[*to])),
        Shape::Split { from, into } => need(size(from) == total(into), "sizes do not multiply").and(swaps(args[0], &[*from], into)),
        Shape::Merge { from, into } => need(total(from) == size(into), "sizes do not multiply").and(swaps(args[0], from, &[*into])),
        Shape::Slice { from, start, into } => {
            need(start + size(into) <= size(from), "out of range").and(swaps(args[0], &[*from], &[*into]))
        }
        Shape::Pad { from, start, into } => need(start + size(from) <= size(into), "out of range").and(swaps(args[0], &[*from], &[*into])),
        Shape::Take { from, at } => need(*at < size(from), "out of range").and(swaps(args[0], &[*from], &[])),
        Shape::Concat { from, into } => {
            need(from.len() == args.len() && total_of(from, dims) == size(into), "sizes do not add up")?;
            args.iter().zip(from).try_for_each(|(arg, from)| swaps(arg, &[*from], &[*into]))
        }
        Shape::Shift { dim, .. } => need(args[0].has(*dim) && args[0].same_set(result), "the same type"),
        Shape::Roll { dim, by } => {
            need(args[0].has(*dim) && args[0].same_set(result) && *by < size(dim), "the same type, by less than the size")
        }
        Shape::Expand => need(set(args[0]).is_subset(&set(result)), "the argument has a dim that the result lacks"),
    }
}

fn total_of(parts: &[Dim], dims: &Dims) -> u64 {
    parts.iter().map(|dim| dims[*dim].size).sum()
}

fn attention_types(attention: &Attention, forward: bool, args: &[&Type], results: &[&Type]) -> Checked {
    need(args.len() == if forward { 3 } else { 6 } && results.len() == if forward { 2 } else { 3 }, "number of arguments or results")?;
    need(args.iter().chain(results).all(|ty| is_real(ty)), "all are real")?;
    let (q, k, v) = (set(args[0]), set(args[1]), set(args[2]));
    let (query, key, feature) = (attention.query, attention.key, attention.feature);
    need(q.contains(&query) && q.contains(&feature) && !q.contains(&key), "q has the query and feature dims, and not the key dim")?;
    need(k.contains(&key) && k.contains(&feature) && v.contains(&key), "k has the key and feature dims, v the key dim")?;
    let rows: Set = q.iter().copied().filter(|dim| *dim != feature).collect();
    need(k.iter().all(|dim| *dim == key || *dim == feature || rows.contains(dim)), "k has a dim that q lacks")?;
    let out: Set = rows.iter().chain(v.iter().filter(|dim| **dim != key)).copied().collect();
    let (outs, lse) = if forward { (vec![results[0]], results[1]) } else { (vec![args[3], args[5]], args[4]) };
    need(outs.iter().all(|ty| set(ty) == out) && set(lse) == rows, "out has the dims of q and v, lse those of q")?;
    let same = forward || (0..3).all(|at| args[at] == results[at]);
    need(same, "gradients have their arguments' types")
}
