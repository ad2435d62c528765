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

pub use super::Launch;
pub use execute::{Cpu, LoadError, Worker};

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
