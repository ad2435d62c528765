//! Rules and axes that do nothing, or not what they are for. All of these are warnings: the programs are right.

use super::super::ir::{Axis, Level, Mesh, Rest};
use super::super::placement::{Placing, Rule, attentions};
use super::super::scope::Scope;
use super::place;
use crate::graph::ir::{Graph, Role};
use crate::model::error::suggest;
use crate::model::ir::Weight;
use crate::model::settings::{Pattern, Settings, ShardTarget, Via};
use crate::op::{Attention, Dim};
use meshwright_grammar::{Diagnostic, Span};
use std::collections::BTreeSet;

/// An axis that cuts some weights leaves at most this share of all parameters whole, or the user hears of it.
const WHOLE_SHARE: f64 = 0.5;

/// What the warnings look at.
pub struct Waste<'a> {
    /// The graph before it is cut.
    pub graph: &'a Graph,
    /// The devices.
    pub mesh: &'a Mesh,
    /// The rules, after every tensor was placed.
    pub placing: &'a Placing,
    /// How state rests.
    pub rest: &'a Rest,
    /// The spec's words.
    pub settings: &'a Settings,
}

impl Waste<'_> {
    /// All warnings.
    pub fn all(&self) -> Vec<Diagnostic> {
        if self.settings.shard.is_empty() {
            return vec![self.no_rules()];
        }
        let rules = self.placing.idle(&self.graph.dims).into_iter().filter(|(_, rule)| !self.stands_twice(rule));
        let rules = rules.map(|(exists, rule)| match (exists, self.placing.is_met(rule)) {
            (false, _) => self.no_effect(rule),
            (true, false) => unmatched(rule),
            (true, true) => self.shadowed(rule),
        });
        let rules: Vec<Diagnostic> = rules.collect();
        let axes = self.placing.unused_axes(self.mesh).into_iter().map(|axis| self.unused(axis));
        let ways = self.placing.ways().filter(|rule| !self.is_query(rule)).map(via_unused);
        let unmasked = self.placing.ways().filter(|rule| self.is_unmasked(rule)).map(unmasked);
        let even = self.placing.padding().filter_map(|rule| self.even(rule));
        let replicated = self.mesh.axes.keys().filter_map(|axis| self.replicated(axis));
        rules.into_iter().chain(axes).chain(ways).chain(unmasked).chain(even).chain(replicated).chain(self.state()).collect()
    }

    fn no_rules(&self) -> Diagnostic {
        let ranks: u64 = self.mesh.axes.values().map(|axis| axis.size).product();
        let first = self.mesh.axes.keys().next();
        let name = first.map_or("data", |axis| &self.mesh.axes[axis].name);
        let message = format!("the mesh has {ranks} devices and no rule says what they share: all compute the same");
        place(Diagnostic::warning("shard::no_rules", message), first.and_then(|axis| self.axis_span(axis)), "cuts nothing").help(format!(
            "add `shard {{ {} -> {name} }}`, or `fsdp -> {name}` to cut the weights' state too",
            self.graph.dims[self.graph.batch].name
        ))
    }

    /// Rules that the settings have already told as duplicates.
    fn stands_twice(&self, rule: &Rule) -> bool {
        let names = self.mesh.names(&rule.axes);
        let same = |other: &&crate::model::settings::ShardRule| {
            other.target == ShardTarget::Dim(rule.dim.clone()) && other.axes == names && other.scope == rule.scope
        };
        self.settings.shard.iter().filter(same).count() > 1
    }

    /// Dims of every weight and value with their scopes, each set once.
    fn tensors(&self) -> BTreeSet<(Vec<Dim>, Scope)> {
        let scopes = self.placing.scopes();
        let bodies = self.graph.segments.values().map(|data| &data.forward_only.body);
        let made =
            bodies.flat_map(|body| body.insts.iter().flat_map(move |inst| inst.results.iter().map(move |value| (body, inst, value))));
        let values = made.map(|(body, inst, value)| (body.ty(*value).dims.clone(), scopes.origins[inst.origin]));
        let taken = self.graph.segments.values().flat_map(|data| {
            let params = data.forward_only.inputs.iter().filter(|(role, _)| !matches!(role, Role::Weight(_)));
            params.map(|(_, value)| (data.forward_only.body.ty(*value).dims.clone(), Scope::default()))
        });
        values.chain(taken).chain(self.graph.weights.iter().map(|(weight, data)| (data.dims(), scopes.weights[weight]))).collect()
    }

    fn shadowed(&self, rule: &Rule) -> Diagnostic {
        let all = self.tensors();
        let named = |(dims, scope): &&(Vec<Dim>, Scope)| {
            self.placing.holds(rule, *scope) && dims.iter().any(|dim| self.graph.dims[*dim].name == rule.dim)
        };
        let (mut count, mut first) = (0, None);
        for (dims, scope) in all.iter().filter(named) {
            count += 1;
            let reasons = self.placing.reasons(*scope, dims);
            let skipped = reasons.skipped.iter().find(|(other, _)| other.span == rule.span).map(|(_, skipped)| *skipped);
            if let (None, Some(skipped)) = (&first, skipped) {
                let giver = skipped.axis.and_then(|axis| reasons.giver(skipped.holder, axis)).and_then(|rule| rule.span);
                first = Some((skipped.axis, giver, self.graph.dims[skipped.holder].name.clone()));
            }
        }
        let what = match &first {
            Some((Some(axis), _, holder)) => format!(
                "in all {count} kinds of tensors that have it an earlier rule has taken `{}`, first for `{holder}`",
                self.mesh.axes[*axis].name
            ),
            _ => "an earlier rule says that it stays whole".to_string(),
        };
        let found = place(
            Diagnostic::warning("shard::shadowed", format!("the rule for `{}` cuts nothing: {what}", rule.dim)),
            rule.span,
            "comes too late",
        );
        let earlier = first.and_then(|(_, giver, _)| giver);
        place(found, earlier, "takes it first").help("move the rule up if it shall win, else remove it")
    }

    fn unused(&self, axis: Axis) -> Diagnostic {
        let data = &self.mesh.axes[axis];
        let span = self.axis_span(axis);
        if !self.rest.axes.contains(&axis) {
            let message = format!("the axis `{}` cuts nothing: its {} devices compute the same", data.name, data.size);
            return place(Diagnostic::warning("shard::idle_axis", message), span, "in no rule that has an effect")
                .help(format!("write a rule such as `Batch -> {}`, or remove the axis", data.name));
        }
        let batch = &self.graph.dims[self.graph.batch].name;
        let message = format!("`{}` cuts how state rests and nothing else: its {} devices compute the same samples", data.name, data.size);
        place(Diagnostic::warning("shard::same_work", message), span, "no work is shared")
            .help(format!("add `{batch} -> {}`, so that each device has samples of its own, as in `fsdp -> {}`", data.name, data.name))
    }

    fn axis_span(&self, axis: Axis) -> Option<Span> {
        self.settings.mesh.iter().find(|own| own.name == self.mesh.axes[axis].name).map(|own| own.span)
    }

    /// A rule that pads what divides.
    fn even(&self, rule: &Rule) -> Option<Diagnostic> {
        let (_, data) = self.graph.dims.iter().find(|(_, data)| data.name == rule.dim)?;
        let parts = self.mesh.size(&rule.axes);
        let message = format!("`{}` = {} needs no padding: {} / {parts} = {}", rule.dim, data.size, data.size, data.size / parts);
        let found = place(Diagnostic::warning("shard::even", message), rule.span, "divides").help("remove `padded`");
        data.size.is_multiple_of(parts).then_some(found)
    }

    /// Whether some attention has a dim of this rule as its queries.
    fn is_query(&self, rule: &Rule) -> bool {
        attentions(self.graph).any(|attention| self.placing.name(attention.query) == rule.dim)
    }

    /// Whether a rule balances attention of which none has a causal mask.
    fn is_unmasked(&self, rule: &Rule) -> bool {
        let causal = |attention: &Attention| attention.causal && self.placing.name(attention.query) == rule.dim;
        rule.via == Via::Balanced && self.is_query(rule) && !attentions(self.graph).any(causal)
    }

    fn elements(&self, weight: Weight) -> u64 {
        let data = &self.graph.weights[weight];
        data.dims().iter().fold(data.count, |all, dim| all.saturating_mul(self.graph.dims[*dim].size))
    }

    fn placed(&self, weight: Weight) -> Vec<Axis> {
        self.placing.weight(self.graph, weight).axes()
    }

    /// An axis that cuts weights, but not most of them.
    fn replicated(&self, axis: Axis) -> Option<Diagnostic> {
        let inputs: Vec<Dim> = self.graph.inputs.iter().flat_map(|(_, port)| self.graph.ports[*port].dims.clone()).collect();
        let cut = |weight: &Weight| {
            let placed = self.placing.weight(self.graph, *weight);
            placed.cuts.iter().any(|(dim, axes)| axes.contains(&axis) && !inputs.contains(dim))
        };
        let (cut, whole): (Vec<Weight>, Vec<Weight>) = self.graph.weights.keys().partition(cut);
        let sum = |weights: &[Weight]| weights.iter().map(|weight| self.elements(*weight)).sum::<u64>();
        let (parts, rest) = (sum(&cut), sum(&whole));
        let share = rest as f64 / (parts + rest).max(1) as f64;
        let largest = whole.iter().copied().max_by_key(|weight| self.elements(*weight))?;
        if cut.is_empty() || share <= WHOLE_SHARE {
            return None;
        }
        let (name, size, all) = (&self.mesh.axes[axis].name, self.mesh.axes[axis].size, parts + rest);
        let message =
            format!("`{name}` cuts {parts} of {all} parameters: {rest}, {:.0} %, stand whole on each of its {size} devices", 100.0 * share);
        let data = &self.graph.weights[largest];
        let dims: Vec<&str> = data.dims().iter().map(|dim| self.graph.dims[*dim].name.as_str()).collect();
        let help = format!(
            "the largest is `{}` [{}] with {}: cut one of its dims by `{name}`",
            data.path,
            dims.join(", "),
            self.elements(largest)
        );
        Some(place(Diagnostic::warning("shard::replicated", message), self.axis_span(axis), "cuts few weights").help(help))
    }

    /// A rule for a dim that nothing has.
    fn no_effect(&self, rule: &Rule) -> Diagnostic {
        let message = format!("the rule for `{}` has no effect: no tensor has this dim", rule.dim);
        let dims = self.graph.dims.values().map(|dim| dim.name.as_str());
        place(Diagnostic::warning("shard::no_effect", message), rule.span, "cuts nothing").help(suggest(
            &rule.dim,
            dims,
            "check the dim's name, or remove the rule",
        ))
    }

    /// State that shall rest in pieces along axes that already cut its dims.
    fn state(&self) -> Option<Diagnostic> {
        let along = |weight: Weight| self.placed(weight).iter().any(|axis| self.rest.axes.contains(axis));
        if self.rest.level == Level::Whole || !self.graph.weights.keys().all(along) {
            return None;
        }
        let all: u64 = self.graph.weights.keys().map(|weight| self.elements(weight)).sum();
        let axes = self.mesh.names(&self.rest.axes).join(" * ");
        let states = [ShardTarget::Weights, ShardTarget::Gradients, ShardTarget::Moments];
        let span = self.settings.shard.iter().find(|rule| states.contains(&rule.target)).map(|rule| rule.span);
        let message = format!("rules for dims cut all {all} parameters along `{axes}` already: nothing is left to rest in pieces along it");
        let found = place(Diagnostic::warning("shard::nothing_left", message), span, "has no effect");
        Some(found.help("remove this rule, or name another axis"))
    }
}

