//! Activations: a place for every port, every kept value and every cotangent of a graph.
//!
//! Ports take places in the order of the calls that define them, and so do the stash frames of calls. A port's cotangent takes over the place of a
//! result of the port's last user: when that user's backward program runs, the value of its result is dead (everything that read
//! it came later and has run backward already). Where there is no such result of equal size, the cotangent gets a place of its own.

use super::aligned;
use crate::graph::ir::segment_of;
use crate::graph::ir::{Graph, Role};
use crate::model::ir::Port;
use crate::op::Type;
use cranelift_entity::SecondaryMap;

/// Where a port or its cotangent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A model input: its number; microbatches follow each other there.
    Input(usize),
    /// Byte offset in the region of carries.
    Carry(u64),
    /// A result that nobody reads: behind the temporaries of the program that writes it.
    Unread,
}

/// Places of one graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frames {
    /// Of each port.
    pub ports: SecondaryMap<Port, Option<Place>>,
    /// Of each port's cotangent, where there is one.
    pub cotangents: SecondaryMap<Port, Option<Place>>,
    /// Bytes of the region of carries.
    pub carry_bytes: u64,
    /// Of each call: byte offset of its frame in the stash.
    pub stash: Vec<u64>,
    /// Bytes of the stash.
    pub stash_bytes: u64,
    /// Of each call: byte offsets of its totals in their region.
    pub totals: Vec<Vec<u64>>,
    /// Of each call: byte offsets of its states' next values in the same region.
    pub nexts: Vec<Vec<u64>>,
    /// Bytes of all totals and next values.
    pub total_bytes: u64,
}

/// Size of a stored tensor in bytes.
pub fn bytes_of(graph: &Graph, ty: &Type) -> u64 {
    crate::graph::ir::bytes(ty, &graph.dims)
}

/// Size and slot offsets of a segment's stash frame.
pub fn stash_frame(graph: &Graph, segment: crate::graph::ir::Segment) -> (u64, Vec<u64>) {
    let mut bytes = 0;
    let mut offsets = Vec::new();
    for slot in &graph.segments[segment].stash {
        offsets.push(bytes);
        bytes += aligned(bytes_of(graph, &slot.ty));
    }
    (bytes, offsets)
}

/// Places everything; cotangents and stash only for a graph that is trained, the model's result only if it is `wanted`.
pub fn lay_out(graph: &Graph, training: bool, wanted: bool) -> Frames {
    let mut frames = Frames::default();
    for (at, (_, port)) in graph.inputs.iter().enumerate() {
        frames.ports[*port] = Some(Place::Input(at));
    }
    for port in graph.calls.iter().flat_map(|call| &call.results) {
        let read = graph.calls.iter().any(|call| call.args.contains(port)) || (wanted && graph.result == Some(*port));
        let bytes = bytes_of(graph, &graph.ports[*port]);
        frames.ports[*port] = Some(if read { frames.take(bytes) } else { Place::Unread });
    }
    if training {
        place_stash(graph, &mut frames);
        place_totals(graph, &mut frames);
        place_cotangents(graph, &mut frames);
    }
    frames
}

impl Frames {
    fn take(&mut self, bytes: u64) -> Place {
        let place = Place::Carry(self.carry_bytes);
        self.carry_bytes += aligned(bytes);
        place
    }
}

fn place_stash(graph: &Graph, frames: &mut Frames) {
    for call in &graph.calls {
        frames.stash.push(frames.stash_bytes);
        frames.stash_bytes += stash_frame(graph, segment_of(call)).0;
    }
}

fn place_totals(graph: &Graph, frames: &mut Frames) {
    for call in &graph.calls {
        let segment = &graph.segments[segment_of(call)];
        let mut place = |ty: &Type| {
            frames.total_bytes += aligned(bytes_of(graph, ty));
            frames.total_bytes - aligned(bytes_of(graph, ty))
        };
        let totals = segment.totals.iter().map(&mut place).collect();
        let nexts = segment.states.iter().map(|slot| place(&segment.weights[*slot as usize])).collect();
        frames.totals.push(totals);
        frames.nexts.push(nexts);
    }
}

fn place_cotangents(graph: &Graph, frames: &mut Frames) {
    for call in graph.calls.iter().rev() {
        let Some(backward) = &graph.segments[segment_of(call)].backward else { continue };
        let mut free: Vec<Port> = call.results.clone();
        for (role, value) in &backward.outputs {
            let Role::ParamGrad(param) = role else { continue };
            let port = call.args[*param as usize];
            if frames.cotangents[port].is_none() {
                let bytes = bytes_of(graph, backward.body.ty(*value));
                frames.cotangents[port] = Some(dead_result(graph, frames, &mut free, bytes));
            }
        }
    }
}

/// The place of a result of equal size, or a new one.
fn dead_result(graph: &Graph, frames: &mut Frames, free: &mut Vec<Port>, bytes: u64) -> Place {
    let fits = |result: &Port| bytes_of(graph, &graph.ports[*result]) == bytes && matches!(frames.ports[*result], Some(Place::Carry(_)));
    match free.iter().position(fits) {
        Some(at) => frames.ports[free.remove(at)].unwrap_or(Place::Unread),
        None => frames.take(bytes),
    }
}
