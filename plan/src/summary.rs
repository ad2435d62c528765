//! What a plan costs, as a person asks: memory by kind, parameters, kernels and launches, arithmetic per step, and what ranks exchange.
//!
//! Requires a plan that verifies; others give numbers without meaning, but no panic. Ensures nothing about speed: no device is known here.

use crate::kernel::{Attention, Collective, Exchange, Role, Skeleton};
use crate::print::{self, human, kind, mesh_text};
use crate::program::{Item, Stream};
use crate::{DimSize, KernelData, Plan, Program, RegionKind, Weight};
use std::collections::BTreeMap;
use std::fmt;

/// The numbers of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The model's name.
    pub name: String,
    /// Bytes of the arena.
    pub arena: u64,
    /// Bytes by what they are for, in the order of `RegionKind`.
    pub memory: Vec<(RegionKind, u64)>,
    /// The mesh, as the plan's text has it, and its ranks; none for one device.
    pub mesh: Option<(String, u64)>,
    /// Trained numbers, and numbers that are frozen, of the whole model.
    pub parameters: (u64, u64),
    /// The same as far as they rest on one rank, in padded blocks its share of each tensor.
    pub resting: (u64, u64),
    /// Different kernels by skeleton: rows, contract, attention (and gradients), segmented, collective.
    pub kernels: [(&'static str, usize); 5],
    /// Different programs, and launches in their texts.
    pub programs: (usize, usize),
    /// One line per entry.
    pub entries: Vec<EntrySummary>,
}

/// What one run of an entry does.
#[derive(Clone, Debug, PartialEq)]
pub struct EntrySummary {
    /// `step`.
    pub name: String,
    /// Calls of programs, loops counted out.
    pub calls: u64,
    /// Launches of kernels.
    pub launches: u64,
    /// Additions and multiplications of matrix products and attention (attention: of what the mask shows).
    pub flops: f64,
    /// What one rank exchanges with others.
    pub exchanges: Vec<Exchanged>,
}

/// All collectives of one kind along the same axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchanged {
    /// Major first, `data*tensor`.
    pub axes: String,
    /// `all_gather`.
    pub exchange: &'static str,
    /// Beside the calls, or none: calls wait for it.
    pub stream: Option<Stream>,
    /// Launches, loops counted out.
    pub count: u64,
    /// Bytes that one rank sends (and receives as many) if every group is a ring.
    pub bytes: u64,
}

/// Adds up a plan.
pub fn summary(plan: &Plan) -> Summary {
    let mut memory: BTreeMap<RegionKind, u64> = BTreeMap::new();
    for region in plan.arena.regions.values() {
        let bytes = memory.entry(region.kind).or_insert(0);
        *bytes = bytes.saturating_add(region.bytes);
    }
    let count = |wanted: &str| plan.kernels.values().filter(|kernel| family(kernel) == wanted).count();
    let sum = |frozen: bool, size: fn(&Plan, &Weight) -> u64| {
        let chosen = plan.weights.iter().filter(|weight| weight.gradient.is_none() == frozen);
        chosen.map(|weight| size(plan, weight)).fold(0, u64::saturating_add)
    };
    let mesh = (!plan.mesh.axes.is_empty()).then(|| (mesh_text(&plan.mesh), plan.mesh.ranks()));
    Summary {
        name: plan.name.clone(),
        arena: plan.arena.bytes,
        memory: memory.into_iter().collect(),
        mesh,
        parameters: (sum(false, parameters), sum(true, parameters)),
        resting: (sum(false, resting), sum(true, resting)),
        kernels: ["rows", "contract", "attention", "segmented", "collective"].map(|family| (family, count(family))),
        programs: (plan.programs.len(), plan.programs.values().map(|program| program.launches.len()).sum()),
        entries: plan.entries.iter().map(|entry| add_up(plan, &entry.name, &entry.body)).collect(),
    }
}

/// Numbers of all copies of a weight, of the whole model.
fn parameters(plan: &Plan, weight: &Weight) -> u64 {
    let whole = |dim: &DimSize| dim.whole(&plan.mesh);
    weight.dims.iter().fold(weight.count, |size, dim| size.saturating_mul(whole(dim)))
}

