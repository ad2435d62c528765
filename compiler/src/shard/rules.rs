//! The table: for every primitive, where its operands are wanted and where its result then stands.
//!
//! Ensures LANGUAGE.md's rule: a summed dim that both operands hold on one axis stays there, and the result is partial over it; in everything
//! else the result's own placement decides and the operands are brought to it. An index counts as holding the dim that is looked up. Weights do
//! not move along the axes that rules gave them. A partial value stays partial through sums of partial values and scaling by numbers.

use super::ir::{Axis, Placement};
use super::placement::Placing;
use super::scope::Scope;
use crate::model::settings::Via;
use crate::op::{Attention, Body, Dim, Element, Index, Inst, Map, Op, Reduce, Shape, Value};
use cranelift_entity::SecondaryMap;

/// Where operands are wanted and results stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// One per argument.
    pub args: Vec<Placement>,
    /// One per result.
    pub results: Vec<Placement>,
}

/// What is known when an instruction is placed.
pub struct Known<'a> {
    /// The rules.
    pub placing: &'a Placing,
    /// The body with whole dims.
    pub body: &'a Body,
    /// Where each value stood when it was made.
    pub raw: &'a SecondaryMap<Value, Placement>,
    /// Values that are weights, or names and casts of them.
    pub weights: &'a SecondaryMap<Value, bool>,
    /// By which rules with a path values stand.
    pub scopes: &'a SecondaryMap<Value, Scope>,
}

