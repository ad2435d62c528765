//! `fuse`: programs of primitives → kernels in kernel IR.
//!
//! In: a [`crate::graph::ir::Program`]. Out: an [`ir::Fused`]: launches of kernels over buffers that compute the same.
//!
//! The order: [`flat`] (rows and lanes for programs over one long dim) → [`legalise`] (what kernels can say) → `rounding` (what stores round) → [`view`] and [`facts`] (analyses) → [`group`] (who shares a kernel) → `again` (what is computed twice) → [`storage`] (what is kept
//! in memory) → one lowering per skeleton: [`rows`], [`contract`], [`attention`], [`segmented`], `collective` → [`in_place`]. Nothing here depends on the machine that compiles
//! or runs; work is cut by shapes only.
//!
//! Ensures: [`verify::verify`] holds; every role has one buffer; what calls add up is added in the kernel that makes it; a role
//! that is input and output is updated in place.

mod again;
mod attention;
mod collective;
mod contract;
#[cfg(test)]
mod evaluate;
pub mod facts;
pub mod flat;
pub mod group;
pub mod in_place;
pub mod ir;
mod legal_attention;
mod legal_index;
pub mod legalise;
mod name;
pub mod print;
mod rounding;
pub mod rows;
mod segmented;
pub mod space;
pub mod storage;
#[cfg(test)]
mod tests;
mod tile;
pub mod verify;
pub mod view;

use crate::graph::ir::{Program, Role};
use crate::op::{Dims, Index, Op, Value};
use facts::{Facts, Kind};
use group::Group;
use ir::{Fused, FusedLaunch};
use meshwright_plan::program::Accumulate;
use rows::Step;
use std::collections::BTreeSet;
use storage::Storage;

/// Fuses a program. The size of the step's batch dim in `dims` is that of (this rank's part of) one microbatch.
pub fn fuse(program: &Program, dims: &Dims, step: Step) -> Fused {
    let Some((flat, pieces)) = flat::pieces(program, dims) else { return fuse_whole(program, dims, step) };
    let parts = pieces.into_iter().map(|piece| (piece.start, fuse_whole(&piece.program, &piece.dims, step)));
    flat::joined(program, dims, flat, parts.collect())
}

fn fuse_whole(program: &Program, dims: &Dims, step: Step) -> Fused {
    let mut legal = legalise::legalise(program, dims, step.batch);
    rounding::absorb(&mut legal);
    let mut facts = Facts::new(&legal, dims);
    let groups = group::group(&facts);
    again::mark(&mut facts, &groups);
    let mut storage = Storage::new(&facts, &kept(&facts, &groups));
    let mut started = BTreeSet::new();
    let launches = groups.iter().filter_map(|group| launch(&facts, group, &mut storage, step, &mut started)).collect();
    let mut fused = Fused { buffers: storage.buffers, launches };
    let inputs: Vec<Role> = program.inputs.iter().map(|(role, _)| *role).collect();
    in_place::write_in_place(&mut fused, &inputs);
    fused
}

/// Values that must be in memory: read by another kernel, or made by one that writes all its results.
fn kept(facts: &Facts<'_>, groups: &[Group]) -> BTreeSet<Value> {
    let mut kept = BTreeSet::new();
    for group in groups {
        for index in &group.insts {
            if group.kind != Kind::Rows {
                kept.extend(&facts.inst(*index).results);
            }
            kept.extend(facts.inst(*index).results.iter().filter(|result| facts.target[**result].is_some()));
            from_memory(facts, group, *index, &mut kept);
        }
    }
    kept
}

/// The computed values that an instruction of a group reads from memory, through what is computed again.
fn from_memory(facts: &Facts<'_>, group: &Group, index: usize, kept: &mut BTreeSet<Value>) {
    for (base, far) in facts.reads(index) {
        let Some(def) = facts.def[base] else { continue };
        if far || !(facts.again[def] || group.insts.contains(&def)) {
            kept.insert(base);
        } else if facts.again[def] && !facts.free[def] && !group.insts.contains(&def) {
            from_memory(facts, group, def, kept);
        }
    }
}

/// The launch of a group. `started`: sums of contractions that have their first part already.
fn launch(facts: &Facts<'_>, group: &Group, storage: &mut Storage, step: Step, started: &mut BTreeSet<Value>) -> Option<FusedLaunch> {
    let index = group.insts[0];
    match group.kind {
        Kind::Rows => Some(rows::lower(facts, group, storage, step)),
        Kind::Attention => Some(attention::lower(facts, index, storage)),
        Kind::Contract => {
            let Op::Contract(over) = &facts.inst(index).op else { return None };
            let result = facts.inst(index).results[0];
            let first = started.insert(facts.target[result].unwrap_or(result));
            let accumulate = match (first, storage.spot(result).adds) {
                (false, _) => Accumulate::Add,
                (true, true) => Accumulate::ByCall,
                (true, false) => Accumulate::Write,
            };
            Some(contract::lower(facts, index, over, storage, accumulate))
        }
        Kind::Collective => {
            let Op::Collective(collective) = &facts.inst(index).op else { return None };
            Some(collective::lower(facts, index, collective, storage))
        }
        Kind::Segmented => {
            let Op::Index(Index::Scatter { into }) = &facts.inst(index).op else { return None };
            Some(segmented::lower(facts, index, *into, storage))
        }
        Kind::Join | Kind::Nothing => None,
    }
}