/// Those of them whose record rests on one rank, which updates them.
fn resting(plan: &Plan, weight: &Weight) -> u64 {
    let local = weight.dims.iter().fold(weight.count, |size, dim| size.saturating_mul(dim.size));
    let parts = weight.rest.flat.as_ref().map_or(1, |flat| plan.mesh.size(&flat.axes));
    local.div_ceil(parts.max(1))
}

fn family(kernel: &KernelData) -> &'static str {
    match &kernel.skeleton {
        Skeleton::Rows(_) => "rows",
        Skeleton::Contract { .. } => "contract",
        Skeleton::Attention(_) | Skeleton::AttentionGrad(_) => "attention",
        Skeleton::Segmented => "segmented",
        Skeleton::Collective(_) => "collective",
    }
}

fn add_up(plan: &Plan, name: &str, body: &[Item]) -> EntrySummary {
    let mut total = EntrySummary { name: name.to_owned(), calls: 0, launches: 0, flops: 0.0, exchanges: Vec::new() };
    for item in body {
        match item {
            Item::Loop { start, end, body, .. } => {
                let (inner, times) = (add_up(plan, name, body), end.saturating_sub(*start));
                total.calls = total.calls.saturating_add(inner.calls.saturating_mul(times));
                total.launches = total.launches.saturating_add(inner.launches.saturating_mul(times));
                total.flops += inner.flops * times as f64;
                inner.exchanges.into_iter().for_each(|one| total.exchanged(one, times));
            }
            Item::Call(call) | Item::Start(_, call) => {
                let stream = if let Item::Start(stream, _) = item { Some(*stream) } else { None };
                let (launches, flops) = program(plan, call.program);
                total.calls = total.calls.saturating_add(1);
                total.launches = total.launches.saturating_add(launches);
                total.flops += flops;
                exchanges(plan, call.program, stream).into_iter().for_each(|one| total.exchanged(one, 1));
            }
            Item::Join(_) | Item::Control => {}
        }
    }
    total
}

impl EntrySummary {
    fn exchanged(&mut self, one: Exchanged, times: u64) {
        let (count, bytes) = (one.count.saturating_mul(times), one.bytes.saturating_mul(times));
        match self.exchanges.iter_mut().find(|known| (&known.axes, known.exchange, known.stream) == (&one.axes, one.exchange, one.stream)) {
            Some(known) => {
                known.count = known.count.saturating_add(count);
                known.bytes = known.bytes.saturating_add(bytes);
            }
            None => self.exchanges.push(Exchanged { count, bytes, ..one }),
        }
    }
}

/// Collectives of one call.
fn exchanges(plan: &Plan, program: Program, stream: Option<Stream>) -> Vec<Exchanged> {
    let launches = plan.programs.get(program).map_or(&[][..], |data| &data.launches);
    let kernels = launches.iter().filter_map(|launch| plan.kernels.get(launch.kernel));
    let collective = |kernel: &KernelData| match &kernel.skeleton {
        Skeleton::Collective(Collective { exchange, axes }) => Some(Exchanged {
            axes: print::axes(axes),
            exchange: print::exchange(exchange),
            stream,
            count: 1,
            bytes: moved(kernel, exchange, plan.mesh.size(axes)),
        }),
        Skeleton::Rows(_) | Skeleton::Contract { .. } | Skeleton::Attention(_) | Skeleton::AttentionGrad(_) | Skeleton::Segmented => None,
    };
    kernels.filter_map(collective).collect()
}

