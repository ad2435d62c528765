//! The device `null`: walks an entry as a rank would, counts what it would do, and runs nothing.
//!
//! Requires: a verified plan. Ensures: time and memory depend on the plan's text alone, not on its sizes or on the number of ranks: what stands in a
//! loop is counted once and multiplied. All ranks of a mesh run one text, so one rank's counts are every rank's.

use meshwright_plan::kernel::{Exchange, KernelData, Role, Skeleton};
use meshwright_plan::program::{Entry, Item};
use meshwright_plan::{Kernel, Plan, Program};
use std::collections::BTreeMap;

/// What a rank does in an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels launched, collectives not counted.
    pub launches: u64,
    /// Bytes that those kernels' operands span, each operand counted once a launch.
    pub spanned: u64,
    /// By what is exchanged and along which axes.
    pub collectives: BTreeMap<(Exchange, Vec<String>), Traffic>,
    /// Control words.
    pub controls: u64,
}

/// Collectives of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub count: u64,
    /// Bytes of the larger operand, all together.
    pub bytes: u64,
    /// Bytes that arrive from other ranks, by the algorithms that move least: rings for sums and gathers.
    pub received: u64,
}

/// Counts an entry; none if the plan has no entry of this name.
#[must_use]
pub fn walk(plan: &Plan, entry: &str) -> Option<Counts> {
    let entry: &Entry = plan.entries.iter().find(|known| known.name == entry)?;
    let programs: Vec<Counts> = plan.programs.keys().map(|program| of_program(plan, program)).collect();
    let mut counts = Counts::default();
    items(&programs, &entry.body, 1, &mut counts);
    Some(counts)
}

fn items(programs: &[Counts], body: &[Item], times: u64, counts: &mut Counts) {
    for item in body {
        match item {
            Item::Loop { start, end, body, .. } => items(programs, body, times * (end - start), counts),
            Item::Call(call) | Item::Start(_, call) => counts.add(&programs[call.program.as_u32() as usize], times),
            Item::Join(_) => {}
            Item::Control => counts.controls += times,
        }
    }
}

fn of_program(plan: &Plan, program: Program) -> Counts {
    let mut counts = Counts::default();
    for launch in &plan.programs[program].launches {
        counts.launch(plan, launch.kernel);
    }
    counts
}

impl Counts {
    fn launch(&mut self, plan: &Plan, kernel: Kernel) {
        let kernel = &plan.kernels[kernel];
        let spans = kernel.operands.values().map(|operand| operand.extent * operand.element.bytes());
        let Skeleton::Collective(collective) = &kernel.skeleton else {
            self.launches += 1;
            self.spanned += spans.sum::<u64>();
            return;
        };
        let traffic = traffic(kernel, &collective.exchange, plan.mesh.size(&collective.axes));
        self.collectives.entry((collective.exchange.clone(), collective.axes.clone())).or_default().add(traffic, 1);
    }

    fn add(&mut self, other: &Counts, times: u64) {
        self.launches += other.launches * times;
        self.spanned += other.spanned * times;
        self.controls += other.controls * times;
        for (key, traffic) in &other.collectives {
            self.collectives.entry(key.clone()).or_default().add(*traffic, times);
        }
    }
}

impl Traffic {
    fn add(&mut self, other: Traffic, times: u64) {
        self.count += other.count * times;
        self.bytes += other.bytes * times;
        self.received += other.received * times;
    }
}

/// One collective between `members` ranks.
fn traffic(kernel: &KernelData, exchange: &Exchange, members: u64) -> Traffic {
    let rows: u64 = kernel.dims.values().filter(|dim| dim.role == Role::Row).map(|dim| dim.size).product();
    let part = rows * kernel.operands.values().next().map_or(0, |operand| operand.element.bytes());
    let (bytes, received) = match exchange {
        Exchange::AllGather | Exchange::ReduceScatter(_) | Exchange::AllToAll { .. } => (part * members, part * (members - 1)),
        Exchange::AllReduce(_) => (part, 2 * part * (members - 1) / members),
        Exchange::Permute { .. } => (part, part),
    };
    Traffic { count: 1, bytes, received }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshwright_plan::kernel::Reduce;

    /// A layer of 2^30 elements a rank, 100 layers, 1000 microbatches, 16,384 ranks.
    const PLAN: &str = "plan \"large\"
format 1
mesh data 2048, tensor 8
microbatches 1000
arena 9007199254740992
region x carries at 0 bytes 8796093022208
kernel k0 gather all_gather along data member [m 2048] [R 524288]
  read from: f32[R]
  write to: f32[m, R]
kernel k1 sum all_reduce sum along tensor [R 1024]
  read from: f32[R]
  write to: f32[R]
kernel k2 twice rows [Row 8] lanes [R 128] blocks 1
  read x: f32[Row, R]
  write y: f32[Row, R]
  y = x + x
program layer
  write x 8796093022208
  k0 gather from=x to=x+4294967296
  k1 sum from=x to=x
  k2 twice x=x y=x
  k2 twice x=x y=x
entry step
  for micro in 0..1000
    for layer in 0..100
      call layer x=x
  control
";

    #[test]
    fn the_largest_plan_is_counted_at_once() {
        let plan = meshwright_plan::parse::parse(PLAN).expect("a plan");
        let counts = walk(&plan, "step").expect("a step");
        assert_eq!((counts.launches, counts.spanned, counts.controls), (200_000, 200_000 * 8192, 1));
        let along = |exchange, axis: &str| counts.collectives[&(exchange, vec![axis.to_string()])];
        let gathered = Traffic { count: 100_000, bytes: 100_000 << 32, received: 100_000 * (2_097_152 * 2047) };
        assert_eq!(along(Exchange::AllGather, "data"), gathered);
        let summed = Traffic { count: 100_000, bytes: 100_000 * 4096, received: 100_000 * 7168 };
        assert_eq!(along(Exchange::AllReduce(Reduce::Sum), "tensor"), summed);
        assert!(walk(&plan, "predict").is_none());
    }
}
