//! The usual slips, each with its own message and its fix.
//!
//! Requires the place and what was written there. Ensures that the help shows what to write instead.

use crate::Diagnostic;
use crate::source::Span;

pub(crate) fn open_string(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::open_string", "a string ends on the line where it starts")
        .label(span, "no closing `\"`")
        .help("close it with `\"`; a quote inside is written `\\\"`")
}

pub(crate) fn single_quotes(span: Span, inner: &str) -> Diagnostic {
    Diagnostic::error("syntax::quotes", "strings are written with double quotes")
        .label(span, "single quotes")
        .help(format!("write `\"{inner}\"`"))
}

pub(crate) fn hash_comment(span: Span, text: &str) -> Diagnostic {
    Diagnostic::error("syntax::comment", "comments start with `//`")
        .label(span, "`#` starts nothing")
        .help(format!("write `// {}`", text.trim_start_matches('#').trim()))
}

pub(crate) fn block_comment(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::comment", "there are no block comments")
        .label(span, "opened here")
        .help("start each line of the comment with `//`")
}

pub(crate) fn semicolon(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::semicolon", "`;` ends nothing")
        .label(span, "not needed")
        .help("remove it: a line's end ends a statement, a comma or a line's end an entry")
}

pub(crate) fn three_dots(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::dots", "the other dims are written `..`").label(span, "too many dots").help("write two dots: `[.., Embed]`")
}

/// What a character from outside ASCII stands for, never longer than itself.
pub(crate) fn meant_by(character: &str) -> Option<&'static str> {
    Some(match character {
        "…" => "..",
        "→" => "->",
        "×" | "·" => "*",
        "−" | "–" | "—" => "-",
        "≤" => "<=",
        "≥" => ">=",
        "≠" => "!=",
        "÷" => "/",
        "\u{a0}" | "\u{202f}" | "\u{2009}" => " ",
        _ => return None,
    })
}

pub(crate) fn character(span: Span, found: &str, meant: Option<&str>) -> Diagnostic {
    let shown: String = found.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect();
    let error = Diagnostic::error("syntax::character", format!("the character `{shown}` means nothing here"))
        .label(span, "not part of the language");
    match meant {
        Some(" ") => error.help("write an ordinary space"),
        Some(meant) => error.help(format!("write `{meant}`")),
        None => error.help("remove it; names use letters, digits and `_`, strings stand in double quotes"),
    }
}

pub(crate) fn missing_let(span: Span, names: &str) -> Diagnostic {
    Diagnostic::error("syntax::missing_let", "a value is named with `let`")
        .label(span, "`let` is missing")
        .help(format!("write `let {names} = …`; names are bound once, only `carry` hands one to the next iteration"))
}

pub(crate) fn bare(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::bare", "a value that nothing uses")
        .label(span, "this is an expression, not a statement")
        .help("write `let name = …` before it, or `return` if it is the result")
}

pub(crate) fn weights(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::weights", "weights are declared with `weight`, also several at once")
        .label(span, "one letter too many")
        .help("write `weight`")
}

pub(crate) fn call_equals(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("syntax::call_equals", "a named argument takes a colon").label(span, "`=` for `:`").help(format!("write `{name}: …`"))
}

pub(crate) fn setting_colon(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("syntax::setting_colon", "a setting takes `=`").label(span, "`:` for `=`").help(format!("write `{name} = …`"))
}

pub(crate) fn rule_arrow(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("syntax::rule_arrow", "a rule takes an arrow").label(span, "expected `->`").help(format!("write `{name} -> …`"))
}

pub(crate) fn missing_arrow(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::missing_arrow", "the result's type stands after an arrow")
        .label(span, "`->` is missing before this")
        .help("write `-> [..]` between the parameters and the braces")
}

pub(crate) fn power(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::power", "powers are written with `^`").label(span, "`**` for `^`").help("write `^`")
}

pub(crate) fn modulo(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::modulo", "there is no `%` operator").label(span, "`%` is the unit percent").help("write `mod(a, b)`")
}

pub(crate) fn logic(span: Span, found: &str, word: &str) -> Diagnostic {
    Diagnostic::error("syntax::logic", format!("`{found}` is written as a word"))
        .label(span, "a symbol for a word")
        .help(format!("write `{word}`"))
}

pub(crate) fn unit(span: Span, found: &str, meant: Option<&str>) -> Diagnostic {
    let error = Diagnostic::error("syntax::unit", format!("`{found}` is not a unit")).label(span, "stands where a unit may stand");
    match meant {
        Some(meant) => error.help(format!("did you mean `{meant}`?")),
        None => {
            let units: Vec<&str> = crate::unit::UNITS.iter().map(|unit| unit.text).collect();
            error.help(format!("units are {}; for a product write `*`", units.join(", ")))
        }
    }
}

