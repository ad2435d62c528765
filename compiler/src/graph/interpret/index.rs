//! Positions, lookups and their transposes.
//!
//! Requires indices in range (panics otherwise). Ensures results in the layout of their type.

use super::Context;
use super::reduce::cumsum;
use super::tensor::{Nest, Tensor, union};
use crate::op::{Dim, Dims, Index, Type};

/// Computes one operator of the family.
pub fn run(op: &Index, args: &[&Tensor], ty: &Type, dims: &Dims, context: &Context) -> Tensor {
    match op {
        Index::Position(dim) => position(*dim, ty, dims, context),
        Index::Gather { over } => gather(*over, args[0], args[1], ty, dims),
        Index::Scatter { into } => scatter(*into, args[0], args[1], ty, dims),
        Index::Cumsum(over) => cumsum(*over, false, args[0], ty, dims),
        Index::Coordinate(_) => {
            panic!("internal error: only a mesh's local programs, made after differentiation, know where a rank stands")
        }
        Index::CumsumReverse(over) => cumsum(*over, true, args[0], ty, dims),
    }
}

fn position(dim: Dim, ty: &Type, dims: &Dims, context: &Context) -> Tensor {
    let size = dims[dim].size;
    let first = if context.batch == Some(dim) { context.microbatch * size } else { 0 };
    Tensor::new(ty, dims, (first..first + size).map(|i| i as f64).collect())
}

fn gather(over: Dim, table: &Tensor, index: &Tensor, ty: &Type, dims: &Dims) -> Tensor {
    let (size, stride) = (dims[over].size as usize, table.stride(over, dims));
    let strides = [strides_without(over, table, &ty.dims, dims), ty.dims.iter().map(|dim| index.stride(*dim, dims)).collect()];
    let mut data = Vec::new();
    Nest::new(ty.dims.clone(), dims).run_strided(&strides, |at| data.push(table.data[at[0] + checked(index.data[at[1]], size) * stride]));
    Tensor::new(ty, dims, data)
}

fn scatter(into: Dim, index: &Tensor, value: &Tensor, ty: &Type, dims: &Dims) -> Tensor {
    let mut out = Tensor::filled(ty, dims, 0.0);
    let (size, stride) = (dims[into].size as usize, out.stride(into, dims));
    let kept: Vec<Dim> = ty.dims.iter().copied().filter(|dim| *dim != into).collect();
    let all = union(&[&kept, &index.dims, &value.dims]);
    let of = |tensor: &Tensor| all.iter().map(|dim| tensor.stride(*dim, dims)).collect::<Vec<_>>();
    let strides = [of(index), of(value), strides_without(into, &out, &all, dims)];
    Nest::new(all, dims).run_strided(&strides, |at| {
        out.data[at[2] + checked(index.data[at[0]], size) * stride] += value.data[at[1]];
    });
    out
}

/// Strides of `tensor` along `over`, but 0 along `except`, which an index moves it along.
fn strides_without(except: Dim, tensor: &Tensor, over: &[Dim], dims: &Dims) -> Vec<usize> {
    over.iter().map(|dim| if *dim == except { 0 } else { tensor.stride(*dim, dims) }).collect()
}

fn checked(index: f64, size: usize) -> usize {
    assert!(index >= 0.0 && index < size as f64, "index {index} is not in 0..{size}");
    index as usize
}
