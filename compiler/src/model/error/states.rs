//! Errors about states: `state` and `next`.

use super::suggest;
use crate::model::tape::Tape;
use crate::op::{Dim, Type};
use meshwright_grammar::tree::Name;
use meshwright_grammar::{Diagnostic, Span};

/// `next` of what is no state.
pub(crate) fn no_state<'c>(name: &Name, all: impl Iterator<Item = &'c str>) -> Diagnostic {
    let help = suggest(&name.text, all.filter(|other| *other != name.text), &format!("declare it: `state {}: [Dim] = zeros`", name.text));
    Diagnostic::error("model::no_state", format!("there is no state `{}` here", name.text)).label(name.span, "not a state").help(help)
}

/// A second `next` of one state.
pub(crate) fn next_twice(name: &Name, before: Span) -> Diagnostic {
    Diagnostic::error("model::next_twice", format!("`{}` gets its next value twice in one step", name.text))
        .label(name.span, "again here")
        .label(before, "first here")
        .help("keep one `next`; in a layer that several calls share, declare the state where each call has its own")
}

/// A next value of another type than the state.
pub(crate) fn next_type(span: Span, tape: &Tape, name: &str, found: &Type, state: &Type) -> Diagnostic {
    let extra: Vec<Dim> = found.dims.iter().filter(|dim| !state.has(**dim)).copied().collect();
    let help = match extra.is_empty() {
        false => format!("reduce the other dims away: `mean(…, {})`", tape.list(&extra, "")),
        true => "give it a real tensor with exactly the dims of the state".to_string(),
    };
    Diagnostic::error("model::next_type", format!("the state `{name}` is {}, its next value {}", tape.spell(state), tape.spell(found)))
        .label(span, tape.spell(found))
        .help(help)
}

/// A next value that takes from the batch what is no sum over it.
pub(crate) fn next_batch(span: Span, next: Span, tape: &Tape) -> Diagnostic {
    let batch = tape.batch.map_or("the batch".to_string(), |batch| tape.dims[batch].name.clone());
    let error = Diagnostic::error("model::next_batch", format!("a next value takes from `{batch}` only sums and means over it"))
        .label(span, "neither, and not within one sample");
    let error = if span == next { error } else { error.label(next, "for this state") };
    error.help(format!("take the mean over `{batch}` first, and everything else of that: `mean(x, {batch})`, `mean(x * x, {batch})`"))
}

/// A next value that is computed in another piece of the model.
pub(crate) fn next_place(span: Span, next: Span) -> Diagnostic {
    Diagnostic::error("model::next_place", "what a next value is made of must be computed beside it")
        .label(span, "computed in another part of the model")
        .label(next, "for this state")
        .help("hand on the mean over the batch, and do the rest in the value of `next`; or move `state` and `next` into that layer")
}

/// A state without `next`.
pub(crate) fn still(span: Span, path: &str) -> Diagnostic {
    Diagnostic::warning("model::state_still", format!("`{path}` never changes: it has no `next`"))
        .label(span, "stays as it starts")
        .help("give it a next value: `next name = …`; or make it a number or a frozen weight")
}
