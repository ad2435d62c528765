//! Weights, gradients and moments at rest: blocks.
//!
//! A block holds the weights that exactly the same calls use with the same copy: one contiguous piece per copy, weights of one update group
//! next to each other (decayed first, in the groups' order), each group's range padded to [`RANGE`] bytes so that updates run over flat
//! ranges. Gradients and moments have the same layout as the trained weights; frozen ones stand behind them. Padding holds zeros for ever.

use crate::graph::ir::{Graph, Role};
use crate::model::ir::Weight;
use crate::op::Dims;
use crate::schedule::segment_of;
use cranelift_entity::{EntityRef, PrimaryMap, SecondaryMap, entity_impl};
use std::collections::BTreeMap;

/// Ranges of one update group are multiples of this many bytes.
pub const RANGE: u64 = 4096;

/// A block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block(u32);
entity_impl!(Block, "block");

/// Weights that rest together.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockData {
    /// Unique: the segment's name, or the weight's where several segments use it.
    pub name: String,
    /// In memory order.
    pub weights: Vec<Weight>,
    /// Copies.
    pub count: u64,
    /// Bytes of one copy, and from one copy to the next.
    pub stride: u64,
    /// Byte offset of the first copy in the region.
    pub offset: u64,
    /// Flat ranges inside a copy, by update group.
    pub ranges: Vec<Range>,
    /// Whether gradients exist.
    pub trained: bool,
}

/// A flat range of one copy of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which update group.
    pub group: u32,
    /// Byte offset in the copy.
    pub offset: u64,
    /// Multiple of [`RANGE`].
    pub bytes: u64,
}

/// All blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// In memory order; trained ones first.
    pub blocks: PrimaryMap<Block, BlockData>,
    /// Block and byte offset in one copy of it.
    pub place_of: SecondaryMap<Weight, Option<(Block, u64)>>,
    /// Bytes of all weights.
    pub bytes: u64,
    /// Bytes of the trained ones: what gradients and each moment need.
    pub trained_bytes: u64,
}

/// What decides which block a weight stands in. Ordered: frozen ones last, then by first use.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    frozen: bool,
    uses: Vec<(usize, u64, bool)>,
    count: u64,
}

/// Lays out all weights of a training graph.
pub fn lay_out(graph: &Graph) -> State {
    let mut members: BTreeMap<Key, Vec<Weight>> = BTreeMap::new();
    for (weight, uses) in uses(graph) {
        let trained = uses.iter().any(|(_, _, gradient)| *gradient) && group_of(graph, weight).is_some();
        let key = Key { frozen: !trained, uses, count: graph.weights[weight].count };
        members.entry(key).or_default().push(weight);
    }
    let mut state = State::default();
    for (key, weights) in members {
        add_block(graph, &mut state, &key, weights);
    }
    state
}

fn group_of(graph: &Graph, weight: Weight) -> Option<u32> {
    graph.update.as_ref().and_then(|update| update.group_of[weight])
}

/// For every weight: the calls that use it, with which copy, and whether their backward program gives its gradient.
fn uses(graph: &Graph) -> Vec<(Weight, Vec<(usize, u64, bool)>)> {
    let mut all: SecondaryMap<Weight, Vec<(usize, u64, bool)>> = SecondaryMap::new();
    for (at, call) in graph.calls.iter().enumerate() {
        let backward = graph.segments[segment_of(call)].backward.as_ref();
        for (slot, (weight, copy)) in call.weights.iter().enumerate() {
            let role = Role::WeightGrad(slot as u32);
            let gradient = backward.is_some_and(|program| program.outputs.iter().any(|(output, _)| *output == role));
            all[*weight].push((at, *copy, gradient));
        }
    }
    graph.weights.keys().map(|weight| (weight, all[weight].clone())).collect()
}

fn add_block(graph: &Graph, state: &mut State, key: &Key, mut weights: Vec<Weight>) {
    weights.sort_by_key(|weight| (group_of(graph, *weight), weight.index()));
    let block = state.blocks.next_key();
    let mut data = BlockData {
        name: block_name(graph, state, key, &weights),
        weights: weights.clone(),
        count: key.count,
        stride: 0,
        offset: state.bytes,
        ranges: Vec::new(),
        trained: !key.frozen,
    };
    for weight in weights {
        let group = group_of(graph, weight).unwrap_or(0);
        if data.ranges.last().is_none_or(|range| range.group != group) {
            data.stride = data.stride.next_multiple_of(RANGE);
            data.ranges.push(Range { group, offset: data.stride, bytes: 0 });
        }
        state.place_of[weight] = Some((block, data.stride));
        data.stride += super::aligned(weight_bytes(graph, &graph.dims, weight));
        let end = data.stride.next_multiple_of(RANGE);
        if let Some(range) = data.ranges.last_mut() {
            range.bytes = end - range.offset;
        }
    }
    data.stride = data.stride.next_multiple_of(RANGE);
    state.bytes += data.stride * data.count;
    if data.trained {
        state.trained_bytes = state.bytes;
    }
    state.blocks.push(data);
}

fn weight_bytes(graph: &Graph, dims: &Dims, weight: Weight) -> u64 {
    graph.weights[weight].dims().iter().map(|dim| dims[*dim].size).product::<u64>() * 4
}

fn block_name(graph: &Graph, state: &State, key: &Key, weights: &[Weight]) -> String {
    let mut users: Vec<&str> = key.uses.iter().map(|(call, _, _)| graph.segments[segment_of(&graph.calls[*call])].name.as_str()).collect();
    users.dedup();
    let base = match (users.as_slice(), weights) {
        ([one], _) => (*one).to_string(),
        (_, [weight]) => graph.weights[*weight].path.rsplit('.').next().unwrap_or("shared").to_string(),
        _ => "shared".to_string(),
    };
    let taken = |name: &str| state.blocks.values().any(|block| block.name == name);
    if !taken(&base) {
        return base;
    }
    (2..).map(|number| format!("{base}{number}")).find(|name| !taken(name)).unwrap_or(base)
}
