//! Errors about layers: calls, arguments, results, `repeat`.

use super::suggest;
use crate::model::tape::Tape;
use crate::op::Type;
use meshwright_grammar::tree::{Definition, Name};
use meshwright_grammar::{Diagnostic, Span};

/// An argument of an unknown name.
pub(crate) fn unknown_argument(callee: &str, name: &Name, known: &[String]) -> Diagnostic {
    let listed = if known.is_empty() { "it takes no named arguments".to_string() } else { format!("it takes {}", known.join(", ")) };
    Diagnostic::error("model::unknown_argument", format!("`{callee}` has no argument `{}`", name.text))
        .label(name.span, "not known")
        .help(suggest(&name.text, known.iter().map(String::as_str), &listed))
}

/// An argument given twice.
pub(crate) fn argument_twice(callee: &str, name: &str, span: Span) -> Diagnostic {
    Diagnostic::error("model::argument_twice", format!("`{name}` of `{callee}` is given twice"))
        .label(span, "again here")
        .help("remove one of the two")
}

/// An argument that is missing.
pub(crate) fn missing_argument(callee: &str, name: &str, span: Span, form: &str) -> Diagnostic {
    Diagnostic::error("model::missing_argument", format!("`{callee}` needs `{name}`"))
        .label(span, format!("no `{name}` here"))
        .help(format!("write {form}"))
}

/// More arguments than parameters.
pub(crate) fn surplus_argument(callee: &str, span: Span, form: &str) -> Diagnostic {
    Diagnostic::error("model::surplus_argument", format!("`{callee}` takes fewer arguments"))
        .label(span, "one too many")
        .help(format!("write {form}"))
}

/// A layer called a second time without an instance.
pub(crate) fn called_twice(name: &str, span: Span, before: Span) -> Diagnostic {
    let small = name.to_lowercase();
    Diagnostic::error("model::called_twice", format!("`{name}` is called a second time in one body, so its weights need names"))
        .label(span, "second call")
        .label(before, "first call")
        .help(format!("declare instances, `weight first_{small}, second_{small}: {name}(…)`, and call those"))
}

/// A weight or instance of one name in two `repeat`s of a body.
pub(crate) fn declared_twice(name: &str, span: Span, before: Span) -> Diagnostic {
    Diagnostic::error("model::declared_twice", format!("two `repeat`s of one body declare `{name}`, so their weights would have one path"))
        .label(span, "again here")
        .label(before, "first here")
        .help("rename one of the two")
}

/// A layer that calls itself.
pub(crate) fn recursive(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error("model::recursive", format!("`{name}` calls itself"))
        .label(span, "leads back to the layer it stands in")
        .help("use `repeat` for a fixed number of equal layers")
}

/// A body without `return`.
pub(crate) fn no_return(definition: &Definition) -> Diagnostic {
    Diagnostic::error("model::no_return", format!("`{}` declares a result but has no `return`", definition.name.text))
        .label(definition.header, "declared here")
        .help("end the body with `return …`")
}

/// A number of results that does not fit.
pub(crate) fn result_count(span: Span, found: usize, needed: usize, what: &str) -> Diagnostic {
    Diagnostic::error("model::result_count", format!("{what}: {found} given, {needed} needed"))
        .label(span, format!("{found} here"))
        .help("name each of them: `let a, b = Layer(x)`, `return a, b`")
}

/// `return` that is not the last statement, or stands in a `repeat`.
pub(crate) fn return_place(span: Span, place: &str) -> Diagnostic {
    Diagnostic::error("model::return_place", format!("`return` {place}"))
        .label(span, "here")
        .help("make it the last statement of the layer or model")
}

/// `carry` outside a `repeat`.
pub(crate) fn carry_place(span: Span) -> Diagnostic {
    Diagnostic::error("model::carry_place", "`carry` stands outside a `repeat`")
        .label(span, "here")
        .help("write `let`, or put it into `repeat Dim { … }`")
}

/// A carried name without a value before the loop.
pub(crate) fn carry_unknown<'c>(name: &Name, all: impl Iterator<Item = &'c str>) -> Diagnostic {
    let help = suggest(&name.text, all, &format!("give it its first value before the `repeat`: `let {} = …`", name.text));
    Diagnostic::error("model::carry_unknown", format!("`{}` has no value before the `repeat`", name.text))
        .label(name.span, "carried here")
        .help(help)
}

/// A name carried twice in one iteration.
pub(crate) fn carry_twice(name: &Name, before: Span) -> Diagnostic {
    Diagnostic::error("model::carry_twice", format!("`{}` is carried twice in one iteration", name.text))
        .label(name.span, "again here")
        .label(before, "first here")
        .help("use `let` for what is in between, and one `carry`")
}

/// A carried value whose type changes.
pub(crate) fn carry_type(span: Span, tape: &Tape, name: &str, before: &Type, after: &Type) -> Diagnostic {
    Diagnostic::error(
        "model::carry_type",
        format!("`{name}` is {} before the iteration and {} after it", tape.spell(before), tape.spell(after)),
    )
    .label(span, "changes its type")
    .help("a carried value has one type for all iterations")
}

/// A `repeat` that hands nothing on and has no loss.
pub(crate) fn repeat_idle(span: Span) -> Diagnostic {
    Diagnostic::warning("model::repeat_idle", "this `repeat` carries nothing, so its iterations do not build on each other")
        .label(span, "no `carry` inside")
        .help("hand the value on: `carry x = …`")
}

/// A `repeat` that would fill the memory with instructions.
pub(crate) fn too_many(span: Span, name: &str, count: u64) -> Diagnostic {
    Diagnostic::error("model::too_many", format!("the iterations are elaborated one by one, and {name} = {count} are too many"))
        .label(span, "repeated too often")
        .help(format!("make `{name}` smaller"))
}

/// A layer that nothing calls.
pub(crate) fn unused(definition: &Definition) -> Diagnostic {
    Diagnostic::warning("model::unused_layer", format!("`{}` is never called, so it was not checked", definition.name.text))
        .label(definition.name.span, "not called")
        .help("call it, or remove it")
}
