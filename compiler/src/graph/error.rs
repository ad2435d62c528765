//! What a user can be at fault for in this stage.
//!
//! Requires nothing. Ensures that every code made here is in [`CODES`], and every error has a help that names the next edit.

use crate::model::settings::Pattern;
use meshwright_grammar::{CodeInfo, Diagnostic, Span};

/// All codes of this stage.
pub const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: "graph::microbatches",
        title: "the batch cannot be cut into these microbatches",
        explanation: "A step's batch is cut into `train.microbatches` equal parts along the batch dim (the first dim of the first input), and \
            every dim that is made from it by `split`, `merge` or `rename` is cut with it. So each of their sizes must be a multiple of the \
            number of microbatches. Choose a batch that is a multiple, or another number of microbatches.",
    },
    CodeInfo {
        code: "graph::batch_cut",
        title: "an operation along the batch needs the whole of it",
        explanation: "With several microbatches each part of the batch is computed by itself. What looks across the batch other than by a sum \
            (a slice, a shift, a running sum, a maximum) cannot be computed in parts without another result. Use one microbatch, or \
            apply the operation to a part of a `split` that stays whole: the last dims of the split.",
    },
    CodeInfo {
        code: "graph::mixed_masks",
        title: "a masked loss beside other losses, over several microbatches",
        explanation: "`loss e where m` divides by the sum of `m` over the whole step, which is known only when the last microbatch is done; \
            gradients are therefore divided once, at the update. That works for a single loss, but beside another loss the division would \
            change that one too. Use one microbatch, or write the mask into the value: `loss where(m, e, 0)`, which is the mean over all entries.",
    },
    CodeInfo {
        code: "graph::mask_gradient",
        title: "the mask of a loss depends on trained weights",
        explanation: "A mask chooses and weighs entries of a loss, and no gradient passes through it. Say so with `stop(m)`, or weigh the \
            entries in the value itself: `loss e * m`.",
    },
    CodeInfo {
        code: "graph::no_loss",
        title: "there is nothing to train",
        explanation: "Training needs at least one `loss` that depends on a weight which is not frozen. Add one to the model or to a layer, or \
            unfreeze a weight under `tune`.",
    },
    CodeInfo {
        code: "graph::untrained",
        title: "a weight has no influence on the loss",
        explanation: "Every weight that is not frozen must have a gradient, in each of its copies; otherwise training would only let it decay. Use \
            the weight on the way to a loss, remove it, or freeze it: `tune { weight -> frozen }`.",
    },
    CodeInfo {
        code: "graph::remat_unmatched",
        title: "a remat rule matches no layer",
        explanation: "A pattern matches at the end of a layer's path: `Feed` matches `Gpt.Block.Feed`; `*` stands for one part and `**` for any \
            number of them. A rule that matches nothing is probably misspelled.",
    },
];

fn place(diagnostic: Diagnostic, span: Option<Span>, text: &str) -> Diagnostic {
    match span {
        Some(span) => diagnostic.label(span, text),
        None => diagnostic,
    }
}

/// The batch, or a dim made from it, is no multiple of the number of microbatches.
pub fn microbatches(name: &str, size: u64, microbatches: u64, span: Option<Span>) -> Diagnostic {
    let message =
        format!("`{name}` = {size} cannot be cut into {microbatches} microbatches: {size} / {microbatches} leaves {}", size % microbatches);
    let below = (1..=microbatches).rev().find(|count| size.is_multiple_of(*count)).unwrap_or(1);
    place(Diagnostic::error("graph::microbatches", message), span, "its size is cut")
        .help(format!("set `train.microbatches` to {below}, or `{name}` to {}", size.next_multiple_of(microbatches)))
}

/// An operation along the batch dim that cannot be done in parts.
pub fn batch_cut(what: &str, name: &str, microbatches: u64, span: Option<Span>) -> Diagnostic {
    let message = format!("{what} along `{name}` needs the whole batch, but the step is cut into {microbatches} microbatches");
    place(Diagnostic::error("graph::batch_cut", message), span, "here").help("set `train.microbatches` to 1")
}

/// A masked loss among several losses, with several microbatches.
pub fn mixed_masks(losses: usize, microbatches: u64, span: Option<Span>) -> Diagnostic {
    let message = format!("a loss with a mask is one of {losses} losses, and the step is cut into {microbatches} microbatches");
    place(Diagnostic::error("graph::mixed_masks", message), span, "its value is divided by the mask's sum over the whole step")
        .help("set `train.microbatches` to 1, or write `loss where(m, e, 0)`: the mean over all entries")
}

/// A mask through which a gradient would pass.
pub fn mask_gradient(span: Option<Span>) -> Diagnostic {
    place(Diagnostic::error("graph::mask_gradient", "the mask of this loss depends on trained weights"), span, "this loss")
        .help("write `stop(m)` for the mask, or `loss e * m` to differentiate both")
}

/// No loss, or none that depends on trained weights.
pub fn no_loss(model: &str, losses: usize) -> Diagnostic {
    let (message, help) = match losses {
        0 => (format!("`{model}` has no loss to train on"), "add `loss …` to the model"),
        _ => (
            format!("no loss of `{model}` depends on a weight that is trained"),
            "unfreeze a weight under `tune`, or let the loss read a weight",
        ),
    };
    Diagnostic::error("graph::no_loss", message).help(help)
}

/// A weight without gradient.
pub fn untrained(path: &str, span: Option<Span>) -> Diagnostic {
    let message = format!("no gradient reaches the weight `{path}`");
    let rule: Vec<&str> = path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect();
    place(Diagnostic::error("graph::untrained", message), span, "declared here")
        .help(format!("use it on the way to a loss, or write `tune {{ {} -> frozen }}`", rule.join(".")))
}

/// A remat pattern that names no layer.
pub fn remat_unmatched(pattern: &Pattern, layers: &[String]) -> Diagnostic {
    let message = format!("no layer matches `{}`", pattern.path());
    place(Diagnostic::error("graph::remat_unmatched", message), pattern.span, "matches nothing")
        .help(format!("the model's layers are {}", layers.iter().map(|layer| format!("`{layer}`")).collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern() -> Pattern {
        Pattern { parts: vec!["Blok".to_string()], span: None }
    }

    #[test]
    fn every_code_is_explained_once_and_every_error_helps() {
        let all = [
            microbatches("Batch", 10, 4, None),
            batch_cut("a shift", "Batch", 4, None),
            mixed_masks(2, 4, None),
            mask_gradient(None),
            no_loss("Gpt", 0),
            untrained("Gpt.extra", None),
            remat_unmatched(&pattern(), &["Gpt.Block".to_string()]),
        ];
        let made: Vec<&str> = all.iter().map(|error| error.code).collect();
        let explained: Vec<&str> = CODES.iter().map(|info| info.code).collect();
        assert_eq!(made, explained);
        assert!(all.iter().all(|error| error.help.is_some()));
    }

    #[test]
    fn the_arithmetic_names_both_ways_out() {
        let error = microbatches("Batch", 10, 4, None);
        assert_eq!(error.message, "`Batch` = 10 cannot be cut into 4 microbatches: 10 / 4 leaves 2");
        assert_eq!(error.help.as_deref(), Some("set `train.microbatches` to 2, or `Batch` to 12"));
    }
}
