//! After a failure: a text is cut into items, statements and entries, and each is read alone, so that each tells its
//! own error.
//!
//! Requires a text that the grammar could not read whole. Ensures at least one diagnostic for the file, counting those
//! of the layout, and at most one failure for each statement or entry.

use std::ops::Range;

use crate::build::Builder;
use crate::layout::Layout;
use crate::rules::{Failure, Parts, Rule, read};
use crate::source::FileId;
use crate::tree::{BlockForm, BlockKind};
use crate::{Diagnostic, diagnose, word};

/// A part of a file that is read alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Part {
    Item,
    Statement,
    Setting,
    Rule(BlockKind),
    Condition,
}

impl Part {
    fn rule(self) -> Rule {
        match self {
            Part::Item => Rule::one_item,
            Part::Statement => Rule::one_statement,
            Part::Setting => Rule::one_setting,
            Part::Rule(_) => Rule::one_rule,
            Part::Condition => Rule::one_condition,
        }
    }
}

/// Where things went wrong, for [`diagnose`].
pub(crate) struct Fault<'t> {
    pub file: FileId,
    /// The text after the layout.
    pub text: &'t str,
    /// What was being read.
    pub part: Part,
    /// Where that part stands.
    pub range: Range<usize>,
    /// The byte where it stopped making sense.
    pub at: usize,
    /// What could have stood there.
    pub expected: Vec<Rule>,
}

/// Everything that is wrong with a text which the grammar refused at `failure`.
pub(crate) fn recover(file: FileId, text: &str, layout: &Layout, failure: &Failure) -> Vec<Diagnostic> {
    let mut recovery = Recovery { file, text, layout, diagnostics: Vec::new() };
    for range in recovery.split(0..text.len(), Part::Item) {
        recovery.check(Part::Item, range);
    }
    if recovery.diagnostics.is_empty() && layout.diagnostics.is_empty() {
        recovery.report(Part::Item, 0..text.len(), failure.at, &failure.expected);
    }
    recovery.diagnostics
}

/// What is wrong with a value that stands alone.
pub(crate) fn value_fault(file: FileId, layout: &Layout, failure: Failure) -> Vec<Diagnostic> {
    if layout.muted.iter().any(|muted| muted.contains(&failure.at)) {
        return Vec::new();
    }
    let (text, range) = (layout.text.as_str(), 0..layout.text.len());
    diagnose::diagnose(&Fault { file, text, part: Part::Setting, range, at: failure.at, expected: failure.expected })
}

struct Recovery<'t> {
    file: FileId,
    text: &'t str,
    layout: &'t Layout,
    diagnostics: Vec<Diagnostic>,
}

