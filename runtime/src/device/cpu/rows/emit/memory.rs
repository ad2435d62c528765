//! Loads and stores of operands and buffers.
//!
//! Requires: rows and lanes inside the kernel's iteration space. Ensures: a lookup with an index out of range reads the last entry instead
//! of memory that is not its own; a moved load beyond the end reads as zero without touching memory there.

use super::lanes::Lanes;
use super::{Emitter, REFUSED, flags, scalar_type};
use crate::device::cpu::rows::schedule::Buffer;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_entity::EntityRef;
use meshwright_plan::Element;
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Gather, Move, Node, NodeData, Slot};

/// Where a load reads in the current row.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Of lane 0.
    pub(super) address: Value,
    /// A mask of 32 bits that is 0 if the row lies beyond the end.
    pub(super) mask: Option<Value>,
}

impl Emitter<'_, '_> {
    /// The address of an operand at the current row, lane 0.
    pub(super) fn row_pointer(&mut self, slot: usize) -> Value {
        let base = self.word(self.words.operand(slot));
        let operand = &self.kernel.operands[Slot::new(slot)];
        let stride = self.inner.map_or(0, |inner| operand.strides[inner.index()]);
        if stride == 0 {
            return base;
        }
        let offset = self.b.ins().imul_imm_s(self.row, stride * operand.element.bytes() as i64);
        self.b.ins().iadd(base, offset)
    }

    /// Works out where a load reads in the current row, as soon as its index is known.
    pub(super) fn place_load(&mut self, node: Node, phase: u32) {
        let NodeData::Load { slot, gather, moved } = &self.rows.nodes[node] else { return };
        let row_index = gather.filter(|gather| self.schedule.levels[gather.index] != Level::Lane);
        let known = row_index.map_or(0, |gather| self.schedule.ready[gather.index].phase);
        if known != phase {
            return;
        }
        let mut place = Place { address: self.pointers[slot.index()], mask: None };
        let bytes = self.kernel.operands[*slot].element.bytes() as i64;
        if let Some(gather) = row_index {
            let index = self.scalar(gather.index);
            let offset = self.gathered(gather, index, bytes);
            place.address = self.b.ins().iadd(place.address, offset);
        }
        if let Some(moved) = moved.filter(|moved| Some(moved.dim) != self.lane) {
            let here = self.position(moved.dim, 0);
            let (there, inside) = self.moved(moved, here);
            let steps = self.b.ins().isub(there, here);
            let stride = self.kernel.operands[*slot].strides[moved.dim.index()];
            let offset = self.b.ins().imul_imm_s(steps, stride * bytes);
            place.address = self.b.ins().iadd(place.address, offset);
            place.mask = inside;
        }
        self.places[node] = Some(place);
    }

    /// The byte offset of a lookup, its index brought into range.
    fn gathered(&mut self, gather: Gather, index: Value, bytes: i64) -> Value {
        let index = self.b.ins().uextend(types::I64, index);
        let last = self.b.ins().iconst(types::I64, gather.size as i64 - 1);
        let index = self.b.ins().umin(index, last);
        self.b.ins().imul_imm_s(index, gather.stride * bytes)
    }

