//! The library `gemm-f32`: for every architecture.
//!
//! Requires: what `super::gemm` requires, and k > 0. Ensures: the same; it may allocate up to 0.8 MiB per call.

use super::{Size, View, ViewMut};
use gemm_common::Parallelism;

/// c (+)= alpha · a · b on the calling thread.
///
/// # Safety
/// As for `super::gemm`.
pub(super) unsafe fn gemm(size: Size, c: ViewMut, accumulate: bool, alpha: f32, a: View, b: View) {
    let routine = gemm_f32::gemm::f32::get_gemm_fn();
    let keep = if accumulate { 1.0 } else { 0.0 };
    // The library computes c = keep · c + alpha · a · b and takes column strides first.
    // SAFETY: as the caller promises.
    unsafe {
        routine(
            size.m,
            size.n,
            size.k,
            c.data,
            c.columns,
            c.rows,
            accumulate,
            a.data,
            a.columns,
            a.rows,
            b.data,
            b.columns,
            b.rows,
            keep,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
