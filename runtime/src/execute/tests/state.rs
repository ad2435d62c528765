//! Weights, gradients and inputs are whole tensors to those who use a fleet, however the plan cuts them.

use super::{Fleet, fleet, number, plan};
use crate::data::Slot;
use crate::state::init;
use meshwright_plan::{Init, Plan};
use std::convert::Infallible;

/// Two axes; weights whole, cut, in flat blocks, and both; several copies; inputs cut along every dim.
fn cut() -> Plan {
    plan(
        "plan \"cut\"\nformat 1\nmesh data 2, tensor 3\nmicrobatches 2\narena 8192\n\
         region weights weights at 0 bytes 2048\nregion gradients gradients at 2048 bytes 2048\n\
         region tokens data at 4096 bytes 256\nregion x data at 4352 bytes 512\n\
         input tokens: i32[Batch 4 / data, Seq 2 / tensor] below 1000 in tokens\n\
         input x: f32[Batch 4 / data*tensor, Width 5] in x\n\
         weight M.whole: [Embed 5] normal 0.02 in weights gradient gradients\n\
         weight M.Block[*].up: [Embed 4, Mlp 3 / tensor] normal 0.5 in weights+64 times 2 every 64 gradient gradients+64 every 64\n\
         weight M.Block[*].down: [Mlp 2 / tensor, Embed 3, Head 2 / data] uniform 0.5 in weights+192 times 2 every 64 \
         gradient gradients+192 every 64\n\
         weight M.Block[*].a: [Embed 5, Head 2] normal 1.0 in weights+320 piece 64 of data times 2 every 64 gradient gradients+320 \
         piece 64 of data every 64\n\
         weight M.Block[*].b: [Embed 3, Mlp 4 / tensor] normal 1.0 in weights+320 piece 64 of data from 64 times 2 every 64 \
         gradient gradients+320 piece 64 of data from 64 every 64\nentry predict\n  control\n",
    )
}

fn given(weight: &meshwright_plan::Weight, fleet: &Fleet, copy: u64) -> Vec<f32> {
    let mut values = vec![0.0; fleet.dims(weight).iter().product()];
    init::fill(7, &weight.name(copy), weight.init, 0, &mut values);
    values
}

#[test]
fn initial_weights_are_those_of_one_device() {
    let plan = cut();
    for threads in [1, 3] {
        let mut fleet = fleet(&plan, threads);
        fleet.initialise();
        for weight in &plan.weights {
            for copy in 0..weight.count {
                assert_eq!(fleet.weight(weight, copy), given(weight, &fleet, copy), "{}", weight.name(copy));
            }
        }
        // The piece of rank 4 (data 1) begins in the middle of the block.
        let a = plan.weights.iter().find(|weight| weight.path.ends_with(".a")).expect("a");
        let whole = given(a, &fleet, 1);
        assert!(matches!(a.init, Init::Normal(_)) && whole.len() == 10);
        assert_eq!(fleet.memory(1, 320 + 64, 10), whole);
    }
}

#[test]
fn what_is_written_is_read() {
    let plan = cut();
    let mut fleet = fleet(&plan, 1);
    for (at, weight) in plan.weights.iter().enumerate() {
        for copy in 0..weight.count {
            let write = |values: &mut [f32]| {
                values.iter_mut().enumerate().for_each(|(place, value)| *value = number(at, place + 100 * copy as usize));
                Ok::<(), Infallible>(())
            };
            fleet.set_weight(weight, copy, write).expect("writing cannot fail");
        }
    }
    // A gradient stands as its weight does, one region further.
    (0..6).for_each(|rank| {
        let weights = fleet.memory(rank, 0, 512).to_vec();
        fleet.memory(rank, 2048, 512).copy_from_slice(&weights);
    });
    for (at, weight) in plan.weights.iter().enumerate() {
        for copy in 0..weight.count {
            let count = fleet.dims(weight).iter().product::<usize>();
            let want: Vec<f32> = (0..count).map(|place| number(at, place + 100 * copy as usize)).collect();
            assert_eq!(fleet.weight(weight, copy), want, "{}", weight.name(copy));
            assert_eq!(fleet.gradient(weight, copy).expect("a gradient"), want, "{}", weight.name(copy));
        }
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "M.whole differs between ranks")]
fn copies_that_differ_are_seen() {
    let plan = cut();
    let mut fleet = fleet(&plan, 1);
    fleet.initialise();
    fleet.memory(3, 8, 1)[0] += 1.0;
    let _ = fleet.weight(&plan.weights[0], 0);
}

#[test]
fn every_rank_gets_its_part_of_every_microbatch() {
    let plan = cut();
    let mut fleet = fleet(&plan, 1);
    let write = |slot: Slot<'_>| {
        match slot {
            Slot::Index(all) => all.iter_mut().enumerate().for_each(|(at, value)| *value = at as i32),
            Slot::Real(all) => all.iter_mut().enumerate().for_each(|(at, value)| *value = at as f32),
        }
        Ok::<(), Infallible>(())
    };
    (0..2).for_each(|input| fleet.fill(input, write).expect("filling cannot fail"));
    for rank in 0..6u64 {
        let (data, tensor, both) = (rank / 3, rank % 3, rank);
        // Two rows a microbatch on each of two ranks: the whole has 8 rows of 6.
        let tokens: Vec<i32> = fleet.memory(rank as usize, 4096, 8).iter().map(|x| x.to_bits() as i32).collect();
        let want = |row: u64, column: u64| ((row / 2 * 2 + data) * 2 + row % 2) * 6 + tensor * 2 + column;
        let want: Vec<i32> = (0..4).flat_map(|row| (0..2).map(move |column| want(row, column) as i32)).collect();
        assert_eq!(tokens, want, "rank {rank}");
        let x = fleet.memory(rank as usize, 4352, 20).to_vec();
        let row = |row: u64| (row / 2 * 6 + both) * 2 + row % 2;
        let want: Vec<f32> = (0..4).flat_map(|at| (0..5).map(move |column| (row(at) * 5 + column) as f32)).collect();
        assert_eq!(x, want, "rank {rank}");
    }
}
