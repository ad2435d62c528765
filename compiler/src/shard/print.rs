//! The local programs of a mesh as text: the axes, how state rests, and the graph over local dims, whose names end in the axes that cut them.

use super::ir::{Level, Sharded};
use crate::graph;
use crate::model::settings::{Settings, ShardRule, ShardTarget, Via};
use meshwright_grammar::Sources;
use std::fmt::Write;

/// The whole stage.
pub fn print(sharded: &Sharded) -> String {
    let axes: Vec<String> = sharded.mesh.axes.values().map(|axis| format!("{} {}", axis.name, axis.size)).collect();
    let mut out = if axes.is_empty() { "mesh: one device\n".to_string() } else { format!("mesh {}\n", axes.join(", ")) };
    let what = match sharded.rest.level {
        Level::Whole => None,
        Level::Moments => Some("moments"),
        Level::Gradients => Some("gradients, moments"),
        Level::Weights => Some("weights, gradients, moments"),
    };
    if let Some(what) = what {
        let _ = writeln!(out, "{what} in pieces along {}", sharded.mesh.names(&sharded.rest.axes).join("*"));
    }
    for (local, axes) in sharded.cuts.balanced_parts() {
        let (data, ranks) = (&sharded.graph.dims[local], sharded.mesh.size(axes));
        let _ = writeln!(
            out,
            "{}/{} balanced: rank r has chunks r and {} - r of {}",
            data.name,
            data.axes.join("*"),
            2 * ranks - 1,
            data.size / 2
        );
    }
    out + &graph::print::graph(&sharded.graph)
}

/// The rules in force, presets written out, each with the line that it comes from.
pub fn rules(settings: &Settings, sources: &Sources) -> String {
    let axes: Vec<String> = settings.mesh.iter().map(|axis| format!("{} = {}", axis.name, axis.size)).collect();
    let mut out = if axes.is_empty() { "mesh: one device\n".to_string() } else { format!("mesh {{ {} }}\n", axes.join(", ")) };
    let texts: Vec<String> = settings.shard.iter().map(rule).collect();
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    for (rule, text) in settings.shard.iter().zip(&texts) {
        let place =
            sources.get(rule.span.file).map_or_else(String::new, |file| format!("{}:{}", file.name, file.position(rule.span.start).0));
        let preset = rule.preset.map_or_else(String::new, |preset| format!(", by `{preset}`"));
        let _ = writeln!(out, "  {text:width$}  // {place}{preset}");
    }
    out
}

/// One rule as a user would write it.
fn rule(rule: &ShardRule) -> String {
    let target = match &rule.target {
        ShardTarget::Dim(dim) => rule.scope.iter().map(|scope| scope.path() + ".").collect::<String>() + dim,
        ShardTarget::WeightDim(dim) => format!("weights.{dim}"),
        ShardTarget::Weights => "weights".to_string(),
        ShardTarget::Gradients => "gradients".to_string(),
        ShardTarget::Moments => "moments".to_string(),
    };
    let via = match rule.via {
        Via::Gather => "",
        Via::Heads => " via heads",
        Via::Ring => " via ring",
        Via::Balanced => " via ring balanced",
    };
    let hold = if rule.hold { " hold step" } else { "" };
    let padded = if rule.padded { " padded" } else { "" };
    let axes = if rule.axes.is_empty() { "whole".to_string() } else { rule.axes.join(" * ") };
    format!("{target} -> {axes}{via}{padded}{hold}")
}
