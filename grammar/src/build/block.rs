//! Blocks: settings, rules, requirements.
//!
//! Requires pairs of `keyed_block`, `ordered_block`, `require_block` and of their entries. Ensures entries of the kind
//! that the block has.

use super::Builder;
use crate::error;
use crate::rules::{Pair, Parts, Rule};
use crate::tree::{self, Block, BlockKind, Entry, Expr, ExprKind, Modifier, Pattern, PatternPart, Range, Setting};

impl Builder<'_> {
    pub(super) fn block(&mut self, pair: Pair) -> Block {
        let mut parts = Parts::of(pair);
        let word = parts.next().expect("a block has a word");
        let kind = BlockKind::ALL.into_iter().find(|kind| kind.text() == word.as_str()).expect("the grammar has the same blocks");
        let before = parts.take(Rule::before_word).and_then(|_| parts.take(Rule::name)).map(|name| self.name(&name));
        let inner = parts.next().expect("a block has braces");
        let body = self.span(&inner);
        let entries: Vec<Entry> = match inner.as_rule() {
            Rule::settings => self.settings(inner).into_iter().map(Entry::Setting).collect(),
            Rule::rules => Parts::of(inner).all(Rule::rule).map(|rule| Entry::Rule(self.rule(rule, kind))).collect(),
            _ => Parts::of(inner).all(Rule::condition).map(|condition| Entry::Condition(self.condition(condition))).collect(),
        };
        for entry in &entries {
            if let Entry::Setting(setting) = entry {
                self.small(&setting.key, if kind == BlockKind::Mesh { "mesh axis" } else { "setting" });
            }
        }
        Block { kind, before, entries, word: self.span(&word), body }
    }

    pub(super) fn settings(&mut self, pair: Pair) -> Vec<Setting> {
        Parts::of(pair).all(Rule::setting).map(|setting| self.setting(setting)).collect()
    }

    /// `key = value`
    pub fn setting(&mut self, pair: Pair) -> Setting {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let key = self.name(&parts.find(Rule::name).expect("a setting has a key"));
        if let Some(slip) = parts.take(Rule::colon_slip) {
            self.report(error::setting_colon(self.span(&slip), &key.text));
        }
        let value = self.value(&mut parts);
        Setting { key, value, span }
    }

    /// A setting's value.
    pub fn value(&mut self, parts: &mut Parts) -> Expr {
        match parts.find(Rule::whole_rest) {
            Some(rest) => Expr { kind: ExprKind::Rest, span: self.span(&rest), grouped: false },
            None => self.next_expr(parts),
        }
    }

    /// A condition of `require`.
    pub fn condition(&mut self, pair: Pair) -> Expr {
        self.next_expr(&mut Parts::of(pair))
    }

    /// `path, path -> target`
    pub fn rule(&mut self, pair: Pair, block: BlockKind) -> tree::Rule {
        let span = self.span(&pair);
        let mut rule = tree::Rule { patterns: Vec::new(), target: None, modifiers: Vec::new(), settings: Vec::new(), span };
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::pattern => rule.patterns.push(self.pattern(part)),
                Rule::colon_slip | Rule::equals_slip => {
                    let last = rule.patterns.last().map_or("", |pattern| &self.text[pattern.span.range()]);
                    let error = error::rule_arrow(self.span(&part), last);
                    self.report(error);
                }
                Rule::target => self.target(part, block, &mut rule),
                _ => {}
            }
        }
        rule
    }

    fn target(&mut self, pair: Pair, block: BlockKind, rule: &mut tree::Rule) {
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::expr => rule.target = Some(self.expr(part)),
                Rule::whole_rest => rule.target = Some(Expr { kind: ExprKind::Rest, span: self.span(&part), grouped: false }),
                Rule::modifier => rule.modifiers.push(self.modifier(part)),
                Rule::named => {
                    let arg = self.named(part);
                    let Some(key) = arg.name else { continue };
                    if block == BlockKind::Shard && !takes_settings(&rule.patterns) {
                        self.report(error::rule_arrow(key.span, &key.text));
                    }
                    rule.settings.push(Setting { key, value: arg.value, span: arg.span });
                }
                _ => {}
            }
        }
    }

    fn modifier(&mut self, pair: Pair) -> Modifier {
        let inner = pair.into_inner().next().expect("a modifier is one of its kinds");
        let span = self.span(&inner);
        let kind = inner.as_rule();
        let mut parts = Parts::of(inner);
        let name = parts.find(Rule::name).map(|name| self.name(&name));
        match (kind, name) {
            (Rule::via, Some(how)) => Modifier::Via { how, balanced: parts.take(Rule::balanced_word).map(|word| self.span(&word)) },
            (Rule::hold, Some(what)) => Modifier::Hold { what },
            _ => Modifier::Padded(span),
        }
    }

    fn pattern(&mut self, pair: Pair) -> Pattern {
        let span = self.span(&pair);
        let parts = Parts::of(pair).all(Rule::part).map(|part| self.pattern_part(part)).collect();
        Pattern { parts, span }
    }

    fn pattern_part(&mut self, pair: Pair) -> PatternPart {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        match parts.take(Rule::name) {
            Some(name) => PatternPart::Name(self.name(&name), parts.take(Rule::range).map(|range| self.range(range))),
            None if parts.peek() == Some(Rule::any_depth) => PatternPart::AnyDepth(span),
            None => PatternPart::Any(span),
        }
    }

    fn range(&mut self, pair: Pair) -> Range {
        let span = self.span(&pair);
        let read = |number: Pair| number.as_str().replace('_', "").parse::<u64>().ok();
        let bounds: Vec<Option<u64>> = Parts::of(pair).all(Rule::integer).map(read).collect();
        let (start, end, single) = match bounds.as_slice() {
            [Some(one)] => (*one, one.saturating_add(1), true),
            [Some(start), Some(end)] => (*start, *end, false),
            _ => (0, 0, false),
        };
        if start >= end {
            self.report(error::range(span));
        }
        Range { start, end, single, span }
    }
}

/// Whether a shard rule may have settings: left of its arrow stands one small word, which is no dim (`megatron -> tensor, heads: Heads`).
fn takes_settings(patterns: &[Pattern]) -> bool {
    let [pattern] = patterns else { return false };
    matches!(pattern.parts.as_slice(), [PatternPart::Name(name, None)] if name.text.starts_with(char::is_lowercase))
}
