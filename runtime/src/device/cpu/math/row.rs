//! What attention does to rows of scores.
//!
//! Requires: nothing. Ensures: sums go to 16 virtual lanes (element i to lane i % 16, in order) which are combined by the fixed tree, so the
//! bits do not depend on the vector width.

use super::function::exp;

/// Number of virtual lanes.
const LANES: usize = 16;

/// Combines the lanes pairwise: 0+8, 1+9, …, then 0+4, …, 0+2, …, 0+1.
#[inline(always)]
fn tree(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = combine(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[inline(always)]
pub(super) fn soften(row: &mut [f32]) -> [f32; 2] {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            most[i] = larger(most[i], chunk[i]);
        }
    }
    for (most, &x) in most.iter_mut().zip(rest) {
        *most = larger(*most, x);
    }
    let most = tree(most, larger);
    let mut sums = [0.0; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - most);
            sums[i] += chunk[i];
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *x = exp(*x - most);
        *sum += *x;
    }
    [most, tree(sums, |a, b| a + b)]
}

#[inline(always)]
pub(super) fn soften_grad(scores: &mut [f32], grads: &mut [f32], lse: f32, delta: f32) {
    for (score, grad) in scores.iter_mut().zip(grads) {
        let p = exp(*score - lse);
        *score = p;
        *grad = p * (*grad - delta);
    }
}

#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    tree(sums, |a, b| a + b)
}
