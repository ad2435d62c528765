//! NVIDIA GPUs as a device: kernels as CUDA C, compiled where the plan is loaded.
//!
//! Requires: kernels that the plan's verifier accepted. Ensures: two runs of a plan on one kind of GPU have equal bits: every sum has a fixed
//! order, and there are no atomics. Sums over the lanes of a row are taken in another order than on the CPU, where 16 virtual lanes would leave
//! a GPU's memory idle: the results of the two agree to rounding.

mod driver;
pub mod emit;
mod launch;
pub mod played;

pub use driver::Driver;
pub use launch::Cuda;
