//! Weights, gradients and moments at rest: blocks.
//!
//! A block holds the weights that exactly the same calls use with the same copy: one contiguous piece per copy, weights of one update group
//! next to each other (decayed first, in the groups' order), each group's range padded to [`RANGE`] bytes so that updates run over flat
//! ranges. Gradients and moments have the same layout as the trained weights; frozen ones stand behind them. Padding holds zeros for ever.
//!
//! On a mesh the weights of a block also have their gradients reduced over the same axes, and of a range are cut by the same axes. Where state
//! rests in pieces (ZeRO), a copy of a block is so many equal pieces, and a rank holds one of each.

use crate::graph::ir::segment_of;
use crate::graph::ir::{Graph, Role};
use crate::model::ir::Weight;
use crate::op::Dims;
use crate::shard::ir::{Axis, Level, Rest, Sharded};
use cranelift_entity::{EntityRef, PrimaryMap, SecondaryMap, entity_impl};
use std::collections::BTreeMap;
use std::ops;

/// Ranges of one update group are multiples of this many bytes.
pub const RANGE: u64 = 4096;

/// Copies of a block that are exchanged at the end of a step go together up to about so many bytes: fewer, longer exchanges, of which all but the
/// last hide behind the backward programs (Li et al. 2020, PyTorch Distributed).
pub const BUCKET: u64 = 25 << 20;

/// Slots of a block whose copies take turns: one is in use while the next is gathered, or the last is reduced.
const SLOTS: u64 = 2;

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
    /// Flat ranges inside a copy, by update group.
    pub ranges: Vec<Range>,
    /// Whether gradients exist.
    pub trained: bool,
    /// The axes over which gradients are reduced once a step.
    pub deferred: Vec<Axis>,
    /// How the block rests; `Whole` where it cannot be cut, because the axes of the mesh's rest cut its weights already.
    pub rest: Rest,
    /// Bytes of the piece of one copy that a rank holds of what is cut; the stride if nothing is.
    pub piece: u64,
    /// Where the first copies stand in the regions that have the block.
    pub at: Offsets,
}

/// Byte offsets of a block in each region; none where the region lacks it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Offsets {
    /// Whole weights, as programs use them.
    pub weights: Option<u64>,
    /// Pieces of the weights of record.
    pub record: Option<u64>,
    /// Whole gradients.
    pub gradients: Option<u64>,
    /// Pieces of gradients.
    pub reduced: Option<u64>,
    /// Moments: pieces, or whole.
    pub moments: Option<u64>,
}

impl BlockData {
    /// Whether ranks hold pieces of its moments at least.
    pub fn is_cut(&self) -> bool {
        self.rest.level != Level::Whole
    }

    /// The axes along which pieces do not lie, over which gradients are reduced once a step.
    pub fn left(&self) -> Vec<Axis> {
        self.deferred.iter().copied().filter(|axis| !self.is_cut() || !self.rest.axes.contains(axis)).collect()
    }

    /// Whether its gradients are reduced at all.
    pub fn is_reduced(&self) -> bool {
        self.trained && (self.is_cut() || !self.deferred.is_empty())
    }

    /// Whether its weights are used whole and updated in pieces: they are gathered when a step has updated them.
    pub fn is_gathered_after(&self) -> bool {
        self.is_cut() && self.rest.level < Level::Weights
    }

    /// Copies whose gathered weights have room at a time: all that are held, else those that take turns.
    fn weight_slots(&self) -> u64 {
        match (self.rest.level, self.rest.hold) {
            (Level::Weights, true) => self.count,
            (Level::Weights, false) => self.count.min(SLOTS),
            (Level::Whole | Level::Moments | Level::Gradients, _) => 0,
        }
    }

    /// Copies whose gradients have room at a time until they are reduced.
    fn gradient_slots(&self) -> u64 {
        if self.trained && self.rest.level >= Level::Gradients { self.count.min(SLOTS) } else { 0 }
    }

    /// The copies that are exchanged together at the end of a step, highest first, as backward programs leave them; what is left over is the lowest.
    pub fn buckets(&self) -> Vec<ops::Range<u64>> {
        let copies = (BUCKET / self.stride.max(1)).clamp(1, self.count.max(1));
        (0..self.count.div_ceil(copies)).map(|number| self.count - number * copies).map(|end| end.saturating_sub(copies)..end).collect()
    }
}

/// A flat range of one copy of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which update group.
    pub group: u32,
    /// Byte offset in the copy.
    pub offset: u64,
    /// Multiple of [`RANGE`].
    pub bytes: u64,
    /// The axes that cut its weights, ascending: along them ranks hold different elements.
    pub axes: Vec<Axis>,
}

/// All blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// In memory order; trained ones first.
    pub blocks: PrimaryMap<Block, BlockData>,
    /// Block and byte offset in one copy of it.
    pub place_of: SecondaryMap<Weight, Option<(Block, u64)>>,
    /// Bytes of the regions.
    pub bytes: Offsets,
}

impl State {
    /// Where a copy of a block is gathered for use, and where its gradients stand until they are scattered: byte offsets in the region of gathered
    /// blocks. Every block has slots of its own, so that its padding stays zero; its copies take turns.
    pub fn slots(&self, block: Block, copy: u64) -> (u64, u64) {
        let before: u64 = self.blocks.values().take(block.index()).map(slot_bytes).sum();
        let data = &self.blocks[block];
        let turn = |slots: u64| copy % slots.max(1) * data.stride;
        (before + turn(data.weight_slots()), before + data.weight_slots() * data.stride + turn(data.gradient_slots()))
    }

