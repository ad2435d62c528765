//! `model`: syntax tree → typed model.
//!
//! In: the files of a spec, overrides, and whether it is for training. Out: a [`ir::Model`] in which every name is resolved, every dim has
//! a size, every layer call is instantiated and every operation is a primitive with its result type; or all errors found.
//!
//! The passes: [`merge`] files, evaluate [`constants`], [`elaborate`] bodies onto a [`tape`], [`check`] it, [`cut`] it into functions.

pub mod blocks;
mod body;
mod check;
mod constants;
mod cut;
mod elaborate;
pub mod error;
mod expr;
pub mod ir;
mod item;
mod layer;
mod merge;
mod numbers;
pub mod print;
mod repeat;
mod scope;
pub mod settings;
pub mod standard;
mod state;
mod tape;
#[cfg(test)]
pub(crate) mod tests;
pub mod verify;
mod weight;

use constants::Constants;
use elaborate::Elaborator;
use error::{Errors, names, weights};
use meshwright_grammar::Diagnostic;
use meshwright_grammar::tree::{Definition, DimRef, Expr, ExprKind, File, Name, Number, ParamKind};

pub use error::CODES;

/// What a model is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Whether dropout drops, and a loss is needed.
    pub training: bool,
    /// Size of the batch dim instead of the spec's; such a batch is not cut into microbatches.
    pub batch: Option<u64>,
}

/// A model and the warnings about it.
pub type Elaborated = (ir::Model, Vec<Diagnostic>);

/// Elaborates a spec: its files, the root last, and overrides as pairs of a key (`dims.Layers`, `init`) and a value. Keys of blocks
/// (`train.steps`) change their entries.
pub fn elaborate(files: &[File], overrides: &[(String, Expr)], mode: Mode) -> Result<Elaborated, Vec<Diagnostic>> {
    let mut errors = Errors::default();
    let merged = merge::merge(files, &mut errors);
    let Some(model) = &merged.model else {
        errors.push(names::no_model(files.last().and_then(|file| file.items.last()).map(|item| item.span)));
        return Err(errors.take());
    };
    let mut overrides = overrides.to_vec();
    overrides.extend(mode.batch.and_then(|size| batch_size(model, size)));
    let mut constants = Constants::evaluate(&merged, &overrides, &mut errors);
    let batch = batch_dim(model).map(|name| name.text.clone());
    let mut reader =
        blocks::Reader { blocks: &merged.blocks, overrides: &overrides, constants: &mut constants, batch, errors: &mut errors };
    let (mut settings, tunes) = (blocks::settings(&mut reader), blocks::tunes(&mut reader));
    if mode.batch.is_some() {
        settings.train.microbatches = 1;
    }
    let mut elaborator = Elaborator::new(&merged, &constants, mode.training, errors);
    let outline = elaborator.model(model);
    if mode.training && elaborator.errors.count() == 0 && elaborator.tape.reports.iter().all(|report| report.metric.is_some()) {
        elaborator.errors.push(weights::no_loss(model.header));
    }
    if let Ok(outline) = &outline
        && elaborator.errors.count() == 0
    {
        check::check(&mut elaborator, &constants, outline);
    }
    pipelines(&mut elaborator, &settings);
    match outline {
        Ok(outline) if elaborator.errors.count() == 0 => {
            let mut warnings = std::mem::take(&mut elaborator.errors).take();
            let paths = !settings.remat.is_empty();
            let mut cut = cut::cut(elaborator, outline, &model.name.text, settings, paths);
            warnings.extend(blocks::tune(&mut cut.weights, &tunes));
            debug_assert_eq!(verify::verify(&cut), Ok(()));
            Ok((cut, warnings))
        }
        Ok(_) | Err(_) => Err(elaborator.errors.take()),
    }
}

/// A rule that cuts the dim of a `repeat` asks for pipeline stages.
fn pipelines(elaborator: &mut Elaborator, settings: &settings::Settings) {
    for rule in &settings.shard {
        if let settings::ShardTarget::Dim(dim) = &rule.target
            && elaborator.repeat_dims.contains(dim)
            && !rule.axes.is_empty()
        {
            let what = format!("a pipeline over `{dim}`");
            let instead = "remove this name: every device then has all layers, and other axes may cut their weights";
            elaborator.errors.push(blocks::error::not_supported(rule.span, &what, instead));
        }
    }
}

/// The batch dim: the first dim of the model's first input.
fn batch_dim(model: &Definition) -> Option<&Name> {
    let ParamKind::Tensor(kind) = &model.params.first()?.kind else { return None };
    match kind.dims.first()? {
        DimRef::Named(name) => Some(name),
        _ => None,
    }
}

/// The override that gives the batch dim another size.
fn batch_size(model: &Definition, size: u64) -> Option<(String, Expr)> {
    let name = batch_dim(model)?;
    let number = Number { value: size as f64, text: size.to_string(), unit: None };
    Some((format!("dims.{}", name.text), Expr { kind: ExprKind::Number(number), span: name.span, grouped: false }))
}
