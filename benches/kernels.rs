//! Row kernels on arrays of about 100 MB beside the machine's bandwidth: those that the compiler makes of GPT-2.
//!
//! Requires: nothing of the kernels' names; every row kernel of a training step that moves enough is measured. Ensures: a kernel runs alone, in a
//! plan of its own, in turns with the bandwidth that its share is of, on the same threads.

use crate::cases::{Case, Target, ready, step_seconds};
use crate::machine::{ARRAY, bandwidth};
use crate::profile::traffic;
use crate::table::{Figure, Spread, Table, median};
use meshwright_plan::arena::{Region, RegionData, RegionKind};
use meshwright_plan::kernel::{Access, KernelData, NodeData, Role, Skeleton, Slot};
use meshwright_plan::program::{Accumulate, Address, Call, CallAccumulate, Entry, Item, Launch, Param, Place};
use meshwright_plan::{DimSize, Element, Input, Kernel, Plan, ProgramData};
use meshwright_runtime::execute::flat::{Step, flatten};
use meshwright_runtime::measure::streams::{Pass, Streams};

/// The least and the most that a measured kernel moves.
const LEAST: u64 = 190_000_000;
const MOST: u64 = 2_500_000_000;

/// Bytes between the regions of a kernel alone: regions of a step are not a power of two apart either.
const APART: u64 = 8256;

/// Prints the part `kernels`.
pub fn run(threads: usize, quick: bool, table: &mut Table) -> Result<(), String> {
    table.part(
        "kernels",
        "row kernels of GPT-2's training step alone on large arrays; least traffic, share of triad or (updates) in-place scale",
    );
    // Norms, GELU and residuals at a batch that makes their arrays 100 MB and more; cross-entropy and the optimizer as they are.
    let wide = Case::find("gpt2-4x64", &["dims.Batch=32", "dims.Seq=1024"].map(String::from))?;
    let narrow = Case::find("gpt2-1x512", &[])?;
    let mut seen: Vec<KernelData> = Vec::new();
    for case in [wide, narrow] {
        let plan = case.compile(Target::Cpu)?.0.plan;
        for (kernel, data) in plan.kernels.iter() {
            let large = (LEAST..=MOST).contains(&traffic(data));
            let known =
                seen.iter().any(|known| known.skeleton == data.skeleton && (known.name == data.name || known.operands == data.operands));
            let places = in_step(&plan, kernel).filter(|_| matches!(data.skeleton, Skeleton::Rows(_)) && large && !known);
            if let Some(places) = places {
                seen.push(data.clone());
                measure(&alone(&plan, data, &places), data, threads, quick, table)?;
            }
        }
    }
    Ok(())
}

/// Where the operands of a kernel stand in its first launch of a training step; none if a step does not launch it.
fn in_step(plan: &Plan, kernel: Kernel) -> Option<Vec<u64>> {
    let flat = flatten(plan, plan.entries.iter().find(|entry| entry.name == "step")?);
    let mut launches = flat.sections.iter().flat_map(|section| &section.steps).filter_map(|step| match step {
        Step::Launch(launch) => Some(launch),
        Step::Exchange(_) | Step::Start(..) | Step::Join(_) | Step::Control => None,
    });
    let launch = launches.find(|launch| launch.kernel == kernel)?;
    Some(flat.operands[launch.first..launch.first + launch.count].iter().map(|operand| operand.offset).collect())
}

