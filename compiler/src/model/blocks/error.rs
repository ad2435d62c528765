//! What a user is told who is at fault in a block.

use super::super::error::nearest;
use meshwright_grammar::tree::BlockKind;
use meshwright_grammar::{CodeInfo, Diagnostic, Span};

/// The codes of this room.
pub const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: "settings::not_supported",
        title: "this cannot run yet",
        explanation: "The entry is part of the language and was understood, but this version cannot carry it out. It is refused rather than ignored, so \
                      that a run never differs silently from its spec. The help says what to write instead.",
    },
    CodeInfo {
        code: "settings::unknown_key",
        title: "a block has no such entry",
        explanation: "Each block has a fixed set of entries. A misspelled one would silently leave a default in force, so it is an error.",
    },
    CodeInfo {
        code: "settings::unknown_block",
        title: "an override names a block that does not exist",
        explanation: "`--set block.key=value` changes an entry of a block (`--set train.steps=100`), `--set dims.Name=8` a dim, `--set name=0.1` a number.",
    },
    CodeInfo {
        code: "settings::set_twice",
        title: "an entry is set twice in one block",
        explanation: "Which of the two counts would depend on their order. A file that `use`s another may set an entry again: that overrides it.",
    },
    CodeInfo {
        code: "settings::not_a_number",
        title: "a number is needed here",
        explanation: "The entry takes a number, or an expression over dims and numbers that the compiler can evaluate.",
    },
    CodeInfo {
        code: "settings::whole_number",
        title: "a whole number is needed here",
        explanation: "Steps, batches, seeds and sizes of axes are counts. The message says from which number on they make sense.",
    },
    CodeInfo {
        code: "settings::one_of",
        title: "one of a few words is needed here",
        explanation: "The entry takes one of the words or constructors that the message lists.",
    },
    CodeInfo {
        code: "settings::range",
        title: "a number is outside of what makes sense",
        explanation: "For example a momentum of 1 would never forget, and a negative weight decay would let weights grow without bound.",
    },
    CodeInfo {
        code: "settings::unknown_argument",
        title: "an optimizer or rate has no such argument",
        explanation: "Arguments are given by name: `adamw(beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.1)`, `cosine(peak: 6e-4, warmup: 100, floor: 6e-5)`.",
    },
    CodeInfo {
        code: "settings::argument_twice",
        title: "an argument is given twice",
        explanation: "Each argument of an optimizer or a rate may be given once.",
    },
    CodeInfo {
        code: "settings::no_peak",
        title: "a rate needs its peak",
        explanation: "`constant`, `linear`, `cosine` and `wsd` all start from the largest rate, which no default can guess.",
    },
    CodeInfo {
        code: "settings::warmup",
        title: "warmup and decay are longer than the run",
        explanation: "The rate grows during the warmup and, with `wsd`, falls during the decay; together they must fit into `steps`.",
    },
    CodeInfo {
        code: "settings::no_train",
        title: "a data block without training data",
        explanation: "`data { train = … }` says what to train on: `text(\"corpus/**/*.txt\")`, `tokens(\"train.bin\")` or `csv(\"table.csv\", x: […], y: \"…\")`.",
    },
    CodeInfo {
        code: "settings::source",
        title: "a source is not written as expected",
        explanation: "Sources take file patterns in double quotes, relative to the spec's folder; `csv` takes a path and the columns of each input.",
    },
    CodeInfo {
        code: "settings::unknown_axis",
        title: "a shard rule names an axis that the mesh lacks",
        explanation: "The right side of a rule is made of axes that the block `mesh` declares, or of the word `whole`.",
    },
    CodeInfo {
        code: "settings::axis_name",
        title: "a name that an axis cannot have",
        explanation: "`weights`, `gradients`, `moments` and `whole` have a meaning of their own in shard rules, so no axis of the mesh may have such a name.",
    },
    CodeInfo {
        code: "settings::axis_twice",
        title: "an axis stands twice in one rule",
        explanation: "The right side of a rule is a product of different axes, major first: `Batch -> replica * data`. An axis cuts a tensor once.",
    },
    CodeInfo {
        code: "settings::no_axes",
        title: "a shard rule without axes",
        explanation: "A rule says by which axes of the mesh a dim is cut (`Heads -> tensor`, `Batch -> replica * data`), or that it stays whole (`Seq -> whole`).",
    },
    CodeInfo {
        code: "settings::via_state",
        title: "`via` for weights, gradients or moments",
        explanation: "`via` says how an operation that needs a whole dim gets it, so it belongs to a rule about a dim: `Seq -> tensor via heads`. How state rests \
                      is another matter: it is gathered where it is used.",
    },
    CodeInfo {
        code: "settings::hold",
        title: "`hold` for something that is not gathered",
        explanation: "`weights -> data hold step` gathers weights once a step and keeps them through its microbatches, for memory. Dims, gradients and moments \
                      are not gathered for use, so there is nothing to hold.",
    },
    CodeInfo {
        code: "settings::unmatched",
        title: "a rule that matches nothing",
        explanation: "A pattern matches at the end of a path: `Attention.query`, `LayerNorm.**`, `Block.*.gain`. A rule without effect is most often misspelled.",
    },
];

