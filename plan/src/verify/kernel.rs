//! Kernels: dims, operands, and what their skeleton wants of both.

use super::view::is_injective;
use super::{Report, Rule, collective, mesh, rows};
use crate::kernel::{Access, Attention, Axis, Operand, Role, Skeleton};
use crate::{Element, KernelData, Plan};

/// What a skeleton wants of one operand: how it is used, stored, and along which roles it runs.
struct Want(&'static str, Access, &'static [Element], &'static [Role]);

const F32: &[Element] = &[Element::F32];
const REAL: &[Element] = &[Element::F32, Element::Bf16];
const CONTRACT: [Want; 3] = [
    Want("a", Access::Read, REAL, &[Role::Batch, Role::M, Role::K]),
    Want("b", Access::Read, REAL, &[Role::Batch, Role::K, Role::N]),
    Want("c", Access::Accumulate, REAL, &[Role::Batch, Role::M, Role::N]),
];
const QUERY: &[Role] = &[Role::Batch, Role::M, Role::Query, Role::Feature];
const KEY: &[Role] = &[Role::Batch, Role::Key, Role::Feature];
const VALUE: &[Role] = &[Role::Batch, Role::Key, Role::Value];
const OUT: &[Role] = &[Role::Batch, Role::M, Role::Query, Role::Value];
const ROW: &[Role] = &[Role::Batch, Role::M, Role::Query];
const ATTENTION: [Want; 5] = [
    Want("q", Access::Read, REAL, QUERY),
    Want("k", Access::Read, REAL, KEY),
    Want("v", Access::Read, REAL, VALUE),
    Want("out", Access::Write, REAL, OUT),
    Want("lse", Access::Write, F32, ROW),
];
const ATTENTION_GRAD: [Want; 10] = [
    Want("q", Access::Read, REAL, QUERY),
    Want("k", Access::Read, REAL, KEY),
    Want("v", Access::Read, REAL, VALUE),
    Want("out", Access::Read, REAL, OUT),
    Want("lse", Access::Read, F32, ROW),
    Want("dout", Access::Read, REAL, OUT),
    Want("dq", Access::Write, REAL, QUERY),
    Want("dk", Access::Write, REAL, KEY),
    Want("dv", Access::Write, REAL, VALUE),
    Want("scratch", Access::Scratch, F32, ROW),
];
const SEGMENTED: [Want; 3] = [
    Want("index", Access::Read, &[Element::I32], &[Role::Batch, Role::Row]),
    Want("value", Access::Read, REAL, &[Role::Batch, Role::Row, Role::Lane]),
    Want("out", Access::Accumulate, F32, &[Role::Batch, Role::Segment, Role::Lane]),
];

/// The kernel.
pub(super) fn kernel(plan: &Plan, kernel: &KernelData, report: &mut Report) {
    dims(kernel, report);
    mesh::kernel(plan, kernel, report);
    report.unique(kernel.operands.values().map(|operand| operand.name.as_str()));
    let right = kernel.operands.values().all(|operand| operand.strides.len() == kernel.dims.len());
    report.check(right, Rule::OperandStrides, || "an operand does not have one stride per dim".to_owned());
    if !right {
        return;
    }
    match &kernel.skeleton {
        Skeleton::Rows(rows) => {
            if !rows::rows(plan, kernel, rows, report) {
                return;
            }
        }
        Skeleton::Contract { alpha } => {
            report.check(alpha.is_finite(), Rule::Number, || format!("alpha is {alpha}"));
            wants(kernel, &CONTRACT, report);
        }
        Skeleton::Attention(shape) => attention(kernel, shape, &ATTENTION, report),
        Skeleton::AttentionGrad(shape) => attention(kernel, shape, &ATTENTION_GRAD, report),
        Skeleton::Segmented => wants(kernel, &SEGMENTED, report),
        Skeleton::Collective(shape) => collective::collective(plan, kernel, shape, report),
    }
    extents(kernel, report);
}

fn dims(kernel: &KernelData, report: &mut Report) {
    report.unique(kernel.dims.values().map(|dim| dim.name.as_str()));
    let points = kernel.dims.values().try_fold(1u64, |points, dim| points.checked_mul(dim.size));
    let sized = points.is_some_and(|points| points > 0 && i64::try_from(points).is_ok());
    report.check(sized, Rule::KernelDims, || "no points, or more than 63 bits count".to_owned());
    let (known, one): (&[Role], &[Role]) = match &kernel.skeleton {
        Skeleton::Rows(_) => (&[Role::Row, Role::Lane], &[]),
        Skeleton::Contract { .. } => (&[Role::Batch, Role::M, Role::N, Role::K], &[]),
        Skeleton::Attention(_) | Skeleton::AttentionGrad(_) => {
            (&[Role::Batch, Role::M, Role::Query, Role::Key, Role::Feature, Role::Value], &[Role::Query, Role::Key])
        }
        Skeleton::Segmented => (&[Role::Batch, Role::Row, Role::Lane, Role::Segment], &[Role::Segment]),
        Skeleton::Collective(_) => (&[Role::Row, Role::Member], &[]),
    };
    let count = |role: Role| kernel.dims.values().filter(|dim| dim.role == role).count();
    for dim in kernel.dims.values() {
        report.check(known.contains(&dim.role), Rule::KernelDims, || format!("{} is {:?} here", dim.name, dim.role));
    }
    for role in one {
        report.check(count(*role) == 1, Rule::KernelDims, || format!("{} dims are {role:?}", count(*role)));
    }
    let lanes = matches!(kernel.skeleton, Skeleton::Rows(_)) && count(Role::Lane) > 1;
    report.check(!lanes, Rule::KernelDims, || "more than one dim is lanes".to_owned());
}

fn attention(kernel: &KernelData, shape: &Attention, wanted: &[Want], report: &mut Report) {
    report.check(shape.scale.is_finite(), Rule::Number, || format!("the scale is {}", shape.scale));
    report.check(shape.window != Some(0), Rule::Number, || "a window of 0 sees nothing".to_owned());
    wants(kernel, wanted, report);
}

fn wants(kernel: &KernelData, wanted: &[Want], report: &mut Report) {
    let counts = (kernel.operands.len(), wanted.len());
    report.check(counts.0 == counts.1, Rule::OperandRoles, || format!("{} operands instead of {}", counts.0, counts.1));
    for (operand, Want(what, access, element, roles)) in kernel.operands.values().zip(wanted) {
        let name = &operand.name;
        let right = operand.access == *access && element.contains(&operand.element);
        report.check(right, Rule::OperandRoles, || format!("{name} ({what}) is {:?} {}", operand.access, operand.element));
        for (dim, stride) in kernel.dims.values().zip(&operand.strides) {
            let runs = roles.contains(&dim.role) || *stride == 0 || dim.size == 1;
            report.check(runs, Rule::OperandStrides, || format!("{name} ({what}) runs along {}", dim.name));
        }
        if *access != Access::Read {
            written_once(kernel, operand, |axis| roles.contains(&kernel.dims[axis].role), report);
        }
    }
}

/// Every point of these dims has an element of its own.
pub(super) fn written_once(kernel: &KernelData, operand: &Operand, counted: impl Fn(Axis) -> bool, report: &mut Report) {
    let dims = kernel.dims.iter().zip(&operand.strides).filter(|((axis, _), _)| counted(*axis));
    let dims: Vec<(u64, u64)> = dims.map(|((_, dim), stride)| (dim.size, u64::try_from(*stride).unwrap_or(0))).collect();
    report.check(is_injective(&dims), Rule::WriteOnce, || format!("several points write the same element of {}", operand.name));
}

fn extents(kernel: &KernelData, report: &mut Report) {
    for (slot, operand) in kernel.operands.iter() {
        let negative = operand.strides.iter().any(|stride| *stride < 0);
        report.check(!negative, Rule::OperandStrides, || format!("{} has a negative stride", operand.name));
        let covered = kernel.reach(slot).is_some_and(|reach| reach <= operand.extent);
        report.check(covered, Rule::OperandExtent, || format!("accesses to {} reach beyond {} elements", operand.name, operand.extent));
        let bytes = operand.extent.checked_mul(operand.element.bytes());
        report.check(bytes.is_some(), Rule::OperandExtent, || format!("{} is too large", operand.name));
    }
}
