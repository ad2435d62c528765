//! `Slot = ragged(N)`: nothing is dropped, and what wants more than the bound stops the run before a weight changes.
//!
//! Requires the cases `moe_ragged` (experts and batch cut) and `moe_ragged_sequence` (positions cut). That the mesh computes what one device does
//! is held by `meshes`.

use super::commands::meshwright;
use super::folder::{Scratch, root};
use super::spec;
use meshwright_plan::{Plan, parse, print};
use meshwright_runtime::error::Error;
use meshwright_runtime::execute::{Fleet, Outcome, compare};
use meshwright_runtime::pool::Pool;
use std::fs;

const CASES: [&str; 2] = ["moe_ragged", "moe_ragged_sequence"];

fn plan(case: &str, set: &[(&str, &str)]) -> Plan {
    spec::compile(&root().join(format!("tests/cases/meshes/{case}.mesh")), set).plan
}

/// The same without its mesh.
fn alone(case: &str, set: &[(&str, &str)]) -> Plan {
    let axes = if case == "moe_ragged" { vec!["mesh.data", "mesh.expert"] } else { vec!["mesh.tensor"] };
    let set: Vec<(&str, &str)> = axes.into_iter().map(|axis| (axis, "1")).chain(set.iter().copied()).collect();
    plan(case, &set)
}

fn fleet(plan: Plan, inputs: u64) -> Fleet {
    let mut fleet = Fleet::new(plan, Pool::new(2, false), 7).expect("a fleet");
    fleet.initialise();
    compare::fill(&mut fleet, inputs);
    fleet
}

/// All weights and states to the bit.
fn weights(fleet: &Fleet) -> Vec<Vec<u32>> {
    let copies = fleet.plan().weights.iter().flat_map(|weight| (0..weight.count).map(move |copy| (weight, copy)));
    copies.map(|(weight, copy)| fleet.weight(weight, copy).iter().map(|value| value.to_bits()).collect()).collect()
}

