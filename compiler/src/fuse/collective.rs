//! Lowering: `Collective` → a `collective` kernel.
//!
//! Requires an exchange between values of dims that the operator names. Ensures operands in and out, in whatever layouts they have: what is
//! contiguous in both is one dim.

use super::facts::Facts;
use super::ir::FusedLaunch;
use super::storage::Storage;
use super::tile;
use crate::op::{Collective, Dim, Exchange};
use cranelift_entity::PrimaryMap;
use meshwright_plan::kernel::{self, Access, KernelData, KernelDim, Operand, Role, Skeleton};
use meshwright_plan::program::Accumulate;

/// A dim of the exchange: its name, points along it, and the dims of argument and result that it walks, each with a factor.
struct Walk {
    dim: Dim,
    from: Option<(Dim, u64)>,
    to: Option<(Dim, u64)>,
}

/// The kernel of an exchange.
pub fn lower(facts: &Facts<'_>, index: usize, collective: &Collective, storage: &Storage) -> FusedLaunch {
    let inst = facts.inst(index);
    let (arg, result) = (inst.args[0], inst.results[0]);
    let (view, out) = (facts.view(arg), storage.spot(result));
    let read = storage.spot(view.base);
    let (walks, member) = walks(facts, collective, &facts.program.body.ty(result).dims);
    let from = |walk: &Walk| walk.from.map_or(0, |(dim, times)| (view.stride(dim) * times) as i64);
    let to = |walk: &Walk| walk.to.map_or(0, |(dim, times)| (out.stride(dim) * times) as i64);
    let mut dims: PrimaryMap<_, KernelDim> = PrimaryMap::new();
    if let Some(member) = &member {
        dims.push(KernelDim { name: collective.axes.join("*"), size: collective.members, role: Role::Member, axes: Vec::new() });
        debug_assert!(member.from.is_some() || member.to.is_some());
    }
    for walk in &walks {
        let data = &facts.dims[walk.dim];
        dims.push(KernelDim { name: data.name.clone(), size: data.size, role: Role::Row, axes: Vec::new() });
    }
    let all = || member.iter().chain(&walks);
    let access = if out.adds { Access::Accumulate } else { Access::Write };
    let operand = |name: &str, element, access, strides| Operand { name: name.to_string(), element, access, strides, extent: 0 };
    let operands = [
        operand("in", read.element, Access::Read, all().map(from).collect()),
        operand("out", out.element, access, all().map(to).collect()),
    ];
    let skeleton =
        Skeleton::Collective(kernel::Collective { exchange: exchange(facts, &collective.exchange), axes: collective.axes.clone() });
    let mut kernel = KernelData { name: collective.exchange.name().to_string(), dims, operands: operands.into_iter().collect(), skeleton };
    tile::merge(&mut kernel, 0);
    super::contract::extents(&mut kernel);
    let places = vec![(read.buffer, (read.offset + view.offset) * read.element.bytes()), (out.buffer, out.offset * out.element.bytes())];
    let accumulate = if out.adds { Accumulate::ByCall } else { Accumulate::Write };
    FusedLaunch { kernel, places, accumulate, origins: facts.origins(&[index]) }
}

/// The dims that every member walks, in the result's order, and how members follow each other.
fn walks(facts: &Facts<'_>, collective: &Collective, result: &[Dim]) -> (Vec<Walk>, Option<Walk>) {
    let size = |dim: Dim| facts.dims[dim].size;
    let (pairs, member): (Vec<(Dim, Dim)>, Option<Walk>) = match collective.exchange {
        Exchange::AllReduce { .. } | Exchange::Permute { .. } => (Vec::new(), None),
        Exchange::AllGather { part, whole } => (vec![(part, whole)], Some(Walk { dim: part, from: None, to: Some((whole, size(part))) })),
        Exchange::ReduceScatter { whole, part, .. } => {
            (vec![(whole, part)], Some(Walk { dim: part, from: Some((whole, size(part))), to: None }))
        }
        Exchange::AllToAll { part, whole, cut, into } => {
            let member = Walk { dim: part, from: Some((cut, size(into))), to: Some((whole, size(part))) };
            (vec![(part, whole), (cut, into)], Some(member))
        }
    };
    let walk = |to: &Dim| {
        let from = pairs.iter().find(|(_, result)| result == to).map_or(*to, |(arg, _)| *arg);
        let smaller = if size(from) < size(*to) { from } else { *to };
        Walk { dim: smaller, from: Some((from, 1)), to: Some((*to, 1)) }
    };
    (result.iter().map(walk).collect(), member)
}

fn exchange(facts: &Facts<'_>, exchange: &Exchange) -> kernel::Exchange {
    match exchange {
        Exchange::AllGather { .. } => kernel::Exchange::AllGather,
        Exchange::ReduceScatter { reduce, .. } => kernel::Exchange::ReduceScatter(*reduce),
        Exchange::AllReduce { reduce } => kernel::Exchange::AllReduce(*reduce),
        Exchange::AllToAll { part, into, .. } => {
            let name = |dim: &Dim| facts.dims[*dim].name.clone();
            kernel::Exchange::AllToAll { from: name(part), to: name(into) }
        }
        Exchange::Permute { by } => kernel::Exchange::Permute { by: *by },
    }
}
