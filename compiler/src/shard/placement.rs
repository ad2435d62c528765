//! Analysis: ordered rules → where a value stands, as a function of its dims.
//!
//! Requires rules whose axes are the mesh's. Ensures LANGUAGE.md's rule 4: for a tensor the rules are walked from the top, the names on the left in
//! order; each axis on the right is taken if it is still free in that tensor, major first; a later rule on the same dim adds axes.
//!
//! A dim without a rule of its own inherits that of the dim that it is another name of, or the outermost part of (`rename`, `split`, `merge`).

use super::ir::{Axis, Mesh, Placement};
use crate::graph::ir::Graph;
use crate::model::settings::Via;
use crate::op::{Dim, Dims, Op, Shape};
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
    /// Where it stands.
    pub span: Option<Span>,
}

/// Rules in force, and what dims are to them.
pub struct Placing {
    rules: Vec<Rule>,
    /// The name by which rules know a dim.
    names: SecondaryMap<Dim, String>,
    /// Rules that gave a tensor an axis.
    used: RefCell<BTreeSet<usize>>,
}

impl Placing {
    /// The rules of a graph's dims.
    pub fn new(graph: &Graph, rules: Vec<Rule>) -> Placing {
        Placing { names: names(graph, &rules), rules, used: RefCell::default() }
    }

    /// Where a tensor of these dims stands.
    pub fn place(&self, dims: &[Dim]) -> Placement {
        self.walk(dims, false)
    }

    /// Where a weight of these dims rests.
    pub fn rest(&self, dims: &[Dim]) -> Placement {
        self.walk(dims, true)
    }

    fn walk(&self, dims: &[Dim], at_rest: bool) -> Placement {
        let mut placement = Placement::default();
        let (mut taken, mut whole): (Vec<Axis>, Vec<Dim>) = (Vec::new(), Vec::new());
        for (at, rule) in self.rules.iter().enumerate().filter(|(_, rule)| at_rest || !rule.at_rest) {
            for dim in dims.iter().copied().filter(|dim| self.names[*dim] == rule.dim) {
                if whole.contains(&dim) {
                    continue;
                }
                if rule.axes.is_empty() {
                    whole.push(dim);
                    self.used.borrow_mut().insert(at);
                }
                let free: Vec<Axis> = rule.axes.iter().copied().filter(|axis| !taken.contains(axis)).collect();
                if !free.is_empty() {
                    self.used.borrow_mut().insert(at);
                    taken.extend(&free);
                    let axes = [placement.of(dim), &free].concat();
                    placement.set(dim, &axes);
                }
            }
        }
        placement
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
