//! Runs a `rows` kernel on the pool: cuts it into cells, walks the outer rows of a cell, combines folds.
//!
//! Requires: places of all operands, and scratch for each thread. Ensures: nothing is allocated; without folds the cut has no influence on
//! the bits, with folds it is the plan's.

use super::emit::Words;
use super::jit::Entry;
use super::routines::Draw;
use super::{Fold, Runnable, Shape, Variant, streams};
use crate::device::cpu::{Launch, Scratch};
use crate::pool::Pool;
use meshwright_plan::kernel::Reduce;
use std::ops::Range;

/// Elements that are worth a cell of their own.
const CELL: usize = 8192;
/// Lanes are cut at multiples of it: a multiple of a tile.
const PIECE: usize = 4096;

/// A launch under way.
struct Job<'a> {
    entry: Entry,
    launch: &'a Launch<'a>,
    scratch: Scratch,
    draw: Draw,
}

impl Runnable {
    /// Bytes of scratch that each thread needs.
    #[must_use]
    pub fn scratch(&self) -> usize {
        self.shape.scratch()
    }

    /// Runs the kernel.
    ///
    /// # Safety
    /// Every operand is valid for its strides and extent, no two overlap except a read and a write of equal strides at one place, and the
    /// scratch has [`Runnable::scratch`] bytes for each thread.
    pub(in crate::device::cpu) unsafe fn run(&self, pool: &Pool, launch: &Launch<'_>, scratch: Scratch) {
        let draw = Draw { seed: launch.seed, step: launch.step as u32, iteration: launch.iteration as u32 };
        let streams = if streams::may(self.streams, launch.operands) { self.streams } else { 0 };
        let variant = Variant { adds: launch.accumulate & self.stores, streams };
        let entry = self.variants.iter().find(|(known, _)| *known == variant).expect("every variant has its code").1;
        let job = Job { entry, launch, scratch, draw };
        let shape = &self.shape;
        if shape.count() == 0 || shape.lanes == 0 {
            return;
        }
        // SAFETY: as the caller promises.
        unsafe {
            if shape.folds.is_empty() {
                shape.run_plain(pool, &job);
            } else if shape.folded == shape.rows.len() {
                shape.run_blocks(pool, &job);
            } else {
                shape.run_units(pool, &job);
            }
        }
    }
}

impl Shape {
    /// Without folds any cut will do: ranges of rows, or of lanes if there are few rows.
    unsafe fn run_plain(&self, pool: &Pool, job: &Job<'_>) {
        let rows = self.count();
        let wanted = (rows * self.lanes).div_ceil(CELL).min(8 * pool.threads());
        let pieces = if self.divisible { wanted.div_ceil(rows).min(self.lanes.div_ceil(PIECE)).max(1) } else { 1 };
        let across = wanted.clamp(1, rows);
        // Pieces of whole tiles; a later one may be empty.
        let piece = self.lanes.div_ceil(pieces).next_multiple_of(PIECE);
        let piece = if pieces == 1 { self.lanes } else { piece };
        pool.run(across * pieces, &|cell, thread| {
            let (part, at) = (cell / pieces, cell % pieces);
            let lanes = (at * piece).min(self.lanes)..((at + 1) * piece).min(self.lanes);
            // SAFETY: as the caller promises; the cells' rows and lanes are disjoint.
            unsafe { self.run_rows(job, thread, rows * part / across..rows * (part + 1) / across, lanes) };
        });
    }

    /// All rows are folded: blocks of rows give partial results, which are combined in order.
    unsafe fn run_blocks(&self, pool: &Pool, job: &Job<'_>) {
        let rows = self.count();
        let blocks = if self.folds.iter().all(|fold| fold.partials.is_some()) { self.blocks } else { 1 };
        let place = |fold: &Fold, block: usize, thread: usize, at: usize| match fold.partials {
            // SAFETY: the partial results of all blocks lie in the scratch operand.
            Some(partials) => unsafe { job.launch.operands[partials].cast::<f32>().add(block * fold.width) },
            None => job.scratch.of(thread).wrapping_add(at).cast(),
        };
        pool.run(blocks, &|block, thread| {
            // SAFETY: as the caller promises; blocks have their own rows and partial results.
            unsafe {
                self.each_fold(|fold, at| {
                    let accumulators = place(fold, block, thread, at);
                    fold.start(accumulators);
                    self.words(job, thread).add(self.words.fold(fold.effect)).write(accumulators as u64);
                });
                self.run_rows(job, thread, rows * block / blocks..rows * (block + 1) / blocks, 0..self.lanes);
                if blocks == 1 {
                    self.each_fold(|fold, at| fold.finish(job, place(fold, 0, thread, at), 1, 0, 0..fold.width));
                }
            }
        });
        if blocks == 1 {
            return;
        }
        for fold in &self.folds {
            let cells = (fold.width * blocks).div_ceil(8 * CELL).min(pool.threads());
            pool.run(cells, &|cell, thread| {
                let range = fold.width * cell / cells..fold.width * (cell + 1) / cells;
                // SAFETY: the blocks are done, and the cells' ranges are disjoint.
                unsafe { fold.finish(job, place(fold, 0, thread, 0), blocks, 0, range) };
            });
        }
    }

