//! Communicators: what executes a plan's collectives.
//!
//! Requires: kernels that the plan's verifier accepted. Ensures: sums are taken in the order of the members' numbers, so they have the same bits
//! on every rank, in every run, whoever arrives first.

pub mod local;

pub use local::Local;
