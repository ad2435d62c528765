//! How long specs take to become plans.

use crate::cases::{Case, Target};
use crate::table::{Figure, Table, median};

/// The examples whose time is a promise.
const SPECS: [&str; 3] = ["gpt-10m", "gpt2-124m", "llama-1b"];

/// Prints the part `compile`.
pub fn run(quick: bool, table: &mut Table) -> Result<(), String> {
    table.part("compile", "text to verified plan, ms: the first time in this process, the median after it, and its stages' medians");
    for name in SPECS {
        let spec = format!("{}/examples/{name}.mesh", env!("CARGO_MANIFEST_DIR"));
        let case = Case { name: name.into(), spec, set: Vec::new(), shape: None };
        let first: f64 = case.compile(Target::Cpu)?.1.iter().map(|stage| stage.1).sum();
        let runs = (0..if quick { 3 } else { 9 }).map(|_| Ok(case.compile(Target::Cpu)?.1)).collect::<Result<Vec<_>, String>>()?;
        let middle = |of: &dyn Fn(&crate::cases::Stages) -> f64| median(runs.iter().map(of).collect()) * 1e3;
        let mut figures = vec![Figure("first", first * 1e3), Figure("all", middle(&|run| run.iter().map(|stage| stage.1).sum()))];
        figures.extend((0..runs[0].len()).map(|stage| Figure(runs[0][stage].0, middle(&|run| run[stage].1))));
        table.line(name, &figures);
    }
    Ok(())
}
