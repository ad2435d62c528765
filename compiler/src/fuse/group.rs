//! Grouping: which instructions share a kernel.
//!
//! Requires an analysed legal program. Ensures that every instruction that makes a kernel is in exactly one group, that groups depend on each
//! other without a cycle, that nothing inside a group is read far, and that a group's members fit one iteration space ([`Space`]).
//!
//! Greedy, in program order: an instruction joins the group of whom it reads from, else a group that reads the same large inputs, else it
//! starts its own; then whole groups are merged by the same rules until nothing changes. What counts is memory traffic.

use super::facts::{Facts, Kind};
use super::space::{How, Space, units};
use crate::op::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A kernel to be (or a join, which makes none).
#[derive(Clone, Debug)]
pub struct Group {
    /// What it becomes.
    pub kind: Kind,
    /// Its members, in program order.
    pub insts: Vec<usize>,
    /// The iteration space, of `rows` kernels.
    pub space: Space,
    /// How its reductions are done.
    pub how: BTreeMap<usize, How>,
}

/// The groups under construction.
struct Grouping<'a> {
    facts: &'a Facts<'a>,
    groups: Vec<Option<Group>>,
    of: Vec<Option<usize>>,
    users: Vec<Vec<usize>>,
    /// For each instruction of a `rows` kernel, the bases that it reads from memory or from a neighbour.
    reads: Vec<BTreeSet<Value>>,
}

/// A kernel takes at most so many different tensors.
const OPERANDS: usize = 28;

/// Results of at most so many attentions meet in a kernel: those of a ring are put together step by step, and never wait for each other.
const ATTENTIONS: usize = 2;

/// Groups in an order in which every group comes after those that it depends on.
pub fn group(facts: &Facts<'_>) -> Vec<Group> {
    let mut grouping = Grouping::new(facts);
    for index in 0..facts.kind.len() {
        grouping.place(index);
    }
    while grouping.merge_once() {}
    grouping.sorted()
}

impl<'a> Grouping<'a> {
    fn new(facts: &'a Facts<'a>) -> Self {
        let count = facts.kind.len();
        let mut users = vec![Vec::new(); count];
        for (index, deps) in facts.deps.iter().enumerate() {
            deps.iter().for_each(|dep| users[dep.on].push(index));
        }
        let reads = (0..count).map(|index| facts.reads(index).into_iter().map(|(base, _)| base).collect()).collect();
        Grouping { facts, groups: Vec::new(), of: vec![None; count], users, reads }
    }

    fn place(&mut self, index: usize) {
        let kind = self.facts.kind[index];
        let alone = |space, how| Group { kind, insts: vec![index], space, how };
        match kind {
            Kind::Nothing => {}
            Kind::Contract | Kind::Attention | Kind::Segmented | Kind::Collective | Kind::Join => {
                self.add(alone(Space::default(), BTreeMap::new()))
            }
            Kind::Rows => {
                let units = units(self.facts, index);
                let units: Vec<Group> =
                    units.into_iter().map(|(space, how)| alone(space, how.map(|how| (index, how)).into_iter().collect())).collect();
                let home =
                    self.candidates(index).into_iter().find_map(|at| units.iter().find_map(|unit| Some((at, self.united(at, unit)?))));
                match home {
                    Some((at, united)) => self.set(at, united),
                    None => self.add(units.into_iter().next().expect("at least one way to compute it")),
                }
            }
        }
    }

    fn add(&mut self, group: Group) {
        self.groups.push(None);
        self.set(self.groups.len() - 1, group);
    }

    fn set(&mut self, at: usize, group: Group) {
        group.insts.iter().for_each(|inst| self.of[*inst] = Some(at));
        self.groups[at] = Some(group);
    }

    /// Groups that an instruction might join: of those it reads from, latest first; then those with an input in common, latest first.
    fn candidates(&self, index: usize) -> Vec<usize> {
        let mut near: Vec<usize> = self.facts.deps[index].iter().filter_map(|dep| self.of[dep.on]).collect();
        near.sort_unstable_by(|a, b| b.cmp(a));
        near.dedup();
        let siblings = (0..self.groups.len()).rev().filter(|at| !near.contains(at) && self.in_common(*at, &self.reads[index]));
        let siblings: Vec<usize> = siblings.collect();
        near.into_iter().chain(siblings).filter(|at| self.groups[*at].as_ref().is_some_and(|group| group.kind == Kind::Rows)).collect()
    }

    /// Whether a group reads, or computes, one of the larger tensors in `reads`.
    fn in_common(&self, at: usize, reads: &BTreeSet<Value>) -> bool {
        let Some(group) = &self.groups[at] else { return false };
        let points: u64 = group.space.dims.iter().map(|dim| self.facts.dims[*dim].size).product();
        let large = |value: &&Value| self.facts.program.body.ty(**value).elements(self.facts.dims) * 2 >= points;
        let shared = |value: &Value| group.insts.iter().any(|inst| self.reads[*inst].contains(value));
        reads.iter().filter(large).any(shared)
    }

