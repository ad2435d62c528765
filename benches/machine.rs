//! The machine's limits: multiply-adds and memory bandwidth, on one thread and on all.

use crate::table::{Figure, Table, median};
use meshwright_runtime::device::cpu::isa::Isa;
use meshwright_runtime::measure::arithmetic;
use meshwright_runtime::measure::streams::{Pass, Streams};
use meshwright_runtime::pool::Pool;

/// Bytes of an array of the bandwidth loops: far beyond any cache.
pub const ARRAY: u64 = 256 << 20;
/// Rounds of multiply-adds: some tens of milliseconds.
const ROUNDS: u64 = 10_000_000;

/// Peak FLOP/s of a pool: the median of so many samples.
pub fn peak(pool: &Pool, samples: usize) -> f64 {
    arithmetic::peak(pool, ROUNDS / 10);
    median((0..samples).map(|_| arithmetic::peak(pool, ROUNDS)).collect())
}

/// Bytes/s of a pass: the median of so many samples.
pub fn bandwidth(streams: &mut Streams, pool: &Pool, pass: Pass, samples: usize) -> f64 {
    streams.rate(pool, pass);
    median((0..samples).map(|_| streams.rate(pool, pass)).collect())
}

/// Prints the part `machine`.
pub fn run(threads: usize, quick: bool, table: &mut Table) -> Result<(), String> {
    let samples = if quick { 5 } else { 15 };
    table.part("machine", &format!("{:?}, f32 multiply-adds; three arrays of {} MiB in huge pages", Isa::detect(), ARRAY >> 20));
    let counts = if threads == 1 { vec![1] } else { vec![1, threads] };
    for count in counts {
        let pool = Pool::new(count, true);
        let mut streams = Streams::new(&pool, ARRAY).map_err(|why| why.to_string())?;
        let mut rate = |pass: Pass| bandwidth(&mut streams, &pool, pass, samples) / 1e9;
        let [triad, copy, scale] = [Pass::Triad, Pass::Copy, Pass::Scale].map(&mut rate);
        let figures = [
            Figure("GFLOP/s peak", peak(&pool, samples) / 1e9),
            Figure("GB/s triad", triad),
            Figure("GB/s copy", copy),
            Figure("GB/s in-place scale", scale),
        ];
        table.line(&format!("{count} thread{}", if count == 1 { "" } else { "s" }), &figures);
    }
    Ok(())
}
