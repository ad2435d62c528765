//! Errors about dims: sizes, missing and unexpected dims, types.

use crate::model::tape::Tape;
use crate::op::{Dim, Type};
use meshwright_grammar::{Diagnostic, Span};

/// Definitions that need each other.
pub(crate) fn cycle(span: Span, chain: &[String], name: &str) -> Diagnostic {
    let chain: Vec<&str> = chain.iter().map(String::as_str).chain([name]).collect();
    Diagnostic::error("model::cycle", format!("`{name}` is defined by itself: {}", chain.join(" → ")))
        .label(span, "needs its own value")
        .help("give one of them a number")
}

/// A size that is no whole number from 1.
pub(crate) fn size(span: Span, name: &str, arithmetic: &str) -> Diagnostic {
    Diagnostic::error("model::size", format!("the size of `{name}` must be a whole number from 1: {arithmetic}"))
        .label(span, "not a whole number from 1")
        .help("change one of the sizes, or round with `ceil(…)` or `floor(…)`")
}

/// What cannot be evaluated at compile time.
pub(crate) fn not_constant(span: Span) -> Diagnostic {
    Diagnostic::error("model::not_constant", "this is no compile-time value")
        .label(span, "here")
        .help("use numbers, dims, + - * / ^, comparisons, `if`, and functions like `ceil` and `sqrt`")
}

/// Two operands of which neither has all dims of the other.
pub(crate) fn not_contained(span: Span, tape: &Tape, left: &Type, right: &Type) -> Diagnostic {
    let only = |a: &Type, b: &Type| -> Vec<Dim> { a.dims.iter().filter(|dim| !b.has(**dim)).copied().collect() };
    let (l, r) = (only(left, right), only(right, left));
    Diagnostic::error(
        "model::not_contained",
        format!("neither operand has all dims of the other: {} and {}", tape.spell(left), tape.spell(right)),
    )
    .label(span, format!("only the left has {}; only the right has {}", tape.list(&l, "`"), tape.list(&r, "`")))
    .help(format!("if both are meant, write `expand(…, {})` around the left operand", tape.list(&r, "")))
}

/// An argument that lacks dims it needs.
pub(crate) fn missing(span: Span, tape: &Tape, what: &str, ty: &Type, lacking: &[Dim]) -> Diagnostic {
    Diagnostic::error("model::missing_dim", format!("{what} needs {}", tape.list(lacking, "`")))
        .label(span, format!("this is {}", tape.spell(ty)))
        .help(match ty.dims.is_empty() {
            true => format!("give it a tensor that has {}", tape.list(lacking, "`")),
            false => format!("use one of {}, or give it a tensor that has {}", tape.list(&ty.dims, "`"), tape.list(lacking, "`")),
        })
}

/// An argument with dims that it must not have.
pub(crate) fn unexpected(span: Span, tape: &Tape, what: &str, ty: &Type, extra: &[Dim]) -> Diagnostic {
    Diagnostic::error("model::unexpected_dim", format!("{what} has no place for {}", tape.list(extra, "`")))
        .label(span, format!("this is {}", tape.spell(ty)))
        .help("reduce or take them away before, or let a signature pass them on with `..`")
}

/// Parameters whose `..` differ.
pub(crate) fn rest_differs(span: Span, tape: &Tape, this: &[Dim], before: &[Dim]) -> Diagnostic {
    Diagnostic::error("model::rest_differs", "`..` means the same dims throughout a signature")
        .label(span, format!("here it is {}, before it was {}", tape.spell_dims(this), tape.spell_dims(before)))
        .help("name the dims that differ, or use `expand`")
}

/// `..` where nothing binds it.
pub(crate) fn no_rest(span: Span) -> Diagnostic {
    Diagnostic::error("model::no_rest", "`..` has no meaning here")
        .label(span, "no parameter has `..`")
        .help("write the dims by name, or give a parameter `..`")
}

