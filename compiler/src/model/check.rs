//! What holds of the whole model: samples stay apart, weights are trained, nothing is idle.
//!
//! Requires a tape without errors. Ensures rule 1 of the language: a value that is reduced over the batch dim enters the loss only linearly, so
//! that microbatches, of which each sees a part of the sum, add up to the same loss.

use super::constants::Constants;
use super::elaborate::{Elaborator, Outline};
use super::error::{dims, experts, layers, weights};
use super::tape::Tape;
use crate::op::{Dim, Index, Inst, Map, Op, Reduce, Value};
use cranelift_entity::SecondaryMap;
use meshwright_grammar::Span;
use meshwright_grammar::tree::{BlockKind, Entry, Expr, ExprKind, PatternPart};
use std::collections::BTreeSet;

/// How a value depends on the samples of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Not at all.
    #[default]
    Free,
    /// Sample by sample.
    Sample,
    /// Linearly on something that is reduced over the batch.
    Linear(Span),
    /// Otherwise on something that is reduced over the batch: where it stops being linear, and where it is reduced.
    Coupled(Span, Span),
}

/// Checks the whole tape; errors and warnings go to the elaborator's.
pub(crate) fn check(elaborator: &mut Elaborator, constants: &Constants, outline: &Outline) {
    let flows = flows(&elaborator.tape);
    let mut found = Vec::new();
    for report in &elaborator.tape.reports {
        let mask = report.mask.map_or(Flow::Free, |mask| flows[mask]);
        let flow = match (flows[report.value], mask) {
            (Flow::Linear(reduced), _) if report.mask.is_some() => Flow::Coupled(report.span, reduced),
            (_, Flow::Linear(reduced)) => Flow::Coupled(report.span, reduced),
            (_, coupled @ Flow::Coupled(..)) => coupled,
            (flow, Flow::Free | Flow::Sample) => flow,
        };
        if let Flow::Coupled(at, reduced) = flow {
            found.push(weights::batch_coupled(at, Some(reduced), &elaborator.tape, outline.batch));
        }
    }
    found.into_iter().for_each(|one| elaborator.errors.push(one));
    super::state::check(elaborator, &flows);
    sizes(elaborator);
    if elaborator.training {
        trained(elaborator);
        bounded(elaborator);
    }
    idle(elaborator, constants);
}

fn flows(tape: &Tape) -> SecondaryMap<Value, Flow> {
    let mut flows: SecondaryMap<Value, Flow> = SecondaryMap::new();
    let outer = |value: Value| tape.ty(value).dims.iter().any(|dim| tape.outer.contains(dim));
    for (value, _) in &tape.body.values {
        if outer(value) {
            flows[value] = Flow::Sample;
        }
    }
    for inst in &tape.body.insts {
        let span = tape.origins[inst.origin].span.unwrap_or_default();
        let flow = flow(inst, tape, &flows, span);
        for result in &inst.results {
            flows[*result] = match flow {
                Flow::Free if outer(*result) => Flow::Sample,
                flow => flow,
            };
        }
    }
    flows
}

/// How an instruction's result depends on the samples.
fn flow(inst: &Inst, tape: &Tape, flows: &SecondaryMap<Value, Flow>, span: Span) -> Flow {
    let args: Vec<Flow> = inst.args.iter().map(|arg| flows[*arg]).collect();
    if let Some(coupled) = args.iter().find(|flow| matches!(flow, Flow::Coupled(..))) {
        return *coupled;
    }
    let over_batch = |dims: &[Dim]| dims.iter().any(|dim| tape.outer.contains(dim));
    let reduced = args.iter().find_map(|flow| match flow {
        Flow::Linear(reduced) => Some(*reduced),
        Flow::Free | Flow::Sample | Flow::Coupled(..) => None,
    });
    let starts = match &inst.op {
        Op::Reduce(Reduce::Sum, over) | Op::Contract(over) => over_batch(over),
        Op::Reduce(Reduce::Max | Reduce::Min | Reduce::Argmax, over) if over_batch(over) => return Flow::Coupled(span, span),
        _ => false,
    };
    match reduced {
        None if starts => Flow::Linear(span),
        None if args.contains(&Flow::Sample) => Flow::Sample,
        None => Flow::Free,
        Some(reduced) if linear(&inst.op, &args) => Flow::Linear(reduced),
        Some(reduced) => Flow::Coupled(span, reduced),
    }
}

/// Whether the result is linear in the arguments that are [`Flow::Linear`].
fn linear(op: &Op, args: &[Flow]) -> bool {
    let fixed = |at: usize| args.get(at).is_some_and(|flow| *flow == Flow::Free);
    match op {
        Op::Map(Map::Add | Map::Sub | Map::Neg) => true,
        Op::Map(Map::Mul) => fixed(0) || fixed(1),
        Op::Map(Map::Div) => fixed(1),
        Op::Map(Map::Where) => fixed(0),
        Op::Map(_) => false,
        Op::Reduce(Reduce::Sum, _) => true,
        Op::Reduce(Reduce::Max | Reduce::Min | Reduce::Argmax, _) => false,
        Op::Contract(_) => fixed(0) || fixed(1),
        Op::Index(Index::Gather { .. }) => fixed(1),
        Op::Index(Index::Scatter { .. }) => fixed(0),
        Op::Index(Index::Cumsum(_) | Index::CumsumReverse(_) | Index::Position(_) | Index::Coordinate(_)) => true,
        Op::Shape(_) | Op::Anchor | Op::Collective(_) => true,
        Op::Stop => true,
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Random(_) => true,
        Op::Attention(_) | Op::AttentionGrad(_) => false,
    }
}

