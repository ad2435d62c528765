//! The language's words, and which one a misspelt word was meant to be.
//!
//! Requires nothing. Ensures that the words listed here are those of `grammar.pest` (a test compares them).

use crate::tree::BlockKind;

/// Words that open a statement.
pub const STATEMENTS: [&str; 9] = ["let", "weight", "state", "next", "loss", "metric", "carry", "repeat", "return"];

/// Words that open an item, besides the blocks.
pub const ITEMS: [&str; 5] = ["use", "dims", "let", "layer", "model"];

/// Words that no value can have as its name.
pub const RESERVED: [&str; 9] = ["and", "or", "not", "if", "else", "each", "true", "false", "none"];

/// Every word that opens an item at the top of a file.
pub fn items() -> impl Iterator<Item = &'static str> {
    ITEMS.into_iter().chain(BlockKind::ALL.into_iter().map(BlockKind::text))
}

/// The word at the start of a text, perhaps empty.
pub(crate) fn first(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    &text[..end]
}

/// Whether a trimmed line can only be the start of an item, wherever it stands.
pub(crate) fn opens_item(line: &str) -> bool {
    let word = first(line);
    let rest = line[word.len()..].trim_start();
    match word {
        "layer" | "model" => {
            let name = first(rest);
            line.len() > word.len() + rest.len() && !name.is_empty() && rest[name.len()..].trim_start().starts_with('(')
        }
        "use" => rest.starts_with('"') || rest.starts_with("std"),
        "dims" => rest.starts_with('{'),
        "shard" if rest.starts_with("before ") => true,
        _ => BlockKind::ALL.iter().any(|kind| kind.text() == word) && rest.starts_with('{'),
    }
}

/// Whether a trimmed line inside brackets can only be the start of a statement.
pub(crate) fn opens_statement(line: &str) -> bool {
    let word = first(line);
    let rest = line[word.len()..].trim_start();
    let next = first(rest);
    let apart = line.len() > word.len() + rest.len();
    let joins = ["and", "or", "where", "via", "as"].contains(&next);
    STATEMENTS.contains(&word) && apart && next.starts_with(|letter: char| letter.is_ascii_alphabetic()) && !joins
}

/// The candidate that `word` is most likely a misspelling of, if one is near enough.
///
/// Near is one edit (insert, delete, replace, swap) for up to four letters, two up to eight, three beyond.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let allowed = match word.chars().count() {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    let rate = |candidate: &'c str| {
        let distance = if candidate.eq_ignore_ascii_case(word) { 0 } else { distance(word, candidate) };
        (distance <= allowed && candidate != word).then_some((distance, candidate))
    };
    candidates.into_iter().filter_map(rate).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Edits between two words, neighbours swapped counting as one (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(left[i - 1] != right[j - 1]);
                let best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
                let swapped = i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
                if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word() {
        assert_eq!(nearest("wieght", STATEMENTS), Some("weight"));
        assert_eq!(nearest("Let", STATEMENTS), Some("let"));
        assert_eq!(nearest("zebra", STATEMENTS), None);
        assert_eq!(nearest("modle", items()), Some("model"));
    }

    #[test]
    fn lines_that_show_a_bracket_was_left_open() {
        for line in ["layer Feed(x: [.., A]) {", "train {", "use \"a.mesh\"", "dims { A = 1 }", "shard before base {"] {
            assert!(opens_item(line), "{line}");
        }
        for line in ["data = 4", "layer: Feed", "train: 3,", "model", "layer = 3"] {
            assert!(!opens_item(line), "{line}");
        }
        assert!(opens_statement("let y = 3"));
        assert!(!opens_statement("next: y,"));
        assert!(!opens_statement("next or y,"));
    }

    #[test]
    fn the_grammar_has_the_same_words() {
        let grammar = include_str!("grammar.pest");
        for word in items().chain(STATEMENTS).chain(RESERVED) {
            assert!(grammar.contains(&format!("\"{word}\"")), "{word} is not in the grammar");
        }
    }
}
