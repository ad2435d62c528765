//! The processor of this machine as a device: row kernels as machine code, vector mathematics, matrix products and attention on the pool.
//!
//! Requires: nothing of the machine beyond its target's baseline; faster instructions are found at run time.
//! Ensures: elementwise results and row reductions have equal bits on every instruction set and any number of threads.

pub mod attention;
mod cache;
mod execute;
pub mod gemm;
pub mod isa;
pub mod math;
pub mod rows;
pub mod segmented;
#[cfg(test)]
mod tests;

pub use execute::{Cpu, LoadError, Worker};

/// What a kernel works on, beyond its own text.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The place of every operand, in the kernel's order.
    pub operands: &'a [*mut u8],
    /// Which accumulating operands are added to: bit `i` for operand `i`.
    pub accumulate: u64,
    /// The step's scalars, in the plan's order.
    pub scalars: &'a [f32],
    /// The rank's coordinates, in the order of [`Cpu::coordinates`].
    pub coordinates: &'a [i64],
    /// The run's seed.
    pub seed: u64,
    /// The step, counted from 1.
    pub step: u64,
    /// The iteration number that random sites see.
    pub iteration: u64,
    /// The microbatch.
    pub micro: u64,
}

impl Launch<'_> {
    /// Whether an operand is added to.
    fn adds(&self, operand: usize) -> bool {
        self.accumulate >> operand & 1 == 1
    }
}

// SAFETY: the pointers are shared with the pool for the length of a launch; cells write disjoint elements.
unsafe impl Sync for Launch<'_> {}

/// Memory of all threads, shared by the cells of a job; each cell uses its own thread's part.
#[derive(Clone, Copy, Debug)]
struct Scratch {
    base: *mut u8,
    each: usize,
}

// SAFETY: a cell touches only the part of the thread that runs it, and the pool runs one cell per thread at a time.
unsafe impl Sync for Scratch {}

impl Scratch {
    /// One thread's part.
    fn of(&self, thread: usize) -> *mut u8 {
        self.base.wrapping_add(thread * self.each)
    }
}
