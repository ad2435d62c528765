//! Short names of kernels, for people: what they do, not part of their identity.
//!
//! Requires legal instructions. Ensures identifiers.

use super::facts::Facts;
use super::group::Group;
use super::space::How;
use crate::graph::ir::Role;
use crate::op::{Index, Inst, Map, Op, Reduce, Shape};

/// What a `rows` kernel does: the most telling of its members, by the first rule that fits.
pub fn rows(facts: &Facts<'_>, group: &Group) -> String {
    let insts = || group.insts.iter().map(|index| facts.inst(*index));
    let has = |wanted: &dyn Fn(&Op) -> bool| insts().any(|inst| wanted(&inst.op));
    let lanes = group.how.values().any(|how| *how != How::Fold);
    let folded = |index: &usize| matches!(facts.role[facts.inst(*index).results[0]], Some(Role::WeightGrad(_)));
    let gradient = group.how.values().any(|how| *how == How::Lane) && group.how.keys().any(folded);
    let exponential = has(&|op| matches!(op, Op::Map(Map::Exp)));
    let name = if exponential && has(&|op| matches!(op, Op::Reduce(Reduce::Max, _))) {
        "softmax"
    } else if has(&|op| matches!(op, Op::Random(_))) {
        "dropout"
    } else if lanes && has(&|op| matches!(op, Op::Map(Map::Rsqrt | Map::Sqrt))) {
        "norm"
    } else if insts().any(|inst| matches!(facts.role[inst.results[0]], Some(Role::Rest | Role::Moment(_)))) {
        "update"
    } else if has(&|op| matches!(op, Op::Map(Map::Erf))) {
        "gelu"
    } else if has(&|op| matches!(op, Op::Map(Map::Tanh))) {
        "tanh"
    } else if has(&|op| matches!(op, Op::Index(Index::Gather { .. }))) {
        "lookup"
    } else if has(&|op| matches!(op, Op::Index(Index::Cumsum(_)))) {
        "cumsum"
    } else if has(&|op| matches!(op, Op::Shape(Shape::Roll { .. }))) {
        "rotate"
    } else {
        plain(gradient, lanes, !group.how.is_empty(), insts().filter(|inst| matches!(inst.op, Op::Map(_))).collect())
    };
    name.to_string()
}

/// The name of a kernel without a telling member.
fn plain(gradient: bool, lanes: bool, reduces: bool, maps: Vec<&Inst>) -> &'static str {
    match maps.as_slice() {
        _ if gradient => "norm_grad",
        _ if lanes => "reduce",
        _ if reduces => "sum",
        [] => "copy",
        [one] if one.op == Op::Map(Map::Add) => "add",
        [one] if one.op == Op::Map(Map::Mul) => "multiply",
        [..] => "map",
    }
}

/// What a contraction makes: named after its result, if that has a name.
pub fn contract(facts: &Facts<'_>, index: usize) -> String {
    named(facts, index, "product")
}

/// What a scatter makes.
pub fn segmented(facts: &Facts<'_>, index: usize) -> String {
    named(facts, index, "scatter")
}

fn named(facts: &Facts<'_>, index: usize, otherwise: &str) -> String {
    let name = &facts.program.body.values[facts.inst(index).results[0]].name;
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if fits { name.to_lowercase() } else { otherwise.to_string() }
}
