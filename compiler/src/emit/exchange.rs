//! What ranks exchange outside of segments' programs: reports, gradients and weights, block by block.
//!
//! Requires blocks whose pieces are equal. Ensures that each gradient is reduced once over the axes that its block defers, before it is used.

use super::Placed;
use super::bind::at;
use super::program::{Key, Located, Made, Programs};
use super::region::{Regions, Slot, Source};
use super::roll;
use crate::fuse::ir::{BufferData, Fused, FusedLaunch};
use crate::graph::ir::Role;
use crate::graph::ir::segment_of;
use crate::memory::frames::bytes_of;
use crate::memory::state::{Block, BlockData, State};
use crate::op::Origins;
use crate::shard::ir::{Axis, Level, Mesh};
use cranelift_entity::PrimaryMap;
use meshwright_plan::kernel::Role as DimRole;
use meshwright_plan::kernel::{Access, Collective, Exchange, KernelData, KernelDim, Operand, Reduce, Skeleton};
use meshwright_plan::program::{Accumulate, Address, Call, CallAccumulate, Entry, Item};
use meshwright_plan::{Element, Limit};
use std::ops::Range;

/// Makes the programs of exchanges, and calls of them.
pub struct Exchanger<'a> {
    /// The devices.
    pub mesh: &'a Mesh,
    /// All blocks.
    pub state: &'a State,
    /// Where programs go.
    pub programs: &'a mut Programs,
}

/// Numbers that one call reduces: the name of their dim, elements from one to the next, and how.
struct Numbers {
    dim: &'static str,
    apart: u64,
    reduce: Reduce,
}

/// Gradients, totals and reports stand dense.
const SUMS: Numbers = Numbers { dim: "Flat", apart: 1, reduce: Reduce::Sum };
/// Peaks stand apart, and end with the last number, not with the bytes behind it.
const PEAKS: Numbers = Numbers { dim: "Places", apart: Limit::APART / 4, reduce: Reduce::Max };

/// The entry `start`: weights whose record rests in pieces are made whole. None where there are no such weights.
pub fn start(placed: &Placed, state: &State, programs: &mut Programs, regions: &mut Regions) -> Option<Entry> {
    let items = Exchanger { mesh: &placed.sharded.mesh, state, programs }.gather_all(regions);
    (!items.is_empty()).then(|| Entry { name: "start".to_string(), body: items })
}

