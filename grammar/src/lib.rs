//! Text to syntax tree and back: spans, diagnostics, the grammar, its errors, and the formatter.
//!
//! Requires nothing but text. Ensures that a tree comes only from a text without syntax errors, and that every
//! error says what was expected in the language's words.

mod build;
mod diagnose;
pub mod diagnostic;
mod error;
mod expect;
pub mod format;
mod layout;
mod load;
mod parse;
mod recover;
mod rules;
pub mod source;
pub mod tree;
pub mod unit;
pub mod word;

pub use diagnostic::{CodeInfo, Diagnostic, Located, Place, Report, Severity, render};
pub use error::CODES;
pub use format::format;
pub use load::{LONGEST_CHAIN, Link, Spec, load};
pub use parse::{LONGEST, MOST_ERRORS, parse, parse_value};
pub use source::{FileId, SourceFile, Sources, Span};
