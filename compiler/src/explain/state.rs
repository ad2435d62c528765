//! What is exchanged of a segment's weights and gradients as flat blocks, outside of its programs.

use super::Exchanged;
use super::words::Words;
use crate::graph::ir::segment_of;
use crate::graph::ir::{Program, Role, Segment};
use crate::memory::state::{self, BlockData};
use crate::model::settings::{Settings, ShardTarget};
use crate::shard::ir::{Axis, Level};
use meshwright_grammar::Span;

/// The rules about kinds of state: the word, axes, where.
pub fn rules(settings: &Settings) -> Vec<(&'static str, Vec<String>, Span)> {
    let rule = |rule: &crate::model::settings::ShardRule| {
        let word = match rule.target {
            ShardTarget::Weights => "weights",
            ShardTarget::Gradients => "gradients",
            ShardTarget::Moments => "moments",
            ShardTarget::Dim(_) | ShardTarget::WeightDim(_) => return None,
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
}

/// Exchanges of so many copies of a block at once, and how often.
type Batch = (u64, u64);

/// The buckets of a block by size.
fn buckets(block: &BlockData) -> Vec<Batch> {
    let mut all: Vec<Batch> = Vec::new();
    for copies in block.buckets().iter().map(|copies| copies.end - copies.start) {
        match all.last_mut().filter(|(known, _)| *known == copies) {
            Some((_, times)) => *times += 1,
            None => all.push((copies, 1)),
        }
    }
    all
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
        all.extend(block_exchanges(words, block, &Times { uses: uses * each, gradients: each }));
    }
    all
}

fn block_exchanges(words: &Words<'_>, block: &BlockData, times: &Times) -> Vec<Exchanged> {
    let mut all = gathers(words, block, times);
    if block.trained {
        all.extend(reductions(words, block, times));
    }
    all
}

/// The rule that says how state rests, with its line.
fn rule(words: &Words<'_>) -> String {
    let shown = |(kind, axes, span): &(&str, Vec<String>, Span)| words.at(&format!("`{kind} -> {}`", axes.join(" * ")), Some(*span));
    words.states.first().map_or_else(String::new, shown)
}

fn gathers(words: &Words<'_>, block: &BlockData, times: &Times) -> Vec<Exchanged> {
    let (rest, rule) = (&block.rest.axes, rule(words));
    let (why, batches) = match (block.rest.level, block.rest.hold) {
        (Level::Whole, _) => return Vec::new(),
        (Level::Weights, false) => {
            let why = format!("weights rest in pieces by {rule}, and are gathered one program ahead of each use");
            (why, vec![(1, times.uses)])
        }
        (Level::Weights, true) => {
            let why = format!("weights rest in pieces by {rule}, and are gathered once a step and held through its microbatches");
            (why, vec![(1, block.count)])
        }
        (Level::Gradients | Level::Moments, _) => {
            let why = format!("each rank updates its piece by {rule}; what all ranks use is gathered behind the updates that follow");
            (why, buckets(block))
        }
    };
    let one = block_exchange(words, block, "all_gather", ("weights", rest), share(words, block));
    batches.into_iter().map(|batch| one(batch, &why, Some(drop_rule(words, block)))).collect()
}

fn reductions(words: &Words<'_>, block: &BlockData, times: &Times) -> Vec<Exchanged> {
    let (mesh, rest, left) = (&words.sharded.mesh, &block.rest.axes, block.left());
    let seen = |axes: &[Axis]| format!("ranks along {} have seen different samples or positions", mesh.names(axes).join("*"));
    let mut all = Vec::new();
    if block.is_cut() {
        let batches = if block.rest.level == Level::Moments { buckets(block) } else { vec![(1, times.gradients)] };
        let why = format!("{}, and gradients rest in pieces by {}", seen(rest), rule(words));
        let one = block_exchange(words, block, "reduce_scatter", ("gradients", rest), share(words, block));
        all.extend(batches.into_iter().map(|batch| one(batch, &why, Some(drop_rule(words, block)))));
    }
    if !left.is_empty() {
        let size = mesh.size(&left);
        let bytes = (u128::from(block.piece) * 2 * u128::from(size - 1) / u128::from(size)) as u64;
        let why = format!("{}: their gradients add up", seen(&left));
        let edit = (block.rest.level == Level::Whole)
            .then(|| format!("`gradients -> {}` makes it a reduce_scatter of half the bytes, and a gather", mesh.names(&left).join(" * ")));
        let one = block_exchange(words, block, "all_reduce", ("gradients", &left), bytes);
        all.extend(buckets(block).into_iter().map(|batch| one(batch, &why, edit.clone())));
    }
    all
}

/// What one rank sends of a copy of a block to gather or to scatter it.
fn share(words: &Words<'_>, block: &BlockData) -> u64 {
    let parts = words.sharded.mesh.size(&block.rest.axes).max(1);
    (block.piece * parts).max(block.stride) / parts * (parts - 1)
}

fn drop_rule(words: &Words<'_>, block: &BlockData) -> String {
    let parts = words.sharded.mesh.size(&block.rest.axes);
    format!("drop {}: each rank then holds all of it, {parts}x as much", rule(words))
}

/// An exchange of copies of a block, `bytes` of each.
fn block_exchange<'a>(
    words: &'a Words<'_>,
    block: &'a BlockData,
    exchange: &'static str,
    (what, axes): (&'a str, &'a [Axis]),
    bytes: u64,
) -> impl Fn(Batch, &str, Option<String>) -> Exchanged + 'a {
    move |(copies, times), why, edit| Exchanged {
        exchange,
        axes: words.sharded.mesh.names(axes),
        value: if copies == 1 { format!("{what} of `{}`", block.name) } else { format!("{what} of {copies} copies of `{}`", block.name) },
        types: (String::new(), String::new()),
        bytes: bytes * copies,
        times,
        why: vec![why.to_string()],
        edit,
    }
}
