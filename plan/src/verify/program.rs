//! Programs: places of launches, overlaps, and use of memory before it is written. Requires sound kernels.

use super::view::View;
use super::{Report, Rule};
use crate::kernel::{Access, Collective, Exchange, NodeData, Operand, Skeleton, Slot};
use crate::program::{Accumulate, Launch, Place};
use crate::{Element, KernelData, Plan, ProgramData};
use std::collections::BTreeSet;

/// The program.
pub(super) fn program(plan: &Plan, program: &ProgramData, report: &mut Report) {
    report.at(&format!("program {}", program.name));
    report.unique(program.params.iter().map(|param| param.name.as_str()));
    let before = report.violations.len();
    let mut written = BTreeSet::new();
    for (number, launch) in program.launches.iter().enumerate() {
        report.at(&format!("program {}, launch {}", program.name, number + 1));
        if let Some(kernel) = shape(plan, program, launch, report) {
            overlaps(kernel, launch, report);
            let writes = kernel.operands.values().zip(&launch.places).filter(|(operand, _)| operand.access != Access::Read);
            written.extend(writes.map(|(_, place)| place.param));
        }
    }
    report.at(&format!("program {}", program.name));
    for (index, param) in (0u32..).zip(&program.params) {
        let marked = param.written == written.contains(&index);
        report.check(marked, Rule::ParamWritten, || format!("{} is marked wrongly as written or not", param.name));
    }
    if report.violations.len() == before {
        super::scratch::scratch(plan, program, report);
    }
}

/// The launch's kernel, if there is one place for each of its operands, all in bounds.
fn shape<'p>(plan: &'p Plan, program: &ProgramData, launch: &Launch, report: &mut Report) -> Option<&'p KernelData> {
    let Some(kernel) = plan.kernels.get(launch.kernel) else {
        report.add(Rule::LaunchShape, format!("there is no kernel {}", launch.kernel));
        return None;
    };
    if kernel.operands.len() != launch.places.len() {
        report.add(Rule::LaunchShape, format!("{} places for {} operands", launch.places.len(), kernel.operands.len()));
        return None;
    }
    let accumulates = kernel.operands.values().any(|operand| operand.access == Access::Accumulate);
    let said = accumulates || launch.accumulate == Accumulate::Write;
    report.check(said, Rule::Accumulation, || format!("{} accumulates nothing", kernel.name));
    // a sum that is rounded after every part is another sum
    let rounded = |operand: &&Operand| operand.access == Access::Accumulate && operand.element == Element::Bf16;
    if let Some(operand) = kernel.operands.values().find(rounded) {
        let once = launch.accumulate == Accumulate::Write;
        report.check(once, Rule::Accumulation, || format!("{} of {} is bf16, and is added to", operand.name, kernel.name));
    }
    let before = report.violations.len();
    for (operand, place) in kernel.operands.values().zip(&launch.places) {
        bounds(program, operand, place, report);
    }
    if report.violations.len() == before { Some(kernel) } else { None }
}

fn bounds(program: &ProgramData, operand: &Operand, place: &Place, report: &mut Report) {
    let Some(param) = program.params.get(place.param as usize) else {
        report.add(Rule::LaunchShape, format!("{} stands in no parameter", operand.name));
        return;
    };
    let unit = operand.element.bytes();
    let end = operand.extent.checked_mul(unit).and_then(|bytes| bytes.checked_add(place.offset));
    let fits = end.is_some_and(|end| end <= param.bytes);
    report.check(fits, Rule::PlaceBounds, || format!("{} ends beyond {}", operand.name, param.name));
    report.check(place.offset.is_multiple_of(unit), Rule::PlaceBounds, || format!("{} is not aligned to its elements", operand.name));
}

/// Written operands share no byte with others.
fn overlaps(kernel: &KernelData, launch: &Launch, report: &mut Report) {
    let placed: Vec<(Slot, &Operand, &Place)> =
        kernel.operands.iter().zip(&launch.places).map(|((slot, operand), place)| (slot, operand, place)).collect();
    for (index, (slot, operand, place)) in placed.iter().enumerate() {
        for (other_slot, other, other_place) in &placed[..index] {
            let read_only = operand.access == Access::Read && other.access == Access::Read;
            if read_only
                || place.param != other_place.param
                || in_place(kernel, launch, (*other_slot, other), (*slot, operand), place == other_place)
            {
                continue;
            }
            let apart = view(kernel, *slot, place.offset).disjoint(&view(kernel, *other_slot, other_place.offset));
            report.check(apart, Rule::LaunchOverlap, || format!("{} and {} share bytes", other.name, operand.name));
        }
    }
}

/// Whether two operands may be the same memory: one is read, one written, element by element in the same order, or all-reduced.
fn in_place(kernel: &KernelData, launch: &Launch, a: (Slot, &Operand), b: (Slot, &Operand), same_place: bool) -> bool {
    let (read, write) = match (a.1.access, b.1.access) {
        (Access::Read, Access::Write | Access::Accumulate) => (a, b),
        (Access::Write | Access::Accumulate, Access::Read) => (b, a),
        (Access::Read | Access::Write | Access::Accumulate | Access::Scratch, _) => return false,
    };
    let alike = read.1.strides == write.1.strides && read.1.element == write.1.element;
    let reduces = kernel.is_all_reduce() && launch.accumulate == Accumulate::Write;
    same_place && alike && (reduces || kernel.is_elementwise(read.0))
}

impl KernelData {
    /// Whether this is an all-reduce: it may replace what it reads, unless it adds to it.
    fn is_all_reduce(&self) -> bool {
        matches!(&self.skeleton, Skeleton::Collective(Collective { exchange: Exchange::AllReduce(_), .. }))
    }

    /// Whether this is a `rows` kernel without reductions or scans that reads this operand only at the current point: it may then be
    /// written in place.
    pub fn is_elementwise(&self, read: Slot) -> bool {
        let Skeleton::Rows(rows) = &self.skeleton else { return false };
        rows.nodes.values().all(|data| match data {
            NodeData::Reduce { .. } | NodeData::Scan { .. } => false,
            NodeData::Load { slot, gather, moved } => *slot != read || (gather.is_none() && moved.is_none()),
            NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) => true,
            NodeData::Position { .. } | NodeData::Coordinate(_) | NodeData::Map { .. } | NodeData::Random { .. } => true,
        })
    }
}

/// The bytes of an operand that stands at this offset.
fn view(kernel: &KernelData, slot: Slot, start: u64) -> View {
    let operand = &kernel.operands[slot];
    let unit = operand.element.bytes();
    let bytes = |stride: i64| u64::try_from(stride).unwrap_or(0).saturating_mul(unit);
    let mut dims: Vec<(u64, u64)> = kernel.dims.values().zip(&operand.strides).map(|(dim, stride)| (dim.size, bytes(*stride))).collect();
    for data in kernel.rows().iter().flat_map(|rows| rows.nodes.values()) {
        if let NodeData::Load { slot: loaded, gather: Some(gather), .. } = data
            && *loaded == slot
        {
            dims.push((gather.size, bytes(gather.stride)));
        }
    }
    let view = View { start, dims, unit };
    let whole = View::range(start, operand.extent.saturating_mul(unit));
    if view.end() == whole.end() { view } else { whole }
}
