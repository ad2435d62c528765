//! Row reductions: 16 virtual lanes in four vectors, then the fixed tree.
//!
//! Requires: loops that start at multiples of 16. Ensures: element i goes to lane i % 16 in order; lanes are combined 0+8, 1+9, …, then 0+4,
//! …, 0+2, …, 0+1; an `argmax` gives the smallest position of the largest element, and 0 if nothing is above -inf.

use super::{Emitter, flags};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, StackSlot, Value, types};
use cranelift_frontend::Variable;
use meshwright_plan::kernel::{Node, NodeData, Reduce};

/// Memory and, inside a loop, registers of one reduction.
#[derive(Clone, Copy)]
pub(super) struct Accumulators {
    op: Reduce,
    /// 16 f32.
    values: StackSlot,
    /// 16 i32, for `argmax`.
    positions: Option<StackSlot>,
    registers: [Variable; 4],
    position_registers: [Variable; 4],
}

impl Emitter<'_, '_> {
    pub(super) fn accumulators(&mut self, op: Reduce) -> Accumulators {
        let values = self.stack(64);
        let positions = matches!(op, Reduce::Argmax).then(|| self.stack(64));
        let registers = [(); 4].map(|()| self.b.declare_var(types::F32X4));
        let position_registers = [(); 4].map(|()| self.b.declare_var(types::I32X4));
        Accumulators { op, values, positions, registers, position_registers }
    }

    fn sums_of(&self, node: Node) -> Accumulators {
        self.sums[node].expect("every reduction has accumulators")
    }

    /// Fills the accumulators with the value that changes nothing.
    pub(super) fn start_reduction(&mut self, node: Node) {
        let sums = self.sums_of(node);
        let neutral = match sums.op {
            Reduce::Sum => 0.0,
            Reduce::Max | Reduce::Argmax => f32::NEG_INFINITY,
            Reduce::Min => f32::INFINITY,
        };
        let neutral = self.b.ins().f32const(neutral);
        let neutral = self.b.ins().splat(types::F32X4, neutral);
        let zero = self.b.ins().iconst(types::I32, 0);
        let zero = self.b.ins().splat(types::I32X4, zero);
        for vector in 0..4 {
            self.b.ins().stack_store(types::I64, neutral, sums.values, 16 * vector);
            if let Some(positions) = sums.positions {
                self.b.ins().stack_store(types::I64, zero, positions, 16 * vector);
            }
        }
    }

    /// Where the accumulators stand.
    pub(super) fn accumulators_address(&mut self, node: Node) -> Value {
        let values = self.sums_of(node).values;
        self.b.ins().stack_addr(types::I64, values, 0)
    }

    /// Moves the accumulators into registers ahead of a vector loop.
    pub(super) fn load_accumulators(&mut self, node: Node) {
        let sums = self.sums_of(node);
        for vector in 0..4 {
            let value = self.b.ins().stack_load(types::I64, types::F32X4, sums.values, 16 * vector as i32);
            self.b.def_var(sums.registers[vector], value);
            if let Some(positions) = sums.positions {
                let value = self.b.ins().stack_load(types::I64, types::I32X4, positions, 16 * vector as i32);
                self.b.def_var(sums.position_registers[vector], value);
            }
        }
    }

    /// Moves them back behind it.
    pub(super) fn store_accumulators(&mut self, node: Node) {
        let sums = self.sums_of(node);
        for vector in 0..4 {
            let value = self.b.use_var(sums.registers[vector]);
            self.b.ins().stack_store(types::I64, value, sums.values, 16 * vector as i32);
            if let Some(positions) = sums.positions {
                let value = self.b.use_var(sums.position_registers[vector]);
                self.b.ins().stack_store(types::I64, value, positions, 16 * vector as i32);
            }
        }
    }

    /// Adds one vector of elements, whose first one is lane `index`, to the accumulators in registers.
    pub(super) fn accumulate_vector(&mut self, node: Node, vector: usize, value: Value, lanes: Value) {
        let sums = self.sums_of(node);
        let old = self.b.use_var(sums.registers[vector]);
        if sums.positions.is_some() {
            let above = self.b.ins().fcmp(FloatCC::GreaterThan, value, old);
            let position = self.b.use_var(sums.position_registers[vector]);
            let position = self.b.ins().bitselect(above, lanes, position);
            self.b.def_var(sums.position_registers[vector], position);
        }
        let new = self.combine(sums.op, old, value, true);
        self.b.def_var(sums.registers[vector], new);
    }

