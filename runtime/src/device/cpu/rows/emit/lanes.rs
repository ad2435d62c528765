//! Loops over the lanes of a tile, and the calls of routines on tiles.
//!
//! Requires: a tile whose start is a multiple of 16. Ensures: groups of 16 lanes as four vectors, then what is left one by one.

use super::{Emitter, Time, Words, flags, routine_of};
use crate::device::cpu::math;
use crate::device::cpu::rows::routines;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use cranelift_entity::{EntityRef, EntitySet, SecondaryMap};
use meshwright_plan::Element;
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Effect, Map, Node, NodeData, Runs};

/// The lanes that code is emitted for: a vector of a group of 16, or a single one.
pub(super) struct Lanes<'l> {
    /// Which of the four vectors of the group.
    pub(super) vector: Option<usize>,
    /// The first lane of the group, or the single one.
    pub(super) first: Value,
    /// The loop that they belong to.
    around: &'l Around,
    /// Addresses at the first lane, by address at lane 0 and the scale of lanes in bytes: the vectors of a group share them.
    addresses: &'l mut Vec<(Value, i64, Value)>,
    /// What has been computed for these lanes.
    done: SecondaryMap<Node, Option<Value>>,
}

/// What is computed ahead of a loop.
pub(super) struct Around {
    /// The time of the loop.
    pub(super) time: Time,
    /// Uniform and row-level values as vectors.
    splats: SecondaryMap<Node, Option<Value>>,
    /// Addresses of buffers, counted from lane 0 of the row.
    pub(super) bases: SecondaryMap<Node, Option<Value>>,
    /// The same for second arguments.
    pub(super) others: SecondaryMap<Node, Option<Value>>,
    /// Addresses of the accumulators of folds, by effect.
    pub(super) folds: Vec<Option<Value>>,
}

/// What one loop has to do.
pub(super) struct Work {
    /// Values to keep in buffers: the node whose buffer it is, the value, and whether it is a call's second argument.
    pub(super) kept: Vec<(Node, Node, bool)>,
    /// Reductions and their arguments.
    pub(super) reduced: Vec<(Node, Node)>,
    /// Effects by index.
    pub(super) effects: Vec<usize>,
}

impl Emitter<'_, '_> {
    fn work(&self, time: Time) -> Work {
        let mut kept = Vec::new();
        for node in self.rows.nodes.keys().filter(|node| self.schedule.buffers[*node].is_some()) {
            if self.schedule.is_call(self.rows, node) {
                if self.schedule.computed(self.rows, node) == time {
                    let args = self.rows.nodes[node].args();
                    kept.extend(args.into_iter().enumerate().map(|(which, arg)| (node, arg, which == 1)));
                }
            } else if self.schedule.ready[node] == time {
                kept.push((node, node, false));
            }
        }
        let effects = (0..self.rows.effects.len()).filter(|index| self.schedule.effects[*index] == Some(time)).collect();
        Work { kept, reduced: self.reductions_at(time), effects }
    }

    /// The loop of a time over the lanes `start..end` of a tile.
    pub(super) fn lane_loop(&mut self, time: Time, start: Value, end: Value, tile: Value) {
        let work = self.work(time);
        if work.kept.is_empty() && work.reduced.is_empty() && work.effects.is_empty() {
            return;
        }
        let around = self.around(time, &work, tile);
        let count = self.b.ins().isub(end, start);
        let whole = self.b.ins().band_imm_s(count, -16);
        let middle = self.b.ins().iadd(start, whole);
        match self.wide_loop(&work, &around) {
            Some(wide) => self.call_wide(&wide, start, middle),
            None => self.group_loop(&work, &around, start, middle),
        }
        self.counted(middle, end, 1, |emitter, first| {
            let addresses = &mut Vec::new();
            emitter.work_at(&work, &mut Lanes { vector: None, first, around: &around, addresses, done: SecondaryMap::new() });
        });
    }

