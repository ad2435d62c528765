//! `emit`: graphs, timelines and places → the plan.
//!
//! In: the training graph and the graphs that only evaluate and predict, all of one model. Out: a [`Plan`] in which equal kernels and equal programs
//! stand once and runs of equal calls are loops. Nothing is decided here but names and numbers: the order is the timeline's, the places are memory's.

mod bind;
mod entry;
mod exchange;
mod overlap;
mod peak;
mod piece;
mod program;
mod region;
mod roll;
mod update;

use crate::Target;
use crate::fuse::rows::Step;
use crate::graph::ir::Graph;
use crate::memory::frames::{self, Frames};
use crate::memory::state::{self, State};
use crate::schedule;
use crate::shard::ir::Sharded;
use meshwright_plan::Plan;
use meshwright_plan::program::Entry;
use peak::Peaks;
pub use program::Behind;
use program::Programs;
use region::Regions;

/// The graphs of one model, on one mesh. All have the same weights.
#[derive(Clone, Copy)]
pub struct Graphs<'a> {
    /// What a step runs.
    pub train: &'a Sharded,
    /// What an evaluation runs: no dropout.
    pub evaluate: Option<&'a Sharded>,
    /// What a prediction runs: a batch of 1.
    pub predict: Option<&'a Sharded>,
    /// What runs them.
    pub target: Target,
}

/// A graph with its places: what calls are bound with.
struct Placed<'a> {
    sharded: &'a Sharded,
    graph: &'a Graph,
    frames: Frames,
    peaks: Peaks,
    target: Target,
}

impl<'a> Placed<'a> {
    fn new(sharded: &'a Sharded, target: Target, training: bool, wanted: bool) -> Self {
        let (frames, peaks) = (frames::lay_out(&sharded.graph, training, wanted), Peaks::new(sharded));
        Placed { sharded, graph: &sharded.graph, frames, peaks, target }
    }

    /// How programs of this graph see the step.
    fn step(&self) -> Step {
        let axes = self.sharded.cuts.whole(self.graph.batch).1;
        Step { batch: self.graph.batch, microbatches: self.graph.microbatches, parts: self.sharded.mesh.size(axes), target: self.target }
    }
}

/// Puts the plan together; beside it, what stands behind its kernels.
pub fn emit(graphs: Graphs) -> (Plan, Behind) {
    let state = state::lay_out(graphs.train);
    let train = Placed::new(graphs.train, graphs.target, true, false);
    let evaluate = graphs.evaluate.map(|graph| Placed::new(graph, graphs.target, false, false));
    let predict = graphs.predict.map(|graph| Placed::new(graph, graphs.target, false, true));
    let mut programs = Programs::default();
    let peaks = [Some(&train), evaluate.as_ref(), predict.as_ref()].into_iter().flatten().map(|placed| placed.peaks.bytes).max();
    let mut regions = Regions::new(&train, &state, peaks.unwrap_or(0));
    let mut entries = vec![entry::step(&train, &state, &mut programs, &mut regions)];
    entries.extend(exchange::start(&train, &state, &mut programs, &mut regions));
    for (name, placed) in [("evaluate", &evaluate), ("predict", &predict)] {
        if let Some(placed) = placed {
            let timeline = schedule::evaluate(placed.sharded);
            entries.push(entry::forward(name, placed, &timeline, &state, &mut programs, &mut regions));
        }
    }
    let behind = std::mem::take(&mut programs.behind);
    (assemble(&train, evaluate.as_ref(), predict.as_ref(), &state, programs, regions, entries), behind)
}

fn assemble(
    train: &Placed,
    evaluate: Option<&Placed>,
    predict: Option<&Placed>,
    state: &State,
    programs: Programs,
    mut regions: Regions,
    entries: Vec<Entry>,
) -> Plan {
    for placed in [Some(train), evaluate, predict].into_iter().flatten() {
        regions.grow(placed, programs.scratch_bytes);
    }
    let mut plan = Plan {
        name: train.graph.name.clone(),
        mesh: train.sharded.mesh.plan(),
        microbatches: train.graph.microbatches,
        scalars: train.graph.update.as_ref().map(|update| update.scalars.clone()).unwrap_or_default(),
        inputs: region::inputs(train, &regions),
        weights: region::weights(train, state, &regions),
        readouts: regions.readouts(train, evaluate),
        limits: regions.limits(train, evaluate, predict),
        outputs: predict.map(|placed| region::outputs(placed, &regions)).unwrap_or_default(),
        kernels: programs.kernels,
        programs: programs.programs,
        entries,
        arena: regions.finish(),
    };
    plan.canonical();
    plan
}
