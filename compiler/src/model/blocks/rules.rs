//! Ordered rules about paths: `tune` and `remat`.
//!
//! The root file's block replaces those of the files it uses; `tune before base { … }` puts rules in front instead.

use super::super::ir::{Weight, WeightData};
use super::super::settings::{Pattern, Remat};
use super::keyed::spelled;
use super::pattern::matches;
use super::{Reader, error};
use cranelift_entity::PrimaryMap;
use meshwright_grammar::tree::{self, Block, BlockKind, Entry, ExprKind, PatternPart, Rule};
use meshwright_grammar::{Diagnostic, Span};

/// What a `tune` rule says of the weights that it names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tune {
    /// Which weights.
    pub pattern: Pattern,
    /// Decay coefficient.
    pub decay: Option<f64>,
    /// Factor on the rate.
    pub rate: Option<f64>,
    /// Not trained.
    pub frozen: bool,
    /// The whole rule.
    pub span: Span,
}

/// The rules of one kind of block in force, in order.
pub(super) fn in_force(blocks: &[Block], kind: BlockKind) -> Vec<&Rule> {
    let mut rules: Vec<&Rule> = Vec::new();
    let mut file = None;
    for block in blocks.iter().filter(|block| block.kind == kind) {
        let own: Vec<&Rule> = block.entries.iter().filter_map(rule).collect();
        if block.before.is_some() {
            rules.splice(0..0, own);
        } else if file == Some(block.word.file) {
            rules.extend(own);
        } else {
            rules = own;
        }
        file = Some(block.word.file);
    }
    rules
}

fn rule(entry: &Entry) -> Option<&Rule> {
    match entry {
        Entry::Rule(rule) => Some(rule),
        Entry::Setting(_) | Entry::Condition(_) => None,
    }
}

/// A pattern as the settings keep it; ranges of iterations are refused.
fn pattern(reader: &mut Reader, pattern: &tree::Pattern) -> Option<Pattern> {
    parts(reader, &pattern.parts, pattern.span)
}

/// The same of some parts of a pattern.
pub(super) fn parts(reader: &mut Reader, all: &[PatternPart], span: Span) -> Option<Pattern> {
    let mut parts = Vec::new();
    for part in all {
        match part {
            PatternPart::Name(name, None) => parts.push(name.text.clone()),
            PatternPart::Name(_, Some(range)) => {
                reader.errors.push(error::not_supported(range.span, "a rule for some iterations only", "name the layer without a range"));
                return None;
            }
            PatternPart::Any(_) => parts.push("*".to_string()),
            PatternPart::AnyDepth(_) => parts.push("**".to_string()),
        }
    }
    Some(Pattern { parts, span: Some(span) })
}

/// `remat { Block.Attention -> recompute }`
pub(super) fn remat(reader: &mut Reader) -> Vec<(Pattern, Remat)> {
    let mut found = Vec::new();
    for rule in in_force(reader.blocks, BlockKind::Remat) {
        let word = rule.target.as_ref().map(spelled).unwrap_or_default();
        let span = rule.target.as_ref().map_or(rule.span, |target| target.span);
        let what = match word.as_str() {
            "recompute" => Remat::Recompute,
            "save" => Remat::Save,
            "offload" => {
                reader.errors.push(error::not_supported(span, "`offload`", "write `recompute` or `save`"));
                continue;
            }
            _ => {
                reader.errors.push(error::one_of(span, "remat", &word, &["recompute", "save", "offload"]));
                continue;
            }
        };
        for named in &rule.patterns {
            found.extend(pattern(reader, named).map(|pattern| (pattern, what)));
        }
    }
    found
}

/// `tune { LayerNorm.** -> decay: 0 }`
pub(crate) fn tunes(reader: &mut Reader) -> Vec<Tune> {
    let mut found = Vec::new();
    for rule in in_force(reader.blocks, BlockKind::Tune) {
        let mut tune = Tune { pattern: Pattern { parts: Vec::new(), span: None }, decay: None, rate: None, frozen: false, span: rule.span };
        if let Some(target) = &rule.target {
            match &target.kind {
                ExprKind::Path(path) if path.text() == "frozen" => tune.frozen = true,
                _ => reader.errors.push(error::one_of(target.span, "tune", &spelled(target), &["frozen", "decay: …", "rate: …"])),
            }
        }
        for setting in &rule.settings {
            let value = number(reader, &setting.value, &setting.key.text);
            match setting.key.text.as_str() {
                "decay" => tune.decay = value,
                "rate" => tune.rate = value,
                "optimizer" | "lora" => {
                    let what = format!("`{}` of single weights", setting.key.text);
                    reader.errors.push(error::not_supported(setting.span, &what, "use `decay`, `rate` or `frozen`"));
                }
                key => reader.errors.push(error::unknown_key(setting.key.span, BlockKind::Tune, key, &["decay", "rate", "frozen"])),
            }
        }
        for named in &rule.patterns {
            found.extend(pattern(reader, named).map(|pattern| Tune { pattern, ..tune.clone() }));
        }
    }
    found
}

fn number(reader: &mut Reader, value: &tree::Expr, key: &str) -> Option<f64> {
    if key == "optimizer" || key == "lora" {
        return None;
    }
    let number = reader.number(value, key)?;
    if number >= 0.0 {
        return Some(number);
    }
    reader.errors.push(error::range(value.span, key, number, "from 0", "leave out the sign"));
    None
}

/// Applies the rules to all weights, the first match of each setting; what matches nothing is a warning.
pub(crate) fn tune(weights: &mut PrimaryMap<Weight, WeightData>, tunes: &[Tune]) -> Vec<Diagnostic> {
    let mut used = vec![false; tunes.len()];
    for data in weights.values_mut().filter(|data| !data.state) {
        let path = names(&data.path, &data.layers);
        let (mut decay, mut rate, mut frozen) = (None, None, None);
        for (at, tune) in tunes.iter().enumerate().filter(|(_, tune)| matches(&tune.pattern, &path)) {
            used[at] = true;
            decay = decay.or(tune.decay);
            rate = rate.or(tune.rate);
            frozen = frozen.or(tune.frozen.then_some(true));
        }
        data.decay = decay;
        data.rate = rate.unwrap_or(data.rate);
        data.frozen = frozen.unwrap_or(data.frozen);
    }
    let unused = tunes.iter().zip(used).filter(|(_, used)| !used);
    unused.map(|(tune, _)| error::unmatched(tune.pattern.span.unwrap_or(tune.span), "weight")).collect()
}

/// The parts of a weight's path, each by the name of its instance and of its layer.
pub(crate) fn names(path: &str, layers: &str) -> Vec<Vec<String>> {
    let plain = path.split('.').map(|part| part.split('[').next().unwrap_or(part).to_string());
    plain.zip(layers.split('.')).map(|(instance, layer)| vec![instance, layer.to_string()]).collect()
}
