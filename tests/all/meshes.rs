//! The same spec on any mesh computes the same: every case of `cases/meshes` against itself on one device.
//!
//! Requires cases that `use` a model and add a mesh with rules. Ensures equal initial weights to the bit, and loss, every gradient and a curve of
//! twenty steps within what the order of sums leaves open. Routing, dropout and batches do not depend on the mesh.

use crate::{folder, spec};
use meshwright_compiler::Compiled;
use meshwright_plan::mesh::{Axis, base};
use meshwright_runtime::execute::{Fleet, compare};
use meshwright_runtime::pool::Pool;
use std::path::{Path, PathBuf};

/// Steps of the curve.
const STEPS: u64 = 20;

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
    let whole = |axis: &Axis| format!("mesh.{}", base(&axis.name));
    let alone: std::collections::BTreeSet<String> = mesh.plan.mesh.axes.iter().map(whole).collect();
    let alone: Vec<(&str, &str)> = alone.iter().map(|axis| (axis.as_str(), "1")).collect();
    let one = spec::compile(case, &alone);
    [mesh, one]
}

/// Initialised ranks with a batch.
fn fleet(compiled: &Compiled) -> Fleet {
    let mut fleet = Fleet::new(compiled.plan.clone(), Pool::new(2, false), 7).expect("a fleet");
    fleet.initialise();
    compare::fill(&mut fleet, 7);
    fleet
}

fn loss(fleet: &mut Fleet, step: u64) -> f64 {
    compare::loss(fleet, step).expect("a step")
}

/// What is wrong with a case.
pub(crate) fn faults(case: &Path) -> Vec<String> {
    let [mut mesh, mut one] = compiled(case).map(|compiled| fleet(&compiled));
    let mut bad = Vec::new();
    if !compare::equal_weights(&mesh, &one) {
        bad.push("  initial weights differ".to_string());
    }
    let (found, wanted) = (loss(&mut mesh, 1), loss(&mut one, 1));
    if (found - wanted).abs() > compare::EXACT.loss * wanted.abs() || found.is_nan() {
        bad.push(format!("  loss {found}, on one device {wanted}"));
    }
    let gradients = compare::gradients(&mesh, &one, &compare::EXACT);
    assert_eq!(gradients.len(), one.plan().weights.len(), "every weight is compared");
    let wrong = gradients.iter().filter(|one| !one.passes());
    bad.extend(wrong.map(|one| format!("  {}: off by {:.3e}, granted {:.3e}", one.worst, one.off, one.granted)));
    let norms = [&mesh, &one].map(|fleet| fleet.readout("grad_norm").expect("a norm"));
    if (norms[0] - norms[1]).abs() > 1e-5 * norms[1] {
        bad.push(format!("  gradient's norm {}, on one device {}", norms[0], norms[1]));
    }
    for step in 2..=STEPS {
        let (found, wanted) = (loss(&mut mesh, step), loss(&mut one, step));
        if (found - wanted).abs() > compare::EXACT.curve * wanted.abs() || found.is_nan() {
            bad.push(format!("  loss {found} in step {step}, on one device {wanted}"));
            break;
        }
    }
    bad
}

#[test]
fn presets_stand_for_ordinary_rules() {
    let folder = folder::root().join("tests/cases/meshes");
    let (sources, result) = spec::compile_in(&folder, "gpt_presets.mesh", &[]);
    let Ok(preset) = result else { panic!("the case compiles") };
    let rules = meshwright_compiler::shard::print::rules(&preset.model.settings, &sources);
    let lines: Vec<&str> = rules.lines().skip(1).filter_map(|line| line.split("  //").next()).collect();
    let written = folder::Scratch::new("presets");
    let shard = format!("mesh {{ replica = 2, data = 2, tensor = 2 }}\nshard {{\n{}\n}}\ntrain {{ microbatches = 2 }}\n", lines.join("\n"));
    written.write("written.mesh", &format!("use {:?}\n{shard}", folder.join("models/gpt.mesh")));
    assert_eq!(spec::compile(&written.path("written.mesh"), &[]).plan, preset.plan, "{shard}");
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
