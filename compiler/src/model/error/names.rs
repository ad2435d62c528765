//! Errors about names: unknown, defined twice, of the wrong kind.

use super::suggest;
use crate::model::standard;
use meshwright_grammar::tree::{Definition, Name, Path};
use meshwright_grammar::{Diagnostic, Span};

/// A feature of the language that cannot run yet.
pub(crate) fn not_supported(span: Span, what: &str, instead: &str) -> Diagnostic {
    Diagnostic::error("model::not_supported", format!("{what} is not supported yet")).label(span, "here").help(instead)
}

/// A standard module that does not exist.
pub(crate) fn unknown_module(path: &Path) -> Diagnostic {
    let all: Vec<&str> = standard::MODULES.iter().map(|(name, _)| *name).collect();
    let help = suggest(&path.text(), all.iter().copied(), &format!("there are {}", all.join(", ")));
    Diagnostic::error("model::unknown_module", format!("there is no module `{}`", path.text()))
        .label(path.span, "not in the library")
        .help(help)
}

/// A name defined twice in one file.
pub(crate) fn defined_twice(name: &Name, before: Span) -> Diagnostic {
    Diagnostic::error("model::defined_twice", format!("`{}` is defined twice", name.text))
        .label(name.span, "again here")
        .label(before, "first here")
        .help("rename one of the two, or remove it")
}

/// Two models in one file.
pub(crate) fn two_models(model: &Definition, before: &Definition) -> Diagnostic {
    Diagnostic::error("model::two_models", "a spec has one model")
        .label(model.name.span, "a second one")
        .label(before.name.span, "the first one")
        .help("make one of them a `layer`, or move it to a file of its own")
}

/// No model at all.
pub(crate) fn no_model(span: Option<Span>) -> Diagnostic {
    let error = Diagnostic::error("model::no_model", "the spec has no model");
    let error = match span {
        Some(span) => error.label(span, "ends here without one"),
        None => error,
    };
    error.help("add `model Name(x: real[Batch, …], …) -> […] { … }`")
}

/// `let a, b = 1` at the top.
pub(crate) fn one_name_each(span: Span) -> Diagnostic {
    Diagnostic::error("model::one_name_each", "a number at the top of a file has one name")
        .label(span, "a second name")
        .help("write a `let` for each name")
}

/// `--set` of a name that is not defined.
pub(crate) fn unknown_override<'c>(key: &str, span: Span, all: impl Iterator<Item = &'c str>) -> Diagnostic {
    let name = key.strip_prefix("dims.").unwrap_or(key);
    let help = suggest(name, all, "dims are set by `dims.Name=…`, numbers by `name=…`");
    Diagnostic::error("model::unknown_override", format!("`{key}` is set, but no dim or number has that name"))
        .label(span, "set to this")
        .help(help)
}

/// A name in a constant expression that is neither a dim nor a number.
pub(crate) fn unknown_constant<'c>(name: &str, span: Span, all: impl Iterator<Item = &'c str>) -> Diagnostic {
    let help = suggest(name, all, "define it in `dims { … }` or by `let` at the top of the file");
    Diagnostic::error("model::unknown_name", format!("there is no dim or number `{name}`")).label(span, "not defined").help(help)
}

/// A name in a body that means nothing.
pub(crate) fn unknown_name<'c>(name: &str, span: Span, all: impl Iterator<Item = &'c str>) -> Diagnostic {
    let help = suggest(name, all, "bind it by `let`, or add it to the parameters");
    Diagnostic::error("model::unknown_name", format!("there is no `{name}` here")).label(span, "not defined").help(help)
}

/// A dim in a type that is not declared.
pub(crate) fn unknown_dim<'c>(name: &str, span: Span, all: impl Iterator<Item = &'c str>) -> Diagnostic {
    let help = suggest(name, all, &format!("add `{name} = …` to `dims {{ … }}`"));
    Diagnostic::error("model::unknown_dim", format!("there is no dim `{name}`")).label(span, "not declared").help(help)
}

/// A callee that is neither a layer, an instance nor an operation.
pub(crate) fn unknown_callee<'c>(name: &str, span: Span, all: impl Iterator<Item = &'c str>, module: Option<&str>) -> Diagnostic {
    let otherwise = match module {
        Some(module) => format!("it stands in the standard library: add `use {module}` at the top"),
        None if name.starts_with(|letter: char| letter.is_uppercase()) => format!("define `layer {name}(x: [..]) -> [..] {{ … }}`"),
        None => "see the list of primitives, or define a layer".to_string(),
    };
    let help = if module.is_some() { otherwise } else { suggest(name, all, &otherwise) };
    let what = if name.starts_with(|letter: char| letter.is_uppercase()) { "layer" } else { "operation or instance" };
    Diagnostic::error("model::unknown_callee", format!("there is no {what} `{name}`")).label(span, "called here").help(help)
}

/// A name bound a second time in a body.
pub(crate) fn rebound(name: &Name, before: Span) -> Diagnostic {
    Diagnostic::error("model::rebound", format!("`{}` is bound already", name.text))
        .label(name.span, "bound again")
        .label(before, "first here")
        .help("choose another name; only `carry` gives a name a new value, from one iteration to the next")
}

/// An item of one kind where another is needed.
pub(crate) fn wrong_kind(span: Span, found: &str, needed: &str, help: &str) -> Diagnostic {
    Diagnostic::error("model::wrong_kind", format!("{needed} is needed here, this is {found}")).label(span, found.to_string()).help(help)
}

/// A condition of `if` that is only known when the model runs.
pub(crate) fn not_compile_time(span: Span, found: &str) -> Diagnostic {
    Diagnostic::error("model::not_compile_time", format!("`if` needs a compile-time condition, this is {found}"))
        .label(span, "only known when the model runs")
        .help("choose elementwise with `where(condition, a, b)`")
}