impl Recovery<'_> {
    /// Reads one part; where it fails, the parts inside it too.
    fn check(&mut self, part: Part, range: Range<usize>) {
        let failure = match read(part.rule(), &self.layout.text[range.clone()]) {
            Ok(pair) => return self.build(part, pair, range.start),
            Err(failure) => failure,
        };
        let at = range.start + failure.at;
        let before = self.diagnostics.len();
        let inside = self.inside(part, &range);
        if let Some((braces, inner)) = &inside {
            for range in self.split(braces.clone(), *inner) {
                self.check(*inner, range);
            }
        }
        let explained = inside.is_some_and(|(braces, _)| (braces.start..=braces.end).contains(&at)) && self.diagnostics.len() > before;
        if !explained {
            self.report(part, range, at, &failure.expected);
        }
    }

    /// Slips in a part that the grammar takes.
    fn build(&mut self, part: Part, pair: crate::rules::Pair, base: usize) {
        let mut builder = Builder::new(self.file, self.text, base);
        let mut parts = Parts::of(pair);
        let mut found = |wanted| parts.find(wanted).expect("a fragment holds its part");
        match part {
            Part::Item => drop(builder.item(found(Rule::item))),
            Part::Statement => drop(builder.statement(found(Rule::statement))),
            Part::Setting => drop(builder.setting(found(Rule::setting))),
            Part::Rule(block) => drop(builder.rule(found(Rule::rule), block)),
            Part::Condition => drop(builder.condition(found(Rule::condition))),
        }
        self.diagnostics.append(&mut builder.diagnostics);
    }

    fn report(&mut self, part: Part, range: Range<usize>, at: usize, expected: &[Rule]) {
        if self.layout.muted.iter().any(|muted| muted.contains(&at)) {
            return;
        }
        let fault = Fault { file: self.file, text: &self.layout.text, part, range, at, expected: expected.to_vec() };
        self.diagnostics.extend(diagnose::diagnose(&fault));
    }

    /// What stands in a part's braces, and what kind of parts that is.
    fn inside(&self, part: Part, range: &Range<usize>) -> Option<(Range<usize>, Part)> {
        let text = &self.layout.text[range.clone()];
        let inner = inner(part, word::first(text))?;
        let mut depth = 0usize;
        let mut open = None;
        for (at, byte) in code_bytes(text) {
            match byte {
                b'{' if depth == 0 && open.is_none() => open = Some(at + 1),
                b'(' | b'[' | b'{' => depth += 1,
                b'}' if depth == 0 => return open.map(|open| (range.start + open..range.start + at, inner)),
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        open.map(|open| (range.start + open..range.end, inner))
    }

    /// Cuts a stretch of text into parts of one kind, blanks at their ends cut off.
    fn split(&self, range: Range<usize>, part: Part) -> Vec<Range<usize>> {
        let text = &self.layout.text[range.clone()];
        let mut pieces = Vec::new();
        let (mut start, mut depth) = (0, 0usize);
        for (at, byte) in code_bytes(text) {
            let cut = match byte {
                b'(' | b'[' | b'{' => {
                    depth += 1;
                    false
                }
                b')' | b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    false
                }
                b',' => depth == 0 && matches!(part, Part::Setting | Part::Condition),
                b'\n' if self.broken(range.start + at) => {
                    depth = 0;
                    true
                }
                b'\n' => depth == 0 && !goes_on(&text[start..at], &text[at..], part),
                _ => false,
            };
            if cut {
                pieces.push(start..at);
                start = at + 1;
            }
        }
        pieces.push(start..text.len());
        let trim = |piece: Range<usize>| {
            let inner = &text[piece.clone()];
            let start = range.start + piece.start + (inner.len() - inner.trim_start().len());
            (!inner.trim().is_empty()).then(|| start..start + inner.trim().len())
        };
        pieces.into_iter().filter_map(trim).collect()
    }

    /// Whether the line after this line end starts an item although brackets are open.
    fn broken(&self, end: usize) -> bool {
        let rest = &self.layout.text[end + 1..];
        let next = end + 1 + (rest.len() - rest.trim_start().len());
        self.layout.breaks.contains(&next)
    }
}

/// What the braces of a part hold, judging by its first word.
fn inner(part: Part, word: &str) -> Option<Part> {
    match part {
        Part::Item => {
            let word = if word::items().any(|item| item == word) { word } else { diagnose::meant_item(word)? };
            let block = BlockKind::ALL.into_iter().find(|kind| kind.text() == word);
            match block.map(|kind| (kind, kind.form())) {
                Some((_, BlockForm::Keyed)) => Some(Part::Setting),
                Some((kind, BlockForm::Ordered)) => Some(Part::Rule(kind)),
                Some((_, BlockForm::Conditions)) => Some(Part::Condition),
                None if word == "dims" => Some(Part::Setting),
                None if word == "layer" || word == "model" => Some(Part::Statement),
                None => None,
            }
        }
        Part::Statement if word == "repeat" || diagnose::meant_statement(word) == Some("repeat") => Some(Part::Statement),
        Part::Statement | Part::Setting | Part::Rule(_) | Part::Condition => None,
    }
}

/// Whether a part goes on after a line end that stands between `before` and `after`.
fn goes_on(before: &str, after: &str, part: Part) -> bool {
    let (before, after) = (before.trim_end(), after.trim_start());
    let star = before.strip_suffix('*').is_some_and(|rest| rest.trim_end().ends_with('='));
    if word::opens_statement(after) || word::opens_item(after) {
        return false;
    }
    let values = matches!(part, Part::Item | Part::Statement | Part::Condition);
    let operator = before.ends_with(['+', '-', '*', '/', '@', '^', '=', '<', '>']) && values && !star;
    let word = [" and", " or", " not"].iter().any(|word| before.ends_with(word));
    let list = matches!(part, Part::Rule(_)) && before.ends_with(',') && !before.contains("->");
    operator || word || list || after.starts_with('{') || after.starts_with("->") || word::first(after) == "else"
}

/// The bytes of a text outside of strings, with their places.
fn code_bytes(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut inside = false;
    let mut escaped = false;
    text.bytes().enumerate().filter(move |&(_, byte)| {
        if inside {
            let end = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            inside = !end;
            false
        } else {
            inside = byte == b'"';
            escaped = false;
            !inside
        }
    })
}
