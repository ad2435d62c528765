//! Entries: loops, and what calls bind, for all values of the loops' indices. Requires sound programs.

use super::{ALIGNMENT, Report, Rule};
use crate::kernel::{Access, Skeleton};
use crate::program::{Accumulate, Address, Call, CallAccumulate, Index, Item};
use crate::{Plan, ProgramData, RegionKind};

/// Differences of two addresses are tried one by one for at most so many index values.
const MOST_POINTS: u64 = 65_536;

/// Loops count no further, so that 128 bits hold all addresses.
const MOST_TURNS: u64 = 1 << 32;

/// First and last value of each index; 0 outside of its loops.
#[derive(Clone, Copy, Default)]
struct Indices {
    micro: (u64, u64),
    layer: (u64, u64),
}

/// All entries.
pub(super) fn entries(plan: &Plan, report: &mut Report) {
    report.at("entries");
    report.check(!plan.entries.is_empty(), Rule::NoEntry, || "there is nothing to run".to_owned());
    report.unique(plan.entries.iter().map(|entry| entry.name.as_str()));
    for entry in &plan.entries {
        report.at(&format!("entry {}", entry.name));
        items(plan, &entry.body, Indices::default(), report);
    }
}

fn items(plan: &Plan, body: &[Item], indices: Indices, report: &mut Report) {
    for item in body {
        match item {
            Item::Loop { index, start, end, body, .. } => {
                let counted = start < end && *end <= MOST_TURNS;
                report.check(counted, Rule::LoopRange, || format!("{start}..{end} is empty or longer than 32 bits count"));
                let range = ((*start).min(MOST_TURNS), end.saturating_sub(1).min(MOST_TURNS));
                let inner = match index {
                    Index::Micro => Indices { micro: range, ..indices },
                    Index::Layer => Indices { layer: range, ..indices },
                };
                items(plan, body, inner, report);
            }
            Item::Call(call) => self::call(plan, call, indices, report),
            Item::Start(_, call) => {
                self::call(plan, call, indices, report);
                collectives_only(plan, call, report);
            }
            Item::Join(_) | Item::Control => {}
        }
    }
}

/// Streams beside the calls exchange and do nothing else.
fn collectives_only(plan: &Plan, call: &Call, report: &mut Report) {
    let Some(program) = plan.programs.get(call.program) else { return };
    let kernels = program.launches.iter().filter_map(|launch| plan.kernels.get(launch.kernel));
    let computes = kernels.into_iter().find(|kernel| !matches!(kernel.skeleton, Skeleton::Collective(_)));
    report.check(computes.is_none(), Rule::StartCollective, || {
        let kernel = computes.map_or("", |kernel| &kernel.name);
        format!("{} is started beside the calls and launches {kernel}, which is no collective", program.name)
    });
}

fn call(plan: &Plan, call: &Call, indices: Indices, report: &mut Report) {
    let Some(program) = plan.programs.get(call.program).filter(|program| program.params.len() == call.bindings.len()) else {
        report.add(Rule::CallShape, format!("{} is no program with {} parameters", call.program, call.bindings.len()));
        return;
    };
    let before = report.violations.len();
    let iterations = indices.layer;
    let iteration = |layer: u64| i128::from(call.iteration.0) + i128::from(call.iteration.1) * i128::from(layer);
    let counted = [iterations.0, iterations.1].into_iter().all(|layer| u32::try_from(iteration(layer)).is_ok());
    report.check(counted, Rule::Number, || "the iteration is negative or beyond 32 bits".to_owned());
    for (number, (param, address)) in program.params.iter().zip(&call.bindings).enumerate() {
        let name = format!("{} of {}", param.name, program.name);
        let region = plan.arena.regions.get(address.region);
        let (low, high) = bounds(address, indices);
        let fits = region.is_some_and(|region| low >= 0 && high + i128::from(param.bytes) <= i128::from(region.bytes));
        report.check(fits, Rule::CallBounds, || format!("{name} does not always lie in its region"));
        let unit = alignment(plan, program, number, address);
        let aligned = [address.offset, address.micro.unsigned_abs(), address.layer.unsigned_abs()];
        let aligned = aligned.iter().all(|part| part.is_multiple_of(unit));
        report.check(aligned, Rule::CallAlignment, || format!("{name} does not start at a multiple of {unit} bytes"));
        let said = address.accumulate == CallAccumulate::Write || accumulates(plan, program, number);
        report.check(said, Rule::Accumulation, || format!("{name} does not accumulate as the call says"));
    }
    if report.violations.len() == before {
        overlaps(program, call, indices, report);
    }
}

