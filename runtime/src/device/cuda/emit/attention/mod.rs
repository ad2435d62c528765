//! The skeletons `attention` and `attention_grad`: a struct of constants for each kernel, and functions that instantiate one template by it.
//!
//! Requires: operands in the plan's order; features and values of at most 256 elements. Ensures: no queries × keys matrix in memory, and no
//! atomics: every row of a gradient is summed by one block in one order. What no query of a tile sees is skipped. Operands in bf16 whose rows
//! tensor cores can take go there ([`mma`]); all others are converted and multiplied in f32.

mod mma;
mod shape;
#[cfg(test)]
mod tests;

use super::text::{Text, name};
use super::{Function, Names};
use crate::device::loops::expect_operands;
use meshwright_plan::kernel::{Attention, KernelData, Skeleton};
use shape::{OPERANDS, Shape};

/// What all functions share, behind `tiles.cuh`.
pub(super) const TEMPLATE: &str = include_str!("attention.cuh");
/// What functions on tensor cores share, behind that.
pub(super) const MMA_TEMPLATE: &str = mma::TEMPLATE;
/// Keys of a tile.
const KEYS: usize = 64;
/// Rows of a block of 256 threads with a warp each.
const WARPS: usize = 8;

/// Whether an attention kernel's functions are those for tensor cores; `aligned`: its operands are always placed at multiples of 16 bytes.
pub(super) fn on_tensor_cores(kernel: &KernelData, aligned: bool) -> bool {
    let (Skeleton::Attention(attention) | Skeleton::AttentionGrad(attention)) = &kernel.skeleton else { return false };
    aligned && Shape::new(kernel).is_ok_and(|shape| mma::suits(kernel, &shape, attention))
}

/// The functions of an `attention` kernel.
///
/// # Errors
/// The operands are not five of real numbers, dims that should do not merge, or a size is beyond what a launch takes.
pub(super) fn forward(
    number: u32,
    kernel: &KernelData,
    attention: &Attention,
    names: Names<'_>,
    aligned: bool,
) -> Result<Vec<Function>, String> {
    expect_operands(kernel, 5, &[])?;
    let shape = Shape::new(kernel)?;
    let name = name(number, kernel);
    let mut text = shape.text(&name, kernel, attention, names)?;
    if on_tensor_cores(kernel, aligned) {
        return mma::forward(name, text, kernel, &shape);
    }
    text.signature(&name, kernel);
    text.line(&format!("mw_attention<{name}_shape>(o0, o1, o2, o3, o4, step);"));
    Ok(vec![function(name, text, shape.heads() * shape.tiles(), 128)?])
}

/// The functions of an `attention_grad` kernel: the dots of out and dout, the gradients of keys and values, those of queries.
///
/// # Errors
/// As for `forward`, with ten operands.
pub(super) fn backward(
    number: u32,
    kernel: &KernelData,
    attention: &Attention,
    names: Names<'_>,
    aligned: bool,
) -> Result<Vec<Function>, String> {
    expect_operands(kernel, OPERANDS, &[])?;
    let shape = Shape::new(kernel)?;
    let name = name(number, kernel);
    let constants = shape.text(&name, kernel, attention, names)?;
    if on_tensor_cores(kernel, aligned) {
        return mma::backward(&name, constants, kernel, &shape);
    }
    let mut constants = Some(constants);
    let mut one = |suffix: &str, arguments: &str, blocks: usize, threads: u32| {
        let own = format!("{name}_{suffix}");
        let mut text = constants.take().unwrap_or_else(Text::new);
        text.signature(&own, kernel);
        text.line(&format!("mw_attention_{suffix}<{name}_shape>({arguments});"));
        function(own, text, blocks, threads)
    };
    Ok(vec![
        one("dots", "o3, o5, o9", (shape.heads() * shape.queries()).div_ceil(WARPS), 256)?,
        one("keys", "o0, o1, o2, o4, o5, o9, o7, o8, step", shape.batches() * shape.keys().div_ceil(KEYS), 256)?,
        one("queries", "o0, o1, o2, o4, o5, o9, o6, step", shape.heads() * shape.tiles(), 128)?,
    ])
}

fn function(name: String, text: Text, blocks: usize, threads: u32) -> Result<Function, String> {
    let grid = u32::try_from(blocks).map_err(|_| "it has too many tiles".to_string())?;
    Ok(Function { name, text: text.finish(), grid, threads, shared: 0 })
}
