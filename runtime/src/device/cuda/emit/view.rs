//! Matrices in memory as CUDA C structs of constants: what the templates of products and of attention are specialised by.
//!
//! Requires: strides of a kernel's operands. Ensures: a struct with the members that `tiles.cuh` wants of a view.

use super::text::{Indices, Text, element};
use crate::device::loops::Loop;
use cranelift_entity::EntityRef;
use meshwright_plan::kernel::{KernelData, Slot};

/// A matrix, repeated over the points of two groups of loops.
pub(super) struct View<'a, const N: usize> {
    /// Which operand it is.
    pub(super) operand: usize,
    /// Its rows.
    pub(super) rows: Loop<N>,
    /// Its columns.
    pub(super) columns: Loop<N>,
    /// The loops around it, and what a point of them is called.
    pub(super) around: [(&'a str, &'a [Loop<N>]); 2],
}

impl<const N: usize> View<'_, N> {
    /// Writes the struct of this name.
    ///
    /// # Errors
    /// It has too many rows or columns.
    pub(super) fn write(&self, text: &mut Text, name: &str, kernel: &KernelData) -> Result<(), String> {
        let (rows, columns) = (count(self.rows.size)?, count(self.columns.size)?);
        let [row, column] = [self.rows, self.columns].map(|each| each.strides[self.operand]);
        let [(first, outer), (second, inner)] = self.around;
        let [a, b] = [(first, outer), (second, inner)].map(|(point, loops)| Indices::new(point, loops).offset(self.operand));
        text.open(&format!("struct {name}"));
        text.line(&format!("typedef {} stored;", element(kernel.operands[Slot::new(self.operand)].element)));
        text.line(&format!("static constexpr int rows = {rows}, columns = {columns};"));
        text.line(&format!("static constexpr mw_i64 row = {row}, column = {column};"));
        text.line(&format!("static __device__ inline mw_i64 at(mw_i64 {first}, mw_i64 {second}) {{ return {a} + {b}; }}"));
        text.close_with(";");
        Ok(())
    }
}

/// A size as an `int` of C; one tile more must be one, too.
///
/// # Errors
/// It is too large.
pub(super) fn count(size: usize) -> Result<i32, String> {
    let fits = i32::try_from(size).ok().filter(|size| *size < i32::MAX - 256);
    fits.ok_or_else(|| format!("a dim of {size} is too long"))
}
