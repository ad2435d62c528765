//! Claims about the emulator itself: small functions written by hand, right ones and wrong ones.

use super::{Emulator, ORDERS};
use meshwright_plan::Plan;
use meshwright_runtime::device::alone::{Memory, Numbers};
use meshwright_runtime::device::cuda::emit::{Function, source};

/// What every function takes.
const PARAMETERS: &str = "(const int* o0, int* o1, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds)";

/// A function `play` with this body, of two blocks.
pub(super) fn function(body: &str, threads: u32, shared: u32) -> Function {
    let text = format!("extern \"C\" __global__ void play{PARAMETERS} {{\n{body}\n}}\n");
    Function { name: "play".into(), text, grid: 2, threads, shared }
}

/// Its emulator.
pub(super) fn compiled(function: &Function) -> Emulator {
    let prelude = source(&Plan::default()).expect("an empty source").prelude;
    Emulator::new(&prelude, std::iter::once(std::slice::from_ref(function)))
}

/// What it writes for these inputs, in each order.
pub(super) fn results(function: &Function, given: &[u32], written: usize) -> Vec<Result<Vec<u32>, String>> {
    let emulator = compiled(function);
    let mut input = Memory::new(given.len() * 4);
    input.bytes_mut().copy_from_slice(&given.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>());
    let numbers = Numbers { step: 3, scalars: vec![0.5], coordinates: vec![-7], iteration: 5, micro: 2, accumulate: 2, seed: 11 };
    let run = |order: &u32| {
        let mut operands = [input.clone(), Memory::new(written * 4)];
        emulator.launch(function, &mut operands, &numbers, *order).map(|()| operands[1].words())
    };
    ORDERS.iter().map(run).collect()
}

/// All orders give the same, which is `wanted(block, thread)`.
fn gives(body: &str, threads: u32, shared: u32, wanted: impl Fn(u32, u32) -> i32) {
    let given: Vec<u32> = (0..2 * threads).map(|at| at * 37 % 101).collect();
    let all: Vec<u32> =
        (0..2).flat_map(|block| (0..threads).map(move |thread| (block, thread))).map(|(b, t)| wanted(b, t) as u32).collect();
    for result in results(&function(body, threads, shared), &given, all.len()) {
        assert_eq!(result.as_ref(), Ok(&all), "{body}");
    }
}

/// Every order is refused with this message.
fn fails(body: &str, threads: u32, shared: u32, message: &str) {
    for result in results(&function(body, threads, shared), &[0; 256], 256) {
        let why = result.expect_err(body);
        assert!(why.contains(message), "{body}: {why}");
    }
}

const AT: &str = "int at = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32; int x = o0[at];\n";

/// The input of a thread.
fn input(at: u32) -> i32 {
    (at * 37 % 101) as i32
}

#[test]
fn threads_know_where_they_are_and_what_they_are_given() {
    let numbers =
        "(int)step->seed + step->number + (int)step->coordinates[0] + iteration + micro + (int)adds + (int)(step->scalars[0] * 8)";
    let body = format!("{AT} o1[at] = gridDim.x * 1000 + blockDim.x + at + {numbers};");
    gives(&body, 96, 0, |b, t| (2000 + 96 + b * 96 + t) as i32 + 11 + 3 - 7 + 5 + 2 + 2 + 4);
}

#[test]
fn shuffles() {
    let gives = |expression: &str, from: fn(u32) -> u32| {
        gives(&format!("{AT} o1[at] = {expression};"), 64, 0, |b, t| input(b * 64 + t / 32 * 32 + from(t % 32)));
    };
    gives("__shfl_sync(~0u, x, 5)", |_| 5);
    gives("__shfl_sync(~0u, x, lane + 1, 8)", |lane| lane / 8 * 8 + (lane + 1) % 8);
    gives("__shfl_xor_sync(~0u, x, 9)", |lane| lane ^ 9);
    gives("__shfl_up_sync(~0u, x, 3)", |lane| if lane < 3 { lane } else { lane - 3 });
    gives("__shfl_down_sync(~0u, x, 3, 16)", |lane| if lane % 16 + 3 < 16 { lane + 3 } else { lane });
    gives("(int)__shfl_down_sync(~0u, (float)x, 30)", |lane| if lane < 2 { lane + 30 } else { lane });
    // Two meetings of one kind do not mix.
    gives("__shfl_xor_sync(~0u, __shfl_xor_sync(~0u, x, 1), 2)", |lane| lane ^ 3);
}

