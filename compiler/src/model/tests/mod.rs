//! Tests of the stage: the specs of `tests/numbers`, single operations, and every error.

mod damaged;
mod errors;
mod language;
mod specs;

use super::ir::Model;
use super::{Mode, elaborate};
use meshwright_grammar::{Diagnostic, FileId, Sources, parse, render};

/// The model of a spec that must be right, for training.
pub(crate) fn model(text: &str) -> Model {
    match attempt(text, true) {
        Ok((model, _)) => model,
        Err(errors) => panic!("{}", show(text, &errors)),
    }
}

/// What elaboration says of a spec that parses.
fn attempt(text: &str, training: bool) -> Result<(Model, Vec<Diagnostic>), Vec<Diagnostic>> {
    let file = parse(FileId(0), text).unwrap_or_else(|errors| panic!("{}", show(text, &errors)));
    elaborate(&[file], &[], Mode { training, batch: None })
}

/// Diagnostics as a user sees them.
fn show(text: &str, errors: &[Diagnostic]) -> String {
    let mut sources = Sources::new();
    sources.add("spec.mesh", text);
    super::standard::add(&mut sources);
    render(errors, &sources, false, 120)
}
