//! Memory after a kernel, as two devices left it.

use super::narrow;
use meshwright_plan::Element;
use meshwright_plan::kernel::{Access, KernelData, Role, Skeleton, Slot};
use meshwright_runtime::device::alone::Memory;

/// Of the norm.
const RELATIVE: f64 = 1e-5;
/// The same of what is stored as bf16: a few results fall to the other side of a tie.
const ROUNDED: f64 = 4e-3;
/// Of the square root of the number of elements.
const ABSOLUTE: f64 = 1e-6;

/// That what is written has the same bits.
pub fn equal(kernel: &KernelData, got: &[Memory], wanted: &[Memory]) -> Result<(), String> {
    for (slot, operand) in kernel.operands.iter().filter(|(_, operand)| operand.access != Access::Scratch) {
        let [got, wanted] = [got, wanted].map(|all| all[slot.as_u32() as usize].bytes());
        if got != wanted {
            let at = (0..got.len()).find(|at| got[*at] != wanted[*at]).unwrap_or_default();
            return Err(format!("`{}` differs from the first order's at byte {at}", operand.name));
        }
    }
    Ok(())
}

/// That what is written is what was wanted, and that what is read stays.
pub fn close(kernel: &KernelData, given: &[Memory], got: &[Memory], wanted: &[Memory]) -> Result<(), String> {
    let wide = narrow::widen(kernel, got);
    for slot in kernel.operands.keys() {
        let [given, got, wide, wanted] = [given, got, &wide, wanted].map(|all| &all[slot.as_u32() as usize]);
        one(kernel, slot, [given, got], [wide, wanted]).map_err(|why| format!("`{}` {why}", kernel.operands[slot].name))?;
    }
    Ok(())
}

fn one(kernel: &KernelData, slot: Slot, [given, got]: [&Memory; 2], [wide, wanted]: [&Memory; 2]) -> Result<(), String> {
    let operand = &kernel.operands[slot];
    match (operand.access, operand.element) {
        (Access::Scratch, _) => Ok(()),
        (Access::Read, _) if given.bytes() == got.bytes() => Ok(()),
        (Access::Read, _) => Err("is only read, and was written".into()),
        (_, Element::F32) if rounds_weights(kernel, slot) => norms(got, wanted, ROUNDED),
        (_, Element::F32) => norms(got, wanted, RELATIVE),
        (_, Element::Bf16) => norms(wide, wanted, ROUNDED),
        (_, Element::I32) => match got.words().iter().zip(wanted.words()).position(|(got, wanted)| *got != wanted) {
            None => Ok(()),
            Some(at) => Err(format!("[{at}] is {}, not {}", got.words()[at] as i32, wanted.words()[at] as i32)),
        },
        (_, Element::Bool) => match got.bytes().iter().zip(wanted.bytes()).position(|(got, wanted)| got != wanted) {
            None => Ok(()),
            Some(at) => Err(format!("[{at}] is {}, not {}", got.bytes()[at], wanted.bytes()[at])),
        },
    }
}

/// Whether an operand is a sum of products whose factors are rounded on the way: with operands of two bytes probabilities are, and their gradients.
fn rounds_weights(kernel: &KernelData, slot: Slot) -> bool {
    let attends = matches!(kernel.skeleton, Skeleton::Attention(_) | Skeleton::AttentionGrad(_));
    let narrow = kernel.operands.values().any(|operand| operand.access == Access::Read && operand.element == Element::Bf16);
    let mut dims = kernel.dims.values().zip(&kernel.operands[slot].strides);
    attends && narrow && dims.any(|(dim, stride)| matches!(dim.role, Role::Feature | Role::Value) && *stride != 0)
}

/// By norm over the numbers; what is none must be the same.
fn norms(got: &Memory, wanted: &Memory, relative: f64) -> Result<(), String> {
    let (mut off, mut norm, mut worst) = (0.0, 0.0, (0.0, 0));
    let [got, wanted] = [got, wanted].map(|memory| memory.words().into_iter().map(f32::from_bits).collect::<Vec<f32>>());
    for (at, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        if !got.is_finite() || !wanted.is_finite() {
            if got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan() {
                continue;
            }
            return Err(format!("[{at}] is {got}, not {wanted}"));
        }
        let difference = (f64::from(*got) - f64::from(*wanted)).powi(2);
        off += difference;
        norm += f64::from(*wanted).powi(2);
        worst = if difference > worst.0 { (difference, at) } else { worst };
    }
    let granted = relative * norm.sqrt() + ABSOLUTE * (got.len() as f64).sqrt();
    let at = worst.1;
    let differs = || format!("is off by {:.2e}, granted {granted:.2e}; [{at}] is {}, not {}", off.sqrt(), got[at], wanted[at]);
    if off.sqrt() <= granted { Ok(()) } else { Err(differs()) }
}
