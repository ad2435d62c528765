//! What a user is told who is at fault in `mesh` or `shard`, whatever the model.

use super::super::super::error::nearest;
use super::super::super::settings::Axis;
use meshwright_grammar::{CodeInfo, Diagnostic, Span};

/// The codes of this room.
pub const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: "settings::new_axis",
        title: "an override names an axis that the mesh lacks",
        explanation: "`--set mesh.data=4` changes the size of an axis that the spec has. A new axis would be in no rule and multiply the cost only.",
    },
    CodeInfo {
        code: "settings::mesh_size",
        title: "a mesh of more ranks than any machine has",
        explanation: "The sizes of the axes multiply to the number of ranks. Most often a size was meant to be a power that the whole mesh has.",
    },
    CodeInfo {
        code: "settings::rule_reversed",
        title: "a shard rule the wrong way round",
        explanation: "Left of the arrow stands what is cut, a dim of tensors or a kind of state; right of it by what, axes of the mesh: `Heads -> tensor`.",
    },
    CodeInfo {
        code: "settings::dim_capital",
        title: "a dim without its capital in a shard rule",
        explanation: "Names left of the arrow are dims, which are capitalised, or one of the words for state and presets, which are small.",
    },
    CodeInfo {
        code: "settings::axis_product",
        title: "axes joined by something else than `*`",
        explanation: "Several axes cut a dim into the product of their sizes, major first: `Batch -> replica * data` gives each pair of a replica and a data \
                      rank a part of its own.",
    },
    CodeInfo {
        code: "settings::axis_number",
        title: "a number where an axis is named",
        explanation: "A rule names an axis; how many devices lie along it is said once, in the mesh: `mesh { tensor = 2 }` and `Heads -> tensor`.",
    },
    CodeInfo {
        code: "settings::whole_product",
        title: "`whole` together with axes",
        explanation: "`Seq -> whole` leaves a dim whole whatever later rules say. It is not an axis and multiplies with none.",
    },
    CodeInfo {
        code: "settings::via_whole",
        title: "a way to gather a dim that stays whole",
        explanation: "`via` says how an operation gets a whole dim that is cut. A dim that stays whole needs no way.",
    },
    CodeInfo {
        code: "settings::shard_setting",
        title: "a setting in a shard rule",
        explanation: "A shard rule has axes and, after them, `via`. Settings by name belong to `tune`, or to the preset `megatron`, which takes the names of dims.",
    },
    CodeInfo {
        code: "settings::preset_axes",
        title: "a preset without the axes that it needs",
        explanation: "`fsdp`, `zero1`, `zero2`, `zero3` and `megatron` are given one axis or a product, `hsdp` two: the weights are cut along the last one and \
                      copied along the others. What they expand to is shown by `meshwright plan SPEC --show rules`.",
    },
    CodeInfo {
        code: "settings::preset_argument",
        title: "a preset has no such argument",
        explanation: "`megatron` takes the dims that it cuts: `heads`, `hidden`, `vocabulary` and `sequence`. The others take nothing: they know the batch dim.",
    },
    CodeInfo {
        code: "settings::preset_dim",
        title: "an argument of a preset is no dim",
        explanation: "`megatron` takes names of dims: `heads: Heads, hidden: Mlp, vocabulary: Vocab, sequence: Seq`. For sequence parallelism name the dim instead \
                      of `true`.",
    },
    CodeInfo {
        code: "settings::preset_dims",
        title: "`megatron` does not say which dims",
        explanation: "A name says nothing about a dim, so the compiler does not guess which one counts heads. Name those that the model has.",
    },
    CodeInfo {
        code: "settings::duplicate_rule",
        title: "a shard rule that stands twice",
        explanation: "The second one finds its axes taken by the first in every tensor, and changes nothing. A preset such as `fsdp` has a rule for the batch already.",
    },
    CodeInfo {
        code: "settings::state_twice",
        title: "two rules for one kind of state",
        explanation: "State rests one way: in pieces along one product of axes. Two rules cannot both count.",
    },
    CodeInfo {
        code: "settings::redundant_state",
        title: "a kind of state that another implies",
        explanation: "Kinds of state are cumulative: weights in pieces have gradients in pieces, these have moments in pieces. The strongest kind is enough.",
    },
];

/// An override of an axis that the mesh lacks.
pub(super) fn new_axis(span: Span, name: &str, known: &[&str]) -> Diagnostic {
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `mesh.{near}`?"),
        None if known.is_empty() => format!("write `mesh {{ {name} = 1 }}` into the spec, with rules that use it"),
        None => format!("the mesh has {}", known.join(", ")),
    };
    Diagnostic::error("settings::new_axis", format!("`mesh.{name}` is set, but the mesh has no axis `{name}`"))
        .label(span, "set to this")
        .help(help)
}

/// Too many ranks.
pub(super) fn mesh_size(span: Span, axes: &[Axis], most: u64) -> Diagnostic {
    let sizes: Vec<String> = axes.iter().map(|axis| axis.size.to_string()).collect();
    let ranks = axes.iter().fold(1u128, |ranks, axis| ranks.saturating_mul(axis.size.into()));
    Diagnostic::error("settings::mesh_size", format!("the mesh has {} = {ranks} ranks, and the most is {most}", sizes.join(" * ")))
        .label(span, "the largest axis")
        .help("make this axis smaller: sizes multiply to the number of devices")
}

