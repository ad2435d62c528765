//! A whole training graph, interpreted: all microbatches forward and backward, in order.
//!
//! Requires inputs of the whole step (batch dim outermost) and every weight copy. Ensures the loss, the reported numbers and the
//! gradients of the whole step, whatever the number of microbatches.

use super::{Context, Mode, Tensor, run_program};
use crate::graph::ir::{Graph, Program, Role, Segment};
use crate::graph::optimizer::divide_by;
use crate::model::ir::{Call, Port, Weight};
use crate::op::Type;
use cranelift_entity::EntityRef;
use std::collections::BTreeMap;

/// One tensor for every copy of every weight.
pub type Weights = BTreeMap<(Weight, u64), Tensor>;

/// What a pass over a whole batch gives.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Sum of all reports named `loss`.
    pub loss: f64,
    /// As `Graph::reports`, divided.
    pub reports: Vec<(String, f64)>,
    /// As `Graph::reports`: the count of each, where it has one.
    pub counts: Vec<Option<f64>>,
    /// Sums of contributions, as the update programs take them: not yet divided by the count of a masked loss.
    pub sums: Weights,
    /// The gradients of the loss.
    pub gradients: Weights,
    /// What the model returns for the whole batch (none if no program computed it).
    pub result: Option<Tensor>,
    /// The totals that `next` reads, by call and index.
    pub totals: Totals,
    /// The largest of each peak, by call and index.
    pub peaks: BTreeMap<(usize, u32), f64>,
}

/// Totals of calls.
pub type Totals = BTreeMap<(usize, u32), Tensor>;

/// A pass under way.
struct Pass<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    context: Context,
    /// Activations and what each call kept, of the current microbatch.
    ports: BTreeMap<Port, Tensor>,
    stashes: Vec<Vec<(Role, Tensor)>>,
    cotangents: BTreeMap<Port, Tensor>,
    reports: BTreeMap<(Segment, u32), f64>,
    gradients: Weights,
    totals: Totals,
    peaks: BTreeMap<(usize, u32), f64>,
    results: Vec<Tensor>,
}

/// The loss and its gradients for one step's inputs, by name.
pub fn step(graph: &Graph, weights: &Weights, inputs: &[(String, Tensor)], seed: u64, step: u64, mode: Mode) -> Outcome {
    let mut pass = Pass::new(graph, weights, seed, step, mode);
    for microbatch in 0..graph.microbatches {
        pass.enter(microbatch, inputs);
        for at in 0..graph.calls.len() {
            pass.forward(at);
        }
        for at in (0..graph.calls.len()).rev() {
            pass.backward(at);
        }
        pass.leave();
    }
    pass.outcome()
}

/// The loss and the result without gradients, by the forward-only programs.
pub fn evaluate(graph: &Graph, weights: &Weights, inputs: &[(String, Tensor)], seed: u64, step: u64, mode: Mode) -> Outcome {
    let mut pass = Pass::new(graph, weights, seed, step, mode);
    for microbatch in 0..graph.microbatches {
        pass.enter(microbatch, inputs);
        for call in &graph.calls {
            pass.run(call, &pass.segment(call).1.forward_only, Vec::new());
        }
        pass.leave();
    }
    pass.outcome()
}

impl<'a> Pass<'a> {
    fn new(graph: &'a Graph, weights: &'a Weights, seed: u64, step: u64, mode: Mode) -> Self {
        let context = Context { mode, seed, step, microbatches: graph.microbatches, batch: Some(graph.batch), ..Context::default() };
        let stashes = vec![Vec::new(); graph.calls.len()];
        let (ports, cotangents, reports) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Pass {
            graph,
            weights,
            context,
            ports,
            stashes,
            cotangents,
            reports,
            gradients: Weights::new(),
            totals: Totals::new(),
            peaks: BTreeMap::new(),
            results: Vec::new(),
        }
    }

    fn segment(&self, call: &Call) -> (Segment, &'a crate::graph::ir::SegmentData) {
        let segment = Segment::new(call.function.index());
        (segment, &self.graph.segments[segment])
    }

    /// Binds the inputs of one microbatch: its share of the outermost dim.
    fn enter(&mut self, microbatch: u64, inputs: &[(String, Tensor)]) {
        self.context.microbatch = microbatch;
        self.ports.clear();
        self.cotangents.clear();
        for (name, port) in &self.graph.inputs {
            let (_, whole) = inputs.iter().find(|(given, _)| given == name).unwrap_or_else(|| panic!("the input {name} is given"));
            let ty = &self.graph.ports[*port];
            let (count, at) = (ty.elements(&self.graph.dims) as usize, microbatch as usize);
            self.ports.insert(*port, Tensor::new(ty, &self.graph.dims, whole.data[at * count..(at + 1) * count].to_vec()));
        }
    }

    /// Keeps the microbatch's share of the result.
    fn leave(&mut self) {
        let result = self.graph.result.and_then(|port| self.ports.get(&port));
        self.results.extend(result.cloned());
    }

    fn forward(&mut self, at: usize) {
        let call = &self.graph.calls[at];
        let (_, segment) = self.segment(call);
        if !segment.merged {
            self.stashes[at] = self.run(call, &segment.forward, Vec::new());
        }
    }

