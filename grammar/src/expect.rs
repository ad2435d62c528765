//! The grammar's rules in the language's words, and the words for what was found.
//!
//! Requires the rules that could have gone on. Ensures that no rule's name is ever shown to a user.

use crate::rules::Rule;

/// What could stand at a place, without repetition.
pub(crate) fn phrases(expected: &[Rule]) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = Vec::new();
    for phrase in expected.iter().filter_map(|one| phrase(*one)) {
        if !found.contains(&phrase) {
            found.push(phrase);
        }
    }
    // an expression may start with nearly anything, so its own beginnings are not worth a word beside it
    if found.contains(&"an expression") {
        found.retain(|phrase| !["a name", "`(`", "`[`", "a string", "a number"].contains(phrase));
    }
    if found.contains(&OPERATOR) {
        found.retain(|phrase| !["`(`", "`[`", "`:`"].contains(phrase));
    }
    found.sort_by_key(|phrase| *phrase == LINE_END);
    found
}

/// The end of a statement, entry or item.
pub(crate) const LINE_END: &str = "the end of the line";

/// A binary operator.
pub(crate) const OPERATOR: &str = "an operator";

fn phrase(expected: Rule) -> Option<&'static str> {
    Some(match expected {
        Rule::EOI => LINE_END,
        Rule::item => "the start of an item, such as `layer`",
        Rule::statement => "a statement",
        Rule::setting => "a setting such as `steps = 2000`",
        Rule::rule => "a rule such as `Batch -> data`",
        Rule::condition => "a condition such as `peak_memory < 80 GiB`",
        Rule::expr | Rule::primary | Rule::prefix | Rule::reference | Rule::quantity | Rule::argument | Rule::named => "an expression",
        Rule::infix => OPERATOR,
        Rule::name | Rule::names | Rule::signature | Rule::param => "a name",
        Rule::path => "a name",
        Rule::pattern | Rule::part => "a path",
        Rule::target => "an axis or a setting",
        Rule::modifier => "`via`, `padded` or `hold`",
        Rule::tensor => "a type such as `[.., Embed]`",
        Rule::instance => "a layer such as `LayerNorm(Embed)`",
        Rule::dims | Rule::dim => "a dim",
        Rule::rest => "`..`",
        Rule::text => "a string",
        Rule::integer | Rule::number => "a number",
        Rule::equals => "`=`",
        Rule::colon => "`:`",
        Rule::arrow | Rule::results => "`->`",
        Rule::comma => "`,`",
        Rule::open_paren | Rule::params | Rule::arguments => "`(`",
        Rule::close_paren => "`)`",
        Rule::open_bracket => "`[`",
        Rule::close_bracket => "`]`",
        Rule::open_brace | Rule::body | Rule::settings | Rule::rules | Rule::conditions | Rule::choice => "`{`",
        Rule::close_brace => "`}`",
        Rule::as_word => "`as`",
        Rule::with_word => "`with`",
        Rule::mask | Rule::where_word => "`where`",
        Rule::else_word | Rule::otherwise => "`else`",
        Rule::before_word => "`before`",
        Rule::balanced_word => "`balanced`",
        // slips are never expected, and the rest is always inside one of the above
        _ => return None,
    })
}

/// What stands at a place.
pub(crate) struct Found<'t> {
    /// Its first byte.
    pub start: usize,
    /// A word, number, string or sign; empty at the end of a line.
    pub text: &'t str,
    last: bool,
}

impl<'t> Found<'t> {
    /// What stands at `at`, or after the blanks there on the same line.
    pub fn at(text: &'t str, at: usize) -> Self {
        let rest = text[at..].trim_start_matches([' ', '\t', '\r']);
        let start = text.len() - rest.len();
        if rest.is_empty() || rest.starts_with('\n') {
            let start = text[..start].trim_end().len();
            return Found { start, text: "", last: text[start..].trim().is_empty() };
        }
        Found { start, text: &rest[..length(rest)], last: false }
    }

    /// In words.
    pub fn described(&self) -> String {
        match self.text {
            "" if self.last => "the end of the file".to_string(),
            "" => "the end of the line".to_string(),
            text => format!("`{text}`"),
        }
    }
}

/// The length of the word, number, string or sign that a text starts with.
fn length(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    if let Some(inner) = text.strip_prefix('"') {
        return inner.find('"').map_or(text.len(), |at| at + 2);
    }
    if text.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_') {
        return text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    }
    let signs = ["->", "=>", "==", "!=", "<=", ">=", "..", "**", "&&", "||"];
    if signs.iter().any(|sign| text.starts_with(sign)) { 2 } else { first }
}
