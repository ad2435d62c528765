//! Blocks about devices: `mesh` and `shard`, and what cannot run yet, which is refused.

mod axes;
mod check;
mod preset;
pub(crate) mod wrong;

use super::super::settings::{self, Axis, ShardRule, ShardTarget, Via};
use super::keyed::spelled;
use super::rules::{self, in_force};
use super::{Reader, error};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{BinaryOp, BlockKind, Expr, ExprKind, Modifier, Name, Pattern, PatternPart, Rule};

/// The words of state kinds, which may stand left of an arrow.
const STATES: [(&str, ShardTarget); 3] =
    [("weights", ShardTarget::Weights), ("gradients", ShardTarget::Gradients), ("moments", ShardTarget::Moments)];

/// Refuses `pipeline`, `precision`, `require` and `generate`.
pub(super) fn refuse(reader: &mut Reader) {
    for kind in [BlockKind::Pipeline, BlockKind::Precision, BlockKind::Require, BlockKind::Generate] {
        let blocks: Vec<Span> =
            reader.blocks.iter().filter(|block| block.kind == kind && !block.entries.is_empty()).map(|block| block.word).collect();
        for span in blocks {
            let what = format!("the block `{}`", kind.text());
            reader.errors.push(error::not_supported(span, &what, "remove it, or keep it in a file of its own that `use`s this one"));
        }
    }
}

/// The mesh, and the rules of `shard` in force.
pub(super) fn read(reader: &mut Reader) -> (Vec<Axis>, Vec<ShardRule>) {
    check::overrides(reader);
    let axes = axes::read(reader);
    let blocks = reader.blocks;
    let rules: Vec<ShardRule> = in_force(blocks, BlockKind::Shard).into_iter().flat_map(|rule| shard(reader, rule, &axes)).collect();
    check::ranks(reader, &axes);
    check::rules(reader, &rules);
    (axes, rules)
}

/// One rule: a typed rule for each name left of the arrow.
fn shard(reader: &mut Reader, rule: &Rule, axes: &[Axis]) -> Vec<ShardRule> {
    if check::reversed(reader, rule, axes) {
        return Vec::new();
    }
    let (Some(by), Some(via), Some(hold)) = (by(reader, rule, axes), via(reader, rule), hold(reader, rule)) else { return Vec::new() };
    if by.is_empty() && !rule.modifiers.is_empty() {
        reader.errors.push(wrong::via_whole(rule.span));
        return Vec::new();
    }
    let presets: Vec<_> = rule.patterns.iter().filter_map(preset::named).collect();
    if let (true, Some(setting)) = (presets.is_empty(), rule.settings.first()) {
        reader.errors.push(wrong::shard_setting(setting.span, &setting.key.text));
    }
    let padded = rule.modifiers.iter().find_map(|modifier| if let Modifier::Padded(span) = modifier { Some(*span) } else { None });
    let mut typed = Vec::new();
    for pattern in &rule.patterns {
        if let Some(preset) = preset::named(pattern) {
            typed.extend(preset::expand(reader, preset, rule, pattern.span, &by));
            continue;
        }
        let Some((scope, target)) = target(reader, pattern) else { continue };
        if via != Via::Gather && scope.is_some() {
            reader.errors.push(wrong::via_scope(pattern.span));
            continue;
        }
        if via != Via::Gather && !matches!(target, ShardTarget::Dim(_)) {
            reader.errors.push(error::via_state(pattern.span));
            continue;
        }
        if let Some(span) = hold.filter(|_| target != ShardTarget::Weights) {
            reader.errors.push(error::hold(span));
            continue;
        }
        let plain = scope.is_none() && via == Via::Gather && matches!(target, ShardTarget::Dim(_));
        if let Some(span) = padded.filter(|_| !plain) {
            reader.errors.push(wrong::padded_place(span));
            continue;
        }
        typed.push(ShardRule {
            padded: padded.is_some(),
            target,
            scope,
            axes: by.clone(),
            via,
            hold: hold.is_some(),
            span: pattern.span,
            rule: rule.span,
            preset: None,
        });
    }
    typed
}

