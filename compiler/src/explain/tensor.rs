//! One tensor: which rule gave each of its dims an axis, which rules came too late, what it weighs, how its gradient is reduced.

use super::words::Words;
use super::{Placed, Tensor};
use crate::graph::ir::Role;
use crate::graph::ir::segment_of;
use crate::model::ir::{Model, Weight};
use crate::op::{Dim, Type};
use crate::shard::ir::{Axis, Level};
use crate::shard::moves::User;
use crate::shard::scope::Scope;

/// An input or a value.
pub fn plain(words: &Words<'_>, scope: Scope, kind: &'static str, name: &str, ty: &Type) -> Tensor {
    let bytes = Model::stored(ty.element).bytes();
    of(words, scope, (kind, name), &ty.dims, bytes)
}

/// A weight.
pub fn weight(words: &Words<'_>, weight: Weight) -> Tensor {
    let data = &words.graph.weights[weight];
    let scope = words.placing.scopes().weights[weight];
    let mut tensor = of(words, scope, ("weight", &data.path), &data.dims(), 4 * data.count);
    tensor.rest = rest(words, weight, tensor.local_bytes);
    tensor.gradient = if data.frozen { vec!["it is frozen: there is none".to_string()] } else { gradient(words, weight) };
    tensor
}

fn of(words: &Words<'_>, scope: Scope, (kind, name): (&'static str, &str), dims: &[Dim], bytes: u64) -> Tensor {
    let (placement, reasons) = (words.placing.place_in(scope, dims), words.placing.reasons(scope, dims));
    let placed = |dim: &Dim| {
        let size = words.dims()[*dim].size;
        let parts = words.sharded.mesh.size(placement.of(*dim));
        let axis = |axis: &Axis| {
            let rule = reasons.giver(*dim, *axis).map_or_else(String::new, |rule| words.rule(rule));
            (words.axis(*axis).to_string(), rule)
        };
        let whole = reasons.given.iter().find(|(_, own, axes)| own == dim && axes.is_empty());
        Placed {
            name: words.dims()[*dim].name.clone(),
            sizes: (size, size.div_ceil(parts)),
            parts,
            balanced: words.placing.is_balanced(*dim),
            axes: placement.of(*dim).iter().map(axis).collect(),
            whole: whole.map(|(rule, _, _)| words.rule(rule)),
        }
    };
    let dims: Vec<Placed> = dims.iter().map(placed).collect();
    let skipped = reasons.skipped.iter().map(|(rule, skipped)| {
        let (dim, holder) = (&words.dims()[skipped.dim].name, &words.dims()[skipped.holder].name);
        match skipped.axis {
            Some(axis) => format!("{} does not cut {dim}: `{}` already cuts {holder}", words.rule(rule), words.axis(axis)),
            None => format!("{} does not cut {dim}: an earlier rule says that it stays whole", words.rule(rule)),
        }
    });
    let all = |size: fn(&Placed) -> u64| dims.iter().map(size).fold(bytes, u64::saturating_mul);
    Tensor {
        kind,
        name: name.to_string(),
        skipped: skipped.collect(),
        bytes: all(|dim| dim.sizes.0),
        local_bytes: all(|dim| dim.sizes.1),
        dims,
        rest: None,
        gradient: Vec::new(),
    }
}

/// How a weight rests in pieces of flat blocks.
fn rest(words: &Words<'_>, weight: Weight, bytes: u64) -> Option<String> {
    let rest = &words.sharded.rest;
    let what = match rest.level {
        Level::Whole => return None,
        Level::Moments => "its record and moments rest",
        Level::Gradients => "its record, gradient and moments rest",
        Level::Weights => "it rests",
    };
    let (axes, parts) = (words.sharded.mesh.names(&rest.axes).join("*"), words.sharded.mesh.size(&rest.axes));
    let own = words.sharded.weight_axes(weight);
    if rest.axes.iter().any(|axis| own.contains(axis)) {
        return Some(format!("not in pieces along {axes}: a rule cuts its dims along that already"));
    }
    let rule = words
        .states
        .first()
        .map_or_else(String::new, |(kind, axes, span)| words.at(&format!("`{kind} -> {}`", axes.join(" * ")), Some(*span)));
    Some(format!("{what} in {parts} pieces along {axes}, {} a rank: {rule}", meshwright_plan::print::human(bytes.div_ceil(parts))))
}

fn gradient(words: &Words<'_>, weight: Weight) -> Vec<String> {
    let mesh = &words.sharded.mesh;
    let (deferred, own) = (&words.sharded.deferred[weight], words.sharded.weight_axes(weight));
    let mut told = Vec::new();
    let inside = reduced_inside(words, weight);
    if !inside.is_empty() {
        told.push(format!(
            "inside the backward program it is summed over {}: that axis cuts weights beside it",
            mesh.names(&inside).join("*")
        ));
    }
    if !deferred.is_empty() {
        let rest = &words.sharded.rest;
        let names = mesh.names(deferred).join("*");
        let how = match rest.level {
            Level::Whole => format!("it is summed over {names} once a step, with its block, in f32"),
            Level::Moments => {
                format!("it is summed over {names} once a step: a reduce_scatter into pieces along {}", mesh.names(&rest.axes).join("*"))
            }
            Level::Gradients | Level::Weights => {
                format!(
                    "it is summed over {names}: a reduce_scatter after each microbatch's backward, into pieces along {}",
                    mesh.names(&rest.axes).join("*")
                )
            }
        };
        told.push(how);
    }
    let cut: Vec<Axis> = own.iter().copied().filter(|axis| !deferred.contains(axis)).collect();
    if !cut.is_empty() {
        told.push(format!("along {} each rank has the gradient of its own part: nothing is exchanged", mesh.names(&cut).join("*")));
    }
    let same: Vec<Axis> = mesh.axes.keys().filter(|axis| ![deferred, &own, &inside].iter().any(|set| set.contains(axis))).collect();
    if !same.is_empty() {
        told.push(format!("along {} all ranks compute the same gradient", mesh.names(&same).join("*")));
    }
    told
}

/// The axes over which a backward program sums a weight's gradient itself.
fn reduced_inside(words: &Words<'_>, weight: Weight) -> Vec<Axis> {
    let mut axes = Vec::new();
    for call in &words.graph.calls {
        let Some(slot) = call.weights.iter().position(|(own, _)| *own == weight) else { continue };
        let moves = &words.sharded.moves[segment_of(call)].backward;
        let own = moves.iter().filter(|one| one.user == User::Output(Role::WeightGrad(slot as u32)));
        axes.extend(own.flat_map(|one| one.from.partial_axes().iter().copied().filter(|axis| !one.to.partial_axes().contains(axis))));
    }
    axes.sort_unstable();
    axes.dedup();
    axes
}