/// Something of the language that this version cannot do.
pub(crate) fn not_supported(span: Span, what: &str, instead: &str) -> Diagnostic {
    Diagnostic::error("settings::not_supported", format!("{what} is not supported yet")).label(span, "asked for here").help(instead)
}

/// An entry that the block does not have.
pub(super) fn unknown_key(span: Span, kind: BlockKind, key: &str, known: &[&str]) -> Diagnostic {
    let help = match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "remove it".to_string(),
        None => format!("it has {}", known.join(", ")),
    };
    Diagnostic::error("settings::unknown_key", format!("the block `{}` has no entry `{key}`", kind.text()))
        .label(span, "not known")
        .help(help)
}

/// An override of no block.
pub(super) fn unknown_block(key: &str, block: &str, span: Span) -> Diagnostic {
    let blocks: Vec<&str> = BlockKind::ALL.iter().map(|kind| kind.text()).chain(["dims"]).collect();
    let help = match nearest(block, blocks.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", blocks.join(", ")),
    };
    Diagnostic::error("settings::unknown_block", format!("`{key}` is set, but there is no block `{block}`"))
        .label(span, "set to this")
        .help(help)
}

/// An entry that is there twice.
pub(super) fn set_twice(kind: BlockKind, key: &str, span: Span, before: Span) -> Diagnostic {
    Diagnostic::error("settings::set_twice", format!("`{key}` is set twice in the block `{}`", kind.text()))
        .label(span, "again here")
        .label(before, "first here")
        .help("remove one of the two")
}

/// A value that is no number.
pub(super) fn not_number(span: Span, key: &str) -> Diagnostic {
    Diagnostic::error("settings::not_a_number", format!("`{key}` takes a number"))
        .label(span, "not a number")
        .help(format!("write a number, as in `{key} = 1`"))
}

/// A number that is not whole, or too small.
pub(super) fn whole(span: Span, key: &str, number: f64, least: u64) -> Diagnostic {
    Diagnostic::error("settings::whole_number", format!("`{key}` takes a whole number from {least}"))
        .label(span, format!("this is {number}"))
        .help(format!("write a whole number, as in `{key} = {}`", (number.max(least as f64)).round()))
}

/// A word that is none of those known.
pub(super) fn one_of(span: Span, key: &str, found: &str, known: &[&str]) -> Diagnostic {
    let help = match nearest(found, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of {}", known.join(", ")),
    };
    Diagnostic::error("settings::one_of", format!("`{key}` is one of {}", known.join(", ")))
        .label(span, format!("`{found}` is none of them"))
        .help(help)
}

/// A number that makes no sense.
pub(super) fn range(span: Span, key: &str, number: f64, allowed: &str, help: &str) -> Diagnostic {
    Diagnostic::error("settings::range", format!("`{key}` is {allowed}")).label(span, format!("this is {number}")).help(help)
}

