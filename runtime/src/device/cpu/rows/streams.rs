//! Which results are written past the caches: those so large that their first rows have left the caches when the last ones are written.
//!
//! An ordinary store fetches its line from memory first, only to overwrite it; one past the caches does not, which saves a third of the
//! traffic of a kernel that reads one array and writes one. A smaller result must stay in the cache, where the next kernel reads it.
//!
//! Requires: a kernel that the plan's verifier accepted. Ensures: chosen operands are written in whole aligned lines once their places are.

use cranelift_entity::EntityRef;
use meshwright_plan::Element;
use meshwright_plan::kernel::{Access, Effect, KernelData, Operand, Rows};

/// Elements in a line.
const LINE: i64 = 16;
/// Bytes in a line.
const LINE_BYTES: usize = 64;

/// The operands that are worth it for a cache of so many bytes, a bit for each.
pub(super) fn operands(kernel: &KernelData, rows: &Rows, cache: u64) -> u64 {
    let stored = rows.effects.iter().filter_map(|effect| match effect {
        Effect::Store { slot, .. } => Some(*slot),
        Effect::Fold { .. } => None,
    });
    stored.filter(|slot| is_large(kernel, &kernel.operands[*slot], cache)).fold(0, |mask, slot| mask | 1 << slot.index())
}

/// Whether an operand is far larger than the caches and its rows are whole lines.
fn is_large(kernel: &KernelData, operand: &Operand, cache: u64) -> bool {
    let Some(lane) = kernel.lane() else { return false };
    let rows = operand.strides.iter().enumerate().filter(|(axis, _)| *axis != lane.index()).all(|(_, stride)| stride % LINE == 0);
    let whole = rows && operand.strides[lane.index()] == 1 && kernel.dims[lane].size.is_multiple_of(LINE as u64);
    let plain = operand.access == Access::Write && operand.element != Element::Bool;
    whole && plain && operand.extent * operand.element.bytes() >= 2 * cache
}

/// Whether the operands stand where stores past the caches may write: at whole lines, and nothing is read there.
pub(super) fn may(streams: u64, places: &[*mut u8]) -> bool {
    let chosen = |slot: &usize| streams >> slot & 1 == 1;
    let alone = |slot: usize| (0..places.len()).all(|other| other == slot || places[other] != places[slot]);
    (0..places.len()).filter(chosen).all(|slot| (places[slot] as usize).is_multiple_of(LINE_BYTES) && alone(slot))
}
