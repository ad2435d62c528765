//! NVIDIA GPUs as a device: kernels as CUDA C, compiled where the plan is loaded.
//!
//! Requires: kernels that the plan's verifier accepted. Ensures: two runs of a plan on one kind of GPU have equal bits: every sum has a fixed
//! order, and there are no atomics. Sums over the lanes of a row are taken in another order than on the CPU, where 16 virtual lanes would leave
//! a GPU's memory idle: the results of the two agree to rounding.
//!
//! Nothing of CUDA is needed to build or to start: its libraries are looked for (`find`) and loaded when something asks for them.

pub mod arch;
mod context;
pub mod driver;
pub mod emit;
pub mod find;
mod launch;
pub mod native;
pub mod nvrtc;
pub mod played;
pub mod survey;
mod take;
#[cfg(test)]
mod tests;

pub use arch::Arch;
pub use context::Context;
pub use launch::Cuda;
pub use native::Native;
pub use take::take;
