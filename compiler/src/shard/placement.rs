//! Analysis: ordered rules → where a value stands, as a function of its dims.
//!
//! Requires rules whose axes are the mesh's. Ensures LANGUAGE.md's rule 4: for a tensor the rules are walked from the top, the names on the left in
//! order; each axis on the right is taken if it is still free in that tensor, major first; a later rule on the same dim adds axes.
//!
//! A rule with a path holds in its scope only: for the weights below what the path names, and for the values made there. What passes between
//! programs (what they take and give) is in nobody's scope.
//!
//! A dim without a rule of its own inherits that of the dim that it is another name of, or the outermost part of (`rename`, `split`, `merge`).

use super::ir::{Axis, Mesh, Placement};
use super::scope::{Scope, Scopes};
use crate::graph::ir::Graph;
use crate::model::ir::Weight;
use crate::model::settings::{Pattern, Via};
use crate::op::{Attention, Dim, Dims, Op, Shape};
use cranelift_entity::SecondaryMap;
use meshwright_grammar::Span;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A rule about a dim of every tensor, or of the weights that its scope matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The dim's name.
    pub dim: String,
    /// What it gets, major first; none: it stays whole, whatever later rules say.
    pub axes: Vec<Axis>,
    /// How an operation that needs the dim whole gets it.
    pub via: Via,
    /// Only of weights, where they rest: they are gathered along it for use.
    pub at_rest: bool,
    /// A size that the axes do not divide is padded.
    pub padded: bool,
    /// Only where this path leads.
    pub scope: Option<Pattern>,
    /// Where it stands.
    pub span: Option<Span>,
}

/// Rules in force, and what dims are to them.
pub struct Placing {
    rules: Vec<Rule>,
    /// The name by which rules know a dim.
    names: SecondaryMap<Dim, String>,
    /// Names of dims whose parts are balanced.
    balanced: BTreeSet<String>,
    scopes: Scopes,
    /// Rules that gave a tensor an axis.
    used: RefCell<BTreeSet<usize>>,
}

/// A rule, or an axis of it, that gave a tensor nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skipped {
    /// Number of the rule.
    rule: usize,
    /// The dim that it is about.
    pub dim: Dim,
    /// The axis that was taken; none: an earlier rule says `whole`.
    pub axis: Option<Axis>,
    /// The dim that has it.
    pub holder: Dim,
}

/// Why a tensor stands where it does.
pub struct Reasons<'a> {
    /// The rule, the dim, what it got (nothing: `whole`).
    pub given: Vec<(&'a Rule, Dim, Vec<Axis>)>,
    /// What gave nothing.
    pub skipped: Vec<(&'a Rule, Skipped)>,
}

impl Reasons<'_> {
    /// The rule that gave a dim this axis.
    pub fn giver(&self, dim: Dim, axis: Axis) -> Option<&Rule> {
        self.given.iter().find(|(_, own, axes)| *own == dim && axes.contains(&axis)).map(|(rule, _, _)| *rule)
    }
}

impl Placing {
    /// The rules of a graph's dims.
    pub fn new(graph: &Graph, rules: Vec<Rule>) -> Placing {
        let names = names(graph, &rules);
        let queries: BTreeSet<&String> = attentions(graph).map(|attention| &names[attention.query]).collect();
        let balanced = rules.iter().filter(|rule| rule.via == Via::Balanced && queries.contains(&rule.dim));
        let scopes = Scopes::new(graph, &rules);
        Placing { balanced: balanced.map(|rule| rule.dim.clone()).collect(), names, scopes, rules, used: RefCell::default() }
    }

    /// Dims whose parts are balanced wherever they are cut: where attention has its queries along them, and a rule says so.
    pub fn balanced(&self, dims: &Dims) -> BTreeSet<Dim> {
        dims.keys().filter(|dim| self.is_balanced(*dim)).collect()
    }

    /// Dims that are padded where their size is no multiple of the ranks that share them.
    pub fn padded(&self, dims: &Dims) -> BTreeSet<Dim> {
        let ruled = |dim: &Dim| self.rules.iter().any(|rule| rule.padded && rule.dim == self.names[*dim]);
        dims.keys().filter(ruled).collect()
    }

