//! Recomputation: cheap elementwise values are computed again in the kernels that read them, instead of being written to memory for them.
//!
//! Requires finished groups. Ensures that a value is recomputed only from what is in memory anyway or is small, with at most [`STEPS`] functions
//! of one machine instruction each, and never from what is updated in place. Groups and their order stay as they are: what a reader now
//! depends on comes before the value that it read.

use super::facts::{Facts, Kind, is_cheap};
use super::group::Group;
use crate::op::{Op, Value};
use std::collections::BTreeSet;

/// At most so many functions are computed again for one value.
const STEPS: usize = 6;
/// A value with so many times fewer elements than another is small beside it.
const SMALL: u64 = 8;

/// Marks the instructions whose results are computed wherever they are wanted.
pub fn mark(facts: &mut Facts<'_>, groups: &[Group]) {
    for index in 0..facts.kind.len() {
        if pays(facts, groups, index) {
            facts.again[index] = true;
        }
    }
}

/// Whether an instruction's result is better computed again by all its readers in other kernels.
fn pays(facts: &Facts<'_>, groups: &[Group], index: usize) -> bool {
    let value = facts.inst(index).results[0];
    let kept = facts.role[value].is_some() || facts.target[value].is_some();
    if facts.kind[index] != Kind::Rows || facts.again[index] || kept || !is_step(facts, index) {
        return false;
    }
    let Some((leaves, steps)) = leaves(facts, index) else { return false };
    let elements = |value: &Value| facts.program.body.ty(*value).elements(facts.dims);
    let large: Vec<Value> = leaves.iter().copied().filter(|leaf| elements(leaf) * SMALL > elements(&value)).collect();
    if steps > STEPS || !large.iter().all(|leaf| in_memory(facts, groups, *leaf)) {
        return false;
    }
    let readers: Vec<&Group> = groups.iter().filter(|group| !group.insts.contains(&index) && reads(facts, group, value)).collect();
    let near = (0..facts.kind.len()).all(|user| facts.reads(user).iter().all(|(base, far)| *base != value || !far));
    let more = |group: &&Group| large.iter().filter(|leaf| !reads(facts, group, **leaf)).count();
    !readers.is_empty() && near && readers.iter().map(more).max().is_some_and(|most| most <= 1)
}

fn is_step(facts: &Facts<'_>, index: usize) -> bool {
    match &facts.inst(index).op {
        Op::Map(map) => is_cheap(*map),
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Reduce(..) | Op::Contract(_) | Op::Index(_) | Op::Shape(_) => false,
        Op::Random(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Anchor | Op::Stop | Op::Collective(_) => false,
    }
}

/// What a value is computed from if everything marked is computed again, and in how many steps; none if that may have changed by then.
fn leaves(facts: &Facts<'_>, index: usize) -> Option<(BTreeSet<Value>, usize)> {
    let (mut found, mut steps) = (BTreeSet::new(), 1);
    for (base, _) in facts.reads(index) {
        match facts.def[base] {
            Some(def) if facts.again[def] && !facts.free[def] => {
                let (more, further) = leaves(facts, def)?;
                found.extend(more);
                steps += further;
            }
            Some(def) if facts.again[def] => {}
            Some(_) => drop(found.insert(base)),
            None => {
                let role = facts.program.inputs.iter().find(|(_, value)| *value == base).map(|(role, _)| *role);
                if facts.program.outputs.iter().any(|(other, _)| Some(*other) == role) {
                    return None;
                }
                found.insert(base);
            }
        }
    }
    Some((found, steps))
}

/// Whether a value is in memory whatever is decided here: from outside, wanted by a role, or made or read by a kernel of another kind.
fn in_memory(facts: &Facts<'_>, groups: &[Group], value: Value) -> bool {
    let Some(def) = facts.def[value] else { return true };
    let far = || (0..facts.kind.len()).any(|user| facts.reads(user).contains(&(value, true)));
    let made = facts.kind[def] != Kind::Rows && groups.iter().any(|group| group.insts.contains(&def));
    (facts.role[value].is_some() && !facts.accumulates(value)) || made || far()
}

fn reads(facts: &Facts<'_>, group: &Group, value: Value) -> bool {
    group.insts.iter().any(|inst| facts.reads(*inst).iter().any(|(base, _)| *base == value))
}
