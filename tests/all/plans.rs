//! Plans of small specs as their snapshots: a change of the compiler shows here as a diff of what it decided.
//!
//! A case is `tests/cases/plans/NAME.mesh`; its snapshot is `NAME.plan`, and `NAME.cuda.plan` where a GPU's plan is another one. Ensures that plans verify, hold no host facts and read back.

use super::emulate::parallel::in_parallel;
use super::folder::{files, root, shown};
use super::{snapshot, spec};
use meshwright_compiler::Target;
use std::path::Path;

#[test]
fn plans_are_what_they_were() {
    let mut wrong = Vec::new();
    let cases = files(&root().join("tests/cases/plans"), "mesh");
    assert!(!cases.is_empty());
    for path in cases {
        let [cpu, cuda] = [Target::Cpu, Target::Cuda].map(|target| text(&path, target));
        wrong.extend(snapshot::compare(&path.with_extension("plan"), &cpu).err());
        let other = path.with_extension("cuda.plan");
        if cuda != cpu || other.exists() {
            wrong.extend(snapshot::compare(&other, &cuda).err());
        }
    }
    snapshot::all_equal(&wrong);
}

/// Meshes whose ranks reduce, gather, exchange and hand on what is rounded.
#[test]
fn every_spec_has_a_plan_in_bf16_for_every_target() {
    let specs = ["examples", "tests/cases/meshes"].map(|folder| files(&root().join(folder), "mesh")).concat();
    assert!(specs.len() > 50, "{} specs", specs.len());
    let compile =
        |at: usize| [Target::Cpu, Target::Cuda].map(|target| spec::compile_to(target, &specs[at], &[("train.precision", "bf16")]));
    in_parallel(specs.len(), |at| drop(compile(at)));
}

fn text(path: &Path, target: Target) -> String {
    let plan = spec::compile_to(target, path, &[]).plan;
    meshwright_plan::verify::verify(&plan).unwrap_or_else(|found| panic!("{}: {found:?}", shown(path)));
    let text = meshwright_plan::print::print(&plan);
    assert_eq!(meshwright_plan::parse::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", shown(path))), plan);
    text
}
