//! What explanations are made of: rules with their lines, types as they stand, pieces of the user's text.

use crate::Compiled;
use crate::graph::ir::segment_of;
use crate::graph::ir::{Graph, Role, Segment};
use crate::model::ir::Weight;
use crate::model::settings::Via;
use crate::op::{Body, Dims, Map, Op, Origin, Shape, Value};
use crate::shard::ir::{Axis, Sharded};
use crate::shard::placement::{Placing, Rule};
use crate::shard::scope::Scope;
use meshwright_grammar::{Sources, Span};

/// A piece of the user's text is cut after so many characters.
const SNIPPET: usize = 44;

/// A compiled spec, and how to talk about it.
pub struct Words<'a> {
    /// The graph before it is cut.
    pub graph: &'a Graph,
    /// The graph after.
    pub sharded: &'a Sharded,
    /// The rules.
    pub placing: Placing,
    /// State rules: the kind's word, axes, where.
    pub states: Vec<(&'static str, Vec<String>, Span)>,
    sources: &'a Sources,
}

impl<'a> Words<'a> {
    /// The words of a spec.
    pub fn new(compiled: &'a Compiled, sources: &'a Sources) -> Self {
        let placing = crate::shard::placing(&compiled.graph, &compiled.sharded.mesh, &compiled.model.settings);
        let states = super::state::rules(&compiled.model.settings);
        Words { graph: &compiled.graph, sharded: &compiled.sharded, placing, states, sources }
    }

    /// All dims, local ones included.
    pub fn dims(&self) -> &'a Dims {
        &self.sharded.graph.dims
    }

    /// The name of an axis.
    pub fn axis(&self, axis: Axis) -> &'a str {
        &self.sharded.mesh.axes[axis].name
    }

    /// `file.mesh:12`; nothing for what the compiler added.
    pub fn line(&self, span: Option<Span>) -> String {
        let Some(span) = span else { return String::new() };
        let Some(file) = self.sources.get(span.file) else { return String::new() };
        format!("{}:{}", file.name, file.position(span.start).0)
    }

    /// `` `Heads -> tensor` (gpt.mesh:7) ``.
    pub fn rule(&self, rule: &Rule) -> String {
        let axes = self.sharded.mesh.names(&rule.axes);
        let right = if axes.is_empty() { "whole".to_string() } else { axes.join(" * ") };
        let via = match rule.via {
            Via::Gather => "",
            Via::Heads => " via heads",
            Via::Ring => " via ring",
            Via::Balanced => " via ring balanced",
        };
        let padded = if rule.padded { " padded" } else { "" };
        let rest = if rule.at_rest { "weights." } else { "" };
        let scope: String = rule.scope.iter().map(|scope| scope.path() + ".").collect();
        self.at(&format!("`{rest}{scope}{} -> {right}{via}{padded}`", rule.dim), rule.span)
    }

    /// Something with its line.
    pub fn at(&self, what: &str, span: Option<Span>) -> String {
        let line = self.line(span);
        if line.is_empty() { what.to_string() } else { format!("{what} ({line})") }
    }

    /// The user's text behind an instruction, in one short line, with its place.
    pub fn text(&self, origin: Origin) -> Option<String> {
        let span = self.graph.origins[origin].span?;
        let text = self.sources.text(span).split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = text.chars().take(SNIPPET).collect();
        let dots = if short.len() < text.len() { "…" } else { "" };
        (!short.is_empty()).then(|| self.at(&format!("`{short}{dots}`"), Some(span)))
    }

    /// The text behind an instruction, else the layer that it stands in.
    pub fn place(&self, origin: Origin) -> String {
        let path = &self.graph.origins[origin].path;
        let layer = if path.is_empty() { "what the compiler adds".to_string() } else { format!("`{path}`") };
        self.text(origin).unwrap_or(layer)
    }

    /// By which rules with a path a value stands.
    pub fn scope(&self, body: &Body, value: Value) -> Scope {
        let scopes = self.placing.scopes();
        let made = body.insts.iter().find(|inst| inst.results.contains(&value));
        let weight = || self.weight(body, value).map_or(Scope::default(), |weight| scopes.weights[weight]);
        made.map_or_else(weight, |inst| scopes.origins[inst.origin])
    }

    /// The weight that a program takes as this value, in the first call of its segment.
    fn weight(&self, body: &Body, value: Value) -> Option<Weight> {
        self.graph.segments.iter().find_map(|(segment, data)| {
            let program = data.programs().find(|program| std::ptr::eq(&raw const program.body, body))?;
            let (role, _) = program.inputs.iter().find(|(_, input)| *input == value)?;
            let call = self.graph.calls.iter().find(|call| segment_of(call) == segment)?;
            if let Role::Weight(slot) = role { Some(call.weights.get(*slot as usize)?.0) } else { None }
        })
    }

    /// What a person calls a value: its name, else the text that made it.
    pub fn value(&self, body: &Body, value: Value) -> String {
        let name = &body.values[value].name;
        if !name.is_empty() {
            return format!("`{name}`");
        }
        let Some(inst) = body.insts.iter().find(|inst| inst.results.contains(&value)) else { return "a value that comes in".to_string() };
        match &inst.op {
            Op::Anchor | Op::Stop | Op::Map(Map::RoundBf16) | Op::Shape(Shape::Rename { .. }) => self.value(body, inst.args[0]),
            _ => self.place(inst.origin),
        }
    }

    /// What a person calls an output of a segment's backward program; none: as its value.
    pub fn output(&self, segment: Segment, role: Role) -> Option<String> {
        let call = self.graph.calls.iter().find(|call| segment_of(call) == segment)?;
        match role {
            Role::WeightGrad(slot) => {
                let path = &self.graph.weights[call.weights.get(slot as usize)?.0].path;
                Some(format!("the gradient of `{path}`"))
            }
            Role::ParamGrad(at) => {
                let forward = &self.graph.segments[segment].forward_only;
                let (_, value) = forward.inputs.iter().find(|(role, _)| *role == Role::Param(at))?;
                let name = &forward.body.values[*value].name;
                Some(if name.is_empty() { "the cotangent of what comes in".to_string() } else { format!("the cotangent of `{name}`") })
            }
            _ => None,
        }
    }
}
