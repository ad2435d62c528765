//! Machine code of a `rows` kernel, through cranelift-frontend: one function that processes consecutive rows along the innermost row dim.
//!
//! Requires: a scheduled kernel. Ensures: code whose results do not depend on the host's instructions: products and sums are never
//! contracted, and reductions use 16 virtual lanes. The vectors are of 128 bits, four to an iteration, or of 512 where [`wide`] loops suit.
//!
//! The function takes one pointer to [`Words`]: the numbers and addresses of the rows at hand.

mod lanes;
mod map;
mod memory;
mod reduce;
mod wide;

use super::jit::Linker;
use super::schedule::{Schedule, Time, is_call};
use crate::device::cpu::isa::Isa;
use crate::device::cpu::math::TILE;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, MemFlagsData, Signature, StackSlot, StackSlotData, StackSlotKind, Type, UserFuncName, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_entity::{EntityRef, SecondaryMap};
use cranelift_frontend::{FunctionBuilder, Variable};
use meshwright_plan::Element;
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Axis, Effect, KernelData, Map, Node, NodeData, Role, Rows};
use meshwright_plan::mesh::Coordinate;

/// The layout of the words that a kernel's function gets: 64 bits each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    dims: usize,
    operands: usize,
}

impl Words {
    /// Number of rows to process along the innermost row dim.
    pub(super) const ROWS: usize = 0;
    /// First lane.
    pub(super) const START: usize = 1;
    /// One past the last lane.
    pub(super) const END: usize = 2;
    /// Address of the thread's buffers.
    pub(super) const BUFFERS: usize = 3;
    /// Address of the step's scalars.
    pub(super) const SCALARS: usize = 4;
    /// Address of the launch's draw.
    pub(super) const DRAW: usize = 5;
    /// The microbatch.
    pub(super) const MICRO: usize = 6;
    /// Address of the rank's coordinates, 64 bits each.
    pub(super) const COORDINATES: usize = 7;
    const FIRST: usize = 8;

    pub(super) fn new(kernel: &KernelData) -> Words {
        Words { dims: kernel.dims.len(), operands: kernel.operands.len() }
    }

    /// The position of the first row along a dim.
    pub(super) fn index(&self, dim: usize) -> usize {
        Words::FIRST + dim
    }

    /// The address of an operand at the first row.
    pub(super) fn operand(&self, slot: usize) -> usize {
        Words::FIRST + self.dims + slot
    }

    /// The address of the accumulators of an effect that folds.
    pub(super) fn fold(&self, effect: usize) -> usize {
        Words::FIRST + self.dims + self.operands + effect
    }

    /// How many there are.
    pub(super) fn count(&self, effects: usize) -> usize {
        self.fold(effects)
    }
}

/// What the machine code of a kernel depends on besides the kernel.
pub(super) struct Target<'a> {
    /// Whose routines are called.
    pub(super) isa: Isa,
    /// The calling convention of `extern "C"` here.
    pub(super) convention: CallConv,
    /// The names of the step's scalars, in order.
    pub(super) scalars: &'a [String],
    /// The coordinates that the plan's kernels use, in order.
    pub(super) coordinates: &'a [Coordinate],
    /// Which operands' stores add to what is there, a bit per operand.
    pub(super) adds: u64,
    /// Which operands are written past the caches, a bit per operand: their places are multiples of 64 bytes in every row.
    pub(super) streams: u64,
}

/// A function under construction.
pub(super) struct Emitter<'a, 'f> {
    b: FunctionBuilder<'f>,
    kernel: &'a KernelData,
    rows: &'a Rows,
    schedule: &'a Schedule,
    target: &'a Target<'a>,
    linker: Linker<'a>,
    words: Words,
    lane: Option<Axis>,
    inner: Option<Axis>,
    /// Values of uniform and row-level nodes, scalars.
    scalars: SecondaryMap<Node, Option<Value>>,
    /// Row-level parts of loads: the address for the current row, and a mask for rows beyond the end.
    places: SecondaryMap<Node, Option<memory::Place>>,
    /// The accumulators of reductions.
    sums: SecondaryMap<Node, Option<reduce::Accumulators>>,
    /// The running sums of scans.
    carries: SecondaryMap<Node, Option<StackSlot>>,
    /// The addresses of operands at the current row.
    pointers: Vec<Value>,
    base: Value,
    buffers: Value,
    row: Value,
}

