//! Errors about operators: `@`, attention, indices, shapes.

use crate::model::tape::Tape;
use crate::op::{Dim, Type};
use meshwright_grammar::{Diagnostic, Span};

/// `@` without a weight with an arrow on its right.
pub(crate) fn no_arrow(span: Span, swapped: bool) -> Diagnostic {
    let help = match swapped {
        true => "write the weight on the right: `x @ w`",
        false => "use `dot(a, b, over: D)`, which sums over the dims that you name",
    };
    Diagnostic::error("model::no_arrow", "`@` needs a weight with an arrow on its right").label(span, "no arrow").help(help)
}

/// `@` of which neither side of the arrow fits.
pub(crate) fn no_side(span: Span, tape: &Tape, x: &Type, inputs: &[Dim], outputs: &[Dim]) -> Diagnostic {
    let lacking = |side: &[Dim]| -> Vec<Dim> { side.iter().filter(|dim| !x.has(**dim)).copied().collect() };
    let (left, right) = (lacking(inputs), lacking(outputs));
    let arrow = format!("[{} -> {}]", tape.list(inputs, ""), tape.list(outputs, ""));
    let reason = |side: &str, lacking: &[Dim], all: &[Dim]| match all.is_empty() {
        true => format!("{side} is empty"),
        false => format!("for {side} it lacks {}", tape.list(lacking, "`")),
    };
    Diagnostic::error("model::no_side", format!("`@` contracts one whole side of {arrow}, and {} has neither", tape.spell(x)))
        .label(span, format!("{}; {}", reason("the left side", &left, inputs), reason("the right side", &right, outputs)))
        .help("check the dims of the left operand, or sum over chosen dims with `dot(a, b, over: D)`")
}

/// `@` of which both sides of the arrow fit.
pub(crate) fn both_sides(span: Span, tape: &Tape, inputs: &[Dim], outputs: &[Dim]) -> Diagnostic {
    let message = format!("both sides of [{} -> {}] could be contracted", tape.list(inputs, ""), tape.list(outputs, ""));
    Diagnostic::error("model::both_sides", message)
        .label(span, "the left operand has the dims of both sides")
        .help(format!("say which: `dot(a, b, over: [{}])`", tape.list(inputs, "")))
}

/// `@` whose result would have a dim that the operand keeps.
pub(crate) fn kept_dim(span: Span, tape: &Tape, dims: &[Dim], over: &[Dim]) -> Diagnostic {
    Diagnostic::error("model::kept_dim", format!("the left operand has {} too, which the arrow would give", tape.list(dims, "`")))
        .label(span, "both would be matched, not multiplied out")
        .help(format!("if matching is meant, write `dot(a, b, over: [{}])`", tape.list(over, "")))
}

/// An operator on elements that it does not take.
pub(crate) fn operands(span: Span, op: &str, found: &str, help: &str) -> Diagnostic {
    Diagnostic::error("model::operands", format!("`{op}` does not take {found}")).label(span, found.to_string()).help(help)
}

/// An operation that consumes a dim without being told which.
pub(crate) fn no_dim(span: Span, op: &str, tape: &Tape, ty: &Type) -> Diagnostic {
    Diagnostic::error("model::no_dim", format!("`{op}` needs the dim that it consumes, as its last argument"))
        .label(span, format!("this is {}", tape.spell(ty)))
        .help(format!("write `{op}(x, {})`", ty.dims.last().map_or("D".to_string(), |dim| tape.dims[*dim].name.clone())))
}

/// An index over a dim that the table lacks.
pub(crate) fn index_dim(span: Span, tape: &Tape, index: Dim, table: &Type) -> Diagnostic {
    Diagnostic::error("model::index_dim", format!("the index ranges over `{}`, which the table lacks", tape.dims[index].name))
        .label(span, format!("the table is {}", tape.spell(table)))
        .help("look up in a table that has the dim the index ranges over; equal sizes do not make dims equal")
}

/// An index of no known range.
pub(crate) fn index_range(span: Span, op: &str) -> Diagnostic {
    Diagnostic::error("model::index_range", format!("`{op}` cannot tell which dim this index ranges over"))
        .label(span, "an integer")
        .help(format!("say it: `{op}(…, over: D)`"))
}

/// An odd feature dim of `rotary`.
pub(crate) fn odd_feature(span: Span, name: &str, size: u64) -> Diagnostic {
    Diagnostic::error("model::odd_feature", format!("`rotary` turns pairs, but `{name}` has {size} elements"))
        .label(span, "an odd size")
        .help(format!("make `{name}` even"))
}

/// A number out of its range.
pub(crate) fn range(span: Span, what: &str, range: &str, value: f64) -> Diagnostic {
    Diagnostic::error("model::range", format!("{what} must be {range}, not {}", crate::model::numbers::spell(value)))
        .label(span, "out of range")
        .help("change the number")
}