fn unmatched(rule: &Rule) -> Diagnostic {
    let path: String = rule.scope.iter().map(Pattern::path).collect();
    let message = format!("the rule for `{}` of `{path}` has no effect: no layer and no weight goes by this path", rule.dim);
    place(Diagnostic::warning("shard::unmatched", message), rule.span, "cuts nothing")
        .help("a path matches at its end, as in `Attention.Embed` and `Moe.**.Expert`; 'meshwright plan SPEC --show model' lists layers and weights")
}

fn via_unused(rule: &Rule) -> Diagnostic {
    let way = match rule.via {
        Via::Gather => "gather",
        Via::Heads => "heads",
        Via::Ring => "ring",
        Via::Balanced => "ring balanced",
    };
    let message = format!("`via {way}` has no effect: no attention has its queries along `{}`", rule.dim);
    place(Diagnostic::warning("shard::via_unused", message), rule.span, "needed whole by nothing").help("remove `via` from this rule")
}

fn unmasked(rule: &Rule) -> Diagnostic {
    let message =
        format!("`balanced` gains nothing: no attention along `{}` has a causal mask, so all ranks have the same work anyway", rule.dim);
    place(Diagnostic::warning("shard::unmasked", message), rule.span, "nothing to balance")
        .help("write `via ring`, or `causal: true` in the attention")
}
