//! Memory bandwidth: the STREAM loops (McCalpin 1995) over three arrays in huge pages.
//!
//! Ensures: bytes are those that the loops name, as STREAM counts them: a line that is fetched only to be overwritten does not count.

use crate::device::cpu::isa::Isa;
use crate::error::Error;
use crate::execute::Arena;
use crate::pool::Pool;
use std::time::Instant;

/// Elements that a thread takes at a time: 1 MiB of each array.
const CHUNK: usize = 1 << 18;

/// Of the scaling pass: near one, so that no number of passes leads to denormal numbers, which are slow.
const FACTOR: f32 = 0.999_999;

/// Three arrays of equal length.
pub struct Streams {
    arena: Arena,
    elements: usize,
}

/// A loop over the arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// `a = b + 3 * c`.
    Triad,
    /// `a = b`.
    Copy,
    /// `a = 0.999999 * a`.
    Scale,
}

impl Pass {
    /// Bytes that it moves per element.
    pub fn bytes(self) -> u64 {
        match self {
            Pass::Triad => 12,
            Pass::Copy | Pass::Scale => 8,
        }
    }
}

/// The arrays' places, for the cells of a job.
struct Places([*mut f32; 3]);
// SAFETY: every cell works on its own chunk of the arrays.
unsafe impl Sync for Places {}

impl Streams {
    /// Arrays of so many bytes each, cut to whole chunks, every page touched by the thread that will use it.
    ///
    /// # Errors
    /// The system refuses the memory.
    pub fn new(pool: &Pool, bytes: u64) -> Result<Streams, Error> {
        let elements = (bytes as usize / 4).max(CHUNK) / CHUNK * CHUNK;
        let mut streams = Streams { arena: Arena::new(12 * elements as u64)?, elements };
        streams.chunks(pool, &|a, b, c| {
            a.fill(1.0);
            b.fill(2.0);
            c.fill(3.0);
        });
        Ok(streams)
    }

    /// Bytes/s of one pass.
    pub fn rate(&mut self, pool: &Pool, pass: Pass) -> f64 {
        let began = Instant::now();
        self.run(pool, pass);
        (pass.bytes() * self.elements as u64) as f64 / began.elapsed().as_secs_f64()
    }

    fn run(&mut self, pool: &Pool, pass: Pass) {
        let isa = Isa::detect();
        self.chunks(pool, &|a, b, c| chunk(isa, pass, a, b, c));
    }

    /// Runs `work` on every chunk of the three arrays.
    fn chunks(&mut self, pool: &Pool, work: &(impl Fn(&mut [f32], &mut [f32], &mut [f32]) + Sync)) {
        let places = Places([0, 1, 2].map(|array| self.arena.start().cast::<f32>().wrapping_add(array * self.elements)));
        pool.run(self.elements / CHUNK, &|cell, _| {
            let places = &places;
            // SAFETY: the arena holds three arrays of whole chunks, which are disjoint; a cell runs once, and `self` is borrowed exclusively.
            let [a, b, c] = places.0.map(|start| unsafe { std::slice::from_raw_parts_mut(start.add(cell * CHUNK), CHUNK) });
            work(a, b, c);
        });
    }
}

#[cfg(target_arch = "x86_64")]
fn chunk(isa: Isa, pass: Pass, a: &mut [f32], b: &[f32], c: &[f32]) {
    match isa {
        Isa::Portable => body(pass, a, b, c),
        // SAFETY: `Isa::detect` has found these instructions on this machine.
        Isa::Avx2 => unsafe { avx2(pass, a, b, c) },
        // SAFETY: as above.
        Isa::Avx512 => unsafe { avx512(pass, a, b, c) },
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn chunk(_isa: Isa, pass: Pass, a: &mut [f32], b: &[f32], c: &[f32]) {
    body(pass, a, b, c);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(pass: Pass, a: &mut [f32], b: &[f32], c: &[f32]) {
    body(pass, a, b, c);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(pass: Pass, a: &mut [f32], b: &[f32], c: &[f32]) {
    body(pass, a, b, c);
}

#[inline(always)]
fn body(pass: Pass, a: &mut [f32], b: &[f32], c: &[f32]) {
    match pass {
        Pass::Triad => a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = b + 3.0 * c),
        Pass::Copy => a.iter_mut().zip(b).for_each(|(a, b)| *a = *b),
        Pass::Scale => a.iter_mut().for_each(|a| *a *= FACTOR),
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, FACTOR, Pass, Streams};
    use crate::pool::Pool;

    #[test]
    fn passes_compute_what_they_say() {
        let pool = Pool::new(2, false);
        let mut streams = Streams::new(&pool, 12 << 20).expect("memory");
        assert_eq!(streams.elements, 12 * CHUNK);
        for (pass, expected) in [(Pass::Triad, 11.0), (Pass::Scale, 11.0 * FACTOR), (Pass::Copy, 2.0)] {
            assert!(streams.rate(&pool, pass) > 0.0);
            assert!(streams.arena.f32s(0, streams.elements as u64).iter().all(|value| *value == expected), "{pass:?}");
        }
    }
}
