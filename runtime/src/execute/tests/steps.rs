//! Whole steps of kernels and collectives: their bits depend on nobody's speed, and hundreds of ranks fit on a few threads.

use super::{Fleet, fleet, plan};
use meshwright_plan::Plan;
use std::time::Instant;

/// Over two axes and three layers: random numbers by coordinate, a gather of weights, a product, sums over one axis, scattered sums over the other
/// that add up over microbatches, and an update.
fn layers(data: u64, tensor: u64) -> Plan {
    let (bytes, all) = (1024, 1024 * data);
    let regions = [
        ("shard", "weights", bytes),
        ("gradient", "gradients", bytes),
        ("whole", "gathered", all),
        ("x", "carries", 1024),
        ("y", "scratch", all),
    ];
    let mut at = 0;
    let mut text = format!("plan \"layers\"\nformat 1\nmesh data {data}, tensor {tensor}\nmicrobatches 2\narena {}\n", 3 * 1024 + 2 * all);
    for (name, kind, bytes) in regions {
        text.push_str(&format!("region {name} {kind} at {at} bytes {bytes}\n"));
        at += bytes;
    }
    text.push_str(&format!(
        "kernel k0 gather all_gather along data member [m {data}] [R 256]\n  read from: f32[R]\n  write to: f32[m, R]\n\
         kernel k1 draw rows [Row 4] lanes [Lane 64] blocks 1\n  read w: f32[Row, Lane]\n  write x: f32[Row, Lane]\n\
         \x20 u = random(0x5, [Row, Lane], micro {}, coord(data*tensor, times 256))\n  x = w + u * real(coord(tensor) + 1)\n\
         kernel k2 sums all_reduce sum along tensor [R 256]\n  read from: f32[R]\n  write to: f32[R]\n\
         kernel k3 spread rows [m {data}] lanes [R 256] blocks 1\n  read w: f32[m, R]; x: f32[R]\n  write y: f32[m, R]\n  y = w * x\n\
         kernel k4 scatter reduce_scatter sum along data member [m {data}] [R 256]\n  read from: f32[m, R]\n  accumulate to: f32[R]\n\
         kernel k5 update rows [Row 1] lanes [R 256] blocks 1\n  read w, g: f32[R]\n  write new: f32[R]\n  new = w - g * 0.0001\n\
         program forward\n  read shard {bytes}\n  write whole {all}, x 1024\n  k0 gather from=shard to=whole\n  k1 draw w=whole x=x\n\
         \x20 k2 sums from=x to=x\n\
         program backward\n  read whole {all}, x 1024\n  write y {all}, gradient {bytes}\n  k3 spread w=whole x=x y=y\n\
         \x20 k4 scatter from=y to?=gradient\n\
         program update\n  read gradient {bytes}\n  write shard {bytes}\n  k5 update w=shard g=gradient new=shard\n\
         entry step\n  for micro in 0..2\n    call forward shard=shard whole=whole x=x\n\
         \x20   call backward whole=whole x=x y=y gradient?=gradient\n  call update gradient=gradient shard=shard\n",
        256 * data * tensor
    ));
    plan(&text)
}

fn start(fleet: &mut Fleet) {
    let tensor = fleet.plan().mesh.axes[1].size as usize;
    for rank in 0..fleet.ranks() {
        let shard = rank / tensor;
        fleet.memory(rank, 0, 256).iter_mut().enumerate().for_each(|(at, x)| *x = super::number(shard, at) / 10.0);
    }
}

/// The bits of all weights and gradients after some steps.
fn bits(mut fleet: Fleet) -> Vec<u32> {
    start(&mut fleet);
    for step in 1..=3 {
        fleet.run("step", step).expect("a step");
    }
    (0..fleet.ranks()).flat_map(|rank| fleet.memory(rank, 0, 512).iter().map(|x| x.to_bits()).collect::<Vec<_>>()).collect()
}

#[test]
fn bits_do_not_depend_on_threads_or_order() {
    for (data, tensor) in [(2, 1), (2, 2), (3, 4)] {
        let plan = layers(data, tensor);
        let one = bits(fleet(&plan, 1));
        assert!(one.iter().any(|bits| *bits != 0));
        for threads in [2, 3, 5] {
            assert!(one == bits(fleet(&plan, threads)), "{data} x {tensor} on {threads} threads");
        }
        for seed in 0..20 {
            let mut fleet = fleet(&plan, 2);
            fleet.interleave(seed);
            assert!(one == bits(fleet), "{data} x {tensor} with seed {seed}");
        }
    }
}

#[test]
fn replicas_stay_equal() {
    let bits = bits(fleet(&layers(3, 4), 2));
    for rank in 0..12 {
        assert!(bits[rank * 512..][..512] == bits[rank / 4 * 4 * 512..][..512], "rank {rank}");
    }
}

#[test]
fn hundreds_of_ranks_step_on_two_threads() {
    let mut fleet = fleet(&layers(16, 16), 2);
    start(&mut fleet);
    fleet.run("step", 1).expect("a step");
    let began = Instant::now();
    fleet.run("step", 2).expect("a step");
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds < 1.0, "a step of {} ranks took {seconds} s", fleet.ranks());
}

#[test]
fn rank_zero_tells_its_launches() {
    let mut fleet = fleet(&layers(2, 2), 2);
    let mut heard = Vec::new();
    fleet.run_timed("step", 1, &mut |kernel, _| heard.push(kernel.as_u32())).expect("a step");
    assert_eq!(heard, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5]);
}
