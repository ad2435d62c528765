//! Same elements under other dims or at other places.
//!
//! Requires sizes that fit together, as `op::kind` states. Ensures results in the layout of their type.

use super::tensor::{Nest, Tensor};
use crate::op::{Dim, Dims, Shape, Type};

/// Computes one operator of the family.
pub fn run(op: &Shape, args: &[&Tensor], ty: &Type, dims: &Dims) -> Tensor {
    let arg = args[0];
    match op {
        Shape::Rename { from, to } => arg.clone().viewed(replaced(&arg.dims, *from, &[*to])).arranged(&ty.dims, dims),
        Shape::Split { from, into } => arg.clone().viewed(replaced(&arg.dims, *from, into)).arranged(&ty.dims, dims),
        Shape::Merge { from, into } => merge(from, *into, arg, ty, dims),
        Shape::Slice { from, start, into } => pick(*from, *start, &[*into], arg, ty, dims),
        Shape::Take { from, at } => pick(*from, *at, &[], arg, ty, dims),
        Shape::Pad { from, start, into } => {
            let mut out = Tensor::filled(ty, dims, 0.0);
            place(*from, *into, *start, arg, &mut out, dims);
            out
        }
        Shape::Concat { from, into } => concat(from, *into, args, ty, dims),
        Shape::Shift { dim, by } => shift(*dim, arg, ty, dims, |i, size| Some(i - by).filter(|from| (0..size).contains(from))),
        Shape::Roll { dim, by } => shift(*dim, arg, ty, dims, |i, size| Some((i + *by as i64) % size)),
        Shape::Expand => arg.arranged(&ty.dims, dims),
    }
}

fn replaced(dims: &[Dim], from: Dim, into: &[Dim]) -> Vec<Dim> {
    dims.iter().flat_map(|dim| if *dim == from { into.to_vec() } else { vec![*dim] }).collect()
}

fn merge(from: &[Dim], into: Dim, arg: &Tensor, ty: &Type, dims: &Dims) -> Tensor {
    let others: Vec<Dim> = arg.dims.iter().copied().filter(|dim| !from.contains(dim)).collect();
    let together = arg.arranged(&[&others, from].concat(), dims);
    together.viewed([&others[..], &[into]].concat()).arranged(&ty.dims, dims)
}

/// Elements from `start` on along `from`, which the result calls `into` (or lacks).
fn pick(from: Dim, start: u64, into: &[Dim], arg: &Tensor, ty: &Type, dims: &Dims) -> Tensor {
    let along = arg.stride(from, dims);
    let strides = ty.dims.iter().map(|dim| if into.contains(dim) { along } else { arg.stride(*dim, dims) }).collect();
    let mut data = Vec::new();
    Nest::new(ty.dims.clone(), dims).run_strided(&[strides], |at| data.push(arg.data[start as usize * along + at[0]]));
    Tensor::new(ty, dims, data)
}

/// Writes `arg` into `out`, from `start` on along `into`, which `arg` calls `from`.
fn place(from: Dim, into: Dim, start: u64, arg: &Tensor, out: &mut Tensor, dims: &Dims) {
    let along = out.stride(into, dims);
    let of_arg = arg.dims.iter().map(|dim| arg.stride(*dim, dims)).collect();
    let of_out = arg.dims.iter().map(|dim| if *dim == from { along } else { out.stride(*dim, dims) }).collect();
    Nest::new(arg.dims.clone(), dims).run_strided(&[of_arg, of_out], |at| out.data[start as usize * along + at[1]] = arg.data[at[0]]);
}

fn concat(from: &[Dim], into: Dim, args: &[&Tensor], ty: &Type, dims: &Dims) -> Tensor {
    let mut out = Tensor::filled(ty, dims, 0.0);
    let mut start = 0;
    for (dim, arg) in from.iter().zip(args) {
        let whole: Vec<Dim> = ty.dims.iter().map(|own| if *own == into { *dim } else { *own }).collect();
        place(*dim, into, start, &arg.arranged(&whole, dims), &mut out, dims);
        start += dims[*dim].size;
    }
    out
}

/// `result[i] = arg[source(i, size)]` along `dim`, 0 where there is no source.
fn shift(dim: Dim, arg: &Tensor, ty: &Type, dims: &Dims, source: impl Fn(i64, i64) -> Option<i64>) -> Tensor {
    let arg = arg.arranged(&ty.dims, dims);
    let (size, stride) = (dims[dim].size as usize, arg.stride(dim, dims));
    let value = |(place, _): (usize, &f64)| {
        let i = place / stride % size;
        source(i as i64, size as i64).map_or(0.0, |from| arg.data[place - i * stride + from as usize * stride])
    };
    let data = arg.data.iter().enumerate().map(value).collect();
    Tensor::new(ty, dims, data)
}
