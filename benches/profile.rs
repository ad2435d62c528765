//! Where the time of one step goes: a line for every kernel, the most expensive first.
//!
//! Ensures: the time of a kernel is that of all its launches in one step, by the GPU's own clock on a GPU, the median and the least over steps; shares
//! and rates are of the least. Arithmetic counts what the mask shows; traffic is the least that the kernel's operands allow (each element that it
//! reads or writes once).

use crate::cases::{Case, Target, ready, step_seconds};
use crate::table::{Figure, Spread, Table};
use meshwright_plan::kernel::{Access, Effect, KernelData, NodeData, Role, Skeleton, Slot};
use meshwright_plan::summary::flops;
use meshwright_plan::{Kernel, Plan};
use std::collections::BTreeMap;
use std::time::Duration;

/// Launches of one step, and the time of all of them in each step.
#[derive(Default)]
struct Cost {
    launches: u64,
    steps: Vec<f64>,
}

/// Profiles the entry `step` of a case.
pub fn run(case: &Case, (threads, target): (usize, Target), quick: bool, table: &mut Table) -> Result<(), String> {
    let (compiled, _) = case.compile(target)?;
    let mut fleet = ready(compiled.plan, threads, target)?;
    let mut step = 0;
    let plain = step_seconds(if quick { 0.0 } else { 3.0 }, &mut || {
        step += 1;
        fleet.run("step", step).expect("ranks agree");
        fleet.readout("loss");
    });
    let mut costs: BTreeMap<Kernel, Cost> = BTreeMap::new();
    for _ in 0..if quick { 5 } else { 15 } {
        let mut now: BTreeMap<Kernel, (u64, Duration)> = BTreeMap::new();
        step += 1;
        let mut heard = |kernel, time| {
            let sum = now.entry(kernel).or_default();
            *sum = (sum.0 + 1, sum.1 + time);
        };
        fleet.run_timed("step", step, &mut heard).map_err(|why| why.to_string())?;
        for (kernel, (launches, time)) in now {
            let cost = costs.entry(kernel).or_default();
            cost.launches = launches;
            cost.steps.push(time.as_secs_f64());
        }
    }
    let place = if target == Target::Cuda { "a GPU".to_string() } else { format!("{threads} threads") };
    table
        .part("profile", &format!("{} on {place}; a step takes {:.2} ms, at best {:.2}", case.name, plain.median * 1e3, plain.least * 1e3));
    print(fleet.plan(), costs, table);
    Ok(())
}

fn print(plan: &Plan, costs: BTreeMap<Kernel, Cost>, table: &mut Table) {
    let mut lines: Vec<(Kernel, u64, Spread)> =
        costs.into_iter().map(|(kernel, cost)| (kernel, cost.launches, Spread::of(cost.steps))).collect();
    lines.sort_by(|a, b| b.2.least.total_cmp(&a.2.least));
    let total: f64 = lines.iter().map(|line| line.2.least).sum();
    let mut families: BTreeMap<&'static str, (u64, f64)> = BTreeMap::new();
    for (kernel, launches, time) in &lines {
        let data = &plan.kernels[*kernel];
        let family = families.entry(family(data)).or_default();
        *family = (family.0 + launches, family.1 + time.least);
        table.line(&title(*kernel, data), &figures(data, *launches, *time, total));
    }
    for (family, (launches, seconds)) in families {
        let figures = [Figure("launches", launches as f64), Figure("ms best", seconds * 1e3), Figure("of all", seconds / total)];
        table.line(&format!("all {family}"), &figures);
    }
    let launches: u64 = lines.iter().map(|line| line.1).sum();
    table.line("all", &[Figure("launches", launches as f64), Figure("ms best", total * 1e3)]);
}

fn figures(kernel: &KernelData, launches: u64, time: Spread, total: f64) -> Vec<Figure<'static>> {
    let work = flops(kernel) * launches as f64;
    let rate = |amount: f64| amount / time.least / 1e9;
    let mut figures = vec![Figure("launches", launches as f64), Figure("ms", time.median * 1e3), Figure("ms best", time.least * 1e3)];
    figures.push(Figure("of all", time.least / total));
    figures.push(Figure("GB/s", rate((traffic(kernel) * launches) as f64)));
    if work > 0.0 {
        figures.push(Figure("GFLOP/s", rate(work)));
    }
    figures
}

/// Number, name and sizes; of a product also which operand is stored turned (`nt`: the second one, its summed dim inside).
fn title(number: Kernel, kernel: &KernelData) -> String {
    let sizes: Vec<String> = kernel.dims.values().map(|dim| dim.size.to_string()).collect();
    let along = |slot: usize, role: Role| {
        let operand = kernel.operands.values().nth(slot)?;
        kernel.dims.values().zip(&operand.strides).rfind(|(dim, _)| dim.role == role && dim.size > 1).map(|(_, stride)| *stride)
    };
    let layout = match &kernel.skeleton {
        Skeleton::Contract { .. } => {
            let turned = |slot: usize, inner: Role| if along(slot, inner) == Some(1) { "n" } else { "t" };
            format!(" {}{}", turned(0, Role::K), turned(1, Role::N))
        }
        Skeleton::Rows(_) | Skeleton::Attention(_) | Skeleton::AttentionGrad(_) => String::new(),
        Skeleton::Segmented | Skeleton::Collective(_) => String::new(),
    };
    format!("{number} {} [{}]{layout}", kernel.name, sizes.join(","))
}

fn family(kernel: &KernelData) -> &'static str {
    match &kernel.skeleton {
        Skeleton::Rows(_) => "rows",
        Skeleton::Contract { .. } => "products",
        Skeleton::Attention(_) => "attention",
        Skeleton::AttentionGrad(_) => "attention backward",
        Skeleton::Segmented => "segmented",
        Skeleton::Collective(_) => "collectives",
    }
}

/// The least bytes that a launch must move: every operand's elements once for reading and once for writing, scratch not counted, and of
/// operands that are looked up no more elements than there are points. An operand that a launch adds to counts as written only.
pub fn traffic(kernel: &KernelData) -> u64 {
    let points = kernel.dims.values().fold(1u64, |points, dim| points.saturating_mul(dim.size));
    let times = |slot: Slot| match kernel.operands[slot].access {
        Access::Read | Access::Write => 1,
        Access::Accumulate => u64::from(loads(kernel, slot)) + 1,
        Access::Scratch => 0,
    };
    kernel.operands.iter().map(|(slot, operand)| times(slot) * operand.extent.min(points) * operand.element.bytes()).sum()
}

/// Whether a row kernel reads an operand by name.
fn loads(kernel: &KernelData, wanted: Slot) -> bool {
    let Skeleton::Rows(rows) = &kernel.skeleton else { return false };
    let stored = rows.effects.iter().any(|effect| matches!(effect, Effect::Store { slot, .. } if *slot == wanted));
    stored && rows.nodes.values().any(|node| matches!(node, NodeData::Load { slot, .. } if *slot == wanted))
}
