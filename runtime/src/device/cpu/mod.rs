//! The processor of this machine as a device: row kernels as machine code, vector mathematics, matrix products and attention on the pool.
//!
//! Requires: nothing of the machine beyond its target's baseline; faster instructions are found at run time.
//! Ensures: elementwise results and row reductions have equal bits on every instruction set and any number of threads.

pub mod attention;
pub mod gemm;
pub mod isa;
pub mod math;
