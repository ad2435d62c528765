//! `meshwright check SPEC`: diagnostics only.

use crate::outcome::{Outcome, as_json, print_json, print_line};
use crate::spec::SpecArguments;
use meshwright_compiler::Target;
use serde_json::json;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArguments,
}

/// Compiles and says that all is well, or what is not.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let loaded = arguments.spec.compile(Target::Cpu, json)?;
    let plan = &loaded.compiled.plan;
    let summary = meshwright_plan::summary::summary(plan);
    let parameters = summary.parameters.0 + summary.parameters.1;
    if json {
        let diagnostics = as_json(&loaded.compiled.warnings, &loaded.sources);
        print_json(&json!({ "diagnostics": diagnostics, "model": plan.name, "parameters": parameters, "arena_bytes": plan.arena.bytes }));
    } else {
        let mib = plan.arena.bytes as f64 / f64::from(1 << 20);
        let each = summary.mesh.map_or_else(String::new, |(_, ranks)| format!(" on each of {ranks} ranks"));
        print_line(&format!("{} is well: {parameters} parameters, {mib:.1} MiB{each} to train it", plan.name));
    }
    if arguments.spec.timings {
        loaded.timing.print();
    }
    Ok(())
}