    /// The loop over whole groups of 16 lanes with vectors of 128 bits.
    fn group_loop(&mut self, work: &Work, around: &Around, start: Value, end: Value) {
        work.reduced.iter().for_each(|(node, _)| self.load_accumulators(*node));
        self.counted(start, end, 16, |emitter, first| {
            let mut addresses = Vec::new();
            for vector in 0..4 {
                let (vector, addresses) = (Some(vector), &mut addresses);
                emitter.work_at(work, &mut Lanes { vector, first, around, addresses, done: SecondaryMap::new() });
            }
        });
        work.reduced.iter().for_each(|(node, _)| self.store_accumulators(*node));
    }

    /// Computes what a loop needs ahead of it: nothing else moves code out of loops.
    fn around(&mut self, time: Time, work: &Work, tile: Value) -> Around {
        let (mut whole, mut buffered) = (EntitySet::new(), EntitySet::new());
        let roots = work.kept.iter().map(|(_, value, _)| *value).chain(work.reduced.iter().map(|(_, value)| *value));
        for root in roots.chain(work.effects.iter().map(|index| self.rows.effects[*index].value())) {
            self.needed(root, time, &mut whole, &mut buffered);
        }
        for (node, _, _) in &work.kept {
            buffered.insert(*node);
        }
        let mut around = Around {
            time,
            splats: SecondaryMap::new(),
            bases: SecondaryMap::new(),
            others: SecondaryMap::new(),
            folds: vec![None; self.rows.effects.len()],
        };
        for node in self.rows.nodes.keys() {
            if whole.contains(node) {
                let kind = super::scalar_type(self.schedule.types[node]).by(4).expect("a vector type");
                let value = self.scalar(node);
                around.splats[node] = Some(self.b.ins().splat(kind, value));
            }
            if buffered.contains(node) {
                around.bases[node] = self.schedule.buffers[node].map(|buffer| self.buffer_base(buffer, tile));
                around.others[node] = self.schedule.others[node].map(|buffer| self.buffer_base(buffer, tile));
            }
        }
        for index in &work.effects {
            if matches!(self.rows.effects[*index], Effect::Fold { .. }) {
                around.folds[*index] = Some(self.word(self.words.fold(*index)));
            }
        }
        around
    }

    /// Collects the row-level values and the buffers that a value is computed from in a loop.
    fn needed(&self, node: Node, time: Time, whole: &mut EntitySet<Node>, buffered: &mut EntitySet<Node>) {
        if self.schedule.levels[node] != Level::Lane {
            whole.insert(node);
        } else if self.schedule.is_read(self.rows, node, time) {
            buffered.insert(node);
        } else if let NodeData::Map { args, .. } = &self.rows.nodes[node] {
            args.iter().for_each(|arg| self.needed(*arg, time, whole, buffered));
        } else if let NodeData::Load { gather: Some(gather), .. } = &self.rows.nodes[node]
            && self.schedule.levels[gather.index] == Level::Lane
        {
            self.needed(gather.index, time, whole, buffered);
        }
    }

    /// All of a loop's work at some lanes. Everything is computed before anything is stored, because a read and a write may be one place.
    fn work_at(&mut self, work: &Work, lanes: &mut Lanes<'_>) {
        let kept: Vec<Value> = work.kept.iter().map(|(_, value, _)| self.lane_value(*value, lanes)).collect();
        let reduced: Vec<Value> = work.reduced.iter().map(|(_, value)| self.lane_value(*value, lanes)).collect();
        let written: Vec<Value> = work.effects.iter().map(|index| self.lane_value(self.rows.effects[*index].value(), lanes)).collect();
        for ((node, _, second), value) in work.kept.iter().zip(kept) {
            let base = if *second { lanes.around.others[*node] } else { lanes.around.bases[*node] };
            self.store_buffer(base.expect("kept values have buffers"), value, lanes);
        }
        for ((node, _), value) in work.reduced.iter().zip(reduced) {
            match lanes.vector {
                Some(vector) => {
                    let positions = if self.counts_positions(*node) { self.lane_vector(lanes) } else { value };
                    self.accumulate_vector(*node, vector, value, positions);
                }
                None => self.accumulate_scalar(*node, value, lanes.first),
            }
        }
        for (index, value) in work.effects.iter().zip(written) {
            match &self.rows.effects[*index] {
                Effect::Store { slot, .. } => self.store_lanes(*slot, value, lanes),
                Effect::Fold { op, .. } => {
                    let base = lanes.around.folds[*index].expect("folds have accumulators");
                    let old = self.load_buffer(Element::F32, base, lanes);
                    let new = self.combine(*op, old, value, lanes.vector.is_some());
                    self.store_buffer(base, new, lanes);
                }
            }
        }
    }

