//! What a user can be at fault for in this stage, and what is worth knowing.
//!
//! Requires nothing. Ensures that every code made here is in [`CODES`], and every finding has a help that names the next edit.

mod price;
mod uneven;
mod waste;

pub use price::{costly, order};
pub use uneven::{uneven, unpadded};
pub use waste::Waste;

use super::placement::Rule;
use crate::model::settings::{Settings, ShardTarget};
use meshwright_grammar::{CodeInfo, Diagnostic, Span};

/// All codes of this stage.
pub const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: "shard::uneven",
        title: "an axis does not divide the dim that it cuts",
        explanation: "A dim that a rule cuts is cut into equal parts, one per device along the rule's axes, so its size must be a multiple of their number. \
            Of the batch dim, each microbatch is cut by itself. `via ring balanced` gives each device two chunks, so the size must be a multiple of twice \
            their number. Choose another size of the dim or of the axis; the help names the nearest ones.",
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
        explanation: "A rule is about a dim by name, and no weight and no value has this one. It is misspelled, or the model that it was written for \
            has changed.",
    },
    CodeInfo {
        code: "shard::padded",
        title: "a padded dim is needed whole or in order",
        explanation: "`padded` makes equal parts of a dim whose size the ranks do not divide, such as a vocabulary: the last parts end in elements that count for \
            nothing. Sums, maxima, products, lookups and cross-entropy know of them. What looks along the dim (shifts, slices, splits, running sums, dropout, \
            attention) or needs all of it on one rank does not.",
    },
    CodeInfo {
        code: "shard::even",
        title: "`padded` for a dim that divides",
        explanation: "The ranks along the rule's axes divide the dim's size, so there is nothing to pad.",
    },
    CodeInfo {
        code: "shard::unmatched",
        title: "a shard rule for layers that the model lacks",
        explanation: "A rule such as `Attention.Embed -> tensor` holds for the weights and values of the layers that its path names: by the names of instances \
            or of their layers, at the path's end; `*` is one part, `**` any. Here nothing goes by this path.",
    },
    CodeInfo {
        code: "shard::one_program",
        title: "a shard rule tells layers apart that share one program",
        explanation: "Layers that are called alike share one program, so that a plan does not grow with their number. A rule with a path that names one of \
            them and not the other would need two. Name both, or neither.",
    },
    CodeInfo {
        code: "shard::shadowed",
        title: "a shard rule that always comes too late",
        explanation: "Rules are walked from the top, and each axis is taken once per tensor. Here earlier rules have taken the rule's axes in every \
            tensor that has its dim. `meshwright explain SPEC TENSOR` shows for one tensor which rule took what.",
    },
    CodeInfo {
        code: "shard::few_samples",
        title: "fewer samples than devices",
        explanation: "A step's batch is first cut into microbatches, one after the other, and each of these into equal parts, one per device along the axes \
            that cut the batch. Each part needs at least one sample: batch >= microbatches * devices.",
    },
    CodeInfo {
        code: "shard::heads",
        title: "heads that devices do not divide",
        explanation: "Each device computes whole heads of attention, so the number of heads must be a multiple of the devices along the axes that cut them.",
    },
    CodeInfo {
        code: "shard::kv_heads",
        title: "more devices than key-value heads",
        explanation: "With grouped queries several query heads share a key-value head. An axis that is larger than the number of key-value heads can still cut \
            attention if it is written as two axes: one cuts the key-value heads, the other the queries of each group, and the devices along the other \
            hold the same keys and values.",
    },
    CodeInfo {
        code: "shard::via_heads",
        title: "`via heads` with heads that do not divide",
        explanation: "With `via heads` (Ulysses) the axis that cuts the sequence cuts the key-value heads while attention runs, in addition to what cuts them \
            by rule. Their number must be a multiple of all of it.",
    },
    CodeInfo {
        code: "shard::vocabulary",
        title: "a vocabulary that devices do not divide",
        explanation: "Tables and logits are cut along the vocabulary into equal parts. A vocabulary may be made larger than the tokenizer's: entries that no \
            token names are never looked up. Sizes that are multiples of 64 or 128 are faster too.",
    },
    CodeInfo {
        code: "shard::same_work",
        title: "an axis that cuts state but no work",
        explanation: "`weights -> data` alone says that weights rest in pieces along `data`. All devices along it then gather the same weights and compute the \
            same samples: memory is saved, time is not. FSDP cuts the batch along the same axis: `Batch -> data`, or the preset `fsdp -> data`.",
    },
    CodeInfo {
        code: "shard::nothing_left",
        title: "state in pieces along an axis that already cuts it",
        explanation: "What rules about dims cut along an axis is not the same on its devices, so nothing can rest in pieces along it.",
    },
    CodeInfo {
        code: "shard::state_axis",
        title: "state in pieces along an axis that cuts weights",
        explanation: "State rests in pieces along axes whose devices have seen different samples or positions: their gradients are summed once a step, each device \
            its piece. Along an axis that cuts weights by their dims (`Mlp -> tensor`) the gradients of the weights beside them are summed inside the \
            backward programs already, and every device has all of them.",
    },
    CodeInfo {
        code: "shard::replicated",
        title: "an axis that cuts weights leaves most of them whole",
        explanation: "More than half of the parameters are the same on all devices along an axis that is there to cut weights. Most often the rule for a large \
            table is missing: `Vocab -> tensor`, or one for the hidden dim of the feed-forward layer.",
    },
    CodeInfo {
        code: "shard::costly",
        title: "a cut that moves far more than it saves",
        explanation: "The graph was cut again without this rule: each rank then sends less, computes hardly more and holds hardly more. The rule is told off only \
            if it moves more than 10 bytes a microbatch for each byte of memory that it saves, and saves fewer than 4 operations for each byte that it \
            moves, which no device makes up for.",
    },
    CodeInfo {
        code: "shard::slow_axis",
        title: "the axis that moves most has the slowest links",
        explanation: "A mesh names its axes slowest links first: ranks along the last axis are neighbours. Tensor parallelism exchanges activations in every layer \
            and belongs on the fast links; data parallelism exchanges gradients once a step. The message has the bytes of both.",
    },
    CodeInfo {
        code: "shard::no_rules",
        title: "a mesh without shard rules",
        explanation: "Without a rule every device computes the same on the same samples: the mesh multiplies the cost and not the speed.",
    },
    CodeInfo {
        code: "shard::via_unused",
        title: "`via` for a dim that nothing needs whole",
        explanation: "`via` says how attention gets the keys of a sequence that is cut. No attention has its queries along this dim.",
    },
    CodeInfo {
        code: "shard::unmasked",
        title: "a balanced ring without a causal mask",
        explanation: "With a causal mask the first positions of a sequence see few keys and the last ones many. `via ring balanced` gives each device a chunk from \
            either end, so that all have the same work. Where every query sees every key all have it in any case, and whatever needs the sequence in its \
            own order pays for the layout.",
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

/// Pieces along an axis along which gradients are summed inside the backward programs.
pub fn state_axis(axis: &str, weight: &str, settings: &Settings) -> Diagnostic {
    let state = |target: &ShardTarget| !matches!(target, ShardTarget::Dim(_) | ShardTarget::WeightDim(_));
    let span = settings.shard.iter().find(|rule| state(&rule.target)).map(|rule| rule.span);
    let message = format!(
        "state cannot rest in pieces along `{axis}`: it cuts weights by their dims, and the gradient of `{weight}` beside them is summed along it early"
    );
    place(Diagnostic::error("shard::state_axis", message), span, "along the wrong axis")
        .help("name the axis that cuts the batch, as in `moments -> data`, or cut the dims of all weights by this one")
}

/// A rule with a path for one of two weights of a program.
pub fn one_program(rule: &Rule, [named, other]: [&str; 2]) -> Diagnostic {
    let message = format!("the rule for `{}` holds for `{named}` and not for `{other}`, which one program computes", rule.dim);
    place(Diagnostic::error("shard::one_program", message), rule.span, "tells them apart")
        .help("choose a path that names both or neither: these layers are called alike, and share what is computed")
}