    /// Bytes of all slots.
    pub fn slot_bytes(&self) -> u64 {
        self.blocks.values().map(slot_bytes).sum()
    }
}

fn slot_bytes(data: &BlockData) -> u64 {
    (data.weight_slots() + data.gradient_slots()) * data.stride
}

/// What decides which block a weight stands in. Ordered: frozen ones last, then by first use.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    frozen: bool,
    uses: Vec<(usize, u64, bool)>,
    count: u64,
    deferred: Vec<Axis>,
    rest: Rest,
}

/// Lays out all weights of a training graph.
pub fn lay_out(sharded: &Sharded) -> State {
    let graph = &sharded.graph;
    let mut members: BTreeMap<Key, Vec<Weight>> = BTreeMap::new();
    for (weight, uses) in uses(graph) {
        let trained = uses.iter().any(|(_, _, gradient)| *gradient) && group_of(graph, weight).is_some();
        let deferred = sharded.deferred[weight].clone();
        let key = Key { frozen: !trained, uses, count: graph.weights[weight].count, rest: rest(sharded, weight, trained), deferred };
        members.entry(key).or_default().push(weight);
    }
    let mut state = State::default();
    for (key, weights) in members {
        add_block(sharded, &mut state, &key, weights);
    }
    state
}

/// How a weight's block rests: cut as the mesh's state is, if those axes do not cut the weight itself. Frozen weights have no moments to cut, and
/// states are whole on every rank: each computes the next ones by itself.
fn rest(sharded: &Sharded, weight: Weight, trained: bool) -> Rest {
    let own = sharded.weight_axes(weight);
    let free = !sharded.rest.axes.iter().any(|axis| own.contains(axis));
    let wanted = trained || (sharded.rest.level == Level::Weights && !sharded.graph.weights[weight].state);
    if free && wanted { sharded.rest.clone() } else { Rest::default() }
}

fn group_of(graph: &Graph, weight: Weight) -> Option<u32> {
    graph.update.as_ref().and_then(|update| update.group_of[weight])
}

/// A call that uses a weight, with which copy, and whether its backward program gives the weight's gradient.
type Use = (usize, u64, bool);

/// The uses of every weight.
fn uses(graph: &Graph) -> Vec<(Weight, Vec<Use>)> {
    let mut all: SecondaryMap<Weight, Vec<Use>> = SecondaryMap::new();
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

fn add_block(sharded: &Sharded, state: &mut State, key: &Key, mut weights: Vec<Weight>) {
    let graph = &sharded.graph;
    let axes = |weight: Weight| {
        let mut own = sharded.weight_axes(weight);
        own.sort_unstable();
        own
    };
    weights.sort_by_key(|weight| (group_of(graph, *weight), axes(*weight), weight.index()));
    let block = state.blocks.next_key();
    let (mut stride, mut ranges): (u64, Vec<Range>) = (0, Vec::new());
    for weight in &weights {
        let (group, axes) = (group_of(graph, *weight).unwrap_or(0), axes(*weight));
        if ranges.last().is_none_or(|range| range.group != group || range.axes != axes) {
            stride = stride.next_multiple_of(RANGE);
            ranges.push(Range { group, offset: stride, bytes: 0, axes });
        }
        state.place_of[*weight] = Some((block, stride));
        stride += super::aligned(weight_bytes(graph, &graph.dims, *weight));
        if let Some(range) = ranges.last_mut() {
            range.bytes = stride.next_multiple_of(RANGE) - range.offset;
        }
    }
    let pieces = sharded.mesh.size(&key.rest.axes);
    let stride = stride.next_multiple_of(RANGE * pieces);
    let mut data = BlockData {
        name: block_name(graph, state, key, &weights),
        weights,
        count: key.count,
        stride,
        ranges,
        trained: !key.frozen,
        deferred: key.deferred.clone(),
        rest: key.rest.clone(),
        piece: stride / pieces,
        at: Offsets::default(),
    };
    place(&mut state.bytes, &mut data);
    state.blocks.push(data);
}

/// Gives a block its place in each region that has it.
fn place(bytes: &mut Offsets, data: &mut BlockData) {
    let (whole, piece) = (data.stride * data.count, data.piece * data.count);
    let take = |region: &mut Option<u64>, has: bool, bytes: u64| {
        let at = region.unwrap_or(0);
        *region = Some(at + if has { bytes } else { 0 });
        has.then_some(at)
    };
    let level = data.rest.level;
    data.at = Offsets {
        weights: take(&mut bytes.weights, level < Level::Weights, whole),
        record: take(&mut bytes.record, level > Level::Whole, piece),
        gradients: take(&mut bytes.gradients, data.trained && level < Level::Gradients, whole),
        reduced: take(&mut bytes.reduced, data.trained && level > Level::Whole, piece),
        moments: take(&mut bytes.moments, data.trained, piece),
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_all_copies_from_the_last_to_the_first() {
        let block = |count: u64, stride: u64| BlockData {
            name: String::new(),
            weights: Vec::new(),
            count,
            stride,
            ranges: Vec::new(),
            trained: true,
            deferred: Vec::new(),
            rest: Rest::default(),
            piece: stride,
            at: Offsets::default(),
        };
        let buckets = |count, stride| block(count, stride).buckets().iter().map(|one| (one.start, one.end)).collect::<Vec<_>>();
        assert_eq!(buckets(7, 10 << 20), [(5, 7), (3, 5), (1, 3), (0, 1)]);
        assert_eq!(buckets(3, 26 << 20), [(2, 3), (1, 2), (0, 1)]);
        assert_eq!(buckets(12, 4096), [(0, 12)]);
        assert_eq!(buckets(1, 0), [(0, 1)]);
    }
}
