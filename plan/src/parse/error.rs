//! What can be wrong with a plan's text.

use std::fmt;

/// Where reading stopped, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// What could have stood there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl ParseError {
    pub(super) fn new(line: u32, column: u32, expected: &str, found: &str) -> Self {
        ParseError { line, column, expected: expected.to_owned(), found: found.to_owned() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: expected {}, found {}", self.line, self.column, self.expected, self.found)
    }
}

impl std::error::Error for ParseError {}
