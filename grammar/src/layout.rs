//! First look at a text: comments, strings, brackets and line ends, so that the grammar need not know them.
//!
//! Requires any text. Ensures a text of the same length in which comments are blanks, line ends inside ( ) and [ ]
//! are blanks, brackets are balanced or reported, and slips of single characters are reported and put right; every
//! byte that stays has its place, so offsets are those of the user's text.

use crate::error;
use crate::source::{FileId, Span};
use crate::tree::Comment;
use crate::{Diagnostic, word};

/// Brackets may nest this deep.
pub(crate) const DEEPEST: usize = 64;

/// What the first look gives.
pub(crate) struct Layout {
    /// The text for the grammar.
    pub text: String,
    /// All comments, in order.
    pub comments: Vec<Comment>,
    /// What was wrong already.
    pub diagnostics: Vec<Diagnostic>,
    /// Ranges in which the grammar's own errors are only echoes of the above.
    pub muted: Vec<std::ops::Range<usize>>,
    /// Starts of items that stand inside a bracket which was never closed.
    pub breaks: Vec<usize>,
    /// Too deep to be read at all.
    pub too_deep: bool,
}

/// Goes over `text` once.
pub(crate) fn lay_out(file: FileId, text: &str) -> Layout {
    let mut scan = Scan {
        file,
        text,
        out: text.as_bytes().to_vec(),
        at: 0,
        open: Vec::new(),
        layout: Layout {
            text: String::new(),
            comments: Vec::new(),
            diagnostics: Vec::new(),
            muted: Vec::new(),
            breaks: Vec::new(),
            too_deep: false,
        },
    };
    scan.run();
    scan.layout.text = String::from_utf8(scan.out).expect("whole characters are replaced by ASCII of the same length");
    scan.layout
}

struct Scan<'t> {
    file: FileId,
    text: &'t str,
    out: Vec<u8>,
    at: usize,
    open: Vec<(u8, usize)>,
    layout: Layout,
}

