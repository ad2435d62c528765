//! What is exchanged of a segment's weights and gradients as flat blocks, outside of its programs.

use super::Exchanged;
use super::words::Words;
use crate::graph::ir::{Program, Role, Segment};
use crate::memory::state::{self, BlockData};
use crate::model::settings::{Settings, ShardTarget};
use crate::schedule::segment_of;
use crate::shard::ir::{Axis, Level};
use meshwright_grammar::Span;

/// The rules about kinds of state: the word, axes, where.
pub fn rules(settings: &Settings) -> Vec<(&'static str, Vec<String>, Span)> {
    let rule = |rule: &crate::model::settings::ShardRule| {
        let word = match rule.target {
            ShardTarget::Weights => "weights",
            ShardTarget::Gradients => "gradients",
            ShardTarget::Moments => "moments",
            ShardTarget::Dim(_) => return None,
        };
        Some((word, rule.axes.clone(), rule.span))
    };
    settings.shard.iter().filter_map(rule).collect()
}

/// How often things happen in a step.
struct Times {
    /// Forward and backward programs that read the block's weights.
    uses: u64,
    /// Backward programs that give gradients.
    gradients: u64,
    /// Once for each copy of the block.
    copies: u64,
}

/// The exchanges of the blocks that a segment's calls use.
pub fn exchanges(words: &Words<'_>, segment: Segment) -> Vec<Exchanged> {
    let state = state::lay_out(words.sharded);
    let mut all = Vec::new();
    for block in state.blocks.values() {
        let calls = words.graph.calls.iter().filter(|call| segment_of(call) == segment);
        let calls: Vec<_> = calls.filter(|call| call.weights.iter().any(|(weight, _)| block.weights.contains(weight))).collect();
        let Some(first) = calls.first() else { continue };
        let slots = (0..first.weights.len()).filter(|slot| block.weights.contains(&first.weights[*slot].0));
        let slots: Vec<u32> = slots.map(|slot| slot as u32).collect();
        let data = &words.graph.segments[segment];
        let reads = |program: &Program| program.inputs.iter().any(|(role, _)| matches!(role, Role::Weight(slot) if slots.contains(slot)));
        let programs = [Some(&data.forward).filter(|_| !data.merged), data.backward.as_ref()];
        let uses = programs.into_iter().flatten().filter(|program| reads(program)).count() as u64;
        let each = calls.len() as u64 * words.graph.microbatches;
        all.extend(block_exchanges(words, block, &Times { uses: uses * each, gradients: each, copies: block.count }));
    }
    all
}

fn block_exchanges(words: &Words<'_>, block: &BlockData, times: &Times) -> Vec<Exchanged> {
    let mesh = &words.sharded.mesh;
    let rest = &block.rest.axes;
    let parts = mesh.size(rest);
    let full = (block.piece * parts).max(block.stride);
    let one = |exchange, axes: &[Axis], what: &str, bytes, times, why: String, edit: Option<String>| Exchanged {
        exchange,
        axes: mesh.names(axes),
        value: format!("{what} of `{}`", block.name),
        types: (String::new(), String::new()),
        bytes,
        times,
        why: vec![why],
        edit,
    };
    let share = full / parts.max(1) * (parts.max(1) - 1);
    let rule = words
        .states
        .first()
        .map_or_else(String::new, |(kind, axes, span)| words.at(&format!("`{kind} -> {}`", axes.join(" * ")), Some(*span)));
    let drop = || Some(format!("drop {rule}: each rank then holds all of it, {parts}x as much"));
    let mut all = Vec::new();
    match block.rest.level {
        Level::Whole => {}
        Level::Weights => {
            let why = format!("weights rest in pieces by {rule}, and are gathered before each use");
            all.push(one("all_gather", rest, "weights", share, times.uses, why, drop()));
        }
        Level::Gradients | Level::Moments => {
            let why = format!("each rank updates its piece by {rule}; what all ranks use is gathered after the step");
            all.push(one("all_gather", rest, "weights", share, times.copies, why, drop()));
        }
    }
    let open = |axes: &[Axis]| block.deferred.iter().copied().filter(|axis| !axes.contains(axis)).collect::<Vec<Axis>>();
    if block.trained && block.is_cut() {
        let often = if block.rest.level == Level::Moments { times.copies } else { times.gradients };
        let why = format!(
            "ranks along {} have seen different samples or positions, and gradients rest in pieces by {rule}",
            mesh.names(rest).join("*")
        );
        all.push(one("reduce_scatter", rest, "gradients", share, often, why, drop()));
    }
    let left = open(if block.is_cut() { rest } else { &[] });
    if block.trained && !left.is_empty() {
        let size = mesh.size(&left);
        let bytes = (u128::from(block.piece) * 2 * u128::from(size - 1) / u128::from(size)) as u64;
        let why = format!("ranks along {} have seen different samples or positions: their gradients add up", mesh.names(&left).join("*"));
        let edit = (block.rest.level == Level::Whole)
            .then(|| format!("`gradients -> {}` makes it a reduce_scatter of half the bytes, and a gather", mesh.names(&left).join(" * ")));
        all.push(one("all_reduce", &left, "gradients", bytes, times.copies, why, edit));
    }
    all
}
