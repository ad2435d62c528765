//! Peak f32 arithmetic: independent chains of multiply-adds in registers.
//!
//! Ensures: twelve chains, more than latency times ports of the processors that we know, so that the units are the limit.

use crate::device::cpu::isa::Isa;
use crate::pool::Pool;
use std::hint::black_box;
use std::time::Instant;

/// Independent chains.
const CHAINS: usize = 12;

/// FLOP/s (a multiply-add is two) of all threads of a pool over `rounds` rounds; 30 million take some tens of milliseconds.
pub fn peak(pool: &Pool, rounds: u64) -> f64 {
    let isa = Isa::detect();
    let began = Instant::now();
    pool.run(pool.threads(), &|_, _| {
        black_box(chains(isa, rounds));
    });
    let done = (pool.threads() * CHAINS * lanes(isa) * 2) as f64 * rounds as f64;
    done / began.elapsed().as_secs_f64()
}

/// Numbers in one vector.
fn lanes(isa: Isa) -> usize {
    match isa {
        Isa::Portable => 4,
        Isa::Avx2 => 8,
        Isa::Avx512 => 16,
    }
}

#[cfg(target_arch = "x86_64")]
fn chains(isa: Isa, rounds: u64) -> f32 {
    match isa {
        Isa::Portable => portable(rounds),
        // SAFETY: `Isa::detect` has found these instructions on this machine.
        Isa::Avx2 => unsafe { x86::avx2(rounds) },
        // SAFETY: as above.
        Isa::Avx512 => unsafe { x86::avx512(rounds) },
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn chains(_isa: Isa, rounds: u64) -> f32 {
    portable(rounds)
}

/// Vectors of four as the baseline of the target has them: NEON with fused multiply-adds, SSE2 without.
fn portable(rounds: u64) -> f32 {
    let (x, y) = (black_box(0.999_999_f32), black_box(1e-7_f32));
    let mut sums: [[f32; 4]; CHAINS] = std::array::from_fn(|chain| [chain as f32 + 1.0; 4]);
    for _ in 0..rounds {
        for sum in sums.as_flattened_mut() {
            *sum = if cfg!(target_arch = "aarch64") { sum.mul_add(x, y) } else { *sum * x + y };
        }
    }
    sums.as_flattened().iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::CHAINS;
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm256_storeu_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    use std::hint::black_box;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(rounds: u64) -> f32 {
        let (x, y) = (_mm256_set1_ps(black_box(0.999_999)), _mm256_set1_ps(black_box(1e-7)));
        let mut sums: [_; CHAINS] = std::array::from_fn(|chain| _mm256_set1_ps(chain as f32 + 1.0));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, y);
            }
        }
        let mut all = [0.0; 8 * CHAINS];
        // SAFETY: each chain has its own eight places.
        sums.iter().zip(all.as_chunks_mut::<8>().0).for_each(|(sum, places)| unsafe { _mm256_storeu_ps(places.as_mut_ptr(), *sum) });
        all.iter().sum()
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(rounds: u64) -> f32 {
        let (x, y) = (_mm512_set1_ps(black_box(0.999_999)), _mm512_set1_ps(black_box(1e-7)));
        let mut sums: [_; CHAINS] = std::array::from_fn(|chain| _mm512_set1_ps(chain as f32 + 1.0));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Isa, chains, lanes};

    #[test]
    fn every_instruction_set_runs_the_chains() {
        for isa in Isa::all() {
            // Chain c starts at c + 1 in all lanes and tends to y / (1 - x) = 0.1.
            let lanes = lanes(isa) as f32;
            let (start, end) = (78.0 * lanes, 1.2 * lanes);
            assert!((chains(isa, 0) - start).abs() < 1e-3 * start, "{isa:?}");
            let after = chains(isa, 1_000_000);
            assert!(after < 0.5 * start && after > end, "{isa:?}: {after}");
        }
    }
}
