//! The axes of a mesh: their sizes, the factors of a size (`tensor = 2 * 4`), and the rest of a cluster (`data = *`).
//!
//! Requires nothing. Ensures axes of at least 1 device each. A factored axis is as many axes as it has factors, `tensor.0` (major), `tensor.1`, …;
//! its own name stands for all of them.

use super::super::super::settings::Axis;
use super::super::keyed::Keyed;
use super::super::{Reader, error};
use super::{STATES, wrong};
use meshwright_grammar::tree::{BinaryOp, BlockKind, Expr, ExprKind};
use meshwright_grammar::{Diagnostic, Span};
use meshwright_plan::mesh::base;

/// The mesh, slowest axis first.
pub(super) fn read(reader: &mut Reader) -> Vec<Axis> {
    let cluster = cluster(reader);
    let mut keyed = Keyed::new(reader, BlockKind::Mesh);
    let (mut axes, mut rest): (Vec<Axis>, Vec<(usize, Span)>) = (Vec::new(), Vec::new());
    for (name, span, value) in keyed.all() {
        if STATES.iter().any(|(word, _)| *word == name) || name == "whole" {
            keyed.errors().push(error::axis_name(span, &name));
            continue;
        }
        if value.kind == ExprKind::Rest {
            rest.push((axes.len(), value.span));
        }
        axes.extend(sized(&mut keyed, &name, span, &value));
    }
    fill(reader, &mut axes, &rest, cluster);
    axes
}

/// One axis, or one for each factor of its size. An axis whose size is wrong, or not known yet, is an axis all the same.
fn sized(keyed: &mut Keyed, name: &str, span: Span, value: &Expr) -> Vec<Axis> {
    let mut factors = Vec::new();
    product(value, &mut factors);
    let several = factors.len() > 1;
    let mut axes = Vec::new();
    for (number, factor) in factors.into_iter().enumerate() {
        let size = if factor.kind == ExprKind::Rest { Some(1.0) } else { keyed.number_of(factor, name) };
        if let Some(size) = size.filter(|size| *size < 1.0 || *size != size.trunc()) {
            keyed.errors().push(error::whole(factor.span, name, size, 1));
        }
        let name = if several { format!("{name}.{number}") } else { name.to_string() };
        axes.push(Axis { name, size: size.map_or(1, |size| (size as u64).max(1)), span });
    }
    axes
}

fn product<'e>(value: &'e Expr, factors: &mut Vec<&'e Expr>) {
    match &value.kind {
        ExprKind::Binary { op: BinaryOp::Multiply, left, right, .. } => {
            product(left, factors);
            product(right, factors);
        }
        _ => factors.push(value),
    }
}

/// The devices of `cluster { per_node = 8, nodes = 2 }`, and where they are said.
fn cluster(reader: &mut Reader) -> Option<(u64, Span)> {
    let mut keyed = Keyed::new(reader, BlockKind::Cluster);
    let span = keyed.span?;
    let counts = [keyed.whole("per_node", 1), keyed.whole("nodes", 1)];
    if let Some((span, _)) = keyed.take("device") {
        keyed.errors().push(error::not_supported(span, "the kind of a cluster's devices", "remove it: `--target` chooses the kernels"));
    }
    keyed.close();
    Some((counts.into_iter().flatten().product(), span))
}

/// Gives the axis `*` what the others leave of the cluster; without one, the mesh has just the cluster's devices, unless overrides make it one device.
fn fill(reader: &mut Reader, axes: &mut [Axis], rest: &[(usize, Span)], cluster: Option<(u64, Span)>) {
    let ranks = axes.iter().fold(1u64, |ranks, axis| ranks.saturating_mul(axis.size));
    let alone = ranks == 1 && reader.overrides.iter().any(|(key, _)| key.starts_with("mesh."));
    match (rest, cluster) {
        ([], None) => {}
        ([], Some((devices, span))) if ranks != devices && !axes.is_empty() && !alone => {
            reader.errors.push(wrong::ranks(span, axes, devices));
        }
        ([], Some(_)) => {}
        ([(at, span)], None) => reader.errors.push(wrong::rest_unknown(*span, &axes[*at].name)),
        ([(at, span)], Some((devices, _))) if devices % ranks != 0 => {
            reader.errors.push(wrong::rest_divide(*span, &axes[*at].name, ranks, devices));
        }
        ([(at, _)], Some((devices, _))) => axes[*at].size = devices / ranks,
        ([(_, before), (_, span), ..], _) => reader.errors.push(wrong::rest_twice(*span, *before)),
    }
}

/// The axes that a name in a rule stands for: an axis, a factor, or all factors. Factors of an axis of size 1 are that axis.
pub(super) fn named<'a>(axes: &'a [Axis], name: &str) -> Vec<&'a Axis> {
    let all: Vec<&Axis> = axes.iter().filter(|axis| base(&axis.name) == base(name)).collect();
    match all.as_slice() {
        _ if base(name) == name => all,
        [one] if one.size == 1 && one.name == base(name) => all,
        _ => all.into_iter().filter(|axis| axis.name == name).collect(),
    }
}

/// What is wrong with a name that stands for no axis.
pub(super) fn unknown(axes: &[Axis], name: &str, span: Span) -> Diagnostic {
    let sizes: Vec<u64> = axes.iter().filter(|axis| base(&axis.name) == base(name)).map(|axis| axis.size).collect();
    if name == "*" {
        return wrong::rest_rule(span);
    }
    if base(name) != name && !sizes.is_empty() {
        return wrong::axis_factor(span, base(name), name, &sizes);
    }
    let mut all: Vec<String> = axes.iter().map(|axis| base(&axis.name).to_string()).collect();
    all.dedup();
    error::unknown_axis(span, name, &all)
}
