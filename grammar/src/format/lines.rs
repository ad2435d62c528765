//! Lines on their way out: columns are aligned over neighbouring lines, comments too.
//!
//! Requires lines in order. Ensures that alignment depends only on a run of adjacent lines of one kind and indent, so
//! that a second formatting finds the same columns.

use super::WIDTH;
use super::doc::Doc;

/// Columns for comments beside code.
const COMMENT_COLUMNS: [usize; 2] = [28, 52];

/// What a line's two halves are aligned with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// With nothing.
    None,
    /// `=` or `->` of the entries around it.
    Entry,
    /// `{` of the one-line blocks around it.
    Block,
}

/// One line, or several that were broken as one.
#[derive(Debug, Clone)]
pub(super) struct Line {
    indent: usize,
    head: String,
    tail: String,
    align: Align,
    comment: Option<String>,
    blank: bool,
}

impl Line {
    pub fn plain(indent: usize, text: String) -> Self {
        Line { indent, head: text, tail: String::new(), align: Align::None, comment: None, blank: false }
    }

    /// A line of two halves; the second starts at a column shared with its neighbours.
    pub fn aligned(indent: usize, head: Doc, tail: Option<Doc>, align: Align) -> Self {
        let head = head.print(indent, indent);
        let tail = tail.map(|tail| tail.print(indent + head.chars().count() + 1, indent)).unwrap_or_default();
        Line { tail, align, ..Line::plain(indent, head) }
    }

    fn text(&self) -> String {
        format!("{}{}{}", " ".repeat(self.indent), self.head, self.tail)
    }
}

/// All lines so far.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
}

impl Lines {
    pub fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// An empty line, unless the last one is empty or there is none.
    pub fn blank(&mut self) {
        if self.lines.last().is_some_and(|line| !line.blank) {
            self.lines.push(Line { blank: true, ..Line::plain(0, String::new()) });
        }
    }

    /// Puts a comment beside the last line.
    pub fn comment(&mut self, text: String) {
        if let Some(line) = self.lines.last_mut() {
            line.comment = Some(text);
        }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        for run in runs(&self.lines, |line| if line.align == Align::None { None } else { Some((line.indent, line.align as u8)) }) {
            let lines = &mut self.lines[run];
            let column = lines.iter().map(|line| line.head.chars().count()).max().unwrap_or(0) + 1;
            for line in lines {
                let pad = column - line.head.chars().count();
                line.head.push_str(&" ".repeat(pad));
            }
        }
        let texts: Vec<String> = self.lines.iter().map(Line::text).collect();
        let width = |at: usize| texts[at].rsplit('\n').next().map_or(0, |last| last.chars().count());
        let mut out: Vec<String> = texts.clone();
        for run in runs(&self.lines, |line| line.comment.as_ref().map(|_| (line.indent, 0))) {
            let longest = run.clone().map(|at| self.lines[at].comment.as_ref().map_or(0, |text| text.chars().count())).max();
            let column = comment_column(run.clone().map(width).max().unwrap_or(0), longest.unwrap_or(0));
            for at in run {
                let comment = self.lines[at].comment.as_deref().unwrap_or_default();
                out[at].push_str(&" ".repeat(column - width(at)));
                out[at].push_str(comment);
            }
        }
        let mut text = out.join("\n");
        text.truncate(text.trim_end().len());
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}

/// Where the comments of a run stand: at a column that other runs are likely to share, so that they line up down the
/// file; two spaces after the code where that column is passed or would make the line too long.
fn comment_column(code: usize, comment: usize) -> usize {
    let least = code + 2;
    COMMENT_COLUMNS.into_iter().find(|column| *column >= least && column + comment <= WIDTH).unwrap_or(least)
}

/// Runs of neighbours for which `key` gives the same.
fn runs(lines: &[Line], key: impl Fn(&Line) -> Option<(usize, u8)>) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(found) = key(line) else { continue };
        match runs.last_mut() {
            Some(run) if run.end == at && key(&lines[at - 1]) == Some(found) => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}
