//! Attention forward: out and the log of the sum of exponentials.
//!
//! Requires, ensures: see the module above.

use super::{Attend, BLOCK, Block, K, LSE, OUT, Places, Q, Stand, V};
use crate::device::cpu::Scratch;
use crate::device::cpu::gemm::{Size, View, ViewMut, gemm};
use crate::device::cpu::isa::Isa;
use crate::device::cpu::math::{self, Function};
use crate::device::loops::points;
use crate::pool::Pool;

impl Attend {
    /// Writes `out` and `lse`; operands in the order q, k, v, out, lse; `stands`: where queries and keys stand.
    ///
    /// # Safety
    /// The operands are valid for the strides and sizes, out and lse overlap nothing, and `scratch` has [`Attend::scratch`] bytes for each
    /// thread of the pool.
    pub(in crate::device::cpu) unsafe fn forward(&self, pool: &Pool, operands: [*mut f32; 5], stands: [Stand; 2], scratch: Scratch) {
        let [q, k, v, out, lse] = operands;
        let none = std::ptr::null_mut();
        let places = Places([q, k, v, out, lse, none, none, none, none]);
        let (blocks, groups) = (self.blocks(), points(&self.group));
        pool.run(points(&self.batch) * groups * blocks, &|cell, thread| {
            let (head, block) = (cell / blocks, cell % blocks);
            let here = places.at(&self.batch, head / groups).at(&self.group, head % groups);
            // SAFETY: as the caller promises; cells are different blocks of different heads.
            unsafe { self.forward_block(here, self.block(block, stands), scratch.of(thread).cast()) };
        });
    }

    unsafe fn forward_block(&self, at: Places, block: Block, scores: *mut f32) {
        if block.keys == 0 {
            // SAFETY: the rows are those of the block.
            return unsafe { self.blind(at, block) };
        }
        // SAFETY: offsets and sizes are those of the block, inside the operands; the scratch holds BLOCK rows of `width` scores.
        unsafe {
            self.scores(at, block, scores);
            let factors = self.softmax(at, block, scores);
            let size = Size { m: block.rows, n: self.value, k: block.keys };
            let out = at.0[OUT].offset(block.start as isize * self.rows[OUT]);
            let weights = View { data: scores, rows: self.width() as isize, columns: 1 };
            let values = self.view(at, V, block.first_key);
            gemm(size, ViewMut { data: out, rows: self.rows[OUT], columns: self.columns[OUT] }, false, 1.0, weights, values);
            for (row, factor) in factors.iter().enumerate().take(block.rows) {
                for j in 0..self.value as isize {
                    *out.offset(row as isize * self.rows[OUT] + j * self.columns[OUT]) *= factor;
                }
            }
        }
    }

    /// What queries get that see no key.
    unsafe fn blind(&self, at: Places, block: Block) {
        for query in block.start as isize..(block.start + block.rows) as isize {
            // SAFETY: `out` has a row and `lse` an element per query.
            unsafe {
                let row = at.0[OUT].offset(query * self.rows[OUT]);
                (0..self.value as isize).for_each(|j| *row.offset(j * self.columns[OUT]) = 0.0);
                *at.0[LSE].offset(query * self.rows[LSE]) = f32::NEG_INFINITY;
            }
        }
    }

    /// Scaled products of the block's queries and the keys that it sees.
    pub(super) unsafe fn scores(&self, at: Places, block: Block, scores: *mut f32) {
        let size = Size { m: block.rows, n: block.keys, k: self.feature };
        let queries = self.view(at, Q, block.start);
        let keys = self.view(at, K, block.first_key);
        let turned = View { rows: keys.columns, columns: keys.rows, ..keys };
        let scores = ViewMut { data: scores, rows: self.width() as isize, columns: 1 };
        // SAFETY: as the caller promises.
        unsafe { gemm(size, scores, false, self.scale, queries, turned) };
    }

    /// Exponentials of the rows' visible scores, zeros elsewhere; writes `lse`, gives the factors that normalise the rows.
    unsafe fn softmax(&self, at: Places, block: Block, scores: *mut f32) -> [f32; BLOCK] {
        let soften = math::soften(Isa::detect());
        let (mut most, mut sums) = ([0.0; BLOCK], [0.0; BLOCK]);
        for row in 0..block.rows {
            let (start, end) = self.columns_of(block, row);
            let mut most_and_sum = [0.0; 2];
            // SAFETY: the row lies in the scratch.
            unsafe {
                let line = scores.add(row * self.width());
                line.write_bytes(0, start);
                line.add(end).write_bytes(0, block.keys - end);
                soften(line.add(start), end - start, &raw mut most_and_sum);
            }
            [most[row], sums[row]] = most_and_sum;
        }
        let mut logs = sums;
        Function::Log.apply(&mut logs[..block.rows]);
        for row in 0..block.rows {
            // SAFETY: `lse` has an element per query.
            unsafe { *at.0[LSE].offset((block.start + row) as isize * self.rows[LSE]) = most[row] + logs[row] };
        }
        // A row that sees nothing has the sum 0 and the output 0.
        sums.map(|sum| if sum == 0.0 { 0.0 } else { 1.0 / sum })
    }

    /// An operand's rows from `first` on.
    pub(super) fn view(&self, at: Places, operand: usize, first: usize) -> View {
        let data = at.0[operand].wrapping_offset(first as isize * self.rows[operand]);
        View { data, rows: self.rows[operand], columns: self.columns[operand] }
    }

    /// A written operand's rows from `first` on.
    pub(super) fn view_mut(&self, at: Places, operand: usize, first: usize) -> ViewMut {
        let data = at.0[operand].wrapping_offset(first as isize * self.rows[operand]);
        ViewMut { data, rows: self.rows[operand], columns: self.columns[operand] }
    }
}
