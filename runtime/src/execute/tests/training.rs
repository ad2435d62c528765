//! The training loop on a mesh: the same data, the same losses, weights that any mesh reads back.

use super::{Fleet, fleet, plan};
use crate::data::scratch::Folder;
use crate::data::{Columns, Data, Element, Input, Settings, Source, TokenizerChoice};
use crate::execute::train::{Course, Ending, Run, restore, tokens_per_step};
use crate::report::{Progress, RunFolder};
use meshwright_plan::Plan;

/// `mean over the batch of (x · w - 1)²`, minimised by plain descent: a batch of 8 in two microbatches on 1, 2 or 4 ranks.
fn descent(ranks: u64) -> Plan {
    let (rows, bytes) = (4 / ranks, 64 / ranks);
    let mesh = if ranks == 1 { String::new() } else { format!("mesh data {ranks}\n") };
    let (cut, all) = if ranks == 1 { ("", "") } else { (" / data", "  call everywhere g=g results=results\n") };
    let (sums, number) = if ranks == 1 { ("", 1) } else { (SUMS, 3) };
    plan(&format!(
        "plan \"descent\"\nformat 1\n{mesh}microbatches 2\narena 1024\nregion x data at 0 bytes 128\nregion w weights at 128 bytes 64\n\
         region g gradients at 192 bytes 64\nregion scratch scratch at 256 bytes 192\nregion results results at 448 bytes 64\n\
         input x: f32[Batch {batch}{cut}, Width 4] in x\nweight M.w: [Width 4] normal 0.5 in w gradient g\nreadout loss = results / results+4\n\
         kernel k0 errors rows [Row {rows}{cut}] lanes [Width 4] folded 1 blocks 1\n  read x: f32[Row, Width]; w: f32[Width]\n\
         \x20 accumulate g: f32[Width]; loss, count: f32[]\n  scratch gp: f32[Width]; lp, cp: f32[]\n  p = sum(x * w) - 1.0\n\
         \x20 g = fold sum(p * x * 0.25) via gp\n  loss = fold sum(p * p) via lp\n  count = fold sum(1.0) via cp\n{sums}\
         kernel k{number} update rows [Width 4] blocks 1\n  read w, g: f32[Width]\n  write new: f32[Width]\n  new = w - g * 0.002\n\
         program errors\n  read x {bytes}, w 64\n  write g 64, results 64, scratch 192\n\
         \x20 k0 errors x=x w=w g?=g loss?=results count?=results+4 gp=scratch lp=scratch+64 cp=scratch+128\n{program}\
         program update\n  read g 64\n  write w 64\n  k{number} update w=w g=g new=w\n\
         entry step\n  for micro in 0..2\n    call errors x=x+micro*{bytes} w=w g?=g results?=results scratch=scratch\n{all}  control\n\
         \x20 call update g=g w=w\n",
        batch = 8 / ranks,
        program = if ranks == 1 {
            ""
        } else {
            "program everywhere\n  write g 64, results 64\n  k1 sum from=g to=g\n  k2 total from=results to=results\n"
        },
    ))
}

const SUMS: &str = "kernel k1 sum all_reduce sum along data [R 4]\n  read from: f32[R]\n  write to: f32[R]\n\
                    kernel k2 total all_reduce sum along data [R 2]\n  read from: f32[R]\n  write to: f32[R]\n";

fn data(folder: &Folder, plan: &Plan) -> Data {
    let rows: String = (0..60).map(|i| format!("{},{},{},{}\n", i % 7, i % 5, (i * i) % 11, 1)).collect();
    folder.write("rows.csv", format!("a,b,c,d\n{rows}"));
    let inputs: Vec<Input> = plan.inputs.iter().map(|input| Input::from_plan(input, &plan.mesh, "")).collect();
    assert_eq!(inputs[0].dims, [("Batch".to_string(), 8), ("Width".to_string(), 4)]);
    assert_eq!(inputs[0].element, Element::Real);
    let columns = Columns { input: "x".into(), names: ["a", "b", "c", "d"].map(String::from).to_vec() };
    Data::open(&Settings {
        folder: folder.path(""),
        train: Source::Csv { path: "rows.csv".into(), columns: vec![columns] },
        validation: None,
        held_out: 0.2,
        tokenizer: TokenizerChoice::Bytes,
        inputs,
        seed: 3,
        validate: false,
    })
    .expect("data")
}

fn train(folder: &Folder, name: &str, fleet: &mut Fleet) -> (Ending, RunFolder) {
    let data = data(folder, &fleet.plan().clone());
    let run = RunFolder::create(Some(&folder.path(name)), &folder.path("runs"), "descent").expect("a folder");
    let course = Course { steps: 6, validate_every: None, validate_batches: 0, checkpoint_every: None, seconds: None };
    let mut progress = Progress::new(6, false);
    let ending = Run { fleet, data: &data, folder: &run, progress: &mut progress, own: vec![] }.train(&course).expect("a run");
    (ending, run)
}

#[test]
fn meshes_train_alike_and_read_each_others_weights() {
    let folder = Folder::new("mesh-training");
    let mut runs = Vec::new();
    for (ranks, threads) in [(1, 2), (2, 2), (4, 2), (4, 1)] {
        let mut fleet = fleet(&descent(ranks), threads);
        assert_eq!(tokens_per_step(&fleet), 8);
        fleet.initialise();
        let (ending, run) = train(&folder, &format!("run-{ranks}-{threads}"), &mut fleet);
        assert_eq!((ending.steps, ending.skipped, ending.tokens), (6, 0, 48));
        runs.push((ending.loss.expect("a loss"), fleet.weight(&fleet.plan().weights[0], 0).to_vec(), run));
    }
    for (loss, weights, _) in &runs {
        assert!((loss - runs[0].0).abs() < 1e-5 * runs[0].0.abs(), "{loss}, not {}", runs[0].0);
        assert!(weights.iter().zip(&runs[0].1).all(|(a, b)| (a - b).abs() < 1e-5), "{weights:?}, not {:?}", runs[0].1);
    }
    assert_eq!(runs[2].1, runs[3].1, "bits depend on threads");
    for (_, weights, run) in &runs {
        let mut other = fleet(&descent(2), 1);
        restore(&mut other, &run.weights()).expect("weights of this model");
        assert_eq!(other.weight(&other.plan().weights[0], 0), *weights);
    }
}
