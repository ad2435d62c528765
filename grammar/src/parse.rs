//! Text to syntax tree.
//!
//! Requires any text. Ensures a tree only when there was no error; otherwise all errors that could be found, in order
//! of position, at most [`MOST_ERRORS`].

use crate::layout::lay_out;
use crate::rules::{Rule, read};
use crate::source::{FileId, Span};
use crate::tree::File;
use crate::{Diagnostic, build, error, recover};

/// More errors than this in one file are not reported.
pub const MOST_ERRORS: usize = 50;

/// Longer files are refused.
pub const LONGEST: usize = 16 << 20;

/// Reads one file.
///
/// # Errors
/// Everything that is wrong with the text; codes are in [`crate::CODES`].
pub fn parse(file: FileId, text: &str) -> Result<File, Vec<Diagnostic>> {
    if text.len() > LONGEST {
        return Err(vec![error::too_long(Span::new(file, 0, 0), text.len(), LONGEST)]);
    }
    let layout = lay_out(file, text);
    let mut diagnostics = layout.diagnostics.clone();
    if layout.too_deep {
        return Err(in_order(diagnostics, text));
    }
    match read(Rule::file, &layout.text) {
        Ok(pair) => {
            let mut builder = build::Builder::new(file, text, 0);
            let items = builder.file(pair, &layout.comments);
            diagnostics.extend(builder.diagnostics);
            if diagnostics.is_empty() {
                return Ok(File { file, items, comments: layout.comments });
            }
        }
        Err(failure) => diagnostics.extend(recover::recover(file, text, &layout, &failure)),
    }
    Err(in_order(diagnostics, text))
}

/// Sorted, each once, and with labels of whole characters: a sign that stands for a character of several bytes may have
/// been joined with a neighbour.
fn in_order(mut diagnostics: Vec<Diagnostic>, text: &str) -> Vec<Diagnostic> {
    for (span, _) in diagnostics.iter_mut().flat_map(|diagnostic| &mut diagnostic.labels) {
        span.start = text.floor_char_boundary(span.start as usize) as u32;
        span.end = text.ceil_char_boundary(span.end as usize) as u32;
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span().map(|span| span.start));
    diagnostics.dedup();
    diagnostics.truncate(MOST_ERRORS);
    diagnostics
}
