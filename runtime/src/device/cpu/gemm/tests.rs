//! Claims about products: right against a plain loop in f64 for odd sizes and layouts, and equal bits for any number of threads.

use super::{Product, Size, View, ViewMut, gemm, portable};
use crate::device::loops::Loop;
use crate::pool::Pool;

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 9) as f32 / 4_194_304.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn layout(turned: bool, rows: usize, columns: usize) -> (isize, isize) {
    if turned { (1, rows as isize) } else { (columns as isize, 1) }
}

type Routine = unsafe fn(Size, ViewMut, bool, f32, View, View);

fn check(routine: Routine, size: Size, turned: [bool; 3], accumulate: bool) {
    let Size { m, n, k } = size;
    let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
    let [(ar, ac), (br, bc), (cr, cc)] = [layout(turned[0], m, k), layout(turned[1], k, n), layout(turned[2], m, n)];
    let mut c = if accumulate { start.clone() } else { vec![f32::NAN; m * n] };
    let view = ViewMut { data: c.as_mut_ptr(), rows: cr, columns: cc };
    // SAFETY: the strides stay inside the vectors.
    unsafe {
        routine(
            size,
            view,
            accumulate,
            0.5,
            View { data: a.as_ptr(), rows: ar, columns: ac },
            View { data: b.as_ptr(), rows: br, columns: bc },
        );
    }
    for i in 0..m as isize {
        for j in 0..n as isize {
            let term = |p: isize| f64::from(a[(i * ar + p * ac) as usize]) * f64::from(b[(p * br + j * bc) as usize]);
            let at = (i * cr + j * cc) as usize;
            let want = 0.5 * (0..k as isize).map(term).sum::<f64>() + if accumulate { f64::from(start[at]) } else { 0.0 };
            assert!(
                (f64::from(c[at]) - want).abs() < 1e-5 * (k as f64 + 1.0).sqrt(),
                "{size:?} {turned:?} at {i},{j}: {} not {want}",
                c[at]
            );
        }
    }
}

#[test]
fn products_agree_with_a_plain_loop() {
    for (m, n, k) in
        [(1, 1, 1), (1, 70, 33), (65, 1, 40), (7, 5, 3), (64, 64, 64), (33, 97, 130), (5, 130, 1030), (129, 31, 600), (4, 4, 0)]
    {
        for bits in 0..16 {
            let turned = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
            check(gemm, Size { m, n, k }, turned, bits & 8 != 0);
            if k > 0 {
                check(portable::gemm, Size { m, n, k }, turned, bits & 8 != 0);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for (m, n, k) in [(128, 96, 64), (300, 65, 384), (65, 513, 700), (1, 512, 100), (512, 1, 64), (200, 200, 1500)] {
        for bits in 0..8 {
            let product = Product {
                size: Size { m, n, k },
                strides: [layout(bits & 1 != 0, m, k), layout(bits & 2 != 0, k, n), layout(bits & 4 != 0, m, n)],
                outer: vec![],
                inner: vec![],
                alpha: 1.0,
            };
            let (a, b) = (numbers(m * k, 4), numbers(k * n, 5));
            let mut first: Option<Vec<u32>> = None;
            for threads in [1, 2, 3, 5] {
                let mut c = vec![0.0f32; m * n];
                // SAFETY: the strides stay inside the vectors.
                unsafe { product.run(&Pool::new(threads, false), c.as_mut_ptr(), false, a.as_ptr(), b.as_ptr()) };
                let got: Vec<u32> = c.iter().map(|x| x.to_bits()).collect();
                assert!(first.get_or_insert_with(|| got.clone()) == &got, "{m}x{n}x{k} layout {bits} with {threads} threads");
            }
        }
    }
}

#[test]
fn loops_around_and_inside_add_up() {
    // c[x, i, y, j] += sum over p, q of a[i, p, x, q] * b[x, q, p, y, j], in plain row-major layouts.
    let (x, i, y, j, p, q) = (3, 20, 2, 35, 4, 9);
    let (a, b, start) = (numbers(i * p * x * q, 6), numbers(x * q * p * y * j, 7), numbers(x * i * y * j, 8));
    let s = |n: usize| n as isize;
    let product = Product {
        size: Size { m: i, n: j, k: q },
        strides: [(s(p * x * q), 1), (s(p * y * j), 1), (s(y * j), 1)],
        outer: vec![Loop { size: x, strides: [s(q), s(q * p * y * j), s(i * y * j)] }, Loop { size: y, strides: [0, s(j), s(j)] }],
        inner: vec![Loop { size: p, strides: [s(x * q), s(y * j), 0] }],
        alpha: 1.0,
    };
    for accumulate in [false, true] {
        let mut c = start.clone();
        // SAFETY: the strides stay inside the vectors.
        unsafe { product.run(&Pool::new(2, false), c.as_mut_ptr(), accumulate, a.as_ptr(), b.as_ptr()) };
        for at in 0..c.len() {
            let (jj, yy, ii, xx) = (at % j, at / j % y, at / j / y % i, at / j / y / i);
            let term = |pp: usize, qq: usize| {
                f64::from(a[((ii * p + pp) * x + xx) * q + qq]) * f64::from(b[(((xx * q + qq) * p + pp) * y + yy) * j + jj])
            };
            let sum: f64 = (0..p).flat_map(|pp| (0..q).map(move |qq| (pp, qq))).map(|(pp, qq)| term(pp, qq)).sum();
            let want = sum + if accumulate { f64::from(start[at]) } else { 0.0 };
            assert!((f64::from(c[at]) - want).abs() < 1e-5, "at {at}: {} not {want}", c[at]);
        }
    }
}