/// Bytes that one rank of a group of `members` sends, in the algorithms that send least: of what all members together have, each sends all but
/// its part once to gather, to scatter or to exchange, twice to reduce.
fn moved(kernel: &KernelData, exchange: &Exchange, members: u64) -> u64 {
    let points = kernel.dims.values().fold(1u128, |points, dim| points.saturating_mul(dim.size.into()));
    let element = kernel.operands.values().next().map_or(4, |operand| operand.element.bytes());
    let full = points.saturating_mul(element.into());
    let parts = u128::from(members.max(1));
    let bytes = match exchange {
        Exchange::AllGather | Exchange::ReduceScatter(_) | Exchange::AllToAll { .. } => full.saturating_mul(parts - 1) / parts,
        Exchange::AllReduce(_) => full.saturating_mul(2 * (parts - 1)) / parts,
        Exchange::Permute { .. } => full,
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Launches and arithmetic of one call.
fn program(plan: &Plan, program: Program) -> (u64, f64) {
    let launches = plan.programs.get(program).map_or(&[][..], |data| &data.launches);
    let flops = launches.iter().filter_map(|launch| plan.kernels.get(launch.kernel)).map(flops).sum();
    (launches.len() as u64, flops)
}

/// Additions and multiplications of a contraction; 0 for kernels that contract nothing.
pub fn flops(kernel: &KernelData) -> f64 {
    let size =
        |roles: &[Role]| -> f64 { kernel.dims.values().filter(|dim| roles.contains(&dim.role)).map(|dim| dim.size as f64).product() };
    let attention = |shape: &Attention, products: [f64; 2]| {
        let pairs = size(&[Role::Batch, Role::M]) * visible(shape, size(&[Role::Query]), size(&[Role::Key]));
        2.0 * pairs * (products[0] * size(&[Role::Feature]) + products[1] * size(&[Role::Value]))
    };
    match &kernel.skeleton {
        Skeleton::Rows(_) | Skeleton::Segmented | Skeleton::Collective(_) => 0.0,
        Skeleton::Contract { .. } => 2.0 * size(&[Role::Batch, Role::M, Role::N, Role::K]),
        // scores over features; mixing over values
        Skeleton::Attention(shape) => attention(shape, [1.0, 1.0]),
        // scores again, dq and dk over features; dv and the gradient of probabilities over values
        Skeleton::AttentionGrad(shape) => attention(shape, [3.0, 2.0]),
    }
}

/// Pairs of a query and a key that the mask shows.
fn visible(shape: &Attention, queries: f64, keys: f64) -> f64 {
    let triangle = |n: f64| n * (n + 1.0) / 2.0;
    // query i misses keys 0 to i - window
    let before = shape.window.map_or(0.0, |window| triangle((queries - window as f64).max(0.0)));
    // of all queries i, those beyond the last key see all keys, the others i + 1
    let seen = if shape.causal { triangle(queries.min(keys)) + (queries - keys).max(0.0) * keys } else { queries * keys };
    (seen - before).max(0.0)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trained, frozen) = self.parameters;
        writeln!(f, "{}", self.name)?;
        let held = if frozen == 0 { String::new() } else { format!(", and {frozen} frozen") };
        let (rests, each) = match &self.mesh {
            Some((mesh, ranks)) => {
                writeln!(f, "  mesh        {mesh}: {ranks} ranks")?;
                (format!("; each rank owns {}", self.resting.0.saturating_add(self.resting.1)), " on each rank")
            }
            None => (String::new(), ""),
        };
        writeln!(f, "  parameters  {trained} trained{held}{rests}")?;
        writeln!(f, "  memory      {}{each}", human(self.arena))?;
        for (region, bytes) in &self.memory {
            writeln!(f, "    {:<9} {:>10}", kind(*region), human(*bytes))?;
        }
        let kernels: Vec<String> = self.kernels.iter().filter(|(_, count)| *count > 0).map(|(name, n)| format!("{n} {name}")).collect();
        writeln!(f, "  kernels     {}", kernels.join(", "))?;
        writeln!(f, "  programs    {} with {} launches", self.programs.0, self.programs.1)?;
        for entry in &self.entries {
            let (name, calls, launches) = (&entry.name, entry.calls, entry.launches);
            writeln!(f, "  {name:<11} {calls} calls, {launches} launches, {} in matrix products", arithmetic(entry.flops))?;
            exchanged(&entry.exchanges, f)?;
        }
        Ok(())
    }
}

/// One line per kind of collective: `along data  all_gather  24 times, 18.0 MiB sent by each rank, beside`.
fn exchanged(all: &[Exchanged], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let width = all.iter().map(|one| one.axes.chars().count()).max().unwrap_or(0);
    let digits = all.iter().map(|one| one.count.to_string().len()).max().unwrap_or(0);
    for Exchanged { axes, exchange, stream, count, bytes } in all {
        let beside = stream.map_or("", |_| ", beside the calls");
        writeln!(f, "    along {axes:width$}  {exchange:14} {count:>digits$} times, {:>9} sent by each rank{beside}", human(*bytes))?;
    }
    Ok(())
}

/// Operations as a person says them: `43.1 GFLOP`.
fn arithmetic(flops: f64) -> String {
    let units = ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"];
    let mut value = flops;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{value} {}", units[unit]) } else { format!("{value:.1} {}", units[unit]) }
}
