//! Text to syntax tree and back: spans, diagnostics, the grammar, its errors, and the formatter.
//!
//! Requires nothing but text. Ensures that a tree comes only from a text without syntax errors, and that every
//! error says what was expected in the language's words.

pub mod diagnostic;
pub mod source;
pub mod tree;
pub mod unit;

pub use diagnostic::{CodeInfo, Diagnostic, Located, Place, Report, Severity, render};
pub use source::{FileId, SourceFile, Sources, Span};