/// An argument that an optimizer or rate does not take.
pub(super) fn unknown_argument(span: Span, callee: &str, name: &str, known: &[&str]) -> Diagnostic {
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it takes {}, each by name", known.join(", ")),
    };
    Diagnostic::error("settings::unknown_argument", format!("`{callee}` has no argument `{name}`")).label(span, "not known").help(help)
}

/// An argument given twice.
pub(super) fn argument_twice(span: Span, callee: &str, name: &str) -> Diagnostic {
    Diagnostic::error("settings::argument_twice", format!("`{name}` of `{callee}` is given twice"))
        .label(span, "again here")
        .help("remove one of the two")
}

/// A rate without its peak.
pub(super) fn no_peak(span: Span, callee: &str) -> Diagnostic {
    Diagnostic::error("settings::no_peak", format!("`{callee}` needs its peak"))
        .label(span, "no `peak` here")
        .help(format!("write `{callee}(peak: 3e-4)`"))
}

/// A schedule that does not fit into the run.
pub(super) fn warmup(span: Span, warmup: u64, decay: u64, steps: u64) -> Diagnostic {
    let sum = warmup + decay;
    Diagnostic::error("settings::warmup", format!("warmup and decay take {warmup} + {decay} = {sum} steps, the run has {steps}"))
        .label(span, "longer than the run")
        .help(format!("shorten them to {steps} in all, or train for at least {sum} steps"))
}

/// A data block that trains on nothing.
pub(super) fn no_train(span: Span) -> Diagnostic {
    Diagnostic::error("settings::no_train", "the block `data` does not say what to train on")
        .label(span, "no `train` in it")
        .help("add `train = text(\"corpus/**/*.txt\")`")
}

/// A source whose arguments are not as expected.
pub(super) fn source_argument(span: Span, wanted: &str) -> Diagnostic {
    Diagnostic::error("settings::source", format!("this takes {wanted}")).label(span, "not that").help(format!("give {wanted}"))
}

/// An axis that the mesh lacks.
pub(super) fn unknown_axis(span: Span, name: &str, axes: &[String]) -> Diagnostic {
    let help = match nearest(name, axes.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if axes.is_empty() => format!("declare it: `mesh {{ {name} = 1 }}`"),
        None => format!("the mesh has {}", axes.join(", ")),
    };
    Diagnostic::error("settings::unknown_axis", format!("the mesh has no axis `{name}`")).label(span, "not an axis").help(help)
}

/// An axis with a name that rules use.
pub(super) fn axis_name(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("settings::axis_name", format!("an axis cannot be called `{name}`"))
        .label(span, "shard rules use this word")
        .help("give it another name, as in `mesh { data = 4, tensor = 2 }`")
}

/// An axis twice in one product.
pub(super) fn axis_twice(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("settings::axis_twice", format!("`{name}` stands twice in this rule"))
        .label(span, "the second time")
        .help(format!("remove one `{name}`: an axis cuts a tensor once"))
}

/// Nothing right of the arrow.
pub(super) fn no_axes(span: Span) -> Diagnostic {
    Diagnostic::error("settings::no_axes", "this rule names no axes")
        .label(span, "cut by what?")
        .help("write an axis of the mesh, a product of axes, or `whole` right of the arrow")
}

/// A way to get a dim, for something that is none.
pub(super) fn via_state(span: Span) -> Diagnostic {
    Diagnostic::error("settings::via_state", "`via` is for dims").label(span, "not a dim").help("leave `via` out of this rule")
}

/// `hold`, for something else than weights.
pub(super) fn hold(span: Span) -> Diagnostic {
    Diagnostic::error("settings::hold", "only gathered weights can be held")
        .label(span, "held here")
        .help("leave `hold step` out of this rule, or write it in one for `weights`")
}

/// A rule that matches nothing.
pub(crate) fn unmatched(span: Span, what: &str) -> Diagnostic {
    Diagnostic::warning("settings::unmatched", format!("this rule matches no {what}"))
        .label(span, "no effect")
        .help("check the path: a pattern matches at the end of a path, `**` is any number of parts")
}
