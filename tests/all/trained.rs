//! The examples with data of their own learn: the loss on what was held out falls.

use super::commands::meshwright;
use super::folder::{Scratch, root};
use serde_json::Value;
use std::fs;

/// The metrics of a whole run of an example.
fn train(example: &str) -> Vec<Value> {
    let scratch = Scratch::new("trained");
    let out = scratch.path("run").to_string_lossy().into_owned();
    let done = meshwright(&root(), &["train", &format!("examples/{example}"), "--out", &out]);
    assert_eq!(done.code, 0, "{}", done.errors);
    let metrics = fs::read_to_string(scratch.path("run/metrics.jsonl")).expect("metrics");
    metrics.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn validation(steps: &[Value]) -> f64 {
    steps.iter().rev().find_map(|step| step["validation_loss"].as_f64()).expect("a measured loss")
}

#[test]
fn housing_learns_its_formula() {
    let steps = train("housing.mesh");
    // A guess of the mean has a loss of about 1; the noise alone has 0.0064.
    assert!(validation(&steps) < 0.1, "{}", validation(&steps));
    assert!(steps.last().is_some_and(|step| step["miss"].as_f64().is_some_and(|miss| miss < 0.3)));
}

#[test]
fn waves_are_told_apart() {
    let steps = train("waves.mesh");
    // Guessing has a loss of ln 3 = 1.10 and is right in a third of the cases.
    assert!(validation(&steps) < 0.5, "{}", validation(&steps));
    assert!(steps.last().is_some_and(|step| step["right"].as_f64().is_some_and(|right| right > 0.8)));
}
