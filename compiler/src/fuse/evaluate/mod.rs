//! Tests only: runs fused programs naively in f64, so that they can be compared with the primitives that they came from.
//!
//! Requires a verified [`Fused`]. Ensures the meaning that `meshwright_plan::kernel` states, without any of its rounding. Reads of memory that
//! nobody wrote give NaN.

mod fixed;
mod rows;

use super::ir::Fused;
use crate::graph::interpret::Context;
use crate::graph::ir::Role;
use meshwright_plan::kernel::{KernelData, Skeleton, Slot};
use meshwright_plan::program::Accumulate;

/// Runs a fused program: what stands in the buffers of roles, before and after. Buffers of roles that are not given start as NaN.
/// `by_call`: whether `Accumulate::ByCall` adds.
pub fn evaluate(fused: &Fused, given: &[(Role, Vec<f64>)], context: &Context, by_call: bool) -> Vec<(Role, Vec<f64>)> {
    let mut memory: Vec<Vec<f64>> = (fused.buffers.values())
        .map(|buffer| {
            let found = given.iter().find(|(role, _)| buffer.role == Some(*role));
            found.map_or(vec![f64::NAN; buffer.bytes as usize], |(_, data)| data.clone())
        })
        .collect();
    for launch in &fused.launches {
        let adds = match launch.accumulate {
            Accumulate::Write => false,
            Accumulate::Add => true,
            Accumulate::ByCall => by_call,
        };
        let places = launch.kernel.operands.values().zip(&launch.places);
        let places = places.map(|(operand, (buffer, at))| (buffer.as_u32() as usize, (at / operand.element.bytes()) as usize)).collect();
        let mut machine = Machine { kernel: &launch.kernel, memory: &mut memory, places, adds, context };
        match &launch.kernel.skeleton {
            Skeleton::Rows(body) => rows::run(&mut machine, body),
            Skeleton::Contract { alpha } => fixed::contract(&mut machine, f64::from(*alpha)),
            Skeleton::Attention(attention) => fixed::attention(&mut machine, attention),
            Skeleton::AttentionGrad(attention) => fixed::attention_grad(&mut machine, attention),
            Skeleton::Segmented => fixed::segmented(&mut machine),
            Skeleton::Collective(_) => unreachable!("kernels are evaluated on one rank"),
        }
    }
    let roles = fused.buffers.iter().filter_map(|(buffer, data)| Some((data.role?, memory[buffer.as_u32() as usize].clone())));
    roles.collect()
}

/// A kernel at work.
struct Machine<'a> {
    kernel: &'a KernelData,
    memory: &'a mut Vec<Vec<f64>>,
    places: Vec<(usize, usize)>,
    adds: bool,
    context: &'a Context,
}

impl Machine<'_> {
    /// The element of an operand at a point.
    fn at(&self, slot: Slot, point: &[u64]) -> i64 {
        self.kernel.operands[slot].strides.iter().zip(point).map(|(stride, index)| stride * *index as i64).sum()
    }

    fn load(&self, slot: Slot, element: i64) -> f64 {
        assert!(element >= 0 && (element as u64) < self.kernel.operands[slot].extent, "{slot} is read outside of its extent");
        let (buffer, start) = self.places[slot.as_u32() as usize];
        self.memory[buffer][start + element as usize]
    }

    fn store(&mut self, slot: Slot, element: i64, value: f64, adds: bool) {
        assert!(element >= 0 && (element as u64) < self.kernel.operands[slot].extent, "{slot} is written outside of its extent");
        let (buffer, start) = self.places[slot.as_u32() as usize];
        let cell = &mut self.memory[buffer][start + element as usize];
        *cell = if adds { *cell + value } else { value };
    }

    /// All points of the dims for which `wanted` holds; the others stay 0.
    fn points(&self, wanted: impl Fn(usize) -> bool) -> Vec<Vec<u64>> {
        let mut points = vec![vec![0; self.kernel.dims.len()]];
        for (at, dim) in self.kernel.dims.values().enumerate().filter(|(at, _)| wanted(*at)) {
            let more = points.iter().flat_map(|point| {
                (0..dim.size).map(move |index| {
                    let mut point = point.clone();
                    point[at] = index;
                    point
                })
            });
            points = more.collect();
        }
        points
    }
}
