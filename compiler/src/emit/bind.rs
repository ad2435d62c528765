//! Where the roles of a segment's programs stand: parameters of the program, and addresses of a call.

use super::Placed;
use super::program::{Key, Located};
use super::region::{Regions, Slot, Source};
use crate::graph::ir::segment_of;
use crate::graph::ir::{Graph, Role, Segment};
use crate::memory::aligned;
use crate::memory::frames::{self, Place, bytes_of};
use crate::memory::state::{Block, State};
use crate::model::ir::Port;
use crate::op::Type;
use crate::shard::ir::Level;
use meshwright_plan::Region;
use meshwright_plan::program::{Address, CallAccumulate};
use std::collections::BTreeSet;

/// The blocks whose copies a segment's calls use: block and copy of the segment's first call, in order of first use.
pub fn blocks_of(graph: &Graph, state: &State, call: usize) -> Vec<(Block, u64)> {
    let mut blocks = Vec::new();
    for (weight, copy) in &graph.calls[call].weights {
        if let Some((block, _)) = state.place_of[*weight]
            && !blocks.contains(&(block, *copy))
        {
            blocks.push((block, *copy));
        }
    }
    blocks
}

/// Where a role of a segment stands in its programs' parameters; `call` is any call of it.
pub fn locate(graph: &Graph, state: &State, call: usize, role: Role) -> Located {
    let alone = Located { key: Key::Role(role), offset: 0, bytes: None };
    let in_block = |slot: u32, key: fn(u32) -> Key| {
        let (weight, copy) = graph.calls[call].weights[slot as usize];
        let Some((block, offset)) = state.place_of[weight] else { return alone };
        let number = blocks_of(graph, state, call).iter().position(|known| *known == (block, copy)).unwrap_or(0);
        Located { key: key(number as u32), offset, bytes: Some(state.blocks[block].stride) }
    };
    match role {
        Role::Weight(slot) => in_block(slot, Key::Weights),
        Role::WeightGrad(slot) => in_block(slot, Key::Gradients),
        Role::Stash(slot) => {
            let (bytes, offsets) = frames::stash_frame(graph, segment_of(&graph.calls[call]));
            Located { key: Key::Stash, offset: offsets[slot as usize], bytes: Some(bytes) }
        }
        Role::Param(_)
        | Role::Result(_)
        | Role::ResultGrad(_)
        | Role::ParamGrad(_)
        | Role::Report(_)
        | Role::Total(_)
        | Role::Peak(_)
        | Role::Next(_)
        | Role::Rest
        | Role::Gradient
        | Role::Moment(_)
        | Role::Factor
        | Role::SquareSum
        | Role::Whole
        | Role::Piece => alone,
    }
}

/// Binds the parameters of calls, and knows which sums have been begun.
pub struct Binder<'a> {
    placed: &'a Placed<'a>,
    state: &'a State,
    source: Source,
    begun: BTreeSet<Sum>,
}

/// Something that several calls add to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sum {
    Gradient(Block, u64),
    Cotangent(Port),
    Report(Segment, u32),
}

impl<'a> Binder<'a> {
    /// A binder for one run through a timeline.
    pub fn new(placed: &'a Placed<'a>, state: &'a State, source: Source) -> Self {
        Binder { placed, state, source, begun: BTreeSet::new() }
    }

    /// The address of one parameter in call `call` of a program with `scratch` bytes of temporaries.
    pub fn address(&mut self, call: usize, key: Key, scratch: u64, regions: &mut Regions) -> Address {
        match key {
            Key::Weights(number) => self.weights(call, number, regions),
            Key::Gradients(number) => self.gradients(call, number, regions),
            Key::Stash => at(regions.stash, self.placed.frames.stash[call]),
            Key::Scratch => at(regions.scratch, 0),
            Key::Role(role) => self.role(call, role, scratch, regions),
        }
    }

    fn role(&mut self, call: usize, role: Role, scratch: u64, regions: &mut Regions) -> Address {
        let data = &self.placed.graph.calls[call];
        match role {
            Role::Param(param) => self.port(data.args[param as usize], scratch, regions),
            Role::Result(result) => self.port(data.results[result as usize], scratch + self.unread(call, result as usize), regions),
            Role::ResultGrad(result) => self.cotangent(data.results[result as usize], regions),
            Role::ParamGrad(param) => {
                let port = data.args[param as usize];
                let accumulate = self.begin(Sum::Cotangent(port), CallAccumulate::Write);
                Address { accumulate, ..self.cotangent(port, regions) }
            }
            Role::Report(number) => {
                let segment = segment_of(data);
                let offset = regions.slot(Slot::Report(self.source, segment, number));
                let accumulate = self.begin(Sum::Report(segment, number), self.first_of_step());
                Address { accumulate, ..at(regions.results, offset) }
            }
            Role::Total(number) => {
                let offset = self.placed.frames.totals[call][number as usize];
                Address { accumulate: self.first_of_step(), ..at(regions.totals.unwrap_or(regions.results), offset) }
            }
            Role::Peak(number) => {
                let (offset, micro) = self.placed.peaks.place(self.placed.sharded, call, number);
                Address { micro, ..at(regions.peaks.unwrap_or(regions.results), offset) }
            }
            Role::Next(number) => at(regions.totals.unwrap_or(regions.results), self.placed.frames.nexts[call][number as usize]),
            Role::SquareSum => at(regions.results, regions.slot(Slot::SquareSum)),
            Role::Factor => at(regions.results, regions.slot(Slot::Factor)),
            // The roles below are bound as blocks, stash or flat ranges and never come here.
            Role::Weight(_) | Role::WeightGrad(_) | Role::Stash(_) | Role::Rest | Role::Gradient | Role::Moment(_) => at(regions.zeros, 0),
            Role::Whole | Role::Piece => at(regions.zeros, 0),
        }
    }

