//! The codes of this stage, as `meshwright explain` prints them.
//!
//! Requires nothing. Ensures one entry for every code that the texts beside it use (a test compares them).

use crate::CodeInfo;

const fn info(code: &'static str, title: &'static str, explanation: &'static str) -> CodeInfo {
    CodeInfo { code, title, explanation }
}

/// Every code of syntax and of files brought in.
pub const CODES: &[CodeInfo] = &[
    info(
        "syntax::expected",
        "something else was expected",
        "The text before this place fits the language, what stands here does not. The message lists what could stand here. \
         Statements and entries end with their line; a line goes on inside brackets and after a binary operator.",
    ),
    info(
        "syntax::unclosed",
        "a bracket that is never closed",
        "Every `(`, `[` and `{` needs its partner. The second label shows where it became clear that the partner is missing: \
         it usually belongs somewhat above that place.",
    ),
    info("syntax::unopened", "a closing bracket that closes nothing", "Often the opening one was deleted, or the bracket stands twice."),
    info(
        "syntax::deep",
        "nested too deep",
        "Brackets nest at most 64 deep and an expression has at most 256 levels. Give inner parts names with `let`.",
    ),
    info(
        "syntax::long",
        "a file that is too long",
        "A spec is read as text of at most 16 MiB; data belongs into files named in `data { … }`.",
    ),
    info(
        "syntax::open_string",
        "a string without its end",
        "Strings stand in double quotes and end on their line. `\\\"` is a quote inside.",
    ),
    info("syntax::quotes", "single quotes", "Strings stand in double quotes; single quotes have no meaning."),
    info(
        "syntax::comment",
        "a comment in another language's form",
        "`//` starts a comment, up to the line's end; `///` one that documents the next item.",
    ),
    info("syntax::semicolon", "a semicolon", "A line's end ends a statement. In blocks a comma or a line's end ends an entry."),
    info(
        "syntax::dots",
        "three dots",
        "In a type `..` stands for all other dims, the same ones throughout a signature; in a path `Block[0..8]` is a range.",
    ),
    info(
        "syntax::character",
        "a character without meaning",
        "Outside of strings and comments a spec is ASCII: `->` for an arrow, `*` for a product, `<=` and so on.",
    ),
    info(
        "syntax::statement",
        "not a statement",
        "Each statement in a layer starts with one of: let, weight, state, next, loss, metric, carry, repeat, return.",
    ),
    info(
        "syntax::item",
        "nothing that stands at the top of a file",
        "A file holds `use`, `dims`, `let`, `layer`, `model` and the named blocks, each on its own line.",
    ),
    info(
        "syntax::missing_let",
        "a value named without `let`",
        "`let` names a value. Names are never bound again; `carry` alone hands a new value to a `repeat`'s next iteration.",
    ),
    info("syntax::bare", "an expression that stands alone", "Nothing would use its value: name it with `let`, or `return` it."),
    info(
        "syntax::weights",
        "`weights` for `weight`",
        "`weight a, b: [In -> Out]` declares one or several weights. `weights` is a state kind, used in `shard`.",
    ),
    info(
        "syntax::call_equals",
        "`=` in a call",
        "Arguments are named with a colon, `sum(x, over: Seq)`; `=` is for settings in blocks and for `let`.",
    ),
    info("syntax::setting_colon", "`:` in a block of settings", "Settings take `=`: `steps = 2000`. A colon names an argument, or a type."),
    info(
        "syntax::rule_arrow",
        "a rule without its arrow",
        "In `shard`, `tune`, `remat` and `precision` an entry is `what -> how`: `Seq -> tensor`.",
    ),
    info(
        "syntax::missing_arrow",
        "a result without its arrow",
        "`layer Name(parameters) -> type { … }`: the result's type stands after `->`.",
    ),
    info("syntax::power", "`**` for a power", "`x ^ 2` is a power. `**` stands only in paths, for any number of parts."),
    info("syntax::modulo", "`%` as an operator", "`%` is the unit percent. The rest of a division is `mod(a, b)`."),
    info("syntax::logic", "`&&`, `||` or `!`", "Logic is written in words: `and`, `or`, `not`."),
    info("syntax::unit", "an unknown unit", "A word right after a number is its unit; units are a closed set. A product needs its `*`."),
    info(
        "syntax::unit_space",
        "a number and its unit without a space",
        "`120 GiB`, not `120GiB`: a word may start with digits (`1f1b`), so the space tells them apart.",
    ),
    info("syntax::unit_line", "a unit on another line", "A unit stands on its number's line."),
    info("syntax::number", "a point without digits", "`0.5` and `1.0`, never `.5` or `1.`: a point joins names, and two are a range."),
    info(
        "syntax::index",
        "an index in brackets",
        "Tensors are cut by the dim's name, never by position: `slice`, `take`, `gather`, `window`.",
    ),
    info("syntax::chain", "chained comparisons", "`a < b < c` is refused because languages differ about it; write `a < b and b < c`."),
    info("syntax::compare_equals", "`=` in a condition", "`==` compares; `=` sets a value in `let` and in blocks."),
    info(
        "syntax::assign",
        "`+=`, `:=` and the like",
        "Names are bound once. Give the new value a new name, or `carry` it through a `repeat`.",
    ),
    info(
        "syntax::missing_else",
        "an `if` without `else`",
        "`if` is an expression: `if c { a } else { b }`. `none` can be the value of a setting that is off.",
    ),
    info(
        "syntax::capital",
        "a dim or layer with a small letter",
        "Dims, layers and models are capitalised and share one name space; so a reader sees which argument is a dim.",
    ),
    info(
        "syntax::small",
        "a value with a capital letter",
        "Values, weights, axes and settings start small; capitals are for dims and layers.",
    ),
    info("syntax::literal", "a constant in another language's form", "The constants are `true`, `false` and `none`."),
    info(
        "syntax::dim_number",
        "a size in a type",
        "Every dim has a name, so that broadcasting, contraction and sharding can go by name. Sizes stand in `dims`.",
    ),
    info(
        "syntax::parameter",
        "an unknown kind of parameter",
        "A parameter takes a tensor (`[.., Embed]`), a `dim`, a `number`, a `bool` or a `layer`.",
    ),
    info("syntax::escape", "an unknown escape in a string", "`\\\"`, `\\\\`, `\\n` and `\\t` are the escapes."),
    info("syntax::order", "a plain argument after a named one", "Arguments without a name are matched by position, so they come first."),
    info(
        "syntax::instance_init",
        "a start value for an instance",
        "Only tensors have one: `weight w: [In -> Out] = normal(0.02)`. The weights of an instance start as its layer says.",
    ),
    info("syntax::range", "an empty range in a path", "`Block[0..8]` is the blocks 0 to 7; `Block[3]` is one block."),
    info("syntax::arrow", "`=>` for an arrow", "Arrows are written `->`: in results, in weights' types, in rules."),
    info(
        "syntax::reserved",
        "a word of the language as a name",
        "and, or, not, if, else, each, true, false and none are never names. The words that start statements may be.",
    ),
    info("use::missing", "a file that cannot be read", "`use \"file.mesh\"` reads the file relative to the one that uses it."),
    info(
        "use::cycle",
        "files that use each other",
        "A file is brought in before the one that uses it, so no file can use itself, also not by a detour.",
    ),
    info("use::deep", "files that use each other too deep", "At most 32 files may use one another in a chain."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_in_the_texts_is_listed_once_and_the_other_way_round() {
        let texts = [include_str!("../error.rs"), include_str!("slips.rs")].concat();
        let mut used: Vec<&str> = texts.split("Diagnostic::error(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        used.sort_unstable();
        used.dedup();
        let mut listed: Vec<&str> = CODES.iter().map(|info| info.code).collect();
        listed.sort_unstable();
        assert_eq!(used, listed);
    }
}
