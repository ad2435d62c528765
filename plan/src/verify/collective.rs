//! Kernels that are collectives: between whom, and what of both operands.

use super::{Report, Rule, kernel::written_once, mesh};
use crate::kernel::{Access, Axis, Collective, Exchange, KernelDim, Operand, Role};
use crate::{Element, KernelData, Plan, print};

/// The kernel; its dims are known to be rows and members.
pub(super) fn collective(plan: &Plan, kernel: &KernelData, collective: &Collective, report: &mut Report) {
    let Collective { exchange, axes } = collective;
    let known = !axes.is_empty() && mesh::axes(plan, axes);
    report.check(known, Rule::MeshAxis, || format!("a collective along {}", print::axes(axes)));
    if !known {
        return;
    }
    let group = plan.mesh.size(axes);
    members(kernel, exchange, group, report);
    match exchange {
        Exchange::Permute { by } => {
            let moves = 1 <= *by && *by < group;
            report.check(moves, Rule::Collective, || format!("moves by {by} in a group of {group}"));
        }
        Exchange::AllToAll { from, to } => {
            let named = !from.is_empty() && !to.is_empty();
            report.check(named, Rule::Collective, || "exchanges a dim without a name".to_owned());
            report.check(from != to, Rule::Collective, || format!("goes from {from} to the same"));
        }
        Exchange::AllGather | Exchange::ReduceScatter(_) | Exchange::AllReduce(_) => {}
    }
    let mut operands = kernel.operands.values();
    let (Some(read), Some(written), None) = (operands.next(), operands.next(), operands.next()) else {
        report.add(Rule::OperandRoles, format!("{} operands instead of in and out", kernel.operands.len()));
        return;
    };
    elements(exchange, read, written, report);
    for (operand, along) in [read, written].into_iter().zip(exchange.members()) {
        strides(kernel, operand, along, report);
    }
}

/// One dim counts the members of the group, if the exchange needs one.
fn members(kernel: &KernelData, exchange: &Exchange, group: u64, report: &mut Report) {
    let sizes: Vec<u64> = kernel.dims.values().filter(|dim| dim.role == Role::Member).map(|dim| dim.size).collect();
    let wanted: &[u64] = if exchange.members() == [false, false] { &[] } else { &[group] };
    report.check(sizes == wanted, Rule::Collective, || {
        format!("{} in a group of {group} has dims for {sizes:?} members, not {wanted:?}", print::exchange(exchange))
    });
}

/// In is read, out written; only sums, maxima and minima of f32 may be added up or to.
fn elements(exchange: &Exchange, read: &Operand, written: &Operand, report: &mut Report) {
    let right = read.access == Access::Read && read.element == written.element;
    report.check(right, Rule::OperandRoles, || format!("{} is {:?} {}", read.name, read.access, read.element));
    let accumulates = written.access == Access::Accumulate && exchange.reduction().is_some();
    let right = written.access == Access::Write || accumulates;
    report.check(right, Rule::OperandRoles, || format!("{} is {:?}", written.name, written.access));
    if let Some(op) = exchange.reduction() {
        let right = op.folds() && read.element == Element::F32;
        report.check(right, Rule::Collective, || format!("{op:?} of {}", read.element));
    }
}

/// Every row has an element of its own in both operands, for every member where the operand runs along them.
fn strides(kernel: &KernelData, operand: &Operand, along: bool, report: &mut Report) {
    let counted = |dim: &KernelDim| dim.role == Role::Row || along;
    for (dim, stride) in kernel.dims.values().zip(&operand.strides) {
        let runs = counted(dim) || *stride == 0 || dim.size == 1;
        report.check(runs, Rule::OperandStrides, || format!("{} runs along {}", operand.name, dim.name));
    }
    written_once(kernel, operand, |axis: Axis| counted(&kernel.dims[axis]), report);
}
