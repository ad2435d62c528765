//! Products on tensor cores, against the processor: kernels written by hand, of all layouts and edges that the functions tell apart.
//!
//! Ensures for each what `every_kernel_computes_what_the_processor_does` ensures, and that what does not suit tensor cores falls back.

use super::agree;
use super::kernels::Found;
use crate::emulate::parallel::processors;
use meshwright_plan::kernel::KernelData;
use meshwright_plan::mesh::Mesh;
use meshwright_plan::{Plan, parse};
use meshwright_runtime::device::cuda::emit::{Source, source};
use std::collections::BTreeMap;

/// Dims; a, b and c.
type Case = [&'static str; 4];

/// Every way in which factors lie, with edges of tiles along all dims; results of both widths, turned ones, sums of several dims, many tiles.
const SUIT: [Case; 10] = [
    ["m [M 72] n [N 40] k [K 104]", "bf16[M, K]", "bf16[K, N]", "bf16[M, N]"],
    ["m [M 72] n [N 40] k [K 104]", "bf16[K, M]", "bf16[K, N]", "f32[M, N]"],
    ["m [M 70] n [N 38] k [K 104]", "bf16[M, K]", "bf16[N, K]", "f32[M, N]"],
    ["m [M 72] n [N 35] k [K 8]", "bf16[K, M]", "bf16[N, K]", "bf16[M, N]"],
    ["m [M 130] n [N 16] k [K 64] alpha -0.5", "bf16[M, K]", "bf16[K, N]", "f32[N, M]"],
    ["batch [B 3] m [M 33] n [N 24] k [K 40]", "bf16[B, M, K]", "bf16[B, K, N]", "bf16[M, B, N]"],
    ["batch [B 2] m [M 40] n [N 24] k [J 3, K 40]", "bf16[J, B, M, K]", "bf16[B, J, K, N]", "f32[B, M, N]"],
    ["m [P 3, M 40] n [N 24] k [K 48]", "bf16[M, P, K]", "bf16[K, N]", "bf16[P, M, N]"],
    ["batch [B 64] m [M 136] n [N 72] k [K 40]", "bf16[B, M, K]", "bf16[B, K, N]", "bf16[B, M, N]"],
    ["batch [B 64] m [M 130] n [N 136] k [K 72]", "bf16[B, M, K]", "bf16[B, N, K]", "f32[B, M, N]"],
];

/// What has rows that no copy of 16 bytes begins, other numbers, or nothing side by side.
const OTHERS: [Case; 5] = [
    ["m [M 33] n [N 40] k [K 20]", "bf16[M, K]", "bf16[K, N]", "bf16[M, N]"],
    ["m [M 33] n [N 20] k [K 24]", "bf16[M, K]", "bf16[K, N]", "f32[M, N]"],
    ["m [M 32] n [N 24] k [K 24]", "f32[M, K]", "bf16[K, N]", "bf16[M, N]"],
    ["m [M 32] n [N 24] k [K 24]", "bf16[M, K:2]", "bf16[K, N]", "bf16[M, N]"],
    ["batch [B 2] m [M 32] n [N 24] k [K 24]", "bf16[B:900, M, K]", "bf16[B, K, N]", "bf16[B, M, N]"],
];

/// Of models that are trained: forward, the gradients of both factors, a head.
const LARGE: [Case; 4] = [
    ["m [T 16384] n [N 3072] k [K 768]", "bf16[T, K]", "bf16[K, N]", "bf16[T, N]"],
    ["m [T 16384] n [K 768] k [N 3072]", "bf16[T, N]", "bf16[K, N]", "bf16[T, K]"],
    ["m [K 2048] n [N 8192] k [T 16384]", "bf16[T, K]", "bf16[T, N]", "f32[K, N]"],
    ["m [T 2048] n [V 128256] k [K 2048]", "bf16[T, K]", "bf16[V, K]", "bf16[T, V]"],
];

fn kernel([dims, a, b, c]: &Case) -> KernelData {
    let text = format!("kernel k0 product contract {dims}\n  read a: {a}; b: {b}\n  accumulate c: {c}\n");
    parse::kernel(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn sources(cases: &[Case]) -> Source {
    source(&Plan { kernels: cases.iter().map(kernel).collect(), ..Plan::default() }).expect("functions")
}

/// The source of all cases for tensor cores, and of large ones.
pub fn on_tensor_cores() -> Source {
    sources(&[&SUIT[..], &LARGE].concat())
}

#[test]
fn products_in_bf16_compute_what_the_processor_does() {
    let found = |case: &Case| Found { spec: case.join(" "), kernel: kernel(case), mesh: Mesh::default(), scalars: BTreeMap::new() };
    let all: Vec<Found> = SUIT.iter().chain(&OTHERS).map(found).collect();
    agree(&all, &[], 2 * processors());
}

#[test]
fn products_that_suit_go_to_tensor_cores() {
    let text = sources(&SUIT).text();
    let count = |wanted: &str| text.matches(wanted).count();
    assert_eq!(count("mw_contract_mma<k"), SUIT.len());
    assert_eq!(count("_shape, 4, 4>"), 2, "tiles of both sizes");
    let others = sources(&OTHERS);
    assert!(others.hardware.is_empty() && !others.text().contains("mw_contract_mma"));
}
