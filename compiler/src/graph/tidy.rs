//! The order in which a program is made smaller.
//!
//! Requires a program in order. Ensures the same outputs from fewer instructions, without instructions or inputs that no output needs.

use super::extract::extract;
use super::ir::Program;
use crate::op::Dims;

/// Simplifies a program in place.
pub fn tidy(program: &mut Program, _dims: &Dims) {
    *program = extract(&program.body, &program.outputs, &program.inputs, |_| false);
}
