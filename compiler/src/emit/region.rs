//! Regions of the arena, and what the executor must know of them: inputs, weights, readouts, outputs.

use super::Placed;
use crate::graph::ir::{Graph, Report, Segment};
use crate::memory::aligned;
use crate::memory::frames::{Place, bytes_of};
use crate::memory::state::{BlockData, State};
use crate::model::ir::Model;
use crate::op::Dim;
use crate::shard::ir::{Level, Mesh, Sharded};
use cranelift_entity::PrimaryMap;
use meshwright_plan::{Arena, DimSize, Flat, Input, Limit, Output, Readout, Region, RegionData, RegionKind, Rest, Weight};

/// Regions start at multiples of this many bytes: a page, so that none shares one.
const PAGE: u64 = 4096;

/// Which graph a number was reported by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The training step.
    Train,
    /// An evaluation.
    Evaluate,
}

/// The regions of a plan while it is made; sizes grow, offsets come last.
pub struct Regions {
    all: PrimaryMap<Region, RegionData>,
    pub weights: Region,
    /// Pieces of the weights of record; `weights` where none rests in pieces.
    pub record: Region,
    pub gradients: Region,
    /// Pieces of gradients, reduced; `gradients` where there are none.
    pub reduced: Region,
    pub moments: Vec<Region>,
    pub data: Vec<Region>,
    pub carries: Region,
    pub stash: Region,
    /// Blocks that are gathered for use, and their gradients; `scratch` where there are none.
    pub gathered: Region,
    pub scratch: Region,
    pub results: Region,
    /// Sums over the batch for the next states, and next states, if there are any.
    pub totals: Option<Region>,
    /// What dispatches want of slots that are ragged, if there are such.
    pub peaks: Option<Region>,
    pub zeros: Region,
    /// Numbers in `results`: 64 bytes each, so that each can be bound by itself.
    slots: Vec<Slot>,
}

/// What a number in `results` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Sum of the squares of all gradients.
    SquareSum,
    /// The part of it that this rank has of gradients that the mesh cuts, by the number of the set of axes.
    Squares(u32),
    /// Factor on gradients.
    Factor,
    /// The gradient's norm.
    Norm,
    /// A report of a segment, by its index there.
    Report(Source, Segment, u32),
}

impl Regions {
    /// Regions of a training plan; `peaks` bytes of numbers with a bound in the largest entry.
    pub fn new(train: &Placed, state: &State, peaks: u64) -> Self {
        let mut all = PrimaryMap::new();
        let mut add = |name: String, kind, bytes| all.push(RegionData { name, kind, offset: 0, bytes });
        let totals = train.frames.total_bytes;
        let moments = train.graph.update.as_ref().map_or(0, |update| update.moments);
        let level = train.sharded.rest.level;
        let sizes = [state.bytes.weights, state.bytes.record, state.bytes.gradients, state.bytes.reduced, state.bytes.moments];
        let [whole, record_bytes, gradient_bytes, reduced_bytes, moment_bytes] = sizes.map(|bytes| bytes.unwrap_or(0));
        let record_kind = if level == Level::Weights { RegionKind::Weights } else { RegionKind::Moments };
        let reduced_kind = if level == Level::Moments { RegionKind::Gathered } else { RegionKind::Gradients };
        let weights = add("weights".into(), RegionKind::Weights, whole);
        let gradients = add("gradients".into(), RegionKind::Gradients, gradient_bytes);
        let mut piece = |name: &str, kind, bytes, other| if bytes > 0 { add(name.into(), kind, bytes) } else { other };
        let record = piece("weights.piece", record_kind, record_bytes, weights);
        let reduced = piece("gradients.piece", reduced_kind, reduced_bytes, gradients);
        let moments = (1..=moments).map(|at| add(format!("moment{at}"), RegionKind::Moments, moment_bytes)).collect();
        let data = data_regions(train, &mut add);
        let carries = add("carries".into(), RegionKind::Carries, 0);
        let stash = add("stash".into(), RegionKind::Stash, 0);
        let scratch = add("scratch".into(), RegionKind::Scratch, 0);
        let slots = state.slot_bytes();
        let gathered = if slots > 0 { add("gathered".into(), RegionKind::Gathered, slots) } else { scratch };
        Regions {
            weights,
            record,
            gradients,
            reduced,
            moments,
            data,
            carries,
            stash,
            scratch,
            gathered,
            results: add("results".into(), RegionKind::Results, 0),
            totals: (totals > 0).then(|| add("totals".into(), RegionKind::Results, totals)),
            peaks: (peaks > 0).then(|| add("peaks".into(), RegionKind::Results, peaks)),
            zeros: add("zeros".into(), RegionKind::Results, 0),
            slots: Vec::new(),
            all,
        }
    }

