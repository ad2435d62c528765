//! Measures the parts of the CPU device on this machine: vector mathematics, matrix products, exchanges between ranks, attention, row kernels.
//!
//! Requires: a quiet machine. Ensures: prints the best of 15 samples, one line per measurement (other work only ever adds). Arguments: threads (2), then the parts' names (all).

// Kernels take raw pointers; each block says why it is sound.
#![allow(unsafe_code)]

mod exchange;
mod kernels;

use meshwright_runtime::device::cpu::gemm::{Product, Size, library};
use meshwright_runtime::device::cpu::math::{Function, TILE};
use meshwright_runtime::pool::Pool;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(2, |text| text.parse().expect("the number of threads"));
    let parts: Vec<String> = arguments.collect();
    let pool = Pool::new(threads, true);
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    if wanted("pool") {
        println!("fork and join {:.2} us", best(false, &mut || pool.run(threads, &|_, _| {})) * 1e6);
    }
    if wanted("triad") {
        triad(&pool);
    }
    if wanted("math") {
        mathematics();
    }
    if wanted("gemm") {
        products(&pool);
    }
    drop(pool);
    if wanted("exchange") {
        exchange::exchanges(threads);
    }
    if wanted("rows") {
        kernels::rows(threads);
    }
    if wanted("attention") {
        kernels::attentions(threads);
    }
}

/// Seconds of one call, the best of samples of at least 10 ms; the calling thread's time on the processor if `alone`, so that other work on
/// the machine counts little.
fn best(alone: bool, run: &mut dyn FnMut()) -> f64 {
    run();
    let start = now(alone);
    run();
    let calls = (0.01 / (now(alone) - start).max(1e-8)).ceil() as u32;
    let sample = |_| {
        let start = now(alone);
        (0..calls).for_each(|_| run());
        (now(alone) - start) / f64::from(calls)
    };
    (0..15).map(sample).fold(f64::INFINITY, f64::min)
}

/// Seconds on a clock: of the calling thread's processor time, or of the wall.
fn now(thread: bool) -> f64 {
    let clock = if thread { libc::CLOCK_THREAD_CPUTIME_ID } else { libc::CLOCK_MONOTONIC };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one struct, which is ours.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

struct Shared(*mut f32);
// SAFETY: each cell of the benchmarks writes its own part.
unsafe impl Sync for Shared {}

fn triad(pool: &Pool) {
    let count = 25_000_000;
    let (b, c) = (vec![1.0f32; count], vec![2.0f32; count]);
    let mut a = vec![0.0f32; count];
    let out = Shared(a.as_mut_ptr());
    let part = count.div_ceil(pool.threads());
    let seconds = best(pool.threads() == 1, &mut || {
        pool.run(pool.threads(), &|cell, _| {
            let out = &out;
            let range = cell * part..((cell + 1) * part).min(count);
            // SAFETY: the ranges of the cells are disjoint and inside the vector.
            let a = unsafe { std::slice::from_raw_parts_mut(out.0.add(range.start), range.len()) };
            a.iter_mut().zip(&b[range.clone()]).zip(&c[range]).for_each(|((a, b), c)| *a = b + 3.0 * c);
        });
    });
    println!("triad {:.1} GB/s", 12.0 * count as f64 / seconds / 1e9);
}

fn mathematics() {
    let source: Vec<f32> = (0..TILE).map(|i| (i as f32 - 256.0) / 64.0).collect();
    let mut tile = source.clone();
    for function in [Function::Exp, Function::Log, Function::Tanh, Function::Sin, Function::Cos, Function::Erf] {
        let seconds = best(true, &mut || {
            tile.copy_from_slice(&source);
            function.apply(&mut tile);
        });
        println!("{function:?} {:.3} ns per element", seconds * 1e9 / TILE as f64);
    }
}

fn products(pool: &Pool) {
    println!("products by {}", library());
    // Name, m, n, k, is a stored transposed, is b stored transposed, accumulate.
    let cases = [
        ("qkv", 2048, 1152, 384, false, false, false),
        ("qkv_dx", 2048, 384, 1152, false, true, false),
        ("qkv_dw", 384, 1152, 2048, true, false, true),
        ("out", 2048, 384, 384, false, false, false),
        ("out_dw", 384, 384, 2048, true, false, true),
        ("up", 2048, 1536, 384, false, false, false),
        ("up_dx", 2048, 384, 1536, false, true, false),
        ("up_dw", 384, 1536, 2048, true, false, true),
        ("down", 2048, 384, 1536, false, false, false),
        ("down_dx", 2048, 1536, 384, false, true, false),
        ("down_dw", 1536, 384, 2048, true, false, true),
        ("head_small", 2048, 65, 384, false, false, false),
        ("head_small_dw", 384, 65, 2048, true, false, true),
        ("gpt2_up", 256, 3072, 768, false, false, false),
        ("gpt2_up_dx", 256, 768, 3072, false, true, false),
        ("gpt2_up_dw", 768, 3072, 256, true, false, true),
        ("gpt2_head", 256, 50304, 768, false, true, false),
        ("gpt2_head_dx", 256, 768, 50304, false, false, false),
        ("gpt2_head_dw", 50304, 768, 256, true, false, true),
    ];
    for (name, m, n, k, at, bt, accumulate) in cases {
        let (a, b, mut c) = (vec![0.5f32; m * k], vec![0.25f32; k * n], vec![0.0f32; m * n]);
        let layout = |turned: bool, rows: usize, columns: usize| if turned { (1, rows as isize) } else { (columns as isize, 1) };
        let product = Product {
            size: Size { m, n, k },
            strides: [layout(at, m, k), layout(bt, k, n), layout(false, m, n)],
            outer: vec![],
            inner: vec![],
            alpha: 1.0,
        };
        // SAFETY: the strides stay inside the vectors.
        let seconds = best(pool.threads() == 1, &mut || unsafe { product.run(pool, c.as_mut_ptr(), accumulate, a.as_ptr(), b.as_ptr()) });
        println!("{name:14} {m:5} x {n:5} x {k:5} {:9.1} us {:6.1} GFLOP/s", seconds * 1e6, 2.0 * (m * n * k) as f64 / seconds / 1e9);
    }
}
