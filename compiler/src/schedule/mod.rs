//! `schedule`: training graph → a timeline per stage.
//!
//! In: a [`crate::graph::ir::Graph`]. Out: an [`ir::Timeline`] in which every value is computed before it is used. One device has one stage:
//! all forward calls in order, then all backward calls in reverse, per microbatch; then norm, control word, next states and update. On a mesh,
//! reports, gradients and what states are made from are summed over it before they are used. What is exchanged of weights and gradients stands on
//! streams beside these events: weights are gathered one program ahead of their use, gradients are reduced behind the programs that follow.

pub mod ir;

use crate::graph::ir::{Graph, segment_of};
use crate::shard::ir::Sharded;
use ir::{Event, Timeline};

/// The timeline of a training step.
pub fn step(sharded: &Sharded) -> Timeline {
    let graph = &sharded.graph;
    let merged = |call: &usize| graph.segments[segment_of(&graph.calls[*call])].merged;
    let forward = (0..graph.calls.len()).filter(|call| !merged(call)).map(Event::Forward);
    let backward = (0..graph.calls.len()).rev().filter(|call| has_backward(graph, *call)).map(Event::Backward);
    let mesh = |event: Event| (!sharded.mesh.axes.is_empty()).then_some(event);
    let mut end: Vec<Event> = mesh(Event::ReduceReports).into_iter().collect();
    if graph.update.is_some() {
        end.extend(mesh(Event::ReduceTotals));
        end.extend(mesh(Event::AwaitGradients));
        end.push(Event::SquareSum);
        end.extend(mesh(Event::ReduceSquareSum));
        end.extend([Event::Factor, Event::Control, Event::Next, Event::Update]);
        end.extend(mesh(Event::AwaitWeights));
    }
    Timeline { micro: forward.chain(backward).collect(), end }
}

/// The timeline of an evaluation: forward only.
pub fn evaluate(sharded: &Sharded) -> Timeline {
    let end = if sharded.mesh.axes.is_empty() { Vec::new() } else { vec![Event::ReduceReports] };
    Timeline { micro: (0..sharded.graph.calls.len()).map(Event::ForwardOnly).collect(), end }
}

fn has_backward(graph: &Graph, call: usize) -> bool {
    graph.segments[segment_of(&graph.calls[call])].backward.as_ref().is_some_and(|program| !program.outputs.is_empty())
}
