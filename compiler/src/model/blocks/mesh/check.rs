//! What is wrong with rules whatever the model: slips in one rule, and rules that repeat others.

use super::super::super::settings::{Axis, ShardRule, ShardTarget, Via};
use super::super::Reader;
use super::super::keyed::spelled;
use super::wrong;
use meshwright_grammar::tree::{BinaryOp, BlockKind, Entry, Expr, ExprKind, PatternPart, Rule};
use meshwright_grammar::{Diagnostic, Span};

/// Meshes may have so many ranks: four times the largest machine of today.
const MOST_RANKS: u64 = 1 << 20;

/// An override makes an axis larger or smaller; a new one would be in no rule.
pub(super) fn overrides(reader: &mut Reader) {
    let blocks = reader.blocks.iter().filter(|block| block.kind == BlockKind::Mesh);
    let entries = blocks.flat_map(|block| &block.entries);
    let known: Vec<&str> =
        entries.filter_map(|entry| if let Entry::Setting(setting) = entry { Some(setting.key.text.as_str()) } else { None }).collect();
    for (key, value) in reader.overrides {
        if let Some(name) = key.strip_prefix("mesh.")
            && !known.contains(&name)
        {
            reader.errors.push(wrong::new_axis(value.span, name, &known));
        }
    }
}

/// A mesh that no machine has is a slip.
pub(super) fn ranks(reader: &mut Reader, axes: &[Axis]) {
    let ranks = axes.iter().fold(1u64, |ranks, axis| ranks.saturating_mul(axis.size));
    if let (true, Some(largest)) = (ranks > MOST_RANKS, axes.iter().max_by_key(|axis| axis.size)) {
        reader.errors.push(wrong::mesh_size(largest.span, axes, MOST_RANKS));
    }
}

/// Whether a rule has axes left and dims right of its arrow; then it is reported.
pub(super) fn reversed(reader: &mut Reader, rule: &Rule, axes: &[Axis]) -> bool {
    let [pattern] = rule.patterns.as_slice() else { return false };
    let ([PatternPart::Name(left, None)], Some(target)) = (pattern.parts.as_slice(), &rule.target) else { return false };
    let right = spelled(target);
    let found = axes.iter().any(|axis| axis.name == left.text) && reader.constants.dims.contains(&right);
    if found {
        reader.errors.push(wrong::rule_reversed(rule.span, &left.text, &right));
    }
    found
}

/// What is wrong with the factors right of an arrow: other operators, numbers, `whole` among axes.
pub(super) fn factors(target: &Expr, names: &[(String, Span)]) -> Option<Diagnostic> {
    if let Some(found) = operator(target) {
        return Some(found);
    }
    let whole = names.iter().find(|(name, _)| name == "whole");
    whole.filter(|_| names.len() > 1).map(|(_, span)| wrong::whole_product(*span))
}

fn operator(value: &Expr) -> Option<Diagnostic> {
    match &value.kind {
        ExprKind::Binary { op: BinaryOp::Multiply, left, right, .. } => operator(left).or_else(|| operator(right)),
        ExprKind::Binary { left, right, .. } => Some(wrong::axis_product(value.span, &spelled(left), &spelled(right))),
        ExprKind::Number(number) => Some(wrong::axis_number(value.span, &number.text)),
        _ => None,
    }
}

/// Rules that say again what an earlier one has said.
pub(super) fn rules(reader: &mut Reader, rules: &[ShardRule]) {
    for (at, rule) in rules.iter().enumerate() {
        let earlier = &rules[..at];
        if let Some(other) = earlier.iter().find(|other| other.target == rule.target && two_layouts(rule.via, other.via)) {
            reader.errors.push(wrong::two_layouts(rule.span, word(&rule.target), other.span));
            continue;
        }
        let same = earlier.iter().find(|other| other.target == rule.target && other.scope == rule.scope);
        match (&rule.target, same) {
            (ShardTarget::Dim(dim) | ShardTarget::WeightDim(dim), Some(_)) => {
                if let Some(other) =
                    earlier.iter().find(|other| (&other.target, &other.scope, &other.axes) == (&rule.target, &rule.scope, &rule.axes))
                {
                    reader.errors.push(wrong::duplicate_rule(rule.span, dim, &rule.axes, other.span));
                }
            }
            (_, Some(other)) if other.axes == rule.axes => {
                reader.errors.push(wrong::duplicate_rule(rule.span, word(&rule.target), &rule.axes, other.span));
            }
            (_, Some(other)) => reader.errors.push(wrong::state_twice(rule.span, word(&rule.target), &other.axes, other.span)),
            (_, None) => redundant(reader, rule, rules),
        }
    }
}

/// Whether a dim's parts would be one run by one rule, two by the other.
fn two_layouts(one: Via, other: Via) -> bool {
    matches!((one, other), (Via::Ring, Via::Balanced) | (Via::Balanced, Via::Ring))
}

/// A kind of state that another implies.
fn redundant(reader: &mut Reader, rule: &ShardRule, rules: &[ShardRule]) {
    let stronger: &[ShardTarget] = match rule.target {
        ShardTarget::Gradients => &[ShardTarget::Weights],
        ShardTarget::Moments => &[ShardTarget::Weights, ShardTarget::Gradients],
        ShardTarget::Weights | ShardTarget::Dim(_) | ShardTarget::WeightDim(_) => &[],
    };
    // `weights, gradients, moments -> data` in one rule says what it means.
    let apart = |other: &&ShardRule| other.axes == rule.axes && !other.axes.is_empty() && other.rule != rule.rule;
    if let Some(other) = rules.iter().filter(|other| stronger.contains(&other.target)).find(apart) {
        reader.errors.push(wrong::redundant_state(rule.span, word(&rule.target), word(&other.target), other.span));
    }
}

fn word(target: &ShardTarget) -> &str {
    match target {
        ShardTarget::Dim(dim) | ShardTarget::WeightDim(dim) => dim,
        ShardTarget::Weights => "weights",
        ShardTarget::Gradients => "gradients",
        ShardTarget::Moments => "moments",
    }
}
