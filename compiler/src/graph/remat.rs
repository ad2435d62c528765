//! Remat: which forward values are kept for the backward pass, and which are computed again.
//!
//! Requires a joint program (see [`super::differentiate`]). Ensures a set of kept values from which, with params and weights, everything that
//! the backward part reads can be computed again without a matrix product, attention, row reduction or running sum, unless a rule says
//! `recompute`. Among such sets it takes one of least bytes, by a minimum cut (as Chen et al. 2016 ask and Jain et al. 2020 solve exactly): values
//! that the forward pass writes to memory anyway are preferred, and weights, random numbers and views cost nothing and are never kept.
//! An operand of a matrix product that backward multiplies again is kept even if it could be computed again.

use super::error;
use super::ir::{Program, Role, bytes};
use super::mincut::{Network, UNBOUNDED};
use crate::model::settings::{Pattern, Remat};
use crate::op::{Body, Dims, Index, Inst, Op, Origins, Shape, Value};
use cranelift_entity::SecondaryMap;
use meshwright_grammar::Diagnostic;
use std::collections::BTreeSet;

/// The rules of a spec, by origin.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    /// In order; the first match counts.
    pub rules: &'a [(Pattern, Remat)],
    /// Paths of instructions.
    pub origins: &'a Origins,
}

impl Policy<'_> {
    /// What a rule says about an instruction, if one does: its layer, or a layer around it, matches.
    pub fn of(&self, inst: &Inst) -> Option<Remat> {
        let path: Vec<&str> = self.origins.get(inst.origin).map_or("", |origin| &origin.path).split('.').collect();
        let matches = |pattern: &Pattern| (1..=path.len()).any(|end| ends_with(&path[..end], &pattern.parts));
        self.rules.iter().find(|(pattern, _)| matches(pattern)).map(|(_, remat)| *remat)
    }

    /// Rules that cannot be followed.
    pub fn check(&self) -> Vec<Diagnostic> {
        let layers: BTreeSet<&str> = self.origins.values().map(|origin| origin.path.as_str()).collect();
        let mut errors = Vec::new();
        for (pattern, _) in self.rules {
            let found = |layer: &&str| {
                let path: Vec<&str> = layer.split('.').collect();
                (1..=path.len()).any(|end| ends_with(&path[..end], &pattern.parts))
            };
            if !layers.iter().any(found) {
                errors.push(error::remat_unmatched(pattern, &layers.iter().map(|layer| layer.to_string()).collect::<Vec<_>>()));
            }
        }
        errors
    }
}

/// Whether `pattern` matches the end of `path`; `*` is one part, `**` any number.
pub fn ends_with(path: &[&str], pattern: &[String]) -> bool {
    match (path.split_last(), pattern.split_last()) {
        (_, None) => true,
        (_, Some((part, before))) if part == "**" => (0..=path.len()).any(|end| ends_with(&path[..end], before)),
        (None, Some(_)) => false,
        (Some((last, path)), Some((part, before))) => (part == "*" || part == last) && ends_with(path, before),
    }
}

/// What an analysis of a joint program knows about its values.
pub struct Facts<'a> {
    body: &'a Body,
    /// Computed by the forward pass: what results and reports depend on.
    pub forward: SecondaryMap<Value, bool>,
    /// The value that this one only views.
    roots: SecondaryMap<Value, Option<Value>>,
    params: BTreeSet<Value>,
}

/// Finds out what of a joint program is forward.
pub fn facts(joint: &Program) -> Facts<'_> {
    let mut forward: SecondaryMap<Value, bool> = SecondaryMap::new();
    for (role, value) in &joint.outputs {
        if matches!(role, Role::Result(_) | Role::Report(_) | Role::Total(_) | Role::Peak(_)) {
            forward[*value] = true;
        }
    }
    for inst in joint.body.insts.iter().rev() {
        if inst.results.iter().any(|result| forward[*result]) {
            inst.args.iter().chain(&inst.results).for_each(|value| forward[*value] = true);
        }
    }
    let mut roots: SecondaryMap<Value, Option<Value>> = SecondaryMap::new();
    for inst in &joint.body.insts {
        if is_view(&inst.op) {
            roots[inst.results[0]] = Some(roots[inst.args[0]].unwrap_or(inst.args[0]));
        }
    }
    let params = joint.inputs.iter().filter(|(role, _)| matches!(role, Role::Param(_))).map(|(_, value)| *value).collect();
    Facts { body: &joint.body, forward, roots, params }
}

