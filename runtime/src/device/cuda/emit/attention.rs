//! The skeletons `attention` and `attention_grad`.

use super::{Function, Names};
use meshwright_plan::kernel::{Attention, KernelData};

/// The functions of an `attention` kernel.
pub(super) fn forward(number: u32, kernel: &KernelData, shape: &Attention, names: Names<'_>) -> Result<Vec<Function>, String> {
    let _ = (number, kernel, shape, names);
    Ok(Vec::new())
}

/// The functions of an `attention_grad` kernel.
pub(super) fn backward(number: u32, kernel: &KernelData, shape: &Attention, names: Names<'_>) -> Result<Vec<Function>, String> {
    let _ = (number, kernel, shape, names);
    Ok(Vec::new())
}
