//! Scopes: which rules with a path hold for a weight, or for the values of a layer.
//!
//! A path leads to a layer or a weight if it matches at the end of its path, by the names of instances or of their layers, as everywhere in the
//! language; what is below is led to, too. Ensures that tensors for which the same rules hold have equal scopes.

use super::placement::Rule;
use crate::graph::ir::Graph;
use crate::model::blocks::{matches, names};
use crate::model::ir::Weight;
use crate::model::settings::Pattern;
use crate::op::Origin;
use cranelift_entity::SecondaryMap;
use std::collections::{BTreeMap, BTreeSet};

/// A set of rules with a path, all of which hold; the default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope(u32);

/// The scopes of a graph.
#[derive(Default)]
pub struct Scopes {
    /// The rules that hold, by number.
    sets: Vec<BTreeSet<usize>>,
    /// Of each weight.
    pub weights: SecondaryMap<Weight, Scope>,
    /// Of the values that instructions of an origin make.
    pub origins: SecondaryMap<Origin, Scope>,
}

impl Scopes {
    /// Finds what rules' paths lead to. States are the same on every rank, whatever the path.
    pub(super) fn new(graph: &Graph, rules: &[Rule]) -> Scopes {
        let mut scopes = Scopes { sets: vec![BTreeSet::new()], ..Scopes::default() };
        let scoped: Vec<(usize, &Pattern)> = rules.iter().enumerate().filter_map(|(at, rule)| Some((at, rule.scope.as_ref()?))).collect();
        if scoped.is_empty() {
            return scopes;
        }
        for (weight, data) in graph.weights.iter().filter(|(_, data)| !data.state) {
            scopes.weights[weight] = scopes.scope(&scoped, &names(&data.path, &data.layers));
        }
        let layers = layers(graph);
        for (origin, data) in graph.origins.iter() {
            let path = layers.get(data.path.as_str()).cloned().unwrap_or_else(|| names(&data.path, &data.path));
            scopes.origins[origin] = scopes.scope(&scoped, &path);
        }
        scopes
    }

    fn scope(&mut self, scoped: &[(usize, &Pattern)], path: &[Vec<String>]) -> Scope {
        let leads = |pattern: &Pattern| (1..=path.len()).any(|end| matches(pattern, &path[..end]));
        let set: BTreeSet<usize> = scoped.iter().filter(|(_, pattern)| leads(pattern)).map(|(at, _)| *at).collect();
        let known = self.sets.iter().position(|known| *known == set);
        let number = known.unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        });
        Scope(u32::try_from(number).unwrap_or(0))
    }

    /// Whether the rule with this number and a path holds.
    pub(super) fn holds(&self, scope: Scope, rule: usize) -> bool {
        self.sets.get(scope.0 as usize).is_some_and(|set| set.contains(&rule))
    }

    /// Whether the rule with this number holds anywhere.
    pub(super) fn is_met(&self, rule: usize) -> bool {
        self.sets.iter().any(|set| set.contains(&rule))
    }
}

/// The paths of layers, each part by the name of its instance and of its layer, as the weights below know them.
fn layers(graph: &Graph) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut known = BTreeMap::new();
    for data in graph.weights.values() {
        let path = names(&data.path, &data.layers);
        for end in 1..path.len() {
            let instances: Vec<&str> = path[..end].iter().map(|part| part[0].as_str()).collect();
            known.entry(instances.join(".")).or_insert_with(|| path[..end].to_vec());
        }
    }
    known
}