/// A dim twice in one type.
pub(crate) fn twice(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("model::dim_twice", format!("a tensor cannot have `{name}` twice"))
        .label(span, "again here")
        .help(format!("declare a second dim of equal size, say `Other{name} = {name}`"))
}

/// An element type that does not fit.
pub(crate) fn element(span: Span, tape: &Tape, what: &str, needed: &str, found: &Type) -> Diagnostic {
    let help = match needed {
        "real" => "turn it into numbers with `cast(…, real)`",
        "bool" => "compare it: `x > 0`, `x == y`",
        _ => "an index comes from an input `index(D)[…]`, from `index(D)` or from `argmax`",
    };
    Diagnostic::error("model::element", format!("{what} must be {needed}")).label(span, format!("this is {}", tape.spell(found))).help(help)
}

/// A value that is not of the type that is written for it.
pub(crate) fn not_declared(span: Span, declared_at: Span, tape: &Tape, what: &str, found: &Type, declared: &Type) -> Diagnostic {
    Diagnostic::error("model::not_as_declared", format!("{what} is {}, declared is {}", tape.spell(found), tape.spell(declared)))
        .label(span, tape.spell(found))
        .label(declared_at, "declared here")
        .help(difference(tape, found, declared))
}

fn difference(tape: &Tape, found: &Type, declared: &Type) -> String {
    let extra: Vec<Dim> = found.dims.iter().filter(|dim| !declared.has(**dim)).copied().collect();
    let lacking: Vec<Dim> = declared.dims.iter().filter(|dim| !found.has(**dim)).copied().collect();
    match (extra.is_empty(), lacking.is_empty()) {
        (false, true) => format!("reduce {} away, or add it to the type", tape.list(&extra, "`")),
        (true, false) => format!("take {} out of the type, or `expand` the value", tape.list(&lacking, "`")),
        (false, false) => format!("it has {} where {} is declared", tape.list(&extra, "`"), tape.list(&lacking, "`")),
        (true, true) => "the dims are the same, the elements differ".to_string(),
    }
}

/// Sizes that should be equal, or multiply to one another.
pub(crate) fn sizes(span: Span, what: &str, arithmetic: &str) -> Diagnostic {
    Diagnostic::error("model::sizes", format!("{what}: {arithmetic}")).label(span, "sizes do not fit").help("change a size in `dims { … }`")
}

/// A tensor with more elements than any machine holds.
pub(crate) fn too_large(span: Span, tape: &Tape, ty: &Type) -> Diagnostic {
    let names: Vec<&str> = ty.dims.iter().map(|dim| tape.dims[*dim].name.as_str()).collect();
    let sizes: Vec<String> = ty.dims.iter().map(|dim| tape.size(*dim).to_string()).collect();
    let count = tape.count(&ty.dims);
    let arithmetic = format!("{} = {} = {count:.1e} elements", names.join(" * "), sizes.join(" * "));
    Diagnostic::error("model::too_large", format!("this tensor is too large: {arithmetic}"))
        .label(span, format!("this is {}", tape.spell(ty)))
        .help("make a dim smaller, or reduce one away before")
}

/// A result with a dim twice or one that is there already.
pub(crate) fn already(span: Span, tape: &Tape, dim: Dim, ty: &Type) -> Diagnostic {
    Diagnostic::error("model::dim_present", format!("the tensor has `{}` already", tape.dims[dim].name))
        .label(span, format!("this is {}", tape.spell(ty)))
        .help("use another dim; equal sizes never make two dims equal")
}

/// The batch dim where samples would be mixed or moved.
pub(crate) fn batch_moved(span: Span, tape: &Tape, what: &str, batch: Dim) -> Diagnostic {
    Diagnostic::error("model::batch_moved", format!("{what} over the batch dim `{}` couples samples", tape.dims[batch].name))
        .label(span, "microbatches cut this dim")
        .help("neither microbatches nor the mesh may change the mathematics: work on another dim")
}
