//! States change once a step, by the whole batch, and by nothing else.
//!
//! The spec is `tests/cases/plans/moving.mesh`. That a state's values are right over many steps is held by `numbers` (the model `moe`).

use super::folder::{Scratch, root};
use super::spec;
use meshwright_runtime::data::Slot;
use meshwright_runtime::execute::train::{restore, save};
use meshwright_runtime::execute::{Fleet, Outcome};
use meshwright_runtime::pool::Pool;
use std::collections::BTreeMap;
use std::convert::Infallible;

fn ready(set: &[(&str, &str)]) -> Fleet {
    let plan = spec::compile(&root().join("tests/cases/plans/moving.mesh"), set).plan;
    let mut fleet = Fleet::new(plan, Pool::new(2, false), 3).expect("a fleet");
    fleet.initialise();
    fill(&mut fleet, 1.0);
    fleet
}

fn value(input: usize, at: usize) -> f32 {
    ((at * 37 + input * 11) % 19) as f32 / 19.0 - 0.4
}

fn fill(fleet: &mut Fleet, factor: f32) {
    for input in 0..fleet.plan().inputs.len() {
        let write = |slot: Slot<'_>| {
            let Slot::Real(places) = slot else { return Ok(()) };
            places.iter_mut().enumerate().for_each(|(at, place)| *place = factor * value(input, at));
            Ok::<(), Infallible>(())
        };
        fleet.fill(input, write).expect("writing cannot fail");
    }
}

/// Weights that are not trained: in this spec, states.
fn states(fleet: &Fleet) -> BTreeMap<String, Vec<f32>> {
    let all = fleet.plan().weights.iter().filter(|weight| weight.gradient.is_none());
    all.flat_map(|weight| (0..weight.count).map(|copy| (weight.name(copy), fleet.weight(weight, copy).to_vec()))).collect()
}

fn trained(set: &[(&str, &str)]) -> Fleet {
    let mut fleet = ready(set);
    (1..=3).for_each(|step| assert_eq!(fleet.run("step", step).expect("a step"), Outcome::Done));
    fleet
}

#[test]
fn a_state_lives_where_it_is_declared() {
    let fleet = trained(&[]);
    let found = states(&fleet);
    let layer = |at: usize| ["before", "middle", "square"].map(|name| format!("Moving.Dense[{at}].{name}"));
    let own = ["left", "right", "sizes", "steps"].map(|name| format!("Moving.{name}"));
    let names: Vec<String> = (0..3).flat_map(layer).chain(own).collect();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), names);
    assert_eq!(found["Moving.steps"], [3.0]);
    assert_ne!(found["Moving.Dense[0].middle"], found["Moving.Dense[1].middle"]);
}

#[test]
fn next_values_are_computed_from_the_states_as_they_were() {
    let found = states(&trained(&[]));
    assert_eq!((&found["Moving.left"], &found["Moving.right"]), (&vec![1.0; 6], &vec![0.0; 6]), "they change places three times");
    for at in 0..3 {
        assert_eq!(found[&format!("Moving.Dense[{at}].before")], [2.0], "whatever order layers come in");
    }
}

#[test]
fn the_first_step_is_as_by_hand() {
    let mut fleet = ready(&[]);
    let x: Vec<f32> = (0..32).map(|at| value(0, at)).collect();
    let find =
        |fleet: &Fleet, name: &str| fleet.plan().weights.iter().find(|weight| weight.path.ends_with(name)).cloned().expect("a weight");
    let (first, w) = (find(&fleet, ".first"), find(&fleet, ".w"));
    let (first, w) = (fleet.weight(&first, 0).to_vec(), fleet.weight(&w, 0).to_vec());
    fleet.run("step", 1).expect("a run");
    let hidden = |sample: usize, at: usize| (0..4).map(|f| x[sample * 4 + f] * first[f * 6 + at]).sum::<f32>();
    let product = |sample: usize, to: usize| (0..6).map(|from| hidden(sample, from) * w[from * 6 + to]).sum::<f32>();
    let found = states(&fleet);
    let (middles, squares) = (&found["Moving.Dense[0].middle"], &found["Moving.Dense[0].square"]);
    for (at, (middle, new)) in middles.iter().zip(squares).enumerate() {
        let mean = (0..8).map(|sample| product(sample, at)).sum::<f32>() / 8.0;
        let square = (0..8).map(|sample| product(sample, at).powi(2)).sum::<f32>() / 8.0;
        assert!((middle - 0.1 * mean).abs() < 1e-6);
        assert!((new - 0.9 - 0.1 * square).abs() < 1e-6);
    }
}

#[test]
fn neither_microbatches_nor_remat_change_a_state() {
    let expected = states(&trained(&[]));
    for microbatches in ["1", "4", "8"] {
        for (name, values) in states(&trained(&[("train.microbatches", microbatches)])) {
            let off = values.iter().zip(&expected[&name]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "{name} with {microbatches} microbatches: {values:?}, not {:?}", expected[&name]);
        }
    }
    let text = std::fs::read_to_string(root().join("tests/cases/plans/moving.mesh")).expect("the spec");
    let scratch = Scratch::new("states-remat");
    scratch.write("remat.mesh", &format!("{text}\nremat {{ Dense -> recompute }}\n"));
    let plan = spec::compile(&scratch.path("remat.mesh"), &[]).plan;
    let mut fleet = Fleet::new(plan, Pool::new(2, false), 3).expect("a fleet");
    fleet.initialise();
    fill(&mut fleet, 1.0);
    (1..=3).for_each(|step| assert_eq!(fleet.run("step", step).expect("a step"), Outcome::Done));
    assert_eq!(states(&fleet), expected);
}

#[test]
fn evaluation_and_prediction_read_states_and_leave_them() {
    let mut fleet = trained(&[]);
    let before = states(&fleet);
    fleet.run("evaluate", 1).expect("a run");
    let loss = fleet.readout("validation_loss").expect("a loss");
    fleet.run("predict", 1).expect("a run");
    assert_eq!(states(&fleet), before);
    let square = fleet.plan().weights.iter().find(|weight| weight.path.ends_with(".square")).cloned().expect("a state");
    let nine = |places: &mut [f32]| {
        places.fill(9.0);
        Ok::<(), Infallible>(())
    };
    fleet.set_weight(&square, 0, nine).expect("writing cannot fail");
    fleet.run("evaluate", 1).expect("a run");
    assert_ne!(fleet.readout("validation_loss").expect("a loss"), loss);
}

#[test]
fn a_skipped_step_leaves_states_as_they_were() {
    let mut fleet = trained(&[]);
    let before = states(&fleet);
    fill(&mut fleet, f32::INFINITY);
    assert_eq!(fleet.run("step", 4).expect("a step"), Outcome::Skipped);
    assert_eq!(states(&fleet), before);
    fill(&mut fleet, 1.0);
    assert_eq!(fleet.run("step", 5).expect("a step"), Outcome::Done);
    assert_eq!(states(&fleet)["Moving.steps"], [4.0]);
}

#[test]
fn states_are_written_and_read_with_the_weights() {
    let scratch = Scratch::new("states");
    let (path, first) = (scratch.path("weights.safetensors"), trained(&[]));
    save(&first, &path, 3).expect("written");
    let mut second = ready(&[]);
    assert_ne!(states(&second), states(&first));
    restore(&mut second, &path).expect("read");
    assert_eq!(states(&second), states(&first));
}
