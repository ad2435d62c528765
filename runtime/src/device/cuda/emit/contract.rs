//! The skeleton `contract`, where no library does it: tiles in shared memory, products of bf16 on tensor cores, others on the plain f32 units.
//!
//! Requires: operands a, b and c. Ensures: of each kind of dim the longest one (after merging) is cut into tiles, the others are points of the
//! grid or loops inside the sum; every element of c is summed in one order.

use super::Function;
use super::text::{Text, name};
use super::view::View;
use crate::device::loops::{Contraction, Loop, expect_operands, points};
use cranelift_entity::EntityRef;
use meshwright_plan::Element;
use meshwright_plan::kernel::{KernelData, Slot};

/// What all functions share, behind `tiles.cuh`.
pub(super) const TEMPLATE: &str = include_str!("contract.cuh");
/// What those on tensor cores share, behind `swizzle.cuh`.
pub(super) const MMA_TEMPLATE: &str = include_str!("product.cuh");
/// Rows and columns of a tile on the plain units.
const TILE: usize = 64;
/// The same on tensor cores, of products with tiles for every multiprocessor, and of others.
const MMA_TILES: [usize; 2] = [128, 64];
/// Stages of a sum on tensor cores, and how many terms each has: what `product.cuh` puts into shared memory.
const MMA_STAGES: usize = 3;
const MMA_PART: usize = 32;
/// Tiles that are enough for a GPU.
const MANY: usize = 128;
/// Rows or columns of a tile for which a warp has a strip of 16 rows, or of 8 columns.
const WARPS: usize = 32;
/// Numbers of a copy, and what every row starts at a multiple of.
const COPY: usize = 8;

/// Whether a kernel is one for tensor cores, if its operands are always placed at multiples of 16 bytes.
pub(super) fn suits_tensor_cores(kernel: &KernelData) -> bool {
    let Contraction { product: [m, n, k], outer, inner } = Contraction::new(kernel);
    let copied = |operand: usize, lines: Loop<3>| {
        let bf16 = kernel.operands[Slot::new(operand)].element == Element::Bf16;
        let even = |each: &Loop<3>| each.strides[operand].unsigned_abs().is_multiple_of(COPY);
        let along = |near: Loop<3>, far: Loop<3>| near.strides[operand] == 1 && near.size.is_multiple_of(COPY) && even(&far);
        bf16 && (along(k, lines) || along(lines, k)) && outer.iter().chain(&inner).all(even)
    };
    copied(0, m) && copied(1, n)
}

/// The function of a kernel.
///
/// # Errors
/// The operands are not three of real numbers, or a size is beyond what a launch takes.
pub(super) fn emit(number: u32, kernel: &KernelData, alpha: f32, on_tensor_cores: bool) -> Result<Vec<Function>, String> {
    expect_operands(kernel, 3, &[])?;
    let Contraction { product: [m, n, k], outer, inner } = Contraction::new(kernel);
    let name = name(number, kernel);
    let mut text = Text::new();
    text.open(&format!("struct {name}_shape"));
    for (operand, (letter, rows, columns)) in [("a", m, k), ("b", n, k), ("c", m, n)].into_iter().enumerate() {
        View { operand, rows, columns, around: [("outer", &outer), ("inner", &inner)] }.write(&mut text, letter, kernel)?;
    }
    text.line(&format!("static constexpr mw_i64 inner = {};", points(&inner)));
    text.line(&format!("static constexpr float alpha = {alpha:?}f;"));
    text.close_with(";");
    text.signature(&name, kernel);
    let blocks = |tile: usize| points(&outer) * m.size.div_ceil(tile) * n.size.div_ceil(tile);
    let (tile, shared) = if on_tensor_cores {
        let [large, small] = MMA_TILES;
        let tile = if blocks(large) >= MANY { large } else { small };
        let strips = tile / WARPS;
        text.line(&format!("mw_contract_mma<{name}_shape, {strips}, {strips}>(o0, o1, o2, adds >> 2 & 1);"));
        (tile, MMA_STAGES * 2 * tile * MMA_PART * 2)
    } else {
        text.line(&format!("mw_contract<{name}_shape>(o0, o1, o2, adds >> 2 & 1);"));
        (TILE, 0)
    };
    let grid = u32::try_from(blocks(tile)).map_err(|_| "it has too many tiles".to_string())?;
    Ok(vec![Function { name, text: text.finish(), grid, threads: 256, shared: shared as u32 }])
}

#[cfg(test)]
mod tests {
    use super::{emit, suits_tensor_cores};

    /// Claims: of each kind of dim the longest is cut into tiles, and the others are points of the grid or inside the sum.
    #[test]
    fn the_longest_dims_are_tiles_and_the_others_loops() {
        let text = "kernel k0 \"a product\" contract batch [B 3] m [M 2, R 130] n [N 70] k [K 5, L 40] alpha 0.5\n  \
                    read a: f32[B, M, K, R, L]; b: f32[B, L, N, K]\n  accumulate c: f32[B, R, M, N]\n";
        let kernel = meshwright_plan::parse::kernel(text).unwrap_or_else(|error| panic!("{error}"));
        let functions = emit(4, &kernel, 0.5, suits_tensor_cores(&kernel)).expect("a function");
        let [function] = &functions[..] else { panic!("one function, not {}", functions.len()) };
        assert_eq!((function.name.as_str(), function.grid, function.threads), ("k4_a_product", 3 * 2 * 3 * 2, 256));
        for part in ["rows = 130, columns = 40;", "rows = 70, columns = 40;", "inner = 5;", "alpha = 0.5f;", "adds >> 2 & 1"] {
            assert!(function.text.contains(part), "no `{part}` in\n{}", function.text);
        }
    }
}
