//! A `contract` kernel as a product.
//!
//! Requires: operands a, b and c. Ensures: of each kind of dim the longest one (after merging) goes to the library, the others are loops
//! around it, or inside the sum.

use super::{Product, Size};
use crate::device::loops::{Contraction, expect_operands};
use meshwright_plan::kernel::KernelData;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

impl Product {
    /// Reads the kernel's dims.
    ///
    /// # Errors
    /// The operands are not three of f32.
    pub fn new(kernel: &KernelData, alpha: f32) -> Result<Product, String> {
        expect_operands(kernel, 3, &[])?;
        let Contraction { product: [m, n, k], outer, inner } = Contraction::new(kernel);
        // A missing dim counts as the outermost one: the library walks the result along its smaller stride.
        let or =
            |stride: isize, size: usize, other: isize, others: usize| if size > 1 { stride } else { other.abs().max(1) * others as isize };
        let strides = [
            (or(m.strides[A], m.size, k.strides[A], k.size), or(k.strides[A], k.size, m.strides[A], m.size)),
            (or(k.strides[B], k.size, n.strides[B], n.size), or(n.strides[B], n.size, k.strides[B], k.size)),
            (or(m.strides[C], m.size, n.strides[C], n.size), or(n.strides[C], n.size, m.strides[C], m.size)),
        ];
        Ok(Product { size: Size { m: m.size, n: n.size, k: k.size }, strides, outer, inner, alpha })
    }
}