/// Flags of all memory accesses: addresses are valid, alignment is that of an element.
pub(super) fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Why no operand is stored as bf16.
const REFUSED: &str = "a kernel with bf16 operands is refused when it is loaded";

/// The type of one element as a value; a bool is a mask of 32 bits.
fn scalar_type(element: Element) -> Type {
    match element {
        Element::F32 => types::F32,
        Element::Bf16 => unreachable!("{REFUSED}"),
        Element::I32 | Element::Bool => types::I32,
    }
}

impl<'a, 'f> Emitter<'a, 'f> {
    /// Emits the whole function and leaves it in the builder's function.
    pub(super) fn emit(
        mut b: FunctionBuilder<'f>,
        config: TargetFrontendConfig,
        kernel: &'a KernelData,
        rows: &'a Rows,
        schedule: &'a Schedule,
        target: &'a Target<'a>,
        linker: Linker<'a>,
    ) {
        b.func.signature.params.push(AbiParam::new(types::I64));
        b.func.name = UserFuncName::default();
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let base = b.block_params(entry)[0];
        let buffers = b.ins().load(types::I64, flags().with_readonly(), base, 8 * Words::BUFFERS as i32);
        let inner = kernel.dims.iter().filter(|(_, dim)| dim.role == Role::Row).map(|(axis, _)| axis).next_back();
        let words = Words::new(kernel);
        let mut emitter = Emitter {
            b,
            kernel,
            rows,
            schedule,
            target,
            linker,
            words,
            lane: kernel.lane(),
            inner,
            scalars: SecondaryMap::new(),
            places: SecondaryMap::new(),
            sums: SecondaryMap::new(),
            carries: SecondaryMap::new(),
            pointers: Vec::new(),
            base,
            buffers,
            row: base,
        };
        emitter.body();
        if target.streams != 0 {
            // Such stores are ordered with nothing else, and other threads read the results next.
            emitter.b.ins().fence();
        }
        emitter.b.ins().return_(&[]);
        emitter.b.seal_all_blocks();
        emitter.b.finalize(config);
    }

    fn body(&mut self) {
        for node in self.rows.nodes.keys().filter(|node| self.schedule.levels[*node] == Level::Uniform) {
            let value = self.scalar_node(node);
            self.scalars[node] = Some(value);
        }
        for node in self.rows.nodes.keys() {
            match self.rows.nodes[node] {
                NodeData::Reduce { op, .. } => self.sums[node] = Some(self.accumulators(op)),
                NodeData::Scan { .. } => self.carries[node] = Some(self.stack(4)),
                _ => {}
            }
        }
        let rows = self.word(Words::ROWS);
        let zero = self.b.ins().iconst(types::I64, 0);
        self.counted(zero, rows, 1, |emitter, row| {
            emitter.row = row;
            emitter.one_row();
        });
    }

    /// All phases of the current row.
    fn one_row(&mut self) {
        self.pointers = (0..self.kernel.operands.len()).map(|slot| self.row_pointer(slot)).collect();
        for (node, carry) in self.carries.clone().iter() {
            if let (Some(slot), true) = (carry, self.rows.nodes.is_valid(node)) {
                let zero = self.b.ins().f32const(0.0);
                self.b.ins().stack_store(types::I64, zero, *slot, 0);
            }
        }
        for phase in 0..self.schedule.stages.len() as u32 {
            self.row_nodes(phase);
            if self.schedule.stages[phase as usize] > 0 {
                self.phase(phase);
            }
        }
        self.row_nodes(self.schedule.stages.len() as u32);
        self.row_effects();
    }