    /// Rules that say `padded`.
    pub fn padding(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.padded)
    }

    /// Whether a dim's parts are balanced.
    pub fn is_balanced(&self, dim: Dim) -> bool {
        self.balanced.contains(&self.names[dim])
    }

    /// Where a tensor of these dims stands that is in no scope.
    pub fn place(&self, dims: &[Dim]) -> Placement {
        self.place_in(Scope::default(), dims)
    }

    /// Where a tensor of these dims stands.
    pub fn place_in(&self, scope: Scope, dims: &[Dim]) -> Placement {
        self.walk(scope, dims, false)
    }

    /// Where a weight of these dims rests.
    pub fn rest_in(&self, scope: Scope, dims: &[Dim]) -> Placement {
        self.walk(scope, dims, true)
    }

    /// Where a weight stands in the programs that use it.
    pub fn weight(&self, graph: &Graph, weight: Weight) -> Placement {
        self.place_in(self.scopes.weights[weight], &graph.weights[weight].dims())
    }

    /// Where a weight rests.
    pub fn weight_at_rest(&self, graph: &Graph, weight: Weight) -> Placement {
        self.rest_in(self.scopes.weights[weight], &graph.weights[weight].dims())
    }

    /// What tensors are in scope of.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Whether a rule's path leads anywhere.
    pub fn is_met(&self, rule: &Rule) -> bool {
        rule.scope.is_none() || self.number(rule).is_some_and(|at| self.scopes.is_met(at))
    }

    /// Whether a rule holds in a scope.
    pub fn holds(&self, rule: &Rule, scope: Scope) -> bool {
        rule.scope.is_none() || self.number(rule).is_some_and(|at| self.scopes.holds(scope, at))
    }

    fn number(&self, rule: &Rule) -> Option<usize> {
        self.rules.iter().position(|own| std::ptr::eq(own, rule))
    }

    /// The rules that hold in just one of two scopes.
    pub fn between(&self, one: Scope, other: Scope) -> impl Iterator<Item = (&Rule, bool)> {
        let holds = move |at: usize, scope: Scope| self.scopes.holds(scope, at);
        let differs = move |(at, _): &(usize, &Rule)| holds(*at, one) != holds(*at, other);
        self.rules.iter().enumerate().filter(differs).map(move |(at, rule)| (rule, holds(at, one)))
    }

    fn walk(&self, scope: Scope, dims: &[Dim], at_rest: bool) -> Placement {
        let mut placement = Placement::default();
        for (at, dim, axes) in self.given(scope, dims, at_rest, &mut |_| {}) {
            self.used.borrow_mut().insert(at);
            let axes = [placement.of(dim), &axes].concat();
            placement.set(dim, &axes);
        }
        placement
    }

    /// What each rule gives a tensor of these dims, in order: the rule, the dim, and its axes (none: the dim stays whole from here on). `skipped`
    /// hears of axes that were taken already, and of rules for dims that stay whole.
    fn given(&self, scope: Scope, dims: &[Dim], at_rest: bool, skipped: &mut dyn FnMut(Skipped)) -> Vec<(usize, Dim, Vec<Axis>)> {
        let mut given: Vec<(usize, Dim, Vec<Axis>)> = Vec::new();
        let holds = |at: usize, rule: &Rule| (at_rest || !rule.at_rest) && (rule.scope.is_none() || self.scopes.holds(scope, at));
        for (at, rule) in self.rules.iter().enumerate().filter(|(at, rule)| holds(*at, rule)) {
            for dim in dims.iter().copied().filter(|dim| self.names[*dim] == rule.dim) {
                if given.iter().any(|(_, own, axes)| *own == dim && axes.is_empty()) {
                    skipped(Skipped { rule: at, dim, axis: None, holder: dim });
                    continue;
                }
                let mut free = Vec::new();
                for axis in &rule.axes {
                    match given.iter().find(|(_, _, axes)| axes.contains(axis)) {
                        Some((_, holder, _)) => skipped(Skipped { rule: at, dim, axis: Some(*axis), holder: *holder }),
                        None => free.push(*axis),
                    }
                }
                if rule.axes.is_empty() || !free.is_empty() {
                    given.push((at, dim, free));
                }
            }
        }
        given
    }

    /// Which rule gave each axis of a tensor of these dims, and which rules about its dims gave nothing because an earlier one had been there.
    pub fn reasons(&self, scope: Scope, dims: &[Dim]) -> Reasons<'_> {
        let mut skipped = Vec::new();
        let given = self.given(scope, dims, false, &mut |one| skipped.push(one));
        let rule = |at: usize| &self.rules[at];
        Reasons {
            given: given.into_iter().map(|(at, dim, axes)| (rule(at), dim, axes)).collect(),
            skipped: skipped.into_iter().map(|one| (rule(one.rule), one)).collect(),
        }
    }

    /// How an operation gets a dim whole along an axis that cuts it.
    pub fn via(&self, dim: Dim, axis: Axis) -> Via {
        self.giver(dim, &[axis]).map_or(Via::Gather, |rule| rule.via)
    }

    /// Whether rules know two dims by one name.
    pub fn alike(&self, one: Dim, other: Dim) -> bool {
        self.names[one] == self.names[other]
    }

    /// The rule that gave a dim one of these axes.
    pub fn giver(&self, dim: Dim, axes: &[Axis]) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.dim == self.names[dim] && rule.axes.iter().any(|axis| axes.contains(axis)))
    }

    /// The name by which rules know a dim.
    pub fn name(&self, dim: Dim) -> &str {
        &self.names[dim]
    }

    /// Rules that say how a whole dim is had.
    pub fn ways(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.via != Via::Gather)
    }

    /// The rule that has these axes, or the last of them, cut heads while attention runs.
    pub fn heads_rule(&self, axes: &[Axis]) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.via == Via::Heads && rule.axes.iter().any(|axis| axes.contains(axis)))
    }

    /// Rules that never gave any tensor an axis: whether their dim exists, and the rule.
    pub fn idle(&self, dims: &Dims) -> Vec<(bool, &Rule)> {
        let used = self.used.borrow();
        let idle = self.rules.iter().enumerate().filter(|(at, _)| !used.contains(at));
        idle.map(|(_, rule)| (dims.values().any(|data| data.name == rule.dim), rule)).collect()
    }

    /// Axes that cut no tensor by any rule that was used.
    pub fn unused_axes(&self, mesh: &Mesh) -> Vec<Axis> {
        let used = self.used.borrow();
        let cut: BTreeSet<Axis> = used.iter().flat_map(|at| self.rules[*at].axes.iter().copied()).collect();
        mesh.axes.keys().filter(|axis| !cut.contains(axis)).collect()
    }
}

