//! Presets: names of the literature's schemes left of an arrow, which stand for ordinary rules.
//!
//! | preset | stands for |
//! | --- | --- |
//! | `fsdp -> data`, `zero3 -> data` | the batch and `weights` along `data` (Zhao et al. 2023) |
//! | `zero2 -> data`, `zero1 -> data` | the batch, and `gradients`, or `moments` alone (Rajbhandari et al. 2020) |
//! | `hsdp -> replica * data` | the batch along both, `weights` along the last |
//! | `megatron -> tensor, heads: Heads, hidden: Mlp, vocabulary: Vocab, sequence: Seq` | these dims along `tensor`, the sequence wherever it is still free (Shoeybi et al. 2019, Korthikanti et al. 2022) |

use super::super::super::settings::{ShardRule, ShardTarget, Via};
use super::super::Reader;
use super::super::keyed::spelled;
use super::wrong;
use meshwright_grammar::Span;
use meshwright_grammar::tree::{ExprKind, Pattern, PatternPart, Rule};

/// A scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    /// The batch, and a kind of state.
    Zero(&'static str),
    /// The batch over replicas too, weights within one.
    Hsdp,
    /// Tensor parallelism.
    Megatron,
}

/// All presets by name.
pub(super) const NAMES: [(&str, Preset); 6] = [
    ("fsdp", Preset::Zero("weights")),
    ("zero3", Preset::Zero("weights")),
    ("zero2", Preset::Zero("gradients")),
    ("zero1", Preset::Zero("moments")),
    ("hsdp", Preset::Hsdp),
    ("megatron", Preset::Megatron),
];

/// What `megatron` takes, in the order of its rules.
const MEGATRON: [&str; 4] = ["heads", "hidden", "vocabulary", "sequence"];

/// The preset that a pattern names, and its name.
pub(super) fn named(pattern: &Pattern) -> Option<(&'static str, Preset)> {
    let [PatternPart::Name(name, None)] = pattern.parts.as_slice() else { return None };
    NAMES.iter().find(|(word, _)| *word == name.text).copied()
}

/// The rules that a preset stands for.
pub(super) fn expand(
    reader: &mut Reader,
    (name, preset): (&'static str, Preset),
    rule: &Rule,
    span: Span,
    axes: &[String],
) -> Vec<ShardRule> {
    let one = |target, axes: &[String]| ShardRule {
        scope: None,
        target,
        axes: axes.to_vec(),
        via: Via::Gather,
        hold: false,
        padded: false,
        span,
        rule: rule.span,
        preset: Some(name),
    };
    let least = if preset == Preset::Hsdp { 2 } else { 1 };
    if axes.len() < least || !rule.modifiers.is_empty() {
        reader.errors.push(wrong::preset_axes(span, name, least, axes.len()));
        return Vec::new();
    }
    if let (Some(setting), true) = (rule.settings.first(), preset != Preset::Megatron) {
        reader.errors.push(wrong::preset_argument(setting.span, name, &setting.key.text, &[]));
        return Vec::new();
    }
    let batch = reader.batch.clone().map(|dim| one(ShardTarget::Dim(dim), axes));
    let state = match preset {
        Preset::Zero("moments") => one(ShardTarget::Moments, axes),
        Preset::Zero("gradients") => one(ShardTarget::Gradients, axes),
        Preset::Zero(_) => one(ShardTarget::Weights, axes),
        Preset::Hsdp => one(ShardTarget::Weights, &axes[axes.len() - 1..]),
        Preset::Megatron => return megatron(reader, rule, span).into_iter().map(|dim| one(ShardTarget::Dim(dim), axes)).collect(),
    };
    batch.into_iter().chain([state]).collect()
}

/// The dims that the arguments name, in the order in which they may take the axis.
fn megatron(reader: &mut Reader, rule: &Rule, span: Span) -> Vec<String> {
    let mut dims: Vec<(usize, String)> = Vec::new();
    for setting in &rule.settings {
        let Some(at) = MEGATRON.iter().position(|known| *known == setting.key.text) else {
            reader.errors.push(wrong::preset_argument(setting.span, "megatron", &setting.key.text, &MEGATRON));
            continue;
        };
        match &setting.value.kind {
            ExprKind::Path(path) if reader.constants.dims.contains(&path.text()) => dims.push((at, path.text())),
            _ => reader.errors.push(wrong::preset_dim(
                setting.value.span,
                &setting.key.text,
                &spelled(&setting.value),
                &reader.constants.dims,
            )),
        }
    }
    if rule.settings.is_empty() {
        reader.errors.push(wrong::preset_dims(span));
    }
    dims.sort_by_key(|(at, _)| *at);
    dims.into_iter().map(|(_, dim)| dim).collect()
}