    /// Row-level nodes that become ready with a phase. Reductions of the phase before are finished already.
    fn row_nodes(&mut self, phase: u32) {
        for node in self.rows.nodes.keys() {
            let at_row = self.schedule.levels[node] == Level::Row && self.schedule.ready[node].phase == phase;
            if matches!(self.rows.nodes[node], NodeData::Load { .. }) && self.schedule.levels[node] != Level::Uniform {
                self.place_load(node, phase);
            }
            if at_row {
                let value = self.scalar_node(node);
                self.scalars[node] = Some(value);
            }
        }
    }

    /// The loops over lanes of one phase, and the ends of its reductions.
    fn phase(&mut self, phase: u32) {
        let reductions = self.reductions(phase);
        reductions.iter().for_each(|node| self.start_reduction(*node));
        let (start, end) = (self.word(Words::START), self.word(Words::END));
        let stages = self.schedule.stages[phase as usize];
        if stages == 1 && self.calls(Time { phase, stage: 0 }).is_empty() {
            self.lane_loop(Time { phase, stage: 0 }, start, end, start);
        } else {
            self.counted(start, end, TILE as i64, |emitter, tile| {
                let full = emitter.b.ins().iadd_imm_s(tile, TILE as i64);
                let past = emitter.b.ins().icmp(IntCC::UnsignedLessThan, full, end);
                let tile_end = emitter.b.ins().select(past, full, end);
                for stage in 0..stages {
                    let time = Time { phase, stage };
                    emitter.lane_loop(time, tile, tile_end, tile);
                    emitter.calls(time).into_iter().for_each(|node| emitter.tile_call(node, tile, tile_end));
                }
            });
        }
        reductions.iter().for_each(|node| self.finish_reduction(*node));
    }

    /// Reductions that happen in a phase.
    fn reductions(&self, phase: u32) -> Vec<Node> {
        let here = |node: &Node| {
            matches!(self.rows.nodes[*node], NodeData::Reduce { .. }) && self.schedule.computed(self.rows, *node).phase == phase
        };
        self.rows.nodes.keys().filter(here).collect()
    }

    /// Tile calls that follow the loop of a time.
    fn calls(&self, time: Time) -> Vec<Node> {
        let here = |node: &Node| {
            let called = self.schedule.levels[*node] == Level::Lane && self.schedule.is_call(self.rows, *node);
            called && self.schedule.computed(self.rows, *node) == time
        };
        self.rows.nodes.keys().filter(here).collect()
    }

    /// What is written once per row.
    fn row_effects(&mut self) {
        for (index, effect) in self.rows.effects.iter().enumerate() {
            if self.schedule.effects[index].is_some() {
                continue;
            }
            let value = self.scalar(effect.value());
            match effect {
                Effect::Store { slot, .. } => {
                    let address = self.pointers[slot.index()];
                    self.store_scalar(*slot, address, value);
                }
                Effect::Fold { op, .. } => {
                    let address = self.word(self.words.fold(index));
                    let old = self.b.ins().load(types::F32, flags(), address, 0);
                    let new = self.combine(*op, old, value, false);
                    self.b.ins().store(flags(), new, address, 0);
                }
            }
        }
    }

    /// The value of a uniform or row-level node that has been computed.
    fn scalar(&self, node: Node) -> Value {
        self.scalars[node].expect("a value is used before it is computed")
    }

    /// Computes a uniform or row-level node.
    fn scalar_node(&mut self, node: Node) -> Value {
        match &self.rows.nodes[node] {
            NodeData::Const(value) => self.b.ins().f32const(*value),
            NodeData::Integer(value) => self.b.ins().iconst(types::I32, i64::from(*value)),
            NodeData::Scalar(name) => {
                let at = self.target.scalars.iter().position(|scalar| scalar == name).expect("checked when the kernel was compiled");
                let scalars = self.word(Words::SCALARS);
                self.b.ins().load(types::F32, flags(), scalars, 4 * at as i32)
            }
            NodeData::Load { slot, .. } => {
                let place = self.places[node].expect("a load is used before its address is known");
                let value = self.load_scalar(self.kernel.operands[*slot].element, place.address);
                self.masked(value, place.mask, false)
            }
            NodeData::Position { dim, micro } => {
                let position = self.position(*dim, *micro);
                self.b.ins().ireduce(types::I32, position)
            }
            NodeData::Coordinate(coordinate) => {
                let value = self.coordinate(coordinate);
                self.b.ins().ireduce(types::I32, value)
            }
            NodeData::Reduce { .. } => self.reduced(node),
            NodeData::Map { .. } | NodeData::Random { .. } if is_call(self.rows, node) => self.scalar_call(node),
            NodeData::Map { op, args } => {
                let values: Vec<Value> = args.iter().map(|arg| self.scalar(*arg)).collect();
                self.map(*op, args, &values, false)
            }
            NodeData::Scan { .. } | NodeData::Random { .. } => {
                unreachable!("a running sum has a value per lane, a random number is a call")
            }
        }
    }