/// All attention of a graph.
pub fn attentions(graph: &Graph) -> impl Iterator<Item = &Attention> {
    let insts = graph.segments.values().flat_map(|data| &data.forward_only.body.insts);
    insts.filter_map(|inst| if let Op::Attention(attention) = &inst.op { Some(attention) } else { None })
}

/// Every dim's own name if a rule has it, else that of the dim that it was made from.
fn names(graph: &Graph, rules: &[Rule]) -> SecondaryMap<Dim, String> {
    let mut names = SecondaryMap::new();
    for (dim, data) in graph.dims.iter() {
        names[dim] = data.name.clone();
    }
    let ruled = |name: &String| rules.iter().any(|rule| rule.dim == *name);
    loop {
        let mut changed = false;
        let mut inherit = |from: Dim, to: Dim| {
            if ruled(&names[from]) && !ruled(&names[to]) {
                names[to] = names[from].clone();
                changed = true;
            }
        };
        let programs = graph.segments.values().flat_map(|segment| [Some(&segment.forward_only), segment.backward.as_ref()]);
        for inst in programs.flatten().flat_map(|program| &program.body.insts) {
            match &inst.op {
                Op::Shape(Shape::Rename { from, to }) => {
                    inherit(*from, *to);
                    inherit(*to, *from);
                }
                Op::Shape(Shape::Split { from, into }) => inherit(*from, into[0]),
                // Slots of all experts in one dim are made where their tokens are: they have no rule of their own.
                Op::Shape(Shape::Merge { from, into }) if !graph.dims[*into].name.contains('*') => inherit(from[0], *into),
                _ => {}
            }
        }
        if !changed {
            return names;
        }
    }
}
