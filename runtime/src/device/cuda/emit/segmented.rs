//! The skeleton `segmented`: a warp owns some lanes of one segment, and walks all rows in order.
//!
//! Requires: operands index, value and out. Ensures: no atomics, and one order of terms.

use super::Function;
use super::text::{Indices, Text, element, name, sum, times};
use crate::device::loops::{Loop, expect_operands, loops, points, single};
use cranelift_entity::EntityRef;
use meshwright_plan::kernel::{KernelData, Role, Slot};

/// Lanes of a warp's part.
const LANES: usize = 256;
/// Warps of a block.
const WARPS: usize = 8;

/// The function of a kernel.
///
/// # Errors
/// The operands are not an i32 index and two f32, or lanes or segments do not merge into one dim.
pub(super) fn emit(number: u32, kernel: &KernelData) -> Result<Vec<Function>, String> {
    expect_operands(kernel, 3, &[0])?;
    let (batch, rows) = (loops::<3>(kernel, Role::Batch), loops::<3>(kernel, Role::Row));
    let (lane, segment): (Loop<3>, Loop<3>) = (single(kernel, Role::Lane)?, single(kernel, Role::Segment)?);
    let (parts, batches) = (lane.size.div_ceil(LANES), points(&batch));
    let warps = batches * segment.size * parts;
    let mut text = Text::function(number, kernel);
    text.line("int thread = threadIdx.x % 32;");
    text.line(&format!("mw_i64 warp = (mw_i64)blockIdx.x * {WARPS} + threadIdx.x / 32;"));
    text.line(&format!("if (warp >= {warps}) return;"));
    text.line(&format!("int part = warp % {parts}, segment = warp / {parts} % {};", segment.size));
    text.line(&format!("mw_i64 batch = warp / {};", parts * segment.size));
    let read = element(kernel.operands[Slot::new(1)].element);
    let [index, value, out] = [0, 1, 2].map(|operand| Indices::new("batch", &batch).offset(operand));
    text.line(&format!("const int* index = o0 + {index};"));
    text.line(&format!("const {read}* value = o1 + {value};"));
    text.line(&format!("float* out = o2 + {};", sum([out, times("segment", segment.strides[2] as i64)])));
    text.line(&format!("int first = part * {LANES} + thread, end = mw_min(part * {LANES} + {LANES}, {});", lane.size));
    let [own, step] = [1, 2].map(|operand| times("lane", lane.strides[operand] as i64));
    text.line(&format!("if (!(adds >> 2 & 1)) for (int lane = first; lane < end; lane += 32) out[{step}] = 0.0f;"));
    let count = points(&rows);
    text.open(&format!("for (int start = 0; start < {count}; start += 32)"));
    text.line("int row = start + thread;");
    let at = Indices::new("row", &rows).offset(0);
    text.line(&format!("int own = row < {count} ? index[{at}] : -1;"));
    text.line("mw_u32 hits = __ballot_sync(0xffffffffu, own == segment);");
    text.open("while (hits)");
    text.line("int hit = start + __ffs(hits) - 1;");
    text.line("hits &= hits - 1;");
    text.line(&format!("const {read}* from = value + {};", Indices::new("hit", &rows).offset(1)));
    text.line(&format!("for (int lane = first; lane < end; lane += 32) out[{step}] += from[{own}];"));
    text.close();
    text.close();
    let grid = u32::try_from(warps.div_ceil(WARPS)).map_err(|_| "it has too many segments".to_string())?;
    Ok(vec![Function { name: name(number, kernel), text: text.finish(), grid, threads: 32 * WARPS as u32, shared: 0 }])
}
