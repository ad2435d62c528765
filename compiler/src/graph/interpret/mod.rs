//! The plain reference interpreter: every primitive in the simplest code, in f64 or with every result rounded to f32.
//!
//! Requires bodies whose types fit (it panics on others: that is a fault of ours, never of a user). Ensures nothing about speed. It is
//! the yardstick for gradients (finite differences), for fused kernels, and through [`graph`] and [`update`] for whole training steps.

mod attention;
pub mod graph;
mod index;
mod map;
#[cfg(test)]
mod numbers;
#[cfg(test)]
mod operations;
pub mod random;
mod reduce;
mod shape;
pub mod tensor;
#[cfg(test)]
mod tests;
pub mod update;

pub use map::apply as map_element;
pub use tensor::Tensor;

use super::ir::{Program, Role};
use crate::op::{Body, Dim, Dims, Element, Inst, Op, Type, Value};
use cranelift_entity::SecondaryMap;

/// How real results are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    #[default]
    F64,
    /// To the nearest f32, once per result: sums inside one instruction are made in f64.
    F32,
}

impl Mode {
    /// `value` as the mode has it.
    pub fn round(self, value: f64) -> f64 {
        match self {
            Mode::F64 => value,
            Mode::F32 => f64::from(value as f32),
        }
    }
}

/// Where in a run a body stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// How results are rounded.
    pub mode: Mode,
    /// The run's seed.
    pub seed: u64,
    /// The step, counted from 1.
    pub step: u64,
    /// Number of the `repeat` iteration, else 0.
    pub iteration: u64,
    /// Which microbatch of the step.
    pub microbatch: u64,
    /// How many there are.
    pub microbatches: u64,
    /// The batch dim, along which positions are global.
    pub batch: Option<Dim>,
    /// Scalars of the step by name.
    pub scalars: Vec<(String, f64)>,
}

/// Runs `body` and gives the wanted values. Inputs may be laid out in any order of their dims.
pub fn run(body: &Body, dims: &Dims, inputs: &[(Value, Tensor)], context: &Context, wanted: &[Value]) -> Vec<Tensor> {
    let mut values: SecondaryMap<Value, Option<Tensor>> = SecondaryMap::new();
    for (value, tensor) in inputs {
        values[*value] = Some(rounded(tensor.arranged(&body.ty(*value).dims, dims), context.mode));
    }
    for inst in &body.insts {
        let args: Vec<&Tensor> = inst.args.iter().map(|arg| known(&values, *arg)).collect();
        let types: Vec<&Type> = inst.results.iter().map(|result| body.ty(*result)).collect();
        let results = apply(inst, &args, &types, dims, context);
        for (result, tensor) in inst.results.iter().zip(results) {
            values[*result] = Some(rounded(tensor, context.mode));
        }
    }
    wanted.iter().map(|value| known(&values, *value).clone()).collect()
}

/// Runs a program on inputs by role and gives its outputs by role, in the program's order. Inputs that the program lacks are passed over.
pub fn run_program(program: &Program, dims: &Dims, inputs: &[(Role, Tensor)], context: &Context) -> Vec<(Role, Tensor)> {
    let find = |role: Role| inputs.iter().find(|(given, _)| *given == role).map(|(_, tensor)| tensor.clone());
    let bound: Vec<(Value, Tensor)> = program
        .inputs
        .iter()
        .map(|(role, value)| (*value, find(*role).unwrap_or_else(|| panic!("the program's input {role:?} is given"))))
        .collect();
    let wanted: Vec<Value> = program.outputs.iter().map(|(_, value)| *value).collect();
    let results = run(&program.body, dims, &bound, context, &wanted);
    program.outputs.iter().map(|(role, _)| *role).zip(results).collect()
}

fn known(values: &SecondaryMap<Value, Option<Tensor>>, value: Value) -> &Tensor {
    values[value].as_ref().unwrap_or_else(|| panic!("{value} is computed before it is used"))
}

fn rounded(mut tensor: Tensor, mode: Mode) -> Tensor {
    if tensor.element == Element::Real && mode == Mode::F32 {
        tensor.data.iter_mut().for_each(|value| *value = mode.round(*value));
    }
    tensor
}

fn apply(inst: &Inst, args: &[&Tensor], types: &[&Type], dims: &Dims, context: &Context) -> Vec<Tensor> {
    let ty = types[0];
    let one = match &inst.op {
        Op::Const(value) => Tensor::filled(ty, dims, *value),
        Op::Integer(value) => Tensor::filled(ty, dims, *value as f64),
        Op::Scalar(name) => Tensor::filled(ty, dims, context.scalar(name)),
        Op::Map(op) => map::run(*op, args, ty, dims),
        Op::Reduce(op, over) => reduce::reduce(*op, over, args[0], ty, dims),
        Op::Contract(over) => reduce::contract(over, args[0], args[1], ty, dims),
        Op::Index(op) => index::run(op, args, ty, dims, context),
        Op::Shape(op) => shape::run(op, args, ty, dims),
        Op::Random(op) => random::run(op, ty, dims, context),
        Op::Attention(attention) => return attention::run(attention, args, types, dims),
        Op::AttentionGrad(attention) => return attention::gradient(attention, args, types, dims),
        Op::Collective(_) => panic!("internal error: only a mesh's local programs, made after differentiation, exchange anything"),
        Op::Anchor | Op::Stop => args[0].arranged(&ty.dims, dims),
    };
    // A conversion between integers (`Int`, positions used as indices) takes the result's element type.
    vec![Tensor { element: ty.element, ..one }]
}

impl Default for Context {
    /// The first step, in one microbatch, without rounding, seed 0.
    fn default() -> Self {
        Context { mode: Mode::F64, seed: 0, step: 1, iteration: 0, microbatch: 0, microbatches: 1, batch: None, scalars: Vec::new() }
    }
}

impl Context {
    fn scalar(&self, name: &str) -> f64 {
        let found = self.scalars.iter().find(|(own, _)| own == name);
        found.unwrap_or_else(|| panic!("the scalar {name} is known")).1
    }
}
