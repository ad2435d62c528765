//! The skeleton `contract`, where no library does it: tiles in shared memory, products on the plain f32 units.
//!
//! Requires: operands a, b and c. Ensures: of each kind of dim the longest one (after merging) is cut into tiles, the others are points of the
//! grid or loops inside the sum; every element of c is summed by one thread in one order.

use super::Function;
use super::text::{Text, name};
use super::view::View;
use crate::device::loops::{Contraction, Loop, expect_operands, points};
use meshwright_plan::kernel::KernelData;

/// What all functions share, behind `tiles.cuh`.
pub(super) const TEMPLATE: &str = include_str!("contract.cuh");
/// Rows and columns of a tile.
const TILE: usize = 64;

/// The function of a kernel.
///
/// # Errors
/// The operands are not three of f32, or a size is beyond what a launch takes.
pub(super) fn emit(number: u32, kernel: &KernelData, alpha: f32) -> Result<Vec<Function>, String> {
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
    text.line(&format!("mw_contract<{name}_shape>(o0, o1, o2, adds >> 2 & 1);"));
    let tiles = |each: Loop<3>| each.size.div_ceil(TILE);
    let grid = u32::try_from(points(&outer) * tiles(m) * tiles(n)).map_err(|_| "it has too many tiles".to_string())?;
    Ok(vec![Function { name, text: text.finish(), grid, threads: 256, shared: 0 }])
}

#[cfg(test)]
mod tests {
    use super::emit;

    /// Claims: of each kind of dim the longest is cut into tiles, and the others are points of the grid or inside the sum.
    #[test]
    fn the_longest_dims_are_tiles_and_the_others_loops() {
        let text = "kernel k0 \"a product\" contract batch [B 3] m [M 2, R 130] n [N 70] k [K 5, L 40] alpha 0.5\n  \
                    read a: f32[B, M, K, R, L]; b: f32[B, L, N, K]\n  accumulate c: f32[B, R, M, N]\n";
        let kernel = meshwright_plan::parse::kernel(text).unwrap_or_else(|error| panic!("{error}"));
        let functions = emit(4, &kernel, 0.5).expect("a function");
        let [function] = &functions[..] else { panic!("one function, not {}", functions.len()) };
        assert_eq!((function.name.as_str(), function.grid, function.threads), ("k4_a_product", 3 * 2 * 3 * 2, 256));
        for part in ["rows = 130, columns = 40;", "rows = 70, columns = 40;", "inner = 5;", "alpha = 0.5f;", "adds >> 2 & 1"] {
            assert!(function.text.contains(part), "no `{part}` in\n{}", function.text);
        }
    }
}
