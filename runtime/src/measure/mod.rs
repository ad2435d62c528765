//! What this machine can do, measured: peak arithmetic, memory bandwidth; and what a program asks of its allocator.
//!
//! Requires: a quiet machine for figures that mean something. Ensures: the loops do what they say (nothing is optimised away), on the threads of
//! the pool that is given, so that kernels on that pool can be compared with them.

pub mod allocations;
pub mod arithmetic;
pub mod streams;
