//! The formatter: a tree in the one layout of the language.
//!
//! Requires a text without syntax errors. Ensures a text that reads back to the same tree, holds every comment, keeps
//! at most one blank line in a row, and is left as it is by a second formatting. Blocks written on one line stay on
//! one line where they fit; a statement with comments inside its brackets stays as it is written.

mod block;
mod doc;
mod expr;
mod lines;
mod statement;

use crate::format::doc::Doc;
use crate::format::lines::{Align, Line, Lines};
use crate::source::{FileId, Span};
use crate::tree::{Comment, Dims, File, Item, ItemKind, Use, UseTarget};
use crate::{Diagnostic, parse};

/// Lines are at most this long where they can be broken.
pub const WIDTH: usize = 120;

/// Spaces for each level of braces.
const INDENT: usize = 4;

/// The text in the one layout.
///
/// # Errors
/// Those of [`parse`]; spans are of file 0.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let file = parse(FileId(0), text)?;
    Ok(print(&file, text))
}

/// The tree of `text` in the one layout; `text` is what it was parsed from.
pub fn print(file: &File, text: &str) -> String {
    let mut printer = Printer { text, comments: &file.comments, lines: Lines::default(), indent: 0, last: 0, fresh: true };
    for item in &file.items {
        printer.item(item);
    }
    printer.lead(text.len());
    printer.lines.finish()
}

/// Walks the tree and hands out lines, with the comments where they stood.
struct Printer<'t> {
    text: &'t str,
    comments: &'t [Comment],
    lines: Lines,
    indent: usize,
    /// Where what was printed last ends in the text.
    last: usize,
    /// Nothing was printed yet inside these braces, or in this file.
    fresh: bool,
}

impl Printer<'_> {
    fn source(&self, span: Span) -> &str {
        &self.text[span.range()]
    }

    /// A blank line if the text has one between what was printed last and `start`.
    fn gap(&mut self, start: usize) {
        let blank = self.text.get(self.last..start).is_some_and(|gap| gap.matches('\n').count() > 1);
        if blank && !self.fresh {
            self.lines.blank();
        }
        self.fresh = false;
    }

    /// Prints the comments that stand before `start`, each on its own line.
    fn lead(&mut self, start: usize) {
        while let [comment, rest @ ..] = self.comments
            && (comment.span.start as usize) < start
        {
            self.gap(comment.span.start as usize);
            self.lines.push(Line::plain(self.indent * INDENT, comment.text.clone()));
            self.last = comment.span.end as usize;
            self.comments = rest;
        }
    }

    /// Puts a comment that stands right after `end`, on the same line, beside what was printed last.
    fn trail(&mut self, end: usize) {
        self.last = end;
        let [comment, rest @ ..] = self.comments else { return };
        let between = self.text.get(end..comment.span.start as usize);
        if between.is_some_and(|between| between.chars().all(|letter| matches!(letter, ' ' | '\t' | '\r' | ',' | ')'))) {
            self.lines.comment(comment.text.clone());
            self.last = comment.span.end as usize;
            self.comments = rest;
        }
    }

    /// Whether a comment that is not yet printed stands inside `start..end`.
    fn commented(&self, start: usize, end: usize) -> bool {
        self.comments.iter().take_while(|comment| (comment.span.start as usize) < end).any(|comment| comment.span.start as usize >= start)
    }

    /// Prints something without braces, with the comments before and beside it.
    fn element(&mut self, span: Span, align: Align, make: impl FnOnce(&Self) -> (Doc, Option<Doc>)) {
        let (start, end) = (span.start as usize, span.end as usize);
        self.lead(start);
        self.gap(start);
        if self.commented(start, end) {
            self.verbatim(start, end);
        } else {
            let (head, tail) = make(self);
            self.lines.push(Line::aligned(self.indent * INDENT, head, tail, align));
        }
        self.trail(end);
    }

    /// Prints a stretch of the text as it is, and drops its comments, which are in it.
    fn verbatim(&mut self, start: usize, end: usize) {
        let lines: Vec<&str> = self.text[start..end].lines().map(str::trim_end).collect();
        self.lines.push(Line::plain(self.indent * INDENT, lines.join("\n")));
        while let [comment, rest @ ..] = self.comments
            && (comment.span.start as usize) < end
        {
            self.comments = rest;
            debug_assert!(comment.span.start as usize >= start);
        }
    }

    /// Opens braces after a header; `body` is from `{` to `}`.
    fn open(&mut self, start: usize, body: Span, header: impl FnOnce(&Self) -> Doc) {
        let open = body.start as usize + 1;
        self.lead(start);
        self.gap(start);
        if self.commented(start, open) {
            self.verbatim(start, open);
        } else {
            let header = Doc::list(vec![header(self), Doc::text(" {")]);
            self.lines.push(Line::aligned(self.indent * INDENT, header, None, Align::None));
        }
        self.trail(open);
        self.indent += 1;
        self.fresh = true;
    }

    fn close(&mut self, body: Span) {
        self.lead(body.end as usize - 1);
        self.indent -= 1;
        self.fresh = false;
        self.lines.push(Line::plain(self.indent * INDENT, "}".to_string()));
        self.trail(body.end as usize);
    }

    /// Whether something with braces was written on one line, so that it may stay there.
    fn on_one_line(&self, start: usize, body: Span) -> bool {
        let end = body.end as usize;
        !self.source(body).contains('\n') && !self.commented(start, end)
    }

    fn item(&mut self, item: &Item) {
        match &item.kind {
            ItemKind::Use(used) => self.element(item.span, Align::None, |printer| (printer.used(used), None)),
            ItemKind::Let(bound) => self.element(item.span, Align::None, |printer| (printer.bound(bound), None)),
            ItemKind::Dims(dims) => self.dims(item.span, dims),
            ItemKind::Layer(layer) => self.definition(item.span, "layer", layer),
            ItemKind::Model(model) => self.definition(item.span, "model", model),
            ItemKind::Block(block) => self.block(item.span, block),
        }
    }

    fn used(&self, used: &Use) -> Doc {
        let mut text = match &used.target {
            UseTarget::File(file) => format!("use {}", self.source(file.span)),
            UseTarget::Module(path) => format!("use {}", path.text()),
        };
        if let Some(alias) = &used.alias {
            text.push_str(&format!(" as {}", alias.text));
        }
        if !used.with.is_empty() {
            text.push_str(&format!(" with {}", expr::names(&used.with)));
        }
        Doc::text(text)
    }

    fn dims(&mut self, span: Span, dims: &Dims) {
        let entries = |printer: &Self| dims.entries.iter().map(|entry| printer.setting(entry)).collect();
        if self.one_line(span, dims.body, "dims", entries) {
            return;
        }
        self.open(span.start as usize, dims.body, |_| Doc::text("dims"));
        for entry in &dims.entries {
            self.element(entry.span, Align::Entry, |printer| printer.setting(entry));
        }
        self.close(dims.body);
    }
}
