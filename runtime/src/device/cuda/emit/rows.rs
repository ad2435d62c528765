//! The skeleton `rows`.

use super::{Function, Names};
use meshwright_plan::kernel::{KernelData, Rows};

/// The functions of a `rows` kernel.
pub(super) fn emit(number: u32, kernel: &KernelData, rows: &Rows, names: Names<'_>) -> Result<Vec<Function>, String> {
    let _ = (number, kernel, rows, names.scalars, names.coordinates);
    Err("not yet".into())
}