impl Scan<'_> {
    fn run(&mut self) {
        if self.text.starts_with('\u{feff}') {
            self.blank(0, 3);
            self.at = 3;
        }
        while self.at < self.text.len() && !self.layout.too_deep {
            let start = self.at;
            self.step();
            debug_assert!(self.at > start);
        }
        let end = self.text.len();
        self.unclosed(0, end);
    }

    fn step(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        match rest[0] {
            b'"' => self.string(),
            b'\'' => self.quotes(),
            b'/' if rest.starts_with(b"//") => self.comment(),
            b'/' if rest.starts_with(b"/*") => self.block_comment(),
            b'#' => self.hash(),
            b'(' | b'[' | b'{' => self.opener(rest[0]),
            b')' | b']' | b'}' => self.closer(rest[0]),
            b';' => self.semicolon(),
            b'.' if rest.starts_with(b"...") => self.dots(),
            b'\n' => self.line_end(),
            b'$' | b'?' | b'~' | b'\\' | b'`' => self.character(1),
            byte if byte.is_ascii_control() && byte != b'\t' && byte != b'\r' => self.character(1),
            byte if byte.is_ascii() => self.at += 1,
            _ => self.character(self.text[self.at..].chars().next().map_or(1, char::len_utf8)),
        }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, start, end)
    }

    fn blank(&mut self, start: usize, end: usize) {
        for byte in &mut self.out[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }

    fn line_tail(&self) -> usize {
        self.text[self.at..].find('\n').map_or(self.text.len(), |length| self.at + length)
    }

    fn string(&mut self) {
        let tail = self.line_tail();
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        while end < tail && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' && end + 1 < tail { 2 } else { 1 };
        }
        if end < tail {
            self.at = end + 1;
            return;
        }
        let (start, stop) = (self.at, self.at + self.text[self.at..tail].trim_end().len());
        self.layout.diagnostics.push(error::open_string(self.span(start, stop)));
        self.layout.muted.push(self.line_start(start)..tail);
        self.blank(start, tail);
        self.out[start] = b'0';
        self.at = tail;
    }

    fn quotes(&mut self) {
        let (start, tail) = (self.at, self.line_tail());
        match self.text[start + 1..tail].find('\'') {
            Some(length) => {
                let end = start + 1 + length;
                self.layout.diagnostics.push(error::single_quotes(self.span(start, end + 1), &self.text[start + 1..end]));
                self.blank(start, end + 1);
                self.out[start] = b'"';
                self.out[end] = b'"';
                self.at = end + 1;
            }
            None => self.character(1),
        }
    }

    fn comment(&mut self) {
        let (start, tail) = (self.at, self.line_tail());
        let text = self.text[start..tail].trim_end();
        self.layout.comments.push(Comment {
            text: text.to_string(),
            span: self.span(start, start + text.len()),
            doc: text.starts_with("///") && !text.starts_with("////"),
            own_line: self.text[self.line_start(start)..start].trim().is_empty(),
        });
        self.blank(start, tail);
        self.at = tail;
    }

    fn block_comment(&mut self) {
        let start = self.at;
        let end = self.text[start + 2..].find("*/").map_or(self.text.len(), |length| start + 2 + length + 2);
        self.layout.diagnostics.push(error::block_comment(self.span(start, start + 2)));
        self.blank(start, end);
        self.at = end;
    }

    fn hash(&mut self) {
        let (start, tail) = (self.at, self.line_tail());
        let text = self.text[start..tail].trim_end();
        self.layout.diagnostics.push(error::hash_comment(self.span(start, start + text.len()), text));
        self.blank(start, tail);
        self.at = tail;
    }

    fn semicolon(&mut self) {
        self.layout.diagnostics.push(error::semicolon(self.span(self.at, self.at + 1)));
        self.out[self.at] = if self.inside_list() { b',' } else { b'\n' };
        self.at += 1;
    }

    fn dots(&mut self) {
        let start = self.at;
        while self.text.as_bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
        }
        self.layout.diagnostics.push(error::three_dots(self.span(start, self.at)));
        self.blank(start + 2, self.at);
    }

    /// A character that has no place outside of strings and comments; common ones are read as what they stand for.
    fn character(&mut self, length: usize) {
        let (start, end) = (self.at, self.at + length);
        let found = &self.text[start..end];
        let meant = error::meant_by(found);
        self.layout.diagnostics.push(error::character(self.span(start, end), found, meant));
        self.layout.muted.push(start..end);
        self.blank(start, end);
        if let Some(meant) = meant {
            self.out[start..start + meant.len()].copy_from_slice(meant.as_bytes());
        }
        self.at = end;
        while meant.is_none() && self.text[self.at..].chars().next().is_some_and(|next| !next.is_ascii()) {
            let next = self.text[self.at..].chars().next().map_or(1, char::len_utf8);
            self.blank(self.at, self.at + next);
            self.at += next;
        }
    }

    fn inside_list(&self) -> bool {
        self.open.iter().any(|(byte, _)| *byte != b'{')
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |end| end + 1)
    }

    fn opener(&mut self, byte: u8) {
        if self.open.len() == DEEPEST {
            self.layout.diagnostics.push(error::too_deep(self.span(self.at, self.at + 1), DEEPEST));
            self.layout.too_deep = true;
            self.open.clear();
        }
        self.open.push((byte, self.at));
        if self.layout.too_deep {
            self.open.clear();
        }
        self.at += 1;
    }

    fn closer(&mut self, byte: u8) {
        let wanted = match byte {
            b')' => b'(',
            b']' => b'[',
            _ => b'{',
        };
        match self.open.iter().rposition(|(open, _)| *open == wanted) {
            // a closer reaches over what was left open inside it, but ) and ] do not reach out of a block
            Some(found) if byte == b'}' || !self.open[found..].iter().any(|(open, _)| *open == b'{') => {
                let at = self.at;
                self.unclosed(found + 1, at);
                self.open.truncate(found);
            }
            _ => {
                self.layout.diagnostics.push(error::unopened(self.span(self.at, self.at + 1), byte as char));
                self.blank(self.at, self.at + 1);
            }
        }
        self.at += 1;
    }

    /// Reports and forgets what is open from depth `from` on; `at` is where that showed.
    fn unclosed(&mut self, from: usize, at: usize) {
        for (byte, start) in self.open.split_off(from.min(self.open.len())) {
            let here = self.span(at.min(self.text.len()), (at + 1).min(self.text.len()));
            self.layout.diagnostics.push(error::unclosed(self.span(start, start + 1), byte as char, here));
            if byte == b'{' {
                let end = self.text[..at].trim_end().len();
                self.layout.muted.push(end..at + 1);
            } else {
                self.layout.muted.push(self.line_start(start)..at + 1);
                self.out[start] = b' ';
            }
        }
    }

    fn line_end(&mut self) {
        let end = self.at;
        self.at += 1;
        if self.open.is_empty() {
            return;
        }
        let line = &self.text[self.at..self.line_end_after(self.at)];
        let start = self.at + (line.len() - line.trim_start().len());
        if word::opens_item(line.trim()) {
            self.unclosed(0, start);
            self.layout.breaks.push(start);
        } else if self.inside_list() && word::opens_statement(line.trim()) {
            let block = self.open.iter().position(|(byte, _)| *byte != b'{').unwrap_or(0);
            self.unclosed(block, start);
        }
        if self.inside_list() {
            self.out[end] = b' ';
        }
    }

    fn line_end_after(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |length| at + length)
    }
}
