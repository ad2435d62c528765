//! What a user can be at fault for in this stage, and what is worth knowing.
//!
//! Requires nothing. Ensures that every code made here is in [`CODES`], and every finding has a help that names the next edit.

use super::ir::{Axis, Cuts, Mesh};
use super::placement::Placing;
use crate::model::settings::Settings;
use crate::op::{Dim, Dims};
use meshwright_grammar::{CodeInfo, Diagnostic, Span};

/// All codes of this stage.
pub const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: "shard::uneven",
        title: "an axis does not divide the dim that it cuts",
        explanation: "A dim that a rule cuts is cut into equal parts, one per device along the rule's axes, so its size must be a multiple of their number. \
            Of the batch dim, each microbatch is cut by itself. Choose another size of the dim or of the axis; the help names the nearest ones.",
    },
    CodeInfo {
        code: "shard::rest",
        title: "weights, gradients and moments rest along different axes",
        explanation: "State is cut as flat blocks, and what cuts weights cuts gradients and moments too. Name the kinds in one rule \
            (`gradients, moments -> data`), or only the first: `weights -> data` is all three.",
    },
    CodeInfo {
        code: "shard::no_effect",
        title: "a shard rule without effect",
        explanation: "Rules are walked from the top, and each axis is taken once per tensor. A rule does nothing if no tensor has its dim, or if earlier rules \
            have taken its axes in every tensor that has it. Remove it, or move it up.",
    },
    CodeInfo {
        code: "shard::idle_axis",
        title: "an axis that cuts nothing",
        explanation: "All devices along an axis that no rule uses compute the same, on the same data: it multiplies the cost and not the speed. Use it in a \
            rule (`Batch -> data` cuts the work), or remove it from the mesh.",
    },
];

/// Programs that the verifier refuses are our fault, and the error says so.
pub fn bug(wrong: &str) -> Diagnostic {
    Diagnostic::error("plan::bug", format!("the compiler cut a program in a way that its own verifier refuses: {wrong}"))
        .help("this is a bug in Meshwright, not in your spec; please report it with the spec")
}

fn place(diagnostic: Diagnostic, span: Option<Span>, text: &str) -> Diagnostic {
    match span {
        Some(span) => diagnostic.label(span, text),
        None => diagnostic,
    }
}

/// A state kind whose axes are not those of the kind before it.
pub fn rest(span: Span, axes: &[String]) -> Diagnostic {
    let axes = axes.join(" * ");
    Diagnostic::error("shard::rest", format!("the kinds of state rest along different axes: an earlier one along `{axes}`"))
        .label(span, "along other axes")
        .help(format!("write `{axes}` here too, or leave this name out: it follows the earlier kind"))
}

/// Every cut that does not come out even.
pub fn uneven(dims: &Dims, mesh: &Mesh, cuts: &Cuts, placing: &Placing) -> Vec<Diagnostic> {
    cuts.uneven.iter().map(|(dim, axes)| uneven_cut(dims, mesh, *dim, axes, placing)).collect()
}

fn uneven_cut(dims: &Dims, mesh: &Mesh, dim: Dim, axes: &[Axis], placing: &Placing) -> Diagnostic {
    let (data, parts) = (&dims[dim], mesh.size(axes));
    let by: Vec<String> = axes.iter().map(|axis| format!("{} = {}", mesh.axes[*axis].name, mesh.axes[*axis].size)).collect();
    let (below, above) = (data.size / parts * parts, data.size.div_ceil(parts) * parts);
    let sizes = if below == 0 { above.to_string() } else { format!("{below} or {above}") };
    let divisors: Vec<u64> = (2..=data.size).filter(|parts| data.size % parts == 0).collect();
    let axis = match divisors.iter().min_by_key(|divisor| divisor.abs_diff(parts)) {
        Some(divisor) => format!(", or cut it into {divisor}"),
        None => String::new(),
    };
    let by = by.join(", ");
    let message = format!(
        "`{}` has {} elements, which {parts} devices ({by}) do not divide: {} / {parts} leaves {}",
        data.name,
        data.size,
        data.size,
        data.size % parts
    );
    let rule = placing.giver(dim, axes).and_then(|rule| rule.span);
    let found = place(Diagnostic::error("shard::uneven", message), rule, "cut here");
    place(found, data.span, "its size").help(format!("give `{}` a size of {sizes} per microbatch{axis}", data.name))
}

/// Rules and axes without effect.
pub fn idle(dims: &Dims, mesh: &Mesh, placing: &Placing, settings: &Settings) -> Vec<Diagnostic> {
    let rules = placing.idle(dims).into_iter().map(|(exists, rule)| {
        let why = if exists { "its axes are taken by earlier rules in every tensor that has the dim" } else { "no tensor has this dim" };
        let help = if exists { "move the rule up, or remove it" } else { "check the dim's name, or remove the rule" };
        let found = Diagnostic::warning("shard::no_effect", format!("the rule for `{}` has no effect: {why}", rule.dim));
        place(found, rule.span, "cuts nothing").help(help)
    });
    let used: Vec<&String> = settings
        .shard
        .iter()
        .filter(|rule| !matches!(rule.target, crate::model::settings::ShardTarget::Dim(_)))
        .flat_map(|rule| &rule.axes)
        .collect();
    let axes = placing.unused_axes(mesh).into_iter().map(|axis| &mesh.axes[axis]).filter(|axis| !used.contains(&&axis.name));
    let axes = axes.map(|axis| {
        let span = settings.mesh.iter().find(|own| own.name == axis.name).map(|own| own.span);
        let message = format!("the axis `{}` cuts nothing: its {} devices compute the same", axis.name, axis.size);
        place(Diagnostic::warning("shard::idle_axis", message), span, "in no rule that has an effect")
            .help(format!("write a rule such as `Batch -> {}`, or remove the axis", axis.name))
    });
    rules.chain(axes).collect()
}
