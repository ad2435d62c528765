//! Every example compiles, its plan verifies and reads back, and it stands in the one layout.

use super::folder::{files, root, shown};
use super::spec::compile;
use std::fs;
use std::path::PathBuf;

fn examples() -> Vec<PathBuf> {
    let found = files(&root().join("examples"), "mesh");
    assert!(found.len() >= 8, "{found:?}");
    found
}

#[test]
fn plans_verify_and_read_back() {
    for path in examples() {
        let compiled = compile(&path, &[]);
        assert!(compiled.warnings.is_empty(), "{}: {:?}", shown(&path), compiled.warnings);
        meshwright_plan::verify::verify(&compiled.plan).unwrap_or_else(|found| panic!("{}: {found:?}", shown(&path)));
        let text = meshwright_plan::print::print(&compiled.plan);
        let back = meshwright_plan::parse::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", shown(&path)));
        assert_eq!(back, compiled.plan, "{}", shown(&path));
        assert_eq!(meshwright_plan::print::print(&back), text, "{}", shown(&path));
    }
}

#[test]
fn specs_stand_in_the_one_layout() {
    let specs = [
        files(&root().join("examples"), "mesh"),
        files(&root().join("compiler/std"), "mesh"),
        files(&root().join("tests/numbers"), "mesh"),
    ];
    for path in specs.concat() {
        let text = fs::read_to_string(&path).expect("a spec");
        let laid_out = meshwright_grammar::format(&text).unwrap_or_else(|_| panic!("{} parses", shown(&path)));
        assert_eq!(laid_out, text, "{}", shown(&path));
    }
}

fn parameters(name: &str) -> u64 {
    let plan = compile(&root().join("examples").join(name), &[]).plan;
    plan.weights.iter().map(|weight| weight.elements() * weight.count).sum()
}

#[test]
fn models_have_the_size_they_are_named_for() {
    let within = |name: &str, least: u64, most: u64| {
        let found = parameters(name);
        assert!((least..=most).contains(&found), "{name} has {found} parameters");
    };
    within("gpt2-124m.mesh", 124_000_000, 125_000_000);
    within("gpt-10m.mesh", 10_500_000, 11_000_000);
    within("llama-15m.mesh", 14_000_000, 16_000_000);
    within("llama-1b.mesh", 1_230_000_000, 1_240_000_000);
    within("source-gpt.mesh", 2_500_000, 3_500_000);
    within("moe.mesh", 5_800_000, 6_000_000);
}

#[test]
fn the_plan_of_gpt2_is_short_and_has_no_layers_in_it() {
    let path = root().join("examples/gpt2-124m.mesh");
    let lines = |layers: &str| meshwright_plan::print::print(&compile(&path, &[("dims.Layers", layers)]).plan).lines().count();
    let twelve = lines("12");
    assert!(twelve <= 800, "{twelve} lines");
    // Offsets with more digits may break a line or two; layers never add a kernel, a program or a call.
    assert!(lines("48") < twelve + 5, "{twelve} lines for 12 layers, {} for 48", lines("48"));
}

#[test]
fn a_plan_is_the_same_every_time() {
    for path in examples() {
        assert_eq!(
            meshwright_plan::print::content_hash(&compile(&path, &[]).plan),
            meshwright_plan::print::content_hash(&compile(&path, &[]).plan),
            "{}",
            shown(&path)
        );
    }
}
