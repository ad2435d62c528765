//! Lowering: `Contract` → a `contract` kernel.
//!
//! Requires a contraction with more than one point along m, n and k, whose summed dims merge in both operands. Ensures at most one dim each
//! for m, n and k: further dims that strides keep apart become batch dims (with stride 0 in the operand that lacks them).

use super::facts::Facts;
use super::ir::{Buffer, FusedLaunch};
use super::storage::Storage;
use super::tile;
use crate::op::{Dim, Value};
use cranelift_entity::PrimaryMap;
use meshwright_plan::Element;
use meshwright_plan::kernel::{Access, KernelData, KernelDim, Operand, Role, Skeleton};
use meshwright_plan::program::Accumulate;

/// The operands of a kernel of a fixed skeleton, in order.
pub(super) struct Operands<'a> {
    facts: &'a Facts<'a>,
    storage: &'a Storage,
    /// The kernel's dims.
    pub dims: Vec<(Dim, Role)>,
    /// So far.
    pub operands: Vec<Operand>,
    /// Their places.
    pub places: Vec<(Buffer, u64)>,
}

impl<'a> Operands<'a> {
    /// None yet.
    pub fn new(facts: &'a Facts<'a>, storage: &'a Storage, dims: Vec<(Dim, Role)>) -> Self {
        Operands { facts, storage, dims, operands: Vec::new(), places: Vec::new() }
    }

    /// A value that is read through its view. `has` says which of the kernel's dims (by dim and role) the operand moves along.
    pub fn read(&mut self, name: &str, value: Value, has: impl Fn(Dim, Role) -> bool) {
        let view = self.facts.view(value);
        let spot = self.storage.spot(view.base);
        let strides = self.strides(|dim| view.stride(dim), has);
        let place = (spot.buffer, (spot.offset + view.offset) * spot.element.bytes());
        self.push(name, place, spot.element, Access::Read, strides);
    }

    /// A result.
    pub fn write(&mut self, name: &str, value: Value, access: Access, has: impl Fn(Dim, Role) -> bool) {
        let spot = self.storage.spot(value);
        let strides = self.strides(|dim| spot.stride(dim), has);
        self.push(name, (spot.buffer, spot.offset * spot.element.bytes()), spot.element, access, strides);
    }

    fn strides(&self, stride: impl Fn(Dim) -> u64, has: impl Fn(Dim, Role) -> bool) -> Vec<i64> {
        self.dims.iter().map(|(dim, role)| if has(*dim, *role) { stride(*dim) as i64 } else { 0 }).collect()
    }

    /// An operand.
    pub fn push(&mut self, name: &str, place: (Buffer, u64), element: Element, access: Access, strides: Vec<i64>) {
        self.operands.push(Operand { name: name.to_string(), element, access, strides, extent: 0 });
        self.places.push(place);
    }

    /// The kernel, its dims merged and its extents known.
    pub fn kernel(self, name: String, skeleton: Skeleton) -> (KernelData, Vec<(Buffer, u64)>) {
        let dim = |(dim, role): &(Dim, Role)| KernelDim {
            name: self.facts.dims[*dim].name.clone(),
            size: self.facts.dims[*dim].size,
            role: *role,
            axes: self.facts.dims[*dim].axes.clone(),
        };
        let dims: PrimaryMap<_, _> = self.dims.iter().map(dim).collect();
        let mut kernel = KernelData { name, dims, operands: self.operands.into_iter().collect(), skeleton };
        tile::merge(&mut kernel, 0);
        (kernel, self.places)
    }
}

/// Sets every operand's extent to what the kernel touches.
pub(super) fn extents(kernel: &mut KernelData) {
    let slots: Vec<_> = kernel.operands.keys().collect();
    for slot in slots {
        kernel.operands[slot].extent = kernel.reach(slot).expect("strides are not negative");
    }
}

/// The kernel of a contraction over `over`. `accumulate`: what it does to its destination.
pub fn lower(facts: &Facts<'_>, index: usize, over: &[Dim], storage: &Storage, accumulate: Accumulate) -> FusedLaunch {
    let inst = facts.inst(index);
    let (a, b, c) = (inst.args[0], inst.args[1], inst.results[0]);
    let dims = classify(facts, over, [a, b, c]);
    let mut operands = Operands::new(facts, storage, dims);
    operands.read("a", a, |_, role| role != Role::N);
    operands.read("b", b, |_, role| role != Role::M);
    operands.write("c", c, Access::Accumulate, |_, role| role != Role::K);
    let alpha = facts.alpha[c].unwrap_or(1.0) as f32;
    let (mut kernel, places) = operands.kernel(super::name::contract(facts, index), Skeleton::Contract { alpha });
    spill(&mut kernel);
    extents(&mut kernel);
    FusedLaunch { kernel, places, accumulate, origins: facts.origins(&[index]) }
}

/// Roles of all dims: batch, m, n and k, each in the order of memory.
fn classify(facts: &Facts<'_>, over: &[Dim], [a, b, c]: [Value; 3]) -> Vec<(Dim, Role)> {
    let body = &facts.program.body;
    let (left, right) = (body.ty(a), body.ty(b));
    let result = &body.ty(c).dims;
    let pick = |role: Role, has: &dyn Fn(Dim) -> bool| -> Vec<(Dim, Role)> {
        result.iter().copied().filter(|dim| has(*dim)).map(|dim| (dim, role)).collect()
    };
    let mut dims = pick(Role::Batch, &|dim| left.has(dim) && right.has(dim));
    dims.extend(pick(Role::M, &|dim| left.has(dim) && !right.has(dim)));
    dims.extend(pick(Role::N, &|dim| !left.has(dim) && right.has(dim)));
    let mut summed = over.to_vec();
    summed.sort_by_key(|dim| std::cmp::Reverse((facts.view(a).stride(*dim), facts.view(b).stride(*dim))));
    dims.extend(summed.into_iter().map(|dim| (dim, Role::K)));
    dims
}

/// Keeps the largest of several m or n dims; the others become batch dims, which come first.
fn spill(kernel: &mut KernelData) {
    for role in [Role::M, Role::N] {
        loop {
            let dims = || kernel.dims.iter().filter(|(_, dim)| dim.role == role);
            if dims().count() < 2 {
                break;
            }
            let Some(smallest) = dims().min_by_key(|(_, dim)| dim.size).map(|(axis, _)| axis) else { break };
            kernel.dims[smallest].role = Role::Batch;
        }
    }
}
