//! Attention on tensor cores: which kernels suit, and the launches of their functions.
//!
//! Requires: operands in the plan's order. Ensures: a pure function of the kernel; what its functions use of shared memory is what they are launched
//! with, and at most 99 KiB, which a block of every GPU gets.

use super::super::Function;
use super::super::text::Text;
use super::shape::{OPERANDS, Shape};
use super::{begin, function};
use meshwright_plan::Element;
use meshwright_plan::kernel::{Attention, KernelData, Operand, Role};

/// What the functions share, behind `attention.cuh`.
pub(super) const TEMPLATE: &str = concat!(include_str!("fragments.cuh"), include_str!("mma_forward.cuh"), include_str!("mma_backward.cuh"));
/// Most features and values.
const WIDEST: usize = 128;
/// Rows of a tile that a block's own rows meet one after the other.
const FAR: usize = 64;
/// Rows of a strip, a warp's share of a product.
const STRIP: usize = 16;
/// Bytes of a copy, and what every row starts at a multiple of.
const COPY: u64 = 16;

/// Whether a kernel's operands can be what tensor cores and 16-byte copies take.
pub(super) fn suits(kernel: &KernelData, shape: &Shape, attention: &Attention) -> bool {
    let sizes = [shape.features(), shape.values()].iter().all(|size| size.is_multiple_of(STRIP) && (STRIP..=WIDEST).contains(size));
    // out and gradients are written in either width, lse and the scratch of dots are f32 in any layout
    let multiplied = |at: usize| [0, 1, 2, 5].contains(&at);
    let single = |at: usize| [4, 9].contains(&at);
    let operand = |(at, operand): (usize, &Operand)| {
        single(at)
            || (operand.element == Element::Bf16 || !multiplied(at)) && shape.has_dense_columns(at) && has_aligned_rows(kernel, operand)
    };
    // the largest score is also the largest when scaled
    sizes && attention.scale > 0.0 && kernel.operands.values().enumerate().take(OPERANDS).all(operand)
}

/// Whether all rows start at multiples of 16 bytes if the first one does.
fn has_aligned_rows(kernel: &KernelData, operand: &Operand) -> bool {
    let columns = |role: Role| matches!(role, Role::Feature | Role::Value);
    let mut steps = kernel.dims.values().zip(&operand.strides).filter(|(dim, _)| !columns(dim.role) && dim.size > 1);
    steps.all(|(_, stride)| (stride.unsigned_abs() * operand.element.bytes()).is_multiple_of(COPY))
}

/// How a block's own rows are cut: warps, and strips of each.
struct Cut {
    warps: usize,
    strips: usize,
}

impl Cut {
    /// From so many warps to so many, as there are rows.
    fn new(rows: usize, [least, most]: [usize; 2], strips: usize) -> Cut {
        Cut { warps: rows.div_ceil(STRIP * strips).clamp(least, most), strips }
    }

    /// That of one side of the gradient: two strips a warp load half as much of shared memory for each product as one, where registers suffice.
    fn of_gradient(rows: usize, shape: &Shape) -> Cut {
        let strips = if shape.features() + shape.values() <= WIDEST { 2 } else { 1 };
        Cut::new(rows, [2, 8 / strips], strips)
    }

    fn rows(&self) -> usize {
        self.warps * self.strips * STRIP
    }

    fn threads(&self) -> u32 {
        32 * self.warps as u32
    }
}

/// Bytes of two stages of far rows, each of one copied while the other one is used.
fn stages(shape: &Shape) -> usize {
    2 * FAR * 2 * (shape.features() + shape.values())
}

/// The function of an `attention` kernel, behind its constants.
pub(super) fn forward(name: String, mut text: Text, kernel: &KernelData, shape: &Shape) -> Result<Vec<Function>, String> {
    let cut = Cut::new(shape.queries(), [1, 4], 2);
    let own = cut.rows() * shape.features().max(shape.values()) * 2;
    let shared = own + stages(shape) + cut.rows() * 8;
    text.signature(&name, kernel);
    text.line(&format!("mw_attention_mma<{name}_shape, {}, {shared}>(o0, o1, o2, o3, o4, step);", cut.warps));
    let blocks = shape.heads() * shape.queries().div_ceil(cut.rows());
    Ok(vec![Function { shared: shared as u32, ..function(name, text, blocks, cut.threads())? }])
}

/// The functions of an `attention_grad` kernel.
pub(super) fn backward(name: &str, constants: Text, kernel: &KernelData, shape: &Shape) -> Result<Vec<Function>, String> {
    let mut constants = Some(constants);
    let mut one = |suffix: &str, settings: &str, arguments: &str| {
        let own = format!("{name}_{suffix}");
        let mut text = begin(&mut constants, &own, kernel);
        text.line(&format!("mw_attention_mma_{suffix}<{name}_shape, {settings}>({arguments});"));
        (own, text)
    };
    let lanes = if shape.values() <= WIDEST / 2 { 16 } else { 32 };
    let (own, text) = one("dots", &lanes.to_string(), "o3, o5, o9");
    let dots = function(own, text, (shape.heads() * shape.queries()).div_ceil(256 / lanes), 256)?;
    let mut side = |suffix: &str, arguments: &str, heads: usize, rows: usize| {
        let cut = Cut::of_gradient(rows, shape);
        // sums of keys leave no registers for their values
        let lent = if suffix == "keys" { cut.rows() * shape.values() * 2 } else { 0 };
        let shared = stages(shape) + 2 * FAR * 8 + cut.rows() * 8 + lent;
        let (own, text) = one(suffix, &format!("{}, {}, {shared}", cut.warps, cut.strips), arguments);
        let function = function(own, text, heads * rows.div_ceil(cut.rows()), cut.threads())?;
        Ok::<_, String>(Function { shared: shared as u32, ..function })
    };
    let keys = side("keys", "o0, o1, o2, o4, o5, o9, o7, o8, step", shape.batches(), shape.keys())?;
    let queries = side("queries", "o0, o1, o2, o4, o5, o9, o6, step", shape.heads(), shape.queries())?;
    Ok(vec![dots, keys, queries])
}