#[test]
fn votes() {
    let even = |at: u32| input(at) % 2 == 0;
    let votes = |at: u32| (0..32).filter(|lane| even(at / 32 * 32 + lane)).fold(0u32, |votes, lane| votes | 1 << lane);
    gives(&format!("{AT} o1[at] = __ballot_sync(~0u, x % 2 == 0);"), 64, 0, |b, t| votes(b * 64 + t) as i32);
    gives(&format!("{AT} o1[at] = __any_sync(~0u, x == 100) * 2 + __all_sync(~0u, x >= 0);"), 64, 0, |b, t| {
        let first = (b * 64 + t) / 32 * 32;
        i32::from((first..first + 32).any(|at| input(at) == 100)) * 2 + 1
    });
    gives(&format!("{AT} o1[at] = __popc(__ballot_sync(~0u, x & 1)) + __ffs(x);"), 32, 0, |b, t| {
        (32 - votes(b * 32).count_ones()) as i32 + if input(b * 32 + t) == 0 { 0 } else { input(b * 32 + t).trailing_zeros() as i32 + 1 }
    });
}

#[test]
fn a_part_of_a_warp_meets_without_the_rest() {
    // Half of the lanes has returned, and is not waited for.
    let body = format!("{AT} if (lane >= 16) {{ o1[at] = -1; return; }} o1[at] = __shfl_xor_sync(~0u, x, 1);");
    gives(&body, 64, 0, |b, t| if t % 32 >= 16 { -1 } else { input(b * 64 + (t ^ 1)) });
    let body = format!("{AT} unsigned mask = lane < 8 ? 0xffu : ~0xffu; o1[at] = __popc(__ballot_sync(mask, 1));");
    gives(&body, 64, 0, |_, t| if t % 32 < 8 { 8 } else { 24 });
    let body = format!("{AT} if (lane < 8) o1[at] = __shfl_sync(0xffu, x, 7); else o1[at] = 0; __syncwarp();");
    gives(&body, 32, 0, |b, t| if t < 8 { input(b * 32 + 7) } else { 0 });
}

#[test]
fn barriers_in_loops() {
    // A sum by halving, which reads what other warps wrote.
    let body = format!(
        "{AT} __shared__ int sums[128]; sums[threadIdx.x] = x;\n
         for (int half = 64; half > 0; half /= 2) {{ __syncthreads(); if ((int)threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half]; }}\n
         __syncthreads(); o1[at] = sums[0];"
    );
    gives(&body, 128, 0, |b, _| (0..128).map(|t| input(b * 128 + t)).sum());
    // Threads that have returned are not waited for.
    let body = format!("{AT} if (threadIdx.x >= 40) {{ o1[at] = 1; return; }} __syncthreads(); o1[at] = __syncthreads_count(lane < 3);");
    gives(&body, 96, 0, |_, t| if t >= 40 { 1 } else { 6 });
    let has = |b: u32| (0..64).any(|t| input(b * 64 + t) == 11);
    assert!(has(0) != has(1), "the blocks differ");
    gives(&format!("{AT} o1[at] = __syncthreads_or(x == 11) * 2 + __syncthreads_and(x < 200);"), 64, 0, |b, _| 1 + 2 * i32::from(has(b)));
}

