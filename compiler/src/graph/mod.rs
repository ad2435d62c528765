//! `graph`: typed model → training graph.
//!
//! In: a [`crate::model::ir::Model`]. Out: an [`ir::Graph`] of segments with forward and backward programs, in primitives.
//! Reverse-mode differentiation by a rule per primitive (Griewank and Walther 2008), remat by policy.
//!
//! The passes of [`build`]: [`microbatch`] cuts the batch; [`lower`] finds what gradient each call needs, makes a joint program of each function
//! and need ([`differentiate`]: [`loss`], [`autodiff`], [`vjp`]), makes it smaller ([`tidy`]: [`simplify`], [`cse`], [`dce`]), chooses what to keep
//! ([`remat`], by [`mincut`]) and cuts the programs out ([`extract`]); [`precision`] rounds; [`optimizer`] adds the end of the step.

pub mod autodiff;
pub mod cse;
pub mod dce;
pub mod differentiate;
pub mod error;
pub mod extract;
pub mod interpret;
pub mod ir;
pub mod loss;
pub mod lower;
pub mod microbatch;
pub mod mincut;
pub mod optimizer;
pub mod precision;
pub mod print;
pub mod remat;
pub mod simplify;
#[cfg(test)]
mod tests;
pub mod tidy;
pub mod verify;
pub mod vjp;

use crate::model::ir::Model;
use crate::op::OriginData;
use ir::Graph;
use meshwright_grammar::Diagnostic;

/// The training graph of a model; without `train`, one that only evaluates.
///
/// Ensures what [`verify::graph`] checks. The user can be at fault in what [`error`] lists.
pub fn build(model: &Model, train: bool) -> Result<Graph, Vec<Diagnostic>> {
    let mut model = model.clone();
    microbatch::cut(&mut model)?;
    let mut graph = lower::lower(&model, train)?;
    let dims = graph.dims.clone();
    for segment in graph.segments.values_mut() {
        for program in segment.programs_mut() {
            precision::round(program, model.settings.train.precision);
            simplify::drop_marks(program);
            tidy::tidy(program, &dims);
        }
    }
    if train {
        let divide_by = optimizer::divide_by(&graph.reports);
        let origin = graph.origins.push(OriginData { span: None, path: "update".to_string() });
        graph.update = Some(optimizer::update(&model.settings.train, &graph.weights, &mut graph.dims, origin, divide_by));
    }
    debug_assert_eq!(verify::graph(&graph), Ok(()));
    Ok(graph)
}
