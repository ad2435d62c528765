//! The collectives of a segment's programs in order, each with the record of why it was made.

use super::words::Words;
use super::{Exchanged, Layer, cause, within};
use crate::graph::ir::segment_of;
use crate::graph::ir::{Program, Segment};
use crate::graph::print;
use crate::op::{Collective, Inst, Op, Value};
use crate::shard::measure::sent;
use crate::shard::moves::{Move, User};

/// What a segment exchanges; of a layer inside it, what that layer wants exchanged.
pub fn segment(words: &Words<'_>, segment: Segment, layer: Option<&str>) -> Layer {
    let (old, local) = (&words.graph.segments[segment], &words.sharded.graph.segments[segment]);
    let moves = &words.sharded.moves[segment];
    let calls = words.graph.calls.iter().filter(|call| segment_of(call) == segment).count() as u64;
    let times = (calls, words.graph.microbatches);
    let mut programs = Vec::new();
    if !old.merged {
        programs.push(("forward", program(words, segment, [&old.forward, &local.forward], &moves.forward, times, layer)));
    }
    if let (Some(old), Some(local)) = (&old.backward, &local.backward) {
        programs.push(("backward", program(words, segment, [old, local], &moves.backward, times, layer)));
    }
    let name = layer.map_or_else(|| old.name.clone(), |layer| format!("{layer} in {}", old.name));
    let state = if layer.is_some() { Vec::new() } else { super::state::exchanges(words, segment) };
    Layer { name, times, programs, state }
}

fn program(
    words: &Words<'_>,
    segment: Segment,
    [old, local]: [&Program; 2],
    moves: &[Move],
    times: (u64, u64),
    layer: Option<&str>,
) -> Vec<Exchanged> {
    let mut left: Vec<(&Move, &Collective)> =
        moves.iter().flat_map(|one| one.exchanges.iter().map(move |exchange| (one, exchange))).collect();
    let mut all = Vec::new();
    for inst in &local.body.insts {
        let Op::Collective(collective) = &inst.op else { continue };
        let name = &local.body.values[inst.results[0]].name;
        let fits = |(one, exchange): &(&Move, &Collective)| *exchange == collective && old.body.values[one.value].name == *name;
        let same = left.iter().position(|pair| fits(pair) && pair.0.origin == inst.origin).or_else(|| left.iter().position(fits));
        let found = same.map(|at| left.remove(at).0);
        if layer.is_some_and(|layer| !concerns(words, old, inst, found, layer)) {
            continue;
        }
        let mut one = exchanged(words, [old, local], inst, (moves, found), times.0 * times.1);
        if let Some(User::Output(role)) = found.map(|found| found.user) {
            one.value = words.output(segment, role).unwrap_or(one.value);
        }
        all.push(one);
    }
    all
}

/// Whether a layer makes the value or wants it.
fn concerns(words: &Words<'_>, old: &Program, inst: &Inst, found: Option<&Move>, layer: &str) -> bool {
    let made = found.and_then(|one| old.body.insts.iter().find(|inst| inst.results.contains(&one.value)));
    let origins = [Some(inst.origin), made.map(|inst| inst.origin)];
    origins.into_iter().flatten().any(|origin| within(&words.graph.origins[origin].path, layer))
}

fn exchanged(
    words: &Words<'_>,
    [old, local]: [&Program; 2],
    inst: &Inst,
    (moves, found): (&[Move], Option<&Move>),
    times: u64,
) -> Exchanged {
    let Op::Collective(collective) = &inst.op else { unreachable!("the caller has matched it") };
    let ty = |value: Value| local.body.ty(value);
    let (before, after) = (ty(inst.args[0]), ty(inst.results[0]));
    let (value, (why, edit)) = match found {
        Some(one) => (words.value(&old.body, one.value), cause::of(words, &old.body, moves, one, collective)),
        None => {
            let plain = || (format!("`{}`", local.body.values[inst.results[0]].name), Default::default());
            cause::around(words, &old.body, inst, collective).unwrap_or_else(plain)
        }
    };
    Exchanged {
        exchange: collective.exchange.name(),
        axes: collective.axes.clone(),
        value,
        types: (print::ty(before, words.dims()), print::ty(after, words.dims())),
        bytes: sent(collective, before, after, words.dims()),
        times,
        why,
        edit,
    }
}
