//! Errors about mixtures of experts: `dispatch` and `combine`.

use crate::model::tape::Tape;
use crate::op::{Dim, Type};
use meshwright_grammar::{Diagnostic, Span};

/// What every wrong use of `ragged` is told.
fn ragged(span: Span, message: impl Into<String>, label: &str) -> Diagnostic {
    Diagnostic::error("model::ragged", message).label(span, label)
}

/// `ragged` without its bound.
pub(crate) fn no_bound(span: Span) -> Diagnostic {
    ragged(span, "`ragged` needs a bound: how many slots an expert gets at most", "states no bound")
        .help("state it in `dims { … }`: `Slot = ragged(2 * TopK * Seq / Expert)`")
}

/// `ragged` with no bound, several, or a named one.
pub(crate) fn one_bound(span: Span, given: usize) -> Diagnostic {
    let message = match given {
        1 => "`ragged` takes its bound without a name".to_string(),
        given => format!("`ragged` takes one bound, not {given}"),
    };
    ragged(span, message, "here").help("write the bound alone: `Slot = ragged(2 * TopK * Seq / Expert)`")
}

/// `ragged(…)` inside an expression, or somewhere else than in `dims`.
pub(crate) fn ragged_place(span: Span) -> Diagnostic {
    ragged(span, "`ragged(…)` is the whole size of a dim, nothing else", "no size of a dim by itself")
        .help("write `Slot = ragged(…)` in `dims { … }`, with all arithmetic inside the parentheses, and name the dim where it is meant")
}

/// A ragged dim that no `dispatch` takes for its slots.
pub(crate) fn no_slots(span: Span, name: &str, size: u64) -> Diagnostic {
    ragged(span, format!("`{name}` is ragged, but no `dispatch` fills it"), "no dim of slots")
        .help(format!("give it its size, `{name} = {size}`, or write `slots: {name}` in a `dispatch`"))
}

/// A choice among another number of experts than there are.
pub(crate) fn count(span: Span, tape: &Tape, route: Dim, expert: Dim) -> Diagnostic {
    let [(route, routes), (expert, count)] = [route, expert].map(|dim| (&tape.dims[dim].name, tape.size(dim)));
    Diagnostic::error("model::experts", format!("the choice is one of {route} = {routes}, but there are {expert} = {count} experts"))
        .label(span, format!("ranges over `{route}`"))
        .help(format!("give both dims one size: `{route} = {expert}`"))
}

/// A `combine` whose second argument no `dispatch` gave.
pub(crate) fn no_spot(span: Span) -> Diagnostic {
    Diagnostic::error("model::spot", "`combine` needs the spots that a `dispatch` gave")
        .label(span, "not a result of `dispatch`")
        .help("write `let slots, spot = dispatch(…)` before, and hand `spot` on as it is")
}

/// Shares that are not one for each choice.
pub(crate) fn shares(span: Span, tape: &Tape, share: &Type, spot: &Type) -> Diagnostic {
    Diagnostic::error(
        "model::shares",
        format!("`combine` needs one share for each choice, {}, not {}", tape.spell_dims(&spot.dims), tape.spell_dims(&share.dims)),
    )
    .label(span, format!("the shares are {}", tape.spell(share)))
    .help("the values that `top_k` gave with the choice are such shares")
}