    /// A block as a program reads it: where it rests, or where it was gathered.
    fn weights(&self, call: usize, number: u32, regions: &Regions) -> Address {
        let (block, copy) = blocks_of(self.placed.graph, self.state, call)[number as usize];
        let data = &self.state.blocks[block];
        match data.at.weights {
            Some(offset) => at(regions.weights, offset + copy * data.stride),
            None => at(regions.gathered, self.state.slots(block, copy).0),
        }
    }

    /// Where a program leaves a block's gradients: added to those of the step, or by themselves if they are reduced right away.
    fn gradients(&mut self, call: usize, number: u32, regions: &Regions) -> Address {
        let (block, copy) = blocks_of(self.placed.graph, self.state, call)[number as usize];
        let data = &self.state.blocks[block];
        match data.at.gradients {
            Some(offset) => {
                let accumulate = self.begin(Sum::Gradient(block, copy), self.first_of_step());
                Address { accumulate, ..at(regions.gradients, offset + copy * data.stride) }
            }
            None => at(regions.gathered, self.state.slots(block, copy).1),
        }
    }

    /// The blocks among a program's parameters that must be gathered before it runs.
    pub fn gathered<'k>(&self, call: usize, keys: &'k [Key]) -> impl Iterator<Item = (Block, u64)> + use<'a, 'k> {
        let (blocks, state) = (blocks_of(self.placed.graph, self.state, call), self.state);
        let block = move |key: &Key| if let Key::Weights(number) = key { Some(blocks[*number as usize]) } else { None };
        keys.iter().filter_map(block).filter(move |(block, _)| {
            let rest = &state.blocks[*block].rest;
            rest.level == Level::Weights && !rest.hold
        })
    }

    /// The blocks among a program's parameters to whose gradients it adds.
    pub fn gradients_of(&self, call: usize, keys: &[Key]) -> Vec<(Block, u64)> {
        let blocks = blocks_of(self.placed.graph, self.state, call);
        keys.iter().filter_map(|key| if let Key::Gradients(number) = key { Some(blocks[*number as usize]) } else { None }).collect()
    }

    /// Those of them whose gradients are scattered after it has run, and how they add up there.
    pub fn scattered(&mut self, call: usize, keys: &[Key]) -> Vec<(Block, u64, CallAccumulate)> {
        let cut = |(block, _): &(Block, u64)| self.state.blocks[*block].rest.level >= Level::Gradients;
        let found: Vec<(Block, u64)> = self.gradients_of(call, keys).into_iter().filter(cut).collect();
        found.into_iter().map(|(block, copy)| (block, copy, self.begin(Sum::Gradient(block, copy), self.first_of_step()))).collect()
    }

    fn port(&self, port: Port, scratch: u64, regions: &Regions) -> Address {
        match self.placed.frames.ports[port] {
            Some(Place::Input(number)) => {
                let graph = self.placed.graph;
                let micro = if graph.microbatches > 1 { bytes_of(graph, &graph.ports[port]) as i64 } else { 0 };
                Address { micro, ..at(regions.data[number], 0) }
            }
            Some(Place::Carry(offset)) => at(regions.carries, offset),
            Some(Place::Unread) | None => at(regions.scratch, scratch),
        }
    }

    /// Bytes of the results before number `end` that nobody reads: they stand one after the other.
    pub fn unread(&self, call: usize, end: usize) -> u64 {
        let graph = self.placed.graph;
        let unread = graph.calls[call].results[..end].iter().filter(|port| self.placed.frames.ports[**port] == Some(Place::Unread));
        unread.map(|port| aligned(bytes_of(graph, &graph.ports[*port]))).sum()
    }

    fn cotangent(&self, port: Port, regions: &mut Regions) -> Address {
        match self.placed.frames.cotangents[port] {
            Some(Place::Carry(offset)) => at(regions.carries, offset),
            Some(Place::Input(_) | Place::Unread) | None => {
                let wide = Type::real(self.placed.graph.ports[port].dims.clone());
                regions.need_zeros(bytes_of(self.placed.graph, &wide));
                at(regions.zeros, 0)
            }
        }
    }

    /// What the first contribution of a step does to something that lives through all microbatches.
    fn first_of_step(&self) -> CallAccumulate {
        if self.placed.graph.microbatches > 1 { CallAccumulate::AfterFirstMicro } else { CallAccumulate::Write }
    }

    fn begin(&mut self, sum: Sum, first: CallAccumulate) -> CallAccumulate {
        if self.begun.insert(sum) { first } else { CallAccumulate::Add }
    }
}

/// A plain address.
pub fn at(region: Region, offset: u64) -> Address {
    Address { region, offset, micro: 0, layer: 0, accumulate: CallAccumulate::Write }
}
