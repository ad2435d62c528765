//! Kernels whose operands are stored in two bytes, as the processor runs them: with the same numbers in four.
//!
//! Ensures that what is widened is the same number, and that the processor's results are rounded once, as a store into two bytes does.

use meshwright_plan::Element;
use meshwright_plan::kernel::{Access, KernelData};
use meshwright_runtime::device::alone::Memory;

/// The kernel on f32.
pub fn widened(kernel: &KernelData) -> KernelData {
    let mut wide = kernel.clone();
    wide.operands.values_mut().for_each(|operand| operand.element = operand.element.value());
    wide
}

/// The operands that may be added to: of two bytes none is.
pub fn addable(kernel: &KernelData) -> u64 {
    let narrow = kernel.operands.iter().filter(|(_, operand)| operand.element == Element::Bf16);
    narrow.fold(u64::MAX, |all, (slot, _)| all & !(1 << slot.as_u32()))
}

/// The memory of the widened kernel's operands.
pub fn widen(kernel: &KernelData, memory: &[Memory]) -> Vec<Memory> {
    kernel
        .operands
        .values()
        .zip(memory)
        .map(|(operand, own)| if operand.element == Element::Bf16 { wide(own) } else { own.clone() })
        .collect()
}

fn wide(narrow: &Memory) -> Memory {
    let mut wide = Memory::new(2 * narrow.bytes().len());
    for (to, from) in wide.bytes_mut().as_chunks_mut::<4>().0.iter_mut().zip(narrow.bytes().as_chunks::<2>().0) {
        *to = [0, 0, from[0], from[1]];
    }
    wide
}

/// Rounds what the widened kernel has written where its own stores two bytes.
pub fn round(kernel: &KernelData, memory: &mut [Memory]) {
    let written = kernel.operands.values().zip(memory).filter(|(operand, _)| operand.access != Access::Read);
    for (_, memory) in written.filter(|(operand, _)| operand.element == Element::Bf16) {
        for word in memory.bytes_mut().as_chunks_mut::<4>().0 {
            *word = half::bf16::from_f32(f32::from_le_bytes(*word)).to_f32().to_le_bytes();
        }
    }
}
