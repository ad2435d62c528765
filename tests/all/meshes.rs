//! The same spec on any mesh computes the same: every case of `cases/meshes` against itself on one device.
//!
//! Requires cases that `use` a model and add a mesh with rules. Ensures equal initial weights to the bit, and loss, every gradient and a curve of
//! twenty steps within what the order of sums leaves open. Routing, dropout and batches do not depend on the mesh.

use crate::{folder, spec};
use meshwright_compiler::Compiled;
use meshwright_plan::Element;
use meshwright_runtime::data::Slot;
use meshwright_runtime::execute::Fleet;
use meshwright_runtime::pool::Pool;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

/// ‖Δ‖ ≤ this · ‖g‖ + that · ‖all g‖, of every gradient.
const GRADIENT: (f64, f64) = (1e-5, 1e-7);

/// Relative error of the loss in each of so many steps.
const CURVE: (f64, u64) = (1e-4, 20);

/// Relative error of the first loss.
const LOSS: f64 = 1e-5;

/// Every spec of the folder.
fn cases() -> Vec<PathBuf> {
    let folder = folder::root().join("tests/cases/meshes");
    let entries = std::fs::read_dir(&folder).expect("the folder of cases").map(|entry| entry.expect("an entry").path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "mesh")).collect();
    cases.sort();
    cases
}

/// The case on its mesh, and on one device.
fn compiled(case: &Path) -> [Compiled; 2] {
    let mesh = spec::compile(case, &[]);
    let alone: Vec<String> = mesh.plan.mesh.axes.iter().map(|axis| format!("mesh.{}", axis.name)).collect();
    let alone: Vec<(&str, &str)> = alone.iter().map(|axis| (axis.as_str(), "1")).collect();
    let one = spec::compile(case, &alone);
    [mesh, one]
}

/// Initialised ranks with a batch: tokens from a small generator, targets one further.
fn fleet(compiled: &Compiled) -> Fleet {
    let mut fleet = Fleet::new(compiled.plan.clone(), Pool::new(2, false), 7).expect("a fleet");
    fleet.initialise();
    for (at, input) in compiled.plan.inputs.iter().enumerate() {
        assert_eq!(input.element, Element::I32);
        let bound = input.bound.expect("tokens have a vocabulary");
        let write = |slot: Slot<'_>| {
            let Slot::Index(places) = slot else { return Ok(()) };
            let mut state = 12_345_u64;
            for place in places {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407 + at as u64);
                *place = ((state >> 33) % bound) as i32;
            }
            Ok::<(), Infallible>(())
        };
        fleet.fill(at, write).expect("writing cannot fail");
    }
    fleet
}

type Named = Vec<(String, Vec<f32>)>;

/// Every copy of every weight, by what `read` gives.
fn tensors(fleet: &Fleet, read: impl Fn(&Fleet, &meshwright_plan::Weight, u64) -> Vec<f32>) -> Named {
    let mut all: Named = Vec::new();
    for weight in &fleet.plan().weights {
        all.extend((0..weight.count).map(|copy| (weight.name(copy), read(fleet, weight, copy))));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn weights(fleet: &Fleet) -> Named {
    tensors(fleet, |fleet, weight, copy| fleet.weight(weight, copy).to_vec())
}

fn gradients(fleet: &Fleet) -> Named {
    // states have no gradient: they are compared by their values
    tensors(fleet, |fleet, weight, copy| fleet.gradient(weight, copy).unwrap_or_else(|| fleet.weight(weight, copy)).to_vec())
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// What differs by more than is granted.
fn differences(found: &Named, wanted: &Named) -> Vec<String> {
    let all = norm(wanted.iter().flat_map(|(_, values)| values).map(|value| f64::from(*value)));
    let mut bad = Vec::new();
    for ((name, values), (other, expected)) in found.iter().zip(wanted) {
        assert_eq!((name, values.len()), (other, expected.len()));
        let off = norm(values.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let granted = GRADIENT.0 * norm(expected.iter().map(|value| f64::from(*value))) + GRADIENT.1 * all;
        if off.is_nan() || off > granted {
            bad.push(format!("  {name}: off by {off:.3e}, granted {granted:.3e}"));
        }
    }
    bad
}

fn loss(fleet: &mut Fleet, step: u64) -> f64 {
    fleet.run("step", step).expect("a step");
    fleet.readout("loss").expect("a loss")
}

/// What is wrong with a case.
fn faults(case: &Path) -> Vec<String> {
    let [mesh, one] = compiled(case).map(|compiled| fleet(&compiled));
    let (mut mesh, mut one) = (mesh, one);
    let mut bad = Vec::new();
    if weights(&mesh) != weights(&one) {
        bad.push("  initial weights differ".to_string());
    }
    let (found, wanted) = (loss(&mut mesh, 1), loss(&mut one, 1));
    if (found - wanted).abs() > LOSS * wanted.abs() || found.is_nan() {
        bad.push(format!("  loss {found}, on one device {wanted}"));
    }
    bad.extend(differences(&gradients(&mesh), &gradients(&one)));
    let norms = [&mesh, &one].map(|fleet| fleet.readout("grad_norm").expect("a norm"));
    if (norms[0] - norms[1]).abs() > 1e-5 * norms[1] {
        bad.push(format!("  gradient's norm {}, on one device {}", norms[0], norms[1]));
    }
    for step in 2..=CURVE.1 {
        let (found, wanted) = (loss(&mut mesh, step), loss(&mut one, step));
        if (found - wanted).abs() > CURVE.0 * wanted.abs() || found.is_nan() {
            bad.push(format!("  loss {found} in step {step}, on one device {wanted}"));
            break;
        }
    }
    bad
}

#[test]
fn every_mesh_computes_what_one_device_does() {
    let cases = cases();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let mut bad = Vec::new();
    for case in cases {
        let found = faults(&case);
        if !found.is_empty() {
            bad.push(format!("{}\n{}", case.file_stem().expect("a name").to_string_lossy(), found.join("\n")));
        }
    }
    assert!(bad.is_empty(), "{} cases differ\n{}", bad.len(), bad.join("\n"));
}
