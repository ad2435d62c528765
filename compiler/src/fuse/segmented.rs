//! Lowering: `Scatter` → a `segmented` kernel.
//!
//! Requires a scatter whose result keeps dims beside its index's that are one chain in the value and in the result. Ensures that rows are
//! added in the order of the index's memory.

use super::contract::{Operands, extents};
use super::facts::Facts;
use super::ir::FusedLaunch;
use super::storage::Storage;
use crate::op::{Dim, Value};
use meshwright_plan::kernel::{Access, Role, Skeleton};
use meshwright_plan::program::Accumulate;

/// The kernel of a scatter into `into`.
pub fn lower(facts: &Facts<'_>, index: usize, into: Dim, storage: &Storage) -> FusedLaunch {
    let inst = facts.inst(index);
    let (at, value, result) = (inst.args[0], inst.args[1], inst.results[0]);
    let mut operands = Operands::new(facts, storage, classify(facts, into, at, value, result));
    operands.read("index", at, |_, role| matches!(role, Role::Batch | Role::Row));
    operands.read("value", value, |_, role| role != Role::Segment);
    operands.write("out", result, Access::Accumulate, |_, role| role != Role::Row);
    let adds = storage.spot(result).adds;
    let (mut kernel, places) = operands.kernel(super::name::segmented(facts, index), Skeleton::Segmented);
    extents(&mut kernel);
    let accumulate = if adds { Accumulate::ByCall } else { Accumulate::Write };
    FusedLaunch { kernel, places, accumulate, origins: facts.origins(&[index]) }
}

fn classify(facts: &Facts<'_>, into: Dim, at: Value, value: Value, result: Value) -> Vec<(Dim, Role)> {
    let ty = |value: Value| &facts.program.body.ty(value).dims;
    let result = ty(result);
    let (batch, mut rows): (Vec<Dim>, Vec<Dim>) = ty(at).iter().partition(|dim| result.contains(dim));
    rows.extend(ty(value).iter().copied().filter(|dim| !result.contains(dim) && !ty(at).contains(dim)));
    let lanes = result.iter().copied().filter(|dim| *dim != into && !batch.contains(dim)).map(|dim| (dim, Role::Lane));
    let outer = batch.iter().map(|dim| (*dim, Role::Batch)).chain(rows.into_iter().map(|dim| (dim, Role::Row)));
    outer.chain([(into, Role::Segment)]).chain(lanes).collect()
}
