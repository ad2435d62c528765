//! Lowering: `Attention` and `AttentionGrad` → `attention` kernels.
//!
//! Requires that keys and values have all batch dims (dims that queries share with only one of them are not grouped). Ensures operands in
//! the order of the plan's skeletons. Dims of queries that keys and values lack are groups of heads; a value's dim that is also the feature
//! dim is a dim of its own to the kernel.

use super::contract::{Operands, extents};
use super::facts::Facts;
use super::ir::FusedLaunch;
use super::storage::Storage;
use crate::op::{self, Dim, Op, Value};
use meshwright_plan::Element;
use meshwright_plan::kernel::{Access, Attention, Role, Skeleton};
use meshwright_plan::program::Accumulate;

/// The kernel of an attention, or of its gradient.
pub fn lower(facts: &Facts<'_>, index: usize, storage: &mut Storage) -> FusedLaunch {
    let inst = facts.inst(index);
    match &inst.op {
        Op::AttentionGrad(attention) => launch(facts, index, attention, [&inst.args, &inst.results], storage, true),
        Op::Attention(attention) => {
            let all: Vec<Value> = inst.args.iter().chain(&inst.results).copied().collect();
            launch(facts, index, attention, [&all, &[]], storage, false)
        }
        Op::Const(_)
        | Op::Integer(_)
        | Op::Scalar(_)
        | Op::Map(_)
        | Op::Reduce(..)
        | Op::Contract(_)
        | Op::Index(_)
        | Op::Shape(_)
        | Op::Random(_)
        | Op::Anchor
        | Op::Collective(_)
        | Op::Stop => unreachable!("only attention is lowered here"),
    }
}

/// `first`: q, k, v, out, lse, and for the gradient the cotangent of out; `last`: the gradient's results.
fn launch(
    facts: &Facts<'_>,
    index: usize,
    attention: &op::Attention,
    [first, last]: [&[Value]; 2],
    storage: &mut Storage,
    grad: bool,
) -> FusedLaunch {
    let dims = classify(facts, attention, first);
    let rows: u64 = dims.iter().filter(|(_, role)| is_row(*role)).map(|(dim, _)| facts.dims[*dim].size).product();
    let scratch = grad.then(|| storage.scratch("dots", rows));
    let mut operands = Operands::new(facts, storage, dims);
    for (name, value) in ["q", "k", "v"].iter().zip(first) {
        operands.read(name, *value, has(name));
    }
    for (name, value) in ["out", "lse", "dout"].iter().zip(&first[3..]) {
        if grad {
            operands.read(name, *value, has(name));
        } else {
            operands.write(name, *value, Access::Write, has(name));
        }
    }
    for (name, value) in ["dq", "dk", "dv"].iter().zip(last) {
        operands.write(name, *value, Access::Write, has(&name[1..]));
    }
    if let Some(scratch) = scratch {
        let strides = row_strides(facts, &operands.dims);
        operands.push("scratch", (scratch, 0), Element::F32, Access::Scratch, strides);
    }
    let (query, key) = (attention.first_query.clone(), attention.first_key.clone());
    let (causal, window, balanced) = (attention.causal, attention.window, attention.balanced);
    let shape = Attention { query, key, scale: attention.scale as f32, causal, window, balanced };
    let (name, skeleton) =
        if grad { ("attention_grad", Skeleton::AttentionGrad(shape)) } else { ("attention", Skeleton::Attention(shape)) };
    let (mut kernel, places) = operands.kernel(name.to_string(), skeleton);
    extents(&mut kernel);
    FusedLaunch { kernel, places, accumulate: Accumulate::Write, origins: facts.origins(&[index]) }
}

fn is_row(role: Role) -> bool {
    matches!(role, Role::Batch | Role::M | Role::Query)
}

/// Which dims, by role, an operand moves along.
fn has(name: &str) -> fn(Dim, Role) -> bool {
    match name {
        "q" => |_, role| is_row(role) || role == Role::Feature,
        "k" => |_, role| matches!(role, Role::Batch | Role::Key | Role::Feature),
        "v" => |_, role| matches!(role, Role::Batch | Role::Key | Role::Value),
        "lse" => |_, role| is_row(role),
        _ => |_, role| is_row(role) || role == Role::Value,
    }
}

/// Strides of one number per query and head.
fn row_strides(facts: &Facts<'_>, dims: &[(Dim, Role)]) -> Vec<i64> {
    let mut stride = 1;
    let mut strides: Vec<i64> = dims
        .iter()
        .rev()
        .map(|(dim, role)| {
            let here = if is_row(*role) { stride } else { 0 };
            stride *= if is_row(*role) { facts.dims[*dim].size as i64 } else { 1 };
            here
        })
        .collect();
    strides.reverse();
    strides
}

/// Roles of all dims. Batch dims in the order of the queries' memory, then groups, queries, keys, features and values.
fn classify(facts: &Facts<'_>, attention: &op::Attention, args: &[Value]) -> Vec<(Dim, Role)> {
    let ty = |at: usize| facts.program.body.ty(args[at]);
    let (q, k, v) = (ty(0), ty(1), ty(2));
    let own = |dim: &Dim| *dim != attention.query && *dim != attention.feature;
    let shared = |dim: &Dim| k.has(*dim) || v.has(*dim);
    let around = || q.dims.iter().copied().filter(own);
    let mut dims: Vec<(Dim, Role)> = around().filter(shared).map(|dim| (dim, Role::Batch)).collect();
    dims.extend(around().filter(|dim| !shared(dim)).map(|dim| (dim, Role::M)));
    dims.extend([(attention.query, Role::Query), (attention.key, Role::Key), (attention.feature, Role::Feature)]);
    let through = v.dims.iter().copied().filter(|dim| *dim != attention.key && (!q.has(*dim) || *dim == attention.feature));
    dims.extend(through.map(|dim| (dim, Role::Value)));
    dims
}
