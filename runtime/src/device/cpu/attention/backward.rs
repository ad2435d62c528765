//! Attention backward: gradients of q, k and v.
//!
//! Requires, ensures: see the module above. With P the probabilities, `dV = Pᵀ·dO`, `dS = P ∘ (dO·Vᵀ − rowsum(O ∘ dO))`, `dQ = dS·K` and
//! `dK = dSᵀ·Q`, the last two times the scale.

use super::{Attend, BLOCK, Block, DK, DOUT, DQ, DV, K, LSE, OUT, Places, Q, Stand, V};
use crate::device::cpu::Scratch;
use crate::device::cpu::gemm::{Size, View, ViewMut, gemm};
use crate::device::cpu::isa::Isa;
use crate::device::cpu::math;
use crate::device::loops::points;
use crate::pool::Pool;

impl Attend {
    /// Writes dq, dk and dv; operands in the order q, k, v, out, lse, dout, dq, dk, dv; `stands` as in the forward pass.
    ///
    /// # Safety
    /// The operands are valid for the strides and sizes, the gradients overlap nothing, and `scratch` has [`Attend::scratch`] bytes for
    /// each thread of the pool.
    pub(in crate::device::cpu) unsafe fn backward(&self, pool: &Pool, operands: [*mut f32; 9], stands: [Stand; 2], scratch: Scratch) {
        let places = Places(operands);
        pool.run(points(&self.batch), &|cell, thread| {
            let here = places.at(&self.batch, cell);
            // SAFETY: as the caller promises; cells are different key-value heads.
            unsafe {
                self.clear(here, DK, self.feature);
                self.clear(here, DV, self.value);
                for member in 0..points(&self.group) {
                    let here = here.at(&self.group, member);
                    (0..self.blocks()).for_each(|block| self.backward_block(here, self.block(block, stands), scratch.of(thread).cast()));
                }
            }
        });
    }

    /// Sets the rows of a gradient along the keys to zero: blocks add to it.
    unsafe fn clear(&self, at: Places, operand: usize, columns: usize) {
        for row in 0..self.keys as isize {
            for column in 0..columns as isize {
                // SAFETY: the element is one of the operand.
                unsafe { *at.0[operand].offset(row * self.rows[operand] + column * self.columns[operand]) = 0.0 };
            }
        }
    }

    unsafe fn backward_block(&self, at: Places, block: Block, scratch: *mut f32) {
        if block.keys == 0 {
            let size = Size { m: block.rows, n: self.feature, k: 0 };
            let none = View { data: std::ptr::null(), rows: 0, columns: 0 };
            // SAFETY: a product over nothing writes zeros to the block's rows of dq, and reads nothing.
            return unsafe { gemm(size, self.view_mut(at, DQ, block.start), false, 1.0, none, none) };
        }
        let (rows, keys, width) = (block.rows, block.keys, self.width() as isize);
        let (scores, grads) = (scratch, scratch.wrapping_add(BLOCK * self.width()));
        let [queries, douts] = [Q, DOUT].map(|operand| self.view(at, operand, block.start));
        let [key, value] = [K, V].map(|operand| self.view(at, operand, block.first_key));
        let turned = |view: View| View { rows: view.columns, columns: view.rows, ..view };
        let [p, ds] = [scores, grads].map(|data| View { data, rows: width, columns: 1 });
        // SAFETY: offsets and sizes are those of the block, inside the operands; each half of the scratch holds BLOCK rows of scores.
        unsafe {
            self.scores(at, block, scores);
            let size = Size { m: rows, n: keys, k: self.value };
            gemm(size, ViewMut { data: grads, rows: width, columns: 1 }, false, 1.0, douts, turned(value));
            self.soften_rows(at, block, scores, grads);
            let size = Size { m: keys, n: self.value, k: rows };
            gemm(size, self.view_mut(at, DV, block.first_key), true, 1.0, turned(p), douts);
            let size = Size { m: keys, n: self.feature, k: rows };
            gemm(size, self.view_mut(at, DK, block.first_key), true, self.scale, turned(ds), queries);
            let size = Size { m: rows, n: self.feature, k: keys };
            gemm(size, self.view_mut(at, DQ, block.start), false, self.scale, ds, key);
        }
    }

    /// Scores to probabilities and their gradients to those of the scores; zeros where a row does not see.
    unsafe fn soften_rows(&self, at: Places, block: Block, scores: *mut f32, grads: *mut f32) {
        let soften_grad = math::soften_grad(Isa::detect());
        for row in 0..block.rows {
            let (start, end) = self.columns_of(block, row);
            // SAFETY: the rows lie in the scratch, and `lse` has an element per query.
            unsafe {
                let lse = *at.0[LSE].offset((block.start + row) as isize * self.rows[LSE]);
                let delta = self.row_dot(at, block.start + row);
                for line in [scores, grads].map(|base| base.add(row * self.width())) {
                    line.write_bytes(0, start);
                    line.add(end).write_bytes(0, block.keys - end);
                }
                let [scores, grads] = [scores, grads].map(|base| base.add(row * self.width() + start));
                soften_grad(scores, grads, end - start, lse, delta);
            }
        }
    }

    /// The product of a query's output and its gradient.
    unsafe fn row_dot(&self, at: Places, query: usize) -> f32 {
        let [a, b] = [OUT, DOUT].map(|operand| self.view(at, operand, query));
        // SAFETY: the rows are inside the operands; contiguous ones may be read as slices.
        unsafe {
            if a.columns == 1 && b.columns == 1 {
                return math::dot(std::slice::from_raw_parts(a.data, self.value), std::slice::from_raw_parts(b.data, self.value));
            }
            (0..self.value as isize).map(|j| *a.data.offset(j * a.columns) * *b.data.offset(j * b.columns)).sum()
        }
    }
}