/// What an entry wants, if that is more than there is.
fn wanted(fleet: &mut Fleet, entry: &str) -> Option<u64> {
    match fleet.run(entry, 1) {
        Ok(outcome) => {
            assert_eq!(outcome, Outcome::Done);
            None
        }
        Err(Error::Slots { entry: found, step: 1, path, dim, bound: 3, wanted }) => {
            assert_eq!((found.as_str(), path.as_str(), dim.as_str()), (entry, "Moe.Block[*].Experts", "Slot"));
            Some(wanted)
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_fits_is_what_a_capacity_computes() {
    for case in CASES {
        let mut pair = ["ragged(Seq)", "Seq"].map(|slot| fleet(plan(case, &[("dims.Slot", slot)]), 7));
        for step in 1..=3 {
            let [ragged, fixed] = pair.each_mut().map(|fleet| compare::loss(fleet, step).expect("a step").to_bits());
            assert_eq!(ragged, fixed, "{case}, step {step}");
        }
        assert_eq!(weights(&pair[0]), weights(&pair[1]), "{case}");
    }
}

#[test]
fn an_overflow_anywhere_stops_before_a_weight_changes() {
    for case in CASES {
        // Of so many tokens hardly any group sends all to one expert: the largest number differs from input to input.
        let set = [("dims.Slot", "ragged(3)"), ("dims.Seq", "32")];
        let (mesh, one) = (plan(case, &set), alone(case, &set));
        let mut seen = Vec::new();
        for inputs in 1..=4 {
            let mut pair = [mesh.clone(), one.clone()].map(|plan| fleet(plan, inputs));
            let before = weights(&pair[0]);
            let found = pair.each_mut().map(|fleet| wanted(fleet, "step"));
            assert_eq!(found[0], found[1], "{case}, inputs {inputs}: all ranks see the largest of all");
            assert!(found[0].is_some(), "{case}, inputs {inputs}: three slots are too few");
            assert_eq!(weights(&pair[0]), before, "{case}, inputs {inputs}");
            assert_eq!(pair.each_mut().map(|fleet| wanted(fleet, "evaluate")), found, "{case}, inputs {inputs}: evaluation sees the same");
            seen.extend(found[0]);
        }
        assert!(seen.iter().any(|wanted| *wanted != seen[0]), "{case}: {seen:?} are different numbers");
    }
}

#[test]
fn a_prediction_is_held_to_the_bound_too() {
    let mut fleet = fleet(alone("moe_ragged_sequence", &[("dims.Slot", "ragged(2)")]), 3);
    let error = fleet.run("predict", 1).expect_err("sixteen choices among four experts with two slots each");
    assert!(matches!(&error, Error::Slots { entry, bound: 2, wanted, .. } if entry == "predict" && *wanted > 2), "{error}");
}

#[test]
fn a_step_after_the_bound_was_kept_is_as_if_nothing_had_happened() {
    let plan = plan("moe_ragged", &[]);
    let (mut stopped, mut other) = (fleet(plan.clone(), 7), fleet(plan.clone(), 7));
    let mut tight = plan;
    tight.limits.iter_mut().for_each(|limit| limit.bound = 1);
    let mut tight = fleet(tight, 7);
    assert!(tight.run("step", 1).is_err(), "every expert wants more than one slot");
    let first = [&mut stopped, &mut other].map(|fleet| compare::loss(fleet, 1).expect("a step"));
    assert_eq!(first[0].to_bits(), first[1].to_bits());
    // What stopped leaves weights, moments and states as they were: a second attempt at the same step stops in the same way.
    let again = tight.run("step", 1).expect_err("nothing has changed");
    let Error::Slots { wanted, .. } = again else { panic!("{again}") };
    assert!(wanted > 1);
}

#[test]
fn limits_print_and_parse_back() {
    let plan = plan("moe_ragged", &[]);
    let of: Vec<(&str, u64, u64)> = plan.limits.iter().map(|limit| (limit.entry.as_str(), limit.bound, limit.count)).collect();
    assert_eq!(of, [("step", 8, 8), ("evaluate", 8, 8)], "two layers in four microbatches");
    let text = print::print(&plan);
    assert!(text.contains("limit step Moe.Block[*].Experts = peaks times 8 within Slot 8\n"), "{text}");
    assert_eq!(parse::parse(&text).expect("a plan"), plan);
}

/// The model of the cases with data, a bound and a mesh.
fn trained(slot: &str, more: &str) -> (Scratch, super::commands::Done) {
    let scratch = Scratch::new("slots");
    let words: String = (0..600).map(|number| format!("{} ", number * number % 997)).collect();
    scratch.write("text.txt", &words);
    let model = root().join("tests/cases/meshes/models/moe.mesh");
    scratch.write(
        "spec.mesh",
        &format!(
            "use {model:?}\ndims {{ Vocab = 256, Slot = {slot} }}\nmesh {{ expert = 2 }}\nshard {{ Expert -> expert, Batch -> expert }}\n\
             train {{ steps = 4 }}\ndata {{ train = text(\"*.txt\"), held_out = 0.2 }}\n{more}"
        ),
    );
    let done = meshwright(scratch.path("spec.mesh").parent().expect("a folder"), &["train", "spec.mesh", "--out", "run"]);
    (scratch, done)
}

#[test]
fn a_run_that_overflows_says_what_to_do_and_keeps_its_weights() {
    let (scratch, done) = trained("ragged(2)", "");
    assert_eq!(done.code, 3, "{}", done.errors);
    for words in [
        "run::slots",
        "the dispatch in Moe.Block[*].Experts wants",
        "Slot is ragged(2)",
        "step 1 changed no weight",
        "raise the bound: Slot = ragged(",
    ] {
        assert!(done.errors.contains(words), "{words}\n{}", done.errors);
    }
    assert!(fs::metadata(scratch.path("run/weights.safetensors")).is_ok(), "the weights before the step are written");
    let (_kept, done) = trained("ragged(Seq)", "");
    assert_eq!(done.code, 0, "{}", done.errors);
}
