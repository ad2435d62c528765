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
        code: "settings::axis_factor",
        title: "a rule names a factor that the axis lacks",
        explanation: "`mesh { tensor = 2 * 4 }` has an axis of 8 devices in two factors: `tensor.0`, the major one, of 2, and `tensor.1` of 4. A rule may \
                      use one of them, as in `KvHeads -> tensor.0`, and `tensor` is both. An axis whose size is one number has no factors.",
    },
    CodeInfo {
        code: "settings::rest_unknown",
        title: "an axis takes the rest of a cluster that is not described",
        explanation: "`data = *` makes an axis as large as the other axes leave room for. That takes the number of devices: `cluster { per_node = 8, nodes = 2 }` \
                      says it in the spec, `--set mesh.data=4` sets the axis itself.",
    },
    CodeInfo {
        code: "settings::rest_twice",
        title: "two axes take the rest of the cluster",
        explanation: "Only one axis can be whatever the others leave.",
    },
    CodeInfo {
        code: "settings::rest_divide",
        title: "the axes do not divide the cluster",
        explanation: "The sizes of all axes multiply to the number of devices, so the axis `*` is the cluster's devices divided by the product of the others. \
                      The message shows the division.",
    },
    CodeInfo {
        code: "settings::rest_rule",
        title: "a rule cuts by `*`",
        explanation: "`*` stands in the block `mesh`, for a size: `data = *` is the rest of the cluster. A rule names the axis.",
    },
    CodeInfo {
        code: "settings::ranks",
        title: "the mesh and the cluster differ in size",
        explanation: "Every device of the cluster is a rank of the mesh: the sizes of the axes multiply to `per_node * nodes`. Give one axis the size `*` to \
                      let it be what the others leave.",
    },
    CodeInfo {
        code: "settings::rule_path",
        title: "a shard rule whose path does not end in a dim",
        explanation: "Left of the arrow stands a dim (`Heads`), a dim of some layers (`Attention.Embed`, `Moe.**.Expert`), a dim of weights where they rest \
                      (`weights.Embed`), or a kind of state.",
    },
    CodeInfo {
        code: "settings::via_scope",
        title: "a way to gather a dim of some layers only",
        explanation: "`via` says how attention gets keys and values along a dim that is cut, which depends on how the dim is cut everywhere: a rule with a \
                      path cuts, and the rule for the dim alone says the way.",
    },
    CodeInfo {
        code: "settings::padded_place",
        title: "`padded` where nothing can be padded",
        explanation: "`Vocab -> tensor padded` pads a dim of every tensor that has it up to the next multiple of the ranks. State kinds are padded anyway; a dim \
                      at rest, of some layers only, or one that attention gets by a ring or by heads is not.",
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
        code: "settings::two_layouts",
        title: "one dim cut in blocks and balanced",
        explanation: "`via ring` gives each device one block of the dim, `via ring balanced` a chunk from either end. A dim has one of the two wherever it is cut, \
                      whatever the axes.",
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

/// `tensor.2` of two factors.
pub(super) fn axis_factor(span: Span, axis: &str, name: &str, sizes: &[u64]) -> Diagnostic {
    let found = match sizes {
        [one] => format!("`{axis}` is one axis of {one} devices, without factors"),
        _ => format!("`{axis}` has {} factors, `{axis}.0` to `{axis}.{}`", sizes.len(), sizes.len() - 1),
    };
    let help = match sizes {
        [one] => {
            let half = (2..=*one).find(|half| one.is_multiple_of(*half)).unwrap_or(2);
            format!("write its size as a product, major first, as in `{axis} = {half} * {}`", (one / half).max(1))
        }
        _ => format!("name one of them, or `{axis}` for all"),
    };
    Diagnostic::error("settings::axis_factor", format!("there is no `{name}`: {found}")).label(span, "no such factor").help(help)
}

/// `data = *` and nobody says how many devices there are.
pub(super) fn rest_unknown(span: Span, axis: &str) -> Diagnostic {
    Diagnostic::error("settings::rest_unknown", format!("`{axis}` is the rest of a cluster, and nothing says how many devices that has"))
        .label(span, "of how many?")
        .help(format!("write `cluster {{ per_node = 8, nodes = 2 }}`, or set the axis with --set mesh.{axis}=4"))
}

/// Two axes `*`.
pub(super) fn rest_twice(span: Span, before: Span) -> Diagnostic {
    Diagnostic::error("settings::rest_twice", "only one axis can be the rest of the cluster")
        .label(span, "the second `*`")
        .label(before, "the first")
        .help("write a number for one of the two")
}

/// The other axes do not divide the cluster.
pub(super) fn rest_divide(span: Span, axis: &str, others: u64, devices: u64) -> Diagnostic {
    let (below, above) = (devices / others * others, devices.next_multiple_of(others));
    let near = if below == 0 { above.to_string() } else { format!("{below} or {above}") };
    let message = format!("`{axis}` would be {devices} devices / {others} of the other axes, which leaves {}", devices % others);
    Diagnostic::error("settings::rest_divide", message)
        .label(span, "what the others leave")
        .help(format!("change an axis so that their product divides {devices}, or use {near} devices"))
}

/// `Batch -> *`.
pub(super) fn rest_rule(span: Span) -> Diagnostic {
    Diagnostic::error("settings::rest_rule", "`*` is a size of an axis, and no axis")
        .label(span, "not an axis")
        .help("name the axis here, and give it its size in the mesh: `mesh { data = * }` and `Batch -> data`")
}

/// The mesh is not as large as the cluster.
pub(super) fn ranks(span: Span, axes: &[Axis], devices: u64) -> Diagnostic {
    let ranks = axes.iter().fold(1u64, |ranks, axis| ranks.saturating_mul(axis.size));
    let sizes: Vec<String> = axes.iter().map(|axis| format!("{} = {}", axis.name, axis.size)).collect();
    let first = &axes[0].name;
    let others = ranks / axes[0].size.max(1);
    let fits = others > 0 && devices.is_multiple_of(others);
    let help =
        if fits { format!("set `{first}` to {} or to `*`", devices / others) } else { format!("make the axes multiply to {devices}") };
    let message = format!("the mesh has {ranks} ranks ({}), and the cluster {devices} devices", sizes.join(", "));
    Diagnostic::error("settings::ranks", message).label(span, "this many devices").label(axes[0].span, "the mesh").help(help)
}

/// `Attention -> tensor`, `Attention.*`.
pub(super) fn rule_path(span: Span) -> Diagnostic {
    Diagnostic::error("settings::rule_path", "a shard rule is about a dim, and this path does not end in one")
        .label(span, "of which dim?")
        .help("add the dim after the path, as in `Attention.Embed`, or name the dim alone for all tensors that have it")
}

/// `Attention.Seq -> context via ring`.
pub(super) fn via_scope(span: Span) -> Diagnostic {
    Diagnostic::error("settings::via_scope", "`via` belongs to a rule for a dim of all tensors")
        .label(span, "of some layers only")
        .help("name the dim without a path in the rule that says `via`")
}

/// `weights -> data padded`.
pub(super) fn padded_place(span: Span) -> Diagnostic {
    Diagnostic::error("settings::padded_place", "`padded` belongs to a rule for a dim of all tensors, without a way to gather it")
        .label(span, "nothing to pad")
        .help("remove `padded`: state is padded anyway, and other dims take a size that their axes divide")
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

/// A dim in blocks along one axis, balanced along another.
pub(super) fn two_layouts(span: Span, dim: &str, before: Span) -> Diagnostic {
    Diagnostic::error("settings::two_layouts", format!("`{dim}` is cut in blocks by one rule and balanced by another"))
        .label(span, "another layout")
        .label(before, "than here")
        .help("write `balanced` in both rules or in neither; `via heads` and `via gather` go with both")
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