#[test]
fn dynamic_shared_memory() {
    let body = format!(
        "{AT} MW_DYNAMIC_SHARED(bytes); int* row = (int*)bytes; row[threadIdx.x] = x; __syncthreads(); o1[at] = row[95 - threadIdx.x];"
    );
    gives(&body, 96, 384, |b, t| input(b * 96 + 95 - t));
    fails(&body, 96, 380, "writes outside of its 380 bytes of dynamic shared memory");
    fails(&body, 96, 300_000, "300000 bytes of shared memory");
    // Nobody finds what another block left there.
    let body = format!("{AT} MW_DYNAMIC_SHARED(bytes); int* row = (int*)bytes; o1[at] = row[lane]; row[lane] = 1;");
    gives(&body, 32, 128, |_, _| 0x7fc0_dead);
}

#[test]
fn teams_of_the_prelude() {
    let sum = |b: u32, last: u32| (0..=last).map(|t| input(b * 128 + t)).sum::<i32>();
    let body = format!("{AT} __shared__ float place[4]; o1[at] = (int)mw_team<mw_sum, 128>((float)x, place);");
    gives(&body, 128, 0, |b, _| sum(b, 127));
    let body = format!(
        "{AT} __shared__ float place[4]; float all; int own = (int)mw_team_scan<128>((float)x, &all, place); o1[at] = own * 10000 + (int)all;"
    );
    gives(&body, 128, 0, |b, t| sum(b, t) * 10000 + sum(b, 127));
    let body = format!(
        "{AT} __shared__ float place[4]; __shared__ int places[4]; o1[at] = mw_team_argmax<128>((float)x, threadIdx.x, place, places);"
    );
    gives(&body, 128, 0, |b, _| (0..128).rev().max_by_key(|t| input(b * 128 + *t as u32)).expect("a thread"));
}

#[test]
fn what_does_not_meet_is_an_error() {
    let differ = "thread 0 waits at __syncthreads, thread 63 at __shfl_sync: neither ends";
    fails(
        "if (threadIdx.x < 32) __syncthreads(); else if (threadIdx.x != 40) __shfl_sync(~0u, 1, 0); else while (!__syncthreads_or(0));",
        64,
        0,
        "neither ends",
    );
    fails(
        "if (threadIdx.x < 32) __syncthreads(); else if (threadIdx.x != 40) __shfl_sync(~0u, 1, 0); else __syncthreads();",
        64,
        0,
        differ,
    );
    fails("if (threadIdx.x < 16) __shfl_sync(~0u, 1, 0); else __ballot_sync(~0u, 1);", 32, 0, "is at __");
    fails(
        "if (threadIdx.x < 16) __syncthreads(); else __syncwarp();",
        32,
        0,
        "thread 0 waits at __syncthreads, thread 31 at __syncwarp: neither ends",
    );
    fails("__syncwarp(threadIdx.x < 16 ? 0x1ffffu : ~0u);", 32, 0, "__syncwarp for the lanes");
    fails("__syncwarp(0xffu);", 32, 0, "is not among the lanes 000000ff of its __syncwarp");
}

#[test]
fn what_touches_too_much_is_an_error() {
    fails("if (threadIdx.x == 3) o1[256] = 1;", 32, 0, "writes outside of operand 1");
    fails("if (threadIdx.x == 3) o1[-1] = 1;", 32, 0, "writes outside of operand 1");
    fails("o1[0] = ((const int4*)(o0 + threadIdx.x))->y;", 32, 0, "a misaligned access at play:2:");
    fails("__shared__ int few[8]; few[threadIdx.x] = 1;", 32, 0, "an index outside of its array at play:2:");
    fails("o1[threadIdx.x] = 0x7fffffff + (int)threadIdx.x;", 32, 0, "a sum that overflows at play:2:");
}

#[test]
fn a_missing_barrier_shows() {
    let differ = |body: &str| {
        let results = results(&function(body, 64, 0), &[0; 256], 256);
        assert!(results.iter().any(|result| *result != results[0]), "{body}: {results:?}");
    };
    // Between warps, within a warp, and between blocks.
    differ("__shared__ int at[64]; at[threadIdx.x] = threadIdx.x; o1[threadIdx.x] = at[63 - threadIdx.x];");
    differ("__shared__ int last; last = threadIdx.x; __syncthreads(); o1[threadIdx.x] = last;");
    differ("if (threadIdx.x == 0) o1[0] = blockIdx.x;");
}
