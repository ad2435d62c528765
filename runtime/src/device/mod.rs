//! Devices: what executes the kernels of a plan. Each makes the kernels' text into something it can run, once, when a plan is loaded.
//!
//! Requires: kernels that the plan's verifier accepted. Ensures: the bits of a result depend on the plan, the kind of device and the inputs only.

pub mod alone;
mod coordinates;
pub mod cpu;
pub mod cuda;
pub mod loops;
pub mod null;