fn is_view(op: &Op) -> bool {
    match op {
        Op::Anchor | Op::Stop => true,
        Op::Shape(shape) => matches!(shape, Shape::Rename { .. } | Shape::Split { .. } | Shape::Merge { .. }),
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Reduce(..) | Op::Contract(_) => false,
        Op::Index(_) | Op::Random(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Collective(_) => false,
    }
}

/// Whether computing it again costs no more than about one pass over memory.
fn is_cheap(op: &Op) -> bool {
    match op {
        Op::Contract(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Reduce(..) | Op::Collective(_) => false,
        Op::Index(index) => match index {
            Index::Position(_) | Index::Coordinate(_) | Index::Gather { .. } => true,
            Index::Scatter { .. } | Index::Cumsum(_) | Index::CumsumReverse(_) => false,
        },
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Shape(_) | Op::Random(_) | Op::Anchor | Op::Stop => true,
    }
}

fn multiplies(op: &Op) -> bool {
    matches!(op, Op::Contract(_) | Op::Attention(_) | Op::AttentionGrad(_))
}

impl Facts<'_> {
    /// The value itself, or what it views.
    fn root(&self, value: Value) -> Value {
        self.roots[value].unwrap_or(value)
    }

    /// Forward values that the rest of the program reads, each once.
    fn needed(&self, joint: &Program) -> BTreeSet<Value> {
        let rest = joint.body.insts.iter().filter(|inst| !self.is_forward(inst));
        let read = rest.flat_map(|inst| inst.args.iter().copied());
        let given = joint.outputs.iter().filter(|(role, _)| matches!(role, Role::ParamGrad(_) | Role::WeightGrad(_)));
        read.chain(given.map(|(_, value)| *value)).filter(|value| self.forward[*value] || self.params.contains(value)).collect()
    }

    /// Whether an instruction belongs to the forward pass.
    pub fn is_forward(&self, inst: &Inst) -> bool {
        inst.results.iter().any(|result| self.forward[*result])
    }

    /// How many matrix products and attentions stand before each value.
    fn levels(&self) -> SecondaryMap<Value, u32> {
        let mut levels: SecondaryMap<Value, u32> = SecondaryMap::new();
        for inst in &self.body.insts {
            let before = inst.args.iter().map(|arg| levels[*arg]).max().unwrap_or(0);
            let level = before + u32::from(multiplies(&inst.op));
            inst.results.iter().for_each(|result| levels[*result] = level);
        }
        levels
    }

    /// Values that the forward pass has in memory anyway: results of products, and what is read on both sides of one.
    fn in_memory(&self) -> BTreeSet<Value> {
        let levels = self.levels();
        let mut found = self.params.clone();
        for inst in self.body.insts.iter().filter(|inst| self.is_forward(inst)) {
            if multiplies(&inst.op) || matches!(inst.op, Op::Index(Index::Gather { .. })) {
                found.extend(&inst.results);
            }
            let level = levels[inst.results[0]];
            found.extend(inst.args.iter().filter(|arg| levels[**arg] < level).map(|arg| self.root(*arg)));
        }
        found
    }
}

/// The values to keep (params among them) so that backward can compute what it reads.
pub fn keep(joint: &Program, facts: &Facts, dims: &Dims, policy: &Policy) -> BTreeSet<Value> {
    let needed = facts.needed(joint);
    let mut cut = Cut { facts, dims, network: Network::new(2 * facts.body.values.len() + 2), in_memory: facts.in_memory() };
    for param in &facts.params {
        cut.source(*param);
        cut.price(*param, true);
    }
    let multiplied = multiplied_again(joint, facts);
    for inst in joint.body.insts.iter().filter(|inst| facts.is_forward(inst)) {
        cut.instruction(inst, policy.of(inst), &multiplied);
    }
    for value in needed {
        let (_, leaving) = nodes(value);
        cut.network.edge(leaving, cut.sink(), UNBOUNDED);
    }
    let (source, sink) = (cut.start(), cut.sink());
    let side = cut.network.sink_side(source, sink);
    let is_cut = |value: &Value| {
        let (entering, leaving) = nodes(*value);
        !side[entering] && side[leaving]
    };
    facts.body.values.keys().filter(is_cut).collect()
}

/// Roots of the forward operands that backward multiplies again.
fn multiplied_again(joint: &Program, facts: &Facts) -> BTreeSet<Value> {
    let operands = |forward: bool| {
        let insts = joint.body.insts.iter().filter(move |inst| multiplies(&inst.op) && facts.is_forward(inst) == forward);
        insts.flat_map(|inst| inst.args.iter().map(|arg| facts.root(*arg))).collect::<BTreeSet<Value>>()
    };
    operands(true).intersection(&operands(false)).copied().collect()
}

/// The network's two nodes of a value: before and after its price.
fn nodes(value: Value) -> (usize, usize) {
    let at = 2 * value.as_u32() as usize;
    (at, at + 1)
}

struct Cut<'a> {
    facts: &'a Facts<'a>,
    dims: &'a Dims,
    network: Network,
    in_memory: BTreeSet<Value>,
}

impl Cut<'_> {
    fn start(&self) -> usize {
        2 * self.facts.body.values.len()
    }

    fn sink(&self) -> usize {
        self.start() + 1
    }

    /// The value must be kept, or something behind it.
    fn source(&mut self, value: Value) {
        let start = self.start();
        self.network.edge(start, nodes(value).0, UNBOUNDED);
    }

    /// What keeping costs: bytes, a quarter more if they had to be written only for that.
    fn price(&mut self, value: Value, may_keep: bool) {
        let bytes = bytes(self.facts.body.ty(value), self.dims);
        let price = bytes * if self.in_memory.contains(&value) { 4 } else { 5 };
        let (entering, leaving) = nodes(value);
        self.network.edge(entering, leaving, if may_keep { price.max(1) } else { UNBOUNDED });
    }

    fn instruction(&mut self, inst: &Inst, rule: Option<Remat>, multiplied: &BTreeSet<Value>) {
        let view = is_view(&inst.op);
        let forced = |value: &Value| multiplied.contains(value) && !matches!(inst.op, Op::Const(_) | Op::Random(_));
        for result in &inst.results {
            let again = match rule {
                Some(Remat::Recompute) => true,
                Some(Remat::Save) => view || inst.args.is_empty(),
                None => view || (is_cheap(&inst.op) && !forced(result)),
            };
            if again {
                inst.args.iter().for_each(|arg| self.network.edge(nodes(*arg).1, nodes(*result).0, UNBOUNDED));
            } else {
                self.source(*result);
            }
            let may_keep = !view && rule != Some(Remat::Recompute) && !matches!(inst.op, Op::Random(_));
            self.price(*result, may_keep);
        }
    }
}
