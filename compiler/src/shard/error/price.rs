//! Cuts that cost more than they give, and axes in the wrong order. Warnings with both numbers.
//!
//! What a rule gives is known by cutting the graph again without it. A rule is only told off if it is so far off that no device could make up
//! for it: what it moves in a microbatch is many times what it saves in memory, and it saves fewer operations than a byte's way takes anywhere.

use super::super::cut;
use super::super::ir::Sharded;
use super::super::measure::{Measure, measure};
use super::place;
use crate::graph::ir::Graph;
use crate::model::settings::{Settings, ShardTarget};
use meshwright_grammar::Diagnostic;
use meshwright_plan::mesh::base;
use meshwright_plan::print::human;

/// A device does at least so many operations while a byte gets to another one: a core beside memory does 5, a GPU beside NVLink 1000.
const OPERATIONS: f64 = 4.0;

/// Moved bytes that no saved byte of memory is worth.
const WORTH: u64 = 10;

/// An axis of slower links may move so many times what one of faster links moves.
const SLOWER: u64 = 4;

/// Rules whose exchanges are far more than what they save.
pub fn costly(graph: &Graph, settings: &Settings, sharded: &Sharded) -> Vec<Diagnostic> {
    let with = measure(sharded);
    let rules = settings.shard.iter().enumerate().filter(|(_, rule)| {
        let moves = rule.axes.iter().any(|axis| with.along.contains_key(axis));
        matches!(rule.target, ShardTarget::Dim(_)) && moves && with.sent > 0
    });
    rules.filter_map(|(at, _)| alone(graph, settings, at, &with)).collect()
}

/// One rule: the same spec without it.
fn alone(graph: &Graph, settings: &Settings, at: usize, with: &Measure) -> Option<Diagnostic> {
    let mut other = settings.clone();
    let rule = other.shard.remove(at);
    let without = measure(&cut(graph, &other).ok()?.0);
    let more = with.sent.checked_sub(without.sent).filter(|more| *more > 0)?;
    let (flops, held) = ((without.flops - with.flops).max(0.0), without.held.saturating_sub(with.held));
    if flops >= OPERATIONS * more as f64 || held.saturating_mul(WORTH) >= more / graph.microbatches.max(1) {
        return None;
    }
    let ShardTarget::Dim(dim) = &rule.target else { return None };
    let axes = rule.axes.join(" * ");
    let each = flops / more as f64;
    let message = format!(
        "cutting `{dim}` by `{axes}` makes each rank send {} more a step; it saves {} of memory and {each:.1} operations for each byte sent",
        human(more),
        human(held)
    );
    let found = place(Diagnostic::warning("shard::costly", message), Some(rule.span), "moves more than it saves");
    Some(
        found.help(format!("remove the rule, or cut another dim by `{axes}`; 'meshwright explain SPEC LAYER' shows what is moved and why")),
    )
}

/// An axis that moves much stands before one that moves little: its links are the slower ones.
pub fn order(settings: &Settings, sharded: &Sharded) -> Option<Diagnostic> {
    let sent = measure(sharded).along;
    let axes: Vec<(usize, u64)> = settings
        .mesh
        .iter()
        .enumerate()
        .filter(|(_, axis)| axis.size > 1)
        .map(|(at, axis)| (at, sent.get(&axis.name).copied().unwrap_or(0)))
        .collect();
    let pairs = axes.iter().enumerate().flat_map(|(at, slow)| axes[at + 1..].iter().map(move |fast| (*slow, *fast)));
    let wrong = pairs.filter(|((_, slow), (_, fast))| *fast > 0 && *slow > fast.saturating_mul(SLOWER));
    let ((slow, most), (fast, least)) = wrong.max_by_key(|((_, slow), (_, fast))| slow / fast)?;
    let (slow, fast) = (&settings.mesh[slow], &settings.mesh[fast]);
    let message = format!(
        "`{}` stands before `{}`, so its links are the slower ones, but each rank sends {} a step along it and {} along `{}`",
        slow.name,
        fast.name,
        human(most),
        human(least),
        fast.name
    );
    let found = place(Diagnostic::warning("shard::slow_axis", message), Some(slow.span), "slow links");
    let found = place(found, Some(fast.span), "faster links");
    // a factor moves with its whole axis, or within it
    let (first, second) = (base(&fast.name), base(&slow.name));
    let edit = if first == second {
        format!("write the factors of `{first}` in the other order, and their numbers in rules")
    } else {
        format!("write `{first}` before `{second}` in the mesh")
    };
    Some(found.help(format!("{edit}: axes stand in order of their links, slowest first")))
}
