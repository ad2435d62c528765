//! Programs: places of launches, overlaps, and use of memory before it is written. Requires sound kernels.

use super::view::View;
use super::{Report, Rule};
use crate::kernel::{Access, Collective, Exchange, NodeData, Operand, Skeleton, Slot};
use crate::program::{Accumulate, Item, Launch, Place};
use crate::{KernelData, Plan, Program, ProgramData, RegionKind};
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
        scratch(plan, program, report);
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

/// What is bound to scratch memory is written before it is read.
fn scratch(plan: &Plan, program: &ProgramData, report: &mut Report) {
    let bound = scratch_params(plan, program);
    let mut written: Vec<Ranges> = vec![Ranges::default(); program.params.len()];
    for (number, launch) in program.launches.iter().enumerate() {
        let Some(kernel) = plan.kernels.get(launch.kernel) else { continue };
        let placed = || kernel.operands.values().zip(&launch.places).filter(|(_, place)| bound.contains(&place.param));
        let range = |operand: &Operand, place: &Place| (place.offset, place.offset + operand.extent * operand.element.bytes());
        for (operand, place) in placed() {
            let adds = operand.access == Access::Accumulate && launch.accumulate == Accumulate::Add;
            let known = !(operand.access == Access::Read || adds) || written[place.param as usize].covers(range(operand, place));
            report.check(known, Rule::ScratchRead, || {
                let name = &program.params[place.param as usize].name;
                format!("launch {} reads {} at {name}+{} before it is written", number + 1, operand.name, place.offset)
            });
        }
        for (operand, place) in placed() {
            match operand.access {
                Access::Read => {}
                Access::Write | Access::Accumulate => written[place.param as usize].add(range(operand, place)),
                Access::Scratch => written[place.param as usize].remove(range(operand, place)),
            }
        }
    }
}

/// Parameters called `scratch` by all calls: bound to a region of that kind wherever the program is called.
fn scratch_params(plan: &Plan, program: &ProgramData) -> BTreeSet<u32> {
    let number = plan.programs.iter().find(|(_, data)| std::ptr::eq(*data, program)).map(|(number, _)| number);
    let mut kinds: Vec<Vec<RegionKind>> = vec![Vec::new(); program.params.len()];
    if let Some(number) = number {
        plan.entries.iter().for_each(|entry| collect(plan, number, &entry.body, &mut kinds));
    }
    // memory that is written by another program of the timeline may be scratch, too: only what this program writes is its own
    let own = |index: usize| program.params.get(index).is_some_and(|param| param.written);
    let scratch = |kinds: &Vec<RegionKind>| !kinds.is_empty() && kinds.iter().all(|kind| *kind == RegionKind::Scratch);
    (0u32..).zip(&kinds).filter(|(index, kinds)| scratch(kinds) && own(*index as usize)).map(|(index, _)| index).collect()
}

fn collect(plan: &Plan, number: Program, items: &[Item], kinds: &mut [Vec<RegionKind>]) {
    for item in items {
        match item {
            Item::Loop { body, .. } => collect(plan, number, body, kinds),
            Item::Call(call) | Item::Start(_, call) if call.program == number => {
                for (kinds, address) in kinds.iter_mut().zip(&call.bindings) {
                    kinds.extend(plan.arena.regions.get(address.region).map(|region| region.kind));
                }
            }
            Item::Call(_) | Item::Start(..) | Item::Join(_) | Item::Control => {}
        }
    }
}

/// Bytes that are known to be written: sorted, disjoint ranges.
#[derive(Clone, Default)]
struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    fn add(&mut self, (mut start, mut end): (u64, u64)) {
        self.0.retain(|(first, last)| {
            let meets = *first <= end && start <= *last;
            if meets {
                start = start.min(*first);
                end = end.max(*last);
            }
            !meets
        });
        self.0.push((start, end));
        self.0.sort_unstable();
    }

    fn remove(&mut self, (start, end): (u64, u64)) {
        let cut = |(first, last): (u64, u64)| [(first, last.min(start)), (first.max(end), last)].into_iter().filter(|(a, b)| a < b);
        self.0 = std::mem::take(&mut self.0).into_iter().flat_map(cut).collect();
    }

    fn covers(&self, (start, end): (u64, u64)) -> bool {
        start >= end || self.0.iter().any(|(first, last)| *first <= start && end <= *last)
    }
}