    /// The address of the first lane, from that of lane 0 and the bytes from lane to lane.
    pub(super) fn lane_address(&mut self, base: Value, bytes: i64, lanes: &mut Lanes<'_>) -> Value {
        let known = lanes.addresses.iter().find(|(at, scale, _)| *at == base && *scale == bytes);
        if let Some((_, _, address)) = known {
            return *address;
        }
        let offset = self.b.ins().imul_imm_s(lanes.first, bytes);
        let address = self.b.ins().iadd(base, offset);
        lanes.addresses.push((base, bytes, address));
        address
    }

    fn counts_positions(&self, node: Node) -> bool {
        matches!(self.rows.nodes[node], NodeData::Reduce { op: meshwright_plan::kernel::Reduce::Argmax, .. })
    }

    /// A node's value at some lanes.
    pub(super) fn lane_value(&mut self, node: Node, lanes: &mut Lanes<'_>) -> Value {
        if let Some(value) = lanes.done[node] {
            return value;
        }
        let value = self.fresh_lane_value(node, lanes);
        lanes.done[node] = Some(value);
        value
    }

    fn fresh_lane_value(&mut self, node: Node, lanes: &mut Lanes<'_>) -> Value {
        let element = self.schedule.types[node];
        if self.schedule.levels[node] != Level::Lane {
            return if lanes.vector.is_some() {
                lanes.around.splats[node].expect("splats stand ahead of the loop")
            } else {
                self.scalar(node)
            };
        }
        if self.schedule.is_read(self.rows, node, lanes.around.time) {
            let base = lanes.around.bases[node].expect("addresses of buffers stand ahead of the loop");
            return self.load_buffer(element, base, lanes);
        }
        match &self.rows.nodes[node] {
            NodeData::Load { .. } => self.load_lanes(node, lanes),
            NodeData::Position { dim, micro } => self.lane_position(*dim, *micro, lanes),
            NodeData::Map { op, args } => {
                let values: Vec<Value> = args.iter().map(|arg| self.lane_value(*arg, lanes)).collect();
                if let Some(function) = routine_of(*op) {
                    return self.few_call(function, values[0]);
                }
                self.map(*op, args, &values, lanes.vector.is_some())
            }
            NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) => unreachable!("not lane-level"),
            NodeData::Coordinate(_) | NodeData::Reduce { .. } => unreachable!("not lane-level"),
            NodeData::Scan { .. } | NodeData::Random { .. } => unreachable!("calls have buffers"),
        }
    }

    /// Positions along the lane dim.
    fn lane_position(&mut self, dim: meshwright_plan::kernel::Axis, micro: u64, lanes: &Lanes<'_>) -> Value {
        let part = self.position(dim, micro);
        let part = self.b.ins().ireduce(types::I32, part);
        if lanes.vector.is_none() {
            let lane = self.b.ins().ireduce(types::I32, lanes.first);
            return self.b.ins().iadd(lane, part);
        }
        let vector = self.lane_vector(lanes);
        let part = self.b.ins().splat(types::I32X4, part);
        self.b.ins().iadd(vector, part)
    }

    /// The numbers of a vector's four lanes.
    fn lane_vector(&mut self, lanes: &Lanes<'_>) -> Value {
        let first = self.b.ins().ireduce(types::I32, lanes.first);
        self.numbers_from(first, lanes.vector.unwrap_or(0))
    }

    /// The numbers of the lanes of one of four vectors, from the first one's of the group.
    pub(super) fn numbers_from(&mut self, first: Value, vector: usize) -> Value {
        let first = self.b.ins().splat(types::I32X4, first);
        let bytes: Vec<u8> = (0..4).flat_map(|lane| (4 * vector as u32 + lane).to_le_bytes()).collect();
        let steps = self.b.func.dfg.constants.insert(bytes.into());
        let steps = self.b.ins().vconst(types::I32X4, steps);
        self.b.ins().iadd(first, steps)
    }

    /// The number of each lane, as 64 bits.
    pub(super) fn lane_indices(&mut self, lanes: &Lanes<'_>) -> Vec<Value> {
        match lanes.vector {
            None => vec![lanes.first],
            Some(vector) => (0..4).map(|lane| self.b.ins().iadd_imm_s(lanes.first, (4 * vector + lane) as i64)).collect(),
        }
    }

    /// Builds a value lane by lane: `element` gets the lane's place in the vector and its number.
    pub(super) fn each_lane(&mut self, kind: Type, lanes: &Lanes<'_>, mut element: impl FnMut(&mut Self, usize, Value) -> Value) -> Value {
        let indices = self.lane_indices(lanes);
        let parts: Vec<Value> = indices.into_iter().enumerate().map(|(part, lane)| element(self, part, lane)).collect();
        let [first, rest @ ..] = parts.as_slice() else { unreachable!("there is at least one lane") };
        if rest.is_empty() {
            return *first;
        }
        let start = self.b.ins().splat(kind.by(4).expect("a vector type"), *first);
        rest.iter().enumerate().fold(start, |vector, (part, value)| self.b.ins().insertlane(vector, *value, part as u8 + 1))
    }

    /// One lane of a vector, or a scalar itself.
    pub(super) fn part(&mut self, value: Value, part: usize) -> Value {
        let vector = self.b.func.dfg.value_type(value).is_vector();
        if vector { self.b.ins().extractlane(value, part as u8) } else { value }
    }

    /// Calls a node's routine on a tile whose arguments stand in its buffers.
    pub(super) fn tile_call(&mut self, node: Node, tile: Value, end: Value) {
        let base = self.buffer_base(self.schedule.buffers[node].expect("calls have buffers"), tile);
        let skipped = self.b.ins().ishl_imm_u(tile, 2);
        let data = self.b.ins().iadd(base, skipped);
        let count = self.b.ins().isub(end, tile);
        let other = self.schedule.others[node].map(|other| {
            let base = self.buffer_base(other, tile);
            self.b.ins().iadd(base, skipped)
        });
        self.routine(node, data, count, other, Some(tile));
    }

    /// Computes a row-level or uniform node by its routine, on a tile of one element.
    pub(super) fn scalar_call(&mut self, node: Node) -> Value {
        let (slot, other) = (self.stack(4), self.stack(4));
        let args = self.rows.nodes[node].args();
        for (slot, arg) in [slot, other].into_iter().zip(&args) {
            let value = self.scalar(*arg);
            self.b.ins().stack_store(types::I64, value, slot, 0);
        }
        let data = self.b.ins().stack_addr(types::I64, slot, 0);
        let other = self.b.ins().stack_addr(types::I64, other, 0);
        let one = self.b.ins().iconst(types::I64, 1);
        self.routine(node, data, one, Some(other), None);
        self.b.ins().load(types::F32, flags(), data, 0)
    }

    /// A function of one element or a vector, by its routine: for lanes that a wide loop leaves over.
    fn few_call(&mut self, function: math::Function, value: Value) -> Value {
        let kind = self.b.func.dfg.value_type(value);
        let slot = self.stack(16);
        self.b.ins().stack_store(types::I64, value, slot, 0);
        let data = self.b.ins().stack_addr(types::I64, slot, 0);
        let count = self.b.ins().iconst(types::I64, i64::from(kind.lane_count()));
        self.call(function.routine(self.target.isa) as usize, &[types::I64; 2], &[data, count]);
        self.b.ins().stack_load(types::I64, kind, slot, 0)
    }

    fn routine(&mut self, node: Node, data: Value, count: Value, other: Option<Value>, tile: Option<Value>) {
        let isa = self.target.isa;
        match &self.rows.nodes[node] {
            NodeData::Map { op: Map::Pow, .. } => {
                let other = other.expect("a power has two arguments");
                self.call(math::power(isa) as usize, &[types::I64; 3], &[data, other, count]);
            }
            NodeData::Map { op, .. } => {
                let function = routine_of(*op).expect("calls are routines");
                self.call(function.routine(isa) as usize, &[types::I64; 2], &[data, count]);
            }
            NodeData::Scan { .. } => {
                let carry = self.carries[node].expect("scans have a running sum");
                let carry = self.b.ins().stack_addr(types::I64, carry, 0);
                self.call(routines::scan as *const () as usize, &[types::I64; 3], &[data, count, carry]);
            }
            NodeData::Random { site, strides, micro, origin, runs } => {
                let mut index = self.random_index(tile, strides, *micro);
                for coordinate in origin {
                    let part = self.coordinate(coordinate);
                    index = self.b.ins().iadd(index, part);
                }
                for runs in runs {
                    let part = self.run(runs);
                    index = self.b.ins().iadd(index, part);
                }
                self.random_call(data, count, index, *site, strides);
            }
            NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) | NodeData::Load { .. } => unreachable!("not a call"),
            NodeData::Coordinate(_) | NodeData::Position { .. } | NodeData::Reduce { .. } => unreachable!("not a call"),
        }
    }

    /// The number of the first element within the rank's own part.
    fn random_index(&mut self, tile: Option<Value>, strides: &[u64], micro: u64) -> Value {
        let mut index = self.word(Words::MICRO);
        index = self.b.ins().imul_imm_s(index, micro as i64);
        for (dim, stride) in strides.iter().enumerate() {
            let axis = meshwright_plan::kernel::Axis::new(dim);
            let position = match tile {
                Some(tile) if Some(axis) == self.lane => tile,
                Some(_) | None => self.position(axis, 0),
            };
            let part = self.b.ins().imul_imm_s(position, *stride as i64);
            index = self.b.ins().iadd(index, part);
        }
        index
    }

    /// What the run adds in which the current row stands.
    fn run(&mut self, runs: &Runs) -> Value {
        let (first, second) = (self.coordinate(&runs.first), self.coordinate(&runs.second()));
        let position = self.position(runs.dim, 0);
        let half = self.b.ins().iconst(types::I64, (self.kernel.dims[runs.dim].size / 2) as i64);
        let early = self.b.ins().icmp(IntCC::UnsignedLessThan, position, half);
        self.b.ins().select(early, first, second)
    }

    fn random_call(&mut self, data: Value, count: Value, index: Value, site: u64, strides: &[u64]) {
        let step = self.lane.map_or(0, |lane| strides[lane.index()]);
        let step = self.b.ins().iconst(types::I64, step as i64);
        let draw = self.word(Words::DRAW);
        let site = self.b.ins().iconst(types::I64, site as i64);
        self.call(routines::random as *const () as usize, &[types::I64; 6], &[data, count, index, step, draw, site]);
    }

    /// A vector of four zeros.
    pub(super) fn zero_vector(&mut self) -> Value {
        let zero = self.b.ins().iconst(types::I32, 0);
        self.b.ins().splat(types::I32X4, zero)
    }
}
