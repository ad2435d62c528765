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

/// Whether an attention kernel is one for tensor cores, if its operands are always placed at multiples of 16 bytes.
pub(super) fn suits_tensor_cores(kernel: &KernelData, attention: &Attention) -> bool {
    Shape::new(kernel).is_ok_and(|shape| mma::suits(kernel, &shape, attention))
}

/// The functions of an `attention` or `attention_grad` kernel.
///
/// # Errors
/// The operands are not five (of a gradient ten) of real numbers, dims that should do not merge, or a size is beyond what a launch takes.
pub(super) fn emit(
    number: u32,
    kernel: &KernelData,
    attention: &Attention,
    names: Names<'_>,
    on_tensor_cores: bool,
) -> Result<Vec<Function>, String> {
    let backward = matches!(kernel.skeleton, Skeleton::AttentionGrad(_));
    expect_operands(kernel, if backward { OPERANDS } else { 5 }, &[])?;
    let shape = Shape::new(kernel)?;
    let name = name(number, kernel);
    let constants = shape.text(&name, kernel, attention, names)?;
    match (backward, on_tensor_cores) {
        (false, false) => self::forward(name, constants, kernel, &shape),
        (false, true) => mma::forward(name, constants, kernel, &shape),
        (true, false) => self::backward(&name, constants, kernel, &shape),
        (true, true) => mma::backward(&name, constants, kernel, &shape),
    }
}

/// The function of an `attention` kernel, behind its constants.
fn forward(name: String, mut text: Text, kernel: &KernelData, shape: &Shape) -> Result<Vec<Function>, String> {
    text.signature(&name, kernel);
    text.line(&format!("mw_attention<{name}_shape>(o0, o1, o2, o3, o4, step);"));
    Ok(vec![function(name, text, shape.heads() * shape.tiles(), 128)?])
}

/// The functions of an `attention_grad` kernel: the dots of out and dout, the gradients of keys and values, those of queries.
fn backward(name: &str, constants: Text, kernel: &KernelData, shape: &Shape) -> Result<Vec<Function>, String> {
    let mut constants = Some(constants);
    let mut one = |suffix: &str, arguments: &str, blocks: usize, threads: u32| {
        let own = format!("{name}_{suffix}");
        let mut text = begin(&mut constants, &own, kernel);
        text.line(&format!("mw_attention_{suffix}<{name}_shape>({arguments});"));
        function(own, text, blocks, threads)
    };
    Ok(vec![
        one("dots", "o3, o5, o9", (shape.heads() * shape.queries()).div_ceil(WARPS), 256)?,
        one("keys", "o0, o1, o2, o4, o5, o9, o7, o8, step", shape.batches() * shape.keys().div_ceil(KEYS), 256)?,
        one("queries", "o0, o1, o2, o4, o5, o9, o6, step", shape.heads() * shape.tiles(), 128)?,
    ])
}

/// Begins one of several functions of a kernel; the constants stand before the first.
fn begin(constants: &mut Option<Text>, name: &str, kernel: &KernelData) -> Text {
    let mut text = constants.take().unwrap_or_else(Text::new);
    text.signature(name, kernel);
    text
}

fn function(name: String, text: Text, blocks: usize, threads: u32) -> Result<Function, String> {
    let grid = u32::try_from(blocks).map_err(|_| "it has too many tiles".to_string())?;
    Ok(Function { name, text: text.finish(), grid, threads, shared: 0 })
}
