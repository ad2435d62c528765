//! The end of a step, interpreted: gradient norm, clipping, and the optimizer's programs on every weight.
//!
//! Requires the sums of gradient contributions and the moments of the step before (none before the first). Ensures weights and moments
//! as after the step.

use super::graph::{Totals, Weights};
use super::{Context, Mode, Tensor, run_program};
use crate::graph::ir::{Graph, Program, Role, Segment, Update};
use crate::model::ir::Weight;
use crate::op::{Dims, Element};
use cranelift_entity::EntityRef;
use std::collections::BTreeMap;

/// An optimizer's memory: its moments for every weight copy that it has met.
pub type Moments = BTreeMap<(Weight, u64), Vec<Tensor>>;

/// Applies one update to `weights`, and gives the gradient's norm. `count` is the count of the masked loss, where `Update::divide_by` is
/// set; `sums` are gradients before that division.
pub fn update(
    graph: &Graph,
    weights: &mut Weights,
    moments: &mut Moments,
    sums: &Weights,
    step: u64,
    count: Option<f64>,
    mode: Mode,
) -> f64 {
    let update = graph.update.as_ref().expect("a graph that trains has an update");
    let context = Context { mode, step, scalars: scalars(update, step, mode), ..Context::default() };
    let trained = |weight: Weight| update.group_of[weight].map(|group| &update.groups[group as usize].program);
    let mut square_sum = 0.0;
    for (_, sum) in sums.iter().filter(|(key, _)| trained(key.0).is_some()) {
        let outputs = run_flat(&update.square_sum, &graph.dims, vec![(Role::Gradient, sum.clone())], &context);
        square_sum = mode.round(square_sum + taken(&outputs, Role::SquareSum).item());
    }
    let mut given = vec![(Role::SquareSum, Tensor::scalar(square_sum))];
    given.extend(count.map(|count| (Role::Report(1), Tensor::scalar(count))));
    let outputs = run_program(&update.factor, &graph.dims, &given, &context);
    let factor = taken(&outputs, Role::Factor);
    for (key, sum) in sums {
        if let Some(program) = trained(key.0) {
            let weight = weights.get_mut(key).expect("every weight with a gradient is given");
            let own = moments.entry(*key).or_insert_with(|| vec![zeros(weight); update.moments as usize]);
            apply(program, &graph.dims, weight, own, sum.arranged(&weight.dims, &graph.dims), factor.clone(), &context);
        }
    }
    taken(&outputs, Role::Report(0)).item()
}

/// Gives states their next values, all from the weights as they are.
pub fn next(graph: &Graph, weights: &mut Weights, totals: &Totals, mode: Mode) {
    let before = weights.clone();
    for (at, call) in graph.calls.iter().enumerate() {
        let segment = &graph.segments[Segment::new(call.function.index())];
        let Some(program) = &segment.next else { continue };
        let given = program.inputs.iter().map(|(role, _)| match *role {
            Role::Weight(slot) => (*role, before[&call.weights[slot as usize]].clone()),
            Role::Total(number) => (*role, totals[&(at, number)].clone()),
            _ => panic!("{role:?} is no input of a program of next states"),
        });
        let given: Vec<(Role, Tensor)> = given.collect();
        for (role, tensor) in run_program(program, &graph.dims, &given, &Context { mode, ..Context::default() }) {
            if let Role::Next(number) = role {
                let slot = segment.states[number as usize];
                let state = weights.get_mut(&call.weights[slot as usize]).expect("every state is given");
                state.data = tensor.arranged(&state.dims, &graph.dims).data;
            }
        }
    }
}

/// Runs one weight's program and takes over what it gives.
fn apply(program: &Program, dims: &Dims, weight: &mut Tensor, moments: &mut [Tensor], gradient: Tensor, factor: Tensor, context: &Context) {
    let mut given = vec![(Role::Rest, weight.clone()), (Role::Gradient, gradient), (Role::Factor, factor)];
    given.extend(moments.iter().enumerate().map(|(i, moment)| (Role::Moment(i as u32), moment.clone())));
    for (role, tensor) in run_flat(program, dims, given, context) {
        match role {
            Role::Rest => weight.data = tensor.data,
            Role::Moment(i) => moments[i as usize].data = tensor.data,
            Role::Param(_)
            | Role::Weight(_)
            | Role::Result(_)
            | Role::Stash(_)
            | Role::ResultGrad(_)
            | Role::ParamGrad(_)
            | Role::WeightGrad(_)
            | Role::Report(_)
            | Role::Total(_)
            | Role::Peak(_)
            | Role::Next(_)
            | Role::Gradient
            | Role::Factor
            | Role::SquareSum
            | Role::Whole
            | Role::Piece => {
                panic!("{role:?} is no output of an update program")
            }
        }
    }
}

/// The step's scalars in the order of their definitions, as kernels see them.
pub fn scalars(update: &Update, step: u64, mode: Mode) -> Vec<(String, f64)> {
    let mut exact: Vec<(String, f64)> = Vec::new();
    for definition in &update.scalars {
        let named = |name: &str| exact.iter().find(|(own, _)| own == name).map(|(_, value)| *value);
        let value = definition.value.eval(step, &named).unwrap_or_else(|| panic!("{} uses earlier definitions only", definition.name));
        exact.push((definition.name.clone(), value));
    }
    exact.into_iter().map(|(name, value)| (name, mode.round(value))).collect()
}

/// Runs a program over a flat dim, which takes the size of the tensors given.
fn run_flat(program: &Program, dims: &Dims, mut given: Vec<(Role, Tensor)>, context: &Context) -> Vec<(Role, Tensor)> {
    let (_, gradient) = program.inputs.iter().find(|(role, _)| *role == Role::Gradient).expect("it takes a gradient");
    let flat = program.body.ty(*gradient).dims[0];
    let mut dims = dims.clone();
    for (role, tensor) in &mut given {
        if *role != Role::Factor {
            tensor.dims = vec![flat];
            dims[flat].size = tensor.data.len() as u64;
        }
    }
    run_program(program, &dims, &given, context)
}

fn taken(outputs: &[(Role, Tensor)], role: Role) -> Tensor {
    outputs.iter().find(|(own, _)| *own == role).map(|(_, tensor)| tensor.clone()).unwrap_or_else(|| panic!("{role:?} is given"))
}

fn zeros(like: &Tensor) -> Tensor {
    Tensor { element: Element::Real, dims: like.dims.clone(), data: vec![0.0; like.data.len()] }
}
