//! The order in which a program is made smaller.
//!
//! Requires a program in order, of one pass: what remat computes again stands in another program than its first computation. Ensures the same
//! outputs from fewer instructions, without instructions that no output needs.

use super::cse::cse;
use super::dce::dce;
use super::ir::Program;
use super::simplify::simplify;
use crate::op::Dims;

/// Simplifies a program in place. Two rounds: what the first merges lets the second see more.
pub fn tidy(program: &mut Program, dims: &Dims) {
    for _ in 0..2 {
        simplify(program, dims);
        cse(program);
    }
    dce(program);
}
