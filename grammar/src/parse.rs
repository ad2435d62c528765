//! Text to syntax tree.
//!
//! Requires any text. Ensures a tree only when there was no error; otherwise all errors that could be found, in order
//! of position, at most [`MOST_ERRORS`].

use crate::layout::lay_out;
use crate::rules::{Parts, Rule, read};
use crate::source::{FileId, Span};
use crate::tree::{Expr, File};
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

/// Reads one value, as it may stand after `=` in a block: for overrides from the command line.
///
/// # Errors
/// As [`parse`].
pub fn parse_value(file: FileId, text: &str) -> Result<Expr, Vec<Diagnostic>> {
    let layout = lay_out(file, text);
    let mut diagnostics = layout.diagnostics.clone();
    if layout.too_deep {
        return Err(in_order(diagnostics, text));
    }
    match read(Rule::one_value, &layout.text) {
        Ok(pair) => {
            let mut builder = build::Builder::new(file, text, 0);
            let value = builder.value(&mut Parts::of(pair));
            diagnostics.extend(builder.diagnostics);
            if diagnostics.is_empty() {
                return Ok(value);
            }
        }
        Err(failure) => diagnostics.extend(recover::value_fault(file, &layout, failure)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::ExprKind;

    #[test]
    fn values_alone() {
        let value = |text| parse_value(FileId(0), text);
        assert!(matches!(value("2").unwrap().kind, ExprKind::Number(_)));
        assert!(matches!(value(" * ").unwrap().kind, ExprKind::Rest));
        assert!(matches!(value("adamw(beta1: 0.9)").unwrap().kind, ExprKind::Call { .. }));
        assert_eq!(value("f(x").unwrap_err()[0].code, "syntax::unclosed");
        assert_eq!(value("2 +").unwrap_err()[0].message, "expected an expression, found the end of the file");
        assert_eq!(value("").unwrap_err().len(), 1);
        assert_eq!(value("2, 3").unwrap_err()[0].code, "syntax::expected");
    }
}
