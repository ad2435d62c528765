//! Lowering: a group of elementwise work, reductions and lookups → one `rows` kernel.
//!
//! Requires a group whose members fit its space, and places for all values that are read from or wanted in memory. Ensures that the kernel
//! writes exactly the members' values that have places.

use super::facts::Facts;
use super::group::Group;
use super::ir::{Buffer, FusedLaunch};
use super::space::{Adds, How};
use super::storage::{Spot, Storage};
use super::tile;
use crate::Target;
use crate::op::{Cut, Dim, Index, Inst, Op, Random, Shape, Value, site_hash};
use cranelift_entity::{PrimaryMap, SecondaryMap};
use meshwright_plan::Element;
use meshwright_plan::kernel::{
    Access, Axis, Effect, Gather, KernelData, KernelDim, Level, Map, Move, Node, NodeData, Operand, Reduce, Role, Rows, Runs, Skeleton,
    Slot,
};
use meshwright_plan::mesh::Coordinate;
use meshwright_plan::program::Accumulate;

/// What positions and random numbers need to know of the whole step, and what runs it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The dim that microbatches cut.
    pub batch: Dim,
    /// How many microbatches there are.
    pub microbatches: u64,
    /// Into how many parts the mesh cuts each microbatch.
    pub parts: u64,
    /// How work is cut depends on it.
    pub target: Target,
}

/// The kernel of a group.
pub fn lower(facts: &Facts<'_>, group: &Group, storage: &mut Storage, step: Step) -> FusedLaunch {
    let (order, folded) = order(facts, group);
    let mut builder = Builder::new(facts, group, storage, step, &order);
    group.insts.iter().for_each(|inst| builder.inst(*inst));
    builder.effects();
    builder.finish(folded)
}

/// The space's dims, outermost first: rows, folded rows, and the lane, if there is one; and how many are folded.
fn order(facts: &Facts<'_>, group: &Group) -> (Vec<(Dim, Role)>, u32) {
    let space = &group.space;
    let mut layout = reference(facts, group);
    let folds = space.folds.clone().unwrap_or_default();
    let lane = space.lane.or_else(|| layout.iter().rev().copied().find(|dim| !folds.contains(dim)));
    layout.retain(|dim| Some(*dim) != lane);
    let (last, first): (Vec<Dim>, Vec<Dim>) = layout.into_iter().partition(|dim| folds.contains(dim));
    let rows = first.into_iter().chain(last).map(|dim| (dim, Role::Row));
    (rows.chain(lane.map(|lane| (lane, Role::Lane))).collect(), folds.len() as u32)
}

/// The space's dims in the layout of a member's result, or of what a member reads.
fn reference(facts: &Facts<'_>, group: &Group) -> Vec<Dim> {
    let whole = |value: &Value| {
        let dims = &facts.program.body.ty(*value).dims;
        dims.len() == group.space.dims.len() && dims.iter().all(|dim| group.space.dims.contains(dim))
    };
    let insts = || group.insts.iter().map(|inst| facts.inst(*inst));
    let results = insts().flat_map(|inst| inst.results.iter().copied()).find(whole);
    let Some(value) = results.or_else(|| insts().flat_map(|inst| inst.args.iter().copied()).find(whole)) else {
        return group.space.dims.iter().copied().collect();
    };
    let mut dims = facts.program.body.ty(value).dims.clone();
    let view = facts.view(value);
    if facts.def[value] != facts.def[view.base] {
        dims.sort_by_key(|dim| std::cmp::Reverse(view.stride(*dim)));
    }
    dims
}

struct Builder<'a> {
    facts: &'a Facts<'a>,
    group: &'a Group,
    storage: &'a mut Storage,
    step: Step,
    axes: Vec<Dim>,
    kernel: KernelData,
    nodes: PrimaryMap<Node, NodeData>,
    effects: Vec<Effect>,
    memo: SecondaryMap<Value, Option<Node>>,
    places: Vec<(Buffer, u64)>,
}