    /// Byte offset of a number in `results`.
    pub fn slot(&mut self, slot: Slot) -> u64 {
        let at = self.find(slot).unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() as u64 - 1
        });
        at * 64
    }

    fn find(&self, slot: Slot) -> Option<u64> {
        self.slots.iter().position(|known| *known == slot).map(|at| at as u64)
    }

    /// Makes sure that so many bytes of zeros can be read.
    pub fn need_zeros(&mut self, bytes: u64) {
        let zeros = &mut self.all[self.zeros];
        zeros.bytes = zeros.bytes.max(bytes);
    }

    /// Makes room for what a graph needs.
    pub fn grow(&mut self, placed: &Placed, scratch: u64) {
        let frames = &placed.frames;
        for (region, bytes) in [(self.carries, frames.carry_bytes), (self.stash, frames.stash_bytes), (self.scratch, scratch)] {
            let data = &mut self.all[region];
            data.bytes = data.bytes.max(bytes);
        }
    }

    /// The numbers that the executor reads.
    pub fn readouts(&self, train: &Placed, evaluate: Option<&Placed>) -> Vec<Readout> {
        let mut readouts = self.reported(Source::Train, train.graph, "");
        if let Some(at) = self.find(Slot::Norm) {
            readouts.push(Readout { name: "grad_norm".into(), region: self.results, offset: at * 64, count: None });
        }
        if let Some(placed) = evaluate {
            readouts.extend(self.reported(Source::Evaluate, placed.graph, "validation_"));
        }
        readouts
    }

    /// The numbers that the executor compares with their bounds.
    pub fn limits(&self, train: &Placed, evaluate: Option<&Placed>, predict: Option<&Placed>) -> Vec<Limit> {
        let Some(region) = self.peaks else { return Vec::new() };
        let entries = [("step", Some(train)), ("evaluate", evaluate), ("predict", predict)];
        let of = |(entry, placed): (&str, Option<&Placed>)| placed.map(|placed| placed.peaks.limits(placed.sharded, entry, region));
        entries.into_iter().filter_map(of).flatten().collect()
    }

    fn reported(&self, source: Source, graph: &Graph, prefix: &str) -> Vec<Readout> {
        let place = |report: &Report, at: u32| self.find(Slot::Report(source, report.segment, at)).map(|at| at * 64);
        let readout = |report: &Report| {
            let count = report.count.and_then(|at| place(report, at));
            let name = format!("{prefix}{}", report.name);
            Some(Readout { name, region: self.results, offset: place(report, report.sum)?, count })
        };
        graph.reports.iter().filter_map(readout).collect()
    }

    /// Gives every region its offset.
    pub fn finish(mut self) -> Arena {
        self.all[self.results].bytes = self.slots.len() as u64 * 64;
        let mut arena = Arena::default();
        // The zeros are the last region, so that leaving them out moves no other.
        let needed = |data: &RegionData| data.bytes > 0 || data.name != "zeros";
        for mut data in std::mem::take(&mut self.all).into_iter().map(|(_, data)| data).filter(needed) {
            data.bytes = aligned(data.bytes);
            data.offset = arena.bytes.next_multiple_of(PAGE);
            arena.bytes = data.offset + data.bytes;
            arena.regions.push(data);
        }
        arena.bytes = arena.bytes.next_multiple_of(PAGE);
        arena
    }
}