fn measure(alone: &Plan, kernel: &KernelData, threads: usize, quick: bool, table: &mut Table) -> Result<(), String> {
    let mut fleet = ready(alone.clone(), threads, Target::Cpu)?;
    let mut streams = Streams::new(fleet.pool(), ARRAY).map_err(|why| why.to_string())?;
    // Numbers of the step are the optimizer's: its kernels write what they have read.
    let Skeleton::Rows(rows) = &kernel.skeleton else { return Ok(()) };
    let update = rows.nodes.values().any(|node| matches!(node, NodeData::Scalar(_)));
    let pass = if update { Pass::Scale } else { Pass::Triad };
    let mut step = 0;
    let mut turn = || {
        let time = step_seconds(0.0, &mut || {
            step += 1;
            fleet.run("step", step).expect("ranks agree");
        });
        (time, bandwidth(&mut streams, fleet.pool(), pass, 3))
    };
    let turns: Vec<(Spread, Spread)> = (0..if quick { 5 } else { 15 }).map(|_| turn()).collect();
    let time = Spread::of(turns.iter().map(|(time, _)| time.median).collect());
    let least = |of: fn(&(Spread, Spread)) -> f64| turns.iter().map(of).fold(f64::INFINITY, f64::min);
    let moved = traffic(kernel) as f64 / 1e9;
    let sizes: Vec<String> = kernel.dims.values().map(|dim| dim.size.to_string()).collect();
    let share = if update { "of in-place scale" } else { "of triad" };
    let figures = [
        Figure("MB", moved * 1e3),
        Figure("ms", time.median * 1e3),
        Figure("GB/s", moved / time.median),
        Figure(share, moved * median(turns.iter().map(|(time, stream)| stream.median / time.median).collect())),
        Figure("of it, best to best", moved * least(|(_, stream)| stream.least) / least(|(time, _)| time.least)),
    ];
    table.line(&format!("{} [{}]", kernel.name, sizes.join(",")), &figures);
    Ok(())
}

/// A plan whose step launches one kernel once, on a region of its own for every place that it has; what the kernel reads are its inputs.
fn alone(of: &Plan, kernel: &KernelData, at: &[u64]) -> Plan {
    let mut plan = Plan { name: kernel.name.clone(), scalars: of.scalars.clone(), ..Plan::default() };
    let (mut params, mut places, mut bindings) = (Vec::new(), Vec::new(), Vec::new());
    let mut regions: Vec<Region> = Vec::new();
    for ((slot, operand), place) in kernel.operands.iter().zip(at) {
        let bytes = operand.extent * operand.element.bytes();
        let same = at.iter().position(|earlier| earlier == place).and_then(|earlier| regions.get(earlier)).copied();
        let region = same.unwrap_or_else(|| {
            let offset = plan.arena.bytes;
            plan.arena.bytes += bytes.next_multiple_of(64) + APART;
            plan.arena.regions.push(RegionData { name: operand.name.clone(), kind: RegionKind::Data, offset, bytes })
        });
        regions.push(region);
        let read = matches!(operand.access, Access::Read | Access::Accumulate);
        if read && operand.element != Element::Bool {
            let bound = (operand.element == Element::I32).then(|| bound(kernel, slot));
            let dims = vec![DimSize { name: "elements".into(), size: operand.extent, axes: vec![], balanced: false, padding: 0 }];
            plan.inputs.push(Input { name: operand.name.clone(), element: operand.element, bound, dims, region });
        }
        places.push(Place { param: params.len() as u32, offset: 0 });
        params.push(Param { name: operand.name.clone(), bytes, written: operand.access != Access::Read });
        bindings.push(Address { region, offset: 0, micro: 0, layer: 0, accumulate: CallAccumulate::Write });
    }
    let kernel = plan.kernels.push(kernel.clone());
    let launches = vec![Launch { kernel, places, accumulate: Accumulate::Write, last: 0 }];
    let program = plan.programs.push(ProgramData { name: "alone".into(), params, launches });
    let body = vec![Item::Call(Call { program, bindings, iteration: (0, 0) })];
    plan.entries.push(Entry { name: "step".into(), body });
    plan
}

/// What the numbers of an index operand stay below: the smallest table that they look into, else the number of lanes.
fn bound(kernel: &KernelData, wanted: Slot) -> u64 {
    let lanes = kernel.dims.values().filter(|dim| dim.role == Role::Lane).map(|dim| dim.size).product();
    let Skeleton::Rows(rows) = &kernel.skeleton else { return lanes };
    let from = |node| matches!(&rows.nodes[node], NodeData::Load { slot, .. } if *slot == wanted);
    let gathers = rows.nodes.values().filter_map(|node| match node {
        NodeData::Load { gather: Some(gather), .. } if from(gather.index) => Some(gather.size),
        _ => None,
    });
    gathers.min().unwrap_or(lanes)
}
