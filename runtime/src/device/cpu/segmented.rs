//! The skeleton `segmented`: sums of rows by an index, as in the gradient of a lookup.
//!
//! Requires: operands index, value and out, not overlapping. Ensures: each cell owns a range of lanes of one batch and walks its rows in order, so there
//! are no atomics and the bits do not depend on threads; a row whose index is out of range is left out.

use super::Launch;
use crate::device::loops::{Loop, expect_operands, loops, offsets, points, single};
use crate::pool::Pool;
use meshwright_plan::kernel::{KernelData, Role};

const INDEX: usize = 0;
const VALUE: usize = 1;
const OUT: usize = 2;
/// Lanes are cut at multiples of it: one cache line.
const GRAIN: usize = 16;
/// Most tasks a thread.
const TASKS: usize = 16;

/// A `segmented` kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmented {
    batch: Vec<Loop<3>>,
    rows: Vec<Loop<3>>,
    lane: Loop<3>,
    segment: Loop<3>,
}

impl Segmented {
    /// Reads the kernel's dims.
    ///
    /// # Errors
    /// The operands are not an i32 index and two f32, or the lanes do not merge into one dim.
    pub fn new(kernel: &KernelData) -> Result<Segmented, String> {
        expect_operands(kernel, 3, &[INDEX])?;
        let (batch, rows) = (loops(kernel, Role::Batch), loops(kernel, Role::Row));
        Ok(Segmented { batch, rows, lane: single(kernel, Role::Lane)?, segment: single(kernel, Role::Segment)? })
    }

    /// Runs the kernel.
    ///
    /// # Safety
    /// The operands are valid for their strides and do not overlap.
    pub unsafe fn run(&self, pool: &Pool, launch: &Launch<'_>) {
        let lanes = self.lane.size;
        let batches = points(&self.batch);
        let cells = (2 * pool.threads()).div_ceil(batches).clamp(1, lanes.div_ceil(GRAIN));
        let border = |cell: usize| if cell == cells { lanes } else { lanes * cell / cells / GRAIN * GRAIN };
        // Batches may be many and small: a task takes several cells.
        let (all, tasks) = (cells * batches, (cells * batches).min(TASKS * pool.threads()));
        pool.run(tasks, &|task, _| {
            for cell in all * task / tasks..all * (task + 1) / tasks {
                let (batch, part) = (offsets(&self.batch, cell / cells), cell % cells);
                // SAFETY: as the caller promises; the cells' elements are disjoint.
                unsafe { self.lanes(launch, batch, border(part), border(part + 1)) };
            }
        });
    }

    unsafe fn lanes(&self, launch: &Launch<'_>, batch: [isize; 3], start: usize, end: usize) {
        let index = launch.operands[INDEX].cast::<i32>().wrapping_offset(batch[INDEX]);
        let [value, out] = [VALUE, OUT].map(|operand| {
            let base = launch.operands[operand].cast::<f32>();
            base.wrapping_offset(batch[operand] + start as isize * self.lane.strides[operand])
        });
        let (count, steps) = (end - start, self.lane.strides);
        if !launch.adds(2) {
            for segment in 0..self.segment.size as isize {
                // SAFETY: the segment's lanes are part of `out`.
                unsafe { clear(out.offset(segment * self.segment.strides[OUT]), steps[OUT], count) };
            }
        }
        for row in 0..points(&self.rows) {
            let at = offsets(&self.rows, row);
            // SAFETY: the row is part of `index` and `value`, the segment of `out`.
            unsafe {
                let segment = *index.offset(at[INDEX]);
                if (0..self.segment.size as i64).contains(&i64::from(segment)) {
                    let place = out.offset(segment as isize * self.segment.strides[OUT]);
                    add(place, steps[OUT], value.offset(at[VALUE]), steps[VALUE], count);
                }
            }
        }
    }
}

/// Sets strided elements to zero.
unsafe fn clear(out: *mut f32, step: isize, count: usize) {
    // SAFETY: the caller owns the elements.
    unsafe {
        if step == 1 {
            return out.write_bytes(0, count);
        }
        (0..count as isize).for_each(|lane| *out.offset(lane * step) = 0.0);
    }
}

/// Adds strided elements to others.
unsafe fn add(out: *mut f32, out_step: isize, value: *const f32, value_step: isize, count: usize) {
    // SAFETY: the caller owns the elements at `out` and shares those at `value`, which do not overlap.
    unsafe {
        if out_step == 1 && value_step == 1 {
            let (out, value) = (std::slice::from_raw_parts_mut(out, count), std::slice::from_raw_parts(value, count));
            return out.iter_mut().zip(value).for_each(|(out, value)| *out += value);
        }
        (0..count as isize).for_each(|lane| *out.offset(lane * out_step) += *value.offset(lane * value_step));
    }
}
