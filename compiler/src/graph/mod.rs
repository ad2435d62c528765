//! `graph`: typed model → training graph.
//!
//! In: a [`crate::model::ir::Model`]. Out: an [`ir::Graph`] of segments with forward and backward programs, in primitives.
//! Reverse-mode differentiation by a rule per primitive (Griewank and Walther 2008), remat by policy.

pub mod autodiff;
pub mod cse;
pub mod dce;
pub mod differentiate;
pub mod error;
pub mod extract;
pub mod interpret;
pub mod ir;
pub mod loss;
pub mod lower;
pub mod microbatch;
pub mod mincut;
pub mod precision;
pub mod print;
pub mod remat;
pub mod simplify;
pub mod tidy;
pub mod vjp;
