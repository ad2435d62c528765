//! `graph`: typed model → training graph.
//!
//! In: a [`crate::model::ir::Model`]. Out: an [`ir::Graph`] of segments with forward and backward programs, in primitives.
//! Reverse-mode differentiation by a rule per primitive (Griewank and Walther 2008), remat by policy.

pub mod interpret;
pub mod ir;