/// `tensor -> Heads`.
pub(super) fn rule_reversed(span: Span, axis: &str, dim: &str) -> Diagnostic {
    Diagnostic::error("settings::rule_reversed", format!("`{axis}` is an axis and `{dim}` a dim: this rule is the wrong way round"))
        .label(span, "an axis cut by a dim")
        .help(format!("write `{dim} -> {axis}`"))
}

/// `heads -> tensor`.
pub(super) fn dim_capital(span: Span, name: &str, dim: &str) -> Diagnostic {
    Diagnostic::error("settings::dim_capital", format!("there is no `{name}` to cut, but a dim `{dim}`"))
        .label(span, "not a dim")
        .help(format!("write `{dim}`"))
}

/// `replica + data`.
pub(super) fn axis_product(span: Span, left: &str, right: &str) -> Diagnostic {
    Diagnostic::error("settings::axis_product", "axes are joined by `*`")
        .label(span, "another operator")
        .help(format!("write `{left} * {right}`"))
}

/// `Heads -> 2`.
pub(super) fn axis_number(span: Span, number: &str) -> Diagnostic {
    Diagnostic::error("settings::axis_number", format!("a rule names an axis, and `{number}` is a number"))
        .label(span, "not an axis")
        .help(format!("name an axis of the mesh, as in `mesh {{ tensor = {number} }}` and `Heads -> tensor`"))
}

/// `whole * tensor`.
pub(super) fn whole_product(span: Span) -> Diagnostic {
    Diagnostic::error("settings::whole_product", "`whole` stands alone: it is no axis")
        .label(span, "among axes")
        .help("write `-> whole` to leave the dim whole, or only axes to cut it")
}

/// `Seq -> whole via heads`.
pub(super) fn via_whole(span: Span) -> Diagnostic {
    Diagnostic::error("settings::via_whole", "a dim that stays whole needs no way to be gathered")
        .label(span, "nothing is cut")
        .help("remove what follows `whole`, or name the axis that cuts the dim")
}

/// A setting where none belongs.
pub(super) fn shard_setting(span: Span, key: &str) -> Diagnostic {
    Diagnostic::error("settings::shard_setting", format!("a shard rule has no setting `{key}`"))
        .label(span, "not for placements")
        .help("move it to a rule under `tune`, or remove it")
}

/// Too few axes for a preset.
pub(super) fn preset_axes(span: Span, name: &str, least: usize, given: usize) -> Diagnostic {
    let example = if least == 2 { "replica * data" } else { "data" };
    Diagnostic::error("settings::preset_axes", format!("`{name}` takes {least} or more axes and nothing after them; here are {given}"))
        .label(span, "this preset")
        .help(format!("write `{name} -> {example}`, with axes of the mesh"))
}

/// An argument that a preset does not take.
pub(super) fn preset_argument(span: Span, name: &str, key: &str, known: &[&str]) -> Diagnostic {
    let help = match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "remove it".to_string(),
        None => format!("it takes {}", known.join(", ")),
    };
    Diagnostic::error("settings::preset_argument", format!("`{name}` takes no `{key}`")).label(span, "not known").help(help)
}

/// An argument that is no dim.
pub(super) fn preset_dim(span: Span, key: &str, found: &str, dims: &[String]) -> Diagnostic {
    let help = match nearest(found, dims.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("name one of the model's dims: {}", dims.join(", ")),
    };
    Diagnostic::error("settings::preset_dim", format!("`{key}` is the name of a dim, and `{found}` is none"))
        .label(span, "not a dim")
        .help(help)
}

/// `megatron -> tensor`, without dims.
pub(super) fn preset_dims(span: Span) -> Diagnostic {
    Diagnostic::error("settings::preset_dims", "`megatron` is not told which dims to cut")
        .label(span, "no dims")
        .help("write `megatron -> tensor, heads: Heads, hidden: Mlp, vocabulary: Vocab, sequence: Seq`, with those that the model has")
}

/// The same rule again.
pub(super) fn duplicate_rule(span: Span, what: &str, axes: &[String], before: Span) -> Diagnostic {
    let right = if axes.is_empty() { "whole".to_string() } else { axes.join(" * ") };
    let found = Diagnostic::warning("settings::duplicate_rule", format!("`{what} -> {right}` stands twice")).label(span, "changes nothing");
    let found = if before == span { found } else { found.label(before, "first here") };
    found.help("remove one of the two; 'meshwright plan SPEC --show rules' shows what presets stand for")
}

/// A second rule for a kind of state.
pub(super) fn state_twice(span: Span, what: &str, axes: &[String], before: Span) -> Diagnostic {
    let axes = if axes.is_empty() { "whole".to_string() } else { axes.join(" * ") };
    Diagnostic::error("settings::state_twice", format!("`{what}` is given twice, before this as `{axes}`"))
        .label(span, "differs")
        .label(before, "first here")
        .help("keep one of the two: state rests in pieces along one product of axes")
}

/// A kind that a stronger one implies.
pub(super) fn redundant_state(span: Span, what: &str, other: &str, before: Span) -> Diagnostic {
    Diagnostic::warning("settings::redundant_state", format!("`{other}` along an axis means `{what}` along it too"))
        .label(span, "says nothing new")
        .label(before, "implied by this")
        .help(format!("remove `{what}`"))
}
