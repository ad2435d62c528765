//! A small pretty printer: documents with places where a line may break.
//!
//! Requires nothing. Ensures that a group stays on one line when it fits, and breaks at all its own places when not.

use super::{INDENT, WIDTH};

/// Text with places where it may be broken.
#[derive(Debug, Clone)]
pub(super) enum Doc {
    /// Text without line ends.
    Text(String),
    /// A space, or a line end.
    Line,
    /// Nothing, or a line end.
    Soft,
    /// A comma where the group is broken.
    Comma,
    /// One after the other.
    List(Vec<Doc>),
    /// Broken together or not at all.
    Group(Box<Doc>),
    /// Broken lines inside go one level in.
    Nest(Box<Doc>),
}

impl Doc {
    pub fn text(text: impl Into<String>) -> Doc {
        Doc::Text(text.into())
    }

    pub fn list(docs: Vec<Doc>) -> Doc {
        Doc::List(docs)
    }

    pub fn group(docs: Vec<Doc>) -> Doc {
        Doc::Group(Box::new(Doc::List(docs)))
    }

    pub fn nest(docs: Vec<Doc>) -> Doc {
        Doc::Nest(Box::new(Doc::List(docs)))
    }

    /// `open`, items with commas, `close`; one item a line where they do not fit.
    pub fn bracketed(open: impl Into<String>, items: Vec<Doc>, close: &str) -> Doc {
        if items.is_empty() {
            return Doc::text(format!("{}{close}", open.into()));
        }
        let mut inner = vec![Doc::Soft];
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                inner.extend([Doc::text(","), Doc::Line]);
            }
            inner.push(item);
        }
        Doc::group(vec![Doc::text(open), Doc::nest(inner), Doc::Comma, Doc::Soft, Doc::text(close)])
    }

    /// Prints from column `column` on, broken lines `indent` spaces in.
    pub fn print(&self, column: usize, indent: usize) -> String {
        let mut out = String::new();
        let mut column = column;
        let mut stack = vec![(indent, false, self)];
        while let Some((indent, flat, doc)) = stack.pop() {
            match doc {
                Doc::Text(text) => {
                    out.push_str(text);
                    column += text.chars().count();
                }
                Doc::Line if flat => {
                    out.push(' ');
                    column += 1;
                }
                Doc::Soft | Doc::Comma if flat => {}
                Doc::Comma => out.push(','),
                Doc::Line | Doc::Soft => {
                    out.truncate(out.trim_end_matches(' ').len());
                    out.push('\n');
                    out.push_str(&" ".repeat(indent));
                    column = indent;
                }
                Doc::List(docs) => stack.extend(docs.iter().rev().map(|doc| (indent, flat, doc))),
                Doc::Nest(doc) => stack.push((indent + INDENT, flat, doc)),
                Doc::Group(doc) => {
                    let flat = flat || fits(doc, &stack, column);
                    stack.push((indent, flat, doc));
                }
            }
        }
        out
    }
}

/// Whether `doc` on one line, with what must follow it there, stays within the width.
fn fits(doc: &Doc, rest: &[(usize, bool, &Doc)], column: usize) -> bool {
    let mut left = WIDTH.saturating_sub(column);
    let mut stack: Vec<(bool, &Doc)> = rest.iter().map(|(_, flat, doc)| (*flat, *doc)).collect();
    stack.push((true, doc));
    while let Some((flat, doc)) = stack.pop() {
        let length = match doc {
            Doc::Text(text) => text.chars().count(),
            Doc::Line if flat => 1,
            Doc::Line | Doc::Soft if !flat => return true,
            Doc::Line | Doc::Soft | Doc::Comma => 0,
            Doc::List(docs) => {
                stack.extend(docs.iter().rev().map(|doc| (flat, doc)));
                0
            }
            Doc::Nest(doc) | Doc::Group(doc) => {
                stack.push((flat, doc));
                0
            }
        };
        if length > left {
            return false;
        }
        left -= length;
    }
    true
}