/// Elements of a tensor: far more than any machine holds, and far from overflow.
const MOST_ELEMENTS: f64 = 1e15;

/// Refuses tensors that fit nowhere: later stages count bytes in 64 bits.
fn sizes(elaborator: &mut Elaborator) {
    let tape = &elaborator.tape;
    let large = |value: &Value| tape.count(&tape.ty(*value).dims) > MOST_ELEMENTS;
    let span = |inst: &Inst| tape.origins[inst.origin].span.unwrap_or_default();
    let computed = tape.body.insts.iter().flat_map(|inst| inst.results.iter().map(move |result| (*result, span(inst))));
    let weights = elaborator.weights.all.iter().map(|weight| (weight.value, weight.span));
    let first = weights.chain(computed).find(|(value, _)| large(value));
    if let Some((value, span)) = first {
        let error = dims::too_large(span, tape, tape.ty(value));
        elaborator.errors.push(error);
    }
}

/// Weights that no loss reads, and losses that read no weight.
fn trained(elaborator: &mut Elaborator) {
    let tape = &elaborator.tape;
    let mut needed: SecondaryMap<Value, bool> = SecondaryMap::new();
    let mut moved: SecondaryMap<Value, bool> = SecondaryMap::new();
    for weight in elaborator.weights.all.iter().filter(|weight| !weight.state) {
        moved[weight.value] = true;
    }
    for inst in &tape.body.insts {
        let any = inst.args.iter().any(|arg| moved[*arg]) && inst.op != Op::Stop;
        inst.results.iter().for_each(|result| moved[*result] = any);
    }
    let mut found = Vec::new();
    for report in tape.reports.iter().filter(|report| report.metric.is_none()) {
        needed[report.value] = true;
        if !moved[report.value] {
            found.push(weights::constant_loss(report.span));
        }
    }
    for inst in tape.body.insts.iter().rev() {
        if inst.results.iter().any(|result| needed[*result]) && inst.op != Op::Stop {
            inst.args.iter().for_each(|arg| needed[*arg] = true);
        }
    }
    if tape.reports.iter().any(|report| report.metric.is_none()) {
        let idle = elaborator.weights.all.iter().filter(|weight| !weight.state && !needed[weight.value]);
        found.extend(idle.map(|weight| weights::unused(weight.span, &weight.template)));
    }
    found.into_iter().for_each(|one| elaborator.errors.push(one));
}

/// Ragged dims that no `dispatch` fills.
fn bounded(elaborator: &mut Elaborator) {
    let idle: Vec<Dim> = elaborator.ragged.iter().filter(|(_, filled)| !**filled).map(|(dim, _)| *dim).collect();
    for dim in idle {
        let data = &elaborator.tape.dims[dim];
        let error = experts::no_slots(data.span.unwrap_or_default(), &data.name, data.size);
        elaborator.errors.push(error);
    }
}

/// Layers that are never called, names and dims that are never read.
fn idle(elaborator: &mut Elaborator, constants: &Constants) {
    let merged = elaborator.merged;
    for (at, (layer, root)) in merged.layers.iter().enumerate() {
        if *root && !elaborator.called.contains(&at) {
            elaborator.errors.push(layers::unused(layer));
        }
    }
    for (span, (name, read)) in std::mem::take(&mut elaborator.bound) {
        if !read && !name.starts_with('_') {
            elaborator.errors.push(weights::unused_name(span, &name));
        }
    }
    let mut mentioned = std::mem::take(&mut elaborator.used);
    let settings = merged.dims.iter().map(|entry| &entry.value).chain(merged.lets.iter().map(|one| &one.value));
    settings.for_each(|value| mention(value, &mut mentioned));
    merged.blocks.iter().flat_map(|block| &block.entries).for_each(|entry| mention_entry(entry, &mut mentioned));
    let sharded = merged.blocks.iter().any(|block| block.kind == BlockKind::Shard);
    for name in &constants.dims {
        if let Some(span) = constants.span(name).filter(|_| !mentioned.contains(name) && !sharded) {
            elaborator.errors.push(weights::unused_dim(span, name));
        }
    }
}

fn mention_entry(entry: &Entry, names: &mut BTreeSet<String>) {
    match entry {
        Entry::Setting(setting) => mention(&setting.value, names),
        Entry::Condition(condition) => mention(condition, names),
        Entry::Rule(rule) => {
            for part in rule.patterns.iter().flat_map(|pattern| &pattern.parts) {
                if let PatternPart::Name(name, _) = part {
                    names.insert(name.text.clone());
                }
            }
            rule.settings.iter().for_each(|setting| mention(&setting.value, names));
        }
    }
}

/// All names in an expression.
fn mention(expr: &Expr, names: &mut BTreeSet<String>) {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::Text(_) | ExprKind::Bool(_) | ExprKind::None | ExprKind::Rest => {}
        ExprKind::Path(path) => drop(names.insert(path.text())),
        ExprKind::Call { args, .. } | ExprKind::Each { args, .. } => args.iter().for_each(|arg| mention(&arg.value, names)),
        ExprKind::List(list) => list.iter().for_each(|one| mention(one, names)),
        ExprKind::Unary { operand, .. } => mention(operand, names),
        ExprKind::Binary { left, right, .. } => [left, right].into_iter().for_each(|one| mention(one, names)),
        ExprKind::If { arms, otherwise } => {
            arms.iter().flat_map(|(condition, value)| [condition, value]).for_each(|one| mention(one, names));
            mention(otherwise, names);
        }
    }
}
