//! Random numbers of a step: Philox4x32-10 (Salmon et al. 2011), counted, so that a number depends on its place only.
//!
//! Requires the context's seed, step and iteration. Ensures the numbers that `NodeData::Random` of the plan's kernel IR describes.

use super::Context;
use super::tensor::Tensor;
use crate::op::{Dim, Dims, Random, Type, site_hash};

const MULTIPLY: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Numbers for every element of `ty`.
pub fn run(op: &Random, ty: &Type, dims: &Dims, context: &Context) -> Tensor {
    let Random::Uniform { site, .. } = op;
    let key = key(context.seed, site_hash(site));
    let number = |place: usize| uniform(philox(counter(global(place as u64, &ty.dims, dims, context), context), key)[0]);
    Tensor::new(ty, dims, (0..ty.elements(dims) as usize).map(number).collect())
}

/// The Philox key of a site under a seed.
pub fn key(seed: u64, site: u64) -> [u32; 2] {
    let mixed = mix(mix(seed) ^ site);
    [mixed as u32, (mixed >> 32) as u32]
}

/// The finaliser of SplitMix64: spreads every bit over all bits.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn counter(element: u64, context: &Context) -> [u32; 4] {
    [element as u32, (element >> 32) as u32, context.step as u32, context.iteration as u32]
}

/// The row-major index of an element in the tensor of the whole step, of which this is the part of one microbatch.
fn global(mut place: u64, order: &[Dim], dims: &Dims, context: &Context) -> u64 {
    let (mut index, mut stride) = (0, 1);
    for dim in order.iter().rev() {
        let size = dims[*dim].size;
        let batch = context.batch == Some(*dim);
        index += (place % size + if batch { context.microbatch * size } else { 0 }) * stride;
        place /= size;
        stride *= if batch { size * context.microbatches } else { size };
    }
    index
}

/// Ten rounds.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [a, b] = [MULTIPLY[0] * u64::from(counter[0]), MULTIPLY[1] * u64::from(counter[2])];
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The upper 24 bits of a word as a number in 0..1.
fn uniform(word: u32) -> f64 {
    f64::from(word >> 8) / 16_777_216.0
}