impl<'a> Builder<'a> {
    fn new(facts: &'a Facts<'a>, group: &'a Group, storage: &'a mut Storage, step: Step, order: &[(Dim, Role)]) -> Self {
        let dim = |(dim, role): &(Dim, Role)| KernelDim {
            name: facts.dims[*dim].name.clone(),
            size: facts.dims[*dim].size,
            role: *role,
            axes: facts.dims[*dim].axes.clone(),
        };
        let dims = order.iter().map(dim).collect();
        let skeleton = Skeleton::Contract { alpha: 1.0 };
        let kernel = KernelData { name: super::name::rows(facts, group), dims, operands: PrimaryMap::new(), skeleton };
        let axes = order.iter().map(|(dim, _)| *dim).collect();
        let (nodes, effects, memo, places) = Default::default();
        Builder { facts, group, storage, step, axes, kernel, nodes, effects, memo, places }
    }

    fn push(&mut self, data: NodeData) -> Node {
        self.nodes.push(data)
    }

    fn map(&mut self, op: Map, args: &[Node]) -> Node {
        self.push(NodeData::Map { op, args: args.to_vec() })
    }

    fn axis(&self, dim: Dim) -> Axis {
        let at = self.axes.iter().position(|axis| *axis == dim).expect("members' dims are in the space");
        Axis::from_u32(at as u32)
    }

    /// A value at the current point.
    fn value(&mut self, value: Value) -> Node {
        let view = self.facts.view(value);
        let key = if view.plain { view.base } else { value };
        if let Some(node) = self.memo[key] {
            return node;
        }
        match self.facts.def[key] {
            Some(def) if view.plain && self.facts.again[def] => {
                self.inst(def);
                self.memo[key].expect("an instruction that is computed again has a value")
            }
            _ => {
                let slot = self.read(value, None);
                let node = self.push(NodeData::Load { slot, gather: None, moved: None });
                self.memo[key] = Some(node);
                node
            }
        }
    }

    /// The operand that reads a value at the current point, but for one dim, along which the caller moves.
    fn read(&mut self, value: Value, except: Option<Dim>) -> Slot {
        let view = self.facts.view(value);
        let spot = self.storage.spot(view.base).clone();
        let along = |dim: &Dim| if Some(*dim) == except { 0 } else { view.stride(*dim) as i64 };
        let strides = self.axes.iter().map(along).collect();
        let place = (spot.buffer, (spot.offset + view.offset) * spot.element.bytes());
        self.operand(place, spot.element, Access::Read, strides)
    }

    fn operand(&mut self, place: (Buffer, u64), element: Element, access: Access, strides: Vec<i64>) -> Slot {
        let known = self.kernel.operands.iter().find(|(slot, operand)| {
            access == Access::Read && self.places[slot.as_u32() as usize] == place && operand.access == access && operand.strides == strides
        });
        if let Some((slot, _)) = known {
            return slot;
        }
        let name = self.operand_name(&self.storage.buffers[place.0].name);
        self.places.push(place);
        self.kernel.operands.push(Operand { name, element, access, strides, extent: 0 })
    }

    fn operand_name(&self, name: &str) -> String {
        let taken = |name: &str| self.kernel.operands.values().any(|operand| operand.name == name);
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        std::iter::once(name.to_string()).chain(numbered).find(|name| !taken(name)).expect("numbers do not end")
    }

