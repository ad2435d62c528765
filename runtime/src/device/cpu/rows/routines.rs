//! Routines that row kernels call on tiles besides mathematics: random numbers and running sums.
//!
//! Requires: pointers to whole tiles. Ensures: a random number depends on the run's seed, the site, the step, the iteration and the global
//! element index only.

use crate::state::philox::{mix, philox, uniform};

/// What random numbers depend on besides the site and the element.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draw {
    pub(super) seed: u64,
    pub(super) step: u32,
    pub(super) iteration: u32,
}

/// Fills a tile with uniform numbers for the elements `index`, `index + stride`, …
pub(super) unsafe extern "C" fn random(data: *mut f32, n: usize, index: u64, stride: u64, draw: *const Draw, site: u64) {
    // SAFETY: the kernel passes a tile of its scratch and the launch's draw.
    let (tile, draw) = unsafe { (std::slice::from_raw_parts_mut(data, n), *draw) };
    let key = mix(mix(draw.seed) ^ site);
    let key = [key as u32, (key >> 32) as u32];
    for (lane, x) in tile.iter_mut().enumerate() {
        let element = index.wrapping_add(stride.wrapping_mul(lane as u64));
        *x = uniform(philox([element as u32, (element >> 32) as u32, draw.step, draw.iteration], key)[0]);
    }
}

/// Replaces a tile by its running sum, started with `carry`, which becomes the last sum.
pub(super) unsafe extern "C" fn scan(data: *mut f32, n: usize, carry: *mut f32) {
    // SAFETY: the kernel passes a tile of its scratch and a place for the sum.
    let (tile, carry) = unsafe { (std::slice::from_raw_parts_mut(data, n), &mut *carry) };
    for x in tile {
        *carry += *x;
        *x = *carry;
    }
}