    /// Adds the element of one lane to its accumulator in memory.
    pub(super) fn accumulate_scalar(&mut self, node: Node, value: Value, lane: Value) {
        let sums = self.sums_of(node);
        let virtual_lane = self.b.ins().band_imm_u(lane, 15);
        let offset = self.b.ins().ishl_imm_u(virtual_lane, 2);
        let base = self.b.ins().stack_addr(types::I64, sums.values, 0);
        let address = self.b.ins().iadd(base, offset);
        let old = self.b.ins().load(types::F32, flags(), address, 0);
        if let Some(positions) = sums.positions {
            let base = self.b.ins().stack_addr(types::I64, positions, 0);
            let place = self.b.ins().iadd(base, offset);
            let above = self.b.ins().fcmp(FloatCC::GreaterThan, value, old);
            let position = self.b.ins().load(types::I32, flags(), place, 0);
            let lane = self.b.ins().ireduce(types::I32, lane);
            let position = self.b.ins().select(above, lane, position);
            self.b.ins().store(flags(), position, place, 0);
        }
        let new = self.combine(sums.op, old, value, false);
        self.b.ins().store(flags(), new, address, 0);
    }

    /// Combines the lanes by the tree and leaves the result in the first accumulator.
    pub(super) fn finish_reduction(&mut self, node: Node) {
        let sums = self.sums_of(node);
        if sums.positions.is_some() {
            for half in [8, 4, 2, 1] {
                for lane in 0..half {
                    self.combine_lanes(&sums, 4 * lane, 4 * (lane + half));
                }
            }
            return;
        }
        let vectors = [0, 16, 32, 48].map(|offset| self.b.ins().stack_load(types::I64, types::F32X4, sums.values, offset));
        let by_eight = [0, 1].map(|i| self.combine(sums.op, vectors[i], vectors[i + 2], true));
        let by_four = self.combine(sums.op, by_eight[0], by_eight[1], true);
        let lanes = [0u8, 1, 2, 3].map(|lane| self.b.ins().extractlane(by_four, lane));
        let by_two = [0, 1].map(|i| self.combine(sums.op, lanes[i], lanes[i + 2], false));
        let value = self.combine(sums.op, by_two[0], by_two[1], false);
        self.b.ins().stack_store(types::I64, value, sums.values, 0);
    }

    fn combine_lanes(&mut self, sums: &Accumulators, left: i32, right: i32) {
        let a = self.b.ins().stack_load(types::I64, types::F32, sums.values, left);
        let b = self.b.ins().stack_load(types::I64, types::F32, sums.values, right);
        if let Some(positions) = sums.positions {
            let at_a = self.b.ins().stack_load(types::I64, types::I32, positions, left);
            let at_b = self.b.ins().stack_load(types::I64, types::I32, positions, right);
            let above = self.b.ins().fcmp(FloatCC::GreaterThan, b, a);
            let equal = self.b.ins().fcmp(FloatCC::Equal, a, b);
            let earlier = self.b.ins().icmp(IntCC::SignedLessThan, at_b, at_a);
            let tie = self.b.ins().band(equal, earlier);
            let take = self.b.ins().bor(above, tie);
            let position = self.b.ins().select(take, at_b, at_a);
            self.b.ins().stack_store(types::I64, position, positions, left);
        }
        let value = self.combine(sums.op, a, b, false);
        self.b.ins().stack_store(types::I64, value, sums.values, left);
    }

    /// The result of a reduction that is finished.
    pub(super) fn reduced(&mut self, node: Node) -> Value {
        let sums = self.sums_of(node);
        match sums.positions {
            Some(positions) => self.b.ins().stack_load(types::I64, types::I32, positions, 0),
            None => self.b.ins().stack_load(types::I64, types::F32, sums.values, 0),
        }
    }

    /// One step of a reduction: `new` into `old`.
    pub(super) fn combine(&mut self, op: Reduce, old: Value, new: Value, wide: bool) -> Value {
        let comparison = match op {
            Reduce::Sum => return self.b.ins().fadd(old, new),
            Reduce::Max | Reduce::Argmax => FloatCC::GreaterThan,
            Reduce::Min => FloatCC::LessThan,
        };
        self.choose_float(comparison, new, old, wide)
    }

    /// Reductions whose argument is ready at a time, with the argument.
    pub(super) fn reductions_at(&self, time: super::Time) -> Vec<(Node, Node)> {
        let here = |(node, data): (Node, &NodeData)| match data {
            NodeData::Reduce { arg, .. } if self.schedule.computed(self.rows, node) == time => Some((node, *arg)),
            _ => None,
        };
        self.rows.nodes.iter().filter_map(here).collect()
    }
}