    fn inst(&mut self, index: usize) {
        let inst = self.facts.inst(index);
        if self.memo[inst.results[0]].is_some() {
            return;
        }
        let node = match &inst.op {
            Op::Const(value) => self.push(NodeData::Const(*value as f32)),
            Op::Integer(value) => self.push(NodeData::Integer(*value as i32)),
            Op::Scalar(name) => self.push(NodeData::Scalar(name.clone())),
            Op::Map(op) => {
                let args: Vec<Node> = inst.args.iter().map(|arg| self.value(*arg)).collect();
                self.map(*op, &args)
            }
            Op::Reduce(op, _) => self.reduce(index, *op, inst),
            Op::Index(family) => self.index(family, inst),
            Op::Shape(shape) => self.shape(shape, inst),
            Op::Random(Random::Uniform { site, cuts }) => self.random(site, cuts, inst),
            Op::Anchor | Op::Stop => self.value(inst.args[0]),
            Op::Contract(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Collective(_) => {
                unreachable!("these have kernels of their own")
            }
        };
        self.memo[inst.results[0]] = Some(node);
    }

    /// The part of a reduction that is done inside rows; a fold's argument otherwise.
    fn reduce(&mut self, index: usize, op: Reduce, inst: &Inst) -> Node {
        let arg = self.value(inst.args[0]);
        match self.group.how[&index] {
            How::Lane | How::Both => self.push(NodeData::Reduce { op, arg }),
            How::Fold => arg,
        }
    }

    fn index(&mut self, index: &Index, inst: &Inst) -> Node {
        match index {
            Index::Position(dim) => {
                let micro = if *dim == self.step.batch { self.facts.dims[*dim].size * self.step.parts } else { 0 };
                self.push(NodeData::Position { dim: self.axis(*dim), micro })
            }
            Index::Gather { over } => {
                let at = self.value(inst.args[1]);
                let stride = self.facts.view(inst.args[0]).stride(*over) as i64;
                let slot = self.read(inst.args[0], Some(*over));
                let gather = Gather { index: at, stride, size: self.facts.dims[*over].size };
                self.push(NodeData::Load { slot, gather: Some(gather), moved: None })
            }
            Index::Cumsum(_) | Index::CumsumReverse(_) => {
                let arg = self.value(inst.args[0]);
                self.push(NodeData::Scan { arg })
            }
            Index::Coordinate(coordinate) => self.push(NodeData::Coordinate(coordinate.clone())),
            Index::Scatter { .. } => unreachable!("scatters have kernels of their own"),
        }
    }

    fn shape(&mut self, shape: &Shape, inst: &Inst) -> Node {
        let arg = inst.args[0];
        let mut moved = |dim: Dim, by: i64, wrap: bool| {
            let slot = self.read(arg, None);
            let moved = Move { dim: self.axis(dim), by, wrap };
            self.push(NodeData::Load { slot, gather: None, moved: Some(moved) })
        };
        match shape {
            Shape::Roll { dim, by } => moved(*dim, *by as i64, true),
            Shape::Shift { dim, by } => moved(*dim, -*by, false),
            Shape::Pad { from, start, into } => self.pad(arg, *from, *start, *into),
            Shape::Rename { .. } | Shape::Split { .. } | Shape::Merge { .. } | Shape::Slice { .. } | Shape::Take { .. } | Shape::Expand => {
                self.value(inst.results[0])
            }
            Shape::Concat { .. } => unreachable!("joins have no kernel"),
        }
    }

    /// The argument where the position along `into` is inside, zero elsewhere.
    fn pad(&mut self, arg: Value, from: Dim, start: u64, into: Dim) -> Node {
        let size = self.facts.dims[from].size;
        let position = self.push(NodeData::Position { dim: self.axis(into), micro: 0 });
        let [start, zero, end] = [start as i32, 0, size as i32].map(|value| self.push(NodeData::Integer(value)));
        let last = self.push(NodeData::Integer(size as i32 - 1));
        let at = self.map(Map::Sub, &[position, start]);
        let (after, before) = (self.map(Map::Le, &[zero, at]), self.map(Map::Lt, &[at, end]));
        let inside = self.map(Map::And, &[after, before]);
        let low = self.map(Map::Max, &[at, zero]);
        let index = self.map(Map::Min, &[low, last]);
        let stride = self.facts.view(arg).stride(from) as i64;
        let slot = self.read(arg, Some(from));
        let load = self.push(NodeData::Load { slot, gather: Some(Gather { index, stride, size }), moved: None });
        match self.kernel.operands[slot].element {
            Element::Bool => self.map(Map::And, &[inside, load]),
            Element::I32 => self.map(Map::Where, &[inside, load, zero]),
            Element::F32 | Element::Bf16 => {
                let zero = self.push(NodeData::Const(0.0));
                self.map(Map::Where, &[inside, load, zero])
            }
        }
    }

    /// A random number by its element's place in the whole step's tensor.
    fn random(&mut self, site: &str, cuts: &[Cut], inst: &Inst) -> Node {
        let dims = &self.facts.program.body.ty(inst.results[0]).dims;
        let mut stride = 1;
        let (mut strides, mut micro, mut origin, mut runs) = (vec![0; self.axes.len()], 0, Vec::new(), Vec::new());
        for dim in dims.iter().rev() {
            let (size, axis) = (self.facts.dims[*dim].size, self.axis(*dim));
            strides[axis.as_u32() as usize] = stride;
            let cut = cuts.iter().find(|cut| cut.dim == *dim);
            let start = |cut: &Cut, run: u64| Coordinate { axes: cut.axes.clone(), times: stride * run, back: 0, second: false };
            match cut {
                Some(cut) if cut.balanced => runs.push(Runs { dim: axis, first: start(cut, size / 2) }),
                cut => origin.extend(cut.map(|cut| start(cut, size))),
            }
            let whole = size * cut.map_or(1, |cut| cut.parts);
            if *dim == self.step.batch {
                micro = stride * whole;
                stride *= self.step.microbatches;
            }
            stride *= whole;
        }
        self.drawn(NodeData::Random { site: site_hash(site), strides, micro, origin, runs })
    }

    /// Lanes are drawn in one go, one behind the other: where they are two runs, each lane takes its own of two draws.
    fn drawn(&mut self, draw: NodeData) -> Node {
        let lane = self.kernel.lane();
        let of = |runs: &Vec<Runs>| runs.iter().position(|runs| Some(runs.dim) == lane);
        let at = if let NodeData::Random { runs, .. } = &draw { of(runs) } else { None };
        let (Some(at), Some(dim)) = (at, lane) else { return self.push(draw) };
        let draws = [false, true].map(|second| {
            let mut draw = draw.clone();
            if let NodeData::Random { origin, runs, .. } = &mut draw {
                origin.push(Coordinate { second, ..runs.remove(at).first });
            }
            self.push(draw)
        });
        let here = self.push(NodeData::Position { dim, micro: 0 });
        let half = self.push(NodeData::Integer((self.kernel.dims[dim].size / 2) as i32));
        let first = self.map(Map::Lt, &[here, half]);
        self.map(Map::Where, &[first, draws[0], draws[1]])
    }

    /// Writes what has a place.
    fn effects(&mut self) {
        for index in &self.group.insts {
            let result = self.facts.inst(*index).results[0];
            let Some(spot) = self.storage.spots[result].clone() else { continue };
            let value = self.memo[result].expect("members were computed");
            let effect = match (self.group.how.get(index), &self.facts.inst(*index).op) {
                (Some(How::Fold | How::Both), Op::Reduce(op, _)) => {
                    let slot = self.written(&spot, Access::Accumulate);
                    Effect::Fold { slot, partials: None, op: *op, value }
                }
                _ => {
                    let slot = self.written(&spot, if spot.adds { Access::Accumulate } else { Access::Write });
                    Effect::Store { slot, value }
                }
            };
            self.effects.push(effect);
        }
    }

    fn written(&mut self, spot: &Spot, access: Access) -> Slot {
        let strides = self.axes.iter().map(|dim| spot.stride(*dim) as i64).collect();
        self.operand((spot.buffer, spot.offset * spot.element.bytes()), spot.element, access, strides)
    }

    fn finish(mut self, folded: u32) -> FusedLaunch {
        let has_folds = self.effects.iter().any(|effect| matches!(effect, Effect::Fold { .. }));
        let folded = if has_folds { folded } else { 0 };
        let rows = Rows { nodes: self.nodes, effects: self.effects, folded, blocks: 1 };
        let mut kernel = self.kernel;
        kernel.skeleton = Skeleton::Rows(rows);
        widen_folds(&mut kernel);
        let folded = tile::merge(&mut kernel, folded);
        grid(&mut kernel, folded, self.step.target, self.storage, &mut self.places);
        kernel.canonical();
        let slots: Vec<Slot> = kernel.operands.keys().collect();
        for slot in slots {
            kernel.operands[slot].extent = kernel.reach(slot).expect("strides are not negative");
        }
        let accumulate = match self.group.space.adds {
            Some(Adds::ByCall) => Accumulate::ByCall,
            Some(Adds::Never) | None => Accumulate::Write,
        };
        FusedLaunch { kernel, places: self.places, accumulate, origins: self.facts.origins(&self.group.insts) }
    }
}

/// A fold whose result has lanes needs a value with lanes.
fn widen_folds(kernel: &mut KernelData) {
    let Some(lane) = kernel.lane() else { return };
    let Some(rows) = kernel.rows() else { return };
    let levels = rows.levels(kernel);
    let narrow: Vec<(usize, Node)> = (rows.effects.iter().enumerate())
        .filter(|(_, effect)| match effect {
            Effect::Fold { slot, value, .. } => {
                kernel.operands[*slot].strides[lane.as_u32() as usize] != 0 && levels[*value] != Level::Lane
            }
            Effect::Store { .. } => false,
        })
        .map(|(at, effect)| (at, effect.value()))
        .collect();
    let Skeleton::Rows(rows) = &mut kernel.skeleton else { return };
    for (at, node) in narrow {
        let position = rows.nodes.push(NodeData::Position { dim: lane, micro: 0 });
        let inside = rows.nodes.push(NodeData::Map { op: Map::Eq, args: vec![position, position] });
        let wide = rows.nodes.push(NodeData::Map { op: Map::Where, args: vec![inside, node, node] });
        if let Effect::Fold { value, .. } = &mut rows.effects[at] {
            *value = wide;
        }
    }
}

/// Cuts the work into blocks, and gives folds over all rows a place for their partial results.
fn grid(kernel: &mut KernelData, folded: u32, target: Target, storage: &mut Storage, places: &mut Vec<(Buffer, u64)>) {
    let Some(rows) = kernel.rows() else { return };
    let mut rows = Rows { folded, ..rows.clone() };
    rows.blocks = tile::blocks(kernel, &rows, target);
    let row_dims = kernel.dims.values().filter(|dim| dim.role == Role::Row).count();
    let levels = rows.levels(kernel);
    let lane = kernel.lane();
    for effect in &mut rows.effects {
        let Effect::Fold { partials, value, .. } = effect else { continue };
        if folded as usize != row_dims {
            continue;
        }
        let wide = lane.filter(|_| levels[*value] == Level::Lane);
        let mut strides = vec![0; kernel.dims.len()];
        if let Some(lane) = wide {
            strides[lane.as_u32() as usize] = 1;
        }
        let elements = u64::from(rows.blocks) * wide.map_or(1, |lane| kernel.dims[lane].size);
        let number = kernel.operands.values().filter(|operand| operand.access == Access::Scratch).count();
        let name = if number == 0 { "partials".to_string() } else { format!("partials_{}", number + 1) };
        places.push((storage.scratch(&name, elements), 0));
        let operand = Operand { name, element: Element::F32, access: Access::Scratch, strides, extent: 0 };
        *partials = Some(kernel.operands.push(operand));
    }
    kernel.skeleton = Skeleton::Rows(rows);
}
