//! A product as a kernel: batched, over dims that do not merge, cut into panels for the pool.
//!
//! Requires: what `super::gemm` requires, of every call that the product consists of. Ensures: each element of c is computed in one cell and
//! in one order, so its bits do not depend on the number of threads.

use super::{Size, View, ViewMut, gemm};
use crate::device::loops::{Loop, offsets, points};
use crate::pool::Pool;

/// `c (+)= alpha * a * b` for every point of the outer loops, summed over the inner ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// One library call.
    pub size: Size,
    /// Row and column strides of a, b and c.
    pub strides: [(isize, isize); 3],
    /// Independent products; strides are those of a, b and c.
    pub outer: Vec<Loop<3>>,
    /// Products that add up in the same c (their stride in c is 0).
    pub inner: Vec<Loop<3>>,
    /// Constant factor.
    pub alpha: f32,
}

/// Pointers that cells share: they write disjoint panels.
#[derive(Clone, Copy)]
struct Operands {
    a: *const f32,
    b: *const f32,
    c: *mut f32,
}

// SAFETY: the cells write disjoint parts of c and nobody writes a and b.
unsafe impl Sync for Operands {}

impl Operands {
    /// The whole struct, so that a closure captures it and not its fields, which are not `Sync`.
    fn at(&self, by: [isize; 3]) -> Operands {
        // SAFETY: the offsets are sums of indices times strides of the product, inside its operands.
        unsafe { Operands { a: self.a.offset(by[0]), b: self.b.offset(by[1]), c: self.c.offset(by[2]) } }
    }
}

/// The smallest panel, and what panels are multiples of: 16 elements are one vector of the widest kind.
const GRAIN: usize = 16;

/// How the result is cut: into so many panels along its rows or its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) panels: usize,
    pub(super) rows: bool,
}

impl Product {
    /// Runs on the pool.
    ///
    /// # Safety
    /// As for `super::gemm`, for every call that the product consists of; different outer points write different elements.
    pub unsafe fn run(&self, pool: &Pool, c: *mut f32, accumulate: bool, a: *const f32, b: *const f32) {
        // SAFETY: as the caller promises.
        unsafe { self.run_cut(pool, self.cut(pool.threads()), Operands { a, b, c }, accumulate) }
    }

    /// # Safety
    /// As for [`Product::run`].
    unsafe fn run_cut(&self, pool: &Pool, cut: Cut, operands: Operands, accumulate: bool) {
        let points = points(&self.outer);
        pool.run(points * cut.panels, &|cell, _| {
            let here = operands.at(offsets(&self.outer, cell / cut.panels));
            // SAFETY: as the caller promises; panels of one point are disjoint in c.
            unsafe { self.panel(here, cut, cell % cut.panels, accumulate) };
        });
    }

    /// Enough panels to keep the threads equally busy.
    ///
    /// Columns are cut first: each call packs its own part of b then, rather than all of it. Where a is stored transposed, as in weight
    /// gradients, rows are cut first (measured on five such shapes of GPT training: 118 to 141 against 101 to 117 GFLOP/s).
    pub(super) fn cut(&self, threads: usize) -> Cut {
        let points = points(&self.outer);
        let Size { m, n, k } = self.size;
        if m * n * k < 32 * 32 * 32 {
            return Cut { panels: 1, rows: false };
        }
        let even = |panels: &usize| (points * panels).is_multiple_of(threads) || points * panels >= 4 * threads;
        let wanted = (1..=threads).find(even).unwrap_or(threads);
        let wide = |extent: usize| extent / wanted >= 4 * GRAIN;
        let (row, column) = self.strides[0];
        let transposed = row.abs() < column.abs();
        let rows = if wide(m) && wide(n) { transposed || n < m / 8 } else { m > n };
        let extent = if rows { m } else { n };
        Cut { panels: wanted.min(extent / GRAIN).max(1), rows }
    }

    /// One panel of one point: a library call per point of the inner loops, the first of which may overwrite.
    unsafe fn panel(&self, here: Operands, cut: Cut, panel: usize, accumulate: bool) {
        let [(ar, ac), (br, bc), (cr, cc)] = self.strides;
        let extent = if cut.rows { self.size.m } else { self.size.n };
        let border = |panel: usize| if panel == cut.panels { extent } else { extent * panel / cut.panels / GRAIN * GRAIN };
        let (start, end) = (border(panel), border(panel + 1));
        let first = start as isize;
        let (size, here) = if cut.rows {
            (Size { m: end - start, ..self.size }, here.at([first * ar, 0, first * cr]))
        } else {
            (Size { n: end - start, ..self.size }, here.at([0, first * bc, first * cc]))
        };
        let steps = points(&self.inner);
        // With nothing to add up the result is zero, not undefined.
        let size = if steps == 0 { Size { k: 0, ..size } } else { size };
        for step in 0..steps.max(1) {
            let now = here.at(if steps == 0 { [0; 3] } else { offsets(&self.inner, step) });
            let c = ViewMut { data: now.c, rows: cr, columns: cc };
            let (a, b) = (View { data: now.a, rows: ar, columns: ac }, View { data: now.b, rows: br, columns: bc });
            // SAFETY: as the caller promises.
            unsafe { gemm(size, c, accumulate || step > 0, self.alpha, a, b) };
        }
    }
}