fn data_regions(train: &Placed, add: &mut dyn FnMut(String, RegionKind, u64) -> Region) -> Vec<Region> {
    let graph = train.graph;
    let whole = |port| bytes_of(graph, &graph.ports[port]) * graph.microbatches;
    graph.inputs.iter().map(|(name, port)| add(format!("data.{name}"), RegionKind::Data, whole(*port))).collect()
}

/// Dims by the user's names, with what cuts them.
fn named(sharded: &Sharded, dims: &[Dim]) -> Vec<DimSize> {
    let all = &sharded.graph.dims;
    let named = |dim: &Dim| {
        let (whole, axes) = sharded.cuts.whole(*dim);
        let balanced = sharded.cuts.is_balanced(*dim);
        let padding = (all[*dim].size * sharded.mesh.size(axes)).saturating_sub(all[whole].size);
        DimSize { name: all[whole].name.clone(), size: all[*dim].size, axes: sharded.mesh.names(axes), balanced, padding }
    };
    dims.iter().map(named).collect()
}

/// What the data source must fill.
pub fn inputs(train: &Placed, regions: &Regions) -> Vec<Input> {
    let graph = train.graph;
    let input = |(at, (name, port)): (usize, &(String, crate::model::ir::Port))| {
        let ty = &graph.ports[*port];
        let mut dims = named(train.sharded, &ty.dims);
        if let Some(batch) = dims.first_mut() {
            batch.size *= graph.microbatches;
        }
        let bound = match ty.element {
            crate::op::Element::Index(dim) => Some(graph.dims[dim].size),
            crate::op::Element::Real | crate::op::Element::Half | crate::op::Element::Bool | crate::op::Element::Integer => None,
        };
        Input { name: name.clone(), element: Model::stored(ty.element), bound, dims, region: regions.data[at] }
    };
    graph.inputs.iter().enumerate().map(input).collect()
}

/// All weights with their places at rest.
pub fn weights(train: &Placed, state: &State, regions: &Regions) -> Vec<Weight> {
    let graph = train.graph;
    let mut all = Vec::new();
    for (weight, data) in &graph.weights {
        let Some((block, inside)) = state.place_of[weight] else { continue };
        let block = &state.blocks[block];
        let mesh = &train.sharded.mesh;
        let (record, reduced) = (block.at.record.map(|at| (regions.record, at)), block.at.reduced.map(|at| (regions.reduced, at)));
        let (whole, gradients) = (block.at.weights.map(|at| (regions.weights, at)), block.at.gradients.map(|at| (regions.gradients, at)));
        let Some(rest) = resting(mesh, block, record, whole, inside) else { continue };
        all.push(Weight {
            path: data.path.clone(),
            count: data.count,
            dims: named(train.sharded, &data.dims()),
            init: data.init,
            rest,
            gradient: resting(mesh, block, reduced, gradients, inside),
        });
    }
    all
}

/// Where a tensor that stands `inside` a block rests: in pieces, or whole.
fn resting(mesh: &Mesh, block: &BlockData, piece: Option<(Region, u64)>, whole: Option<(Region, u64)>, inside: u64) -> Option<Rest> {
    if let Some((region, offset)) = piece {
        let flat = Flat { axes: mesh.names(&block.rest.axes), bytes: block.piece, start: inside };
        return Some(Rest { region, offset, stride: block.piece, flat: Some(flat) });
    }
    whole.map(|(region, at)| Rest { region, offset: at + inside, stride: block.stride, flat: None })
}

/// What `predict` leaves to be read.
pub fn outputs(placed: &Placed, regions: &Regions) -> Vec<Output> {
    let graph = placed.graph;
    let Some(port) = graph.result else { return Vec::new() };
    let Some(Place::Carry(offset)) = placed.frames.ports[port] else { return Vec::new() };
    let ty = &graph.ports[port];
    let dims = named(placed.sharded, &ty.dims);
    vec![Output { name: "result".into(), element: Model::stored(ty.element), dims, region: regions.carries, offset }]
}
