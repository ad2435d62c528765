//! Blocks in the one layout.
//!
//! Requires a tree that was parsed. Ensures entries aligned at their `=` or `->`, and neighbouring one-line blocks at
//! their braces.

use super::Printer;
use super::doc::Doc;
use super::lines::{Align, Line};
use super::{INDENT, WIDTH};
use crate::source::Span;
use crate::tree::{Block, Entry, Modifier, Pattern, PatternPart, Rule, Setting};

impl Printer<'_> {
    pub(super) fn block(&mut self, span: Span, block: &Block) {
        let before = block.before.as_ref().map(|name| format!(" before {}", name.text)).unwrap_or_default();
        let header = format!("{}{before}", block.kind.text());
        let entries = |printer: &Self| block.entries.iter().map(|entry| printer.entry(entry)).collect();
        if self.one_line(span, block.body, &header, entries) {
            return;
        }
        self.open(span.start as usize, block.body, |_| Doc::text(header));
        for entry in &block.entries {
            let (span, align) = match entry {
                Entry::Setting(setting) => (setting.span, Align::Entry),
                Entry::Rule(rule) => (rule.span, Align::Entry),
                Entry::Condition(condition) => (condition.span, Align::None),
            };
            self.element(span, align, |printer| printer.entry(entry));
        }
        self.close(block.body);
    }

    /// Prints a block on one line, if it was written so and fits.
    pub(super) fn one_line(
        &mut self,
        span: Span,
        body: Span,
        header: &str,
        entries: impl FnOnce(&Self) -> Vec<(Doc, Option<Doc>)>,
    ) -> bool {
        let start = span.start as usize;
        if !self.on_one_line(start, body) {
            return false;
        }
        let mut docs = vec![Doc::text("{")];
        for (at, (head, tail)) in entries(self).into_iter().enumerate() {
            docs.extend([Doc::text(if at == 0 { " " } else { ", " }), head]);
            docs.extend(tail.map(|tail| Doc::list(vec![Doc::text(" "), tail])));
        }
        let empty = docs.len() == 1;
        docs.push(Doc::text(if empty { "}" } else { " }" }));
        let tail = Doc::list(docs);
        let indent = self.indent * INDENT;
        let text = tail.print(indent + header.chars().count() + 1, indent);
        if text.contains('\n') || indent + header.chars().count() + 1 + text.chars().count() > WIDTH {
            return false;
        }
        self.lead(start);
        self.gap(start);
        self.lines.push(Line::aligned(indent, Doc::text(header), Some(Doc::text(text)), Align::Block));
        self.trail(body.end as usize);
        true
    }

    fn entry(&self, entry: &Entry) -> (Doc, Option<Doc>) {
        match entry {
            Entry::Setting(setting) => self.setting(setting),
            Entry::Rule(rule) => self.rule(rule),
            Entry::Condition(condition) => (self.expr(condition), None),
        }
    }

    pub(super) fn setting(&self, setting: &Setting) -> (Doc, Option<Doc>) {
        (Doc::text(&setting.key.text), Some(Doc::list(vec![Doc::text("= "), self.expr(&setting.value)])))
    }

    fn rule(&self, rule: &Rule) -> (Doc, Option<Doc>) {
        let patterns: Vec<String> = rule.patterns.iter().map(pattern).collect();
        let mut docs = vec![Doc::text("-> ")];
        if let Some(target) = &rule.target {
            docs.push(self.expr(target));
        }
        for modifier in &rule.modifiers {
            docs.push(Doc::text(match modifier {
                Modifier::Via { how, balanced: None } => format!(" via {}", how.text),
                Modifier::Via { how, balanced: Some(_) } => format!(" via {} balanced", how.text),
                Modifier::Padded(_) => " padded".to_string(),
                Modifier::Hold { what } => format!(" hold {}", what.text),
            }));
        }
        for (at, setting) in rule.settings.iter().enumerate() {
            let comma = if at > 0 || rule.target.is_some() { ", " } else { "" };
            docs.extend([Doc::text(format!("{comma}{}: ", setting.key.text)), self.expr(&setting.value)]);
        }
        (Doc::text(patterns.join(", ")), Some(Doc::list(docs)))
    }
}

fn pattern(pattern: &Pattern) -> String {
    let part = |part: &PatternPart| match part {
        PatternPart::Name(name, None) => name.text.clone(),
        PatternPart::Name(name, Some(range)) if range.single => format!("{}[{}]", name.text, range.start),
        PatternPart::Name(name, Some(range)) => format!("{}[{}..{}]", name.text, range.start, range.end),
        PatternPart::Any(_) => "*".to_string(),
        PatternPart::AnyDepth(_) => "**".to_string(),
    };
    pattern.parts.iter().map(part).collect::<Vec<String>>().join(".")
}
