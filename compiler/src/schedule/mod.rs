//! `schedule`: training graph → a timeline per stage.
//!
//! In: a [`crate::graph::ir::Graph`]. Out: an [`ir::Timeline`] in which every value is computed before it is used. One device has one stage:
//! all forward calls in order, then all backward calls in reverse, per microbatch; then norm, control word, next states and update.

pub mod ir;

use crate::graph::ir::{Graph, Segment};
use crate::model::ir::Call;
use cranelift_entity::EntityRef;
use ir::{Event, Timeline};

/// The segment that a call is of.
pub fn segment_of(call: &Call) -> Segment {
    Segment::new(call.function.index())
}

/// The timeline of a training step on one device.
pub fn step(graph: &Graph) -> Timeline {
    let merged = |call: &usize| graph.segments[segment_of(&graph.calls[*call])].merged;
    let forward = (0..graph.calls.len()).filter(|call| !merged(call)).map(Event::Forward);
    let backward = (0..graph.calls.len()).rev().filter(|call| has_backward(graph, *call)).map(Event::Backward);
    let mut end = Vec::new();
    if graph.update.is_some() {
        end.extend([Event::SquareSum, Event::Factor, Event::Control, Event::Next, Event::Update]);
    }
    Timeline { micro: forward.chain(backward).collect(), end }
}

/// The timeline of an evaluation: forward only.
pub fn evaluate(graph: &Graph) -> Timeline {
    Timeline { micro: (0..graph.calls.len()).map(Event::ForwardOnly).collect(), end: Vec::new() }
}

fn has_backward(graph: &Graph, call: usize) -> bool {
    graph.segments[segment_of(&graph.calls[call])].backward.as_ref().is_some_and(|program| !program.outputs.is_empty())
}
