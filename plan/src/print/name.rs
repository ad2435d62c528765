//! How names and operations are spelled in a plan's text.
//!
//! Ensures that any string can be a name: what is not a plain word, or would be taken for something else, is quoted.

use crate::kernel::{Access, Exchange, Map, Reduce, Role};
use crate::mesh::Coordinate;

/// Words that an expression uses, so that no name may be one of them unquoted.
const RESERVED: [&str; 10] = ["not", "and", "or", "inf", "nan", "fold", "via", "in", "by", "wrap"];

/// Whether an unquoted name may not be this word.
pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// A name as it stands in the text.
pub(super) fn quoted(name: &str) -> String {
    if is_plain(name) && !is_reserved(name) {
        return name.to_owned();
    }
    let mut text = String::from("\"");
    for char in name.chars() {
        match char {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            char if char.is_control() || char.is_whitespace() => text.push_str(&format!("\\u{:x};", u32::from(char))),
            char => text.push(char),
        }
    }
    text.push('"');
    text
}

/// A dim's name: words joined by `*` need no quotes.
pub(super) fn dim(name: &str) -> String {
    let plain = name.split('*').all(|part| is_plain(part) && !is_reserved(part) && !part.contains("[*]"));
    if plain && !name.contains("[*") { name.to_owned() } else { quoted(name) }
}

/// Mesh axes, major first: `data*tensor`; `()` for none.
pub(crate) fn axes(axes: &[String]) -> String {
    if axes.is_empty() { "()".to_owned() } else { axes.iter().map(|axis| quoted(axis)).collect::<Vec<_>>().join("*") }
}

/// ` / data*tensor` after the size of a dim that these axes cut.
pub(super) fn cut(axes: &[String]) -> String {
    if axes.is_empty() { String::new() } else { format!(" / {}", self::axes(axes)) }
}

/// `coord(data*tensor back 1 second, times 16)`.
pub(super) fn coordinate(coordinate: &Coordinate) -> String {
    let back = if coordinate.back == 0 { String::new() } else { format!(" back {}", coordinate.back) };
    let second = if coordinate.second { " second" } else { "" };
    let times = if coordinate.times == 1 { String::new() } else { format!(", times {}", coordinate.times) };
    format!("coord({}{back}{second}{times})", axes(&coordinate.axes))
}

/// A word: a letter or `_`, then letters, digits and `_ ' # .`; dots and `#` only between those; `[*]` anywhere after the start.
fn is_plain(name: &str) -> bool {
    let name = name.replace("[*]", "_");
    let mut before = '.';
    for char in name.chars() {
        let joint = matches!(char, '.' | '#');
        let allowed = char.is_ascii_alphanumeric() || matches!(char, '_' | '\'') || joint;
        if !allowed || (joint && matches!(before, '.' | '#')) {
            return false;
        }
        before = char;
    }
    name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_') && !matches!(before, '.' | '#')
}

/// The word before a group of dims with this role; rows have none.
pub(super) fn role(role: Role) -> Option<&'static str> {
    match role {
        Role::Row => None,
        Role::Lane => Some("lanes"),
        Role::Batch => Some("batch"),
        Role::M => Some("m"),
        Role::N => Some("n"),
        Role::K => Some("k"),
        Role::Query => Some("query"),
        Role::Key => Some("key"),
        Role::Feature => Some("feature"),
        Role::Value => Some("value"),
        Role::Segment => Some("segments"),
        Role::Member => Some("member"),
    }
}

/// The word before operands with this access.
pub(super) fn access(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Accumulate => "accumulate",
        Access::Scratch => "scratch",
    }
}

/// The function that a reduction is written as.
pub(crate) fn reduce_spelling(op: Reduce) -> &'static str {
    match op {
        Reduce::Sum => "sum",
        Reduce::Max => "max",
        Reduce::Min => "min",
        Reduce::Argmax => "argmax",
    }
}

/// The word for a collective.
pub(crate) fn exchange(exchange: &Exchange) -> &'static str {
    match exchange {
        Exchange::AllGather => "all_gather",
        Exchange::ReduceScatter(_) => "reduce_scatter",
        Exchange::AllReduce(_) => "all_reduce",
        Exchange::AllToAll { .. } => "all_to_all",
        Exchange::Permute { .. } => "permute",
    }
}

/// The base of the name of a value that this operation gives.
pub(super) fn letter(op: Map) -> &'static str {
    match op {
        Map::Add => "a",
        Map::Sub => "d",
        Map::Mul => "p",
        Map::Div => "q",
        Map::Rem => "rem",
        Map::Pow => "pow",
        Map::Min => "low",
        Map::Max => "high",
        Map::Neg => "n",
        Map::Abs => "size",
        Map::Sign => "sign",
        Map::Floor => "floor",
        Map::Exp => "e",
        Map::Log => "log",
        Map::Sin => "sin",
        Map::Cos => "cos",
        Map::Tanh => "t",
        Map::Erf => "erf",
        Map::Sqrt => "root",
        Map::Rsqrt => "rstd",
        Map::Lt | Map::Le | Map::Eq | Map::Ne | Map::And | Map::Or | Map::Not => "is",
        Map::Where => "w",
        Map::Real => "x",
        Map::Int => "i",
        Map::RoundBf16 => "b",
    }
}

/// How an elementwise function is written: its sign, or the word under which it is called.
pub(super) fn spelling(op: Map) -> &'static str {
    match op {
        Map::Add => "+",
        Map::Sub => "-",
        Map::Mul => "*",
        Map::Div => "/",
        Map::Rem => "%",
        Map::Pow => "pow",
        Map::Min => "min",
        Map::Max => "max",
        Map::Neg => "-",
        Map::Abs => "abs",
        Map::Sign => "sign",
        Map::Floor => "floor",
        Map::Exp => "exp",
        Map::Log => "log",
        Map::Sin => "sin",
        Map::Cos => "cos",
        Map::Tanh => "tanh",
        Map::Erf => "erf",
        Map::Sqrt => "sqrt",
        Map::Rsqrt => "rsqrt",
        Map::Lt => "<",
        Map::Le => "<=",
        Map::Eq => "==",
        Map::Ne => "!=",
        Map::And => "and",
        Map::Or => "or",
        Map::Not => "not",
        Map::Where => "where",
        Map::Real => "real",
        Map::Int => "int",
        Map::RoundBf16 => "bf16",
    }
}
