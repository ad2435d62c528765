//! Devices: what executes the kernels of a plan. Each makes the kernels' text into something it can run, once, when a plan is loaded.
//!
//! Requires: kernels that the plan's verifier accepted. Ensures: the bits of a result depend on the plan and the inputs only.

pub mod cpu;
pub mod null;
