//! Errors about mixtures of experts: `dispatch` and `combine`.

use crate::model::tape::Tape;
use crate::op::{Dim, Type};
use meshwright_grammar::{Diagnostic, Span};

/// Slots whose number is found while running.
pub(crate) fn ragged(span: Span) -> Diagnostic {
    let help = "give it a fixed number: `Slot = ceil(TopK * Seq * 1.25 / Expert)`";
    super::names::not_supported(span, "a dispatch without a fixed number of slots", help)
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
