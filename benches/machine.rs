//! The machine's limits: multiply-adds and memory bandwidth, on one thread and on all.

use crate::table::{Figure, Spread, Table};
use meshwright_runtime::device::cpu::isa::Isa;
use meshwright_runtime::measure::arithmetic;
use meshwright_runtime::measure::streams::{Pass, Streams};
use meshwright_runtime::pool::Pool;

/// Bytes of an array of the bandwidth loops: far beyond any cache.
pub const ARRAY: u64 = 256 << 20;
/// Rounds of multiply-adds: some tens of milliseconds.
const ROUNDS: u64 = 10_000_000;

/// Seconds of a GFLOP on a pool, over so many samples.
pub fn peak(pool: &Pool, samples: usize) -> Spread {
    arithmetic::peak(pool, ROUNDS / 10);
    Spread::of((0..samples).map(|_| 1e9 / arithmetic::peak(pool, ROUNDS)).collect())
}

/// Seconds of a GB of a pass, over so many samples.
pub fn bandwidth(streams: &mut Streams, pool: &Pool, pass: Pass, samples: usize) -> Spread {
    streams.rate(pool, pass);
    Spread::of((0..samples).map(|_| 1e9 / streams.rate(pool, pass)).collect())
}

/// Prints the part `machine`.
pub fn run(threads: usize, quick: bool, table: &mut Table) -> Result<(), String> {
    let samples = if quick { 5 } else { 15 };
    table.part("machine", &format!("{:?}, f32 multiply-adds; three arrays of {} MiB in huge pages", Isa::detect(), ARRAY >> 20));
    let counts = if threads == 1 { vec![1] } else { vec![1, threads] };
    for count in counts {
        let pool = Pool::new(count, true);
        let mut streams = Streams::new(&pool, ARRAY).map_err(|why| why.to_string())?;
        let mut rate = |pass: Pass| bandwidth(&mut streams, &pool, pass, samples);
        let [triad, copy, scale] = [Pass::Triad, Pass::Copy, Pass::Scale].map(&mut rate);
        let mut figures = Vec::new();
        for (name, best, spread) in [
            ("GFLOP/s", "GFLOP/s best", peak(&pool, samples)),
            ("GB/s triad", "best triad", triad),
            ("GB/s copy", "best copy", copy),
            ("GB/s in-place scale", "best scale", scale),
        ] {
            figures.extend([Figure(name, 1.0 / spread.median), Figure(best, 1.0 / spread.least)]);
        }
        table.line(&format!("{count} thread{}", if count == 1 { "" } else { "s" }), &figures);
    }
    Ok(())
}