/// What stands left of an arrow: a state kind, `Dim`, `weights.Dim`, or `path.Dim` with its path.
fn target(reader: &mut Reader, pattern: &Pattern) -> Option<(Option<settings::Pattern>, ShardTarget)> {
    match pattern.parts.as_slice() {
        [PatternPart::Name(name, None)] => plain(reader, name).map(|target| (None, target)),
        [PatternPart::Name(weights, None), PatternPart::Name(dim, None)] if weights.text == "weights" && is_dim(&dim.text) => {
            Some((None, ShardTarget::WeightDim(dim.text.clone())))
        }
        [path @ .., PatternPart::Name(dim, None)] if !path.is_empty() && is_dim(&dim.text) => {
            let scope = rules::parts(reader, path, pattern.span)?;
            Some((Some(scope), ShardTarget::Dim(dim.text.clone())))
        }
        _ => {
            reader.errors.push(wrong::rule_path(pattern.span));
            None
        }
    }
}

fn plain(reader: &mut Reader, name: &Name) -> Option<ShardTarget> {
    if let Some((_, state)) = STATES.iter().find(|(word, _)| *word == name.text) {
        return Some(state.clone());
    }
    if is_dim(&name.text) {
        return Some(ShardTarget::Dim(name.text.clone()));
    }
    let same = |dim: &&String| dim.eq_ignore_ascii_case(&name.text);
    let found = match reader.constants.dims.iter().find(same) {
        Some(dim) => wrong::dim_capital(name.span, &name.text, dim),
        None => {
            let states = STATES.iter().map(|(word, _)| *word);
            let known: Vec<&str> = ["a dim"].into_iter().chain(states).chain(preset::NAMES.iter().map(|(word, _)| *word)).collect();
            error::one_of(name.span, "shard", &name.text, &known)
        }
    };
    reader.errors.push(found);
    None
}

fn is_dim(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_uppercase())
}

/// The axes right of the arrow.
fn by(reader: &mut Reader, rule: &Rule, axes: &[Axis]) -> Option<Vec<String>> {
    let Some(target) = &rule.target else {
        reader.errors.push(error::no_axes(rule.span));
        return None;
    };
    let mut names = Vec::new();
    factors(target, &mut names);
    if let Some(found) = check::factors(target, &names) {
        reader.errors.push(found);
        return None;
    }
    if let [(name, _)] = names.as_slice()
        && name == "whole"
    {
        return Some(Vec::new());
    }
    let mut known: Vec<String> = Vec::new();
    let before = reader.errors.count();
    for (name, span) in names {
        let own = axes::named(axes, &name);
        if own.is_empty() {
            reader.errors.push(axes::unknown(axes, &name, span));
        }
        for axis in own {
            if known.contains(&axis.name) {
                reader.errors.push(error::axis_twice(span, &axis.name));
            }
            known.push(axis.name.clone());
        }
    }
    (reader.errors.count() == before).then_some(known)
}

fn factors(value: &Expr, names: &mut Vec<(String, Span)>) {
    match &value.kind {
        ExprKind::Binary { op: BinaryOp::Multiply, left, right, .. } => {
            factors(left, names);
            factors(right, names);
        }
        _ => names.push((spelled(value), value.span)),
    }
}

fn via(reader: &mut Reader, rule: &Rule) -> Option<Via> {
    let mut via = Via::Gather;
    for modifier in &rule.modifiers {
        match modifier {
            Modifier::Via { how, balanced: None } if how.text == "gather" => via = Via::Gather,
            Modifier::Via { how, balanced: None } if how.text == "heads" => via = Via::Heads,
            Modifier::Via { how, balanced: None } if how.text == "ring" => via = Via::Ring,
            Modifier::Via { how, balanced: Some(_) } if how.text == "ring" => via = Via::Balanced,
            Modifier::Via { how, balanced } => {
                let span = balanced.unwrap_or(how.span);
                reader.errors.push(error::one_of(span, "via", &how.text, &["gather", "heads", "ring", "ring balanced"]));
                return None;
            }
            Modifier::Padded(_) | Modifier::Hold { .. } => {}
        }
    }
    Some(via)
}

/// Where a rule says `hold step`, if it does.
fn hold(reader: &mut Reader, rule: &Rule) -> Option<Option<Span>> {
    let mut found = None;
    for modifier in &rule.modifiers {
        if let Modifier::Hold { what } = modifier {
            if what.text != "step" {
                reader.errors.push(error::one_of(what.span, "hold", &what.text, &["step"]));
                return None;
            }
            found = Some(what.span);
        }
    }
    Some(found)
}
