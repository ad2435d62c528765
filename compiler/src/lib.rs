//! The compiler: syntax tree → plan. Pure: no files, clock, threads, environment, printing.
//!
//! Text walks through one corridor of rooms and leaves as a plan: [`model`] → [`graph`] → [`shard`] → [`fuse`] → [`schedule`] → [`memory`] → [`emit`].
//! Nothing walks back.

pub mod emit;
pub mod explain;
pub mod fuse;
pub mod graph;
pub mod memory;
pub mod model;
pub mod op;
pub mod schedule;
pub mod shard;
pub mod shrink;

use meshwright_grammar::tree::Expr;
use meshwright_grammar::{CodeInfo, Diagnostic, Spec};
use meshwright_plan::Plan;
use model::Mode;
use model::ir::Model;

/// What the compiler made of a spec.
pub struct Compiled {
    /// The typed model, for training.
    pub model: Model,
    /// Its training graph.
    pub graph: graph::ir::Graph,
    /// The same cut over the mesh: what each rank computes, and what ranks exchange.
    pub sharded: shard::ir::Sharded,
    /// The plan, verified.
    pub plan: Plan,
    /// What stands behind each of its kernels: not in the plan, which is the same wherever its spec's text stands.
    pub behind: emit::Behind,
    /// What is no error but worth knowing.
    pub warnings: Vec<Diagnostic>,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A processor: numbers that are rounded to bf16 are kept as f32, and work is cut for some threads.
    Cpu,
    /// NVIDIA GPUs: such numbers are kept in two bytes, and work is cut for hundreds of blocks.
    Cuda,
}

/// A spec's files and overrides (`train.steps`, `dims.Layers`, `init`) → its plan, or all errors of the first stage that finds any.
///
/// `begin` hears the name of each stage when it starts; what it does with it (a clock, a progress bar) is its own business.
pub fn compile(
    spec: &Spec,
    overrides: &[(String, Expr)],
    target: Target,
    begin: &mut dyn FnMut(&'static str),
) -> Result<Compiled, Vec<Diagnostic>> {
    begin("model");
    let (model, warnings) = model::elaborate(&spec.files, overrides, Mode { training: true, batch: None })?;
    let (evaluated, _) = model::elaborate(&spec.files, overrides, Mode { training: false, batch: None })?;
    // A model that cannot take a batch of one (a split of the batch dim, say) has no entry `predict`.
    let predicted = model::elaborate(&spec.files, overrides, Mode { training: false, batch: Some(1) }).ok().map(|(model, _)| model);
    let predicted = predicted.filter(|model| model.result.is_some() && model.settings.devices() == 1).map(silent);
    begin("graph");
    let graph = graph::build(&model, true).map_err(|errors| [errors, warnings.clone()].concat())?;
    let evaluate = graph::build(&evaluated, false)?;
    let predict = predicted.map(|model| graph::build(&model, false)).transpose()?;
    begin("shard");
    let (mut sharded, found) = shard::shard(graph.clone(), &model.settings).map_err(|errors| [errors, warnings.clone()].concat())?;
    let (mut evaluate, _) = shard::shard(evaluate, &model.settings)?;
    let mut predict = predict.map(shard::ir::Sharded::alone);
    if target == Target::Cuda {
        [&mut sharded, &mut evaluate].into_iter().for_each(|sharded| memory::half::halve(&mut sharded.graph, false));
        predict.iter_mut().for_each(|sharded| memory::half::halve(&mut sharded.graph, true));
    }
    begin("emit");
    let (plan, behind) = emit::emit(emit::Graphs { train: &sharded, evaluate: Some(&evaluate), predict: predict.as_ref(), target });
    begin("verify");
    meshwright_plan::verify::verify(&plan).map_err(|wrong| wrong.iter().map(bug).collect::<Vec<_>>())?;
    begin("prove");
    meshwright_plan::proof::prove(&plan).map_err(|wrong| wrong.iter().map(bug).collect::<Vec<_>>())?;
    Ok(Compiled { model, graph, sharded, plan, behind, warnings: [warnings, found].concat() })
}

/// The model without its losses and metrics: a prediction has no targets to compare with.
fn silent(mut model: Model) -> Model {
    for function in model.functions.values_mut() {
        function.losses.clear();
        function.metrics.clear();
    }
    model
}

/// A plan that its verifier refuses is our fault, and says so.
fn bug(wrong: &meshwright_plan::verify::Violation) -> Diagnostic {
    Diagnostic::error("plan::bug", format!("the compiler made a plan that its own verifier refuses: {wrong}"))
        .help("this is a bug in Meshwright, not in your spec; please report it with the spec")
}

/// Every error and warning code of the grammar and the compiler.
pub fn codes() -> impl Iterator<Item = &'static CodeInfo> {
    let tables = [
        meshwright_grammar::CODES,
        model::CODES,
        model::blocks::CODES,
        model::blocks::MESH_CODES,
        graph::error::CODES,
        shard::error::CODES,
        CODES,
    ];
    tables.into_iter().flatten()
}

const CODES: &[CodeInfo] = &[CodeInfo {
    code: "plan::bug",
    title: "the compiler made a plan that its verifier refuses",
    explanation: "Every plan is verified before it is handed over. A refusal means that a stage of the compiler is wrong; the plan is not used. \
                  Please report it with the spec.",
}];
