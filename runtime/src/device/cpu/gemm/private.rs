//! The library `private-gemm-x86`, pinned to one version because its interface is declared private: the only file that knows it.
//!
//! Requires: k > 0. Ensures: it is used only with instructions that our own detection found (it checks nothing itself) and only after its
//! results on a few odd shapes agreed with a plain loop. It allocates once per thread (address space twice the size of the last-level
//! cache, touched as far as needed), never in later calls.

use super::{Size, View, ViewMut};
use crate::device::cpu::isa::Isa;
use private_gemm_x86::{Accum, DType, DstKind, IType, InstrSet};
use std::ptr::null;
use std::sync::OnceLock;

/// The instructions that the library may use here; nothing if there are none or the self-test failed.
pub(super) fn usable() -> Option<InstrSet> {
    static FOUND: OnceLock<Option<InstrSet>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let instructions = match Isa::detect() {
            Isa::Portable => return None,
            Isa::Avx2 => InstrSet::Avx256,
            Isa::Avx512 => InstrSet::Avx512,
        };
        // Its asserts depend on the caches it finds, so a panic counts as a failure too.
        std::panic::catch_unwind(|| self_test(instructions)).unwrap_or(false).then_some(instructions)
    })
}

/// The library's name with its instructions.
pub(super) fn name(instructions: InstrSet) -> &'static str {
    match instructions {
        InstrSet::Avx256 => "private-gemm-x86 (avx2)",
        InstrSet::Avx512 => "private-gemm-x86 (avx512)",
    }
}

/// c (+)= alpha · a · b on the calling thread.
///
/// # Safety
/// As for `super::gemm`, and the machine has `instructions`.
pub(super) unsafe fn gemm(instructions: InstrSet, size: Size, c: ViewMut, accumulate: bool, alpha: f32, a: View, b: View) {
    // SAFETY: no index vectors and no diagonal are given, which the library takes as absent; the rest is as the caller promises.
    unsafe {
        private_gemm_x86::gemm(
            DType::F32,
            IType::U32,
            instructions,
            size.m,
            size.n,
            size.k,
            c.data.cast(),
            c.rows,
            c.columns,
            null(),
            null(),
            DstKind::Full,
            if accumulate { Accum::Add } else { Accum::Replace },
            a.data.cast(),
            a.rows,
            a.columns,
            false,
            null(),
            0,
            b.data.cast(),
            b.rows,
            b.columns,
            false,
            (&raw const alpha).cast(),
            1,
        );
    }
}

/// Odd shapes, all layouts, both ways to write, against a plain loop in f64.
fn self_test(instructions: InstrSet) -> bool {
    [(1, 1, 1), (17, 5, 33), (100, 37, 600), (3, 130, 64)].iter().all(|&(m, n, k)| {
        let size = Size { m, n, k };
        let a: Vec<f32> = (0..m * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| ((i * 53 % 97) as f32 - 48.0) / 64.0).collect();
        (0..8).all(|layout| agrees(instructions, size, &a, &b, layout))
    })
}

fn agrees(instructions: InstrSet, size: Size, a: &[f32], b: &[f32], layout: usize) -> bool {
    let Size { m, n, k } = size;
    let strides = |turned: bool, rows: usize, columns: usize| if turned { (1, rows as isize) } else { (columns as isize, 1) };
    let ((ar, ac), (br, bc)) = (strides(layout & 1 != 0, m, k), strides(layout & 2 != 0, k, n));
    let accumulate = layout & 4 != 0;
    let mut c = vec![0.5f32; m * n];
    let view = ViewMut { data: c.as_mut_ptr(), rows: n as isize, columns: 1 };
    let (left, right) = (View { data: a.as_ptr(), rows: ar, columns: ac }, View { data: b.as_ptr(), rows: br, columns: bc });
    // SAFETY: the strides stay inside the three vectors.
    unsafe { gemm(instructions, size, view, accumulate, 2.0, left, right) };
    let start = if accumulate { 0.5 } else { 0.0 };
    (0..m * n).all(|at| {
        let (i, j) = ((at / n) as isize, (at % n) as isize);
        let term = |p: isize| f64::from(a[(i * ar + p * ac) as usize]) * f64::from(b[(p * br + j * bc) as usize]);
        let sum: f64 = (0..k as isize).map(term).sum();
        (f64::from(c[at]) - (start + 2.0 * sum)).abs() < 1e-3
    })
}
