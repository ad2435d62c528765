//! `fuse`: programs of primitives → kernels in kernel IR.
//!
//! In: a [`crate::graph::ir::Program`]. Out: an [`ir::Fused`]: launches of kernels over buffers that compute the same.

pub mod ir;