    /// Some row dims remain: each of their points is a fold of its own.
    unsafe fn run_units(&self, pool: &Pool, job: &Job<'_>) {
        let kept = self.rows.len() - self.folded;
        let units: usize = self.rows[..kept].iter().map(|(_, size)| size).product();
        let rows: usize = self.rows[kept..].iter().map(|(_, size)| size).product();
        let cells = (units * rows * self.lanes).div_ceil(CELL).clamp(1, units.min(8 * pool.threads()).max(1));
        pool.run(cells, &|cell, thread| {
            for unit in units * cell / cells..units * (cell + 1) / cells {
                let place = |at: usize| job.scratch.of(thread).wrapping_add(at).cast::<f32>();
                // SAFETY: as the caller promises; units have their own rows and results.
                unsafe {
                    self.each_fold(|fold, at| {
                        fold.start(place(at));
                        self.words(job, thread).add(self.words.fold(fold.effect)).write(place(at) as u64);
                    });
                    self.run_rows(job, thread, unit * rows..(unit + 1) * rows, 0..self.lanes);
                    let offset = |fold: &Fold| self.offset(fold.slot, unit * rows);
                    self.each_fold(|fold, at| fold.finish(job, place(at), 1, offset(fold), 0..fold.width));
                }
            }
        });
    }

    /// Calls with each fold and the byte at which its accumulators stand in a thread's scratch.
    fn each_fold(&self, mut each: impl FnMut(&Fold, usize)) {
        let mut at = self.words_bytes();
        for fold in &self.folds {
            each(fold, at);
            at += (4 * fold.width).next_multiple_of(64);
        }
    }

    /// A thread's words.
    fn words(&self, job: &Job<'_>, thread: usize) -> *mut u64 {
        job.scratch.of(thread).cast()
    }

    /// The byte offset of an operand at a row.
    fn offset(&self, slot: usize, row: usize) -> isize {
        let mut rest = row;
        let mut offset = 0;
        for ((_, size), stride) in self.rows.iter().zip(&self.strides[slot]).rev() {
            offset += (rest % size) as isize * stride;
            rest /= size;
        }
        offset
    }

    /// Runs the code over consecutive rows, one call for each run along the innermost row dim.
    unsafe fn run_rows(&self, job: &Job<'_>, thread: usize, rows: Range<usize>, lanes: Range<usize>) {
        let words = self.words(job, thread);
        let put = |index: usize, value: u64| {
            // SAFETY: the scratch starts with as many words as the kernel has.
            unsafe { words.add(index).write(value) };
        };
        put(Words::START, lanes.start as u64);
        put(Words::END, lanes.end as u64);
        put(Words::BUFFERS, job.scratch.of(thread).wrapping_add(self.buffers_at()) as u64);
        put(Words::SCALARS, job.launch.scalars.as_ptr() as u64);
        put(Words::DRAW, &raw const job.draw as u64);
        put(Words::MICRO, job.launch.micro);
        put(Words::COORDINATES, job.launch.coordinates.as_ptr() as u64);
        let inner = self.rows.last().map_or(1, |(_, size)| *size);
        let mut row = rows.start;
        while row < rows.end {
            let count = (inner - row % inner).min(rows.end - row);
            put(Words::ROWS, count as u64);
            let mut rest = row;
            for (dim, size) in self.rows.iter().rev() {
                put(self.words.index(*dim), (rest % size) as u64);
                rest /= size;
            }
            for (slot, place) in job.launch.operands.iter().enumerate() {
                put(self.words.operand(slot), place.wrapping_offset(self.offset(slot, row)) as u64);
            }
            // SAFETY: the words are complete; the rest is as the caller promises.
            unsafe { (job.entry)(words) };
            row += count;
        }
    }
}

impl Fold {
    /// Fills accumulators with the value that changes nothing.
    unsafe fn start(&self, accumulators: *mut f32) {
        let neutral = match self.op {
            Reduce::Sum => 0.0,
            Reduce::Max | Reduce::Argmax => f32::NEG_INFINITY,
            Reduce::Min => f32::INFINITY,
        };
        // SAFETY: there are `width` accumulators.
        unsafe { std::slice::from_raw_parts_mut(accumulators, self.width).fill(neutral) };
    }

    /// Combines the blocks' results in order and writes them, or adds them where the launch says so.
    unsafe fn finish(&self, job: &Job<'_>, partials: *const f32, blocks: usize, offset: isize, range: Range<usize>) {
        let out = job.launch.operands[self.slot].wrapping_offset(offset).cast::<f32>();
        let adds = self.accumulates && job.launch.adds(self.slot);
        for lane in range {
            // SAFETY: every block has `width` results, and the operand has as many elements.
            unsafe {
                let each = (0..blocks).map(|block| *partials.add(block * self.width + lane));
                let total = each.reduce(|old, new| self.op.of(old, new)).unwrap_or(0.0);
                let place = out.offset(lane as isize * self.stride);
                *place = if adds { *place + total } else { total };
            }
        }
    }
}

/// One step of a fold outside of machine code, with the same rounding and the same treatment of NaN.
trait Step {
    fn of(self, old: f32, new: f32) -> f32;
}

impl Step for Reduce {
    fn of(self, old: f32, new: f32) -> f32 {
        match self {
            Reduce::Sum => old + new,
            Reduce::Max | Reduce::Argmax => {
                if new > old {
                    new
                } else {
                    old
                }
            }
            Reduce::Min => {
                if new < old {
                    new
                } else {
                    old
                }
            }
        }
    }
}
