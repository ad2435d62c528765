//! Softmax attention and its gradient, written out with whole rows of scores.
//!
//! Requires the dims that `op::Attention` states. Ensures that a query which sees no key gives zeros, with a log-sum of minus infinity.

use super::tensor::{Nest, Tensor};
use crate::op::{Attention, Dim, Dims, Type};

/// Everything that both directions index by.
struct Frame<'a> {
    attention: &'a Attention,
    dims: &'a Dims,
    /// Dims of the log-sums: one row of scores at each point.
    rows: Vec<Dim>,
    /// Dims of values that pass through.
    through: Vec<Dim>,
    keys: usize,
    features: usize,
}

impl<'a> Frame<'a> {
    fn new(attention: &'a Attention, q: &Tensor, v: &Tensor, dims: &'a Dims) -> Self {
        let rows: Vec<Dim> = q.dims.iter().copied().filter(|dim| *dim != attention.feature).collect();
        let through = v.dims.iter().copied().filter(|dim| *dim != attention.key && !rows.contains(dim)).collect();
        let size = |dim: Dim| dims[dim].size as usize;
        Frame { attention, dims, rows, through, keys: size(attention.key), features: size(attention.feature) }
    }

    /// Visits every row with the query's position and the offsets of the row's first element in each tensor. The tensors' dims `key`,
    /// `feature` and those of values are not moved along, for rows lack them.
    fn each_row(&self, tensors: &[&Tensor], mut visit: impl FnMut(usize, &[usize])) {
        let mut strides: Vec<Vec<usize>> =
            tensors.iter().map(|tensor| self.rows.iter().map(|dim| tensor.stride(*dim, self.dims)).collect()).collect();
        strides.push(self.rows.iter().map(|dim| usize::from(*dim == self.attention.query)).collect());
        Nest::new(self.rows.clone(), self.dims).run_strided(&strides, |at| visit(at[tensors.len()], &at[..tensors.len()]));
    }

    /// Offsets of a value-shaped tensor's elements at one key or query.
    fn through_offsets(&self, tensor: &Tensor) -> Vec<usize> {
        let mut offsets = Vec::new();
        let strides = self.through.iter().map(|dim| tensor.stride(*dim, self.dims)).collect();
        Nest::new(self.through.clone(), self.dims).run_strided(&[strides], |at| offsets.push(at[0]));
        offsets
    }

    fn visible(&self, query: usize, key: usize) -> bool {
        let inside = self.attention.window.is_none_or(|window| (query as i64 - key as i64) < window as i64);
        inside && (!self.attention.causal || key <= query)
    }

    /// The scaled score of a query row at `q_at` with key `key`; none where it is not visible.
    fn score(&self, query: usize, key: usize, q: (&Tensor, usize), k: (&Tensor, usize)) -> Option<f64> {
        let (q_step, k_step) = (q.0.stride(self.attention.feature, self.dims), k.0.stride(self.attention.feature, self.dims));
        let k_at = k.1 + key * k.0.stride(self.attention.key, self.dims);
        let product = |i: usize| q.0.data[q.1 + i * q_step] * k.0.data[k_at + i * k_step];
        self.visible(query, key).then(|| self.attention.scale * (0..self.features).map(product).sum::<f64>())
    }
}

/// Arguments q, k, v; results out and lse.
pub fn run(attention: &Attention, args: &[&Tensor], types: &[&Type], dims: &Dims) -> Vec<Tensor> {
    let &[q, k, v] = args else { panic!("attention takes three arguments") };
    let frame = Frame::new(attention, q, v, dims);
    let (mut out, mut lse) = (Tensor::filled(types[0], dims, 0.0), Tensor::filled(types[1], dims, 0.0));
    let (from, to) = (frame.through_offsets(v), frame.through_offsets(&out));
    let key_step = v.stride(attention.key, dims);
    frame.each_row(&[q, k, v, &out.clone(), &lse.clone()], |query, at| {
        let scores: Vec<Option<f64>> = (0..frame.keys).map(|key| frame.score(query, key, (q, at[0]), (k, at[1]))).collect();
        let most = scores.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().flatten().map(|score| (score - most).exp()).sum();
        lse.data[at[4]] = most + total.ln();
        for (key, score) in scores.iter().enumerate() {
            let Some(score) = score else { continue };
            let share = (score - most).exp() / total;
            for (from, to) in from.iter().zip(&to) {
                out.data[at[3] + to] += share * v.data[at[2] + key * key_step + from];
            }
        }
    });
    vec![out, lse]
}

/// Arguments q, k, v, out, lse, cotangent of out; results are the cotangents of q, k, v.
pub fn gradient(attention: &Attention, args: &[&Tensor], types: &[&Type], dims: &Dims) -> Vec<Tensor> {
    let &[q, k, v, out, lse, dout] = args else { panic!("the gradient of attention takes six arguments") };
    let frame = Frame::new(attention, q, v, dims);
    let mut grads: Vec<Tensor> = types.iter().map(|ty| Tensor::filled(ty, dims, 0.0)).collect();
    let like: Vec<Tensor> = grads.clone();
    let offsets = [v, out, dout, &like[2]].map(|tensor| frame.through_offsets(tensor));
    let steps = Steps::new(&frame, [q, k, v], [&like[0], &like[1], &like[2]]);
    frame.each_row(&[q, k, v, out, lse, dout, &like[0], &like[1], &like[2]], |query, at| {
        let through = 0..offsets[0].len();
        let dot: f64 = through.clone().map(|i| out.data[at[3] + offsets[1][i]] * dout.data[at[5] + offsets[2][i]]).sum();
        for key in 0..frame.keys {
            let Some(score) = frame.score(query, key, (q, at[0]), (k, at[1])) else { continue };
            let share = (score - lse.data[at[4]]).exp();
            let mut dshare = 0.0;
            for i in through.clone() {
                let cotangent = dout.data[at[5] + offsets[2][i]];
                dshare += cotangent * v.data[at[2] + key * steps.key[2] + offsets[0][i]];
                grads[2].data[at[8] + key * steps.grad_key[2] + offsets[3][i]] += share * cotangent;
            }
            let dscore = attention.scale * share * (dshare - dot);
            for i in 0..frame.features {
                let (q_at, k_at) = (at[0] + i * steps.feature[0], at[1] + key * steps.key[1] + i * steps.feature[1]);
                grads[0].data[at[6] + i * steps.grad_feature[0]] += dscore * k.data[k_at];
                grads[1].data[at[7] + key * steps.grad_key[1] + i * steps.grad_feature[1]] += dscore * q.data[q_at];
            }
        }
    });
    grads
}

/// Strides of q, k, v and of their gradients along the key and feature dims.
struct Steps {
    key: [usize; 3],
    feature: [usize; 3],
    grad_key: [usize; 3],
    grad_feature: [usize; 3],
}

impl Steps {
    fn new(frame: &Frame, values: [&Tensor; 3], grads: [&Tensor; 3]) -> Self {
        let along = |tensors: [&Tensor; 3], dim: Dim| tensors.map(|tensor| tensor.stride(dim, frame.dims));
        let (key, feature) = (frame.attention.key, frame.attention.feature);
        Steps { key: along(values, key), feature: along(values, feature), grad_key: along(grads, key), grad_feature: along(grads, feature) }
    }
}