impl Known<'_> {
    /// The row of an instruction.
    pub fn row(&self, inst: &Inst) -> Row {
        match &inst.op {
            Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Random(_) => self.elementwise(inst),
            Op::Map(map) => self.linear(*map, inst).unwrap_or_else(|| self.elementwise(inst)),
            Op::Anchor | Op::Stop => self.elementwise(inst),
            Op::Reduce(reduce, over) => self.reduce(*reduce, over, inst),
            Op::Contract(over) => self.contract(over, inst),
            Op::Index(index) => self.index(index, inst),
            Op::Shape(shape) => self.shape(shape, inst),
            Op::Attention(attention) => self.attention(attention, inst, inst.results[0]),
            Op::AttentionGrad(attention) => self.attention(attention, inst, inst.args[3]),
            Op::Collective(_) => unreachable!("programs are partitioned once"),
        }
    }

    fn dims(&self, value: Value) -> &[Dim] {
        &self.body.ty(value).dims
    }

    /// Where a value stands by the rules.
    fn own(&self, value: Value) -> Placement {
        self.placing.place_in(self.scopes[value], self.dims(value))
    }

    fn elementwise(&self, inst: &Inst) -> Row {
        let own = self.own(inst.results[0]);
        self.brought(inst, own)
    }

    /// Every operand as the result stands.
    fn brought(&self, inst: &Inst, result: Placement) -> Row {
        Row { args: inst.args.iter().map(|arg| result.restricted(self.dims(*arg))).collect(), results: vec![result] }
    }

    /// What leaves sums partial.
    fn linear(&self, map: Map, inst: &Inst) -> Option<Row> {
        let raw = |at: usize| &self.raw[inst.args[at]];
        let sum = |at: usize| matches!(raw(at).partial, Some((_, Reduce::Sum)));
        let number = |at: usize| self.dims(inst.args[at]).is_empty() && raw(at).partial.is_none();
        let alike = || raw(0) == raw(1) && self.dims(inst.args[0]).len() == self.dims(inst.args[1]).len();
        let through = match map {
            Map::Add | Map::Sub if sum(0) && alike() => 0,
            Map::Neg if sum(0) => 0,
            Map::Mul | Map::Div if sum(0) && number(1) => 0,
            Map::Mul if sum(1) && number(0) => 1,
            _ => return None,
        };
        let result = raw(through).clone();
        Some(Row { args: (0..inst.args.len()).map(|at| raw(at).clone()).collect(), results: vec![result] })
    }

    fn reduce(&self, reduce: Reduce, over: &[Dim], inst: &Inst) -> Row {
        let mut arg = self.own(inst.args[0]);
        if reduce == Reduce::Argmax || self.body.ty(inst.args[0]).element != Element::Real {
            over.iter().for_each(|dim| arg.set(*dim, &[]));
        }
        let summed: Vec<Axis> = over.iter().flat_map(|dim| arg.of(*dim).to_vec()).collect();
        let result = self.own(inst.results[0]).without(&summed);
        let mut wanted = result.restricted(self.dims(inst.args[0]));
        over.iter().for_each(|dim| wanted.set(*dim, arg.of(*dim)));
        Row { args: vec![wanted], results: vec![result.summed(&summed, reduce)] }
    }

    fn contract(&self, over: &[Dim], inst: &Inst) -> Row {
        let own = [self.own(inst.args[0]), self.own(inst.args[1])];
        let weight = (0..2).find(|at| self.weights[inst.args[*at]]);
        let stay = |dim: &Dim| -> Vec<Axis> {
            match weight {
                Some(at) => own[at].of(*dim).to_vec(),
                None => both(own[0].of(*dim), own[1].of(*dim)),
            }
        };
        let summed: Vec<Axis> = over.iter().flat_map(stay).collect();
        let mut result = self.own(inst.results[0]).without(&summed);
        if let Some(at) = weight {
            result = result.without(&own[at].axes());
            let kept = self.dims(inst.args[at]).iter().filter(|dim| !over.contains(dim));
            kept.for_each(|dim| result.set(*dim, own[at].of(*dim)));
        }
        let mut row = self.brought(inst, result.clone());
        for wanted in &mut row.args {
            over.iter().for_each(|dim| wanted.set(*dim, &stay(dim)));
        }
        row.results = vec![result.summed(&summed, Reduce::Sum)];
        row
    }

    fn index(&self, index: &Index, inst: &Inst) -> Row {
        match index {
            Index::Position(_) | Index::Coordinate(_) => self.elementwise(inst),
            Index::Gather { over } => self.gather(*over, inst),
            Index::Scatter { into } => self.scatter(*into, inst),
            Index::Cumsum(dim) | Index::CumsumReverse(dim) => self.whole(&[*dim], inst),
        }
    }

    fn gather(&self, over: Dim, inst: &Inst) -> Row {
        let (table, index) = (inst.args[0], inst.args[1]);
        let mut own = self.own(table);
        if self.placing.is_balanced(over) {
            // an index counts in one run only
            own.set(over, &[]);
        }
        let real = self.body.ty(table).element == Element::Real;
        let held: Vec<Axis> = if real { own.of(over).to_vec() } else { Vec::new() };
        let mut result = self.own(inst.results[0]).without(&held);
        if self.weights[table] {
            result = result.without(&own.axes());
            self.dims(table).iter().filter(|dim| **dim != over).for_each(|dim| result.set(*dim, own.of(*dim)));
        }
        let mut wanted = result.restricted(self.dims(table));
        wanted.set(over, &held);
        let of_index = result.restricted(self.dims(index));
        Row { args: vec![wanted, of_index], results: vec![result.summed(&held, Reduce::Sum)] }
    }

    fn scatter(&self, into: Dim, inst: &Inst) -> Row {
        let (index, value, result) = (inst.args[0], inst.args[1], inst.results[0]);
        let mut placed = self.own(result);
        if self.placing.is_balanced(into) {
            placed.set(into, &[]);
        }
        let taken = placed.axes();
        let own = [self.own(index), self.own(value)];
        let mut row = self.brought(inst, placed.clone());
        row.args.iter_mut().for_each(|wanted| wanted.set(into, &[]));
        let mut summed = Vec::new();
        let dims: Vec<Dim> = self.dims(index).iter().chain(self.dims(value)).copied().collect();
        for dim in dims.into_iter().filter(|dim| !self.dims(result).contains(dim)) {
            let here = |at: usize, of: Value| self.dims(of).contains(&dim).then(|| own[at].of(dim));
            let stay = match (here(0, index), here(1, value)) {
                (Some(a), Some(b)) => both(a, b),
                (Some(one), None) | (None, Some(one)) => one.to_vec(),
                (None, None) => Vec::new(),
            };
            let stay: Vec<Axis> = stay.into_iter().take_while(|axis| !taken.contains(axis) && !summed.contains(axis)).collect();
            let apart = row.args.iter().all(|wanted| wanted.of(dim).is_empty());
            if apart {
                row.args
                    .iter_mut()
                    .zip([index, value])
                    .filter(|(_, of)| self.dims(*of).contains(&dim))
                    .for_each(|(wanted, _)| wanted.set(dim, &stay));
                summed.extend(stay);
            }
        }
        row.results = vec![placed.summed(&summed, Reduce::Sum)];
        row
    }

    /// An operation along dims that must be whole; all else is elementwise.
    fn whole(&self, along: &[Dim], inst: &Inst) -> Row {
        let mut result = self.own(inst.results[0]);
        along.iter().for_each(|dim| result.set(*dim, &[]));
        self.brought(inst, result)
    }

    fn shape(&self, shape: &Shape, inst: &Inst) -> Row {
        match shape {
            Shape::Rename { from, to } => self.carried(*from, *to, inst),
            Shape::Split { from, into } => {
                let whole = if self.same_layout(*from, into[0]) { &into[1..] } else { &into[..] };
                let mut row = self.whole(whole, inst);
                row.args[0].set(*from, row.results[0].of(into[0]));
                row
            }
            Shape::Merge { from, into } => self.carried(from[0], *into, inst),
            Shape::Slice { into, .. } | Shape::Pad { into, .. } | Shape::Concat { into, .. } => self.whole(&[*into], inst),
            Shape::Take { .. } => self.elementwise(inst),
            Shape::Shift { dim, .. } | Shape::Roll { dim, .. } => self.whole(&[*dim], inst),
            Shape::Expand => self.elementwise(inst),
        }
    }

    /// A dim becomes (the outermost part of) another; a weight keeps what cuts it.
    fn carried(&self, from: Dim, to: Dim, inst: &Inst) -> Row {
        let own = self.own(inst.args[0]);
        let mut result = self.own(inst.results[0]);
        if self.weights[inst.args[0]] {
            result = own.restricted(self.dims(inst.results[0]));
            result.set(to, own.of(from));
        }
        if !self.same_layout(from, to) {
            result.set(to, &[]);
        }
        let mut row = self.brought(inst, result);
        row.args[0].set(from, row.results[0].of(to));
        row
    }

    /// Whether parts of one dim are parts of the other as they stand.
    fn same_layout(&self, one: Dim, other: Dim) -> bool {
        self.placing.is_balanced(one) == self.placing.is_balanced(other)
    }

    /// Attention by the placement of its output: queries may be cut, features are whole, and so are keys but along rings.
    fn attention(&self, attention: &Attention, inst: &Inst, out: Value) -> Row {
        let mut placed = self.own(out);
        self.cut_heads(attention, inst, &mut placed);
        let ring = self.ring(attention, &placed);
        let queries = placed.of(attention.query)[ring.len()..].to_vec();
        let wanted = |value: &Value| {
            let mut wanted = placed.restricted(self.dims(*value));
            wanted.set(attention.feature, &[]);
            wanted.set(attention.key, if self.dims(*value).contains(&attention.key) { &ring } else { &[] });
            wanted
        };
        let args: Vec<Placement> = inst.args.iter().map(wanted).collect();
        let result = |value: &Value| {
            let partial = if self.dims(*value).contains(&attention.query) { &[][..] } else { &queries };
            let lost = self.lost(&placed, *value, inst, attention);
            wanted(value).summed(&[partial, &lost].concat(), Reduce::Sum)
        };
        let results = match &inst.op {
            Op::AttentionGrad(_) => inst.results.iter().map(result).collect(),
            _ => inst.results.iter().map(&wanted).collect(),
        };
        Row { args, results }
    }

    /// The axes around which keys come to queries: the first of those that cut queries, if keys are other names of them.
    fn ring(&self, attention: &Attention, placed: &Placement) -> Vec<Axis> {
        let alike = self.placing.alike(attention.query, attention.key);
        let along = |axis: &&Axis| alike && matches!(self.placing.via(attention.query, **axis), Via::Ring | Via::Balanced);
        placed.of(attention.query).iter().take_while(along).copied().collect()
    }

    /// Axes that cut query heads of which a key's or value's cotangent is the sum.
    fn lost(&self, placed: &Placement, value: Value, inst: &Inst, attention: &Attention) -> Vec<Axis> {
        let summed = self.dims(inst.args[0]).iter().filter(|dim| **dim != attention.query && !self.dims(value).contains(dim));
        summed.flat_map(|dim| placed.of(*dim).to_vec()).collect()
    }

    /// Moves the query's axes by whose rules heads are cut to a dim of heads that keys and values have too.
    fn cut_heads(&self, attention: &Attention, inst: &Inst, placed: &mut Placement) {
        let by_heads = |axis: &Axis| self.placing.via(attention.query, *axis) == Via::Heads;
        let (axes, stay): (Vec<Axis>, Vec<Axis>) = placed.of(attention.query).iter().copied().partition(by_heads);
        let shared = |dim: &&Dim| [inst.args[1], inst.args[2]].iter().all(|key| self.dims(*key).contains(dim));
        let own = |dim: &&Dim| **dim != attention.query && **dim != attention.feature;
        // the last of the shared dims: batch dims come first in every layout
        let Some(heads) = self.dims(inst.args[0]).iter().filter(own).rfind(shared).copied() else { return };
        placed.set(attention.query, &stay);
        let all = [placed.of(heads), &axes].concat();
        placed.set(heads, &all);
    }
}

/// The axes on which both hold a dim.
fn both(a: &[Axis], b: &[Axis]) -> Vec<Axis> {
    a[..super::reshard::common(a, b)].to_vec()
}
