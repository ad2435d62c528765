//! Views of memory as text: `f32[Batch, Seq:1152, Embed]`.
//!
//! Ensures that strides are shown only where they are not those of the dims to the right, densely packed; dims that the view lacks are not
//! listed. The listed order is that of memory, largest stride first.

use super::name;
use crate::KernelData;
use crate::kernel::KernelDim;

/// `[Batch, Seq:1152, Embed]` for these strides over the kernel's dims.
pub(super) fn strides(kernel: &KernelData, strides: &[i64]) -> String {
    let mut listed: Vec<(&KernelDim, i64)> =
        kernel.dims.values().zip(strides).filter(|(_, stride)| **stride != 0).map(|(dim, stride)| (dim, *stride)).collect();
    listed.sort_by_key(|(dim, stride)| (std::cmp::Reverse(*stride), std::cmp::Reverse(dim.size)));
    let mut implied = Some(1i64);
    let mut pieces: Vec<String> = Vec::new();
    for (dim, stride) in listed.iter().rev() {
        let shown = if implied == Some(*stride) { String::new() } else { format!(":{stride}") };
        pieces.push(format!("{}{shown}", name::dim(&dim.name)));
        implied = i64::try_from(dim.size).ok().and_then(|size| stride.checked_mul(size));
    }
    pieces.reverse();
    format!("[{}]", pieces.join(", "))
}
