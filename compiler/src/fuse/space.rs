//! Iteration spaces of `rows` kernels: which dims are rows, which one is the lanes, which rows are folded.
//!
//! Requires legal instructions. Ensures that a union computes each member's value at exactly the points of its dims: every member has all
//! dims of the space, or all but the lane.

use super::facts::Facts;
use super::view::View;
use crate::op::{Dim, Dims, Index, Op, Reduce, Value};
use std::collections::BTreeSet;

/// How a reduction is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Inside each row.
    Lane,
    /// Over rows.
    Fold,
    /// Inside each row, then over rows.
    Both,
}

/// What launches do with the places that a kernel's effects add to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adds {
    /// They are written.
    Never,
    /// As the program's caller says.
    ByCall,
}

/// An iteration space, and what is settled about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// All dims.
    pub dims: BTreeSet<Dim>,
    /// The lane dim, if some member needs it to be this one.
    pub lane: Option<Dim>,
    /// The dims that sums over rows run over, if there are any.
    pub folds: Option<BTreeSet<Dim>>,
    /// What accumulating effects do; all of a kernel must do the same.
    pub adds: Option<Adds>,
    /// The dim along which most members' elements are neighbours.
    pub inner: Option<Dim>,
}

impl Space {
    /// A space for members of both.
    pub fn unite(&self, other: &Space, dims: &Dims) -> Option<Space> {
        let space = if self.dims == other.dims {
            Space {
                dims: self.dims.clone(),
                lane: agree(self.lane, other.lane)?,
                folds: agree(self.folds.clone(), other.folds.clone())?,
                adds: agree(self.adds, other.adds)?,
                inner: self.inner,
            }
        } else if self.dims.is_superset(&other.dims) {
            self.raise(other)?
        } else {
            other.raise(self)?
        };
        space.is_possible(dims).then_some(space)
    }

    /// A space for members of both, where `small` lacks the lane.
    fn raise(&self, small: &Space) -> Option<Space> {
        let mut more = self.dims.difference(&small.dims);
        let (lane, rest) = (*more.next()?, more.next());
        let natural = self.lane.or(self.inner) == Some(lane);
        if rest.is_some() || small.lane.is_some() || !natural || !self.dims.is_superset(&small.dims) || small.dims.is_empty() {
            return None;
        }
        let folds = agree(self.folds.clone(), small.folds.clone())?;
        Some(Space { dims: self.dims.clone(), lane: Some(lane), folds, adds: agree(self.adds, small.adds)?, inner: self.inner })
    }

    fn is_possible(&self, _dims: &Dims) -> bool {
        let folds = self.folds.as_ref();
        self.lane.is_none_or(|lane| folds.is_none_or(|folds| !folds.contains(&lane)))
    }
}

/// The one that both say, if they do not say different things.
fn agree<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => None,
        (Some(a), _) => Some(Some(a)),
        (None, b) => Some(b),
    }
}

/// The ways to compute one instruction in a `rows` kernel, best first: its space, and for reductions how.
pub fn units(facts: &Facts<'_>, index: usize) -> Vec<(Space, Option<How>)> {
    let inst = facts.inst(index);
    let result = inst.results[0];
    let added = [Some(result), facts.target[result]].into_iter().flatten().any(|value| facts.accumulates(value));
    let adds = added.then_some(Adds::ByCall);
    let plain = |dims: &[Dim], inner| Space { dims: dims.iter().copied().collect(), adds, inner, ..Space::default() };
    match &inst.op {
        Op::Reduce(op, over) => reductions(facts, *op, over, inst.args[0], adds),
        Op::Index(Index::Cumsum(dim) | Index::CumsumReverse(dim)) => {
            let dims = &facts.program.body.ty(result).dims;
            vec![(Space { lane: Some(*dim), ..plain(dims, dims.last().copied()) }, None)]
        }
        Op::Const(_)
        | Op::Integer(_)
        | Op::Scalar(_)
        | Op::Map(_)
        | Op::Contract(_)
        | Op::Index(_)
        | Op::Shape(_)
        | Op::Random(_)
        | Op::Attention(_)
        | Op::AttentionGrad(_)
        | Op::Anchor
        | Op::Collective(_)
        | Op::Stop => {
            let dims = &facts.program.body.ty(result).dims;
            vec![(plain(dims, dims.last().copied()), None)]
        }
    }
}

fn reductions(facts: &Facts<'_>, op: Reduce, over: &[Dim], arg: Value, adds: Option<Adds>) -> Vec<(Space, Option<How>)> {
    let ty = facts.program.body.ty(arg);
    let inner = innermost(facts.view(arg), &ty.dims);
    let space = |lane: Option<Dim>, folded: &[Dim]| Space {
        dims: ty.dims.iter().copied().collect(),
        lane,
        folds: Some(folded.iter().copied().collect()).filter(|folds: &BTreeSet<Dim>| !folds.is_empty()),
        adds: if folded.is_empty() { adds } else { Some(adds.unwrap_or(Adds::Never)) },
        inner,
    };
    let without = |lane: Dim| over.iter().copied().filter(|dim| *dim != lane).collect::<Vec<Dim>>();
    let lanes: Vec<(Space, Option<How>)> = match over {
        [one] => vec![(space(Some(*one), &[]), Some(How::Lane))],
        many => many.iter().rev().map(|lane| (space(Some(*lane), &without(*lane)), Some(How::Both))).collect(),
    };
    if op == Reduce::Argmax {
        return lanes;
    }
    let fold = (space(None, over), Some(How::Fold));
    let inside = |way: &(Space, Option<How>)| way.0.lane == inner;
    let (first, rest): (Vec<_>, Vec<_>) = lanes.into_iter().partition(inside);
    first.into_iter().chain([fold]).chain(rest).collect()
}

/// The dim with the smallest steps.
fn innermost(view: &View, dims: &[Dim]) -> Option<Dim> {
    dims.iter().copied().filter(|dim| view.stride(*dim) > 0).min_by_key(|dim| view.stride(*dim)).or(dims.last().copied())
}