    /// The union of a group and another, if it is legal.
    fn united(&self, at: usize, other: &Group) -> Option<Group> {
        let group = self.groups[at].as_ref()?;
        if group.kind != Kind::Rows || other.kind != Kind::Rows {
            return None;
        }
        let space = group.space.unite(&other.space, self.facts.dims)?;
        let far = |from: &Group, to: &Group| to.insts.iter().any(|inst| self.reads_far(*inst, from));
        if far(group, other) || far(other, group) || self.clash(group, other) || self.cyclic(group, other) {
            return None;
        }
        let mut union = group.clone();
        union.space = space;
        union.insts.extend(&other.insts);
        union.insts.sort_unstable();
        union.how.extend(other.how.iter().map(|(inst, how)| (*inst, *how)));
        Some(union)
    }

    /// Whether an instruction needs results of a group in memory, complete: moved elements, or sums over rows.
    fn reads_far(&self, inst: usize, from: &Group) -> bool {
        let folded = |on: usize| matches!(from.how.get(&on), Some(How::Fold | How::Both));
        self.facts.deps[inst].iter().any(|dep| from.insts.contains(&dep.on) && (dep.far || folded(dep.on)))
    }

    /// Whether both write parts of one tensor, or too much would be read or waited for at once.
    fn clash(&self, a: &Group, b: &Group) -> bool {
        let targets = |group: &Group| -> BTreeSet<Value> {
            group.insts.iter().filter_map(|inst| self.facts.target[self.facts.inst(*inst).results[0]]).collect()
        };
        let reads: BTreeSet<Value> = a.insts.iter().chain(&b.insts).flat_map(|inst| self.reads[*inst].iter().copied()).collect();
        let inside = |value: &&Value| self.facts.def[**value].is_none_or(|def| !a.insts.contains(&def) && !b.insts.contains(&def));
        let attentions: BTreeSet<usize> =
            reads.iter().filter_map(|value| self.facts.def[*value]).filter(|def| self.facts.kind[*def] == Kind::Attention).collect();
        let waits = attentions.len() > ATTENTIONS;
        !targets(a).is_disjoint(&targets(b)) || waits || reads.iter().filter(inside).count() > OPERANDS
    }

    /// Whether there is a path from one to the other through a third.
    fn cyclic(&self, a: &Group, b: &Group) -> bool {
        self.detours(a, b) || self.detours(b, a)
    }

    fn detours(&self, from: &Group, to: &Group) -> bool {
        let inside: BTreeSet<usize> = from.insts.iter().chain(&to.insts).copied().collect();
        let mut stack: Vec<usize> =
            from.insts.iter().flat_map(|inst| &self.users[*inst]).copied().filter(|user| !inside.contains(user)).collect();
        let mut seen = BTreeSet::new();
        while let Some(inst) = stack.pop() {
            if to.insts.contains(&inst) {
                return true;
            }
            if !seen.insert(inst) {
                continue;
            }
            let group = self.of[inst].and_then(|at| self.groups[at].as_ref()).map_or(vec![inst], |group| group.insts.clone());
            seen.extend(group.iter().copied());
            stack.extend(group.iter().flat_map(|member| &self.users[*member]).copied().filter(|user| !from.insts.contains(user)));
        }
        false
    }

    /// Merges one pair of groups that read from each other or have an input in common.
    fn merge_once(&mut self) -> bool {
        for later in 0..self.groups.len() {
            let Some(group) = self.groups[later].clone().filter(|group| group.kind == Kind::Rows) else { continue };
            let reads: BTreeSet<Value> = group.insts.iter().flat_map(|inst| self.reads[*inst].iter().copied()).collect();
            let mut others: Vec<usize> =
                group.insts.iter().flat_map(|inst| &self.facts.deps[*inst]).filter_map(|dep| self.of[dep.on]).collect();
            others.extend((0..self.groups.len()).filter(|at| self.in_common(*at, &reads)));
            for at in others {
                if at != later
                    && let Some(united) = self.united(at, &group)
                {
                    self.groups[later] = None;
                    self.set(at, united);
                    return true;
                }
            }
        }
        false
    }

    fn sorted(self) -> Vec<Group> {
        let mut waiting: Vec<Group> = self.groups.into_iter().flatten().collect();
        let mut done: BTreeSet<usize> = BTreeSet::new();
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let ready = |group: &Group| {
                let deps = group.insts.iter().flat_map(|inst| &self.facts.deps[*inst]);
                deps.map(|dep| dep.on).all(|on| done.contains(&on) || group.insts.contains(&on))
            };
            let next = (0..waiting.len()).filter(|at| ready(&waiting[*at])).min_by_key(|at| waiting[*at].insts[0]);
            let group = waiting.remove(next.expect("groups do not depend on each other in a cycle"));
            done.extend(&group.insts);
            order.push(group);
        }
        order
    }
}
