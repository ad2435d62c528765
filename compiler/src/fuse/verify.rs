//! Verifier of fused programs.
//!
//! Invariants: operands and places pair up; every access lies in its buffer; temporaries are written before they are read or added to;
//! only `Accumulate` operands are added to; every role of the program has exactly one buffer, of the size of its value, and outputs are written.

use super::ir::{Fused, FusedLaunch};
use crate::graph::ir::{Program, Role};
use crate::model::ir::Model;
use crate::op::{Dims, Value};
use meshwright_plan::kernel::Access;
use meshwright_plan::program::Accumulate;

/// What is wrong with a fused program, in words; nothing if it is well formed.
pub fn verify(fused: &Fused, program: &Program, dims: &Dims) -> Vec<String> {
    let mut faults = Vec::new();
    let mut written = vec![false; fused.buffers.len()];
    let inputs: Vec<Role> = program.inputs.iter().map(|(role, _)| *role).collect();
    for (buffer, data) in fused.buffers.iter() {
        written[buffer.as_u32() as usize] = data.role.is_some_and(|role| inputs.contains(&role));
    }
    for (number, launch) in fused.launches.iter().enumerate() {
        let found = verify_launch(fused, launch, &mut written);
        faults.extend(found.into_iter().map(|fault| format!("launch {number} ({}): {fault}", launch.kernel.name)));
    }
    for (role, value) in program.inputs.iter().chain(&program.outputs) {
        faults.extend(verify_role(fused, program, dims, *role, *value, &written));
    }
    faults
}

fn verify_launch(fused: &Fused, launch: &FusedLaunch, written: &mut [bool]) -> Vec<String> {
    let mut faults = Vec::new();
    let kernel = &launch.kernel;
    if kernel.operands.len() != launch.places.len() {
        return vec![format!("{} operands and {} places", kernel.operands.len(), launch.places.len())];
    }
    let placed = || kernel.operands.iter().zip(&launch.places).map(|((slot, operand), place)| (slot, operand, place));
    for (slot, operand, (buffer, at)) in placed() {
        let end = at + operand.extent * operand.element.bytes();
        if end > fused.buffers[*buffer].bytes {
            faults.push(format!("{} ends at byte {end} of {} in {buffer}", operand.name, fused.buffers[*buffer].bytes));
        }
        if kernel.reach(slot).is_none_or(|reach| reach > operand.extent) {
            faults.push(format!("{} is accessed beyond its extent", operand.name));
        }
        let adds = operand.access == Access::Accumulate && launch.accumulate == Accumulate::Add;
        if (operand.access == Access::Read || adds) && !written[buffer.as_u32() as usize] {
            faults.push(format!("{} is read before anything is written to {buffer}", operand.name));
        }
    }
    if launch.accumulate != Accumulate::Write && !kernel.operands.values().any(|operand| operand.access == Access::Accumulate) {
        faults.push("nothing accumulates".to_string());
    }
    placed()
        .filter(|(_, operand, _)| operand.access != Access::Read)
        .for_each(|(_, _, (buffer, _))| written[buffer.as_u32() as usize] = true);
    faults
}

fn verify_role(fused: &Fused, program: &Program, dims: &Dims, role: Role, value: Value, written: &[bool]) -> Option<String> {
    let ty = program.body.ty(value);
    let bytes = ty.elements(dims) * Model::stored(ty.element).bytes();
    let found: Vec<_> = fused.buffers.iter().filter(|(_, data)| data.role == Some(role)).collect();
    match found.as_slice() {
        [(buffer, data)] if data.bytes == bytes && written[buffer.as_u32() as usize] => None,
        [(_, data)] if data.bytes != bytes => Some(format!("{role:?} has {} bytes instead of {bytes}", data.bytes)),
        [_] => Some(format!("{role:?} is never written")),
        [..] => Some(format!("{role:?} has {} buffers", found.len())),
    }
}
