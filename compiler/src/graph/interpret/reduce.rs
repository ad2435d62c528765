//! Reductions, sums of products, and running sums. Sums are made in f64 and rounded once, at the end.
//!
//! Requires types as `op::kind` states them. Ensures results in the layout of their type.

use super::tensor::{Nest, Tensor, union};
use crate::op::{Dim, Dims, Reduce, Type};

/// Reduces `arg` over `over`.
pub fn reduce(op: Reduce, over: &[Dim], arg: &Tensor, ty: &Type, dims: &Dims) -> Tensor {
    let start = match op {
        Reduce::Sum | Reduce::Argmax => 0.0,
        Reduce::Max => f64::NEG_INFINITY,
        Reduce::Min => f64::INFINITY,
    };
    if op == Reduce::Argmax {
        return argmax(over[0], arg, ty, dims);
    }
    let mut out = Tensor::filled(ty, dims, start);
    let all = union(&[&ty.dims, over]);
    Nest::new(all, dims).run(&[arg, &out.clone()], |at| {
        let (value, sum) = (arg.data[at[0]], &mut out.data[at[1]]);
        *sum = match op {
            Reduce::Sum | Reduce::Argmax => *sum + value,
            Reduce::Max if value > *sum || value.is_nan() => value,
            Reduce::Min if value < *sum || value.is_nan() => value,
            Reduce::Max | Reduce::Min => *sum,
        };
    });
    out
}

/// The position of the first maximum along one dim.
fn argmax(over: Dim, arg: &Tensor, ty: &Type, dims: &Dims) -> Tensor {
    let (size, stride) = (dims[over].size as usize, arg.stride(over, dims));
    let mut data = Vec::new();
    Nest::new(ty.dims.clone(), dims).run(&[arg], |at| {
        let value = |i: usize| arg.data[at[0] + i * stride];
        let best = (1..size).fold(0, |best, i| if value(i) > value(best) { i } else { best });
        data.push(best as f64);
    });
    Tensor::new(ty, dims, data)
}

/// Sum of products over `over`.
pub fn contract(over: &[Dim], a: &Tensor, b: &Tensor, ty: &Type, dims: &Dims) -> Tensor {
    // The offsets of one sum's terms are listed once: this is where whole models spend their time.
    let mut terms = Vec::new();
    Nest::new(over.to_vec(), dims).run(&[a, b], |at| terms.push((at[0], at[1])));
    let mut data = Vec::new();
    Nest::new(ty.dims.clone(), dims).run(&[a, b], |at| {
        let (mut sum, mut term) = (0.0, 0);
        while term < terms.len() {
            sum += a.data[at[0] + terms[term].0] * b.data[at[1] + terms[term].1];
            term += 1;
        }
        data.push(sum);
    });
    Tensor::new(ty, dims, data)
}

/// Running sum along `over`, from the end if `reverse`.
pub fn cumsum(over: Dim, reverse: bool, arg: &Tensor, ty: &Type, dims: &Dims) -> Tensor {
    let mut out = arg.arranged(&ty.dims, dims);
    let (size, stride) = (dims[over].size as usize, out.stride(over, dims));
    let rows: Vec<Dim> = ty.dims.iter().copied().filter(|dim| *dim != over).collect();
    Nest::new(rows, dims).run(&[&out.clone()], |at| {
        let mut sum = 0.0;
        for i in 0..size {
            let place = at[0] + if reverse { size - 1 - i } else { i } * stride;
            sum += out.data[place];
            out.data[place] = sum;
        }
    });
    out
}
