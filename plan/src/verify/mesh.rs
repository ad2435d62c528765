//! The mesh, and whatever names its axes.

use super::{Report, Rule};
use crate::kernel::{Attention, NodeData, Role, Skeleton};
use crate::mesh::Coordinate;
use crate::{DimSize, KernelData, Plan, print};
use std::collections::BTreeSet;

/// More axes than this make no mesh: a set of them is a word's bits.
pub(crate) const MOST_AXES: usize = 64;

/// More ranks than this make no mesh.
const MOST_RANKS: u64 = 1 << 32;

/// The axes, and the parts of a batch.
pub(super) fn mesh(plan: &Plan, report: &mut Report) {
    report.at("mesh");
    report.unique(plan.mesh.axes.iter().map(|axis| axis.name.as_str()));
    let ranks = plan.mesh.axes.iter().try_fold(1u64, |ranks, axis| ranks.checked_mul(axis.size));
    let counted = ranks.is_some_and(|ranks| (1..=MOST_RANKS).contains(&ranks));
    report.check(counted, Rule::MeshAxis, || "the mesh has no ranks, or more than 32 bits count".to_owned());
    report.check(plan.mesh.axes.len() <= MOST_AXES, Rule::MeshAxis, || format!("more than {MOST_AXES} axes"));
    report.check(plan.microbatches > 0, Rule::Microbatches, || "a batch is cut into no parts".to_owned());
    for input in &plan.inputs {
        let whole = input.dims.first().is_none_or(|batch| batch.size.is_multiple_of(plan.microbatches.max(1)));
        report.check(whole, Rule::Microbatches, || format!("{} is not cut into {} equal parts", input.name, plan.microbatches));
        let batch = input.dims.first().is_none_or(|batch| !batch.balanced);
        report.check(batch, Rule::Microbatches, || format!("the batch of {} is cut into balanced parts", input.name));
        cut(plan, &input.name, &input.dims, report);
    }
    plan.weights.iter().for_each(|weight| cut(plan, &weight.path, &weight.dims, report));
    plan.outputs.iter().for_each(|output| cut(plan, &output.name, &output.dims, report));
}

/// Whether these are axes of the mesh, none of them twice.
pub(super) fn axes(plan: &Plan, axes: &[String]) -> bool {
    let different: BTreeSet<&String> = axes.iter().collect();
    different.len() == axes.len() && different.iter().all(|name| plan.mesh.axes.iter().any(|axis| axis.name == **name))
}

/// No axis cuts two dims of one tensor, and the whole tensor's sizes fit.
fn cut(plan: &Plan, name: &str, dims: &[DimSize], report: &mut Report) {
    let all: Vec<String> = dims.iter().flat_map(|dim| dim.axes.iter().cloned()).collect();
    report.check(axes(plan, &all), Rule::MeshAxis, || format!("{name} is cut along {}", print::axes(&all)));
    for dim in dims {
        let whole = dim.size.checked_mul(plan.mesh.size(&dim.axes));
        report.check(whole.is_some(), Rule::MeshAxis, || format!("{name} is too large along {}", dim.name));
        let padded = dim.padding == 0 || (!dim.balanced && whole.is_some_and(|whole| dim.padding < whole));
        report.check(padded, Rule::MeshAxis, || format!("{name} is nothing but padding along {}", dim.name));
        let runs = !dim.balanced || (dim.size.is_multiple_of(2) && !dim.axes.is_empty());
        report.check(runs, Rule::MeshAxis, || format!("{name} has no two equal runs along {}", dim.name));
    }
}

/// The cut dims of a kernel, and the coordinates that it uses.
pub(super) fn kernel(plan: &Plan, kernel: &KernelData, report: &mut Report) {
    for dim in kernel.dims.values() {
        report.check(axes(plan, &dim.axes), Rule::MeshAxis, || format!("{} is cut along {}", dim.name, print::axes(&dim.axes)));
    }
    match &kernel.skeleton {
        Skeleton::Rows(rows) => rows.nodes.values().for_each(|node| match node {
            NodeData::Coordinate(own) => coordinate(plan, own, i32::MAX as u64, report),
            NodeData::Random { origin, runs, .. } => {
                let runs = runs.iter().flat_map(|runs| [runs.first.clone(), runs.second()]);
                origin.iter().cloned().chain(runs).for_each(|own| coordinate(plan, &own, i64::MAX as u64, report));
            }
            NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) | NodeData::Load { .. } => {}
            NodeData::Position { .. } | NodeData::Map { .. } | NodeData::Reduce { .. } | NodeData::Scan { .. } => {}
        }),
        Skeleton::Attention(shape) | Skeleton::AttentionGrad(shape) => {
            shape.coordinates().iter().for_each(|own| coordinate(plan, own, i32::MAX as u64, report));
            runs(kernel, shape, report);
        }
        Skeleton::Contract { .. } | Skeleton::Segmented | Skeleton::Collective(_) => {}
    }
}

/// Parts are as long as their coordinates say: one run, or the two of balanced parts.
fn runs(kernel: &KernelData, shape: &Attention, report: &mut Report) {
    let parts = [(Role::Query, &shape.query), (Role::Key, &shape.key)];
    for (role, own) in parts.iter().filter_map(|(role, own)| Some((*role, own.as_ref()?))) {
        report.check(!own.second, Rule::MeshAxis, || "positions start with a second run".to_owned());
        let size: u64 = kernel.dims.values().filter(|dim| dim.role == role).map(|dim| dim.size).product();
        let (runs, count) = if shape.balanced { (own.times.saturating_mul(2), "two runs") } else { (own.times, "one run") };
        report.check(size == runs, Rule::MeshAxis, || format!("{size} positions are not {count} of {}", own.times));
    }
}

fn coordinate(plan: &Plan, own: &Coordinate, most: u64, report: &mut Report) {
    let known = axes(plan, &own.axes);
    report.check(known, Rule::MeshAxis, || format!("a coordinate along {}", print::axes(&own.axes)));
    let runs = if own.second { 2 } else { 1 };
    let largest = plan.mesh.size(&own.axes).checked_mul(own.times).and_then(|largest| largest.checked_mul(runs));
    report.check(largest.is_some_and(|largest| largest <= most), Rule::Number, || format!("a coordinate times {} is too large", own.times));
    let ring = own.back < plan.mesh.size(&own.axes).max(1);
    report.check(ring, Rule::MeshAxis, || format!("a coordinate {} back, further than its ring", own.back));
}
