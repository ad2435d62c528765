//! Matrix products: one-thread library calls on strided f32 operands, and [`Product`], which cuts a product into panels for the pool.
//!
//! Requires: operands that do not overlap the result. Ensures: an element's bits depend on the operands, their strides and the machine, not on
//! the number of threads or on how the result is cut (both libraries add along k in one order per element).
//!
//! Which library: `private-gemm-x86` wherever its instructions exist and it passes its self-test, `gemm-f32` otherwise. Measured on shapes of
//! GPT training, one thread, AVX-512: the former is ahead on forward and input-gradient products, most with few rows, long k and a transposed
//! second operand (400 against 263 GFLOP/s); the latter is ahead by 2 % on weight gradients, but allocates in every call, and a step must not.

mod lower;
mod portable;
#[cfg(target_arch = "x86_64")]
mod private;
pub mod product;
#[cfg(test)]
mod tests;

pub use product::Product;

/// A strided matrix that is read: element (i, j) stands at `data + i * rows + j * columns`.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Element (0, 0).
    pub data: *const f32,
    /// Elements from one row to the next.
    pub rows: isize,
    /// Elements from one column to the next.
    pub columns: isize,
}

/// A strided matrix that is written.
#[derive(Clone, Copy, Debug)]
pub struct ViewMut {
    /// Element (0, 0).
    pub data: *mut f32,
    /// Elements from one row to the next.
    pub rows: isize,
    /// Elements from one column to the next.
    pub columns: isize,
}

/// How large a product is: c is m × n, a is m × k, b is k × n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows of a and c.
    pub m: usize,
    /// Columns of b and c.
    pub n: usize,
    /// Columns of a, rows of b.
    pub k: usize,
}

/// c = alpha · a · b, or c += alpha · a · b with `accumulate`, on the calling thread.
///
/// # Safety
/// All elements that the views name are valid, and those of `c` are distinct, not read by `a` or `b`, and nobody else's during the call.
/// Without `accumulate`, `c` is not read and may be uninitialised memory.
pub unsafe fn gemm(size: Size, c: ViewMut, accumulate: bool, alpha: f32, a: View, b: View) {
    if size.m == 0 || size.n == 0 {
        return;
    }
    if size.k == 0 {
        if !accumulate {
            // SAFETY: as the caller promises.
            unsafe { clear(size, c) };
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(instructions) = private::usable() {
        // SAFETY: as the caller promises; `usable` has found the instructions.
        unsafe { private::gemm(instructions, size, c, accumulate, alpha, a, b) };
        return;
    }
    // SAFETY: as the caller promises.
    unsafe { portable::gemm(size, c, accumulate, alpha, a, b) };
}

/// The library that [`gemm`] calls on this machine, for reports.
#[must_use]
pub fn library() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if let Some(instructions) = private::usable() {
        return private::name(instructions);
    }
    "gemm-f32"
}

/// Sets all elements to zero.
unsafe fn clear(size: Size, c: ViewMut) {
    for i in 0..size.m as isize {
        for j in 0..size.n as isize {
            // SAFETY: the element is one of `c`.
            unsafe { *c.data.offset(i * c.rows + j * c.columns) = 0.0 };
        }
    }
}