    /// The index beside `here`, and a mask of whether it exists; beyond the end the index is `here` itself.
    fn moved(&mut self, moved: Move, here: Value) -> (Value, Option<Value>) {
        let size = self.kernel.dims[moved.dim].size as i64;
        let end = self.b.ins().iconst(types::I64, size);
        if moved.wrap {
            let there = self.b.ins().iadd_imm_s(here, moved.by.rem_euclid(size));
            let round = self.b.ins().isub(there, end);
            let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, there, end);
            return (self.b.ins().select(inside, there, round), None);
        }
        let there = self.b.ins().iadd_imm_s(here, moved.by);
        let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, there, end);
        (self.b.ins().select(inside, there, here), Some(self.b.ins().bmask(types::I32, inside)))
    }

    /// A value, or zero where the mask is 0.
    pub(super) fn masked(&mut self, value: Value, mask: Option<Value>, wide: bool) -> Value {
        let Some(mask) = mask else { return value };
        let mask = if wide { self.b.ins().splat(types::I32X4, mask) } else { mask };
        let kind = self.b.func.dfg.value_type(value);
        let bits = self.as_bits(value, wide);
        let kept = self.b.ins().band(bits, mask);
        if kind.lane_type() == types::F32 { self.as_float(kept, wide) } else { kept }
    }

    /// One element at an address.
    pub(super) fn load_scalar(&mut self, element: Element, address: Value) -> Value {
        match element {
            Element::F32 | Element::I32 => self.b.ins().load(scalar_type(element), flags(), address, 0),
            Element::Bf16 => unreachable!("{REFUSED}"),
            Element::Bool => {
                let byte = self.b.ins().uload8(types::I32, flags(), address, 0);
                let set = self.b.ins().icmp_imm_u(IntCC::NotEqual, byte, 0);
                self.b.ins().bmask(types::I32, set)
            }
        }
    }

    /// Writes one element at an address, or adds to it where the launch says so.
    pub(super) fn store_scalar(&mut self, slot: Slot, address: Value, value: Value) {
        let element = self.kernel.operands[slot].element;
        let value = self.with_old(slot, value, address, 0, false);
        match element {
            Element::F32 | Element::I32 => self.b.ins().store(flags(), value, address, 0),
            Element::Bf16 => unreachable!("{REFUSED}"),
            Element::Bool => {
                let bit = self.b.ins().band_imm_u(value, 1);
                self.b.ins().istore8(flags(), bit, address, 0)
            }
        };
    }

    /// What stands at a place plus the value, if the operand accumulates in this launch.
    fn with_old(&mut self, slot: Slot, value: Value, address: Value, offset: i32, wide: bool) -> Value {
        let operand = &self.kernel.operands[slot];
        let adds = self.target.adds >> slot.index() & 1 == 1;
        if !adds {
            return value;
        }
        let kind = self.b.func.dfg.value_type(value);
        let old = self.b.ins().load(kind, flags(), address, offset);
        match (operand.element, wide) {
            (Element::F32, _) => self.b.ins().fadd(old, value),
            (Element::I32, _) => self.b.ins().iadd(old, value),
            (Element::Bool, _) => value,
            (Element::Bf16, _) => unreachable!("{REFUSED}"),
        }
    }

    /// The elements of a load at lanes.
    pub(super) fn load_lanes(&mut self, node: Node, lanes: &mut Lanes<'_>) -> Value {
        let NodeData::Load { slot, gather, moved } = &self.rows.nodes[node] else { unreachable!("only loads are loaded") };
        let place = self.places[node].expect("a load is used before its address is known");
        let operand = &self.kernel.operands[*slot];
        let (element, stride) = (operand.element, self.lane.map_or(0, |lane| operand.strides[lane.index()]));
        let by_lane = gather.filter(|gather| self.schedule.levels[gather.index] == Level::Lane);
        let beside = moved.filter(|moved| Some(moved.dim) == self.lane);
        let value = if by_lane.is_none() && beside.is_none() && stride == 1 {
            self.load_contiguous(element, place.address, lanes)
        } else {
            let indices = by_lane.map(|gather| (gather, self.lane_value(gather.index, lanes)));
            self.each_lane(scalar_type(element), lanes, |emitter, part, lane| {
                let bytes = element.bytes() as i64;
                let (lane, inside) = beside.map_or((lane, None), |moved| emitter.moved(moved, lane));
                let offset = emitter.b.ins().imul_imm_s(lane, stride * bytes);
                let mut address = emitter.b.ins().iadd(place.address, offset);
                if let Some((gather, indices)) = indices {
                    let index = emitter.part(indices, part);
                    let offset = emitter.gathered(gather, index, bytes);
                    address = emitter.b.ins().iadd(address, offset);
                }
                let value = emitter.load_scalar(element, address);
                emitter.masked(value, inside, false)
            })
        };
        self.masked(value, place.mask, lanes.vector.is_some())
    }

    fn load_contiguous(&mut self, element: Element, address: Value, lanes: &mut Lanes<'_>) -> Value {
        let address = self.lane_address(address, element.bytes() as i64, lanes);
        match element {
            Element::Bf16 => unreachable!("{REFUSED}"),
            Element::F32 | Element::I32 => {
                let kind = scalar_type(element);
                let (kind, offset) = lanes.vector.map_or((kind, 0), |vector| (kind.by(4).expect("a vector type"), 16 * vector as i32));
                self.b.ins().load(kind, flags(), address, offset)
            }
            Element::Bool => {
                let Some(vector) = lanes.vector else { return self.load_scalar(element, address) };
                let bytes = self.b.ins().load(types::I32, flags(), address, 4 * vector as i32);
                let bytes = self.b.ins().scalar_to_vector(types::I32X4, bytes);
                let little = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
                let bytes = self.b.ins().bitcast(types::I8X16, little, bytes);
                let halves = self.b.ins().uwiden_low(bytes);
                let words = self.b.ins().uwiden_low(halves);
                let zero = self.zero_vector();
                self.b.ins().icmp(IntCC::NotEqual, words, zero)
            }
        }
    }

    /// Writes elements at lanes.
    pub(super) fn store_lanes(&mut self, slot: Slot, value: Value, lanes: &mut Lanes<'_>) {
        let operand = &self.kernel.operands[slot];
        let (element, stride) = (operand.element, self.lane.map_or(0, |lane| operand.strides[lane.index()]));
        let address = self.pointers[slot.index()];
        if stride == 1 && element != Element::Bool {
            let address = self.lane_address(address, 4, lanes);
            let offset = lanes.vector.map_or(0, |vector| 16 * vector as i32);
            let value = self.with_old(slot, value, address, offset, lanes.vector.is_some());
            self.b.ins().store(flags(), value, address, offset);
            return;
        }
        for (part, lane) in self.lane_indices(lanes).into_iter().enumerate() {
            let offset = self.b.ins().imul_imm_s(lane, stride * element.bytes() as i64);
            let address = self.b.ins().iadd(address, offset);
            let value = if lanes.vector.is_some() { self.part(value, part) } else { value };
            self.store_scalar(slot, address, value);
        }
    }

    /// The address in a buffer from which lanes count: for a tile's buffer that lies before its start.
    pub(super) fn buffer_base(&mut self, buffer: Buffer, tile: Value) -> Value {
        let start = self.b.ins().iadd_imm_s(self.buffers, buffer.offset as i64);
        if buffer.wide {
            return start;
        }
        let skipped = self.b.ins().ishl_imm_u(tile, 2);
        self.b.ins().isub(start, skipped)
    }

    pub(super) fn load_buffer(&mut self, element: Element, base: Value, lanes: &mut Lanes<'_>) -> Value {
        // Masks are kept as 32 bits.
        let stored = if element == Element::Bool { Element::I32 } else { element };
        self.load_contiguous(stored, base, lanes)
    }

    pub(super) fn store_buffer(&mut self, base: Value, value: Value, lanes: &mut Lanes<'_>) {
        let address = self.lane_address(base, 4, lanes);
        self.b.ins().store(flags(), value, address, lanes.vector.map_or(0, |vector| 16 * vector as i32));
    }
}
