//! `meshwright plan SPEC`: the lowered plan, or what it was lowered from.

use crate::outcome::{Outcome, print_json, print_text};
use crate::spec::{Loaded, SpecArguments, placed};
use crate::target::Target;
use meshwright_plan::print;
use serde_json::json;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArguments,
    /// Which stage to show.
    #[arg(long, value_enum, default_value = "plan")]
    show: Stage,
    /// With `--show kernels`: the kernels' text for cuda:sm_90, say. It needs no GPU; for the CPU it is the plan's.
    #[arg(long, default_value = "cpu")]
    target: Target,
}

/// What can be shown.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Stage {
    /// The typed model.
    Model,
    /// The training graph: forward and backward programs.
    Graph,
    /// The mesh and the shard rules in force, presets written out.
    Rules,
    /// What one device of the mesh computes, and what devices exchange.
    Shard,
    /// What runs when.
    Schedule,
    /// Where everything stands.
    Memory,
    /// The kernels.
    Kernels,
    /// All of the plan.
    Plan,
    /// Memory by kind, kernels, work.
    Summary,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Model => "model",
            Stage::Graph => "graph",
            Stage::Rules => "rules",
            Stage::Shard => "shard",
            Stage::Schedule => "schedule",
            Stage::Memory => "memory",
            Stage::Kernels => "kernels",
            Stage::Plan => "plan",
            Stage::Summary => "summary",
        }
    }
}

/// Compiles and prints.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let (stage, target) = (arguments.show, arguments.target);
    let mut loaded = arguments.spec.compile(target.plans(), json)?;
    loaded.timing.begin("print");
    let place = |error| placed(error, &loaded.compiled.behind, &loaded.sources);
    let text = match stage {
        Stage::Kernels => target.text(&loaded.compiled.plan).map_err(place)?,
        _ => None,
    };
    let text = text.unwrap_or_else(|| show(&loaded, stage));
    loaded.timing.end();
    if json {
        let plan = &loaded.compiled.plan;
        let hash = print::content_hash(plan);
        print_json(&json!({ "model": plan.name, "hash": hash, "stage": stage.name(), "target": target.to_string(), "text": text }));
    } else {
        print_text(&text);
    }
    if arguments.spec.timings {
        loaded.timing.print();
    }
    Ok(())
}

fn show(loaded: &Loaded, stage: Stage) -> String {
    let compiled = &loaded.compiled;
    let plan = &compiled.plan;
    match stage {
        Stage::Model => meshwright_compiler::model::print::print(&compiled.model),
        Stage::Graph => meshwright_compiler::graph::print::graph(&compiled.graph),
        Stage::Rules => meshwright_compiler::shard::print::rules(&compiled.model.settings, &loaded.sources),
        Stage::Shard => meshwright_compiler::shard::print::print(&compiled.sharded),
        Stage::Schedule => sections(&print::print(plan), &["entry"]),
        Stage::Memory => sections(&print::print(plan), &["arena", "region"]),
        Stage::Kernels => sections(&print::print(plan), &["kernel"]),
        Stage::Plan => print::print(plan),
        Stage::Summary => meshwright_plan::summary::summary(plan).to_string(),
    }
}

/// The parts of a plan's text that begin with one of these words: what is indented belongs to the line before it.
fn sections(text: &str, words: &[&str]) -> String {
    let mut wanted = false;
    let mut chosen = String::new();
    for line in text.lines() {
        if !line.starts_with(' ') {
            wanted = words.iter().any(|word| line.split_whitespace().next() == Some(word));
        }
        if wanted {
            chosen.push_str(line);
            chosen.push('\n');
        }
    }
    chosen
}
