//! What one rank computes, holds and sends in a step, counted on local programs: enough to compare two ways to cut one graph.
//!
//! Ensures numbers that grow with what they stand for; no device is known here, so nothing is said about time.

use super::ir::{Axis, Level, Sharded};
use crate::graph::ir::segment_of;
use crate::graph::ir::{Program, SegmentData, bytes};
use crate::op::{Body, Collective, Dim, Dims, Exchange, Inst, Op, Type};
use std::collections::{BTreeMap, BTreeSet};

/// The numbers of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measure {
    /// Bytes that a rank sends inside programs.
    pub sent: u64,
    /// Bytes that it sends along each axis, gradients and weights at rest included; what goes along a product counts for each of its axes.
    pub along: BTreeMap<String, u64>,
    /// Additions and multiplications of contractions and attention.
    pub flops: f64,
    /// Bytes of weights, gradients, moments, and of what forward keeps for backward.
    pub held: u64,
}

/// Counts a step.
pub fn measure(sharded: &Sharded) -> Measure {
    let (graph, mut total) = (&sharded.graph, Measure::default());
    for call in &graph.calls {
        let data = &graph.segments[segment_of(call)];
        total.held += data.stash.iter().map(|slot| bytes(&slot.ty, &graph.dims)).sum::<u64>();
        for program in programs(data) {
            total.program(program, &graph.dims, graph.microbatches);
        }
    }
    total.state(sharded);
    total
}

/// What runs in a step.
fn programs(data: &SegmentData) -> impl Iterator<Item = &Program> {
    [Some(&data.forward).filter(|_| !data.merged), data.backward.as_ref()].into_iter().flatten()
}

/// Bytes that one rank sends, in the algorithms that send least.
pub fn sent(collective: &Collective, before: &Type, after: &Type, dims: &Dims) -> u64 {
    let (full, members) = (u128::from(bytes(before, dims).max(bytes(after, dims))), u128::from(collective.members.max(1)));
    let sent = match collective.exchange {
        Exchange::AllGather { .. } | Exchange::ReduceScatter { .. } | Exchange::AllToAll { .. } => full * (members - 1) / members,
        Exchange::AllReduce { .. } => full * 2 * (members - 1) / members,
        Exchange::Permute { .. } => full,
    };
    u64::try_from(sent).unwrap_or(u64::MAX)
}

impl Measure {
    fn program(&mut self, program: &Program, dims: &Dims, times: u64) {
        for inst in &program.body.insts {
            self.flops += times as f64 * flops(inst, &program.body, dims);
            let Op::Collective(collective) = &inst.op else { continue };
            let sent = times.saturating_mul(sent(collective, program.body.ty(inst.args[0]), program.body.ty(inst.results[0]), dims));
            self.sent = self.sent.saturating_add(sent);
            collective.axes.iter().for_each(|axis| self.add(axis, sent));
        }
    }

    fn add(&mut self, axis: &str, sent: u64) {
        let all = self.along.entry(axis.to_string()).or_insert(0);
        *all = all.saturating_add(sent);
    }

    /// Weights: what rests, and what is exchanged of them and their gradients.
    fn state(&mut self, sharded: &Sharded) {
        let (graph, rest) = (&sharded.graph, &sharded.rest);
        let moments = graph.update.as_ref().map_or(0, |update| u64::from(update.moments));
        for (weight, data) in &graph.weights {
            let own = data.dims().iter().fold(4 * data.count, |all, dim| all.saturating_mul(graph.dims[*dim].size));
            self.held = self.held.saturating_add(own.saturating_mul(2 + moments));
            let in_pieces = |axis: &Axis| rest.level != Level::Whole && rest.axes.contains(axis);
            for axis in sharded.deferred[weight].iter() {
                let rounds = match rest.level {
                    Level::Weights if in_pieces(axis) => 3 * graph.microbatches,
                    Level::Gradients if in_pieces(axis) => 1 + graph.microbatches,
                    Level::Moments | Level::Whole | Level::Weights | Level::Gradients => 2,
                };
                let size = sharded.mesh.axes[*axis].size;
                self.add(&sharded.mesh.axes[*axis].name, (own / size * (size - 1)).saturating_mul(rounds));
            }
        }
    }
}

/// Additions and multiplications of one instruction.
fn flops(inst: &Inst, body: &Body, dims: &Dims) -> f64 {
    let all = |more: Option<Dim>| {
        let dims_of = inst.args.iter().take(2).flat_map(|arg| body.ty(*arg).dims.iter().copied());
        let set: BTreeSet<Dim> = dims_of.chain(more).collect();
        set.into_iter().map(|dim| dims[dim].size as f64).product::<f64>()
    };
    match &inst.op {
        Op::Contract(_) => 2.0 * all(None),
        // scores and mixing; of the gradient, scores again and four more products
        Op::Attention(attention) => 4.0 * all(Some(attention.key)),
        Op::AttentionGrad(attention) => 10.0 * all(Some(attention.key)),
        _ => 0.0,
    }
}
