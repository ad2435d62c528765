//! What the user is told about syntax: the texts, and the list of codes.
//!
//! Requires the place of each fault. Ensures messages in the language's words, and a help that names the next edit.

mod codes;
mod slips;

pub use codes::CODES;
pub(crate) use slips::*;

use crate::Diagnostic;
use crate::source::Span;

/// What was expected and what stands there instead.
pub(crate) fn expected(span: Span, expected: &[&str], found: &str) -> Diagnostic {
    let wanted = either(expected);
    let message = if wanted.is_empty() { format!("did not expect {found}") } else { format!("expected {wanted}, found {found}") };
    let label = if wanted.is_empty() { "not expected here".to_string() } else { format!("expected {wanted}") };
    Diagnostic::error("syntax::expected", message).label(span, label)
}

/// `a, b or c`
pub(crate) fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => word.to_string(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A bracket without its partner.
pub(crate) fn unclosed(span: Span, bracket: char, shown: Span) -> Diagnostic {
    let partner = match bracket {
        '(' => ')',
        '[' => ']',
        _ => '}',
    };
    Diagnostic::error("syntax::unclosed", format!("this `{bracket}` is never closed"))
        .label(span, "opened here")
        .label(shown, format!("expected `{partner}` before this"))
        .help(format!("add the `{partner}`"))
}

/// A closing bracket that nothing opened.
pub(crate) fn unopened(span: Span, bracket: char) -> Diagnostic {
    Diagnostic::error("syntax::unopened", format!("this `{bracket}` closes nothing"))
        .label(span, "no bracket is open here that it could close")
        .help(format!("remove this `{bracket}`, or add what it should close"))
}

/// Brackets or operators nested beyond what anyone writes.
pub(crate) fn too_deep(span: Span, limit: usize) -> Diagnostic {
    Diagnostic::error("syntax::deep", format!("nested more than {limit} levels deep"))
        .label(span, "one level too many")
        .help("give the inner part a name with `let`")
}

/// A file beyond the size that offsets can count.
pub(crate) fn too_long(span: Span, bytes: usize, limit: usize) -> Diagnostic {
    Diagnostic::error("syntax::long", format!("the file has {bytes} bytes, more than {limit}"))
        .label(span, "in this file")
        .help("a spec is text of a few hundred lines: is this the right file?")
}

/// A line that starts with a word that starts no statement.
pub(crate) fn statement(span: Span, word: &str, meant: Option<&str>) -> Diagnostic {
    let error = Diagnostic::error("syntax::statement", format!("`{word}` does not start a statement")).label(span, "not a statement");
    match meant {
        Some(meant) => error.help(format!("did you mean `{meant}`?")),
        None => error.help(format!("statements start with one of: {}", crate::word::STATEMENTS.join(", "))),
    }
}

/// A line at the top that starts with a word that starts no item.
pub(crate) fn item(span: Span, word: &str, meant: Option<&str>) -> Diagnostic {
    let error = Diagnostic::error("syntax::item", format!("`{word}` starts nothing at the top of a file")).label(span, "not known here");
    match meant {
        Some(meant) => error.help(format!("did you mean `{meant}`?")),
        None => error.help(format!("one of these can stand here: {}", crate::word::items().collect::<Vec<_>>().join(", "))),
    }
}

/// A statement that stands outside of every layer.
pub(crate) fn statement_outside(span: Span, word: &str) -> Diagnostic {
    Diagnostic::error("syntax::item", format!("`{word}` belongs inside a layer or a model"))
        .label(span, "stands at the top of the file")
        .help("move it into the braces of a `layer` or `model`; look for a `}` too many above")
}

fn at(error: Diagnostic, place: Option<Span>, text: &str) -> Diagnostic {
    match place {
        Some(span) => error.label(span, text),
        None => error,
    }
}

/// A file that cannot be read.
pub(crate) fn use_missing(place: Option<Span>, name: &str, reason: &str) -> Diagnostic {
    at(Diagnostic::error("use::missing", format!("cannot read `{name}`: {reason}")), place, "named here")
        .help("check the path; a file in `use` is looked up beside the one that uses it")
}

/// A file that uses itself.
pub(crate) fn use_cycle(place: Option<Span>, open: &[String], name: &str) -> Diagnostic {
    let start = open.iter().position(|file| file == name).unwrap_or(0);
    let chain: Vec<&str> = open[start..].iter().map(String::as_str).chain([name]).collect();
    at(Diagnostic::error("use::cycle", format!("`{name}` uses itself: {}", chain.join(" → "))), place, "closes the circle")
        .help("remove one of these `use`, or move what both need into a third file")
}

/// A chain of files without an end in sight.
pub(crate) fn use_deep(place: Option<Span>, limit: usize) -> Diagnostic {
    at(Diagnostic::error("use::deep", format!("more than {limit} files use each other in a chain")), place, "one too many")
        .help("let one file use several instead of each using the next")
}