impl Exchanger<'_> {
    /// Copies of a block are gathered to where programs read them: one into its slot, or several into the whole block.
    pub fn gather(&mut self, block: Block, copies: Range<u64>, regions: &Regions) -> Option<Call> {
        let (data, copy) = (&self.state.blocks[block], copies.start);
        let piece = at(regions.record, data.at.record? + copy * data.piece);
        let whole = match data.at.weights {
            Some(offset) => at(regions.weights, offset + copy * data.stride),
            None => at(regions.gathered, self.state.slots(block, copy).0),
        };
        let fused = self.pieces(data, copies.end - copy, Exchange::AllGather, [Role::Piece, Role::Whole]);
        let made = self.programs.add(format!("{}.gather", data.name), fused, &Origins::new(), &alone);
        Some(bound(&made, piece, whole, copy))
    }

    /// The gradients of copies of a block are summed over the mesh into the pieces that this rank holds.
    pub fn scatter(&mut self, block: Block, copies: Range<u64>, accumulate: CallAccumulate, regions: &Regions) -> Option<Call> {
        let (data, copy) = (&self.state.blocks[block], copies.start);
        let piece = Address { accumulate, ..at(regions.reduced, data.at.reduced? + copy * data.piece) };
        let whole = match data.at.gradients {
            Some(offset) => at(regions.gradients, offset + copy * data.stride),
            None => at(regions.gathered, self.state.slots(block, copy).1),
        };
        let fused = self.pieces(data, copies.end - copy, Exchange::ReduceScatter(Reduce::Sum), [Role::Whole, Role::Piece]);
        let made = self.programs.add(format!("{}.scatter", data.name), fused, &Origins::new(), &alone);
        Some(bound(&made, piece, whole, copy))
    }

    /// Every copy of every block whose weights are used whole and rest in pieces.
    pub fn gather_all(&mut self, regions: &Regions) -> Vec<Item> {
        self.gather_where(BlockData::is_gathered_after, regions)
    }

    /// Every copy of every block that is gathered once and held.
    pub fn gather_held(&mut self, regions: &Regions) -> Vec<Item> {
        self.gather_where(|data| data.rest.level == Level::Weights && data.rest.hold, regions)
    }

    fn gather_where(&mut self, wanted: impl Fn(&BlockData) -> bool, regions: &Regions) -> Vec<Item> {
        let blocks: Vec<Block> = self.state.blocks.iter().filter(|(_, data)| wanted(data)).map(|(block, _)| block).collect();
        let mut calls = Vec::new();
        for block in blocks {
            let data = &self.state.blocks[block];
            let copies = if data.rest.hold { (0..data.count).map(|copy| copy..copy + 1).collect() } else { data.buckets() };
            calls.extend(copies.into_iter().rev().filter_map(|copies| self.gather(block, copies, regions)));
        }
        roll::roll(calls)
    }

    /// What the gradients of a bucket are still partial over when all microbatches have added to them.
    pub fn reduce(&mut self, block: Block, copies: Range<u64>, regions: &Regions) -> Vec<Call> {
        let (data, copy) = (&self.state.blocks[block], copies.start);
        let mut calls = Vec::new();
        if data.rest.level == Level::Moments {
            calls.extend(self.scatter(block, copies.clone(), CallAccumulate::Write, regions));
        }
        let left = data.left();
        if !left.is_empty() {
            let place = match (data.at.reduced, data.at.gradients) {
                (Some(offset), _) => at(regions.reduced, offset + copy * data.piece),
                (None, offset) => at(regions.gradients, offset.unwrap_or(0) + copy * data.stride),
            };
            let made = self.in_place(&format!("{}.reduce", data.name), &SUMS, data.piece * (copies.end - copy), &left);
            calls.push(bound(&made, place, place, copy));
        }
        calls
    }

    /// The numbers that a source reports, and those that have a bound.
    pub fn reduce_reports(&mut self, placed: &Placed, source: Source, regions: &mut Regions) -> Vec<Item> {
        let numbers = placed.graph.reports.iter().flat_map(|report| {
            let slot = |at: u32| Slot::Report(source, report.segment, at);
            [Some(slot(report.sum)), report.count.map(slot)]
        });
        let slots: Vec<Slot> = numbers.flatten().collect();
        let mut items: Vec<Item> = slots.into_iter().map(|slot| self.reduce_number(slot, regions)).collect();
        items.extend(self.compare_peaks(placed, regions));
        items
    }

    /// What dispatches want of slots that are ragged: the largest over the ranks that have parts of it.
    fn compare_peaks(&mut self, placed: &Placed, regions: &Regions) -> Vec<Item> {
        let Some(region) = regions.peaks else { return Vec::new() };
        let one = |(axes, places): &(Vec<Axis>, Range<u64>)| {
            let made = self.in_place("compare_peaks", &PEAKS, places.end - places.start, axes);
            let place = at(region, places.start);
            Item::Call(bound(&made, place, place, 0))
        };
        placed.peaks.compared.iter().map(one).collect()
    }

    /// What the next states are made from, over all axes that do not cut it.
    pub fn reduce_totals(&mut self, placed: &Placed, regions: &Regions) -> Vec<Item> {
        let Some(region) = regions.totals else { return Vec::new() };
        let graph = placed.graph;
        let mut calls = Vec::new();
        for (number, call) in graph.calls.iter().enumerate() {
            for (ty, offset) in graph.segments[segment_of(call)].totals.iter().zip(&placed.frames.totals[number]) {
                let own: Vec<Axis> = ty.dims.iter().flat_map(|dim| placed.sharded.cuts.whole(*dim).1.to_vec()).collect();
                let made = self.in_place("reduce_total", &SUMS, bytes_of(graph, ty), &self.mesh.beside(&own));
                calls.push(bound(&made, at(region, *offset), at(region, *offset), call.iteration));
            }
        }
        roll::roll(calls)
    }

    /// A number is summed over the whole mesh.
    fn reduce_number(&mut self, slot: Slot, regions: &mut Regions) -> Item {
        let all: Vec<Axis> = self.mesh.axes.keys().collect();
        let made = self.in_place("reduce_number", &SUMS, 4, &all);
        let place = at(regions.results, regions.slot(slot));
        Item::Call(bound(&made, place, place, 0))
    }

    /// A number is summed over some axes, and the sum written or added to another number.
    pub fn add_number(&mut self, from: Slot, to: Slot, axes: &[Axis], accumulate: CallAccumulate, regions: &mut Regions) -> Item {
        let fused = self.reduced(&SUMS, 4, axes, [Role::Piece, Role::Whole]);
        let made = self.programs.add("add_number".to_string(), fused, &Origins::new(), &alone);
        let piece = at(regions.results, regions.slot(from));
        let whole = Address { accumulate, ..at(regions.results, regions.slot(to)) };
        Item::Call(bound(&made, piece, whole, 0))
    }

    /// Between whole copies of a block, one behind the other, and their pieces.
    fn pieces(&self, data: &BlockData, copies: u64, exchange: Exchange, [from, to]: [Role; 2]) -> Fused {
        let (piece, members) = (data.piece / 4, self.mesh.size(&data.rest.axes));
        let names = self.mesh.names(&data.rest.axes);
        let dim = |name: String, size, role| KernelDim { name, size, role, axes: Vec::new() };
        let mut dims = vec![dim(names.join("*"), members, DimRole::Member), dim("Flat".into(), piece, DimRole::Row)];
        if copies > 1 {
            dims.insert(0, dim("Copies".into(), copies, DimRole::Row));
        }
        let strides = |role: Role| {
            let own = if role == Role::Whole { [piece * members, piece, 1] } else { [piece, 0, 1] };
            own[3 - dims.len()..].iter().map(|stride| *stride as i64).collect()
        };
        let access = if matches!(exchange, Exchange::ReduceScatter(_)) { Access::Accumulate } else { Access::Write };
        let operand = |name: &str, role: Role, access| Operand {
            name: name.into(),
            element: Element::F32,
            access,
            strides: strides(role),
            extent: copies * if role == Role::Whole { piece * members } else { piece },
        };
        let accumulate = if access == Access::Accumulate { Accumulate::ByCall } else { Accumulate::Write };
        let operands = [operand("in", from, Access::Read), operand("out", to, access)];
        let name = if accumulate == Accumulate::Write { "gather" } else { "reduce_scatter" };
        let skeleton = Skeleton::Collective(Collective { exchange, axes: names });
        let kernel = KernelData { name: name.into(), dims: dims.into_iter().collect(), operands: operands.into_iter().collect(), skeleton };
        let mut buffers = PrimaryMap::new();
        let bytes = |role: Role| copies * if role == Role::Whole { data.stride } else { data.piece };
        let mut buffer = |role: Role| buffers.push(BufferData { name: String::new(), bytes: bytes(role), role: Some(role) });
        let places = vec![(buffer(from), 0), (buffer(to), 0)];
        Fused { buffers, launches: vec![FusedLaunch { kernel, places, accumulate, origins: [].into() }] }
    }

    /// The program that reduces so many bytes of numbers in place.
    fn in_place(&mut self, name: &str, numbers: &Numbers, bytes: u64, axes: &[Axis]) -> Made {
        let fused = self.reduced(numbers, bytes, axes, [Role::Piece, Role::Piece]);
        self.programs.add(name.to_string(), fused, &Origins::new(), &alone)
    }

    /// Numbers in so many bytes are reduced over some axes: in place, or into another buffer, where they may be added.
    fn reduced(&self, numbers: &Numbers, bytes: u64, axes: &[Axis], [from, to]: [Role; 2]) -> Fused {
        let Numbers { dim, apart, reduce } = *numbers;
        let (count, extent) = (bytes / 4 / apart, bytes / 4 - (apart - 1));
        let (access, accumulate) = if from == to { (Access::Write, Accumulate::Write) } else { (Access::Accumulate, Accumulate::ByCall) };
        let operand =
            |name: &str, access| Operand { name: name.into(), element: Element::F32, access, strides: vec![apart as i64], extent };
        let dims = [KernelDim { name: dim.into(), size: count, role: DimRole::Row, axes: Vec::new() }];
        let skeleton = Skeleton::Collective(Collective { exchange: Exchange::AllReduce(reduce), axes: self.mesh.names(axes) });
        let operands = [operand("in", Access::Read), operand("out", access)];
        let kernel =
            KernelData { name: "all_reduce".into(), dims: dims.into_iter().collect(), operands: operands.into_iter().collect(), skeleton };
        let mut buffers = PrimaryMap::new();
        let mut buffer = |role: Role| buffers.push(BufferData { name: String::new(), bytes, role: Some(role) });
        let source = buffer(from);
        let target = if from == to { source } else { buffer(to) };
        let launch = FusedLaunch { kernel, places: vec![(source, 0), (target, 0)], accumulate, origins: [].into() };
        Fused { buffers, launches: vec![launch] }
    }
}

fn alone(role: Role) -> Located {
    Located { key: Key::Role(role), offset: 0, bytes: None }
}

fn bound(made: &Made, piece: Address, whole: Address, copy: u64) -> Call {
    let bindings = made.keys.iter().map(|key| if *key == Key::Role(Role::Whole) { whole } else { piece }).collect();
    Call { program: made.program, bindings, iteration: (copy, 0) }
}