    /// The position of the current row along a row dim, with the microbatch's part, as 64 bits.
    fn position(&mut self, dim: Axis, micro: u64) -> Value {
        let mut position =
            if Some(dim) == self.lane { self.b.ins().iconst(types::I64, 0) } else { self.word(self.words.index(dim.index())) };
        if Some(dim) == self.inner {
            position = self.b.ins().iadd(position, self.row);
        }
        if micro != 0 {
            let index = self.word(Words::MICRO);
            let part = self.b.ins().imul_imm_s(index, micro as i64);
            position = self.b.ins().iadd(position, part);
        }
        position
    }

    /// A number of the rank, as 64 bits: code is shared by all ranks, so it is read at run time.
    fn coordinate(&mut self, coordinate: &Coordinate) -> Value {
        let known = self.target.coordinates.iter().position(|known| known == coordinate);
        let at = known.expect("collected when the plan was loaded");
        let all = self.word(Words::COORDINATES);
        self.b.ins().load(types::I64, flags().with_readonly(), all, 8 * at as i32)
    }

    /// One of the words that the function gets.
    fn word(&mut self, index: usize) -> Value {
        self.b.ins().load(types::I64, flags().with_readonly(), self.base, 8 * index as i32)
    }

    /// Memory on the stack, aligned to a vector.
    fn stack(&mut self, bytes: u32) -> StackSlot {
        self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4))
    }

    /// Calls a routine at a fixed address.
    fn call(&mut self, address: usize, parameters: &[Type], arguments: &[Value]) {
        let mut signature = Signature::new(self.target.convention);
        signature.params.extend(parameters.iter().map(|parameter| AbiParam::new(*parameter)));
        let signature = self.b.import_signature(signature);
        let callee = self.b.ins().iconst(types::I64, address as i64);
        self.b.ins().call_indirect(signature, callee, arguments);
    }

    /// `for index in start..end` by `step`.
    fn counted(&mut self, start: Value, end: Value, step: i64, body: impl FnOnce(&mut Self, Value)) {
        let counter: Variable = self.b.declare_var(types::I64);
        self.b.def_var(counter, start);
        let (head, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(head);
        let index = self.b.use_var(counter);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, index, end);
        self.b.ins().brif(more, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        body(self, index);
        let next = self.b.ins().iadd_imm_s(index, step);
        self.b.def_var(counter, next);
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(after);
    }
}

/// Whether a map's operation is one of the routines on tiles; used by the calls.
fn routine_of(op: Map) -> Option<crate::device::cpu::math::Function> {
    use crate::device::cpu::math::Function;
    match op {
        Map::Exp => Some(Function::Exp),
        Map::Log => Some(Function::Log),
        Map::Sin => Some(Function::Sin),
        Map::Cos => Some(Function::Cos),
        Map::Tanh => Some(Function::Tanh),
        Map::Erf => Some(Function::Erf),
        Map::Add | Map::Sub | Map::Mul | Map::Div | Map::Rem | Map::Pow | Map::Min | Map::Max | Map::Neg | Map::Abs | Map::Sign => None,
        Map::Floor | Map::Sqrt | Map::Rsqrt | Map::Lt | Map::Le | Map::Eq | Map::Ne | Map::And | Map::Or | Map::Not => None,
        Map::Where | Map::Real | Map::Int | Map::RoundBf16 => None,
    }
}
