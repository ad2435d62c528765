//! Fused programs against the primitives that they came from: every case runs in the reference interpreter and, fused, in the naive evaluator.
//!
//! Requires nothing. Ensures that the verifiers of this stage and of the plan accept what was fused.

mod build;
mod elementwise;
mod fixed;
mod models;
mod random;
mod specs;

use super::evaluate::evaluate;
use super::ir::{Buffer, Fused};
use super::legalise::accumulates;
use super::rows::Step;
use super::{fuse, print, verify};
use crate::graph::interpret::{Context, Tensor, run_program};
use crate::graph::ir::{Program, Role};
use crate::op::{Dims, Element, Op, Type};
use build::Build;
use meshwright_plan::kernel::Access;
use meshwright_plan::program::{Launch, Param, Place};
use meshwright_plan::verify::Rule;
use meshwright_plan::{Plan, ProgramData};

/// Fuses, verifies, runs both ways in the second of two microbatches, compares, and gives the fused program.
fn check(build: &Build) -> Fused {
    let (program, dims) = (&build.program, &build.dims);
    let batch = build.batch;
    let fused = fuse(program, dims, Step { batch, microbatches: 2, parts: 1, target: crate::Target::Cpu });
    assert_eq!(verify::verify(&fused, program, dims), Vec::<String>::new(), "{}", print::print(&fused));
    verify_plan(&fused, program);
    let scalars: Vec<(String, f64)> = scalars(program).into_iter().enumerate().map(|(at, name)| (name, 0.1 * (at + 1) as f64)).collect();
    let context =
        Context { seed: 7, step: 3, iteration: 1, microbatch: 1, microbatches: 2, batch: Some(batch), scalars, ..Context::default() };
    let mut numbers = Numbers(1);
    let inputs: Vec<(Role, Tensor)> =
        program.inputs.iter().map(|(role, value)| (*role, numbers.tensor(program.body.ty(*value), dims, *role))).collect();
    let expected = run_program(program, dims, &inputs, &context);
    for by_call in [false, true] {
        let mut given: Vec<(Role, Vec<f64>)> = inputs.iter().map(|(role, tensor)| (*role, tensor.data.clone())).collect();
        let before = if by_call { 1.0 } else { 0.0 };
        for (role, tensor) in expected.iter().filter(|(role, tensor)| accumulates(*role, tensor.element)) {
            given.push((*role, vec![if by_call { 1.0 } else { f64::NAN }; tensor.data.len()]));
        }
        let got = evaluate(&fused, &given, &context, by_call);
        compare(&expected, &got, before, &fused);
    }
    fused
}

fn compare(expected: &[(Role, Tensor)], got: &[(Role, Vec<f64>)], before: f64, fused: &Fused) {
    for (number, (role, tensor)) in expected.iter().enumerate() {
        let same_role: Vec<&Tensor> = expected.iter().filter(|(other, _)| other == role).map(|(_, tensor)| tensor).collect();
        if expected[..number].iter().any(|(other, _)| other == role) {
            continue;
        }
        let (_, data) = got.iter().find(|(other, _)| other == role).unwrap_or_else(|| panic!("{role:?} has a buffer"));
        let before = if accumulates(*role, tensor.element) { before } else { 0.0 };
        for (at, got) in data.iter().take(tensor.data.len()).enumerate() {
            let wanted: f64 = before + same_role.iter().map(|tensor| tensor.data[at]).sum::<f64>();
            let close = (wanted - got).abs() <= 1e-6 * (1.0 + wanted.abs());
            assert!(close, "{role:?}[{at}] is {got} instead of {wanted}\n{}", print::print(fused));
        }
    }
}

/// The plan's verifier on a plan that has the fused program alone.
fn verify_plan(fused: &Fused, program: &Program) {
    let mut plan = Plan { name: "test".to_string(), microbatches: 1, ..Plan::default() };
    for name in scalars(program) {
        let value = meshwright_plan::scalar::Expr::Const(1.0);
        plan.scalars.push(meshwright_plan::scalar::Definition { name, value });
    }
    let written = |buffer: Buffer| {
        fused.launches.iter().any(|launch| {
            let operands = launch.kernel.operands.values().zip(&launch.places);
            operands.into_iter().any(|(operand, place)| operand.access != Access::Read && place.0 == buffer)
        })
    };
    let param =
        |(buffer, data): (Buffer, &super::ir::BufferData)| Param { name: buffer.to_string(), bytes: data.bytes, written: written(buffer) };
    let params = fused.buffers.iter().map(param).collect();
    let launches = fused.launches.iter().map(|launch| {
        let places = launch.places.iter().map(|(buffer, offset)| Place { param: buffer.as_u32(), offset: *offset }).collect();
        Launch { kernel: plan.kernels.push(launch.kernel.clone()), places, accumulate: launch.accumulate, last: 0 }
    });
    let launches = launches.collect();
    plan.programs.push(ProgramData { name: "test".to_string(), params, launches });
    let found = meshwright_plan::verify::verify(&plan).err().unwrap_or_default();
    let found: Vec<String> = found.iter().filter(|found| found.rule != Rule::NoEntry).map(ToString::to_string).collect();
    assert_eq!(found, Vec::<String>::new(), "{}", print::print(fused));
}

/// The scalars of the step that a program reads.
fn scalars(program: &Program) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for inst in &program.body.insts {
        if let Op::Scalar(name) = &inst.op
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    }
    names
}

/// A small generator of inputs.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn tensor(&mut self, ty: &Type, dims: &Dims, role: Role) -> Tensor {
        // sums of squares are not negative
        let low = if matches!(role, Role::SquareSum | Role::Moment(_)) { 0.0 } else { -1.0 };
        let data = (0..ty.elements(dims)).map(|_| match ty.element {
            Element::Real | Element::Half => low + self.next(2001) as f64 / 1000.0,
            Element::Bool => self.next(2) as f64,
            Element::Index(dim) => self.next(dims[dim].size) as f64,
            Element::Integer => self.next(7) as f64 - 3.0,
        });
        let data = data.collect();
        Tensor::new(ty, dims, data)
    }
}

/// Kernel names, in order.
fn names(fused: &Fused) -> String {
    print::summary(fused).join(" ")
}