/// What the place of a parameter is a multiple of, in bytes. The layout of inputs is the data's: a microbatch may start at any element.
fn alignment(plan: &Plan, program: &ProgramData, param: usize, address: &Address) -> u64 {
    if plan.arena.regions.get(address.region).is_none_or(|region| region.kind != RegionKind::Data) {
        return ALIGNMENT;
    }
    let elements = program.launches.iter().flat_map(|launch| {
        let operands = plan.kernels.get(launch.kernel).into_iter().flat_map(|kernel| kernel.operands.values());
        operands.zip(&launch.places).filter(|(_, place)| place.param as usize == param).map(|(operand, _)| operand.element.bytes())
    });
    elements.max().unwrap_or(1)
}

/// Whether a launch leaves it to the call how it accumulates into this parameter.
fn accumulates(plan: &Plan, program: &ProgramData, param: usize) -> bool {
    program.launches.iter().filter(|launch| launch.accumulate == Accumulate::ByCall).any(|launch| {
        let operands = plan.kernels.get(launch.kernel).into_iter().flat_map(|kernel| kernel.operands.values());
        operands.zip(&launch.places).any(|(operand, place)| operand.access == Access::Accumulate && place.param as usize == param)
    })
}

/// Smallest and largest value; sums of a few products of 64-bit numbers fit easily.
fn bounds(address: &Address, indices: Indices) -> (i128, i128) {
    let part = |stride: i64, (first, last): (u64, u64)| {
        let ends = [i128::from(stride) * i128::from(first), i128::from(stride) * i128::from(last)];
        (ends[0].min(ends[1]), ends[0].max(ends[1]))
    };
    let (micro, layer) = (part(address.micro, indices.micro), part(address.layer, indices.layer));
    let start = i128::from(address.offset);
    (start + micro.0 + layer.0, start + micro.1 + layer.1)
}

fn overlaps(program: &ProgramData, call: &Call, indices: Indices, report: &mut Report) {
    let bound: Vec<_> = program.params.iter().zip(&call.bindings).collect();
    for (index, (param, address)) in bound.iter().enumerate() {
        for (other, other_address) in &bound[..index] {
            let apart = address.region != other_address.region
                || !(param.written || other.written)
                || are_apart((address, param.bytes), (other_address, other.bytes), indices);
            report.check(apart, Rule::CallOverlap, || format!("{} and {} of {} share bytes", other.name, param.name, program.name));
        }
    }
}

/// Whether two parameters of one region never share a byte.
fn are_apart((a, a_bytes): (&Address, u64), (b, b_bytes): (&Address, u64), indices: Indices) -> bool {
    let (micro, layer) = (i128::from(b.micro) - i128::from(a.micro), i128::from(b.layer) - i128::from(a.layer));
    let ahead = |m: u64, l: u64| i128::from(b.offset) - i128::from(a.offset) + micro * i128::from(m) + layer * i128::from(l);
    let clear = |ahead: i128| ahead >= i128::from(a_bytes) || -ahead >= i128::from(b_bytes);
    let corners = [indices.micro.0, indices.micro.1].map(|m| [indices.layer.0, indices.layer.1].map(|l| ahead(m, l)));
    let corners = corners.as_flattened();
    if corners.iter().all(|ahead| *ahead >= i128::from(a_bytes)) || corners.iter().all(|ahead| -ahead >= i128::from(b_bytes)) {
        return true;
    }
    let count = |(first, last): (u64, u64)| last.saturating_sub(first).saturating_add(1);
    let points = count(indices.micro).saturating_mul(count(indices.layer));
    let mut all = (indices.micro.0..=indices.micro.1).flat_map(|m| (indices.layer.0..=indices.layer.1).map(move |l| (m, l)));
    points <= MOST_POINTS && all.all(|(m, l)| clear(ahead(m, l)))
}