pub(crate) fn unit_space(span: Span, number: &str, unit: &str) -> Diagnostic {
    Diagnostic::error("syntax::unit_space", "a space stands between a number and its unit")
        .label(span, "no space")
        .help(format!("write `{number} {unit}`"))
}

pub(crate) fn unit_line(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::unit_line", "a unit stands on its number's line")
        .label(span, "on another line than its number")
        .help("move it up, right after the number")
}

pub(crate) fn number(span: Span, fixed: &str) -> Diagnostic {
    Diagnostic::error("syntax::number", "a number has digits on both sides of its point")
        .label(span, "digits are missing")
        .help(format!("write `{fixed}`"))
}

pub(crate) fn index(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::index", "values are not indexed with brackets")
        .label(span, "an index")
        .help("take a part by the dim's name: `slice(x, 0, 3, Seq)`, `take(x, 0, Seq)` or `gather(x, at, Seq)`")
}

pub(crate) fn chain(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::chain", "comparisons do not chain").label(span, "a second comparison").help("write `a < b and b < c`")
}

pub(crate) fn compare_equals(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::compare_equals", "equality is asked with `==`").label(span, "`=` sets, it does not ask").help("write `==`")
}

pub(crate) fn assign(span: Span, found: &str) -> Diagnostic {
    Diagnostic::error("syntax::assign", format!("there is no `{found}`"))
        .label(span, "names are bound once")
        .help("write `let name = …` with a new name, or `carry` inside a `repeat`")
}

pub(crate) fn missing_else(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::missing_else", "an `if` needs a value for both cases")
        .label(span, "`else` is missing after this")
        .help("add `else { … }`")
}

pub(crate) fn capital(span: Span, what: &str, name: &str) -> Diagnostic {
    let mut letters = name.trim_start_matches('_').chars();
    let fixed: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    Diagnostic::error("syntax::capital", format!("the name of a {what} starts with a capital letter"))
        .label(span, "small")
        .help(format!("write `{fixed}`"))
}

pub(crate) fn small(span: Span, what: &str, name: &str) -> Diagnostic {
    let mut letters = name.chars();
    let fixed: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
    Diagnostic::error("syntax::small", format!("the name of a {what} starts with a small letter"))
        .label(span, "capital letters are for dims and layers")
        .help(format!("write `{fixed}`"))
}

pub(crate) fn literal(span: Span, found: &str, meant: &str) -> Diagnostic {
    Diagnostic::error("syntax::literal", format!("`{found}` is written `{meant}`"))
        .label(span, "not a dim or layer")
        .help(format!("write `{meant}`"))
}

pub(crate) fn dim_number(span: Span, size: &str) -> Diagnostic {
    Diagnostic::error("syntax::dim_number", "every dim has a name")
        .label(span, "a size, not a name")
        .help(format!("add a name for it to `dims {{ … }}`, such as `Width = {size}`, and write that here"))
}

pub(crate) fn parameter(span: Span, found: &str) -> Diagnostic {
    Diagnostic::error("syntax::parameter", format!("`{found}` is not a kind of parameter"))
        .label(span, "a tensor's type or one of: dim, number, bool, layer")
        .help("a tensor's type has brackets: `[.., Embed]`; a number is `: number`, a dim `: dim`")
}

pub(crate) fn escape(span: Span, found: char) -> Diagnostic {
    Diagnostic::error("syntax::escape", format!("`\\{found}` means nothing in a string"))
        .label(span, "in this string")
        .help("a backslash stands before `\"`, `\\`, `n` or `t`; write `\\\\` for a backslash itself")
}

pub(crate) fn named_first(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::order", "arguments without a name come first")
        .label(span, "stands after a named one")
        .help("move it before the named arguments, or give it its name")
}

pub(crate) fn instance_init(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::instance_init", "an instance of a layer starts as the layer says")
        .label(span, "a start value")
        .help("remove it, or give the layer a parameter for it")
}

pub(crate) fn range(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::range", "this range is empty or too large")
        .label(span, "the end is not included")
        .help("write the first, two dots, and one past the last: `Block[0..8]`")
}

pub(crate) fn fat_arrow(span: Span) -> Diagnostic {
    Diagnostic::error("syntax::arrow", "an arrow is written `->`").label(span, "`=>` for `->`").help("write `->`")
}

pub(crate) fn reserved(span: Span, found: &str) -> Diagnostic {
    Diagnostic::error("syntax::reserved", format!("`{found}` cannot be a name"))
        .label(span, "a word of the language")
        .help(format!("choose another name, such as `{found}_`"))
}

pub(crate) fn repeat_number(span: Span, count: &str) -> Diagnostic {
    Diagnostic::error("syntax::dim_number", "`repeat` takes a dim")
        .label(span, "a number, not a name")
        .help(format!("add `Layers = {count}` to `dims {{ … }}` and write `repeat Layers`"))
}