    fn backward(&mut self, at: usize) {
        let call = &self.graph.calls[at];
        let (_, segment) = self.segment(call);
        let mut given = std::mem::take(&mut self.stashes[at]);
        for (i, port) in call.results.iter().enumerate() {
            let ty = &self.graph.ports[*port];
            let cotangent = self.cotangents.get(port).cloned();
            let zero = || Tensor::filled(&Type { element: crate::op::Element::Real, dims: ty.dims.clone() }, &self.graph.dims, 0.0);
            given.push((Role::ResultGrad(i as u32), cotangent.unwrap_or_else(zero)));
        }
        // A segment that leads to no trained weight has nothing to do.
        if let Some(program) = &segment.backward {
            self.run(call, program, given);
        }
    }

    /// Runs a program of a call and files its outputs; gives what is to be kept.
    fn run(&mut self, call: &Call, program: &Program, mut inputs: Vec<(Role, Tensor)>) -> Vec<(Role, Tensor)> {
        let (segment, _) = self.segment(call);
        for (i, port) in call.args.iter().enumerate() {
            inputs.push((Role::Param(i as u32), self.ports[port].clone()));
        }
        for (i, weight) in call.weights.iter().enumerate() {
            inputs.push((Role::Weight(i as u32), self.weights[weight].clone()));
        }
        self.context.iteration = call.iteration;
        let mut kept = Vec::new();
        for (role, tensor) in run_program(program, &self.graph.dims, &inputs, &self.context) {
            self.file(call, segment, role, tensor, &mut kept);
        }
        kept
    }

    fn file(&mut self, call: &Call, segment: Segment, role: Role, tensor: Tensor, kept: &mut Vec<(Role, Tensor)>) {
        let mode = self.context.mode;
        match role {
            Role::Result(i) => {
                self.ports.insert(call.results[i as usize], tensor);
            }
            Role::Stash(_) => kept.push((role, tensor)),
            Role::ParamGrad(i) => add(&mut self.cotangents, call.args[i as usize], tensor, self.graph, mode),
            Role::WeightGrad(i) => add(&mut self.gradients, call.weights[i as usize], tensor, self.graph, mode),
            Role::Total(i) => {
                let at = self.number(call);
                add(&mut self.totals, (at, i), tensor, self.graph, mode);
            }
            Role::Peak(i) => {
                let at = self.number(call);
                let most = self.peaks.entry((at, i)).or_insert(f64::NEG_INFINITY);
                *most = most.max(tensor.item());
            }
            Role::Report(i) => {
                let sum = self.reports.entry((segment, i)).or_insert(0.0);
                *sum = mode.round(*sum + tensor.item());
            }
            Role::Param(_)
            | Role::Weight(_)
            | Role::ResultGrad(_)
            | Role::Next(_)
            | Role::Rest
            | Role::Gradient
            | Role::Moment(_)
            | Role::Factor
            | Role::SquareSum
            | Role::Whole
            | Role::Piece => panic!("{role:?} is no output of a segment's program"),
        }
    }

    /// The call's number.
    fn number(&self, call: &Call) -> usize {
        self.graph.calls.iter().position(|other| std::ptr::eq(other, call)).unwrap_or(0)
    }

    fn outcome(self) -> Outcome {
        let of = |segment: Segment, at: u32| self.reports.get(&(segment, at)).copied().unwrap_or(0.0);
        let mut outcome = Outcome { gradients: self.gradients.clone(), ..Outcome::default() };
        for report in &self.graph.reports {
            let count = report.count.map(|count| of(report.segment, count));
            // Where nothing is counted the sum is 0, and so is the report.
            let value = of(report.segment, report.sum) / count.filter(|count| *count != 0.0).unwrap_or(1.0);
            outcome.loss += if report.name == "loss" { value } else { 0.0 };
            outcome.reports.push((report.name.clone(), value));
            outcome.counts.push(count);
        }
        if let Some(count) = divisor(self.graph, &outcome) {
            outcome.gradients.values_mut().flat_map(|tensor| &mut tensor.data).for_each(|x| *x = self.context.mode.round(*x / count));
        }
        (outcome.totals, outcome.peaks) = (self.totals, self.peaks);
        outcome.sums = self.gradients;
        outcome.result = joined(self.results);
        outcome
    }
}

/// What all gradients are still to be divided by.
pub fn divisor(graph: &Graph, outcome: &Outcome) -> Option<f64> {
    divide_by(&graph.reports).and_then(|report| outcome.counts[report]).map(|count| if count == 0.0 { 1.0 } else { count })
}

/// Adds a contribution under a key.
fn add<K: Ord>(sums: &mut BTreeMap<K, Tensor>, key: K, tensor: Tensor, graph: &Graph, mode: Mode) {
    match sums.get_mut(&key) {
        Some(sum) => {
            let tensor = tensor.arranged(&sum.dims, &graph.dims);
            sum.data.iter_mut().zip(tensor.data).for_each(|(sum, more)| *sum = mode.round(*sum + more));
        }
        None => {
            sums.insert(key, tensor);
        }
    }
}

/// The microbatches' results, one after the other along the outermost dim.
fn joined(parts: Vec<Tensor>) -> Option<Tensor> {
    parts.into_iter().reduce(|mut whole, part| {
        whole.data.extend(part.data);
        whole
    })
}
